//! Marks: what this gateway noted of versions in passing, in memory only.
//!
//! Suspicion: a read found a copy missing or damaged; until repair has looked at it, no listing makes it
//! complete again (the index keeps it as missing, so that a restart does not forget it). Uncommitted: a
//! majority lacks the bytes. Absent: the same of a version that was committed for all that is known. Writing:
//! the upload is under way here. Unreadable: nobody delivers the record.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Catalog, Sighting};
use crate::asset::{NameHash, UploadId, Version};
use crate::clock::Lately;
use crate::provider::Slot;

/// For how long a version whose bytes a majority lacks is passed over before its bytes are asked for again.
const UNCOMMITTED_FOR: Duration = Duration::from_secs(5);
/// For how long a majority must have lacked a version that is known to have been committed before it is passed
/// over. A spell in which providers deny what they hold is answered 503, and then with the bytes again.
const ABSENT_FOR: Duration = Duration::from_secs(5);
/// Two denials that are further apart are of two spells.
const ABSENT_AGAIN_WITHIN: Duration = Duration::from_mins(10);
/// For how long it is remembered what was served though only a minority is known to hold it.
const SERVED_REMEMBERED_FOR: Duration = Duration::from_hours(1);
/// For how long the background reader leaves a record alone that nobody delivered.
const UNREADABLE_FOR: Duration = Duration::from_secs(600);
/// How many versions of each kind are remembered.
const REMEMBERED_MAX: u64 = 100_000;

/// The marks of one gateway.
#[derive(Debug)]
pub(super) struct Marks {
    writing: Mutex<HashSet<UploadId>>,
    uncommitted: Lately<Version>,
    absent: Lately<Version>,
    served: Lately<Version>,
    pub(super) unreadable: Lately<Version>,
    suspects: Mutex<HashSet<(NameHash, Version, Slot)>>,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self {
            writing: Mutex::default(),
            uncommitted: Lately::new(REMEMBERED_MAX, UNCOMMITTED_FOR),
            absent: Lately::new(REMEMBERED_MAX, ABSENT_AGAIN_WITHIN),
            served: Lately::new(REMEMBERED_MAX, SERVED_REMEMBERED_FOR),
            unreadable: Lately::new(REMEMBERED_MAX, UNREADABLE_FOR),
            suspects: Mutex::default(),
        }
    }
}

impl Catalog {
    /// Marks the copy of one version at one provider as missing or damaged: repair looks at it closely.
    pub async fn suspect(&self, name: NameHash, version: Version, slot: Slot) {
        {
            let mut suspects = self.0.marks.suspects.lock();
            // Beyond the bound the index alone remembers, which is enough for repair.
            if (suspects.len() as u64) < REMEMBERED_MAX {
                suspects.insert((name, version, slot));
            }
        }
        // An index that cannot be changed is not fresh, and repair rests on it only when it can.
        let _ = self.change(vec![name], move |index| index.forget_holder(slot, name, version)).await;
    }

    pub(super) fn strip_suspects(&self, sightings: &mut [Sighting]) {
        let suspects = self.0.marks.suspects.lock();
        for seen in sightings.iter_mut().filter(|_| !suspects.is_empty()) {
            let (name, version) = (seen.name, seen.version);
            seen.holders.retain(|slot| !suspects.contains(&(name, version, *slot)));
        }
    }

    /// Tells whether a copy is under suspicion.
    pub fn is_suspect(&self, name: NameHash, version: Version, slot: Slot) -> bool {
        self.0.marks.suspects.lock().contains(&(name, version, slot))
    }

    /// Clears the suspicion against a copy, once it was looked at and is whole.
    pub fn clear_suspicion(&self, name: NameHash, version: Version, slot: Slot) {
        self.0.marks.absent.remove(&version);
        self.0.marks.suspects.lock().remove(&(name, version, slot));
    }

    /// Tells whether a version that a trusted majority was found to lack may be passed over: at once where it is
    /// merely listed; only after a while where a majority was known to hold it, or bytes of it were served.
    pub async fn may_pass_over(&self, name: NameHash, version: Version) -> bool {
        let marks = &self.0.marks;
        let known = self.known(name).await;
        let known = known.iter().find(|known| known.version == version);
        // A holder that denies it is under suspicion, and was a holder all the same.
        let held = |slot: &Slot| {
            known.is_some_and(|known| known.holders.contains(slot)) || self.is_suspect(name, version, *slot)
        };
        let fleet = &self.parts().fleet;
        if fleet.slots().filter(held).count() < fleet.majority() && !marks.served.contains(&version) {
            return true;
        }
        marks.absent.again(version).elapsed() >= ABSENT_FOR
    }

    /// Takes note that a provider delivered bytes of a version that `holders` are known to hold.
    pub fn delivered(&self, version: Version, holders: &[Slot]) {
        let (marks, fleet) = (&self.0.marks, &self.parts().fleet);
        if fleet.slots().filter(|slot| holders.contains(slot)).count() < fleet.majority() {
            marks.served.insert(version);
        }
        marks.absent.remove(&version);
        marks.uncommitted.remove(&version);
    }

    /// No version is passed over that a provider shows to hold completely.
    pub(super) fn unhide(&self, sightings: &[Sighting]) {
        let shown = sightings.iter().filter(|seen| !seen.holders.is_empty());
        shown.for_each(|seen| self.0.marks.uncommitted.remove(&seen.version));
    }

    /// Passes a version over for a while: a trusted majority lacks its bytes.
    pub fn mark_uncommitted(&self, version: Version) {
        self.0.marks.uncommitted.insert(version);
    }

    /// Tells whether a version is passed over.
    pub fn is_uncommitted(&self, version: Version) -> bool {
        self.0.marks.uncommitted.contains(&version)
    }

    /// Marks an upload as under way here until the guard is dropped, so that repair leaves it alone.
    pub fn begin_write(&self, upload: UploadId) -> WritingGuard {
        self.0.marks.writing.lock().insert(upload);
        WritingGuard { catalog: self.clone(), upload }
    }

    /// Tells whether an upload is under way here.
    pub fn is_writing(&self, upload: UploadId) -> bool {
        self.0.marks.writing.lock().contains(&upload)
    }
}

/// Keeps an upload marked as under way.
#[derive(Debug)]
pub struct WritingGuard {
    catalog: Catalog,
    upload: UploadId,
}

impl Drop for WritingGuard {
    fn drop(&mut self) {
        self.catalog.0.marks.writing.lock().remove(&self.upload);
    }
}
