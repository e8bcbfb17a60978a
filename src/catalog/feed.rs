//! The feed poller: one a provider, which loads the names once and then follows the feed.
//!
//! 1. Without a cursor, the names of the provider are listed completely; the feed is followed from ten minutes
//!    before the listing began, by the provider's clock. A failure is tried again, ever less often.
//! 2. Each poll lists every minute in which something may have been written since the last good poll began,
//!    half a minute added for uploads that were on their way, and from time to time the last ten minutes for
//!    late arrivals. The work is the same whether much or nothing happened.
//! 3. After a long pause the minutes that exist are listed first, and worked off in pieces.
//! 4. An entry that was seen and is gone from its minute puts the copy under suspicion.
//! 5. What is new goes into the index together with the cursor. Only when the index took it is it called
//!    seen, and the feed polled: as of the time at which the poll *began*.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{Catalog, IndexUnusable, Sighting};
use crate::asset::key::{self, FeedMinute, KeyKind};
use crate::asset::{NameHash, Version};
use crate::provider::{DirListing, Entry, ProviderError, Slot};

/// Between two wide listings for late arrivals, in polls.
const WIDE_POLLS: u64 = 30;
/// How far back a wide listing goes, in milliseconds.
const WIDE_MS: u64 = 10 * MINUTE_MS;
/// An entry is written at most this long after the minute in its key was read from the clock.
const BEHIND_MS: u64 = 30_000;
/// So much may the clocks' estimates of two gateways differ.
const AHEAD_MS: u64 = 5_000;
/// More minutes than this are looked up before they are listed.
const DIRECT_MINUTES_MAX: u64 = 15;
/// A cursor that far in the future is that of a wrong clock.
const FUTURE_MS: u64 = 2 * MINUTE_MS;
/// How many minutes go into the index at once while catching up.
const CATCH_UP_MINUTES: usize = 30;
/// How many minutes are listed at the same time.
const LISTINGS_AT_ONCE: usize = 3;
/// After a failed load, before the first and the later tries.
const LOAD_AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];
/// If the names of one provider were listed and no majority within this time, traffic is taken all the same.
const READY_PATIENCE: Duration = Duration::from_secs(10);
const MINUTE_MS: u64 = 60_000;

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

/// Follows the feed of one provider.
#[derive(Debug)]
pub struct FeedPoller {
    catalog: Catalog,
    slot: Slot,
    /// The provider's time at the beginning of the last good poll, in Unix milliseconds.
    horizon_ms: Option<u64>,
    /// The minute that the index has as its cursor.
    cursor: Option<FeedMinute>,
    polls: u64,
    /// Entries of the minutes still listed, so that each goes into the index once.
    seen: HashMap<(FeedMinute, Version), NameHash>,
    /// After a failed load: when to try again, and how long to wait after that.
    load_again: Option<(Instant, Duration)>,
}

impl FeedPoller {
    /// Goes on where an earlier life of the index stopped.
    pub fn new(catalog: Catalog, slot: Slot) -> Self {
        let cursor = catalog.0.index.cursor(slot).ok().flatten();
        let horizon_ms = cursor.map(|minute| minute * MINUTE_MS);
        Self { catalog, slot, horizon_ms, cursor, polls: 0, seen: HashMap::new(), load_again: None }
    }

