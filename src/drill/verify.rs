//! Verification: whether what a client got is what was stored.
//!
//! The status, the headers, every byte and the length are judged; the gateway's own word (the `ETag`) is
//! compared, never believed. Which generation an answer shows, its metadata says; that its bytes are those
//! of that generation is what is verified.

use std::ops::Range;

use http::{HeaderMap, StatusCode, header, response::Parts};

use super::content::Expected;
use super::ledger::{Ledger, Written};

/// The type that every asset is uploaded with.
pub(super) const CONTENT_TYPE: &str = "application/octet-stream";
/// The metadata that tells which generation an answer shows.
pub(super) const GENERATION: &str = "x-triplicate-meta-generation";
/// Headers of providers, which no client may see.
const FOREIGN: [&str; 5] = ["x-amz-", "cdn-", "x-bz-", "server", "content-encoding"];

/// In which way a read went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FlawKind {
    /// There was no answer.
    Unanswered,
    /// The status is another one.
    Status,
    /// The body ended too early.
    Truncated,
    /// A byte is another one, or there are too many.
    WrongBytes,
    /// A header says something else.
    Header,
    /// An older generation than was acknowledged.
    Stale,
}

impl FlawKind {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Unanswered, Self::Status, Self::Truncated, Self::WrongBytes, Self::Header, Self::Stale];

    /// Tells whether something wrong was said, rather than nothing.
    pub(super) const fn is_wrong(self) -> bool {
        matches!(self, Self::WrongBytes | Self::Header | Self::Stale)
    }
}

/// What is wrong with a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// In which way.
    pub(super) kind: FlawKind,
    /// What happened.
    pub(super) detail: String,
}

impl Flaw {
    /// Describes a flaw.
    pub(super) fn new(kind: FlawKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The asset.
    pub(super) asset: usize,
    /// The newest generation that was acknowledged before.
    pub(super) floor: usize,
    /// The bytes, unless all.
    pub(super) range: Option<Range<u64>>,
}

/// An answer whose head is right.
pub(super) enum Judged {
    /// Its body must be this one.
    Body(Verifier),
    /// Nothing is there, or not so many bytes, and rightly so; the body does not matter.
    Absent,
}

/// Judges the head of an answer.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn head(answer: &Parts, asked: &Asked, ledger: &Ledger) -> Result<Judged, Flaw> {
    let (asset, floor) = (asked.asset, asked.floor);
    let start = asked.range.as_ref().map_or(0, |range| range.start);
    let ends_before =
        |written: &Written| matches!(written, Written::Put { content, .. } if content.bytes <= start);
    let is_absent = match answer.status {
        StatusCode::NOT_FOUND => ledger.any(asset, floor, |written| *written == Written::Deleted),
        StatusCode::RANGE_NOT_SATISFIABLE => ledger.any(asset, floor, ends_before),
        _ => false,
    };
    let wanted = if asked.range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    match answer.status {
        _ if is_absent => Ok(Judged::Absent),
        status if status == wanted => body(&answer.headers, asked, ledger).map(Judged::Body),
        status => Err(Flaw::new(FlawKind::Status, format!("{status} instead of {wanted}"))),
    }
}

fn body(headers: &HeaderMap, asked: &Asked, ledger: &Ledger) -> Result<Verifier, Flaw> {
    let wrong = |detail| Flaw::new(FlawKind::Header, detail);
    let said = text(headers, GENERATION);
    let generation = said.parse().map_err(|_| wrong(format!("{GENERATION}: {said:?}")))?;
    if generation < asked.floor {
        let detail = format!("generation {generation}, though {} was acknowledged", asked.floor);
        return Err(Flaw::new(FlawKind::Stale, detail));
    }
    let Some(Written::Put { content, blake3 }) = ledger.generation(asked.asset, generation) else {
        return Err(wrong(format!("generation {generation}, which was not written")));
    };
    let range = match &asked.range {
        Some(range) => range.start..range.end.min(content.bytes),
        None => 0..content.bytes,
    };
    let bytes = range.end.saturating_sub(range.start);
    let mut expected = vec![
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_TYPE, CONTENT_TYPE.to_owned()),
        (header::ETAG, format!("\"{blake3}\"")),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    if asked.range.is_some() {
        let (last, all) = (range.end.saturating_sub(1), content.bytes);
        expected.push((header::CONTENT_RANGE, format!("bytes {}-{last}/{all}", range.start)));
    }
    for (name, value) in expected {
        let said = text(headers, name.as_str());
        if said != value {
            return Err(wrong(format!("{name}: {said:?} instead of {value:?}")));
        }
    }
    let foreign = |name: &str| FOREIGN.iter().any(|start| name.starts_with(start));
    if let Some(name) = headers.keys().find(|name| foreign(name.as_str())) {
        return Err(wrong(format!("{name} is none of ours")));
    }
    Ok(Verifier { expected: content.from(range.start), left: bytes, bytes })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Judges a body piece by piece.
pub(super) struct Verifier {
    expected: Expected,
    left: u64,
    bytes: u64,
}

impl Verifier {
    /// Judges the next bytes.
    ///
    /// # Errors
    ///
    /// The first of them that is wrong.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Flaw> {
        let wrong = |detail: String| Err(Flaw::new(FlawKind::WrongBytes, detail));
        let Some(left) = self.left.checked_sub(piece.len() as u64) else {
            return wrong(format!("more than {} bytes", self.bytes));
        };
        self.left = left;
        self.expected.compare(piece).or_else(|at| wrong(format!("the byte at {at} is another one")))
    }

    /// Judges the length, once the body has ended.
    ///
    /// # Errors
    ///
    /// It is too short.
    pub(super) fn finish(&self) -> Result<(), Flaw> {
        match self.left {
            0 => Ok(()),
            left => {
                Err(Flaw::new(FlawKind::Truncated, format!("the last {left} of {} bytes lack", self.bytes)))
            }
        }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
