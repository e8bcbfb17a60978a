//! The breaker of one provider: Closed = traffic flows, Open = last in order, HalfOpen = one request at a time.
//!
//! Pure: it takes times, dice and outcomes, and keeps a state. An open provider is never forbidden, only last.
//!
//! * Closed → Open: five faults in a row; less than 80 % success of at least ten outcomes in ten seconds; five
//!   lost races in a row without a good read between; three failed probes in a row; at once for a refused key, a
//!   missing bucket, or a probe that came back changed.
//! * Open → HalfOpen: a wait is over, and then a probe succeeds. The wait doubles with each return that failed
//!   and each probe that failed, up to a minute. A good look at the canary takes the failed probes back: a
//!   provider that was away for long returns at once, one that comes and goes does not.
//! * HalfOpen → Closed after three successes, → Open at the first failure.
//! * The doubling is forgotten after a minute in Closed.

use std::time::Duration;

use tokio::time::Instant;

use super::window::{Rate, Window};
use crate::provider::ErrorKind;

/// So many faults in a row open the breaker.
const FAULTS_MAX: u32 = 5;
/// So many lost races in a row open it, spread over at least [`STRIKES_SPAN`]: requests that were in flight
/// during one short pause all lose together, and that is no black hole.
const STRIKES_MAX: u32 = 5;
/// Between the first and the last of the lost races.
const STRIKES_SPAN: Duration = Duration::from_millis(250);
/// So many failed probes in a row open it: what can be read but not written fails no reads.
const PROBES_MAX: u32 = 3;
/// Below this share of successes it opens.
const SUCCESS_MIN: f64 = 0.8;
/// A share counts only of so many outcomes.
const OUTCOMES_MIN: u32 = 10;
/// A provider whose share of successes is so much below that of all others is ejected.
const OUTLIER_GAP: f64 = 0.1;
/// How long the breaker stays open the first time; doubled each time.
const OPEN_FIRST: Duration = Duration::from_secs(1);
/// How long it stays open at most before it is probed again.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// So many successes close it.
const TRIALS: u32 = 3;
/// After so long in HalfOpen, in which a read would have been tried if there were any, uploads and looks close it.
const SIGNS_SUFFICE_AFTER: Duration = Duration::from_secs(2);
/// For how long after closing it gets less than its share of requests.
const SLOW_START: Duration = Duration::from_secs(10);
/// The share of requests that it gets right after closing.
const SLOW_START_SHARE: f64 = 0.1;
/// After so long in Closed the doubling is forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

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

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Since when, unless it was never open.
    Closed {
        since: Option<Instant>,
    },
    Open(Open),
    HalfOpen {
        since: Instant,
        successes: u32,
    },
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    /// How long after `since` it may be probed at the earliest, whatever a look shows.
    least: Duration,
    /// How many probes failed since.
    failed: u32,
    /// When it is to be probed.
    until: Instant,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Closed { since: None }
    }
}

/// The breaker of one provider.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    phase: Phase,
    /// Faults in a row.
    faults: u32,
    /// Lost races in a row, and when the first was lost.
    strikes: Option<(u32, Instant)>,
    /// Failed probes in a row.
    probes: u32,
    window: Window,
    /// How often it opened since it was last closed for long.
    opened: u32,
}

impl Breaker {
    /// Returns the state.
    pub fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open(_) => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns what came of the requests of the last ten seconds.
    pub fn rate(&self, now: Instant) -> Rate {
        self.window.rate(now)
    }

