//! The catalog: what this gateway knows of names and versions, and how sure it may be.
//!
//! The local index is a cache of what lies under `names/` on the providers. It is filled from a snapshot
//! ([`snapshot`]) or by a listing ([`load`]), kept fresh by polling feeds ([`feed`]), and told of this gateway's own writes. Nothing
//! here decides what a client is told: reads and writes do, from [`Catalog::known`], [`Catalog::is_fresh`]
//! and listings of single names ([`listing`]).
//!
//! Invariants: a version that the catalog has shown is never hidden again but by
//! [`Catalog::mark_uncommitted`], and forgotten only once no provider lists it ([`expiry`]); an index that is
//! too old to be brought up to date from the feeds is thrown away, at the start or after a long absence
//! (`outdated`); the index can be deleted whenever the gateway is stopped.

pub mod debts;
pub mod expiry;
pub mod feed;
pub mod index;
pub mod known;
pub mod listing;
pub mod load;
pub mod marks;
mod outdated;
pub mod patrol;
mod recent;
pub mod records;
pub mod snapshot;
mod sweep;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tracing::error;

pub use debts::Debt;
pub use index::{IndexError, IndexedVersion, Sighting};
pub use known::KnownVersion;
pub use marks::WritingGuard;
pub use records::{FetchedRecord, NoRecord};

use crate::asset::key::FeedMinute;
use crate::asset::{AssetName, Key, Kind, NameHash, Record, RecordKey};
use crate::clock::Clock;
use crate::provider::{Budget, Fleet, Slot, Trust};
use crate::single::Single;
use crate::task;
use crate::telemetry::{Event, EventKind, Telemetry};
use index::Index;
use known::KnownCache;
use marks::Marks;

/// Between two log lines on an index that keeps failing.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// A feed counts as fresh for this many intervals.
const FRESH_INTERVALS: u32 = 3;

/// What the catalog is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// All providers.
    pub fleet: Fleet,
    /// Who has proved to be itself.
    pub trust: Arc<dyn Trust>,
    /// The key under which records are sealed.
    pub key: RecordKey,
    /// Time and dice.
    pub clock: Clock,
    /// Metrics and events.
    pub telemetry: Telemetry,
    /// The extra requests that may be made.
    pub budget: Budget,
    /// How often feeds are polled.
    pub feed_interval: Duration,
    /// How long superseded and deleted versions are kept; zero means for ever.
    pub retention: Duration,
}

/// The catalog of one gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Parts,
    index: Arc<Index>,
    known: KnownCache,
    ready: AtomicBool,
    /// Whether any provider has answered since the start.
    answered: AtomicBool,
    /// Whether the index was fresh once, in this life or an earlier one.
    was_fresh: AtomicBool,
    /// How many entries the feeds have shown.
    heard: AtomicU64,
    /// Held while a snapshot is looked for and loaded, and while an outdated index is emptied.
    loading: AsyncMutex<()>,
    feeds: Mutex<Vec<FeedState>>,
    marks: Marks,
    /// Records that are being read.
    fetching: Single<Key, Result<FetchedRecord, NoRecord>>,
    opened: Instant,
    /// When the index last failed: what was polled before says nothing of what it missed.
    failed: Mutex<Option<Instant>>,
}

/// The local index could not be read or changed; the reason was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the local index cannot be used")]
pub struct IndexUnusable;

/// How far the feed of one provider is known.
#[derive(Debug, Clone, Copy, Default)]
struct FeedState {
    /// All names were loaded, now or in an earlier life of the index.
    loaded: bool,
    /// A snapshot that was loaded on another provider's turn reaches up to this minute.
    covered: Option<FeedMinute>,
    /// How often the provider was found to have lost everything.
    losses: u64,
    /// When the last successful poll of the feed began.
    polled: Option<Instant>,
}

