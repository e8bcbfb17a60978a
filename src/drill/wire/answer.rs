//! Answers that a provider did not give. Pure.

use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;

use super::fault::Fault;
use super::loopback::{Body, full};
use super::seen::{Dialect, Seen};

const XML: &str = "application/xml";
const JSON: &str = "application/json";
const HTML: &str = "text/html";
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Something went wrong</title></head>\n<body><h1>Something \
                    went wrong</h1><p>Please try again later.</p></body></html>\n";

/// Returns what is answered instead of asking the provider, if the fault is of that kind.
pub(super) fn instead(fault: &Fault, seen: &Seen) -> Option<Response<Body>> {
    match fault {
        Fault::Status(status, body) => Some(canned(*status, "text/plain", (*body).to_owned())),
        Fault::ApiError(status) => Some(api_error(seen.dialect, *status)),
        Fault::HtmlPage(status) => Some(canned(*status, HTML, PAGE.to_owned())),
        Fault::ErrorWithStatus200 => Some(canned(200, XML, s3_error("InternalError"))),
        Fault::NoContainer => Some(match seen.dialect {
            Dialect::S3 => canned(404, XML, s3_error("NoSuchBucket")),
            // No password fits a zone that is not there.
            Dialect::Bunny => api_error(Dialect::Bunny, 401),
        }),
        Fault::Wiped => wiped(seen),
        Fault::BlackHole
        | Fault::SlowFirstByte(_)
        | Fault::Dribble(..)
        | Fault::StallAfter(_)
        | Fault::ResetAfter(_)
        | Fault::ResetAnywhere
        | Fault::ShortBody(_)
        | Fault::CleanShortBody(_)
        | Fault::FlipBit(_)
        | Fault::FlipAnywhere
        | Fault::WrongRange
        | Fault::ShiftedRange
        | Fault::WholeForRange(_)
        | Fault::RangeIgnored
        | Fault::OtherBody(_)
        | Fault::WrongBody
        | Fault::GzipHeader
        | Fault::LostAnswer
        | Fault::DelayRequest(_)
        | Fault::DoubleRequest(_)
        | Fault::Hold(_) => None,
    }
}

/// An empty container takes what is written to it.
fn wiped(seen: &Seen) -> Option<Response<Body>> {
    if seen.method == Method::PUT || seen.method == Method::DELETE || seen.method == Method::POST {
        return None;
    }
    Some(match (seen.listing, seen.dialect) {
        (false, dialect) => api_error(dialect, 404),
        (true, Dialect::Bunny) => canned(200, JSON, "[]".to_owned()),
        (true, Dialect::S3) => {
            let prefix = quick_xml::escape::escape(seen.key.as_str());
            let list = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult><Prefix>{prefix}</Prefix>\
                 <KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
            );
            canned(200, XML, list)
        }
    })
}

/// Returns a short answer for people.
pub(super) fn text(status: StatusCode, words: &str) -> Response<Body> {
    canned(status.as_u16(), "text/plain", words.to_owned())
}

fn api_error(dialect: Dialect, status: u16) -> Response<Body> {
    match dialect {
        Dialect::S3 => {
            let code = match status {
                400 => "InvalidRequest",
                401 | 403 => "AccessDenied",
                404 => "NoSuchKey",
                429 => "TooManyRequests",
                501 => "NotImplemented",
                503 => "SlowDown",
                _ => "InternalError",
            };
            canned(status, XML, s3_error(code))
        }
        Dialect::Bunny => {
            let message = match status {
                400 => "Unable to process request",
                401 => "Unauthorized",
                404 => "Object Not Found",
                429 => "Too many requests",
                _ => "Internal error",
            };
            canned(status, JSON, json!({ "HttpCode": status, "Message": message }).to_string())
        }
    }
}

fn s3_error(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>This is what a failing \
         provider says.</Message></Error>"
    )
}

fn canned(status: u16, content_type: &'static str, body: String) -> Response<Body> {
    let mut answer = Response::new(full(body));
    // A number that is no status stands for a provider that fails.
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if [429, 503].contains(&status) {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
