//! Loads a snapshot into the index.
//!
//! 1. All providers are asked which snapshots they have, and those that are not loaded yet for their canaries.
//! 2. The newest one that is valid and covers the wanted provider, with the canary that it has now, is taken.
//! 3. Chunks come from the first provider that delivers them unharmed, and go into the index one transaction
//!    each, with holders only where the canary fits.
//! 4. Once all are there, every provider that is covered counts as loaded.
//!
//! A provider that fails is passed over at once; a snapshot that nobody delivers whole is given up for the
//! next one. What came into the index stays: it is true whatever happens.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, FuturesUnordered, StreamExt};
use tokio::time::timeout;
use tracing::info;

use super::super::{Catalog, Sighting};
use super::format::{self, Chunk, MANIFEST_BYTES_MAX, Manifest, Row, SnapshotError};
use crate::asset::key::{self, FeedMinute};
use crate::asset::{Blake3, Key, NameHash, UploadId};
use crate::provider::{Slot, get_small};
use crate::telemetry::{Event, EventKind};

/// How long providers may take to say what they have.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
/// How long one provider may take for one object of a snapshot.
const OBJECT_PATIENCE: Duration = Duration::from_secs(30);
/// How many snapshots are tried before all is listed.
const TRIES_MAX: usize = 3;
/// How many chunks are read ahead.
const READ_AHEAD: usize = 2;
/// A snapshot whose name is further in the future than this is tried last, in milliseconds.
const FUTURE_MS: u64 = 3_600_000;

/// One snapshot, and who has a part of it, the quickest first.
struct Offer {
    snapshot: UploadId,
    at: Vec<Slot>,
}

/// What the rows of a snapshot may say of one provider.
#[derive(Clone, Copy)]
struct Claim {
    slot: Slot,
    bit: u32,
    minute: FeedMinute,
    /// How often the provider had lost everything when its canary was read.
    losses: u64,
}

impl Catalog {
    /// Loads a snapshot that covers the provider in `slot`, and returns the minute up to which it does. One
    /// that was loaded on another provider's turn counts, once.
    pub(in super::super) async fn load_snapshot(&self, slot: Slot) -> Option<FeedMinute> {
        let _turn = self.0.loading.lock().await;
        if let Some(minute) = self.0.feeds.lock()[slot.0].covered.take() {
            return Some(minute);
        }
        let offers = self.offers().await;
        if offers.is_empty() {
            return None;
        }
        let canaries = self.canaries(slot).await;
        for offer in offers.into_iter().take(TRIES_MAX) {
            let Some((manifest, from)) = self.manifest(&offer).await else { continue };
            let claims = self.claims(&manifest, &canaries);
            if !claims.iter().any(|claim| claim.slot == slot) {
                continue;
            }
            let mut at = offer.at;
            at.sort_by_key(|slot| *slot != from);
            if self.fill(&manifest, &claims, &at).await {
                info!(snapshot = %manifest.snapshot, versions = manifest.versions, "a snapshot is loaded");
                return self.cover(slot, &claims);
            }
        }
        None
    }

    /// Asks all providers which snapshots they have, and returns them, the newest first.
    async fn offers(&self) -> Vec<Offer> {
        let mut asking: FuturesUnordered<_> = self
            .parts()
            .fleet
            .iter()
            .map(async |(slot, provider)| {
                (slot, timeout(ASK_PATIENCE, provider.list_dir(key::SNAPSHOTS)).await)
            })
            .collect();
        let mut offers: BTreeMap<UploadId, Vec<Slot>> = BTreeMap::new();
        while let Some((slot, answer)) = asking.next().await {
            let dirs = answer.ok().and_then(Result::ok).map(|listing| listing.dirs).unwrap_or_default();
            for snapshot in dirs.iter().filter_map(|dir| key::parse_snapshot_dir(dir)) {
                offers.entry(snapshot).or_default().push(slot);
            }
        }
        let latest_ms = self.parts().clock.unix_ms().saturating_add(FUTURE_MS);
        let mut offers: Vec<_> =
            offers.into_iter().rev().map(|(snapshot, at)| Offer { snapshot, at }).collect();
        offers.sort_by_key(|offer| offer.snapshot.unix_ms() > latest_ms);
        offers
    }

    /// Reads the canaries of all providers that are not loaded yet, with their counts of losses before.
    async fn canaries(&self, wanted: Slot) -> Vec<(Slot, Blake3, u64)> {
        let unloaded = self.parts().fleet.slots().filter(|slot| *slot == wanted || !self.is_loaded(*slot));
        let looks = unloaded.map(async |slot| {
            let losses = self.losses(slot);
            let canary = timeout(ASK_PATIENCE, super::canary(self.parts().fleet.get(slot).as_ref())).await;
            Some((slot, canary.ok()?.ok()?, losses))
        });
        futures::future::join_all(looks).await.into_iter().flatten().collect()
    }

    /// Reads the manifest of a snapshot from whoever has it, and says who that was.
    async fn manifest(&self, offer: &Offer) -> Option<(Manifest, Slot)> {
        let at = Key::snapshot_manifest(offer.snapshot);
        for slot in &offer.at {
            let provider = self.parts().fleet.get(*slot).as_ref();
            let reading = get_small(provider, &at, MANIFEST_BYTES_MAX);
            let Ok(Ok(sealed)) = timeout(OBJECT_PATIENCE, reading).await else { continue };
            match Manifest::open(&sealed, &self.parts().key, offer.snapshot) {
                Ok(manifest) => return Some((manifest, *slot)),
                Err(reason) => self.alarm_bad_snapshot(*slot, &at, reason),
            }
        }
        None
    }

