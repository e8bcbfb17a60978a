//! Entry points for the fuzz target `http`: every parser of bytes that a client sends.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::{conditions, digest, framing, intake, range, target};
use crate::asset::{Blake3, Sha256};

/// Judges a head, and reads its lines as header fields of reads and uploads.
pub fn head(bytes: &[u8]) {
    if let Ok(Some(end)) = framing::head_end(bytes) {
        let _ = framing::judge(&bytes[..end]);
    }
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let name = halves.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = halves.next().and_then(|value| HeaderValue::from_bytes(value).ok());
        headers.extend(name.zip(value));
    }
    let created = chrono::DateTime::from_timestamp(1_795_345_530, 0).unwrap_or_default();
    let validators = conditions::Validators::new(Blake3::new([7; 32]), created);
    let _ = range::wanted(&headers, 1_000_000);
    let _ = digest::expected(&headers);
    let _ = digest::repr_digest(Sha256::new([7; 32]));
    let _ = conditions::evaluate(&headers, &validators);
    let _ = conditions::range_applies(&headers, &validators);
    let _ = conditions::of_upload(&headers, true);
    let _ = intake::of_form(&headers, None, true);
}

/// Reads a request target.
pub fn target(bytes: &[u8]) {
    if let Ok(uri) = Uri::try_from(bytes) {
        for method in [Method::GET, Method::PUT, Method::POST, Method::OPTIONS] {
            let _ = target::Target::of(&method, &uri);
        }
    }
}
