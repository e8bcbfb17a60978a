//! The feed poller: one a provider, which loads the names once and then follows the feed.
//!
//! 1. Without a cursor, the names come from a snapshot ([`super::snapshot`]), and the feed is followed from an
//!    hour before the minute that it covers. Where none can be used, the names are listed completely, and the
//!    feed is followed from ten minutes before the listing began. A failure is tried again, ever less often.
//! 2. Each poll lists every minute in which something may have been written since the last good poll began,
//!    half a minute added for uploads that were on their way. The work is the same whether much or nothing
//!    happened. All minutes are those of the provider's clock.
//! 3. After a long pause the minutes since the last good poll are worked off in pieces, the newest first; the
//!    cursor moves when all of them are there.
//! 4. What is new goes into the index together with the cursor. Only when the index took it is it called
//!    seen, and the feed polled: as of the time at which the poll *began*.
//! 5. After the poll, a few older minutes are swept for entries that came late (`super::sweep`). What was
//!    written before this gateway watched says nothing new of a version that the index knows: a copy may be
//!    under suspicion since.
//! 6. When no feed could be followed for longer than the index may rest on, it is emptied and loaded anew
//!    (`super::outdated`).
//! 7. An entry that was seen and is gone from its minute puts the copy under suspicion.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::load::feed_entry;
use super::sweep::Sweeps;
use super::{Catalog, IndexUnusable, Sighting};
use crate::asset::key::{self, FeedMinute};
use crate::asset::{NameHash, Version};
use crate::provider::{DirListing, ProviderError, Slot};

pub use super::load::LoadError;

/// For so long an entry is remembered, so that each goes into the index once and its loss is noticed; in
/// milliseconds.
const RECENT_MS: u64 = 10 * MINUTE_MS;
/// How many entries are remembered; what comes on top is looked up in the index instead.
const SEEN_MAX: usize = 200_000;
/// How late an entry may arrive that a cursor or a snapshot should have had, in minutes.
const LATE_MINUTES: u64 = 60;
/// An entry is written at most this long after the minute in its key was read from the clock.
const BEHIND_MS: u64 = 30_000;
/// So much may the clocks' estimates of two gateways differ.
const AHEAD_MS: u64 = 5_000;
/// More minutes than this are looked up before they are listed.
const DIRECT_MINUTES_MAX: u64 = 24 * 60;
/// A cursor that far in the future is that of a wrong clock.
const FUTURE_MS: u64 = 2 * MINUTE_MS;
/// How many minutes go into the index at once while catching up.
const CATCH_UP_MINUTES: usize = 12;
/// How many minutes are listed at the same time.
const LISTINGS_AT_ONCE: usize = 6;
/// After a failed load, before the first and the later tries.
const LOAD_AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];
const MINUTE_MS: u64 = 60_000;

/// Follows the feed of one provider.
#[derive(Debug)]
pub struct FeedPoller {
    catalog: Catalog,
    slot: Slot,
    /// The provider's time at the beginning of the last good poll, in Unix milliseconds.
    horizon_ms: Option<u64>,
    /// The minute that the index has as its cursor.
    cursor: Option<FeedMinute>,
    sweeps: Sweeps,
    /// Entries of the last minutes.
    seen: HashMap<(FeedMinute, Version), NameHash>,
    /// After a failed load: when to try again, and how long to wait after that.
    load_again: Option<(Instant, Duration)>,
}

/// The oldest minute whose entries are remembered.
fn recent(now_ms: u64) -> FeedMinute {
    (now_ms.saturating_sub(RECENT_MS) / MINUTE_MS).saturating_sub(1)
}

