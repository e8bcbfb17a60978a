//! Problems: every refusal and failure as `application/problem+json` (RFC 9457), from one table.
//!
//! A handler returns a [`Problem`]; the outermost layer writes it, because only that layer knows the request
//! id. What a client reads is stable and safe: it names the rule that was broken, never a provider, a path
//! on this machine or the text of an inner error. Those go into `cause`, for the log alone.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::asset::name::NameError;
use crate::read::ReadError;
use crate::write::{Outcome, WriteError};

/// When a client may try again after a failed write or an overload, in seconds.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What went wrong, by what the client should do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ProblemKind {
    MalformedRequest,
    InvalidName,
    InvalidHeader,
    InvalidQuery,
    InvalidForm,
    DigestMismatch,
    IncompleteBody,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Timeout,
    LengthRequired,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    ExpectationFailed,
    Misdirected,
    HeadTooLarge,
    Internal,
    NotImplemented,
    Overloaded,
    NotReady,
    Unavailable,
}

impl ProblemKind {
    /// Returns the status, the last word of the type, and the title.
    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedRequest => (S::BAD_REQUEST, "malformed-request", "The request is malformed"),
            Self::InvalidName => (S::BAD_REQUEST, "invalid-name", "The name cannot be that of an asset"),
            Self::InvalidHeader => (S::BAD_REQUEST, "invalid-header", "A header field is invalid"),
            Self::InvalidQuery => (S::BAD_REQUEST, "invalid-query", "A query parameter is invalid"),
            Self::InvalidForm => (S::BAD_REQUEST, "invalid-form", "The form is invalid"),
            Self::DigestMismatch => (S::BAD_REQUEST, "digest-mismatch", "A digest does not match the body"),
            Self::IncompleteBody => (S::BAD_REQUEST, "incomplete-body", "The body did not arrive whole"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "A valid token is needed"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "The token does not allow this"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::Timeout => (S::REQUEST_TIMEOUT, "timeout", "The request did not arrive in time"),
            Self::LengthRequired => (S::LENGTH_REQUIRED, "length-required", "A length is needed"),
            Self::PreconditionFailed => {
                (S::PRECONDITION_FAILED, "precondition-failed", "A condition does not hold")
            }
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "The body is larger than allowed"),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body has the wrong type")
            }
            Self::RangeNotSatisfiable => {
                (S::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The range lies outside the asset")
            }
            Self::ExpectationFailed => {
                (S::EXPECTATION_FAILED, "expectation-failed", "The expectation cannot be met")
            }
            Self::Misdirected => {
                (S::MISDIRECTED_REQUEST, "misdirected", "The request is meant for somebody else")
            }
            Self::HeadTooLarge => {
                (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "The head is larger than allowed")
            }
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "The gateway failed"),
            Self::NotImplemented => (S::NOT_IMPLEMENTED, "not-implemented", "Not implemented"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Too many requests at once"),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not-ready", "The gateway is not ready"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Too few providers answer"),
        }
    }
}

/// A refusal or failure, on its way to the client.
#[derive(Debug, Clone)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    outcome: Option<Outcome>,
    retry_after: Option<Duration>,
    field: Option<(HeaderName, HeaderValue)>,
    cause: Option<String>,
}

/// The members of the JSON, in this order.
#[derive(Serialize)]
struct Members<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

impl Problem {
    /// Builds a problem; `detail` is for the client.
    pub(super) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after =
            matches!(kind, ProblemKind::Overloaded | ProblemKind::NotReady | ProblemKind::Unavailable)
                .then_some(RETRY_AFTER);
        let detail = detail.into();
        Self(Box::new(Inner { kind, detail, outcome: None, retry_after, field: None, cause: None }))
    }

    /// Builds the refusal of a method, with the methods that are allowed.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(ProblemKind::MethodNotAllowed, "the resource does not take this method")
            .with_field(header::ALLOW, HeaderValue::from_static(allow))
    }

    /// Adds what a failed write left behind.
    #[must_use]
    pub(super) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome.get_or_insert(outcome);
        self
    }

    /// Adds a header field to the response.
    #[must_use]
    pub(super) fn with_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.field = Some((name, value));
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub(super) fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.0.retry_after = Some(retry_after);
        self
    }

    /// Adds the full story for the log; clients never see it.
    #[must_use]
    pub(super) fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Returns what went wrong.
    pub(super) fn kind(&self) -> ProblemKind {
        self.0.kind
    }

    /// Returns the status of the response.
    pub(super) fn status(&self) -> StatusCode {
        self.0.kind.row().0
    }

    /// Returns the full story for the log.
    pub(super) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// Returns the problem as a JSON value, for lists of results.
    pub(super) fn to_json(&self, request_id: &str) -> serde_json::Value {
        // Plain strings and numbers always have a JSON form.
        serde_json::to_value(self.members(request_id)).unwrap_or_default()
    }

    /// Returns the body of the response.
    pub(super) fn to_body(&self, request_id: &str) -> Bytes {
        let mut json = serde_json::to_vec(&self.members(request_id)).unwrap_or_default();
        json.push(b'\n');
        json.into()
    }

    /// Returns the header fields of the response that are this problem's own.
    pub(super) fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(retry_after) = self.0.retry_after {
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some((name, value)) = &self.0.field {
            fields.insert(name, value.clone());
        }
        fields
    }

    /// Writes the response.
    pub(super) fn to_response(&self, request_id: &str) -> Response {
        let mut response = Response::new(Body::from(self.to_body(request_id)));
        *response.status_mut() = self.status();
        *response.headers_mut() = self.fields();
        response
    }

    fn members<'a>(&'a self, request_id: &'a str) -> Members<'a> {
        let (status, word, title) = self.0.kind.row();
        Members {
            r#type: format!("urn:triplicate:problem:{word}"),
            title,
            status: status.as_u16(),
            detail: &self.0.detail,
            request_id,
            outcome: self.0.outcome.map(outcome_word),
        }
    }
}

