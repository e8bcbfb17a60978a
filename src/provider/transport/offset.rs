//! The far clock: a provider's time minus ours, as its `Date` headers tell it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::UNIX_EPOCH;

use http::HeaderMap;
use http::header::{AGE, DATE};

use crate::clock::Clock;

/// Stands for "no answer yet".
const UNKNOWN: i64 = i64::MIN;
/// A round trip beyond this says little about the moment at which the date was written: it replaces nothing.
const ROUND_TRIP_MS_MAX: u64 = 2_000;
/// Dates have whole seconds, cut off; on average half a second is lost.
const CUT_OFF_MS: i64 = 500;

/// The last known offset of one provider's clock.
#[derive(Debug)]
pub(crate) struct ClockOffset {
    clock: Clock,
    known_ms: AtomicI64,
}

impl ClockOffset {
    /// Starts without an answer.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, known_ms: AtomicI64::new(UNKNOWN) }
    }

    /// Returns our time, to be handed to [`ClockOffset::note`] with the answer.
    pub(crate) fn now_unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    /// Learns from the headers of an answer to a request sent at `sent_unix_ms`.
    pub(crate) fn note(&self, headers: &HeaderMap, sent_unix_ms: u64) {
        let received_unix_ms = self.clock.unix_ms();
        let round_trip_ms = received_unix_ms.abs_diff(sent_unix_ms);
        // An answer with an age comes out of a cache, and its date is that of another answer.
        if headers.contains_key(AGE) {
            return;
        }
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        if let Some(offset) = date.and_then(|date| offset_ms(date, sent_unix_ms, received_unix_ms)) {
            // The date was written within the round trip: a slow answer can still prove that what is known
            // is wrong, as it is after a clock was set.
            let agrees =
                |known: i64| known.abs_diff(offset) <= round_trip_ms.saturating_add(ROUND_TRIP_MS_MAX);
            if round_trip_ms <= ROUND_TRIP_MS_MAX || !self.get_ms().is_some_and(agrees) {
                self.known_ms.store(offset, Ordering::Relaxed);
            }
        }
    }

    /// Returns the provider's clock minus ours in milliseconds.
    pub(crate) fn get_ms(&self) -> Option<i64> {
        Some(self.known_ms.load(Ordering::Relaxed)).filter(|offset| *offset != UNKNOWN)
    }
}

/// The date was written somewhere between sending and receiving: the middle is the best guess.
fn offset_ms(date: &str, sent_unix_ms: u64, received_unix_ms: u64) -> Option<i64> {
    let date = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let middle = i64::try_from(sent_unix_ms / 2 + received_unix_ms / 2).ok()?;
    i64::try_from(date.as_millis()).ok()?.checked_add(CUT_OFF_MS)?.checked_sub(middle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON_UNIX_MS: u64 = 784_111_777_000;
    const NOON: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn headers(date: &str) -> HeaderMap {
        HeaderMap::from_iter([(DATE, date.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn half_the_round_trip_is_taken_off() {
        let offset = ClockOffset::new(Clock::manual(NOON_UNIX_MS + 10_500));
        assert_eq!(offset.get_ms(), None);
        let sent = offset.now_unix_ms();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        offset.note(&headers(NOON), sent);
        assert_eq!(offset.get_ms(), Some(-10_500));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_and_cached_answers_replace_nothing() {
        let offset = ClockOffset::new(Clock::manual(NOON_UNIX_MS + 500));
        let sent = offset.now_unix_ms();
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        offset.note(&headers(NOON), sent);
        assert_eq!(offset.get_ms(), Some(-30_000), "a bad guess is better than none");
        offset.note(&headers(NOON), offset.now_unix_ms());
        assert_eq!(offset.get_ms(), Some(-60_000));
        offset.note(&headers(NOON), sent);
        let mut cached = headers(NOON);
        cached.insert(AGE, "3".parse().unwrap());
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        offset.note(&cached, offset.now_unix_ms());
        assert_eq!(offset.get_ms(), Some(-60_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_replaces_what_it_proves_wrong() {
        let offset = ClockOffset::new(Clock::manual(NOON_UNIX_MS + 500));
        offset.note(&headers(NOON), offset.now_unix_ms());
        assert_eq!(offset.get_ms(), Some(0));
        // Our clock was set forward by an hour: the next answer takes three seconds.
        tokio::time::advance(std::time::Duration::from_secs(3_600)).await;
        let sent = offset.now_unix_ms();
        tokio::time::advance(std::time::Duration::from_secs(3)).await;
        offset.note(&headers(NOON), sent);
        assert_eq!(offset.get_ms(), Some(-3_601_500));
    }

    proptest! {
        #[test]
        fn no_date_panics(date in "\\PC{0,40}", sent: u64, received: u64) {
            let _ = offset_ms(&date, sent, received);
            let _ = offset_ms(NOON, sent, received);
        }
    }
}
