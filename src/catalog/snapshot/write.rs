//! Writes snapshots, and removes old ones.
//!
//! 1. From time to time the snapshots of all trusted providers are listed. Old ones are removed, and a new one
//!    is written if none of them is young enough ([`super::plan`]) and the index is fresh and complete.
//! 2. What each feed was polled up to is read *before* the first row, and so are the canaries: all that came
//!    before is in the rows that follow.
//! 3. Rows are read in pages and written in chunks to all trusted providers, at a certain pace. A provider that
//!    fails gets no manifest. Records are proved once more, so that damage of the local file stays local.
//! 4. Providers whose canary or trust changed meanwhile are not covered. The manifest is written last.
//!
//! A crash leaves chunks without a manifest, which nobody reads and which are removed after a day.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, info};

use super::super::{Catalog, IndexUnusable, IndexedVersion};
use super::format::{self, Chunk, Cover, Manifest, Row};
use super::plan::{Folder, Policy};
use super::survey;
use crate::asset::{Key, NameHash, Record, UploadId, Version};
use crate::provider::{Payload, Slot};
use crate::replica::pace::Pace;
use crate::replica::retry::retrying;

/// How often the task may look whether anything is to be done.
pub const STEP_EVERY: Duration = Duration::from_secs(30);
/// Between two looks at what lies on the providers, at least; up to as much again by the dice.
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);
/// How long a provider may take to say what it has.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);
/// A chunk is closed once its rows have this many bytes.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// One record in so many may be unread in an index that counts as complete.
const UNREAD_SHARE: u64 = 100;
/// The type under which chunks are stored.
const CHUNK_TYPE: &str = "application/octet-stream";

/// A snapshot was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The index does not know enough just now.
    #[error("the index is not fresh and complete, or too few providers are trusted")]
    Incomplete,
    /// No provider took all chunks.
    #[error("no provider took the snapshot")]
    NotStored,
    /// The local index failed.
    #[error(transparent)]
    Index(#[from] IndexUnusable),
}

/// Writes and removes snapshots for one gateway.
#[derive(Debug)]
pub struct Snapshots {
    catalog: Catalog,
    policy: Policy,
    pace: Pace,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    look_at: Option<Instant>,
    /// The newest snapshot of the last look, and how many entries the feeds had shown then.
    newest: Option<UploadId>,
    heard: u64,
}

impl Snapshots {
    /// Starts without having looked at anything.
    pub fn new(catalog: Catalog, policy: Policy) -> Self {
        let pace = Pace::bytes_per_second(policy.bytes_per_second);
        Self { catalog, policy, pace, memory: Mutex::default() }
    }

    /// Looks whether old snapshots are to be removed and a new one is to be written, and does so.
    pub async fn step(&self) {
        let clock = &self.catalog.parts().clock;
        let now = clock.now();
        // A gateway that cannot write one leaves the old ones alone: they may be all that is left.
        if self.memory.lock().look_at.is_some_and(|at| now < at) || !self.catalog.is_fresh() {
            return;
        }
        self.memory.lock().look_at = Some(now + LOOK_EVERY + LOOK_EVERY * self.die() / 100);
        let Some(folders) = self.look_and_tidy().await else { return };
        let changed = self.changed(&folders);
        if self.policy.is_due(&folders, self.catalog.names().await, changed, u64::from(self.die())) {
            match self.write().await {
                Ok(snapshot) => info!(%snapshot, "a snapshot of the index is written"),
                Err(reason) => debug!(%reason, "no snapshot of the index is written now"),
            }
        }
    }

    /// Returns the snapshots of all trusted providers; `None` when one of them does not answer.
    async fn look_and_tidy(&self) -> Option<Vec<Folder>> {
        let parts = self.catalog.parts();
        let mut all = Vec::new();
        for slot in self.trusted() {
            let provider = parts.fleet.get(slot).as_ref();
            let offset = provider.clock_offset_ms().unwrap_or(0);
            let now_ms = parts.clock.unix_ms().saturating_add_signed(offset);
            let looking = tokio::time::timeout(LOOK_PATIENCE, survey::folders(provider, now_ms));
            let folders = looking.await.ok()?.ok()?;
            let tidying = survey::tidy(provider, &self.policy, &folders);
            if !matches!(tokio::time::timeout(LOOK_PATIENCE, tidying).await, Ok(Ok(()))) {
                debug!(provider = %provider.id(), "old snapshots cannot be removed now");
            }
            all.extend(folders);
        }
        Some(all)
    }

    /// Returns how many versions came since the newest snapshot was first seen.
    fn changed(&self, folders: &[Folder]) -> u64 {
        let newest = folders.iter().filter(|it| it.complete).min_by_key(|it| it.age).map(|it| it.snapshot);
        let heard = self.catalog.0.heard.load(std::sync::atomic::Ordering::Relaxed);
        let mut memory = self.memory.lock();
        if memory.newest != newest {
            (memory.newest, memory.heard) = (newest, heard);
        }
        (heard - memory.heard) / self.catalog.parts().fleet.len() as u64
    }

