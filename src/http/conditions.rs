//! Conditions: `If-*` header fields against the validators of an asset, in the order of RFC 9110, 13.2.2.
//!
//! Pure. A condition that cannot be parsed is a failed one where it protects the client (`If-Match`), and
//! none where it only saves work (`If-Modified-Since`), as the RFC says.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use headers::{ETag, HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
use http::{HeaderMap, header};

use super::problem::{Problem, ProblemKind, invalid_header};
use crate::asset::Blake3;
use crate::write::Precondition;

/// What conditions are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// The entity tag with its quotes.
    pub(super) etag: String,
    /// The time of the last change, in whole seconds as HTTP tells it.
    pub(super) modified: SystemTime,
}

impl Validators {
    /// Builds the validators of a version.
    pub(super) fn new(blake3: Blake3, created: DateTime<Utc>) -> Self {
        let seconds = u64::try_from(created.timestamp()).unwrap_or(0);
        Self {
            etag: format!("\"{blake3}\""),
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }
}

/// What the conditions of a read say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer as if there were no condition.
    Proceed,
    /// 304: the client holds the current bytes.
    NotModified,
    /// 412: the asset is not what the client expects.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD of an asset that exists.
pub(super) fn evaluate(headers: &HeaderMap, validators: &Validators) -> Verdict {
    // Our own tags always parse; one that did not would match nothing.
    let etag: Option<ETag> = validators.etag.parse().ok();
    if headers.contains_key(header::IF_MATCH) {
        let condition = headers.typed_get::<IfMatch>().zip(etag.as_ref());
        if !condition.is_some_and(|(condition, etag)| condition.precondition_passes(etag)) {
            return Verdict::Failed;
        }
    } else if let Some(condition) = headers.typed_get::<IfUnmodifiedSince>()
        && !condition.precondition_passes(validators.modified)
    {
        return Verdict::Failed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        let condition = headers.typed_get::<IfNoneMatch>().zip(etag.as_ref());
        if condition.is_some_and(|(condition, etag)| !condition.precondition_passes(etag)) {
            return Verdict::NotModified;
        }
    } else if let Some(condition) = headers.typed_get::<IfModifiedSince>()
        && !condition.is_modified(validators.modified)
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Tells whether `If-Range` lets a range be served: its validator must be exactly ours, compared strongly.
pub(super) fn range_applies(headers: &HeaderMap, validators: &Validators) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    if text.starts_with('"') || text.starts_with("W/") {
        return text == validators.etag;
    }
    httpdate::parse_http_date(text).is_ok_and(|date| date == validators.modified)
}

/// Reads the conditions of an upload.
///
/// # Errors
///
/// 400 for malformed ones, and for both fields at once, which no upload needs. 501 unless best effort is
/// allowed: a plain store cannot check and write in one step.
pub(super) fn of_upload(headers: &HeaderMap, best_effort: bool) -> Result<Precondition, Problem> {
    let precondition = parsed(headers)?;
    let by_time = headers.contains_key(header::IF_UNMODIFIED_SINCE);
    if !best_effort && (by_time || precondition != Precondition::None) {
        return Err(not_implemented("conditions on writes are not offered here"));
    }
    if by_time {
        return Err(not_implemented(
            "of the conditions on writes, only If-Match and If-None-Match are offered",
        ));
    }
    Ok(precondition)
}

/// Refuses any condition on a request that would change something without looking at it.
///
/// # Errors
///
/// 400 for malformed conditions, 501 for others.
pub(super) fn refuse(headers: &HeaderMap, best_effort: bool) -> Result<(), Problem> {
    let precondition = of_upload(headers, best_effort)?;
    if precondition != Precondition::None {
        return Err(not_implemented("conditions are offered on PUT only"));
    }
    Ok(())
}

fn not_implemented(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::NotImplemented, detail)
}

fn parsed(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let matching =
        headers.contains_key(header::IF_MATCH).then(|| tags(headers, header::IF_MATCH)).transpose()?;
    let differing = headers
        .contains_key(header::IF_NONE_MATCH)
        .then(|| tags(headers, header::IF_NONE_MATCH))
        .transpose()?;
    match (matching, differing) {
        (None, None) => Ok(Precondition::None),
        (Some(_), Some(_)) => {
            Err(invalid_header("If-Match and If-None-Match exclude each other on an upload"))
        }
        (Some(None), None) => Ok(Precondition::Present),
        (Some(Some(tags)), None) => Ok(Precondition::Matches(tags)),
        (None, Some(None)) => Ok(Precondition::Absent),
        (None, Some(Some(tags))) => Ok(Precondition::Differs(tags)),
    }
}

/// Returns the hashes in a list of entity tags, `None` for `*`; tags that cannot be ours are left out, since
/// they match nothing.
fn tags(headers: &HeaderMap, name: http::HeaderName) -> Result<Option<Vec<Blake3>>, Problem> {
    let mut hashes = Vec::new();
    for value in headers.get_all(&name) {
        let text = value.to_str().map_err(|_| invalid_header(format!("{name} is not a list of tags")))?;
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            if tag == "*" {
                return Ok(None);
            }
            if tag.parse::<ETag>().is_err() {
                return Err(invalid_header(format!("{name} is not a list of tags")));
            }
            // If-None-Match compares weakly, If-Match strongly (RFC 9110, section 13.1).
            let strong =
                if name == header::IF_NONE_MATCH { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
            hashes.extend(strong.trim_matches('"').parse::<Blake3>());
        }
    }
    Ok(Some(hashes))
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
