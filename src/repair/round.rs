//! One round through the incomplete versions: each copy is tried in its turn, the newest first.

use std::collections::{BTreeMap, HashSet};

use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Attempt, Mode, ROUND_TAKES, Repairer};
use crate::catalog::IndexedVersion;
use crate::provider::Slot;
use crate::replica::pace::Pace;
use crate::replica::turns;

/// One round through all incomplete versions.
pub(super) struct Round<'a> {
    repairer: &'a Repairer,
    mode: Mode,
    failed: Mutex<HashSet<Slot>>,
    made: Mutex<BTreeMap<Slot, u64>>,
    /// When no more copies are begun; a refill goes on to its end.
    until: Option<Instant>,
}

impl<'a> Round<'a> {
    /// Begins a round.
    pub(super) fn new(repairer: &'a Repairer, mode: Mode) -> Self {
        let until = (mode == Mode::Routine).then(|| repairer.parts().clock.now() + ROUND_TAKES);
        Self { repairer, mode, failed: Mutex::default(), made: Mutex::default(), until }
    }

    /// Tells whether its time is up.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| self.repairer.parts().clock.now() >= until)
    }

    /// Returns the providers at which something failed: nothing more is tried there.
    pub(super) fn failed(&self) -> HashSet<Slot> {
        self.failed.lock().clone()
    }

    /// Works on one page; returns how many of its versions stay incomplete, and whether any may be made later.
    pub(super) async fn page(&self, page: Vec<IndexedVersion>, targets: &[Slot]) -> (usize, bool) {
        let lacking = |row: &IndexedVersion| {
            let lacks = |slot: &Slot| row.missing >> slot.0 & 1 == 1;
            targets.iter().copied().filter(lacks).collect::<Vec<_>>()
        };
        let jobs: Vec<_> = page
            .into_iter()
            .flat_map(|row| lacking(&row).into_iter().map(move |slot| (row.clone(), slot)))
            .collect();
        let attempts =
            jobs.into_iter().map(|(row, slot)| async move { (row.version, self.attempt(&row, slot).await) });
        let attempts: Vec<_> = stream::iter(attempts).buffer_unordered(turns::AT_ONCE_MAX).collect().await;
        let left: HashSet<_> = attempts
            .iter()
            .filter(|(_, attempt)| !matches!(attempt, Attempt::Made | Attempt::Gone))
            .map(|(version, _)| *version)
            .collect();
        let later = attempts.iter().any(|(_, attempt)| matches!(attempt, Attempt::Later | Attempt::Failed));
        (left.len(), later)
    }

    /// Ends the round, and returns how many copies were made where.
    pub(super) fn into_made(self) -> BTreeMap<Slot, u64> {
        self.made.into_inner()
    }

    /// Tries to make one copy, once it is its turn.
    async fn attempt(&self, row: &IndexedVersion, slot: Slot) -> Attempt {
        let passed_over = || {
            // What waits behind a failure at its target is not even tried.
            let waits = self.is_over() || self.failed.lock().contains(&slot);
            let waits = waits.then_some(Attempt::Later);
            waits.or_else(|| self.repairer.is_passed_over(row, slot, self.mode))
        };
        if let Some(attempt) = passed_over() {
            return attempt;
        }
        let pace = Pace::in_turn(self.repairer.parts().turns.enter().await);
        // Much may have happened until its turn came.
        if let Some(attempt) = passed_over() {
            return attempt;
        }
        let attempt = self.repairer.attempt(row, slot, self.mode, &pace).await;
        match attempt {
            Attempt::Made => self.made(slot),
            Attempt::Failed => _ = self.failed.lock().insert(slot),
            Attempt::Later | Attempt::Hopeless | Attempt::Gone => {}
        }
        attempt
    }

    fn made(&self, slot: Slot) {
        *self.made.lock().entry(slot).or_default() += 1;
        let now = self.repairer.parts().clock.now();
        self.repairer.0.rates[slot.0].lock().count(now);
    }
}
