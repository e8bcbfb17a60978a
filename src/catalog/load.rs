//! Loading: how a gateway without an index comes to know all names, and when it takes traffic.
//!
//! From a snapshot where one can be used ([`super::snapshot`]), else by listing. Cold rules give right
//! answers all the while, so a gateway never waits for more than `READY_PATIENCE` once somebody answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt;
use tokio::time::Instant;

use super::{Catalog, IndexError, IndexUnusable, Inner, Parts, Sighting};
use crate::asset::key::{self, FeedMinute, KeyKind};
use crate::asset::{Kind, NameHash, Version};
use crate::provider::{Entry, ProviderError, Slot};

/// If no majority of the providers was loaded within this time, traffic is taken by cold rules once any
/// provider has answered.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// What was written longer ago than this share of the retention may have been removed without a trace.
const REACH_SHARE: u32 = 2;
/// Further back than this, a feed is not followed: a listing is quicker.
const REACH_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Names or a feed could not be taken into the index.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The provider did not answer.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The index did not take it.
    #[error(transparent)]
    Index(#[from] IndexUnusable),
}

impl Parts {
    /// Returns how old knowledge may be that is brought up to date from feeds alone. Beyond the retention a
    /// tombstone may be gone, with its feed entry, and what it deleted would come to life again.
    pub(super) fn reach(&self) -> Duration {
        if self.retention.is_zero() { REACH_MAX } else { (self.retention / REACH_SHARE).min(REACH_MAX) }
    }

    /// Returns the minute up to which a feed must have been followed, at least, to be gone on with at `now`. Minutes
    /// that have begun count whole: no tombstone goes within the hour, however short the retention is.
    pub(super) fn oldest_minute(&self, now: FeedMinute) -> FeedMinute {
        now.saturating_sub(self.reach().as_secs() / 60 + 1)
    }
}

/// What a listed feed entry says: the provider holds the version completely. With the entry's minute.
pub(super) fn feed_entry(slot: Slot, entry: &Entry) -> Option<(FeedMinute, Sighting)> {
    match key::parse(&entry.key)? {
        KeyKind::Feed { minute, name, version, kind } => {
            Some((minute, Sighting { holders: vec![slot], ..Sighting::listed(name, version, kind) }))
        }
        KeyKind::Record { .. }
        | KeyKind::Part { .. }
        | KeyKind::Blocks { .. }
        | KeyKind::Canary { .. }
        | KeyKind::Probe { .. }
        | KeyKind::SnapshotChunk { .. }
        | KeyKind::SnapshotManifest { .. } => None,
    }
}

/// What a listed record says: there is such a version.
pub(super) fn record(entry: &Entry) -> Option<Sighting> {
    match key::parse(&entry.key)? {
        KeyKind::Record { name, version, kind } => Some(Sighting::listed(name, version, kind)),
        KeyKind::Feed { .. }
        | KeyKind::Part { .. }
        | KeyKind::Blocks { .. }
        | KeyKind::Canary { .. }
        | KeyKind::Probe { .. }
        | KeyKind::SnapshotChunk { .. }
        | KeyKind::SnapshotManifest { .. } => None,
    }
}

impl Catalog {
    /// Lists all names and all feed entries of a provider into the index, and returns how many versions it has
    /// a record of. One with a record and no feed entry was cut short, and is completed by repair.
    ///
    /// # Errors
    ///
    /// The provider did not list everything, or the index did not take it; what it took is kept.
    pub async fn relist(&self, slot: Slot) -> Result<usize, LoadError> {
        let versions = self.relist_names(slot).await?;
        let mut feed = self.parts().fleet.get(slot).list_tree(key::FEED);
        while let Some(page) = feed.try_next().await? {
            let seen = page.iter().filter_map(|entry| feed_entry(slot, entry));
            self.apply(seen.map(|(_, seen)| seen).collect()).await?;
        }
        Ok(versions)
    }

    /// Lists all names of a provider into the index, and returns how many versions it has a record of. Its feed
    /// is not believed: of a provider without a canary, entries may be all that is left of a copy.
    ///
    /// # Errors
    ///
    /// As [`Catalog::relist`].
    pub async fn relist_names(&self, slot: Slot) -> Result<usize, LoadError> {
        let mut versions = 0;
        let mut names = self.parts().fleet.get(slot).list_tree(key::NAMES);
        while let Some(page) = names.try_next().await? {
            let seen: Vec<_> = page.iter().filter_map(record).collect();
            versions += seen.len();
            self.apply(seen).await?;
        }
        Ok(versions)
    }

    /// Tells whether all that a provider holds was loaded, by a listing or a snapshot.
    pub fn is_loaded(&self, slot: Slot) -> bool {
        self.0.feeds.lock()[slot.0].loaded
    }

    /// Takes traffic though no majority was loaded, once patience is at an end and somebody answers.
    pub fn check_ready(&self) {
        let loaded = self.0.feeds.lock().iter().filter(|feed| feed.loaded).count();
        let waited = self.parts().clock.now().duration_since(self.0.opened) >= READY_PATIENCE;
        let answered = loaded >= 1 || self.0.answered.load(Ordering::Acquire);
        if loaded >= self.parts().fleet.majority() || (answered && waited) {
            self.0.ready.store(true, Ordering::Release);
        }
    }

    pub(super) fn loaded(&self, slot: Slot) {
        self.0.feeds.lock()[slot.0].loaded = true;
        self.check_ready();
    }

    pub(super) fn answered(&self) {
        self.0.answered.store(true, Ordering::Release);
    }

    pub(super) async fn apply_feed(
        &self,
        slot: Slot,
        before: Option<FeedMinute>,
        cursor: FeedMinute,
        mut sightings: Vec<Sighting>,
    ) -> Result<(), IndexUnusable> {
        self.strip_suspects(&mut sightings);
        self.unhide(&sightings);
        // The feed of another bucket, or of a wiped one, shows versions but proves no copies.
        if !self.parts().trust.is_trusted(slot) {
            sightings.iter_mut().for_each(|seen| seen.holders.clear());
        }
        let names: Vec<_> = sightings.iter().map(|seen| seen.name).collect();
        let heard = sightings.len() as u64;
        self.change(names, move |index| index.apply_feed(slot, before, cursor, &sightings)).await?;
        self.0.heard.fetch_add(heard, Ordering::Relaxed);
        Ok(())
    }

    /// Tells whether the index was fresh once, in this life or an earlier one. Before, it may hold a part of
    /// an old snapshot, and nothing may be told on its word alone.
    pub fn was_fresh(&self) -> bool {
        self.0.was_fresh.load(Ordering::Acquire)
    }

    pub(super) async fn missing_of(
        &self,
        versions: Vec<(NameHash, Version, Kind)>,
    ) -> Result<Vec<Option<u64>>, IndexUnusable> {
        self.blocking_with(move |inner| inner.index.missing_of(&versions)).await
    }

    pub(super) fn polled(&self, slot: Slot, began: Instant) {
        self.0.feeds.lock()[slot.0].polled = Some(began);
        self.is_fresh();
    }

    pub(super) async fn blocking_with<T, F>(&self, work: F) -> Result<T, IndexUnusable>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, IndexError> + Send + 'static,
    {
        let inner = self.0.clone();
        self.blocking(move || work(&inner)).await
    }
}
