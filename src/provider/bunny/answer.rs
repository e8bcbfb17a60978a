//! What an answer of Bunny means, and the numbers in its headers. Pure.

use std::ops::Range;

use http::StatusCode;
use serde::Deserialize;

use crate::provider::ErrorKind;
use crate::provider::transport::{Fault, is_html};

/// How the servers say that too many listings or deletions are in flight; any other 400 is for good.
const OVERLOAD: &str = "unable to process request";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Problem {
    #[serde(default)]
    message: String,
}

/// Reads the answer to a failed request; `upload` says that it carried a body and its checksum.
pub(super) fn fault(status: StatusCode, body: &[u8], upload: bool) -> Fault {
    let problem = serde_json::from_slice::<Problem>(body).ok().map(|problem| problem.message);
    let story = match &problem {
        Some(message) => format!(": {message}"),
        None if is_html(body) => ", a page for people".to_owned(),
        None => String::new(),
    };
    let overloaded = String::from_utf8_lossy(body).to_ascii_lowercase().contains(OVERLOAD);
    let kind = match status.as_u16() {
        400 if overloaded => ErrorKind::Throttled,
        400 if upload => upload_refusal(problem.as_deref()),
        401 | 403 => ErrorKind::Denied,
        // An upload makes its folders, so only the zone can be missing.
        404 if upload => ErrorKind::NoContainer,
        // An object is only missing on the API's word; a page for people comes from somebody else.
        404 if !is_html(body) => ErrorKind::NotFound,
        404 | 416 => ErrorKind::Protocol,
        408 => ErrorKind::Timeout,
        429 => ErrorKind::Throttled,
        501 => ErrorKind::Refused,
        500..=599 => ErrorKind::Unavailable,
        300..=499 => ErrorKind::Refused,
        _ => ErrorKind::Protocol,
    };
    Fault { code: Fault::code_of(status), ..Fault::new(kind, format!("{status}{story}")) }
}

/// Uploads of ours are well formed, so a refusal in the API's own words means that the bytes did not match
/// their checksum, unless it begins as the other known refusals do.
fn upload_refusal(message: Option<&str>) -> ErrorKind {
    let Some(message) = message.map(str::to_ascii_lowercase) else {
        return ErrorKind::Refused;
    };
    if message.contains("checksum") || !message.starts_with("unable to") {
        ErrorKind::Corrupt
    } else {
        ErrorKind::Refused
    }
}

/// Reads the first byte, the one after the last, and the whole size from a `Content-Range`.
pub(super) fn content_range(value: &str) -> Option<(Range<u64>, u64)> {
    let (range, bytes) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?, bytes.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn status_and_words_decide_what_to_do_next() {
        use ErrorKind::{Corrupt, Denied, NotFound, Protocol, Refused, Throttled, Timeout, Unavailable};
        let no = r#"{"HttpCode":401,"Message":"Unauthorized"}"#;
        let missing = r#"{"HttpCode":404,"Message":"Object Not Found"}"#;
        let busy = r#"{"HttpCode":400,"Message":"Unable to process request"}"#;
        let digest = r#"{"HttpCode":400,"Message":"Checksum does not match"}"#;
        let folder = r#"{"HttpCode":400,"Message":"Unable to upload file: Failed to create file"}"#;
        let page = "<html><center>400 Bad Request</center></html>";
        for (status, body, upload, expected) in [
            (401, no, false, Denied),
            (403, "", false, Denied),
            (404, missing, false, NotFound),
            (404, "", false, NotFound),
            (404, page, false, Protocol),
            (400, busy, false, Throttled),
            (400, busy, true, Throttled),
            (400, "Unable to process request", false, Throttled),
            (400, digest, true, Corrupt),
            (400, r#"{"Message":"Unable to verify the checksum"}"#, true, Corrupt),
            (400, digest, false, Refused),
            (404, missing, true, ErrorKind::NoContainer),
            (400, folder, true, Refused),
            (400, page, true, Refused),
            (400, page, false, Refused),
            (408, "", false, Timeout),
            (413, "", true, Refused),
            (416, "", false, Protocol),
            (429, "", false, Throttled),
            (500, "", false, Unavailable),
            (503, page, false, Unavailable),
            (302, "", false, Refused),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(fault(status, body.as_bytes(), upload).kind, expected, "{status} {body}");
        }
    }

    #[test]
    fn content_ranges_are_read_exactly() {
        assert_eq!(content_range("bytes 0-4/10"), Some((0..5, 10)));
        let bad = ["", "bytes 0-4", "bytes */10", "0-4/10", "bytes 0-x/10", "bytes -4/10", "bytes 0-4/*"];
        for value in bad.into_iter().chain(["bytes 0-18446744073709551615/10"]) {
            assert_eq!(content_range(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(status in 100u16..1000, body: Vec<u8>, range in "(bytes|[0-9]| |-|/|\\*){0,12}") {
            let _ = fault(StatusCode::from_u16(status).unwrap(), &body, true);
            let _ = content_range(&range);
        }
    }
}