impl Catalog {
    /// Opens the index in the folder `state`.
    ///
    /// # Errors
    ///
    /// Not even an empty index could be made there.
    pub fn open(state: &Path, parts: Parts) -> Result<Self, IndexError> {
        let providers: Vec<_> = parts.fleet.iter().map(|(_, p)| p.id().as_str().to_owned()).collect();
        let path = state.join("index.sqlite");
        let (mut index, mut made) = Index::open(&path, &providers)?;
        let oldest = parts.oldest_minute(parts.clock.unix_ms() / 60_000);
        if index.latest_cursor()?.is_some_and(|minute| minute < oldest) {
            drop(index);
            index::remove(&path);
            (index, made) = Index::open(&path, &providers)?;
        }
        let feeds = parts
            .fleet
            .slots()
            .map(|slot| Ok(FeedState { loaded: index.cursor(slot)?.is_some(), ..FeedState::default() }))
            .collect::<Result<Vec<_>, IndexError>>()?;
        let ready = feeds.iter().filter(|feed| feed.loaded).count() >= parts.fleet.majority();
        if made {
            parts.telemetry.event(Event {
                at: parts.clock.utc(),
                kind: EventKind::IndexRebuilt,
                provider: None,
                asset: None,
                detail: "the local index is made anew from the providers".to_owned(),
                rescue: None,
            });
        }
        let opened = parts.clock.now();
        Ok(Self(Arc::new(Inner {
            index: Arc::new(index),
            known: KnownCache::new(parts.key.clone()),
            ready: AtomicBool::new(ready),
            answered: AtomicBool::new(false),
            was_fresh: AtomicBool::new(ready),
            heard: AtomicU64::new(0),
            loading: AsyncMutex::default(),
            feeds: Mutex::new(feeds),
            marks: Marks::new(),
            fetching: Single::new(),
            opened,
            failed: Mutex::default(),
            parts,
        })))
    }

    /// Returns what the catalog is made of.
    pub fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// Tells whether the index was loaded, so that the gateway may take traffic.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// Tells whether a majority of trusted providers answered the feed listing lately.
    pub fn is_fresh(&self) -> bool {
        let parts = self.parts();
        let patience = parts.feed_interval * FRESH_INTERVALS;
        let now = parts.clock.now();
        let failed = *self.0.failed.lock();
        let complete = |polled: Instant| failed.is_none_or(|failed| polled > failed);
        let feeds = self.0.feeds.lock();
        let fresh = feeds.iter().enumerate().filter(|(slot, feed)| {
            feed.loaded
                && feed
                    .polled
                    .is_some_and(|polled| now.duration_since(polled) <= patience && complete(polled))
                && parts.trust.is_trusted(Slot(*slot))
        });
        let is_fresh = fresh.count() >= parts.fleet.majority();
        if is_fresh {
            self.0.was_fresh.store(true, Ordering::Release);
        }
        is_fresh
    }

    /// Returns all known versions of a name by its hash, the newest first.
    pub async fn known(&self, name: NameHash) -> Arc<Vec<KnownVersion>> {
        if let Some(known) = self.0.known.get(name) {
            return known;
        }
        let inner = self.0.clone();
        self.blocking(move || inner.known.load(name, || inner.index.versions(name))).await.unwrap_or_default()
    }

    /// Returns all known versions of a name, the newest first.
    pub async fn versions(&self, name: &AssetName) -> Vec<KnownVersion> {
        self.known(name.hash()).await.as_ref().clone()
    }

    /// Returns the newest version of a name that is not known to be uncommitted.
    pub async fn current(&self, name: NameHash) -> Option<KnownVersion> {
        let known = self.known(name).await;
        known.iter().find(|known| !self.is_uncommitted(known.version)).cloned()
    }

    /// Adds versions that were seen at providers. Only a feed entry, or a write of our own, makes a provider
    /// a holder: a record that is merely listed may be all that a crash left room for.
    ///
    /// # Errors
    ///
    /// Nothing was added.
    pub async fn apply(&self, mut sightings: Vec<Sighting>) -> Result<(), IndexUnusable> {
        if sightings.is_empty() {
            return Ok(());
        }
        self.strip_suspects(&mut sightings);
        self.unhide(&sightings);
        let names: Vec<_> = sightings.iter().map(|seen| seen.name).collect();
        self.change(names, move |index| index.apply(&sightings)).await
    }

    /// Adds a version whose record was read or written, with the providers that hold it.
    ///
    /// # Errors
    ///
    /// Nothing was added.
    pub async fn apply_record(
        &self,
        record: &Record,
        sealed: &Bytes,
        holders: Vec<Slot>,
    ) -> Result<(), IndexUnusable> {
        let sighting = Sighting {
            name: record.name.hash(),
            version: record.version,
            kind: record.kind(),
            holders,
            record: Some((record.name.as_str().to_owned(), sealed.to_vec())),
        };
        self.apply(vec![sighting]).await
    }

