//! Entry points for the fuzz target `bunny`: every parser of bytes that Bunny sends.

use http::StatusCode;

use super::{answer, rows};

/// Reads an answer's body as a row, an error, and a header value.
pub fn body(bytes: &[u8]) {
    let _ = rows::Row::parse(bytes);
    let _ = answer::fault(StatusCode::BAD_REQUEST, bytes, true);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = answer::content_range(text);
    }
}

/// Reads an answer's body as a listing that arrives in two pieces.
pub fn listing(bytes: &[u8]) {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut rows = rows::RowScanner::new("names/");
    if rows.push(first).is_ok() && rows.push(second).is_ok() {
        let _ = rows.finish();
    }
}
