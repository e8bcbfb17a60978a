//! When a snapshot is written, and which ones are removed. Pure.

use std::time::Duration;

use crate::asset::UploadId;

/// When snapshots are written and removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// After this time a new one is written in any case.
    pub every: Duration,
    /// Before this time none is written, however much has changed.
    pub soonest: Duration,
    /// With fewer names a listing is as quick, and none is written.
    pub names_min: u64,
    /// A younger one is never removed.
    pub keep: Duration,
    /// How many bytes of the index are read in a second.
    pub bytes_per_second: u64,
}

/// One in so many names has to change before a snapshot is written early.
const CHANGED_SHARE: u64 = 10;
/// How many newer complete snapshots there are before one is removed.
const NEWER_MIN: usize = 2;
/// A snapshot without its manifest that is younger than this is still being written by somebody.
const WRITING_FOR: Duration = Duration::from_secs(30 * 60);

impl Default for Policy {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(6 * 3_600),
            soonest: Duration::from_secs(15 * 60),
            names_min: 1_000,
            keep: Duration::from_secs(24 * 3_600),
            bytes_per_second: 16 * 1024 * 1024,
        }
    }
}

/// One snapshot as it lies at one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The snapshot.
    pub snapshot: UploadId,
    /// Whether its manifest is there.
    pub complete: bool,
    /// How long ago its last object was written, by the provider's clock.
    pub age: Duration,
}

impl Policy {
    /// Tells whether a snapshot is to be written, with `die` in `0..100`, of an index of `names` names of
    /// which `changed` have changed since the newest of `folders`, those of all providers.
    pub fn is_due(&self, folders: &[Folder], names: u64, changed: u64, die: u64) -> bool {
        if names < self.names_min || folders.iter().any(|it| !it.complete && it.age < WRITING_FOR) {
            return false;
        }
        let Some(age) = folders.iter().filter(|it| it.complete).map(|it| it.age).min() else {
            return true;
        };
        // Between 90 % and 110 %, so that gateways do not all begin at once.
        let every = self.every * u32::try_from(90 + die % 21).unwrap_or(100) / 100;
        let much = changed.saturating_mul(CHANGED_SHARE) >= names;
        age >= every || (much && age >= self.soonest)
    }

    /// Returns the snapshots of one provider that nobody needs any longer: old ones with two newer complete
    /// ones beside them, and old ones that were never completed.
    pub fn superseded(&self, folders: &[Folder]) -> Vec<UploadId> {
        let is_needless = |it: &&Folder| {
            let newer = folders.iter().filter(|other| other.complete && other.age < it.age).count();
            it.age > self.keep && (!it.complete || newer >= NEWER_MIN)
        };
        folders.iter().filter(is_needless).map(|it| it.snapshot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    fn folder(number: u128, complete: bool, age: u64) -> Folder {
        Folder { snapshot: UploadId::new(1, number), complete, age: Duration::from_secs(age) }
    }

    #[test]
    fn a_snapshot_is_due_by_table() {
        // (complete?, age in seconds), names, changed, the die, due?
        type Row<'a> = (&'a [(bool, u64)], u64, u64, u64, bool);
        let table: [Row<'_>; 11] = [
            (&[], 999, 0, 0, false),
            (&[], 1_000, 0, 0, true),
            (&[(true, 5 * HOUR)], 5_000, 0, 0, false),
            (&[(true, 6 * HOUR)], 5_000, 0, 0, true),
            (&[(true, 6 * HOUR)], 5_000, 0, 20, false),
            (&[(true, 7 * HOUR)], 5_000, 0, 20, true),
            (&[(true, 7 * HOUR), (true, HOUR)], 5_000, 0, 20, false),
            (&[(true, HOUR)], 5_000, 500, 0, true),
            (&[(true, 14 * 60)], 5_000, 5_000, 0, false),
            (&[(true, 7 * HOUR), (false, 60)], 5_000, 5_000, 0, false),
            (&[(true, 7 * HOUR), (false, HOUR)], 5_000, 0, 0, true),
        ];
        for (folders, names, changed, die, due) in table {
            let all: Vec<_> = folders.iter().map(|(complete, age)| folder(1, *complete, *age)).collect();
            assert_eq!(Policy::default().is_due(&all, names, changed, die), due, "{folders:?} {names} {die}");
        }
    }

    #[test]
    fn only_old_ones_with_two_newer_complete_ones_are_removed() {
        let superseded = |folders: &[Folder]| Policy::default().superseded(folders);
        let (old, newer, newest) =
            (folder(1, true, 25 * HOUR), folder(2, true, 24 * HOUR), folder(3, true, 60));
        assert_eq!(superseded(&[old.clone(), newer.clone(), newest.clone()]), [old.snapshot]);
        assert!(superseded(&[old.clone(), newest.clone()]).is_empty());
        let half = folder(2, false, 60);
        assert!(superseded(&[old.clone(), half, newest.clone()]).is_empty());
        let young = folder(1, true, 23 * HOUR);
        assert!(superseded(&[young, newer, newest.clone()]).is_empty());
        let abandoned = folder(4, false, 25 * HOUR);
        assert_eq!(superseded(&[abandoned.clone(), newest]), [abandoned.snapshot]);
    }
}