    /// Writes a snapshot to all trusted providers, and returns its identity.
    ///
    /// # Errors
    ///
    /// No complete one was written; chunks may lie about.
    ///
    /// # Cancellation
    ///
    /// As after a crash.
    pub async fn write(&self) -> Result<UploadId, WriteError> {
        let parts = self.catalog.parts();
        if !self.is_complete().await? {
            return Err(WriteError::Incomplete);
        }
        let (snapshot, created) = (parts.clock.upload_id(), parts.clock.utc());
        let mut covers = self.covers().await?;
        let mut targets = self.trusted();
        let (mut chunks, mut after): (Vec<Chunk>, _) = (Vec::new(), None);
        while let Some((packed, chunk, last)) = self.pack(after, &covers).await? {
            self.pace.take(chunk.inflated).await;
            let number = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
            self.store(&mut targets, &Key::snapshot_chunk(snapshot, number), packed, CHUNK_TYPE).await;
            if targets.is_empty() {
                return Err(WriteError::NotStored);
            }
            chunks.push(chunk);
            after = Some(last);
        }
        let still = self.covers().await?;
        covers.retain(|(slot, losses, cover)| {
            let same = |(other, now, it): &(Slot, u64, Cover)| {
                other == slot && now == losses && it.canary == cover.canary
            };
            still.iter().any(same)
        });
        targets.retain(|target| parts.trust.is_trusted(*target));
        if covers.len() < parts.fleet.majority() {
            return Err(WriteError::Incomplete);
        }
        let covers = covers.into_iter().map(|(_, _, cover)| cover).collect();
        let sealed = Manifest::new(snapshot, created, covers, chunks).seal(&parts.key);
        let json = crate::asset::record::RECORD_CONTENT_TYPE;
        self.store(&mut targets, &Key::snapshot_manifest(snapshot), sealed, json).await;
        if targets.is_empty() { Err(WriteError::NotStored) } else { Ok(snapshot) }
    }

    async fn is_complete(&self) -> Result<bool, WriteError> {
        let unread_max = usize::try_from(self.catalog.names().await / UNREAD_SHARE).unwrap_or(usize::MAX);
        let looking = move |inner: &super::super::Inner| inner.index.without_record(unread_max + 1, 0);
        let unread = self.catalog.blocking_with(looking).await?;
        Ok(self.catalog.is_fresh() && unread.len() <= unread_max)
    }

    /// Returns how far each trusted feed is in the index now, with the providers' counts of losses.
    async fn covers(&self) -> Result<Vec<(Slot, u64, Cover)>, WriteError> {
        let mut covers = Vec::new();
        for slot in self.trusted().into_iter().filter(|slot| self.catalog.is_loaded(*slot)) {
            let losses = self.catalog.losses(slot);
            let provider = self.catalog.parts().fleet.get(slot);
            let looking = tokio::time::timeout(LOOK_PATIENCE, super::canary(provider.as_ref()));
            let Ok(Ok(canary)) = looking.await else { continue };
            let minute = self.catalog.blocking_with(move |inner| inner.index.cursor(slot)).await?;
            let Some(minute) = minute else { continue };
            let bit = u32::try_from(slot.0).unwrap_or(u32::MAX);
            covers.push((slot, losses, Cover { provider: provider.id().to_string(), bit, canary, minute }));
        }
        match covers.len() >= self.catalog.parts().fleet.majority() {
            true => Ok(covers),
            false => Err(WriteError::Incomplete),
        }
    }

    /// Reads and packs the next page of the index; `None` behind the last one.
    async fn pack(
        &self,
        after: Option<(NameHash, Version)>,
        covers: &[(Slot, u64, Cover)],
    ) -> Result<Option<(Bytes, Chunk, (NameHash, Version))>, WriteError> {
        let mask = covers.iter().fold(0, |mask, (slot, ..)| mask | 1 << slot.0);
        let key = self.catalog.parts().key.clone();
        let packing = self.catalog.blocking_with(move |inner| {
            let page = inner.index.page(after, CHUNK_BYTES)?;
            let Some(last) = page.last().map(|row| (row.name, row.version)) else { return Ok(None) };
            let rows: Vec<_> = page.into_iter().map(|version| row(version, &key, mask)).collect();
            let (packed, chunk) = format::pack(&rows);
            Ok(Some((packed, chunk, last)))
        });
        Ok(packing.await?)
    }

    /// Stores an object at all targets; those that fail are targets no longer.
    async fn store(&self, targets: &mut Vec<Slot>, key: &Key, bytes: Bytes, content_type: &str) {
        let payload = Payload::from(bytes);
        let puts = targets.iter().map(async |slot| {
            let provider = self.catalog.parts().fleet.get(*slot);
            match retrying(|| provider.put(key, &payload, content_type)).await {
                Ok(()) => Some(*slot),
                Err(failure) => {
                    debug!(%failure, "a part of a snapshot cannot be stored");
                    None
                }
            }
        });
        *targets = futures::future::join_all(puts).await.into_iter().flatten().collect();
    }

    fn trusted(&self) -> Vec<Slot> {
        let parts = self.catalog.parts();
        parts.fleet.slots().filter(|slot| parts.trust.is_trusted(*slot)).collect()
    }

    fn die(&self) -> u32 {
        u32::try_from(self.catalog.parts().clock.random() % 100).unwrap_or(0)
    }
}

/// A record that does not prove itself is left to be read again by whoever loads the snapshot.
fn row(version: IndexedVersion, key: &crate::asset::RecordKey, mask: u64) -> Row {
    let IndexedVersion { name, version, kind, missing, record } = version;
    let at = Key::record(name, version, kind);
    let record = record.and_then(|sealed| {
        let record = Record::open(&sealed, key, &at).ok()?;
        Some((record.name.as_str().to_owned(), sealed))
    });
    Row { name, version, kind, holders: !missing & mask, record }
}
