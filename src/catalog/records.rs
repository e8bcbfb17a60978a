//! Records of known versions: from the index, else from the best provider that has a good one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::{Catalog, IndexedVersion, KnownVersion};
use crate::asset::key::Key;
use crate::asset::{NameHash, Record, RecordError, Version};
use crate::provider::Slot;
use crate::provider::race::{Entrant, Race, race};
use crate::replica::source::{self, RecordSourceError};
use crate::telemetry::{Event, EventKind};

/// How long a record is waited for in all.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many records are read at the same time in the background.
const READS: usize = 8;
/// How many records are read in one page of the background reader.
const READS_PER_PAGE: usize = 256;

/// A record with its sealed bytes.
pub type FetchedRecord = (Arc<Record>, Bytes);

/// Nobody delivered a record that may be used.
#[derive(Debug, Clone)]
pub struct NoRecord {
    /// When they were asked.
    pub asked: Instant,
    /// The providers that have none, or a forged one.
    pub lacking: Vec<Slot>,
    /// What the others said, for the log.
    pub reasons: Vec<String>,
}

impl Catalog {
    /// Returns the record of a known version: what the index has, else from the first of `order` that
    /// delivers, which is then kept.
    ///
    /// # Errors
    ///
    /// Nobody delivered.
    pub async fn record(
        &self,
        name: NameHash,
        known: &KnownVersion,
        order: &[Entrant],
    ) -> Result<Arc<Record>, NoRecord> {
        if let Some(record) = &known.record {
            return Ok(record.clone());
        }
        // Somebody else may have read it since the name was looked up.
        let now = self.known(name).await;
        let indexed =
            now.iter().find(|indexed| (indexed.version, indexed.kind) == (known.version, known.kind));
        match indexed.and_then(|indexed| indexed.record.clone()) {
            Some(record) => Ok(record),
            None => self.fetch_record(&known.record_key(name), order).await.map(|(record, _)| record),
        }
    }

    /// Reads a sealed record from the first of `order` that delivers, and keeps it. Many callers at the same
    /// time share one read.
    ///
    /// # Errors
    ///
    /// Nobody delivered, asked after this began.
    pub async fn fetch_record(&self, at: &Key, order: &[Entrant]) -> Result<FetchedRecord, NoRecord> {
        let began = Instant::now();
        // Records are written once: however long a read takes, what it brings is not outdated. What it does not
        // bring may be.
        match self.fetch_together(at, order, PATIENCE).await {
            Err(missed) if missed.asked < began => self.fetch_together(at, order, began.elapsed()).await,
            fetched => fetched,
        }
    }

    async fn fetch_together(
        &self,
        at: &Key,
        order: &[Entrant],
        young: Duration,
    ) -> Result<FetchedRecord, NoRecord> {
        self.0.fetching.run(at, young, || self.clone().fetch(at.clone(), order.to_vec())).await
    }

    async fn fetch(self, at: Key, order: Vec<Entrant>) -> Result<FetchedRecord, NoRecord> {
        let (parts, asked) = (self.parts(), Instant::now());
        let outcome = race(&order, &parts.budget, PATIENCE, |slot, reason| {
            let provider = parts.fleet.get(slot).clone();
            parts.telemetry.upstream_read(provider.id().as_str(), reason.as_str());
            let at = &at;
            async move { source::record(provider.as_ref(), at, &parts.key).await }
        })
        .await;
        if outcome.won.is_some() {
            parts.budget.earn();
        }
        let ((record, sealed), lacking) = self.settle(&at, asked, outcome)?;
        // Who was known to hold what others have has lost it, or holds something else in its place.
        for slot in lacking {
            self.suspect_holder(record.name.hash(), record.version, slot).await;
        }
        // An index that cannot keep it merely has to ask again.
        let _ = self.apply_record(&record, &sealed, Vec::new()).await;
        Ok((record, sealed))
    }