impl FeedPoller {
    /// Goes on where an earlier life of the index stopped.
    pub fn new(catalog: Catalog, slot: Slot) -> Self {
        let cursor = catalog.0.index.cursor(slot).ok().flatten();
        let horizon_ms = cursor.map(|minute| minute * MINUTE_MS);
        let mut sweeps = Sweeps::default();
        if let Some(cursor) = cursor {
            sweeps.add(cursor.saturating_sub(LATE_MINUTES)..cursor);
        }
        Self { catalog, slot, horizon_ms, cursor, sweeps, seen: HashMap::new(), load_again: None }
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
        if self.was_cut_off().await? {
            self.catalog.unload();
        }
        if !self.catalog.is_loaded(self.slot) || self.is_astray() {
            (self.horizon_ms, self.cursor) = (None, None);
        }
        let horizon_ms = match self.horizon_ms {
            Some(horizon_ms) => horizon_ms,
            None if self.load_again.is_some_and(|(at, _)| self.catalog.parts().clock.now() < at) => {
                return Ok(());
            }
            None => self.load().await?,
        };
        self.poll(horizon_ms).await?;
        self.sweep().await
    }

    /// Tells whether neither this feed nor any other was followed for longer than the index may rest on.
    async fn was_cut_off(&self) -> Result<bool, LoadError> {
        let reach_ms = u64::try_from(self.catalog.parts().reach().as_millis()).unwrap_or(u64::MAX);
        let is_long_ago = |horizon_ms: u64| horizon_ms.saturating_add(reach_ms) < self.now_ms();
        if !self.catalog.is_loaded(self.slot) || !self.horizon_ms.is_some_and(is_long_ago) {
            return Ok(false);
        }
        // The answer tells the provider's time: it may be our clock that was wrong.
        self.list(self.now_ms() / MINUTE_MS).await?;
        Ok(self.catalog.is_outdated(self.now_ms() / MINUTE_MS).await?)
    }

    async fn load(&mut self) -> Result<u64, LoadError> {
        let wait = self.load_again.map_or(LOAD_AGAIN[0], |(_, wait)| (wait * 2).min(LOAD_AGAIN[1]));
        self.load_again = Some((self.catalog.parts().clock.now() + wait, wait));
        // The first answer of the provider tells its clock.
        self.list(self.now_ms() / MINUTE_MS).await?;
        self.catalog.answered();
        self.catalog.empty_if_outdated(self.now_ms() / MINUTE_MS).await?;
        if let Some(minute) = self.catalog.load_snapshot(self.slot).await {
            let start_ms = minute.saturating_sub(LATE_MINUTES) * MINUTE_MS;
            self.load_again = None;
            self.horizon_ms = Some(start_ms);
            return Ok(start_ms);
        }
        let start_ms = self.now_ms().saturating_sub(RECENT_MS);
        let trust = self.catalog.parts().trust.clone();
        let lacks_canary = trust.lacks_canary(self.slot);
        let versions = if lacks_canary {
            self.catalog.relist_names(self.slot).await?
        } else {
            self.catalog.relist(self.slot).await?
        };
        if !lacks_canary && trust.lacks_canary(self.slot) {
            // Its feed was believed meanwhile.
            self.catalog.forget_all(self.slot).await?;
        }
        info!(provider = %self.catalog.parts().fleet.id(self.slot), versions, "the names are loaded");
        self.catalog.loaded(self.slot);
        self.load_again = None;
        self.horizon_ms = Some(start_ms);
        Ok(start_ms)
    }

    async fn poll(&mut self, horizon_ms: u64) -> Result<(), LoadError> {
        let (began, now_ms) = (self.catalog.parts().clock.now(), self.now_ms());
        let first_ms = horizon_ms.saturating_sub(BEHIND_MS);
        let last = (now_ms + AHEAD_MS) / MINUTE_MS;
        // A clock that was set back leaves at least one minute to list: nobody calls a feed polled that was not asked.
        let first = (first_ms / MINUTE_MS).min(last);
        let mut minutes = if last.saturating_sub(first) > DIRECT_MINUTES_MAX {
            self.minutes_since(first).await?
        } else {
            (first..=last).collect()
        };
        minutes.reverse();
        // Whatever was missed, the cursor tells of it until the last piece is in the index.
        let cursor = minutes.first().copied().unwrap_or(last).min(now_ms / MINUTE_MS);
        let mut pieces = minutes.chunks(CATCH_UP_MINUTES).peekable();
        while let Some(piece) = pieces.next() {
            let cursor = if pieces.peek().is_none() { Some(cursor) } else { self.cursor };
            self.take(piece, now_ms, cursor).await?;
        }
        self.horizon_ms = Some(now_ms);
        let oldest = recent(now_ms);
        self.seen.retain(|(minute, _), _| *minute >= oldest);
        self.catalog.polled(self.slot, began);
        Ok(())
    }