    /// Returns of which providers the snapshot may speak: their canaries are still the same, and the feed
    /// since then can be followed.
    fn claims(&self, manifest: &Manifest, canaries: &[(Slot, Blake3, u64)]) -> Vec<Claim> {
        let parts = self.parts();
        let claims = canaries.iter().filter_map(|(slot, canary, losses)| {
            let cover = manifest.covers.iter().find(|it| it.provider == parts.fleet.id(*slot).as_str())?;
            let offset = parts.fleet.get(*slot).clock_offset_ms().unwrap_or(0);
            let now = parts.clock.unix_ms().saturating_add_signed(offset) / 60_000;
            let oldest = parts.oldest_minute(now);
            let usable = cover.canary == *canary && (oldest..=now + 2).contains(&cover.minute);
            let claim = Claim { slot: *slot, bit: cover.bit, minute: cover.minute, losses: *losses };
            usable.then_some(claim)
        });
        claims.collect()
    }

    /// Takes all chunks into the index; tells whether all are there.
    async fn fill(&self, manifest: &Manifest, claims: &[Claim], at: &[Slot]) -> bool {
        let numbered = manifest.chunks.iter().cloned().zip(0..);
        let reads: Vec<_> = numbered
            .map(|(chunk, number)| async move {
                let key = Key::snapshot_chunk(manifest.snapshot, number);
                self.chunk(&key, &chunk, at).await.map(|packed| (packed, chunk))
            })
            .collect();
        let mut chunks = stream::iter(reads).buffered(READ_AHEAD);
        let _ = self.blocking_with(|inner| inner.index.set_loading(true)).await;
        let mut whole = true;
        while let Some(read) = chunks.next().await {
            let filled = match read {
                Some((packed, chunk)) => self.fill_one(packed, chunk, claims.to_vec()).await,
                None => false,
            };
            if !filled {
                whole = false;
                break;
            }
        }
        let merged = self.blocking_with(|inner| inner.index.merge_names(true)).await.is_ok();
        let _ = self.blocking_with(|inner| inner.index.set_loading(false)).await;
        whole && merged
    }

    /// Reads one chunk from the first provider that delivers it unharmed.
    async fn chunk(&self, key: &Key, chunk: &Chunk, at: &[Slot]) -> Option<Bytes> {
        for slot in at {
            let reading = get_small(self.parts().fleet.get(*slot).as_ref(), key, chunk.bytes);
            let Ok(Ok(packed)) = timeout(OBJECT_PATIENCE, reading).await else { continue };
            match format::prove(&packed, chunk) {
                Ok(()) => return Some(packed),
                Err(reason) => self.alarm_bad_snapshot(*slot, key, reason),
            }
        }
        None
    }

    async fn fill_one(&self, packed: Bytes, chunk: Chunk, claims: Vec<Claim>) -> bool {
        let catalog = self.clone();
        let filled = self.blocking_with(move |inner| {
            // Only a gateway of ours that is not sane writes a chunk that is proved and makes no sense.
            let Ok(rows) = format::unpack(&packed, &chunk) else { return Ok(false) };
            let names: Vec<NameHash> = rows.iter().map(|row| row.name).collect();
            let prepare = || {
                let current = |claim: &&Claim| catalog.losses(claim.slot) == claim.losses;
                let current: Vec<_> = claims.iter().filter(current).copied().collect();
                let mut sightings: Vec<_> = rows.into_iter().map(|row| sighting(row, &current)).collect();
                catalog.strip_suspects(&mut sightings);
                sightings
            };
            inner.known.changing(&names, || inner.index.apply_prepared(prepare))?;
            inner.index.merge_names(false).map(|()| true)
        });
        filled.await.unwrap_or(false)
    }

    /// Marks what is covered as loaded, and returns how far `wanted` is.
    fn cover(&self, wanted: Slot, claims: &[Claim]) -> Option<FeedMinute> {
        let mut minute = None;
        for claim in claims.iter().filter(|claim| self.losses(claim.slot) == claim.losses) {
            match claim.slot == wanted {
                true => minute = Some(claim.minute),
                false => self.0.feeds.lock()[claim.slot.0].covered = Some(claim.minute),
            }
            self.loaded(claim.slot);
        }
        minute
    }

    pub(super) fn losses(&self, slot: Slot) -> u64 {
        self.0.feeds.lock()[slot.0].losses
    }

    fn alarm_bad_snapshot(&self, slot: Slot, at: &Key, reason: SnapshotError) {
        let parts = self.parts();
        let provider = parts.fleet.id(slot).to_string();
        tracing::error!(provider, key = %at, %reason, "a snapshot may not be used");
        parts.telemetry.event(Event {
            at: parts.clock.utc(),
            kind: EventKind::BadSnapshot,
            provider: Some(provider),
            asset: None,
            detail: format!("{at}: {reason}"),
            rescue: None,
        });
    }
}

fn sighting(row: Row, claims: &[Claim]) -> Sighting {
    let holders = claims.iter().filter(|claim| row.holders >> claim.bit & 1 == 1).map(|claim| claim.slot);
    let Row { name, version, kind, record, .. } = row;
    Sighting { name, version, kind, holders: holders.collect(), record }
}
