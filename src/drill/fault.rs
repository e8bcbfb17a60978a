//! Faults by plain names, and what each means on the wire.

use std::time::Duration;

use super::scenario::Fault;
use super::wire::{Fault as Broken, Rule};

/// How late something is that is late.
const LATE: Duration = Duration::from_secs(2);
/// Between two pieces of a dribbling body.
const DRIBBLE_PAUSE: Duration = Duration::from_secs(1);
/// How large such a piece is.
const DRIBBLE_BYTES: usize = 1024;
/// Where bodies stop that stop at no random byte: within nearly every asset.
const STOP_AFTER: u64 = 512;
/// What writes call.
const WRITES: [&str; 2] = ["PUT", "DELETE"];

/// What is wrong with a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Refused,
    Flapping,
    Wiped,
    BlackHole,
    SlowFirstByte,
    Dribble,
    Stall,
    Reset,
    FlippedBit,
    ShortBody,
    WrongRange,
    RangeIgnored,
    WrongBody,
    Gzip,
    Html,
    Error200,
    Throttled,
    Unauthorised,
    Forbidden,
    NotFound,
    NoBucket,
    Failing,
    Unavailable,
    TimedOut,
    NoWrites,
    LostAnswer,
}

impl Kind {
    /// All of them, in the order in which they are listed and played.
    pub(super) const ALL: [Self; 26] = [
        Self::Refused,
        Self::BlackHole,
        Self::SlowFirstByte,
        Self::Dribble,
        Self::Stall,
        Self::Reset,
        Self::FlippedBit,
        Self::ShortBody,
        Self::WrongRange,
        Self::RangeIgnored,
        Self::WrongBody,
        Self::Gzip,
        Self::Html,
        Self::Error200,
        Self::Throttled,
        Self::Unauthorised,
        Self::Forbidden,
        Self::NotFound,
        Self::NoBucket,
        Self::Failing,
        Self::Unavailable,
        Self::TimedOut,
        Self::Flapping,
        Self::NoWrites,
        Self::LostAnswer,
        Self::Wiped,
    ];

    /// Returns the name.
    pub(super) const fn name(self) -> &'static str {
        self.words().0
    }

    /// Returns what happens, in one line.
    pub(super) const fn about(self) -> &'static str {
        self.words().1
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Refused => ("refused", "connections are refused, those that are open are reset"),
            Self::Flapping => ("flapping", "refused for a second, well for a second, and so on"),
            Self::Wiped => ("wiped", "the provider is emptied, its canary too; it answers as before"),
            Self::BlackHole => ("black-hole", "requests are taken and never answered"),
            Self::SlowFirstByte => ("slow-first-byte", "every answer begins 2 s late"),
            Self::Dribble => ("dribble", "bodies come as 1 KiB a second"),
            Self::Stall => ("stall", "bodies stop after 512 bytes, the connection stays open"),
            Self::Reset => ("reset", "connections are reset at a random byte of the body"),
            Self::FlippedBit => ("flipped-bit", "one bit of every stored part comes back flipped"),
            Self::ShortBody => ("short-body", "connections are closed 512 bytes into the body"),
            Self::WrongRange => ("wrong-range", "answers claim another range than was asked for"),
            Self::RangeIgnored => ("range-ignored", "ranges are answered 200 with the whole object"),
            Self::WrongBody => ("wrong-body", "parts come back as random bytes of the right length"),
            Self::Gzip => ("gzip", "answers claim to be compressed"),
            Self::Html => ("html", "every answer is a page for people, with status 200"),
            Self::Error200 => ("error-200", "every answer is an S3 error with status 200"),
            Self::Throttled => ("throttled", "half of the requests are answered 429 or 503"),
            Self::Unauthorised => ("401", "every request is answered 401, as with a rotated key"),
            Self::Forbidden => ("403", "every request is answered 403, as with a revoked key"),
            Self::NotFound => ("404", "every request is answered 404"),
            Self::NoBucket => ("no-bucket", "every request is told that there is no such bucket"),
            Self::Failing => ("500", "every request is answered 500"),
            Self::Unavailable => ("503", "every request is answered 503"),
            Self::TimedOut => ("504", "every request is answered 504"),
            Self::NoWrites => ("no-writes", "uploads and deletions fail with 503, reads work"),
            Self::LostAnswer => ("lost-answer", "half of the uploads are stored, and the answer is a reset"),
        }
    }

    /// Tells whether it happens to single requests, so that some can be chosen.
    pub(super) const fn is_of_requests(self) -> bool {
        !matches!(self, Self::Refused | Self::Flapping | Self::Wiped)
    }

    /// Tells whether only requests for ranges meet it, which are those for parts of more than a block.
    pub(super) const fn is_of_ranges(self) -> bool {
        matches!(self, Self::WrongRange | Self::RangeIgnored)
    }

    /// Tells whether its lateness can be chosen.
    pub(super) const fn takes_delay(self) -> bool {
        matches!(self, Self::SlowFirstByte | Self::Dribble)
    }

    /// Tells whether the byte at which it strikes can be chosen.
    pub(super) const fn takes_after(self) -> bool {
        matches!(self, Self::Stall | Self::Reset | Self::FlippedBit | Self::ShortBody)
    }

    /// Returns the part of the requests that it happens to, unless another one is chosen.
    pub(super) const fn share(self) -> f64 {
        if matches!(self, Self::Throttled | Self::LostAnswer) { 0.5 } else { 1.0 }
    }

    const fn methods(self) -> &'static [&'static str] {
        if matches!(self, Self::NoWrites) {
            &WRITES
        } else if matches!(self, Self::LostAnswer) {
            &["PUT"]
        } else {
            &[]
        }
    }

    /// Damage at rest is damage of parts: a damaged canary would make the provider a foreign one.
    const fn prefix(self) -> &'static str {
        if matches!(self, Self::FlippedBit | Self::WrongBody) { "blobs/" } else { "" }
    }
}