    /// Polls until the gateway stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut interval = tokio::time::interval(self.catalog.parts().feed_interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                result = self.step() => if let Err(failure) = result {
                    debug!(%failure, "the feed cannot be polled");
                },
            }
        }
    }

    /// Loads the names if that was not done yet, and polls once.
    ///
    /// # Errors
    ///
    /// The provider did not answer, or the index took nothing; what was taken before is kept.
    pub async fn step(&mut self) -> Result<(), LoadError> {
        if !self.catalog.is_loaded(self.slot) || self.is_astray() {
            self.horizon_ms = None;
        }
        let horizon_ms = match self.horizon_ms {
            Some(horizon_ms) => horizon_ms,
            None if self.load_again.is_some_and(|(at, _)| self.catalog.parts().clock.now() < at) => {
                return Ok(());
            }
            None => self.load().await?,
        };
        self.poll(horizon_ms).await
    }

    async fn load(&mut self) -> Result<u64, LoadError> {
        let wait = self.load_again.map_or(LOAD_AGAIN[0], |(_, wait)| (wait * 2).min(LOAD_AGAIN[1]));
        self.load_again = Some((self.catalog.parts().clock.now() + wait, wait));
        // The first answer of the provider tells its clock.
        self.list(self.now_ms() / MINUTE_MS).await?;
        let start_ms = self.now_ms().saturating_sub(WIDE_MS);
        let versions = self.catalog.relist(self.slot).await?;
        info!(provider = %self.catalog.parts().fleet.id(self.slot), versions, "the names are loaded");
        self.catalog.loaded(self.slot);
        self.load_again = None;
        self.horizon_ms = Some(start_ms);
        Ok(start_ms)
    }

    async fn poll(&mut self, horizon_ms: u64) -> Result<(), LoadError> {
        let (began, now_ms) = (self.catalog.parts().clock.now(), self.now_ms());
        let mut first_ms = horizon_ms.saturating_sub(BEHIND_MS);
        if self.polls.is_multiple_of(WIDE_POLLS) {
            first_ms = first_ms.min(now_ms.saturating_sub(WIDE_MS));
        }
        let (first, last) = (first_ms / MINUTE_MS, (now_ms + AHEAD_MS) / MINUTE_MS);
        let minutes = if last.saturating_sub(first) > DIRECT_MINUTES_MAX {
            self.minutes_since(first).await?
        } else {
            (first..=last).collect()
        };
        for piece in minutes.chunks(CATCH_UP_MINUTES) {
            self.take(piece, now_ms / MINUTE_MS).await?;
        }
        self.polls += 1;
        self.horizon_ms = Some(now_ms);
        let oldest = (now_ms.saturating_sub(WIDE_MS) / MINUTE_MS).saturating_sub(1);
        self.seen.retain(|(minute, _), _| *minute >= oldest);
        self.catalog.polled(self.slot, began);
        Ok(())
    }

    /// Lists some minutes, and takes what is new in them into the index together with the cursor.
    async fn take(&mut self, minutes: &[FeedMinute], now: FeedMinute) -> Result<(), LoadError> {
        let listings: Vec<DirListing> = stream::iter(minutes.to_vec())
            .map(|minute| self.list(minute))
            .buffer_unordered(LISTINGS_AT_ONCE)
            .try_collect()
            .await?;
        let entries = listings.iter().flat_map(|listing| &listing.entries);
        let listed: Vec<_> = entries.filter_map(|entry| feed_entry(self.slot, entry)).collect();
        self.miss(minutes, now, &listed).await;
        let is_new =
            |(minute, seen): &(FeedMinute, Sighting)| !self.seen.contains_key(&(*minute, seen.version));
        let fresh: Vec<_> = listed.into_iter().filter(is_new).collect();
        let cursor = minutes.iter().max().copied().unwrap_or(now).min(now);
        if fresh.is_empty() && self.cursor >= Some(cursor) {
            return Ok(());
        }
        let ids: Vec<_> = fresh.iter().map(|(minute, seen)| ((*minute, seen.version), seen.name)).collect();
        let sightings = fresh.into_iter().map(|(_, seen)| seen).collect();
        self.catalog.apply_feed(self.slot, cursor, sightings).await?;
        self.cursor = Some(cursor);
        self.seen.extend(ids);
        Ok(())
    }

    /// An entry that was there and is gone means that somebody removed the copy, or a part of it. Entries of
    /// the current minutes may merely lag behind in a listing.
    async fn miss(&mut self, minutes: &[FeedMinute], now: FeedMinute, listed: &[(FeedMinute, Sighting)]) {
        let listed: HashSet<_> = listed.iter().map(|(minute, seen)| (*minute, seen.version)).collect();
        let settled = |minute: FeedMinute| minutes.contains(&minute) && minute + 2 <= now;
        let mut gone: Vec<_> = self
            .seen
            .iter()
            .filter(|(id, _)| settled(id.0) && !listed.contains(*id))
            .map(|(id, name)| (*id, *name))
            .collect();
        gone.sort_unstable_by_key(|(id, _)| *id);
        for (id, name) in gone {
            self.seen.remove(&id);
            self.catalog.suspect(name, id.1, self.slot).await;
        }
    }

    async fn list(&self, minute: FeedMinute) -> Result<DirListing, ProviderError> {
        self.catalog.parts().fleet.get(self.slot).list_dir(&key::feed_dir(minute)).await
    }

    async fn minutes_since(&self, first: FeedMinute) -> Result<Vec<FeedMinute>, ProviderError> {
        let listing = self.catalog.parts().fleet.get(self.slot).list_dir(key::FEED).await?;
        let minutes = listing.dirs.iter().filter_map(|dir| key::parse_feed_minute(dir));
        let mut minutes: Vec<_> = minutes.filter(|minute| *minute >= first).collect();
        minutes.sort_unstable();
        Ok(minutes)
    }

    fn is_astray(&self) -> bool {
        self.horizon_ms.is_some_and(|horizon_ms| horizon_ms > self.now_ms() + FUTURE_MS)
    }

    /// The time of the provider's clock.
    fn now_ms(&self) -> u64 {
        let parts = self.catalog.parts();
        let offset = parts.fleet.get(self.slot).clock_offset_ms().unwrap_or(0);
        parts.clock.unix_ms().saturating_add_signed(offset)
    }
}

