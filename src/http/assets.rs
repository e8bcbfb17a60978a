//! Assets: GET, HEAD and DELETE of one name.
//!
//! A read goes: turn → record (`resolve`) → conditions → range → bytes (`open`, which returns once the first
//! block is verified) → response. For a 304, 412, 416 or HEAD nothing is opened, unless few are known to hold the
//! version. One that turns out never to have been committed is resolved again. A body that breaks later ends in an error, on which the
//! connection is reset: it is shorter than its `Content-Length` and no client takes it for whole.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use headers::{CacheControl, HeaderMapExt};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::auth::forbidden;
use super::conditions::{self, Validators, Verdict};
use super::problem::{Problem, ProblemKind};
use super::{App, fields, intake, range};
use crate::asset::{AssetName, PutFields};
use crate::read::{AssetBody, ReadError, Wanted};

/// How often a name is resolved again after a version that was never committed.
const RESOLVE_MAX: usize = 4;

/// Answers GET and HEAD.
pub(super) async fn read(app: &App, name: &AssetName, request: &Parts) -> Result<Response, Problem> {
    let wanted = wanted(app, request)?;
    let permit = app.reads.enter().await?;
    for _ in 0..RESOLVE_MAX {
        let record = app.flows.reader.resolve(name, wanted).await?;
        let Some(put) = &record.put else { return Err(ReadError::NotFound.into()) };
        let validators = Validators::new(put.blake3, record.created);
        let fields = fields::of_asset(&record, put, &validators, &app.settings.cache_control);
        let plan = plan(&request.method, &request.headers, put, &validators);
        let sends_bytes = matches!(plan, Ok(Plan::Whole | Plan::Part(_)));
        if !sends_bytes && app.flows.reader.was_never_committed(&record).await {
            continue;
        }
        let (part, range) = match plan? {
            Plan::NotModified => return Ok(not_modified(&fields)),
            Plan::Head => return Ok(head(fields, put.size)),
            Plan::Whole => (false, 0..put.size),
            Plan::Part(range) => (true, range),
        };
        match app.flows.reader.open(Arc::clone(&record), range.clone()).await {
            Ok(body) => return Ok(content(fields, part.then_some(put.size), &range, body, permit)),
            Err(ReadError::NeverCommitted) => {}
            Err(error @ (ReadError::NotFound | ReadError::Unavailable { .. })) => return Err(error.into()),
        }
    }
    // A certain version stays what it is, however often one asks.
    Err(if wanted.version.is_some() { ReadError::NotFound } else { ReadError::NeverCommitted }.into())
}

/// Answers DELETE.
pub(super) async fn delete(app: &App, name: AssetName, request: &Parts) -> Result<Response, Problem> {
    let token = app.settings.tokens.identify(&request.headers)?;
    if !token.delete || !token.covers(name.as_str()) {
        return Err(forbidden("the token may not delete this name"));
    }
    intake::of_delete(&request.headers, request.uri.query(), app.settings.conditional_writes)?;
    let _permit = app.uploads.enter().await?;
    let receipt = app.flows.writer.delete(name).await?;
    // A name that was absent already got no tombstone.
    let version = receipt.map(|receipt| receipt.record.version.to_string());
    let version = version.and_then(|version| HeaderValue::try_from(version).ok());
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(version.map(|version| (fields::TRIPLICATE_VERSION, version)));
    Ok(response)
}

/// What is sent for a read of an asset that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    NotModified,
    Head,
    Whole,
    Part(Range<u64>),
}

/// Decides what to send, from values alone.
fn plan(
    method: &Method,
    headers: &HeaderMap,
    put: &PutFields,
    validators: &Validators,
) -> Result<Plan, Problem> {
    match conditions::evaluate(headers, validators) {
        Verdict::NotModified => return Ok(Plan::NotModified),
        Verdict::Failed => {
            let detail = "the asset is not what If-Match or If-Unmodified-Since expects";
            return Err(Problem::new(ProblemKind::PreconditionFailed, detail));
        }
        Verdict::Proceed => {}
    }
    if method == Method::HEAD {
        return Ok(Plan::Head);
    }
    if !conditions::range_applies(headers, validators) {
        return Ok(Plan::Whole);
    }
    match range::wanted(headers, put.size) {
        range::Wanted::Whole => Ok(Plan::Whole),
        range::Wanted::Part(range) => Ok(Plan::Part(range)),
        range::Wanted::Unsatisfiable => Err(range::unsatisfiable(put.size)),
    }
}

