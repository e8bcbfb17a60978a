//! Entry points for the fuzz target `s3`: every parser of bytes that a vendor sends.

use http::StatusCode;

use super::{classify, xml};

/// Reads an answer's body as an error and as a page of a listing.
pub fn body(bytes: &[u8]) {
    let _ = xml::error_document(bytes);
    let _ = xml::page(bytes);
    let _ = classify::fault(StatusCode::NOT_FOUND, bytes);
    let _ = classify::hidden_fault(bytes);
}
