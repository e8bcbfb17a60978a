//! Removes one copy from one provider, in an order that leaves nothing behind that reads as a live copy.
//!
//! feed entry → record → block list → parts, the writing order backwards: a feed entry says that the copy is
//! complete, so it goes first, and a record says that all bytes are there, so it goes before any of them.
//! After a crash in between there is a copy that says less than it could, or bytes that nobody speaks of.
//! A purge removes the record last ([`First::Bytes`]). It works below a tombstone that a majority holds, which
//! every majority shows, so a record without bytes is current nowhere and hides nothing, and nothing goes for
//! its sake: what copies go for proves its bytes. When the purge is run again after a crash, the record leads
//! it to the bytes that are left.
//! Keys are never used again, so a removal that arrives late, or twice, finds nothing or the same object.
//!
//! The minute of a feed entry is that of writing, a moment after the record: it is looked for around the time
//! at which the provider stored the record. One that repair wrote much later is left to the sweep.

use crate::asset::key::{self, KeyKind};
use crate::asset::{Key, Kind, NameHash, UploadId, Version};
use crate::provider::{Provider, Result};
use crate::replica::pace::Pace;
use crate::replica::retry::retrying;

/// How many minutes before its record a feed entry may be filed, where clocks were measured badly.
const MINUTES_BEFORE: u64 = 1;
/// How many minutes after its record a feed entry may be filed.
const MINUTES_AFTER: u64 = 3;

/// What goes first of a record and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// The record: whoever finds one finds all bytes.
    Record,
    /// The bytes: as long as some are left, the record is.
    Bytes,
}

/// One copy that is to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doomed {
    pub name: NameHash,
    pub version: Version,
    pub kind: Kind,
    /// Whether the provider lists the record.
    pub listed: bool,
    /// When the record was stored, by the provider's clock, in Unix milliseconds.
    pub stored_ms: Option<u64>,
}

impl Doomed {
    /// Removes the copy, and returns how many objects that were.
    ///
    /// # Errors
    ///
    /// The provider failed; what comes later in the order is still there.
    pub(super) async fn remove_from(
        &self,
        provider: &dyn Provider,
        first: First,
        pace: &Pace,
    ) -> Result<u64> {
        let mut removed = 0;
        for feed in self.feed_entries(provider, pace).await? {
            removed += delete(provider, &feed, pace).await?;
        }
        if first == First::Bytes {
            removed += self.remove_bytes(provider, pace).await?;
        }
        if self.listed {
            let record = Key::record(self.name, self.version, self.kind);
            removed += delete(provider, &record, pace).await?;
        }
        if first == First::Record {
            removed += self.remove_bytes(provider, pace).await?;
        }
        Ok(removed)
    }

    async fn feed_entries(&self, provider: &dyn Provider, pace: &Pace) -> Result<Vec<Key>> {
        let stored_ms = self.stored_ms.unwrap_or_else(|| self.version.order.unix_ms());
        let stored = stored_ms / 60_000;
        let mut found = Vec::new();
        for minute in stored.saturating_sub(MINUTES_BEFORE)..=stored.saturating_add(MINUTES_AFTER) {
            pace.take(1).await;
            let dir = key::feed_dir(minute);
            let listing = retrying(|| provider.list_dir(&dir)).await?;
            let wanted = Key::feed(minute, self.name, self.version, self.kind);
            if listing.entries.iter().any(|entry| entry.key == wanted.as_str()) {
                found.push(wanted);
            }
        }
        Ok(found)
    }

    async fn remove_bytes(&self, provider: &dyn Provider, pace: &Pace) -> Result<u64> {
        match self.kind {
            Kind::Put => remove_blob(provider, self.version.upload, pace).await,
            Kind::Del => Ok(0),
        }
    }
}

/// Removes all objects of an upload, the block list first, and returns how many those were.
///
/// # Errors
///
/// The provider failed; some of it may be gone.
pub(super) async fn remove_blob(provider: &dyn Provider, upload: UploadId, pace: &Pace) -> Result<u64> {
    pace.take(1).await;
    let dir = key::blob_dir(upload);
    let listing = retrying(|| provider.list_dir(&dir)).await?;
    let ours = |text: &str| {
        let kind = key::parse(text)?;
        let is_part = match &kind {
            KeyKind::Part { upload: of, .. } if *of == upload => true,
            KeyKind::Blocks { upload: of } if *of == upload => false,
            KeyKind::Part { .. }
            | KeyKind::Blocks { .. }
            | KeyKind::Record { .. }
            | KeyKind::Feed { .. }
            | KeyKind::Canary { .. }
            | KeyKind::Probe { .. }
            | KeyKind::SnapshotChunk { .. }
            | KeyKind::SnapshotManifest { .. } => return None,
        };
        Some((is_part, kind.key()))
    };
    let mut keys: Vec<_> = listing.entries.iter().filter_map(|entry| ours(&entry.key)).collect();
    keys.sort();
    let mut removed = 0;
    for (_, key) in keys {
        removed += delete(provider, &key, pace).await?;
    }
    Ok(removed)
}

async fn delete(provider: &dyn Provider, key: &Key, pace: &Pace) -> Result<u64> {
    pace.take(1).await;
    retrying(|| provider.delete(key)).await.map(|()| 1)
}
