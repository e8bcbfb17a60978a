//! What belongs to no version: blobs and feed entries without a record, old probes, alien objects.
//!
//! Nothing of it is a fault and nothing is removed: it is only reported. What is younger than an hour is
//! left out, since it may be an upload under way.

use futures::future::join_all;

use super::finding::{Finding, FindingKind, Tally};
use super::ledger::{LedgerError, OrphanBlob, OrphanFeed, Phase, Run, Stray};
use super::listing::{ListError, minute};
use super::{Audit, PAGE};
use crate::asset::{Key, KeyKind, UploadId, key};
use crate::provider::Slot;

/// From which age on an object without a record is no upload under way.
const AGE_MIN_MS: u64 = 60 * 60 * 1_000;
/// How many minutes before the listings began a feed entry of that time may be filed.
const MINUTES_SLACK: u64 = 2;

impl Audit {
    /// Reports all orphans at the usable providers.
    pub(super) async fn orphans(&self, run: &Run, tally: &mut Tally) -> Result<(), LedgerError> {
        self.screen.stage("looking for orphans", None);
        let run = Run { phase: Phase::Orphans, ..run.clone() };
        self.each_stray(&run, tally).await?;
        // A record may lie just where nobody could look.
        if run.unsure || !self.refresh_feeds().await? {
            self.screen.note("orphaned blobs were not looked for, since a provider could not be asked");
            return Ok(());
        }
        self.each_blob(&run, tally).await?;
        self.each_feed(&run, tally).await
    }

    /// Learns what was committed since the listings began; `false` when a provider did not answer.
    async fn refresh_feeds(&self) -> Result<bool, LedgerError> {
        let tails = self.usable().into_iter().filter_map(|slot| {
            let tail = self.providers[slot.0].tail.as_ref()?;
            Some(tail.refresh(&self.ledger, self.fleet.get(slot).as_ref()))
        });
        let mut answered = true;
        for result in join_all(tails).await {
            match result {
                Ok(()) => {}
                Err(ListError::Ledger(error)) => return Err(error),
                Err(ListError::Provider(_)) => answered = false,
            }
        }
        Ok(answered)
    }

    async fn each_stray(&self, run: &Run, tally: &mut Tally) -> Result<(), LedgerError> {
        let mut after: Option<Stray> = None;
        loop {
            let page = self.ledger.strays(after.as_ref(), PAGE)?;
            for stray in &page {
                let detail = match key::parse(&stray.key) {
                    Some(KeyKind::Probe { id }) if self.is_young(id) => continue,
                    Some(KeyKind::Probe { id }) if self.is_gone(stray.slot, &Key::probe(id)).await => {
                        continue;
                    }
                    Some(KeyKind::Probe { .. }) => "a health probe that was left behind".to_owned(),
                    Some(KeyKind::Canary { .. }) => "the canary of another provider".to_owned(),
                    Some(
                        KeyKind::Part { .. }
                        | KeyKind::Blocks { .. }
                        | KeyKind::Record { .. }
                        | KeyKind::Feed { .. }
                        | KeyKind::SnapshotChunk { .. }
                        | KeyKind::SnapshotManifest { .. },
                    )
                    | None => format!("an alien object of {} bytes", stray.bytes),
                };
                self.report(run, tally, stray.slot, stray.key.clone(), detail)?;
            }
            after = match page.last() {
                Some(last) => Some(last.clone()),
                None => return Ok(()),
            };
        }
    }

    async fn each_blob(&self, run: &Run, tally: &mut Tally) -> Result<(), LedgerError> {
        let mut after: Option<OrphanBlob> = None;
        let feed_from =
            self.fleet.iter().map(|(_, provider)| minute(provider.as_ref(), run.started_ms)).min();
        let feed_from = feed_from.unwrap_or(0).saturating_sub(MINUTES_SLACK);
        loop {
            let page = self.ledger.orphan_blobs(after.as_ref(), feed_from, PAGE)?;
            for blob in &page {
                if self.is_young(blob.upload) || self.is_gone(blob.slot, &blob.one).await {
                    continue;
                }
                let (asset, detail) = match blob.objects {
                    1 => (blob.one.to_string(), "no record speaks of this object".to_owned()),
                    count => {
                        let detail = format!("no record speaks of these {count} objects");
                        (key::blob_dir(blob.upload), detail)
                    }
                };
                self.report(run, tally, blob.slot, asset, detail)?;
            }
            after = match page.last() {
                Some(last) => Some(last.clone()),
                None => return Ok(()),
            };
        }
    }

    async fn each_feed(&self, run: &Run, tally: &mut Tally) -> Result<(), LedgerError> {
        let mut after: Option<OrphanFeed> = None;
        loop {
            let page = self.ledger.orphan_feeds(after.as_ref(), PAGE)?;
            for feed in &page {
                let written_ms = feed.minute.saturating_mul(60_000);
                let key = Key::feed(feed.minute, feed.id.name, feed.id.version, feed.id.kind);
                if self.is_recent(written_ms)
                    || self.is_gone(feed.slot, &key).await
                    || self.has_record(&feed.id.record_key()).await
                {
                    continue;
                }
                let detail = "a feed entry of a version that has no record".to_owned();
                self.report(run, tally, feed.slot, key.to_string(), detail)?;
            }
            after = match page.last() {
                Some(last) => Some(last.clone()),
                None => return Ok(()),
            };
        }
    }

    fn report(
        &self,
        run: &Run,
        tally: &mut Tally,
        slot: Slot,
        asset: String,
        detail: String,
    ) -> Result<(), LedgerError> {
        let provider = self.fleet.id(slot).to_string();
        let finding =
            Finding { asset, version: None, provider, kind: FindingKind::Orphan, detail, repaired: false };
        self.screen.finding(&finding);
        tally.add(&finding);
        self.ledger.advance(run, &[finding])
    }

    fn is_young(&self, upload: UploadId) -> bool {
        self.is_recent(upload.unix_ms())
    }

    fn is_recent(&self, unix_ms: u64) -> bool {
        unix_ms.saturating_add(AGE_MIN_MS) > self.clock.unix_ms()
    }

    /// Tells whether an object that was listed is not there any more.
    async fn is_gone(&self, slot: Slot, key: &Key) -> bool {
        self.fleet.get(slot).stat(key).await.is_err_and(|error| error.is_not_found())
    }

    /// Tells whether anybody has a record, or cannot be asked.
    async fn has_record(&self, key: &Key) -> bool {
        let stats = join_all(self.fleet.iter().map(|(_, provider)| provider.stat(key))).await;
        !stats.iter().all(|stat| stat.as_ref().is_err_and(|error| error.is_not_found()))
    }
}
