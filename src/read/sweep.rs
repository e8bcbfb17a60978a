//! The sweep of the caches: what was deleted does not stay on this machine.
//!
//! Nobody is served from a cache what the catalog calls deleted, so this is no matter of right answers. But a take-down
//! removes bytes from all providers because they must be nowhere, and a disk cache keeps what nobody asks for until it
//! is full. What was taken down while this gateway stood still is found as well: it is the index that is asked.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cache::BlockCache;
use crate::cache::disk::DiskCache;
use crate::catalog::{Catalog, IndexUnusable};

/// How many uploads leave in one step: each has its files looked for.
const SWEPT_MAX: usize = 32;
/// How many times as long as a step takes no other one begins: a large cache is gone through more slowly.
const REST_FACTOR: u32 = 20;

/// Goes through the disk cache, one of its 256 folders at a time, again and again.
#[derive(Debug)]
pub struct CacheSweep {
    catalog: Catalog,
    cache: BlockCache,
    disk: DiskCache,
    folder: AtomicU8,
    rests_until: Mutex<Option<Instant>>,
}

impl CacheSweep {
    /// Begins with the first folder.
    pub fn new(catalog: Catalog, cache: BlockCache, disk: DiskCache) -> Self {
        Self { catalog, cache, disk, folder: AtomicU8::new(0), rests_until: Mutex::default() }
    }

    /// Removes from the caches what the next folder holds of deleted versions; returns how many uploads those were.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub async fn step(&self) -> Result<usize, IndexUnusable> {
        let began = Instant::now();
        if self.rests_until.lock().is_some_and(|until| began < until) {
            return Ok(0);
        }
        let folder = self.folder.fetch_add(1, Ordering::Relaxed);
        let uploads = self.disk.uploads_in(folder).await;
        if uploads.is_empty() {
            return Ok(0);
        }
        let mut deleted = self.catalog.deleted_uploads(uploads).await?;
        deleted.truncate(SWEPT_MAX);
        *self.rests_until.lock() = Some(Instant::now() + began.elapsed() * REST_FACTOR);
        for upload in &deleted {
            self.cache.remove(*upload);
            self.disk.remove(*upload);
        }
        Ok(deleted.len())
    }
}
