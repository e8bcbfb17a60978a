//! What an S3 answer means: status and vendor's word to the kind of error. Pure.

use http::StatusCode;

use super::xml::{ErrorDocument, error_document};
use crate::provider::ErrorKind;
use crate::provider::transport::{Fault, is_html};

/// The vendor's word for "the bucket is there, the object is not".
pub(super) const NO_SUCH_KEY: &str = "NoSuchKey";

/// Says what the caller does next. `NotFound` is certain only with the word [`NO_SUCH_KEY`].
pub(super) fn kind(status: StatusCode, code: Option<&str>) -> ErrorKind {
    match code.unwrap_or_default() {
        "NoSuchBucket" => return ErrorKind::NoContainer,
        NO_SUCH_KEY => return ErrorKind::NotFound,
        "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequests" => {
            return ErrorKind::Throttled;
        }
        "RequestTimeout" => return ErrorKind::Timeout,
        // What arrived is not what was sent: the same bytes may fare better.
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
            return ErrorKind::Corrupt;
        }
        "IncompleteBody" | "OperationAborted" | "InternalError" => return ErrorKind::Unavailable,
        _ => {}
    }
    match status.as_u16() {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        429 => ErrorKind::Throttled,
        // Ranges lie within the object: a provider that says otherwise holds another one.
        416 => ErrorKind::Protocol,
        501 => ErrorKind::Refused,
        500..=599 => ErrorKind::Unavailable,
        300..=499 => ErrorKind::Refused,
        _ => ErrorKind::Protocol,
    }
}

/// Reads the answer to a failed request.
pub(super) fn fault(status: StatusCode, body: &[u8]) -> Fault {
    let document = error_document(body);
    let code = document.as_ref().and_then(|document| document.code.clone());
    let story = match &document {
        Some(ErrorDocument { message, .. }) => format!(": {message}"),
        None if is_html(body) => ", a page for people".to_owned(),
        None => String::new(),
    };
    let hint = match status.as_u16() {
        300..=399 => " (a redirect: wrong endpoint or region?)",
        _ => "",
    };
    let word = code.as_deref().unwrap_or("no code");
    let mut fault = Fault::new(kind(status, code.as_deref()), format!("{status}, {word}{story}{hint}"));
    fault.code = code.or_else(|| Fault::code_of(status));
    fault
}

/// Finds the failure in the body of an answer whose status claims success, as some vendors send it when
/// they learn of a failure too late for the status.
pub(super) fn hidden_fault(body: &[u8]) -> Option<Fault> {
    if error_document(body).is_some() {
        return Some(fault(StatusCode::INTERNAL_SERVER_ERROR, body));
    }
    is_html(body).then(|| Fault::protocol("a page for people instead of an answer"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn status_and_word_decide_what_to_do_next() {
        use ErrorKind::{
            Corrupt, Denied, NoContainer, NotFound, Protocol, Refused, Throttled, Timeout, Unavailable,
        };
        for (status, code, expected) in [
            (404, Some("NoSuchKey"), NotFound),
            (404, None, NotFound),
            (404, Some("NoSuchBucket"), NoContainer),
            (401, None, Denied),
            (403, Some("AccessDenied"), Denied),
            (403, Some("SignatureDoesNotMatch"), Denied),
            (403, Some("ServiceUnavailable"), Denied),
            (429, None, Throttled),
            (503, Some("SlowDown"), Throttled),
            (503, None, Unavailable),
            (500, Some("InternalError"), Unavailable),
            (502, None, Unavailable),
            (501, Some("NotImplemented"), Refused),
            (400, Some("InvalidRequest"), Refused),
            (400, Some("BadDigest"), Corrupt),
            (400, Some("XAmzContentSHA256Mismatch"), Corrupt),
            (400, Some("IncompleteBody"), Unavailable),
            (400, Some("RequestTimeout"), Timeout),
            (408, None, Timeout),
            (409, Some("OperationAborted"), Unavailable),
            (411, None, Refused),
            (416, Some("InvalidRange"), Protocol),
            (301, Some("PermanentRedirect"), Refused),
            (204, None, Protocol),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(kind(status, code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn a_failure_behind_a_good_status_is_found() {
        let hidden = |body: &str| hidden_fault(body.as_bytes()).map(|fault| fault.kind);
        assert_eq!(hidden(""), None);
        assert_eq!(hidden("<CopyObjectResult/>"), None);
        assert_eq!(hidden("<Error><Code>SlowDown</Code></Error>"), Some(ErrorKind::Throttled));
        assert_eq!(hidden("<Error></Error>"), Some(ErrorKind::Unavailable));
        assert_eq!(hidden("<!doctype html>"), Some(ErrorKind::Protocol));
    }

    proptest! {
        #[test]
        fn no_answer_panics(status in 100u16..1000, body: Vec<u8>) {
            let _ = fault(StatusCode::from_u16(status).unwrap(), &body);
        }
    }
}
