//! Doubts: copies that a wipe may have torn though their feed entry calls them complete.
//!
//! A write that is under way while its provider loses everything may go on there after the refill: what it
//! stored before is gone, and the feed entry comes all the same. The gateway that takes the write notices
//! (`write::pipeline`) unless it dies. So, for some time after a canary was written, each version whose upload
//! is older than the canary is looked at once, by listings, at that provider: one that lacks an object comes
//! under suspicion, and a step mends it. At a first start that is what was uploaded within the first minute.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use super::Repairer;
use crate::asset::{Key, Record, Version};
use crate::catalog::IndexedVersion;
use crate::provider::Slot;
use crate::replica::SealedRecord;
use crate::replica::inspect::{Depth, FaultKind, Inspection, list_blob};
use crate::replica::pace::Pace;

/// Between two passes over the uploads in doubt, once all that are known were looked at.
const PASS_EVERY: Duration = Duration::from_secs(20);
/// How many copies are looked at in one step, so that no step takes long.
const LOOKS_AT_MOST: usize = 64;
/// How many copies are looked at at the same time.
const LOOKS_AT_ONCE: usize = 4;
/// How many uploads are in doubt at most, the newest; more are left to audits.
const DOUBTED_MAX: usize = 4_096;

/// What was looked at of one provider.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// When the canary was written that it is about.
    since: Option<DateTime<Utc>>,
    /// The versions that were found whole, or came under suspicion, since.
    versions: HashSet<Version>,
    not_before: Option<Instant>,
}

impl Repairer {
    /// Looks at some of the copies that may have been torn at a provider that was refilled lately.
    pub(super) async fn doubt(&self, slot: Slot) {
        let parts = self.parts();
        let Some(doubts) = parts.monitor.board().doubts(slot).filter(|it| self.is_due(slot, it.since)) else {
            return;
        };
        let uploaded = parts.catalog.uploaded_between(doubts.from_ms, doubts.to_ms, DOUBTED_MAX);
        let Ok(mut uploaded) = uploaded.await else { return };
        uploaded.retain(|row| self.is_in_doubt(row, slot));
        if uploaded.is_empty() {
            self.0.looked[slot.0].lock().not_before = Some(parts.clock.now() + PASS_EVERY);
            return;
        }
        uploaded.truncate(LOOKS_AT_MOST);
        let looks = uploaded.into_iter().map(|row| async move {
            let Some(whole) = self.is_whole(&row, slot).await else { return };
            if !whole {
                parts.catalog.suspect(row.name, row.version, slot).await;
            }
            self.0.looked[slot.0].lock().versions.insert(row.version);
        });
        stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect::<()>().await;
    }

    fn is_due(&self, slot: Slot, since: DateTime<Utc>) -> bool {
        let now = self.parts().clock.now();
        let mut looked = self.0.looked[slot.0].lock();
        if looked.since != Some(since) {
            *looked = Looked { since: Some(since), ..Looked::default() };
        }
        looked.not_before.is_none_or(|at| now >= at)
    }

    /// Tells whether the index calls a copy complete that nobody has looked at.
    fn is_in_doubt(&self, row: &IndexedVersion, slot: Slot) -> bool {
        let held = row.missing >> slot.0 & 1 == 0;
        let read = row.record.is_some() && !self.parts().catalog.is_writing(row.version.upload);
        held && read && !self.0.looked[slot.0].lock().versions.contains(&row.version)
    }

    /// Tells whether all objects of a copy are listed; `None` where that cannot be said now.
    async fn is_whole(&self, row: &IndexedVersion, slot: Slot) -> Option<bool> {
        let parts = self.parts();
        let at = Key::record(row.name, row.version, row.kind);
        let sealed = row.record.clone()?;
        let record = Record::open(&sealed, &parts.key, &at).ok()?;
        let copy = SealedRecord { record: Arc::new(record), sealed: sealed.into() };
        let provider = parts.fleet.get(slot).clone();
        let listed = list_blob(provider.as_ref(), &copy).await.ok()?;
        let inspection = Inspection {
            provider,
            copy,
            key: parts.key.clone(),
            depth: Depth::List,
            listed,
            record_seen: None,
            list: None,
            list_seen: false,
            pace: Pace::unlimited(),
        };
        let faults = inspection.run().await;
        let unknown = faults.iter().any(|fault| fault.kind == FaultKind::Unreadable);
        (!unknown).then_some(faults.is_empty())
    }
}
