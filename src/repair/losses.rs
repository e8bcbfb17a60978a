//! Losses: what no provider has any more, which is an alarm, unless somebody took it down.

use super::{Attempt, Repairer};
use crate::asset::{Key, Kind};
use crate::catalog::{IndexedVersion, Sighting, listing};
use crate::provider::Slot;
use crate::telemetry::EventKind;

impl Repairer {
    pub(super) fn give_up(&self, row: &IndexedVersion, slot: Slot) -> Attempt {
        self.0.hopeless.insert((row.version, slot));
        self.event(slot, EventKind::RepairFailed, format!("{}: nobody has the right bytes", row.version));
        Attempt::Hopeless
    }

    /// Tells whether every other provider answers that it has no copy of a version. One that does not answer
    /// may have it.
    pub(super) async fn is_lost(&self, row: &IndexedVersion, target: Slot) -> bool {
        let others = self.parts().fleet.slots().filter(|slot| *slot != target);
        futures::future::join_all(others.map(|slot| self.lacks(row, slot)))
            .await
            .into_iter()
            .all(|lacks| lacks)
    }

    /// Ends the search for a version that all others lack.
    pub(super) async fn lose(&self, row: &IndexedVersion, slot: Slot) -> Attempt {
        if self.was_taken_down(row, slot).await { Attempt::Gone } else { self.give_up(row, slot) }
    }

    /// Tells whether a provider answers that it has no copy of a version.
    async fn lacks(&self, row: &IndexedVersion, slot: Slot) -> bool {
        let provider = self.parts().fleet.get(slot);
        let lacks = async |key| provider.stat(&key).await.is_err_and(|failure| failure.is_not_found());
        lacks(Key::record(row.name, row.version, row.kind)).await
            || (row.kind == Kind::Put && lacks(Key::part(row.version.upload, 0)).await)
    }

    /// Tells whether a version that all others lack was below a tombstone and is lacking here too: somebody purged
    /// the name, so it is forgotten, and no loss.
    async fn was_taken_down(&self, row: &IndexedVersion, slot: Slot) -> bool {
        let catalog = &self.parts().catalog;
        // The tombstone may be younger than the last look at the feeds.
        for (_, provider) in self.parts().fleet.iter() {
            let versions = listing::versions_at(provider.as_ref(), row.name).await.unwrap_or_default();
            let seen = versions.into_iter().map(|(version, kind)| Sighting::listed(row.name, version, kind));
            // An index that cannot take it knows what it knew.
            let _ = catalog.apply(seen.collect()).await;
        }
        let known = catalog.known(row.name).await;
        let is_deleted = known.iter().any(|it| it.kind == Kind::Del && it.version > row.version);
        match known.iter().find(|it| it.version == row.version) {
            Some(gone) if is_deleted => {
                self.lacks(row, slot).await && catalog.forget(row.name, gone).await.is_ok()
            }
            Some(_) => false,
            // The attempt at another provider has just forgotten it.
            None => is_deleted,
        }
    }
}
