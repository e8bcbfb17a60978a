//! The feed poller: one a provider, which loads the names once and then follows the feed.
//!
//! 1. Without a cursor, the names of the provider are listed completely; the cursor is the minute in which
//!    the listing began, by the provider's clock. A failure is tried again at the next step.
//! 2. Each step lists the minutes that can still grow: the current one, near its edges its neighbours, and
//!    from time to time the last ten for late arrivals. The work is the same whether much or nothing happened.
//! 3. After a pause all minutes since the cursor are listed.
//! 4. What is new goes into the index together with the cursor; then the records of new versions are read.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{Catalog, FeedState, Sighting};
use crate::asset::Version;
use crate::asset::key::{self, FeedMinute, KeyKind};
use crate::provider::{DirListing, Entry, ProviderError, Slot};

/// Between two wide listings for late arrivals, in steps.
const WIDE_STEPS: u64 = 30;
/// How far back a wide listing goes.
const WIDE_MINUTES: u64 = 10;
/// How long before its first entry the neighbouring minute is looked at, and how long after its end.
const EDGE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// How many minutes are listed at the same time while catching up.
const CATCH_UP_LISTINGS: usize = 3;
/// How many records are read at the same time.
const RECORD_READS: usize = 8;
/// If the names of one provider were listed and no majority within this time, traffic is taken all the same.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// Follows the feed of one provider.
#[derive(Debug)]
pub struct FeedPoller {
    catalog: Catalog,
    slot: Slot,
    cursor: Option<FeedMinute>,
    steps: u64,
    /// Entries of the minutes still listed, so that each goes into the index once.
    seen: HashSet<(FeedMinute, Version)>,
}

impl FeedPoller {
    /// Goes on where an earlier life of the index stopped.
    pub fn new(catalog: Catalog, slot: Slot) -> Self {
        let cursor = catalog.0.index.cursor(slot).ok().flatten();
        Self { catalog, slot, cursor, steps: 0, seen: HashSet::new() }
    }

    /// Polls until the gateway stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut interval = tokio::time::interval(self.catalog.parts().feed_interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            tokio::select! {
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
    /// The provider did not answer; what was seen before is kept.
    pub async fn step(&mut self) -> Result<(), ProviderError> {
        let cursor = match self.cursor {
            Some(cursor) => cursor,
            None => self.load().await?,
        };
        // A provider that lost its names has not loaded any longer.
        if !self.catalog.0.feeds.lock()[self.slot.0].loaded {
            self.cursor = None;
            return Ok(());
        }
        self.poll(cursor).await?;
        self.catalog.polled(self.slot);
        Ok(())
    }

    async fn load(&mut self) -> Result<FeedMinute, ProviderError> {
        // The first answer of the provider tells its clock.
        self.provider().list_dir(&key::feed_dir(self.minute(0))).await?;
        let start = self.minute(0).saturating_sub(WIDE_MINUTES);
        let versions = self.catalog.relist(self.slot).await?;
        info!(provider = %self.provider().id(), versions, "the names of a provider are loaded");
        self.catalog.loaded(self.slot);
        self.cursor = Some(start);
        Ok(start)
    }

    async fn poll(&mut self, cursor: FeedMinute) -> Result<(), ProviderError> {
        let now = self.minute(0);
        let minutes = if now.saturating_sub(cursor) > 2 {
            self.minutes_since(cursor).await?
        } else {
            self.open_minutes(now)
        };
        let provider = self.provider().clone();
        let dirs: Vec<_> = minutes.iter().map(|minute| key::feed_dir(*minute)).collect();
        let listings: Vec<DirListing> = stream::iter(dirs)
            .map(|dir| {
                let provider = provider.clone();
                async move { provider.list_dir(&dir).await }
            })
            .buffer_unordered(CATCH_UP_LISTINGS)
            .try_collect()
            .await?;
        let mut fresh = Vec::new();
        for entry in listings.iter().flat_map(|listing| &listing.entries) {
            if let Some((minute, seen)) = sighting(self.slot, entry)
                && self.seen.insert((minute, seen.version))
            {
                fresh.push(seen);
            }
        }
        self.steps += 1;
        self.keep(fresh, cursor, now).await;
        Ok(())
    }