/// Returns what happens to requests on the wire; nothing for faults of the whole provider.
pub(super) fn rules(fault: &Fault) -> Vec<Rule> {
    let broken = broken(fault);
    let shares = shares(fault.share, broken.len());
    let methods: Vec<&str> = match fault.methods.as_slice() {
        [] => fault.kind.methods().to_vec(),
        chosen => chosen.iter().map(|method| method.as_str()).collect(),
    };
    let prefix = fault.prefix.as_deref().unwrap_or(fault.kind.prefix());
    let rule = |(broken, share)| Rule::from(broken).methods(&methods).prefix(prefix).share(share);
    broken.into_iter().zip(shares).map(rule).collect()
}

/// Splits a share evenly over rules that stand one behind the other: a later one meets what the earlier ones let
/// pass.
fn shares(share: f64, rules: usize) -> Vec<f64> {
    let each = share / rules.max(1) as f64;
    let met = |number: usize| 1.0 - each * number as f64;
    (0..rules).map(|number| (each / met(number)).min(1.0)).collect()
}

fn broken(fault: &Fault) -> Vec<Broken> {
    let after = fault.after;
    let one = match fault.kind {
        Kind::Refused | Kind::Flapping | Kind::Wiped => return Vec::new(),
        Kind::Throttled => return vec![Broken::ApiError(429), Broken::ApiError(503)],
        Kind::BlackHole => Broken::BlackHole,
        Kind::SlowFirstByte => Broken::SlowFirstByte(fault.delay.unwrap_or(LATE)),
        Kind::Dribble => Broken::Dribble(DRIBBLE_BYTES, fault.delay.unwrap_or(DRIBBLE_PAUSE)),
        Kind::Stall => Broken::StallAfter(after.unwrap_or(STOP_AFTER)),
        Kind::Reset => after.map_or(Broken::ResetAnywhere, Broken::ResetAfter),
        Kind::FlippedBit => after.map_or(Broken::FlipAnywhere, Broken::FlipBit),
        Kind::ShortBody => Broken::ShortBody(after.unwrap_or(STOP_AFTER)),
        Kind::WrongRange => Broken::WrongRange,
        Kind::RangeIgnored => Broken::RangeIgnored,
        Kind::WrongBody => Broken::WrongBody,
        Kind::Gzip => Broken::GzipHeader,
        Kind::Html => Broken::HtmlPage(200),
        Kind::Error200 => Broken::ErrorWithStatus200,
        Kind::Unauthorised => Broken::ApiError(401),
        Kind::Forbidden => Broken::ApiError(403),
        Kind::NotFound => Broken::ApiError(404),
        Kind::NoBucket => Broken::NoContainer,
        Kind::Failing => Broken::ApiError(500),
        Kind::Unavailable | Kind::NoWrites => Broken::ApiError(503),
        Kind::TimedOut => Broken::ApiError(504),
        Kind::LostAnswer => Broken::LostAnswer,
    };
    vec![one]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_behind_one_another_share_evenly() {
        let table: [(f64, usize, &[f64]); 5] = [
            (1.0, 0, &[]),
            (0.3, 1, &[0.3]),
            (0.5, 2, &[0.25, 1.0 / 3.0]),
            (1.0, 2, &[0.5, 1.0]),
            (0.0, 2, &[0.0, 0.0]),
        ];
        for (share, rules, expected) in table {
            assert_eq!(shares(share, rules), expected, "{share} over {rules}");
        }
    }

    #[test]
    fn names_are_told_apart_and_only_faults_of_the_whole_provider_have_no_rules() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let fault = Fault {
                slots: vec![0],
                kind,
                share: 1.0,
                methods: Vec::new(),
                prefix: None,
                delay: None,
                after: None,
            };
            assert_eq!(rules(&fault).is_empty(), !kind.is_of_requests(), "{kind:?}");
        }
    }
}
