//! Losses: what no provider has any more, which is an alarm, unless somebody took it down.

use futures::future::join_all;

use super::{Attempt, Repairer};
use crate::asset::{Key, Kind, Record, key};
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
    /// may have it; one that is not well is not asked, since others wait for the turn that this takes.
    pub(super) async fn is_lost(&self, row: &IndexedVersion, target: Slot) -> bool {
        let others = self.parts().fleet.slots().filter(|slot| *slot != target);
        self.others_are_well(target)
            && join_all(others.map(|slot| self.lacks(row, slot))).await.into_iter().all(|lacks| lacks)
    }

    /// Tells whether all providers but the target of a copy are well.
    pub(super) fn others_are_well(&self, target: Slot) -> bool {
        let board = self.parts().monitor.board();
        self.parts().fleet.slots().all(|slot| slot == target || board.is_healthy(slot))
    }

    /// Ends the search for a version that all others lack: what was taken down is no loss.
    pub(super) async fn lose(&self, row: &IndexedVersion, slot: Slot) -> Attempt {
        let catalog = &self.parts().catalog;
        // The tombstone may be younger than the last look at the feeds.
        for (_, provider) in self.parts().fleet.iter() {
            let versions = listing::versions_at(provider.as_ref(), row.name).await.unwrap_or_default();
            let seen = versions.into_iter().map(|(version, kind)| Sighting::listed(row.name, version, kind));
            // An index that cannot take it knows what it knew.
            let _ = catalog.apply(seen.collect()).await;
        }
        let known = catalog.known(row.name).await;
        if !known.iter().any(|it| it.kind == Kind::Del && it.version > row.version) {
            return self.give_up(row, slot);
        }
        let Some(gone) = known.iter().find(|it| (it.version, it.kind) == (row.version, row.kind)) else {
            // The attempt at another provider has just forgotten it.
            return Attempt::Gone;
        };
        match self.left_of(row).await {
            Some(Left::Record) => self.give_up(row, slot),
            Some(Left::Nothing) if catalog.forget(row.name, gone).await.is_ok() => Attempt::Gone,
            // Retention, which knows by the index whose bytes these are, removes them; nothing waits for that, a refill
            // least of all, without which retention does not go on.
            Some(Left::Bytes) => {
                self.0.hopeless.insert((row.version, slot));
                Attempt::Hopeless
            }
            Some(Left::Nothing) | None => Attempt::Later,
        }
    }

    /// Tells whether a provider answers that it has no copy of a version.
    async fn lacks(&self, row: &IndexedVersion, slot: Slot) -> bool {
        let provider = self.parts().fleet.get(slot);
        let lacks = async |key| provider.stat(&key).await.is_err_and(|failure| failure.is_not_found());
        lacks(Key::record(row.name, row.version, row.kind)).await
            || (self.has_part(row) && lacks(Key::part(row.version.upload, 0)).await)
    }

    /// Tells whether a version is known to have bytes: an empty asset has no part.
    fn has_part(&self, row: &IndexedVersion) -> bool {
        let at = Key::record(row.name, row.version, row.kind);
        let record = row.record.as_ref().and_then(|sealed| Record::open(sealed, &self.parts().key, &at).ok());
        record.and_then(|record| record.put).is_some_and(|put| put.size > 0)
    }

    /// Tells what all providers together have of a version; `None` when one does not answer.
    async fn left_of(&self, row: &IndexedVersion) -> Option<Left> {
        let mut left = Left::Nothing;
        for (_, provider) in self.parts().fleet.iter() {
            match provider.stat(&Key::record(row.name, row.version, row.kind)).await {
                Ok(_) => return Some(Left::Record),
                Err(failure) if failure.is_not_found() => {}
                Err(_) => return None,
            }
            let blobs = provider.list_dir(&key::blob_dir(row.version.upload)).await.ok()?;
            if !blobs.entries.is_empty() {
                left = Left::Bytes;
            }
        }
        Some(left)
    }
}

/// What is left of a version that nobody can deliver.
enum Left {
    /// Its record, somewhere.
    Record,
    /// Bytes without a record.
    Bytes,
    Nothing,
}
