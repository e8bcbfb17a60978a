//! The checksums that the zone can vouch for.

use moka::sync::Cache;

use crate::asset::{Key, Sha256};
use crate::provider::Entry;

/// How many checksums are remembered; others are computed again when they are asked for.
const REMEMBERED_MAX: u64 = 1_000_000;

/// SHA-256 by object, each for the bytes of one moment; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Vouched(Cache<String, Known>);

/// A checksum, and the object as it was told when it had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    bytes: u64,
    modified_unix_ms: Option<u64>,
    sha256: Sha256,
}

impl Vouched {
    /// Starts with none.
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED_MAX))
    }

    /// Remembers that the object had this checksum.
    pub(super) fn remember(&self, entry: &Entry, sha256: Sha256) {
        let known = Known { bytes: entry.bytes, modified_unix_ms: entry.modified_unix_ms, sha256 };
        self.0.insert(entry.key.clone(), known);
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.invalidate(key.as_str());
    }

    /// Returns the checksum of an object that has not changed since.
    ///
    /// A change within the same millisecond that keeps the size goes unnoticed.
    pub(super) fn told(&self, entry: &Entry) -> Option<Sha256> {
        let unchanged =
            |known: &Known| (known.bytes, known.modified_unix_ms) == (entry.bytes, entry.modified_unix_ms);
        entry.sha256.or_else(|| self.0.get(&entry.key).filter(unchanged).map(|known| known.sha256))
    }
}
