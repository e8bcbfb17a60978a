//! The walk of a tree of folders, depth first, since a listing shows one folder only.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesUnordered, StreamExt};

use super::zone::Zone;
use crate::provider::transport::Fault;
use crate::provider::{DirListing, Entry};

/// How many folders are listed at the same time; the zone bounds all walks together as well.
const LISTINGS_AT_ONCE: usize = 3;
/// The most entries of a page.
const PAGE_ENTRIES: usize = 1_000;
/// After so many listings a page ends with what there is: who takes one page now and then costs little.
const PAGE_LISTINGS: usize = 64;

struct Walk {
    zone: Arc<Zone>,
    /// Folders that are still to be listed. The last one is next, so only the siblings along one path wait.
    waiting: Vec<String>,
    listing: FuturesUnordered<BoxFuture<'static, Result<(String, DirListing), Fault>>>,
    /// Entries of listed folders that no page has taken yet.
    found: Vec<Entry>,
}

/// Streams everything below `dir` in pages.
pub(super) fn tree(zone: Arc<Zone>, dir: String) -> BoxStream<'static, Result<Vec<Entry>, Fault>> {
    let walk = Walk { zone, waiting: vec![dir], listing: FuturesUnordered::new(), found: Vec::new() };
    stream::try_unfold(walk, |mut walk| async move {
        let page = walk.page().await?;
        Ok(page.map(|page| (page, walk)))
    })
    .boxed()
}

impl Walk {
    async fn page(&mut self) -> Result<Option<Vec<Entry>>, Fault> {
        let mut listings = 0;
        loop {
            if self.found.len() < PAGE_ENTRIES && (listings < PAGE_LISTINGS || self.found.is_empty()) {
                listings += self.list_more();
            }
            // A page leaves no listing in flight: while the caller is busy with it nobody would read the
            // answers, and their deadlines would pass.
            let Some(listed) = self.listing.next().await else {
                break;
            };
            let (dir, listed) = listed?;
            self.found.extend(listed.entries);
            self.waiting.extend(listed.dirs.into_iter().map(|name| format!("{dir}{name}/")));
        }
        let page = self.found.split_off(self.found.len().saturating_sub(PAGE_ENTRIES));
        Ok((!page.is_empty()).then_some(page))
    }

    /// Begins as many listings as may go on at the same time, and returns how many it began.
    fn list_more(&mut self) -> usize {
        let before = self.listing.len();
        while self.listing.len() < LISTINGS_AT_ONCE
            && let Some(dir) = self.waiting.pop()
        {
            let zone = Arc::clone(&self.zone);
            self.listing.push(Box::pin(async move {
                let listed = zone.list(&dir).await?;
                Ok((dir, listed))
            }));
        }
        self.listing.len() - before
    }
}
