//! Identity: what a provider's canary showed, and since when it has been one and the same.
//!
//! A canary that is there after an answer does not prove the answer: the provider may have lost everything
//! before it, and been refilled, by another gateway, in between. It proves it where the very same canary was
//! there before the question. Pure: the caller tells the time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::canary::{Canary, CanaryState};

/// A canary that was seen longer ago proves nothing.
const TRUST_FOR: Duration = Duration::from_secs(60);

/// For how long an upload that began before a canary may still be going on after it: a large one, and the latest of
/// late requests.
const UPLOADS_GO_ON_FOR: TimeDelta = TimeDelta::hours(1);
/// By how much the clocks of two gateways that write may differ.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(60);

/// Uploads that a provider may have lost, or hold in part: they were under way before its canary was written, and
/// what they stored before that is gone if the canary is there because of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubts {
    /// When the canary was written.
    pub since: DateTime<Utc>,
    /// When the earliest of these uploads began, in Unix milliseconds.
    pub from_ms: u64,
    /// When the last of them began at the latest, if clocks differ, in Unix milliseconds.
    pub to_ms: u64,
}

impl Doubts {
    /// Tells whether an upload that began at `unix_ms` is one of them for certain, as far as clocks agree.
    pub fn include(&self, unix_ms: u64) -> bool {
        unix_ms >= self.from_ms && i128::from(unix_ms) < i128::from(self.since.timestamp_millis())
    }
}

/// What the looks at one canary came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Identity {
    seen: Option<Canary>,
    /// When the newest of the looks began.
    at: Option<Instant>,
    /// When the first of the unbroken row of looks that showed the same had ended.
    same_since: Option<Instant>,
}

impl Identity {
    /// Takes note of a look that began at `began` and ended just now; returns what was seen before.
    pub(super) fn looked(&mut self, canary: Canary, began: Instant, now: Instant) -> Option<CanaryState> {
        let before = self.seen.replace(canary);
        if before != Some(canary) {
            self.same_since = Some(now);
        }
        self.at = Some(began);
        before.map(|before| before.state)
    }

    /// Returns what the canary said last.
    pub(super) fn state(&self) -> Option<CanaryState> {
        self.seen.map(|canary| canary.state)
    }

    /// Returns the uploads in doubt, for as long as any of them may be going on.
    pub(super) fn doubts(&self, now: DateTime<Utc>) -> Option<Doubts> {
        let since = self.seen.and_then(|canary| canary.created)?;
        let millis = |time: DateTime<Utc>| u64::try_from(time.timestamp_millis()).unwrap_or_default();
        let going_on = now.signed_duration_since(since) <= UPLOADS_GO_ON_FOR;
        let from_ms = millis(since.checked_sub_signed(UPLOADS_GO_ON_FOR)?);
        let to_ms = millis(since.checked_add_signed(CLOCKS_DIFFER)?);
        going_on.then_some(Doubts { since, from_ms, to_ms })
    }

    /// Tells whether the provider's own canary was seen lately.
    pub(super) fn is_trusted(&self, now: Instant) -> bool {
        let lately = self.at.is_some_and(|at| now.duration_since(at) <= TRUST_FOR);
        self.state() == Some(CanaryState::Ours) && lately
    }

    /// Tells whether the last look began after `since`.
    pub(super) fn was_seen_after(&self, since: Instant) -> bool {
        self.at.is_some_and(|at| at > since)
    }

    /// Tells whether the provider's own canary was there before `asked`, and was the same at the last look.
    pub(super) fn is_same_since(&self, asked: Instant) -> bool {
        self.state() == Some(CanaryState::Ours) && self.same_since.is_some_and(|since| since <= asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(second: i64) -> Canary {
        Canary { state: CanaryState::Ours, created: DateTime::from_timestamp(second, 0) }
    }

    #[test]
    fn only_the_canary_of_before_proves_what_was_said_in_between() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut identity = Identity::default();
        assert!(!identity.is_same_since(at(0)), "nobody has looked");
        identity.looked(ours(1), at(0), at(10));
        // The look had not ended by then, so it may have shown what came later.
        assert!(!identity.is_same_since(at(5)));
        assert!(identity.is_same_since(at(10)));
        identity.looked(ours(1), at(100), at(110));
        assert!(identity.is_same_since(at(50)));
        identity.looked(ours(2), at(200), at(210));
        assert!(!identity.is_same_since(at(150)), "it was refilled in between");
        assert!(identity.is_same_since(at(210)));
        let missing = Canary { state: CanaryState::Missing, created: None };
        identity.looked(missing, at(300), at(310));
        assert!(!identity.is_same_since(at(400)));
        identity.looked(ours(2), at(500), at(510));
        assert!(!identity.is_same_since(at(250)), "it was gone in between");
    }

    #[test]
    fn uploads_from_before_a_young_canary_are_in_doubt() {
        let start = Instant::now();
        let mut identity = Identity::default();
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        assert_eq!(identity.doubts(at(10_000)), None);
        identity.looked(ours(10_000), start, start);
        let doubts = identity.doubts(at(13_600)).unwrap();
        let included = [6_399, 6_400, 9_999, 10_000].map(|second| doubts.include(second * 1_000));
        assert_eq!(included, [false, true, true, false]);
        assert_eq!((doubts.from_ms, doubts.to_ms), (6_400_000, 10_060_000));
        assert_eq!(identity.doubts(at(13_601)), None);
    }

    #[test]
    fn trust_ends_a_minute_after_the_last_look() {
        let start = Instant::now();
        let mut identity = Identity::default();
        identity.looked(ours(1), start, start);
        assert!(identity.is_trusted(start + TRUST_FOR));
        assert!(!identity.is_trusted(start + TRUST_FOR + Duration::from_millis(1)));
    }
}