    /// Writes what is new into the index, where something is; an idle feed costs no write but one a minute.
    async fn keep(&mut self, fresh: Vec<Sighting>, cursor: FeedMinute, now: FeedMinute) {
        let cursor_now = now.saturating_sub(1).max(cursor);
        if fresh.is_empty() && self.cursor == Some(cursor_now) && self.steps > 1 {
            return;
        }
        let oldest = now.saturating_sub(WIDE_MINUTES + 1);
        self.seen.retain(|(minute, _)| *minute >= oldest);
        self.cursor = Some(cursor_now);
        let names: Vec<_> = fresh.iter().map(|seen| seen.name).collect();
        let unread: Vec<_> = fresh.iter().map(|seen| (seen.name, seen.version, seen.kind)).collect();
        let slot = self.slot;
        self.catalog.change(names, move |index| index.apply_feed(slot, cursor_now, &fresh)).await;
        // Another feed, or this gateway's own write, may have brought the record already.
        let reads = unread.into_iter().map(|(name, version, kind)| {
            let catalog = self.catalog.clone();
            async move {
                let known = catalog.known(name).await;
                if !known.iter().any(|known| known.version == version && known.record.is_some()) {
                    let at = key::Key::record(name, version, kind);
                    // Where it cannot be read now, the background reader tries again.
                    let _ = catalog.fetch_record(&at, &[slot]).await;
                }
            }
        });
        stream::iter(reads).buffer_unordered(RECORD_READS).collect::<Vec<_>>().await;
    }

    /// The minutes that can still grow, by the provider's clock.
    fn open_minutes(&self, now: FeedMinute) -> BTreeSet<FeedMinute> {
        if self.steps.is_multiple_of(WIDE_STEPS) {
            return (now.saturating_sub(WIDE_MINUTES)..=now + 1).collect();
        }
        let [ahead, behind] = EDGE.map(|edge| i64::try_from(edge.as_millis()).unwrap_or(0));
        [self.minute(-behind), now, self.minute(ahead)].into()
    }

    async fn minutes_since(&self, cursor: FeedMinute) -> Result<BTreeSet<FeedMinute>, ProviderError> {
        let listing = self.provider().list_dir(key::FEED).await?;
        let minutes = listing.dirs.iter().filter_map(|dir| key::parse_feed_minute(dir));
        Ok(minutes.filter(|minute| *minute + 2 >= cursor).collect())
    }

    /// The minute of the provider's clock, `ahead_ms` from now.
    fn minute(&self, ahead_ms: i64) -> FeedMinute {
        let offset = self.provider().clock_offset_ms().unwrap_or(0);
        self.catalog.parts().clock.unix_ms().saturating_add_signed(offset.saturating_add(ahead_ms)) / 60_000
    }

    fn provider(&self) -> &std::sync::Arc<dyn crate::provider::Provider> {
        self.catalog.parts().fleet.get(self.slot)
    }
}

/// What a listed record or feed entry says, with the minute of the latter.
fn sighting(slot: Slot, entry: &Entry) -> Option<(FeedMinute, Sighting)> {
    let (minute, name, version, kind) = match key::parse(&entry.key)? {
        KeyKind::Record { name, version, kind } => (0, name, version, kind),
        KeyKind::Feed { minute, name, version, kind } => (minute, name, version, kind),
        KeyKind::Part { .. } | KeyKind::Blocks { .. } | KeyKind::Canary { .. } | KeyKind::Probe { .. } => {
            return None;
        }
    };
    Some((minute, Sighting { name, version, kind, holders: vec![slot], record: None }))
}

impl Catalog {
    /// Lists all names of a provider into the index, and returns how many versions it holds.
    ///
    /// # Errors
    ///
    /// The provider did not list everything; what it listed is kept.
    pub async fn relist(&self, slot: Slot) -> Result<usize, ProviderError> {
        let mut versions = 0;
        let mut pages = self.parts().fleet.get(slot).list_tree(key::NAMES);
        while let Some(page) = pages.try_next().await? {
            let seen: Vec<_> = page.iter().filter_map(|entry| sighting(slot, entry)).collect();
            versions += seen.len();
            self.apply(seen.into_iter().map(|(_, seen)| seen).collect()).await;
        }
        Ok(versions)
    }

    /// Forgets that a provider's names were listed: its poller lists them again.
    pub fn reload(&self, slot: Slot) {
        self.0.feeds.lock()[slot.0] = FeedState::default();
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

    fn polled(&self, slot: Slot) {
        self.0.feeds.lock()[slot.0].polled = Some(self.parts().clock.now());
    }
}