    /// Marks a provider as holding nothing, because it lost its canary.
    ///
    /// # Errors
    ///
    /// Some of it may have been done.
    pub async fn forget_all(&self, slot: Slot) -> Result<(), IndexUnusable> {
        // Counted first: what a snapshot says of the provider from now on is not taken any more.
        self.0.feeds.lock()[slot.0].losses += 1;
        let result = self.change(Vec::new(), move |index| index.forget_all(slot)).await;
        self.0.known.clear();
        result
    }

    /// Returns versions that lack a copy at any of `slots`, the newest first.
    ///
    /// # Errors
    ///
    /// Nobody can tell what is incomplete.
    pub async fn incomplete(
        &self,
        slots: &[Slot],
        limit: usize,
        offset: usize,
    ) -> Result<Vec<IndexedVersion>, IndexUnusable> {
        let mask = slots.iter().fold(0, |mask, slot| mask | 1 << slot.0);
        let inner = self.0.clone();
        self.blocking(move || inner.index.incomplete(mask, limit, offset)).await
    }

    /// Returns how many names the index knows.
    pub async fn names(&self) -> u64 {
        let inner = self.0.clone();
        self.blocking(move || inner.index.count_names()).await.unwrap_or(0)
    }

    /// Tells whether the index knows no version at all; a broken index counts as not empty.
    pub async fn is_empty(&self) -> bool {
        let inner = self.0.clone();
        self.blocking(move || inner.index.is_empty()).await.unwrap_or(false)
    }

    /// Lists current assets (no tombstones) by name: prefix, exclusive start, at most `limit`.
    pub async fn list(&self, prefix: String, after: Option<String>, limit: usize) -> Vec<Arc<Record>> {
        let mut listed = Vec::new();
        let mut after = after;
        while listed.len() < limit {
            let (inner, from, below) = (self.0.clone(), after.clone(), prefix.clone());
            let wanted = limit - listed.len();
            let page = self.blocking(move || inner.index.names(&below, from.as_deref(), wanted)).await;
            let page = page.unwrap_or_default();
            for (_, name) in &page {
                let record = self.current(*name).await.and_then(|current| current.record);
                listed.extend(record.filter(|record| record.kind() == Kind::Put));
            }
            match page.last() {
                Some((text, _)) if page.len() == wanted => after = Some(text.clone()),
                Some(_) | None => break,
            }
        }
        listed
    }

    /// Returns, for each provider, how many known versions it lacks.
    pub async fn copies_missing(&self) -> Vec<(Slot, u64)> {
        let inner = self.0.clone();
        let slots: Vec<_> = self.parts().fleet.slots().collect();
        self.blocking(move || {
            slots.into_iter().map(|slot| Ok((slot, inner.index.missing_at(slot)?))).collect()
        })
        .await
        .unwrap_or_default()
    }

    async fn change<F>(&self, names: Vec<NameHash>, work: F) -> Result<(), IndexUnusable>
    where
        F: FnOnce(&Index) -> Result<(), IndexError> + Send + 'static,
    {
        let inner = self.0.clone();
        self.blocking(move || inner.known.changing(&names, || work(&inner.index))).await
    }

    /// Runs work on the index off the async workers. A failing index costs freshness, never an answer: the
    /// providers are the truth. Only polls that begin after the failure make the index fresh again.
    async fn blocking<T, F>(&self, work: F) -> Result<T, IndexUnusable>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, IndexError> + Send + 'static,
    {
        let result = task::blocking(&self.parts().clock, work).await;
        if let Ok(Ok(output)) = result {
            return Ok(output);
        }
        let reason = result.map_or_else(
            |interrupted| interrupted.to_string(),
            |result| match result {
                Ok(_) => String::new(),
                Err(failure) => failure.to_string(),
            },
        );
        let now = self.parts().clock.now();
        let before = self.0.failed.lock().replace(now);
        // A full disk fails every call: one line in a while says so.
        if before.is_none_or(|before| now.duration_since(before) > TOLD_AGAIN_AFTER) {
            error!(reason, "the local index cannot be used; providers are asked instead");
        }
        Err(IndexUnusable)
    }
}
