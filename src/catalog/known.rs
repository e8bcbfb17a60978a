//! Known versions in memory: what the index says of the names that are asked for most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

use super::index::{IndexError, IndexedVersion, Sighting};
use crate::asset::{Key, Kind, NameHash, Record, RecordKey, Version};
use crate::provider::Slot;

/// How many names are kept in memory.
const NAMES_MAX: u64 = 100_000;

/// One version of a name, as the index knows it.
#[derive(Debug, Clone)]
pub struct KnownVersion {
    /// The version.
    pub version: Version,
    /// Whether it holds bytes or is a tombstone.
    pub kind: Kind,
    /// Its record, where it was read already.
    pub record: Option<Arc<Record>>,
    /// The providers known to hold it completely.
    pub holders: Vec<Slot>,
}

impl KnownVersion {
    /// Returns the key of the record on every provider.
    pub fn record_key(&self, name: NameHash) -> Key {
        Key::record(name, self.version, self.kind)
    }
}

/// Joins what the index says of one name with what providers just listed of it, the newest first. The
/// listing counts even where the index, a mere cache, could not take it.
pub fn join(known: &[KnownVersion], seen: &[Sighting]) -> Vec<KnownVersion> {
    let mut joined = known.to_vec();
    for sighting in seen {
        let is_it =
            |known: &&mut KnownVersion| (known.version, known.kind) == (sighting.version, sighting.kind);
        match joined.iter_mut().find(is_it) {
            Some(known) => known.holders.extend(&sighting.holders),
            None => joined.push(KnownVersion {
                version: sighting.version,
                kind: sighting.kind,
                record: None,
                holders: sighting.holders.clone(),
            }),
        }
    }
    for known in &mut joined {
        known.holders.sort_unstable();
        known.holders.dedup();
    }
    joined.sort_by_key(|known| (std::cmp::Reverse(known.version), known.kind));
    joined
}

/// A cache of index rows that never keeps an outdated one.
///
/// A loader may read a row just before it changes and insert it just after. Each shard of names therefore
/// counts its changes, before and after each one; a row that was read across a change is not kept.
#[derive(Debug)]
pub struct KnownCache {
    key: RecordKey,
    rows: Cache<NameHash, Arc<Vec<KnownVersion>>>,
    changes: Vec<AtomicU64>,
}

impl KnownCache {
    /// Starts empty; `key` proves the records of the index once more.
    pub fn new(key: RecordKey) -> Self {
        let changes = std::iter::repeat_with(AtomicU64::default).take(256).collect();
        Self { key, rows: Cache::new(NAMES_MAX), changes }
    }

    /// Returns what is cached.
    pub fn get(&self, name: NameHash) -> Option<Arc<Vec<KnownVersion>>> {
        self.rows.get(&name)
    }

    /// Loads a row and keeps it, unless it changed meanwhile.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    pub fn load(
        &self,
        name: NameHash,
        read: impl FnOnce() -> Result<Vec<IndexedVersion>, IndexError>,
    ) -> Result<Arc<Vec<KnownVersion>>, IndexError> {
        let changes = self.changes_of(name);
        let before = changes.load(Ordering::SeqCst);
        let known = Arc::new(read()?.into_iter().map(|row| self.prove(row)).collect::<Vec<_>>());
        if changes.load(Ordering::SeqCst) == before {
            self.rows.insert(name, known.clone());
            if changes.load(Ordering::SeqCst) != before {
                self.rows.invalidate(&name);
            }
        }
        Ok(known)
    }

    /// Runs a change of the rows of `names` and drops them.
    ///
    /// # Errors
    ///
    /// Those of `change`.
    pub fn changing<T>(
        &self,
        names: &[NameHash],
        change: impl FnOnce() -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        names.iter().for_each(|name| _ = self.changes_of(*name).fetch_add(1, Ordering::SeqCst));
        let result = change();
        for name in names {
            self.changes_of(*name).fetch_add(1, Ordering::SeqCst);
            self.rows.invalidate(name);
        }
        result
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.changes.iter().for_each(|changes| _ = changes.fetch_add(1, Ordering::SeqCst));
        self.rows.invalidate_all();
    }

    fn changes_of(&self, name: NameHash) -> &AtomicU64 {
        &self.changes[usize::from(name.as_bytes()[0])]
    }

    /// A record that the local file damaged is read again from a provider.
    fn prove(&self, row: IndexedVersion) -> KnownVersion {
        let at = Key::record(row.name, row.version, row.kind);
        let record = row.record.and_then(|sealed| Record::open(&sealed, &self.key, &at).ok()).map(Arc::new);
        let holders = (0..64).filter(|slot| row.missing >> slot & 1 == 0).map(Slot).collect();
        KnownVersion { version: row.version, kind: row.kind, record, holders }
    }
}
