//! Records of known versions: from the index, else from the best provider that has a good one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{Catalog, KnownVersion};
use crate::asset::key::Key;
use crate::asset::{NameHash, Record, RecordError};
use crate::provider::Slot;
use crate::provider::race::race;
use crate::replica::source::{self, RecordSourceError};
use crate::telemetry::{Event, EventKind};

/// After this time the next provider is asked for a record.
const HEDGE_DELAY: Duration = Duration::from_millis(300);
/// How long a record is waited for in all.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many records are read at the same time in the background.
const READS: usize = 8;
/// How many records are read in one step of the background reader.
const READS_PER_STEP: usize = 256;

/// Nobody delivered a record that may be used.
#[derive(Debug)]
pub struct NoRecord {
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
        order: &[Slot],
    ) -> Result<Arc<Record>, NoRecord> {
        match &known.record {
            Some(record) => Ok(record.clone()),
            None => self.fetch_record(&known.record_key(name), order).await.map(|(record, _)| record),
        }
    }

    /// Reads a sealed record from the first of `order` that delivers, and keeps it.
    ///
    /// # Errors
    ///
    /// Nobody delivered.
    pub async fn fetch_record(&self, at: &Key, order: &[Slot]) -> Result<(Arc<Record>, Bytes), NoRecord> {
        let parts = self.parts();
        let outcome = race(order, HEDGE_DELAY, PATIENCE, |slot| {
            let provider = parts.fleet.get(slot).clone();
            async move { source::record(provider.as_ref(), at, &parts.key).await }
        })
        .await;
        let mut missed = NoRecord { lacking: Vec::new(), reasons: Vec::new() };
        for (slot, failure) in outcome.failed {
            match failure {
                RecordSourceError::Provider(failure) if failure.is_not_found() => missed.lacking.push(slot),
                RecordSourceError::Provider(failure) => missed.reasons.push(failure.to_string()),
                RecordSourceError::Record(reason) => {
                    // A forged record is as good as none; one of an unknown format is refused, not dropped.
                    if matches!(reason, RecordError::Forged(_)) {
                        missed.lacking.push(slot);
                    }
                    missed.reasons.push(reason.to_string());
                    self.alarm_bad_record(slot, at, &reason.to_string());
                }
            }
        }
        let Some((slot, (record, sealed), _)) = outcome.won else {
            missed.reasons.extend(outcome.slow.iter().map(|(slot, _)| format!("slot {} is slow", slot.0)));
            return Err(missed);
        };
        // A copy under suspicion is not called complete because its record can be read.
        let suspect = self.is_suspect(record.name.hash(), record.version, slot);
        self.apply_record(&record, &sealed, if suspect { Vec::new() } else { vec![slot] }).await;
        Ok((record, sealed))
    }

    /// Reads records that the index lacks, some at a time. Those that cannot be had now are read when
    /// somebody asks for the name.
    pub async fn read_missing_records(&self) {
        let inner = self.0.clone();
        let rows = self.blocking(move || inner.index.without_record(READS_PER_STEP)).await;
        let reads = rows.unwrap_or_default().into_iter().filter(|row| !self.was_unreadable(row.version));
        let reads = reads.map(|row| async move {
            let slots = self.parts().fleet.slots();
            let holders: Vec<_> = slots.filter(|slot| row.missing >> slot.0 & 1 == 0).collect();
            let at = Key::record(row.name, row.version, row.kind);
            if self.fetch_record(&at, &holders).await.is_err() {
                self.0.unreadable.insert(row.version, ());
            }
        });
        stream::iter(reads).buffer_unordered(READS).collect::<Vec<_>>().await;
    }

    fn was_unreadable(&self, version: crate::asset::Version) -> bool {
        self.0.unreadable.contains_key(&version)
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
        });
    }
}