/// What a listed feed entry says: the provider holds the version completely. With the entry's minute.
fn feed_entry(slot: Slot, entry: &Entry) -> Option<(FeedMinute, Sighting)> {
    match key::parse(&entry.key)? {
        KeyKind::Feed { minute, name, version, kind } => {
            Some((minute, Sighting { holders: vec![slot], ..Sighting::listed(name, version, kind) }))
        }
        KeyKind::Record { .. }
        | KeyKind::Part { .. }
        | KeyKind::Blocks { .. }
        | KeyKind::Canary { .. }
        | KeyKind::Probe { .. } => None,
    }
}

/// What a listed record says: there is such a version.
fn record(entry: &Entry) -> Option<Sighting> {
    match key::parse(&entry.key)? {
        KeyKind::Record { name, version, kind } => Some(Sighting::listed(name, version, kind)),
        KeyKind::Feed { .. }
        | KeyKind::Part { .. }
        | KeyKind::Blocks { .. }
        | KeyKind::Canary { .. }
        | KeyKind::Probe { .. } => None,
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
        let provider = self.parts().fleet.get(slot);
        let mut feed = provider.list_tree(key::FEED);
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

    /// Tells whether the names of a provider were listed completely.
    pub fn is_loaded(&self, slot: Slot) -> bool {
        self.0.feeds.lock()[slot.0].loaded
    }

    /// Takes traffic though no majority was listed, once one was and patience is at an end.
    pub fn check_ready(&self) {
        let feeds = self.0.feeds.lock();
        let loaded = feeds.iter().filter(|feed| feed.loaded).count();
        let waited = self.parts().clock.now().duration_since(self.0.opened) >= READY_PATIENCE;
        if loaded >= self.parts().fleet.majority() || (loaded >= 1 && waited) {
            self.0.ready.store(true, std::sync::atomic::Ordering::Release);
        }
    }

    fn loaded(&self, slot: Slot) {
        self.0.feeds.lock()[slot.0].loaded = true;
        self.check_ready();
    }

    fn polled(&self, slot: Slot, began: Instant) {
        self.0.feeds.lock()[slot.0].polled = Some(began);
    }

    async fn apply_feed(
        &self,
        slot: Slot,
        cursor: FeedMinute,
        mut sightings: Vec<Sighting>,
    ) -> Result<(), IndexUnusable> {
        self.strip_suspects(&mut sightings);
        // The feed of another bucket, or of a wiped one, shows versions but proves no copies.
        if !self.parts().trust.is_trusted(slot) {
            sightings.iter_mut().for_each(|seen| seen.holders.clear());
        }
        let names: Vec<_> = sightings.iter().map(|seen| seen.name).collect();
        self.change(names, move |index| index.apply_feed(slot, cursor, &sightings)).await
    }
}
