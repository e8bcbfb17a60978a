//! Faults on the wire, and to which requests they happen.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use rand::Rng;

use super::hold::Hold;

/// What happens to a request or its answer.
///
/// *Any* faults happen to every request, PUT, DELETE and listings included. *Body* faults happen to answers
/// that have a body (to `GET`, listings included, to `DESCRIBE`, and what a provider says to a PUT or DELETE)
/// and leave empty answers, as those to `HEAD`, alone; so do offsets behind the end of the body. *Range*
/// faults happen to answers 206 alone.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Any: the request is taken and never answered; it does not reach the provider.
    BlackHole,
    /// Any: the answer begins so much later.
    SlowFirstByte(Duration),
    /// Body: it comes in so many bytes, every so often.
    Dribble(usize, Duration),
    /// Body: it stops after so many bytes and the connection stays open.
    StallAfter(u64),
    /// Body: the connection is reset (RST) after so many bytes.
    ResetAfter(u64),
    /// Body: the connection is reset (RST) before a byte that the die chooses.
    ResetAnywhere,
    /// Body: the connection is closed after so many bytes, though more were promised.
    ShortBody(u64),
    /// Body: it ends after so many bytes, and the headers agree.
    CleanShortBody(u64),
    /// Body: one bit of the byte at this offset is flipped.
    FlipBit(u64),
    /// Body: one bit of a byte that the die chooses is flipped.
    FlipAnywhere,
    /// Range: the answer claims another range than was asked for; its bytes are the right ones.
    WrongRange,
    /// Range: the bytes are those that begin one byte later; the headers claim the right range.
    ShiftedRange,
    /// Body: the answer is 200 with these bytes, the whole object, whatever range was asked for.
    WholeForRange(Bytes),
    /// Range: the answer is 200 and as long as the whole object, with zeros around the range.
    RangeIgnored,
    /// Body: it is that of another object, and the headers agree.
    OtherBody(Bytes),
    /// Body: its bytes are random ones, as many as were promised.
    WrongBody,
    /// Body: the answer claims to be compressed.
    GzipHeader,
    /// Any: the provider is not asked; this status and plain text are the answer. 429 and 503 say
    /// `Retry-After: 1`.
    Status(u16, &'static str),
    /// Any: the provider is not asked; this status is the answer, with the error that its API writes. 429 and
    /// 503 say `Retry-After: 1`.
    ApiError(u16),
    /// Any: the provider is not asked; a page for people is the answer, with this status.
    HtmlPage(u16),
    /// Any: the provider is not asked; the answer is 200 with an S3 error in XML.
    ErrorWithStatus200,
    /// Reads: the container is there and empty: objects are not found, listings show nothing. PUT and DELETE
    /// reach the provider.
    Wiped,
    /// Any: there is no such container: `NoSuchBucket` of S3, 401 of Bunny.
    NoContainer,
    /// Any: the provider does what was asked, and the connection is reset instead of an answer.
    LostAnswer,
    /// Any: the request reaches the provider so much later, even when the client has gone by then.
    DelayRequest(Duration),
    /// Any: the request reaches the provider twice: at once, and again so much later.
    DoubleRequest(Duration),
    /// Any: the request is held before or after the provider does it, and reported.
    Hold(Hold),
}

/// A fault and when it happens.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    methods: Vec<String>,
    prefix: String,
    suffix: String,
    skipped: u64,
    left: Option<u64>,
    share: f64,
}

impl Rule {
    /// Limits the fault to some methods.
    #[must_use]
    pub fn methods(mut self, methods: &[&str]) -> Self {
        self.methods = methods.iter().map(|&method| method.to_owned()).collect();
        self
    }

    /// Limits the fault to keys, and prefixes of listings, that begin so.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_owned();
        self
    }

    /// Limits the fault to keys, and prefixes of listings, that end so.
    #[must_use]
    pub fn suffix(mut self, suffix: &str) -> Self {
        self.suffix = suffix.to_owned();
        self
    }

    /// Leaves the first `requests` alone that the fault fits, and that the die chooses.
    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skipped = requests;
        self
    }

    /// Limits the fault to the next `times` requests that it fits, and that the die chooses.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.left = Some(times);
        self
    }

    /// Limits the fault to this share, from 0 to 1, of the requests that it fits; the die chooses them.
    #[must_use]
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Returns the fault if it happens to this request, and counts it.
    pub(super) fn strike(&mut self, method: &Method, key: &str, die: &mut impl Rng) -> Option<Fault> {
        let asked = self.methods.is_empty() || self.methods.iter().any(|name| name == method.as_str());
        let named = key.starts_with(&self.prefix) && key.ends_with(&self.suffix);
        let fits = asked && named && self.left != Some(0);
        // The die is only thrown where it decides, so that rules without a share do not change its course.
        if !fits || (self.share < 1.0 && die.random::<f64>() >= self.share) {
            return None;
        }
        if self.skipped > 0 {
            self.skipped -= 1;
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        Some(self.fault.clone())
    }
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        let (prefix, suffix) = (String::new(), String::new());
        Self { fault, methods: Vec::new(), prefix, suffix, skipped: 0, left: None, share: 1.0 }
    }
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
