//! Outdated: an index that followed no feed for longer than its reach, and what is done about it.
//!
//! A tombstone that was written and removed meanwhile leaves no trace in any feed. What it deleted would live
//! on in this index, and in the caches, for ever: so the index is emptied and loaded anew, while cold rules
//! answer. At a start [`Catalog::open`] sees to that; a gateway that was cut off, or stood still, does it here.
//!
//! 1. The first poll that could be made again finds that the reach is exceeded: nothing is fresh any longer.
//! 2. Whoever loads first empties the index; polls that are still under way leave no cursor behind.

use std::sync::atomic::Ordering;

use tracing::warn;

use super::index::{Index, IndexError};
use super::{Catalog, IndexUnusable};
use crate::asset::key::FeedMinute;
use crate::telemetry::{Event, EventKind};

impl Catalog {
    /// Tells whether no feed was followed for so long that the feeds alone tell too little at `now`.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub(super) async fn is_outdated(&self, now: FeedMinute) -> Result<bool, IndexUnusable> {
        let oldest = self.parts().oldest_minute(now);
        let latest = self.blocking_with(|inner| inner.index.latest_cursor()).await?;
        Ok(latest.is_some_and(|minute| minute < oldest))
    }

    /// Takes all names for unknown until they are loaded again.
    pub(super) fn unload(&self) {
        for feed in self.0.feeds.lock().iter_mut() {
            (feed.loaded, feed.covered, feed.polled) = (false, None, None);
            // A snapshot that is being loaded or written speaks of what is thrown away.
            feed.losses += 1;
        }
        self.0.was_fresh.store(false, Ordering::Release);
    }

    /// Empties an outdated index; called before anything is loaded into it.
    ///
    /// # Errors
    ///
    /// It is as it was.
    pub(super) async fn empty_if_outdated(&self, now: FeedMinute) -> Result<(), IndexUnusable> {
        let _turn = self.0.loading.lock().await;
        if !self.is_outdated(now).await? {
            return Ok(());
        }
        self.unload();
        self.change(Vec::new(), |index| index.empty()).await?;
        self.0.known.clear();
        warn!("no feed was followed for too long: the local index is made anew");
        self.parts().telemetry.event(Event {
            at: self.parts().clock.utc(),
            kind: EventKind::IndexRebuilt,
            provider: None,
            asset: None,
            detail: "no feed was followed for too long: the local index is made anew".to_owned(),
            rescue: None,
        });
        Ok(())
    }
}

impl Index {
    fn empty(&self) -> Result<(), IndexError> {
        self.write(|transaction| {
            ["versions", "names", "arrived", "cursors"]
                .iter()
                .try_for_each(|table| transaction.execute(&format!("DELETE FROM {table}"), []).map(drop))
        })
    }
}