    /// Lists a few older minutes once more. A failure takes nothing from the poll before it.
    async fn sweep(&mut self) -> Result<(), LoadError> {
        let now_ms = self.now_ms();
        let minutes = self.sweeps.next(self.catalog.parts().clock.now(), now_ms / MINUTE_MS);
        if minutes.is_empty() {
            return Ok(());
        }
        let swept = self.take(&minutes, now_ms, self.cursor).await;
        if swept.is_err() {
            self.sweeps.put_back(minutes);
        }
        swept
    }

    /// Lists some minutes, and takes what is new in them into the index together with the cursor.
    async fn take(
        &mut self,
        minutes: &[FeedMinute],
        now_ms: u64,
        cursor: Option<FeedMinute>,
    ) -> Result<(), LoadError> {
        let listings: Vec<DirListing> = stream::iter(minutes.to_vec())
            .map(|minute| self.list(minute))
            .buffer_unordered(LISTINGS_AT_ONCE)
            .try_collect()
            .await?;
        let entries = listings.iter().flat_map(|listing| &listing.entries);
        let listed: Vec<_> = entries.filter_map(|entry| feed_entry(self.slot, entry)).collect();
        self.miss(minutes, now_ms / MINUTE_MS, &listed).await;
        let is_new =
            |(minute, seen): &(FeedMinute, Sighting)| !self.seen.contains_key(&(*minute, seen.version));
        let new: Vec<_> = listed.into_iter().filter(is_new).collect();
        let new = self.unheard(new, now_ms).await?;
        if new.is_empty() && self.cursor >= cursor {
            return Ok(());
        }
        let oldest = recent(now_ms);
        let room = SEEN_MAX.saturating_sub(self.seen.len());
        let recent = new.iter().filter(|(minute, _)| *minute >= oldest).take(room);
        let ids: Vec<_> = recent.map(|(minute, seen)| ((*minute, seen.version), seen.name)).collect();
        let mut sightings: Vec<_> = new.into_iter().map(|(_, seen)| seen).collect();
        match cursor {
            Some(cursor) => {
                self.catalog.apply_feed(self.slot, self.cursor, cursor, sightings).await?;
            }
            None => {
                if self.catalog.parts().trust.lacks_canary(self.slot) {
                    sightings.iter_mut().for_each(|seen| seen.holders.clear());
                }
                self.catalog.apply(sightings).await?;
            }
        }
        self.cursor = cursor;
        self.seen.extend(ids);
        Ok(())
    }

    /// Returns the entries that tell something new. What is older than the last good poll tells only of
    /// versions that the index does not know; without room to remember them, recent ones are looked up too.
    async fn unheard(
        &self,
        listed: Vec<(FeedMinute, Sighting)>,
        now_ms: u64,
    ) -> Result<Vec<(FeedMinute, Sighting)>, IndexUnusable> {
        let horizon_ms = self.horizon_ms.unwrap_or(0).saturating_sub(BEHIND_MS);
        let watched = (horizon_ms / MINUTE_MS).min(recent(now_ms));
        let is_full = self.seen.len() >= SEEN_MAX;
        let is_asked = |minute: FeedMinute| minute < watched || is_full;
        let asked: Vec<_> = listed.iter().filter(|(minute, _)| is_asked(*minute)).collect();
        if asked.is_empty() {
            return Ok(listed);
        }
        let asked = asked.into_iter().map(|(_, seen)| (seen.name, seen.version, seen.kind)).collect();
        let mut missing = self.catalog.missing_of(asked).await?.into_iter();
        let mut tells = |(minute, _): &(FeedMinute, Sighting)| {
            if !is_asked(*minute) {
                return true;
            }
            match missing.next().flatten() {
                None => true,
                Some(missing) => *minute >= watched && missing >> self.slot.0 & 1 == 1,
            }
        };
        Ok(listed.into_iter().filter(|entry| tells(entry)).collect())
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
