//! Faults on the wire, and to which requests they happen.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

/// What happens to a request or its answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The request is taken and never answered; it does not reach the provider.
    BlackHole,
    /// The answer begins so much later.
    SlowFirstByte(Duration),
    /// The body of the answer comes in so many bytes, every so often.
    Dribble(usize, Duration),
    /// The body of the answer stops after so many bytes and the connection stays open.
    StallAfter(u64),
    /// The connection is reset (RST) after so many bytes of the body.
    ResetAfter(u64),
    /// The connection is closed after so many bytes of the body, though more were promised.
    ShortBody(u64),
    /// The body ends after so many bytes, and the headers agree.
    CleanShortBody(u64),
    /// The provider is not asked; this status and body are the answer.
    Status(u16, &'static str),
    /// One bit of the body's byte at this offset is flipped.
    FlipBit(u64),
    /// A partial answer claims another range than was asked for.
    WrongRange,
    /// A request for a range is answered 200 with these bytes, the whole object.
    WholeForRange(Bytes),
    /// The body is that of another object, and the headers agree.
    OtherBody(Bytes),
    /// The answer claims to be compressed.
    GzipHeader,
    /// The provider does what was asked, and the connection is reset instead of an answer.
    LostAnswer,
    /// The request reaches the provider so much later, even when the client has gone by then.
    DelayRequest(Duration),
    /// The request reaches the provider twice: at once, and again so much later.
    DoubleRequest(Duration),
    /// The provider is not asked; the answer is 200 with an S3 error in XML.
    ErrorWithStatus200,
}

/// A fault and when it happens.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    methods: Vec<Method>,
    prefix: String,
    left: Option<u64>,
}

impl Rule {
    /// Limits the fault to some methods.
    #[must_use]
    pub fn methods(mut self, methods: &[&str]) -> Self {
        self.methods = methods.iter().map(|method| method.parse().expect("a method")).collect();
        self
    }

    /// Limits the fault to keys, and prefixes of listings, that begin so.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_owned();
        self
    }

    /// Limits the fault to the next `times` requests that it fits.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.left = Some(times);
        self
    }

    /// Returns the fault if it happens to this request, and counts it.
    pub(super) fn strike(&mut self, method: &Method, key: &str) -> Option<Fault> {
        let fits =
            (self.methods.is_empty() || self.methods.contains(method)) && key.starts_with(&self.prefix);
        if !fits || self.left == Some(0) {
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        Some(self.fault.clone())
    }
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self { fault, methods: Vec::new(), prefix: String::new(), left: None }
    }
}
