//! Patrol: the names of each provider are listed again and again, one page at a time, for what no feed tells.
//!
//! A gateway that dies between a record and its feed entry leaves a version that only listings show: who asks a
//! majority sees it, who follows the feeds does not. The patrol makes it known, and repair then completes it.
//! A page of an S3 provider is a thousand versions, so a few names are looked through every minute and a million
//! in a working day, always by the same work. A page of one that lists folder by folder is a few dozen names; what
//! a majority acknowledged is found at the others.
//!
//! A listing says which versions there are, never who holds them, and removes nothing from the index.

use std::time::Duration;

use futures::TryStreamExt;
use futures::stream::BoxStream;
use tokio::sync::Mutex;

use super::Catalog;
use super::load::record;
use crate::asset::key;
use crate::provider::{Entry, Result, Slot};

/// Between two pages of a provider.
pub const PAGE_EVERY: Duration = Duration::from_secs(30);

type Pages = BoxStream<'static, Result<Vec<Entry>>>;

/// The listings under way.
pub struct Patrol {
    catalog: Catalog,
    beats: Vec<(Slot, Mutex<Option<Pages>>)>,
}

impl Patrol {
    /// Starts at the first name of every provider.
    pub fn new(catalog: Catalog) -> Self {
        let beats = catalog.parts().fleet.slots().map(|slot| (slot, Mutex::default())).collect();
        Self { catalog, beats }
    }

    /// Looks at one more page of each provider that is trusted. One that fails begins anew.
    pub async fn step(&self) {
        let looks =
            self.beats.iter().map(async |(slot, beat)| self.page(*slot, &mut *beat.lock().await).await);
        futures::future::join_all(looks).await;
    }

    async fn page(&self, slot: Slot, beat: &mut Option<Pages>) {
        let parts = self.catalog.parts();
        if !parts.trust.is_trusted(slot) || !self.catalog.is_loaded(slot) {
            *beat = None;
            return;
        }
        let pages = beat.get_or_insert_with(|| parts.fleet.get(slot).list_tree(key::NAMES));
        match pages.try_next().await {
            // An index that cannot take it is loaded anew some time.
            Ok(Some(page)) => drop(self.catalog.apply(page.iter().filter_map(record).collect()).await),
            Ok(None) => *beat = None,
            Err(failure) => {
                tracing::debug!(%failure, "the patrol begins anew");
                *beat = None;
            }
        }
    }
}
