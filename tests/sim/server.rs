//! A simulated provider's own side: what is stored there, with the semantics of its vendor.
//!
//! * S3: strongly consistent.
//! * Bunny: an overwritten object is served with its old bytes for a while, a deletion in the first second
//!   has no effect, and listings come in no order.
//! * Disk: strongly consistent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;
use triplicate::asset::{Sha256, key};
use triplicate::provider::{Capabilities, DirListing, Entry};

/// For how long Bunny serves the old bytes of an overwritten object.
const OLD_BYTES_FOR: Duration = Duration::from_secs(10);
/// For how long after an upload Bunny's deletions have no effect.
const UNDELETABLE_FOR: Duration = Duration::from_secs(1);

/// The vendors whose semantics differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    S3,
    Bunny,
    Disk,
}

/// What is stored at one provider.
#[derive(Debug)]
pub struct Server {
    pub name: &'static str,
    pub vendor: Vendor,
    /// Its clock at `began`, in Unix milliseconds.
    unix_ms: u64,
    began: Instant,
    objects: Mutex<BTreeMap<String, Object>>,
    /// For so long, in milliseconds, new objects are missing in listings.
    unlisted_ms: AtomicU64,
    log: Mutex<Log>,
}

/// What became of records here, by requests.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// When each was stored first.
    pub stored: BTreeMap<String, Instant>,
    /// Which ones were removed when, in this order.
    pub removed: Vec<(Instant, String)>,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    put_at: Instant,
    modified_unix_ms: u64,
    /// What was there before.
    before: Option<Bytes>,
}

impl Server {
    pub fn new(name: &'static str, vendor: Vendor, unix_ms: u64) -> Self {
        Self {
            name,
            vendor,
            unix_ms,
            began: Instant::now(),
            objects: Mutex::default(),
            unlisted_ms: AtomicU64::new(0),
            log: Mutex::default(),
        }
    }

    pub fn unix_ms(&self) -> u64 {
        self.unix_ms + u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    pub fn capabilities(&self) -> Capabilities {
        let tells = self.vendor == Vendor::Bunny;
        Capabilities { stat_sha256: tells, list_sha256: tells, ranges: true, ordered_listing: false }
    }

    pub fn put(&self, key: &str, bytes: Bytes) {
        let (put_at, modified_unix_ms) = (Instant::now(), self.unix_ms());
        if key.starts_with(key::NAMES) {
            self.log.lock().stored.entry(key.to_owned()).or_insert(put_at);
        }
        let mut objects = self.objects.lock();
        let before = objects.remove(key).map(|object| object.bytes);
        objects.insert(key.to_owned(), Object { bytes, put_at, modified_unix_ms, before });
    }

    /// Returns the bytes that a reader gets now.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        let objects = self.objects.lock();
        objects.get(key).map(|object| self.visible(object))
    }

    fn visible(&self, object: &Object) -> Bytes {
        let lags = self.vendor == Vendor::Bunny && object.put_at.elapsed() < OLD_BYTES_FOR;
        object.before.clone().filter(|_| lags).unwrap_or_else(|| object.bytes.clone())
    }

    pub fn stat(&self, key: &str) -> Option<Entry> {
        let objects = self.objects.lock();
        objects.get(key).map(|object| self.entry(key, object))
    }

    fn entry(&self, key: &str, object: &Object) -> Entry {
        Entry {
            key: key.to_owned(),
            bytes: object.bytes.len() as u64,
            modified_unix_ms: Some(object.modified_unix_ms),
            sha256: (self.vendor == Vendor::Bunny).then(|| Sha256::of(&object.bytes)),
        }
    }

    pub fn delete(&self, key: &str) {
        let mut objects = self.objects.lock();
        let young = |object: &Object| object.put_at.elapsed() < UNDELETABLE_FOR;
        if self.vendor == Vendor::Bunny && objects.get(key).is_some_and(young) {
            return;
        }
        if objects.remove(key).is_some() && key.starts_with(key::NAMES) {
            self.log.lock().removed.push((Instant::now(), key.to_owned()));
        }
    }

    pub fn list_dir(&self, dir: &str) -> DirListing {
        let objects = self.objects.lock();
        let mut listing = DirListing::default();
        let below = objects.range(dir.to_owned()..).take_while(|(key, _)| key.starts_with(dir));
        for (key, object) in below.filter(|(_, object)| self.is_listed(object)) {
            match key[dir.len()..].split_once('/') {
                None => listing.entries.push(self.entry(key, object)),
                Some((folder, _)) if listing.dirs.last().is_some_and(|last| last == folder) => {}
                Some((folder, _)) => listing.dirs.push(folder.to_owned()),
            }
        }
        self.shuffle(&mut listing.entries);
        listing
    }

    pub fn list_tree(&self, dir: &str) -> Vec<Entry> {
        let objects = self.objects.lock();
        let below = objects.range(dir.to_owned()..).take_while(|(key, _)| key.starts_with(dir));
        let below = below.filter(|(_, object)| self.is_listed(object));
        let mut entries: Vec<_> = below.map(|(key, object)| self.entry(key, object)).collect();
        self.shuffle(&mut entries);
        entries
    }

    /// Leaves new objects out of listings for a while.
    pub fn unlist(&self, time: Duration) {
        self.unlisted_ms.store(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn is_listed(&self, object: &Object) -> bool {
        object.put_at.elapsed() >= Duration::from_millis(self.unlisted_ms.load(Ordering::Relaxed))
    }

    /// Bunny lists in no order: here, in that of the keys' ends.
    fn shuffle(&self, entries: &mut [Entry]) {
        if self.vendor == Vendor::Bunny {
            entries.sort_by_cached_key(|entry| entry.key.bytes().rev().collect::<Vec<_>>());
        }
    }

    /// Removes everything.
    pub fn wipe(&self) {
        self.objects.lock().clear();
    }

    /// Loses one object at rest.
    pub fn lose(&self, key: &str) {
        self.objects.lock().remove(key);
    }

    /// Flips one bit of an object at rest.
    pub fn flip(&self, key: &str, at: usize) {
        if let Some(object) = self.objects.lock().get_mut(key) {
            let mut bytes = object.bytes.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1;
            object.bytes = bytes.into();
            object.before = None;
        }
    }

    /// Changes places with what another provider stores.
    pub fn swap(&self, other: &Self) {
        std::mem::swap(&mut *self.objects.lock(), &mut *other.objects.lock());
        [self, other].iter().for_each(|server| server.log_arrived());
    }

    /// Takes note of records that came by no request.
    fn log_arrived(&self) {
        let (objects, mut log) = (self.objects.lock(), self.log.lock());
        for (key, object) in objects.iter().filter(|(key, _)| key.starts_with(key::NAMES)) {
            log.stored.entry(key.clone()).or_insert(object.put_at);
        }
    }

    /// Returns what became of records here.
    pub fn log(&self) -> Log {
        self.log.lock().clone()
    }

    /// Returns all keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }

    /// Returns what is stored, whatever readers get now.
    pub fn stored(&self, key: &str) -> Option<Bytes> {
        self.objects.lock().get(key).map(|object| object.bytes.clone())
    }
}