    /// Returns since when the breaker is open, and when the provider is to be probed.
    pub fn open_since(&self) -> Option<(Instant, Instant)> {
        match self.phase {
            Phase::Open(open) => Some((open.since, open.until)),
            Phase::Closed { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// Tells whether a probe would tell anything: always, but for an open breaker that has to wait.
    pub fn is_probe_due(&self, now: Instant) -> bool {
        self.open_since().is_none_or(|(_, until)| now >= until)
    }

    /// Returns the share of requests for which the provider is ranked like any other: less than 1 for a while
    /// after it was closed.
    pub fn share(&self, now: Instant) -> f64 {
        let Phase::Closed { since: Some(since) } = self.phase else { return 1.0 };
        let grown = now.duration_since(since).as_secs_f64() / SLOW_START.as_secs_f64();
        (SLOW_START_SHARE + (1.0 - SLOW_START_SHARE) * grown).min(1.0)
    }

    /// Takes note of a read that succeeded: bytes that were verified.
    pub fn on_success(&mut self, now: Instant) {
        self.strikes = None;
        self.succeed(now, Duration::ZERO);
    }

    /// Takes note of any other success: an upload that the provider confirmed, a good look, a probe. It takes no
    /// lost race back: a provider that takes uploads and shows its canary may stall in every read all the same.
    /// For the same reason it closes a half-open breaker only where no read has been tried for a while.
    pub fn on_sign(&mut self, now: Instant) {
        self.succeed(now, SIGNS_SUFFICE_AFTER);
    }

    fn succeed(&mut self, now: Instant, half_open_for: Duration) {
        self.faults = 0;
        self.window.success(now);
        if let Phase::HalfOpen { since, successes } = &mut self.phase {
            *successes += 1;
            if *successes >= TRIALS && now.duration_since(*since) >= half_open_for {
                self.phase = Phase::Closed { since: Some(now) };
                self.strikes = None;
                self.window = Window::default();
            }
        }
    }

    /// Takes note of a verified block in mid-body: it ends a row of faults, but is no outcome of its own, for
    /// a body of ten thousand blocks may break as well.
    pub fn on_progress(&mut self) {
        self.faults = 0;
        self.strikes = None;
    }

    /// Takes note of an answer that nobody has verified yet.
    pub fn on_answer(&mut self, now: Instant) {
        self.window.answer(now);
    }

    /// Takes note of a failure; `die` is between 0 and 1. A missing object is none.
    pub fn on_failure(&mut self, kind: ErrorKind, now: Instant, die: f64) {
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
        self.window.failure(now);
        match self.phase {
            Phase::Closed { .. } => {
                if self.faults >= FAULTS_MAX || self.rate(now).is_below(SUCCESS_MIN, OUTCOMES_MIN) {
                    self.open(now, die);
                }
            }
            Phase::HalfOpen { .. } => self.open(now, die),
            Phase::Open(_) => {}
        }
    }

    /// Takes note of a race that was lost to a provider that was asked later.
    pub fn on_strike(&mut self, now: Instant, die: f64) {
        let (strikes, first) = self.strikes.map_or((1, now), |(strikes, first)| (strikes + 1, first));
        self.strikes = Some((strikes, first));
        let lost = strikes >= STRIKES_MAX && now.duration_since(first) >= STRIKES_SPAN;
        if lost && self.open_since().is_none() {
            self.open(now, die);
        }
    }

    /// Takes note of a probe that succeeded: what was written came back.
    pub fn on_probe(&mut self, now: Instant) {
        self.probes = 0;
        match self.phase {
            Phase::Open(open) if now >= open.until => {
                self.on_progress();
                self.phase = Phase::HalfOpen { since: now, successes: 0 };
            }
            Phase::Open(_) => {}
            Phase::Closed { .. } | Phase::HalfOpen { .. } => self.on_sign(now),
        }
    }

    /// Takes note of a probe that failed; `changed` means that other bytes came back than were written.
    ///
    /// The failed calls of the probe were told by themselves.
    pub fn on_failed_probe(&mut self, changed: bool, now: Instant, die: f64) {
        self.probes = self.probes.saturating_add(1);
        match &mut self.phase {
            Phase::Open(open) if now >= open.until => {
                open.failed = open.failed.saturating_add(1);
                open.until = now + wait(self.opened.saturating_add(open.failed), die);
            }
            Phase::Open(_) => {}
            Phase::HalfOpen { .. } => self.open(now, die),
            Phase::Closed { .. } => {
                if changed || self.probes >= PROBES_MAX {
                    self.open(now, die);
                }
            }
        }
    }

    /// Takes note of an answered look at the canary: a success like any other where the canary is `ours`, but
    /// in Open it only means that a probe may be worth it sooner.
    pub fn on_look(&mut self, ours: bool, now: Instant) {
        match &mut self.phase {
            Phase::Open(open) => open.until = open.until.min((open.since + open.least).max(now)),
            Phase::Closed { .. } | Phase::HalfOpen { .. } if ours => self.on_sign(now),
            Phase::Closed { .. } | Phase::HalfOpen { .. } => {}
        }
    }

    /// Opens a closed breaker of a provider that fails far more often than all others do.
    pub fn eject_outlier(&mut self, others: &[Rate], now: Instant, die: f64) {
        if self.state() == BreakerState::Closed && is_outlier(self.rate(now), others) {
            self.open(now, die);
        }
    }

    fn open(&mut self, now: Instant, die: f64) {
        let long_closed = match self.phase {
            Phase::Closed { since } => since.is_none_or(|at| now.duration_since(at) >= FORGIVEN_AFTER),
            Phase::Open(_) | Phase::HalfOpen { .. } => false,
        };
        self.opened = if long_closed { 1 } else { self.opened.saturating_add(1) };
        let least = wait(self.opened, die);
        self.phase = Phase::Open(Open { since: now, least, failed: 0, until: now + least });
        self.faults = 0;
        self.strikes = None;
        self.probes = 0;
    }
}

/// Returns how long to wait the `times`-th time: between three quarters and the whole of the doubled wait.
fn wait(times: u32, die: f64) -> Duration {
    let whole = OPEN_FIRST.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1))).min(OPEN_MAX);
    whole.mul_f64(0.75 + 0.25 * die.clamp(0.0, 1.0))
}

/// Tells whether a provider fails far more often than each of at least two others.
fn is_outlier(own: Rate, others: &[Rate]) -> bool {
    let others: Vec<_> = others.iter().filter(|rate| rate.outcomes() >= OUTCOMES_MIN).collect();
    let least = others.iter().map(|rate| rate.share()).fold(1.0, f64::min);
    others.len() >= 2 && own.is_below(least - OUTLIER_GAP, 2 * OUTCOMES_MIN)
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
