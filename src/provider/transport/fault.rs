//! Faults: what went wrong on the wire, before it is known at which provider and in which operation.

use std::error::Error;
use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use crate::provider::{ErrorKind, Operation, ProviderError, ProviderId};

/// The longest story that is kept, in characters.
const DETAIL_CHARS_MAX: usize = 400;
/// S3's word for a range that lies beyond the object.
const INVALID_RANGE: &str = "InvalidRange";
/// The longest wait that a provider may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// A failed exchange.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Fault {
    /// What the caller does next.
    pub(crate) kind: ErrorKind,
    /// The vendor's own word for it.
    pub(crate) code: Option<String>,
    /// How long the provider asked us to wait.
    pub(crate) retry_after: Option<Duration>,
    /// The story for the log.
    pub(crate) detail: String,
}

impl Fault {
    /// Builds a fault from its story, which is cut where it is too long for a log.
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        let detail: String = detail.into();
        // Control characters from outside must not forge lines of a log.
        let detail = detail.chars().take(DETAIL_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c });
        Self { kind, code: None, retry_after: None, detail: detail.collect() }
    }

    /// Builds the fault of an answer that is not what was asked for.
    pub(crate) fn protocol(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, detail)
    }

    /// Builds the fault of an answer with another range than was asked for, of an object that is said to have so
    /// many bytes.
    pub(crate) fn another_range(asked: &Range<u64>, told: &Range<u64>, object_bytes: u64) -> Self {
        let ends_early = told.start == asked.start && told.end == object_bytes && object_bytes < asked.end;
        let kind = if ends_early { ErrorKind::Corrupt } else { ErrorKind::Protocol };
        Self::new(kind, format!("the range {told:?} of {object_bytes} bytes, where {asked:?} was asked for"))
    }

    /// Returns the code for a status that says that the object ends before the range.
    pub(crate) fn code_of(status: StatusCode) -> Option<String> {
        (status == StatusCode::RANGE_NOT_SATISFIABLE).then(|| INVALID_RANGE.to_owned())
    }

    /// Tells what a failure to read a range means: ranges lie within what was stored, so where the provider says
    /// that the object ends before, another one is there.
    pub(crate) fn of_range(self, asked: Option<&Range<u64>>) -> Self {
        let ends_early = asked.is_some() && self.code.as_deref() == Some(INVALID_RANGE);
        if ends_early { Self { kind: ErrorKind::Corrupt, ..self } } else { self }
    }

    /// Builds the fault of an answer that did not come in time.
    pub(crate) fn timeout(limit: Duration) -> Self {
        Self::new(ErrorKind::Timeout, format!("no answer within {limit:?}"))
    }

    /// Reads a transport error of reqwest.
    pub(crate) fn of_reqwest(error: &reqwest::Error) -> Self {
        let kind = if error.is_timeout() {
            ErrorKind::Timeout
        } else if error.is_builder() {
            ErrorKind::Refused
        } else if sources(error)
            .any(|source| source.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse))
        {
            ErrorKind::Protocol
        } else {
            ErrorKind::Unavailable
        };
        Self::new(kind, chain(error))
    }

    /// Finds the fault in an error that another crate has wrapped; what is not ours is an answer that the
    /// other crate could not make sense of.
    pub(crate) fn find(error: &(dyn Error + 'static)) -> Self {
        for source in sources(error) {
            if let Some(fault) = source.downcast_ref::<Self>() {
                return fault.clone();
            }
            if let Some(error) = source.downcast_ref::<reqwest::Error>() {
                return Self::of_reqwest(error);
            }
        }
        Self::protocol(chain(error))
    }

    /// Blots out secrets that an answer has echoed.
    pub(crate) fn without(mut self, secrets: &[SecretString]) -> Self {
        for secret in secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty()) {
            self.detail = self.detail.replace(secret, "(secret)");
        }
        self
    }

    /// Says at which provider and in which operation it happened.
    pub(crate) fn at(self, provider: &ProviderId, operation: Operation) -> ProviderError {
        ProviderError::new(provider, operation, self.kind)
            .with_detail(self.detail)
            .with_retry_after(self.retry_after)
    }
}

/// Writes an error and its causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for source in sources(error) {
        let part = source.to_string();
        // Many errors repeat their cause in their own text.
        if text.contains(&part) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&part);
    }
    text
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// Reads a `Retry-After`, in seconds or as a date.
pub(crate) fn retry_after(value: &str, now_unix_ms: u64) -> Option<Duration> {
    let value = value.trim();
    let wait = value.parse().map(Duration::from_secs).ok().or_else(|| {
        let until = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(until.saturating_sub(Duration::from_millis(now_unix_ms)))
    })?;
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_are_seconds_or_dates_and_never_longer_than_an_hour() {
        let now = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        for (value, seconds) in [
            ("5", Some(5)),
            (" 0 ", Some(0)),
            ("999999999", Some(3_600)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_fault_is_found_again_inside_other_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("wrapped")]
        struct Wrapped(#[source] Fault);
        let fault = Fault::new(ErrorKind::Throttled, "slow down");
        assert_eq!(Fault::find(&Wrapped(fault.clone())), fault);
        assert_eq!(Fault::find(&std::fmt::Error).kind, ErrorKind::Protocol);
    }

    #[test]
    fn echoed_secrets_are_blotted_out() {
        let secrets = ["hunter2".into(), "".into()];
        let fault = Fault::protocol("key hunter2 is wrong").without(&secrets);
        assert_eq!(fault.detail, "key (secret) is wrong");
    }

    #[test]
    fn stories_are_one_bounded_line() {
        let fault = Fault::protocol(format!("a\nb{}", "x".repeat(1_000)));
        assert!(fault.detail.starts_with("a b") && fault.detail.chars().count() == DETAIL_CHARS_MAX);
    }

    proptest! {
        #[test]
        fn no_retry_after_panics(value in "\\PC{0,40}", now: u64) {
            let _ = retry_after(&value, now);
        }
    }
}
