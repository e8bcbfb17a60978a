//! Pacing: how many bytes a second background work may read, and whether it takes turns with clients.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::turns::Turn;

/// Limits the bytes read in a second, and counts them; all clones share both.
#[derive(Debug, Clone, Default)]
pub struct Pace(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    limit: Option<Limit>,
    /// Given back with the last clone.
    turn: Option<Turn>,
    taken: AtomicU64,
}

#[derive(Debug)]
struct Limit {
    limiter: DefaultDirectRateLimiter,
    /// The most that is taken at once: the bytes of one second.
    burst: NonZeroU32,
}

impl Pace {
    /// Limits nothing.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// Allows `rate` of anything a second, requests for one; 0 limits nothing.
    pub fn per_second(rate: u64) -> Self {
        Self::bytes_per_second(rate)
    }

    /// Allows `rate` bytes a second; 0 limits nothing, and so does more than 4 GiB.
    pub fn bytes_per_second(rate: u64) -> Self {
        let burst = u32::try_from(rate).ok().and_then(NonZeroU32::new);
        let limit =
            burst.map(|burst| Limit { limiter: RateLimiter::direct(Quota::per_second(burst)), burst });
        Self(Arc::new(Inner { limit, turn: None, taken: AtomicU64::new(0) }))
    }

    /// Limits nothing, but ends the turn and waits for the next one between two pieces of the work.
    pub fn in_turn(turn: Turn) -> Self {
        Self(Arc::new(Inner { limit: None, turn: Some(turn), taken: AtomicU64::new(0) }))
    }

    /// Returns how many bytes were taken so far.
    pub fn bytes_taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Counts `bytes`, and waits until more may be read.
    pub async fn take(&self, bytes: u64) {
        self.0.taken.fetch_add(bytes, Ordering::Relaxed);
        if let Some(turn) = &self.0.turn {
            turn.did(bytes);
        }
        let Some(limit) = &self.0.limit else {
            return;
        };
        let burst = u64::from(limit.burst.get());
        let mut left = bytes;
        while left > 0 {
            let piece = u32::try_from(left.min(burst)).ok().and_then(NonZeroU32::new).unwrap_or(limit.burst);
            // A piece is never larger than the burst, so it always fits.
            let _ = limit.limiter.until_n_ready(piece).await;
            left -= u64::from(piece.get());
        }
    }

    /// Waits between two pieces of the work, while nothing is asked of a provider.
    pub async fn pause(&self) {
        if let Some(turn) = &self.0.turn {
            turn.pause().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_second_worth_of_bytes_is_free_and_the_next_byte_waits() {
        let pace = Pace::bytes_per_second(1_000);
        assert!(pace.take(1_000).now_or_never().is_some());
        assert!(pace.clone().take(500).now_or_never().is_none());
    }

    #[test]
    fn more_than_a_burst_is_taken_in_pieces() {
        assert!(Pace::bytes_per_second(10).take(11).now_or_never().is_none());
    }

    #[test]
    fn no_limit_never_waits() {
        for pace in [Pace::unlimited(), Pace::bytes_per_second(0), Pace::bytes_per_second(u64::MAX)] {
            assert!(pace.take(u64::MAX).now_or_never().is_some());
        }
    }
}