    /// Returns what was delivered, and who lacks it.
    fn settle(
        &self,
        at: &Key,
        asked: Instant,
        outcome: Race<FetchedRecord, RecordSourceError>,
    ) -> Result<(FetchedRecord, Vec<Slot>), NoRecord> {
        let lacking = outcome.failed.iter().filter(|(_, failure)| lacks_it(failure)).map(|(slot, _)| *slot);
        let (lacking, mut reasons) = (lacking.collect(), Vec::new());
        for (slot, failure) in outcome.failed {
            match failure {
                RecordSourceError::Provider(failure) if failure.is_not_found() => {}
                RecordSourceError::Provider(failure) => reasons.push(failure.to_string()),
                RecordSourceError::Record(reason) => {
                    reasons.push(reason.to_string());
                    self.alarm_bad_record(slot, at, &reason.to_string());
                }
            }
        }
        match outcome.won {
            Some(won) => Ok((won.value, lacking)),
            None => {
                let fleet = &self.parts().fleet;
                reasons.extend(outcome.slow.iter().map(|(slot, _)| format!("{} is slow", fleet.id(*slot))));
                Err(NoRecord { asked, lacking, reasons })
            }
        }
    }

    async fn suspect_holder(&self, name: NameHash, version: Version, slot: Slot) {
        let known = self.known(name).await;
        if known.iter().any(|known| known.version == version && known.holders.contains(&slot)) {
            self.suspect(name, version, slot).await;
        }
    }

    /// Reads all records that the index lacks. Those that cannot be had now are passed over for a while, and
    /// read when somebody asks for the name.
    pub async fn read_missing_records(&self) {
        let mut passed_over = 0;
        loop {
            let inner = self.0.clone();
            let rows = self.blocking(move || inner.index.without_record(READS_PER_PAGE, passed_over)).await;
            let rows = rows.unwrap_or_default();
            if rows.is_empty() {
                return;
            }
            let reads = rows.into_iter().map(|row| async move { self.read_missing(&row).await });
            let read: Vec<_> = stream::iter(reads).buffer_unordered(READS).collect().await;
            passed_over += read.into_iter().filter(|read| !read).count();
        }
    }

    /// Tells whether the record is in the index now.
    async fn read_missing(&self, row: &IndexedVersion) -> bool {
        if self.was_unreadable(row.version) {
            return false;
        }
        // Those that are known to hold it first, but all: a client may come to wait for this very read.
        let mut order: Vec<_> = self.parts().fleet.slots().collect();
        order.sort_by_key(|slot| row.missing >> slot.0 & 1);
        let order: Vec<_> = order.into_iter().map(Entrant::patient).collect();
        let at = Key::record(row.name, row.version, row.kind);
        let read = match self.fetch_record(&at, &order).await {
            Ok((record, sealed)) => self.apply_record(&record, &sealed, Vec::new()).await.is_ok(),
            Err(_) => false,
        };
        if !read {
            self.0.marks.unreadable.insert(row.version);
        }
        read
    }

    fn was_unreadable(&self, version: Version) -> bool {
        self.0.marks.unreadable.contains(&version)
    }

    fn alarm_bad_record(&self, slot: Slot, at: &Key, reason: &str) {
        let parts = self.parts();
        let provider = parts.fleet.id(slot).to_string();
        tracing::error!(provider, key = %at, reason, "a record may not be used");
        parts.telemetry.event(Event {
            at: parts.clock.utc(),
            kind: EventKind::BadRecord,
            provider: Some(provider),
            asset: None,
            detail: format!("{at}: {reason}"),
            rescue: None,
        });
    }
}

/// Tells whether a provider has no record to offer. A forged one is as good as none; one of an unknown format is
/// refused, not dropped.
fn lacks_it(failure: &RecordSourceError) -> bool {
    match failure {
        RecordSourceError::Provider(failure) => failure.is_not_found(),
        RecordSourceError::Record(reason) => matches!(reason, RecordError::Forged(_)),
    }
}
