//! Copies that their target would not take, or nobody deliver, a moment ago. A failure of the target ends a step there,
//! one of the sources takes its time, and steps begin with the newest: one object that a provider never takes, or of
//! which only one that hangs has the bytes, would keep all older copies from being made.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::asset::Version;
use crate::provider::Slot;

/// For how long such a copy lets others go first.
const POSTPONED_FOR: Duration = Duration::from_secs(30);
/// How many are remembered; a target that fails more often is down, and no target.
const POSTPONED_MAX: usize = 10_000;

/// The copies that let others go first.
#[derive(Debug, Default)]
pub(super) struct Postponed(Mutex<HashMap<(Version, Slot), Instant>>);

impl Postponed {
    /// Lets other copies at `slot` go first for a while.
    pub(super) fn add(&self, version: Version, slot: Slot, now: Instant) {
        let mut until = self.0.lock();
        until.retain(|_, until| now < *until);
        if until.len() < POSTPONED_MAX {
            until.insert((version, slot), now + POSTPONED_FOR);
        }
    }

    /// Tells whether others go first.
    pub(super) fn contains(&self, version: Version, slot: Slot, now: Instant) -> bool {
        self.0.lock().get(&(version, slot)).is_some_and(|until| now < *until)
    }
}
