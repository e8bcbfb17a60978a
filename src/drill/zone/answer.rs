//! Answers of a zone, and the numbers in requests for ranges. Pure.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::json;

use crate::asset::Sha256;
use crate::clock::to_utc;
use crate::drill::wire::{Body, Cut, full};
use crate::provider::{DirListing, Download, Entry, ErrorKind, ProviderError};

/// How many rows of a listing are written at once.
const ROWS_AT_ONCE: usize = 256;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a listing or a description says of one object or folder.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    storage_zone_name: &'a str,
    path: String,
    object_name: &'a str,
    length: u64,
    last_changed: String,
    date_created: String,
    server_id: u32,
    array_number: u32,
    is_directory: bool,
    content_type: &'static str,
    checksum: Option<String>,
    replicated_zones: Option<&'static str>,
}

/// The rows of one listing, written while they are sent.
pub(super) struct Rows<F> {
    zone: String,
    dir: String,
    entries: std::vec::IntoIter<Entry>,
    dirs: std::vec::IntoIter<String>,
    sha256: F,
    written: usize,
    ended: bool,
}

impl<F: FnMut(&Entry) -> Option<Sha256>> Rows<F> {
    pub(super) fn new(zone: &str, dir: &str, listing: DirListing, sha256: F) -> Self {
        Self {
            zone: zone.to_owned(),
            dir: dir.to_owned(),
            entries: listing.entries.into_iter(),
            dirs: listing.dirs.into_iter(),
            sha256,
            written: 0,
            ended: false,
        }
    }
}

impl<F: FnMut(&Entry) -> Option<Sha256>> Iterator for Rows<F> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut text = if self.written == 0 { "[".to_owned() } else { String::new() };
        for _ in 0..ROWS_AT_ONCE {
            let row = if let Some(entry) = self.entries.next() {
                let sha256 = (self.sha256)(&entry);
                file_row(&self.zone, &entry, sha256)
            } else if let Some(name) = self.dirs.next() {
                dir_row(&self.zone, &self.dir, &name)
            } else {
                self.ended = true;
                text.push(']');
                break;
            };
            if self.written > 0 {
                text.push(',');
            }
            self.written += 1;
            text.push_str(&row);
        }
        Some(text.into())
    }
}

fn file_row(zone: &str, entry: &Entry, sha256: Option<Sha256>) -> String {
    let (dir, object_name) = entry.key.rsplit_once('/').unwrap_or(("", &entry.key));
    let slash = if dir.is_empty() { "" } else { "/" };
    let changed = to_utc(entry.modified_unix_ms.unwrap_or(0)).format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    write(&Row {
        storage_zone_name: zone,
        path: format!("/{zone}/{dir}{slash}"),
        object_name,
        length: entry.bytes,
        last_changed: changed.clone(),
        date_created: changed,
        server_id: 1,
        array_number: 0,
        is_directory: false,
        content_type: "",
        checksum: sha256.map(|sha256| sha256.to_hex().to_ascii_uppercase()),
        replicated_zones: Some(""),
    })
}

fn dir_row(zone: &str, dir: &str, name: &str) -> String {
    let changed = "1970-01-01T00:00:00".to_owned();
    write(&Row {
        storage_zone_name: zone,
        path: format!("/{zone}/{dir}"),
        object_name: name,
        length: 0,
        last_changed: changed.clone(),
        date_created: changed,
        server_id: 0,
        array_number: 0,
        is_directory: true,
        content_type: "",
        checksum: None,
        replicated_zones: None,
    })
}

fn write(row: &Row<'_>) -> String {
    // Strings and numbers are always JSON; a row that were none would be seen by the reader of the listing.
    serde_json::to_string(row).unwrap_or_default()
}

/// Returns a listing.
pub(super) fn listing<F>(rows: Rows<F>) -> Response<Body>
where
    F: FnMut(&Entry) -> Option<Sha256> + Send + 'static,
{
    let frames = stream::iter(rows.map(|text| Ok(Frame::data(text))));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answer
}

/// Returns the description of an object.
pub(super) fn description(zone: &str, entry: &Entry, sha256: Sha256) -> Response<Body> {
    let mut answer = Response::new(full(file_row(zone, entry, Some(sha256))));
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answer
}

/// Returns an object.
pub(super) fn whole(download: Download) -> Response<Body> {
    let bytes = download.object_bytes;
    bytes_of(download, StatusCode::OK, bytes)
}

/// Returns a range of an object.
pub(super) fn part(download: Download, range: Range<u64>) -> Response<Body> {
    let told = format!("bytes {}-{}/{}", range.start, range.end - 1, download.object_bytes);
    let mut answer = bytes_of(download, StatusCode::PARTIAL_CONTENT, range.end - range.start);
    insert(&mut answer, header::CONTENT_RANGE, told);
    answer
}

/// Why a request is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    message: &'static str,
    /// The size of the object of which nothing was asked for.
    object_bytes: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message, object_bytes: None }
    }

    /// Says that there is no such object.
    pub(super) fn missing() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Object Not Found")
    }

    /// Says that nothing of an object of `bytes` was asked for.
    pub(super) fn unsatisfiable(bytes: u64) -> Self {
        let refusal = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "Requested Range Not Satisfiable");
        Self { object_bytes: Some(bytes), ..refusal }
    }

    /// Returns the answer.
    pub(super) fn answer(self) -> Response<Body> {
        let mut answer = said(self.status, self.message);
        if let Some(bytes) = self.object_bytes {
            insert(&mut answer, header::CONTENT_RANGE, format!("bytes */{bytes}"));
        }
        answer
    }
}

/// Only the store's plain word makes an object missing.
impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        let (status, message) = match error.kind {
            ErrorKind::NotFound => return Self::missing(),
            ErrorKind::Denied | ErrorKind::NoContainer => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            ErrorKind::Throttled => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            ErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "The store did not answer in time"),
            ErrorKind::Refused => (StatusCode::BAD_REQUEST, "Unable to do what was asked"),
            ErrorKind::Corrupt => (StatusCode::BAD_REQUEST, "The Checksum does not match"),
            ErrorKind::Unavailable | ErrorKind::Protocol => {
                (StatusCode::INTERNAL_SERVER_ERROR, "The store failed")
            }
        };
        Self::new(status, message)
    }
}

/// Returns a short answer in JSON.
pub(super) fn said(status: StatusCode, message: &str) -> Response<Body> {
    let body = json!({ "HttpCode": status.as_u16(), "Message": message });
    let mut answer = Response::new(full(body.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answer
}

/// Reads the first and last byte of a single range, or the number of last bytes; `None` for anything else,
/// which is answered whole.
pub(super) fn range(value: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() { Some(None) } else { text.parse().ok().filter(|_| plain).map(Some) }
    };
    match (number(first)?, number(last)?) {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        asked => Some(asked),
    }
}

fn bytes_of(download: Download, status: StatusCode, bytes: u64) -> Response<Body> {
    // What breaks off is cut off: the client must not take it for the end.
    let frames = download.body.map_ok(Frame::data).map_err(|_| Cut);
    let mut answer = Response::new(StreamBody::new(frames.boxed()).boxed_unsync());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer
}

fn insert(answer: &mut Response<Body>, name: HeaderName, value: String) {
    answer.headers_mut().extend(HeaderValue::try_from(value).map(|value| (name, value)));
}
