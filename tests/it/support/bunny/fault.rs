//! Faults of the emulator: what a storage zone does wrong, to which requests, how often.

use std::time::Duration;

/// What a request asks of the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `PUT` of a file or a directory.
    Put,
    /// `GET` of a file.
    Get,
    /// `DESCRIBE` of a file.
    Describe,
    /// `GET` of a directory.
    List,
    /// `DELETE` of a file or a directory.
    Delete,
    /// Any other verb, `HEAD` for one.
    Other,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BunnyFault {
    /// A `PUT` is answered 201 and nothing is stored.
    Forget,
    /// Every request is answered 401, as with a revoked key or in the wrong region.
    Unauthorized,
    /// Every request is answered 404.
    NotFound,
    /// A `DELETE` is answered 200 and nothing is removed.
    IgnoreDelete,
    /// The request is answered with this status.
    Status(u16),
    /// The request is answered 400 "Unable to process request", as when too many are in flight.
    Overload,
    /// The request is answered 200 with a page of HTML.
    HtmlPage,
    /// Listings show the zone as it was when the fault was switched on.
    StaleListing,
    /// The answer comes later.
    Delay(Duration),
}

/// A fault and when it strikes.
#[derive(Debug, Clone)]
pub struct BunnyRule {
    pub(super) fault: BunnyFault,
    ops: Vec<Op>,
    prefix: String,
    left: Option<u64>,
    percent: u64,
    asked: u64,
}

impl BunnyRule {
    /// Limits the fault to some operations.
    #[must_use]
    pub fn ops(mut self, ops: &[Op]) -> Self {
        self.ops = ops.to_vec();
        self
    }

    /// Limits the fault to paths that begin so.
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

    /// Lets the fault strike this share of the requests, drawn the same way in every run.
    #[must_use]
    pub fn percent(mut self, percent: u64) -> Self {
        self.percent = percent;
        self
    }

    /// Tells whether the fault strikes this request, and counts it.
    pub(super) fn strikes(&mut self, op: Op, path: &str) -> bool {
        let fits = (self.ops.is_empty() || self.ops.contains(&op)) && path.starts_with(&self.prefix);
        if !fits || self.left == Some(0) {
            return false;
        }
        self.asked += 1;
        let hash = blake3::hash(&self.asked.to_be_bytes());
        let strikes = u64::from(hash.as_bytes()[0]) * 100 / 256 < self.percent;
        if strikes {
            self.left = self.left.map(|left| left - 1);
        }
        strikes
    }
}

impl From<BunnyFault> for BunnyRule {
    fn from(fault: BunnyFault) -> Self {
        Self { fault, ops: Vec::new(), prefix: String::new(), left: None, percent: 100, asked: 0 }
    }
}