/// Reads which version is asked for; `no-cache` costs listings, so it takes a token.
fn wanted(app: &App, request: &Parts) -> Result<Wanted, Problem> {
    let headers = &request.headers;
    let mut parameters = url::form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes());
    let version = match parameters.find(|(name, _)| name == "version") {
        None => None,
        Some((_, text)) => {
            let unknown = |_| Problem::new(ProblemKind::NotFound, "there is no such version");
            Some(text.parse().map_err(unknown)?)
        }
    };
    let no_cache = headers.typed_get::<CacheControl>().is_some_and(|control| control.no_cache());
    Ok(Wanted { version, revalidate: no_cache && app.settings.tokens.knows(headers) })
}

fn not_modified(fields: &HeaderMap) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    *response.headers_mut() = fields::for_not_modified(fields);
    response
}

fn head(mut fields: HeaderMap, size: u64) -> Response {
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    // The index alone answers this, nothing is forwarded.
    fields.insert(fields::CACHE_STATUS, fields::cache_status(true));
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = fields;
    response
}

/// Builds a 200, or a 206 of an asset of `part_of` bytes. The permit is held until the body is sent.
fn content(
    mut fields: HeaderMap,
    part_of: Option<u64>,
    range: &Range<u64>,
    body: AssetBody,
    permit: OwnedSemaphorePermit,
) -> Response {
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    fields.insert(fields::CACHE_STATUS, fields::cache_status(body.cache_hit));
    let mut status = StatusCode::OK;
    if let Some(size) = part_of {
        status = StatusCode::PARTIAL_CONTENT;
        let value = HeaderValue::try_from(format!("bytes {}-{}/{size}", range.start, range.end - 1));
        fields.extend(value.ok().map(|value| (header::CONTENT_RANGE, value)));
    }
    let stream = body.stream.map(move |chunk| {
        let _held = &permit;
        chunk
    });
    let mut response = Response::new(Body::from_stream(stream));
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::Sha256;

    const HEX: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    #[test]
    fn ranges_come_after_conditions_and_head_has_none() {
        let put = PutFields {
            size: 10,
            blake3: HEX.parse().unwrap(),
            sha256: Sha256::of(b""),
            content_type: "image/png".into(),
            content_encoding: None,
            content_disposition: None,
            cache_control: None,
            metadata: std::collections::BTreeMap::new(),
        };
        let validators = Validators::new(put.blake3, "2026-11-22T11:05:31Z".parse().unwrap());
        let ours = format!("\"{HEX}\"");
        type Fields<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, Fields<'_>, Result<Plan, u16>); 10] = [
            ("GET", &[], Ok(Plan::Whole)),
            ("HEAD", &[], Ok(Plan::Head)),
            ("GET", &[("range", "bytes=2-4")], Ok(Plan::Part(2..5))),
            ("HEAD", &[("range", "bytes=2-4")], Ok(Plan::Head)),
            ("HEAD", &[("range", "bytes=99-")], Ok(Plan::Head)),
            ("GET", &[("range", "bytes=99-")], Err(416)),
            ("GET", &[("range", "bytes=99-"), ("if-range", "\"other\"")], Ok(Plan::Whole)),
            ("GET", &[("range", "bytes=2-4"), ("if-range", &ours)], Ok(Plan::Part(2..5))),
            ("GET", &[("range", "bytes=99-"), ("if-none-match", &ours)], Ok(Plan::NotModified)),
            ("HEAD", &[("if-match", "\"other\"")], Err(412)),
        ];
        for (method, fields, expected) in table {
            let headers = fields
                .iter()
                .map(|(name, value)| {
                    (name.parse::<http::HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
                })
                .collect();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let planned = plan(&method, &headers, &put, &validators);
            assert_eq!(planned.map_err(|problem| problem.status().as_u16()), expected, "{method} {fields:?}");
        }
    }
}
