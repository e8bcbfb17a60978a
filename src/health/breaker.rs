//! The breaker of one provider: Closed = traffic flows, Open = last in order, HalfOpen = one more try.
//!
//! Pure: it takes times and outcomes and keeps a state. An open provider is never forbidden, only last.

use std::time::Duration;

use tokio::time::Instant;

use crate::provider::ErrorKind;

/// So many faults in a row open the breaker.
const FAULTS_MAX: u32 = 5;
/// How long the breaker stays open the first time; doubled each time.
const OPEN_FIRST: Duration = Duration::from_secs(1);
/// How long it stays open at most.
const OPEN_MAX: Duration = Duration::from_secs(20);

/// The state of the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Traffic flows.
    Closed,
    /// The provider is last in order.
    Open,
    /// The provider may show whether it is back.
    HalfOpen,
}

impl BreakerState {
    /// Returns the word used in `/api/status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// The breaker of one provider.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    faults: u32,
    /// How often it opened in a row, and until when it is open.
    open: Option<(u32, Instant)>,
}

impl Breaker {
    /// Returns the state at `now`.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.open {
            None => BreakerState::Closed,
            Some((_, until)) if now < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Takes note of a success: traffic flows again.
    pub fn on_success(&mut self) {
        *self = Self::default();
    }

    /// Takes note of a failure. A missing object is none; a refused key or a missing bucket opens at once.
    pub fn on_failure(&mut self, kind: ErrorKind, now: Instant) {
        let weight = match kind {
            ErrorKind::NotFound => return,
            ErrorKind::Denied | ErrorKind::NoContainer => FAULTS_MAX,
            ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Refused
            | ErrorKind::Protocol
            | ErrorKind::Corrupt => 1,
        };
        self.faults = self.faults.saturating_add(weight);
        match self.state(now) {
            BreakerState::Closed if self.faults >= FAULTS_MAX => self.open(1, now),
            BreakerState::HalfOpen => {
                let times = self.open.map_or(0, |(times, _)| times);
                self.open(times.saturating_add(1), now);
            }
            BreakerState::Closed | BreakerState::Open => {}
        }
    }

    fn open(&mut self, times: u32, now: Instant) {
        let wait = OPEN_FIRST.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1))).min(OPEN_MAX);
        self.open = Some((times, now + wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_faults_in_a_row_open_and_a_success_closes() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.on_failure(ErrorKind::Timeout, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
        breaker.on_failure(ErrorKind::Unavailable, now);
        assert_eq!(breaker.state(now), BreakerState::Open);
        breaker.on_success();
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_object_never_opens_but_a_refused_key_does_at_once() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.on_failure(ErrorKind::NotFound, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
        for kind in [ErrorKind::Denied, ErrorKind::NoContainer] {
            let mut breaker = Breaker::default();
            breaker.on_failure(kind, now);
            assert_eq!(breaker.state(now), BreakerState::Open);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_failed_return_keeps_it_open_for_longer() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.on_failure(ErrorKind::Denied, now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let opened = now;
            while breaker.state(now) == BreakerState::Open {
                now += Duration::from_millis(500);
            }
            waits.push((now - opened).as_secs());
            breaker.on_failure(ErrorKind::Timeout, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 20, 20]);
    }
}
