//! Retention: removes what is no longer needed, and nothing that may be.
//!
//! Each gateway does a round every few minutes, and more often where versions are kept for minutes only; two
//! at once do no harm, and nothing rests on local state: the index only says where to look.
//!
//! 1. A round begins only while every provider is trusted and its names are loaded. While one is away,
//!    wiped or foreign nothing is removed anywhere: redundancy is low just then, and something may be wrong.
//!    It begins as soon as that is over, and right after a start as soon as all names are loaded.
//! 2. Names with more than one version, and deleted ones, are listed at all providers, and each provider
//!    proves to be itself after its listing (`look`). What may go of a name is decided by [`plan`].
//! 3. A plan that takes too much from any provider stops the round: nothing is removed, an alarm is raised,
//!    and an operator decides (the brake, [`plan::allowance`]).
//! 4. Otherwise the names are listed once more, page by page. The version for whose sake others go must show
//!    record and bytes at a majority; then each copy goes in the order feed entry → record → block list →
//!    parts (`remove`). A failure ends the round at that provider; the next round goes on.
//! 5. The tombstone goes last, when it is all that any provider lists of its name, everywhere, in two rounds
//!    at least [`QUIET`] apart: a copy of an older version that was on its way, to a provider or by repair,
//!    has then arrived and been seen. Where one provider misses the tombstone it stays.
//! 6. What nobody lists any more is forgotten by the index, after what a crash left of its bytes was removed.
//! 7. Once a day blobs without a record, and feed entries without one, are looked for (`orphans`).
//!
//! Ages are measured on a provider's own clock, from the time at which it stored the superseding record.
//! Stamps and our clock only ever make things wait.
//!
//! **Feed entries** are kept for as long as their version. They do not only tell other gateways of news: an
//! index that is loaded anew, repair and audit read from them who holds a complete copy, so one that was
//! removed before its version would make a sound copy look unfinished, and be written again at once. What
//! goes of the feed is therefore just what belongs to versions that went.

mod look;
mod orphans;
pub mod plan;
pub mod purge;
mod remove;
pub mod report;
mod round;

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::time::Instant;

pub use report::{Report, Tally};

use crate::asset::Version;
use crate::catalog::{Catalog, IndexUnusable};
use crate::clock::Clock;
use crate::health::monitor::Monitor;
use crate::provider::{Fleet, ProviderError, Slot};
use crate::replica::pace::Pace;
use crate::telemetry::Telemetry;

/// Between two rounds, at most.
const ROUND_EVERY_MAX: Duration = Duration::from_secs(300);
/// Between two rounds, at least, and between two looks at whether one can begin.
const ROUND_EVERY_MIN: Duration = Duration::from_secs(1);
/// How many rounds there are in the time for which versions are kept, where that is short.
const ROUNDS_PER_RETENTION: u32 = 4;
/// How many requests a second a gateway's rounds send at most, so that traffic does not feel them.
pub const REQUESTS_PER_SECOND: u64 = 100;
/// For how long a tombstone must have been seen alone before it goes.
pub const QUIET: Duration = Duration::from_secs(3_600);
/// Before the first sweep for orphans, and after one that came to no end.
const SWEEP_AFTER: Duration = Duration::from_secs(3_600);
/// Between two sweeps for orphans.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// How many lone tombstones are remembered; more have to wait for their turn.
const ALONE_MAX: u64 = 100_000;
/// For how long a lone tombstone is remembered that no round has seen again.
const ALONE_FOR: Duration = Duration::from_secs(24 * 3_600);

/// What retention is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// All providers.
    pub fleet: Fleet,
    /// What is known of names.
    pub catalog: Catalog,
    /// Who is well, and who proves to be itself.
    pub monitor: Monitor,
    /// Time.
    pub clock: Clock,
    /// Metrics and events.
    pub telemetry: Telemetry,
    /// For how long superseded and deleted versions are kept; zero means for ever.
    pub retention: Duration,
    /// How many requests may be sent in a second; 0 means any number.
    pub requests_per_second: u64,
}

/// What is done about a plan that takes too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brake {
    /// It stops the round as soon as that is clear.
    Stop,
    /// It stops the round once all of it is counted, for an operator who asks.
    Count,
    /// It is carried out: an operator has said so.
    Released,
}

