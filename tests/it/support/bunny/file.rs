//! Files as they are served: rows of listings, conditions and single ranges, in the manner of nginx.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::State;
use super::zone::{Entry, File, Tree, guid};
use triplicate::drill::wire::{Body, full};

/// Returns the rows of a directory.
pub fn rows(state: &State, path: &str, tree: &Tree) -> Vec<Value> {
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    tree.list(path)
        .into_iter()
        .map(|entry| match entry {
            Entry::File(name, file) => file_row(state, &at(name), file),
            Entry::Directory(name, directory) => {
                let mut row = row(state, &at(name), &directory.guid, directory.created, directory.created);
                let fields = [
                    ("Length", json!(0)),
                    ("ServerId", json!(0)),
                    ("IsDirectory", json!(true)),
                    ("Checksum", Value::Null),
                    ("ReplicatedZones", Value::Null),
                ];
                fields.into_iter().for_each(|(name, value)| row[name] = value);
                row
            }
        })
        .collect()
}

/// Returns the row of one file, which is also what `DESCRIBE` answers.
pub fn file_row(state: &State, path: &str, file: &File) -> Value {
    let mut row = row(state, path, &file.guid, file.created, file.changed);
    let fields = [
        ("Length", json!(file.bytes.len())),
        ("ServerId", json!(1141)),
        ("IsDirectory", json!(false)),
        ("Checksum", json!(file.checksum)),
        ("ReplicatedZones", json!("")),
    ];
    fields.into_iter().for_each(|(name, value)| row[name] = value);
    row
}

/// Answers `GET` of a file.
pub fn serve(request: &Request<Incoming>, path: &str, file: &File) -> Response<Body> {
    let headers = request.headers();
    let changed = seconds(file.changed);
    let (etag, modified) =
        (format!("\"{changed:x}-{:x}\"", file.bytes.len()), httpdate::fmt_http_date(file.changed));
    let answer = Response::builder()
        .header(header::ETAG, &etag)
        .header(header::LAST_MODIFIED, &modified)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "public, max-age=25600000");
    if not_modified(headers, &etag, changed) {
        return answer.status(StatusCode::NOT_MODIFIED).body(full("")).expect("a plain answer");
    }
    let answer = answer.header(header::CONTENT_TYPE, content_type(path, file));
    let if_range = text(headers, header::IF_RANGE).is_none_or(|is| is == etag || is == modified);
    let range = text(headers, header::RANGE)
        .filter(|_| if_range)
        .and_then(|range| parse_range(range, len(&file.bytes)));
    match range {
        None => answer.body(full(file.bytes.clone())),
        Some(None) => {
            let range = format!("bytes */{}", file.bytes.len());
            let answer =
                answer.status(StatusCode::RANGE_NOT_SATISFIABLE).header(header::CONTENT_RANGE, range);
            answer.body(full(""))
        }
        Some(Some((first, last))) => {
            let range = format!("bytes {first}-{last}/{}", file.bytes.len());
            let part = file.bytes.slice(first as usize..=last as usize);
            answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range).body(full(part))
        }
    }
    .expect("a plain answer")
}

fn row(state: &State, path: &str, id: &str, created: SystemTime, changed: SystemTime) -> Value {
    let (above, name) = path.rsplit_once('/').map_or(("", path), |(above, name)| (above, name));
    let directory = if above.is_empty() { String::new() } else { format!("{above}/") };
    json!({
        "Guid": id,
        "StorageZoneName": state.zone,
        "Path": format!("/{}/{directory}", state.zone),
        "ObjectName": name,
        "LastChanged": date(changed),
        "DateCreated": date(created),
        "ArrayNumber": 0,
        "UserId": guid(b"user"),
        "ContentType": "",
        "StorageZoneId": 4711,
    })
}

/// Milliseconds only where there are some, and no zone.
fn date(time: SystemTime) -> String {
    let time = DateTime::<Utc>::from(time);
    let millis = time.timestamp_subsec_millis();
    let format = if millis == 0 { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S%.3f" };
    time.format(format).to_string()
}

fn not_modified(headers: &HeaderMap, etag: &str, changed: u64) -> bool {
    if let Some(tags) = text(headers, header::IF_NONE_MATCH) {
        return tags
            .split(',')
            .any(|tag| matches!(tag.trim(), tag if tag == "*" || tag.trim_start_matches("W/") == etag));
    }
    let since =
        text(headers, header::IF_MODIFIED_SINCE).and_then(|since| httpdate::parse_http_date(since).ok());
    since.is_some_and(|since| changed <= seconds(since))
}

/// `None`: no single range, the whole is served; `Some(None)`: it cannot be satisfied.
fn parse_range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let suffix: u64 = last.parse().ok()?;
        return Some((suffix > 0 && size > 0).then(|| (size.saturating_sub(suffix), size - 1)));
    }
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    (first <= last).then(|| (first < size).then(|| (first, last.min(size - 1))))
}

fn content_type(path: &str, file: &File) -> String {
    let guessed = || mime_guess::from_path(path).first_or_octet_stream().to_string();
    file.content_type.clone().unwrap_or_else(guessed)
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn len(bytes: &Bytes) -> u64 {
    bytes.len() as u64
}
