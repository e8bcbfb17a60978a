//! The catalog. (seam)

use std::sync::Arc;

use crate::asset::{AssetName, Kind, Record, Version};
use crate::provider::Slot;

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

/// The catalog: index, feed poller, freshness.
#[derive(Debug, Clone)]
pub struct Catalog {}

impl Catalog {
    /// Tells whether the index was loaded, so that the gateway may take traffic.
    pub fn is_ready(&self) -> bool {
        unimplemented!()
    }

    /// Tells whether the index is fresh, in the contract's sense.
    pub fn is_fresh(&self) -> bool {
        unimplemented!()
    }

    /// Returns how many names the index knows.
    pub async fn names(&self) -> u64 {
        unimplemented!()
    }

    /// Lists current assets (no tombstones) by name, from the index: prefix, exclusive start, at most `limit`.
    pub async fn list(&self, prefix: String, after: Option<String>, limit: usize) -> Vec<Arc<Record>> {
        let _ = (prefix, after, limit);
        unimplemented!()
    }

    /// Returns all known versions of a name, the newest first.
    pub async fn versions(&self, name: &AssetName) -> Vec<KnownVersion> {
        let _ = name;
        unimplemented!()
    }

    /// Returns, for each provider, how many known versions it lacks.
    pub async fn copies_missing(&self) -> Vec<(Slot, u64)> {
        unimplemented!()
    }
}