/// Why removals wait.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Wait(String);

impl From<ProviderError> for Wait {
    fn from(failure: ProviderError) -> Self {
        Self(failure.to_string())
    }
}

impl From<IndexUnusable> for Wait {
    fn from(failure: IndexUnusable) -> Self {
        Self(failure.to_string())
    }
}

/// Returns how often a round is done where versions are kept for so long.
///
/// What is superseded is then gone soon after its time, and a round that finds nothing is rare all the same.
pub fn round_every(retention: Duration) -> Duration {
    if retention.is_zero() {
        return ROUND_EVERY_MAX;
    }
    (retention / ROUNDS_PER_RETENTION).clamp(ROUND_EVERY_MIN, ROUND_EVERY_MAX)
}

/// Removes what is no longer needed; cheap to clone.
#[derive(Debug, Clone)]
pub struct Retention(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Parts,
    pace: Pace,
    /// Since when a tombstone has been all that anybody lists of its name.
    alone: Cache<Version, Instant>,
    sweep_at: Mutex<Instant>,
    last: Mutex<Option<Report>>,
    under_way: Mutex<Option<String>>,
}

impl Retention {
    /// Builds it; nothing runs by itself.
    pub fn new(parts: Parts) -> Self {
        let pace = Pace::per_second(parts.requests_per_second);
        let alone = Cache::builder().max_capacity(ALONE_MAX).time_to_idle(ALONE_FOR).build();
        let sweep_at = Mutex::new(parts.clock.now() + SWEEP_AFTER);
        let (last, under_way) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { parts, pace, alone, sweep_at, last, under_way }))
    }

    /// Returns what the last round came to.
    pub fn last(&self) -> Option<Report> {
        self.0.last.lock().clone()
    }

    /// Returns how far the round that is under way has come, in one line.
    pub fn under_way(&self) -> Option<String> {
        self.0.under_way.lock().clone()
    }

    fn comes_to(&self, line: String) {
        self.0.under_way.lock().replace(line);
    }

    /// Does a round as soon as one can begin, and a sweep for orphans when one is due.
    ///
    /// # Cancellation
    ///
    /// What was not removed yet is left to the next round.
    pub async fn step(&self) {
        while let Err(wait) = self.all_are_well() {
            let mut report = Report::new(self.parts());
            report.waits = Some(wait.0);
            self.conclude(report);
            tokio::time::sleep_until(self.parts().clock.now() + ROUND_EVERY_MIN).await;
        }
        let sweep = self.parts().clock.now() >= *self.0.sweep_at.lock();
        let report = self.round(Brake::Stop, sweep).await;
        // One that could not begin cost nothing, and is tried with the next round.
        if report.sweep_began {
            let after = if report.waits.is_none() && !report.braked { SWEEP_EVERY } else { SWEEP_AFTER };
            *self.0.sweep_at.lock() = self.parts().clock.now() + after;
        }
    }

    /// Does one round, `sweep` for orphans included, and tells what it came to.
    pub async fn round(&self, brake: Brake, sweep: bool) -> Report {
        let mut report = Report::new(self.parts());
        if let Err(wait) = self.try_round(brake, sweep, &mut report).await {
            report.waits = Some(wait.0);
        }
        self.conclude(report)
    }

    fn conclude(&self, report: Report) -> Report {
        self.0.under_way.lock().take();
        let before = self.0.last.lock().replace(report.clone());
        report.tell(self.parts(), before.is_some_and(|before| before.braked));
        report
    }

    fn parts(&self) -> &Parts {
        &self.0.parts
    }

    fn wait(&self, slot: Slot, why: &str) -> Wait {
        Wait(format!("{} {why}", self.parts().fleet.id(slot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_as_frequent_as_the_retention_is_short() {
        for (retention_s, every_ms) in [
            (0, 300_000),
            (1, 1_000),
            (2, 1_000),
            (10, 2_500),
            (600, 150_000),
            (1_200, 300_000),
            (604_800, 300_000),
        ] {
            let every = round_every(Duration::from_secs(retention_s));
            assert_eq!(every, Duration::from_millis(every_ms), "{retention_s} s");
        }
    }
}