impl IntoResponse for Problem {
    /// Hands the problem to the outermost layer, which writes it.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        // The texts of a name error name the rule, not the name.
        Self::new(ProblemKind::InvalidName, error.to_string())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound => Self::new(ProblemKind::NotFound, "there is no asset of this name"),
            ReadError::NeverCommitted => {
                Self::new(ProblemKind::Unavailable, "the current version is not settled yet, ask again")
            }
            ReadError::Unavailable { reason, retry_after } => {
                Self::new(ProblemKind::Unavailable, "too few providers answer to serve this correctly")
                    .with_retry_after(retry_after)
                    .with_cause(reason)
            }
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let (problem, outcome) = match error {
            WriteError::Unavailable { outcome, reason } => {
                let detail = match outcome {
                    Outcome::NotCommitted => "no majority of the providers took the write; it did not happen",
                    Outcome::Unknown => {
                        "no majority of the providers confirmed in time; the write may turn up, whole or not at all"
                    }
                };
                (Self::new(ProblemKind::Unavailable, detail).with_cause(reason), outcome)
            }
            WriteError::DigestMismatch(field) => {
                let detail = format!("the body does not match the declared {field}");
                (Self::new(ProblemKind::DigestMismatch, detail), Outcome::NotCommitted)
            }
            WriteError::TooLarge => (too_large(), Outcome::NotCommitted),
            WriteError::BodyBroken(cause) => {
                let problem = Self::new(ProblemKind::IncompleteBody, "the body ended early or broke");
                (problem.with_cause(cause), Outcome::NotCommitted)
            }
            WriteError::BodyTimeout => {
                let detail = "no byte of the body came for too long";
                (Self::new(ProblemKind::Timeout, detail), Outcome::NotCommitted)
            }
            WriteError::PreconditionFailed => {
                let detail = "the current version does not fit If-Match or If-None-Match";
                (Self::new(ProblemKind::PreconditionFailed, detail), Outcome::NotCommitted)
            }
        };
        problem.with_outcome(outcome)
    }
}

/// Builds the refusal of a body that is larger than allowed.
pub(super) fn too_large() -> Problem {
    Problem::new(ProblemKind::TooLarge, "the body is larger than the configured limit of an asset")
}

/// Builds the refusal of a header field; `detail` names it.
pub(super) fn invalid_header(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::InvalidHeader, detail)
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotCommitted => "not-committed",
        Outcome::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_writes_say_what_they_left_behind() {
        let unavailable = |outcome| WriteError::Unavailable { outcome, reason: "s3-one: 10.0.0.7".into() };
        let table = [
            (unavailable(Outcome::NotCommitted), 503, "not-committed"),
            (unavailable(Outcome::Unknown), 503, "unknown"),
            (WriteError::DigestMismatch("Checksum"), 400, "not-committed"),
            (WriteError::TooLarge, 413, "not-committed"),
            (WriteError::BodyBroken("reset".into()), 400, "not-committed"),
            (WriteError::BodyTimeout, 408, "not-committed"),
            (WriteError::PreconditionFailed, 412, "not-committed"),
        ];
        for (error, status, outcome) in table {
            let json = Problem::from(error.clone()).to_json("0123");
            assert_eq!(json["status"], status, "{error:?}");
            assert_eq!(json["outcome"], outcome, "{error:?}");
            assert_eq!(json["request_id"], "0123");
        }
    }

    #[test]
    fn causes_are_for_the_log_alone() {
        let reason = "s3-one at 10.0.0.7 refused key AKIA";
        let retry_after = Duration::from_millis(1_200);
        let problem = Problem::from(ReadError::Unavailable { reason: reason.into(), retry_after });
        assert_eq!(problem.cause(), Some(reason));
        assert!(!String::from_utf8_lossy(&problem.to_body("id")).contains("s3-one"));
        assert_eq!(problem.fields()[header::RETRY_AFTER], "2");
        assert_eq!(problem.fields()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn the_first_outcome_stays() {
        let problem = Problem::new(ProblemKind::Unavailable, "x").with_outcome(Outcome::Unknown);
        assert_eq!(problem.with_outcome(Outcome::NotCommitted).to_json("")["outcome"], "unknown");
    }
}
