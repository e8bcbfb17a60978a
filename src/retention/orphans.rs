//! The sweep for orphans: blobs of failed uploads, and feed entries whose version is gone.
//!
//! * A blob is an orphan when its upload began more than 24 h ago, and the provider stored none of
//!   its objects later than that, by its own clock. Uploads that the index knows, whose providers' names are
//!   all loaded, are none. Which names could speak of it is unknown, so the proof is a whole listing of
//!   `names/` at every provider, made after that age: what has a record anywhere may yet turn up, and keeps its bytes.
//! * A feed entry is an orphan when it was filed as long ago and every provider says that it has no such
//!   record.
//!
//! Memory is bounded: no more than a named bound of each are gathered, the rest next time. An audit looks
//! for the same things without an index, and only reports them.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use futures::future::join_all;

use super::remove::remove_blob;
use super::round::Dial;
use super::{Brake, Report, Retention, Wait};
use crate::asset::key::{self, FeedMinute, KeyKind};
use crate::asset::{Key, Kind, NameHash, UploadId, Version};
use crate::catalog::KnownVersion;
use crate::provider::{Provider, Slot};

/// From which age on what no record speaks of is no upload under way, in milliseconds.
const AGE_MIN_MS: u64 = 24 * 60 * 60 * 1_000;
/// How many orphans of a kind are gathered in one sweep.
const ORPHANS_MAX: usize = 10_000;

/// A feed entry that may be an orphan.
#[derive(Debug, Clone, Copy)]
struct Entry {
    slot: Slot,
    minute: FeedMinute,
    name: NameHash,
    version: Version,
    kind: Kind,
}

impl Retention {
    /// Looks for orphans and removes them.
    pub(super) async fn sweep(&self, brake: Brake, dial: &Dial, report: &mut Report) -> Result<(), Wait> {
        let asked = self.parts().clock.now();
        self.comes_to(format!("looking for orphans; {}", report.counts()));
        let mut uploads = self.unknown_uploads().await?;
        if !uploads.is_empty() {
            self.strike_out_recorded(&mut uploads).await?;
        }
        let mut doomed = Vec::new();
        for upload in uploads {
            for slot in self.parts().fleet.slots() {
                if self.is_left_behind(slot, upload).await? {
                    doomed.push((slot, upload));
                    report.tallies[slot.0].planned += 1;
                }
            }
        }
        self.all_are_themselves(asked).await?;
        dial.is_steady()?;
        report.braked = brake != Brake::Released && report.tallies.iter().any(|tally| tally.is_too_much());
        if report.braked {
            return Ok(());
        }
        for (slot, upload) in doomed {
            self.comes_to(format!("removed so far, orphans too: {}", report.counts()));
            let tally = &mut report.tallies[slot.0];
            if tally.failure.is_none() {
                match remove_blob(self.parts().fleet.get(slot).as_ref(), upload, &self.0.pace).await {
                    Ok(_) => tally.removed += 1,
                    Err(failure) => tally.failure = Some(failure.to_string()),
                }
            }
        }
        self.sweep_feeds().await
    }

    /// Returns old uploads that lie at a provider and that the index does not know.
    async fn unknown_uploads(&self) -> Result<BTreeSet<UploadId>, Wait> {
        let mut found = BTreeSet::new();
        for (_, provider) in self.parts().fleet.iter() {
            let provider = provider.as_ref();
            for day in self.dirs(provider, key::BLOBS).await? {
                let now_ms = self.provider_time(provider)?.min(self.parts().clock.unix_ms());
                let old = |upload: &UploadId| upload.unix_ms().saturating_add(AGE_MIN_MS) < now_ms;
                let uploads = self.dirs(provider, &format!("{}{day}/", key::BLOBS)).await?;
                let uploads: Vec<UploadId> =
                    uploads.iter().filter_map(|dir| dir.parse().ok()).filter(old).collect();
                let unknown = self.parts().catalog.unknown_uploads(uploads).await?;
                let unknown = unknown.into_iter().filter(|it| !self.parts().catalog.is_writing(*it));
                found.extend(unknown.take(ORPHANS_MAX.saturating_sub(found.len())));
                if found.len() >= ORPHANS_MAX {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// Takes out the uploads that a record speaks of; providers that list everything in few requests are asked first,
    /// the others only where something is left.
    async fn strike_out_recorded(&self, uploads: &mut BTreeSet<UploadId>) -> Result<(), Wait> {
        let (fleet, asked) = (&self.parts().fleet, self.parts().clock.now());
        let mut slots: Vec<_> = fleet.slots().collect();
        slots.sort_by_key(|slot| !fleet.get(*slot).capabilities().ordered_listing);
        for slot in slots {
            if uploads.is_empty() {
                break;
            }
            let mut names = fleet.get(slot).list_tree(key::NAMES);
            while let Some(page) = names.try_next().await? {
                self.0.pace.take(1).await;
                for entry in &page {
                    if let Some(KeyKind::Record { version, .. }) = key::parse(&entry.key) {
                        uploads.remove(&version.upload);
                    }
                }
            }
        }
        self.all_are_themselves(asked).await
    }

    /// Tells whether an upload lies at a provider, all of it stored long ago by its own clock.
    async fn is_left_behind(&self, slot: Slot, upload: UploadId) -> Result<bool, Wait> {
        let provider = self.parts().fleet.get(slot).as_ref();
        self.0.pace.take(1).await;
        let listing = provider.list_dir(&key::blob_dir(upload)).await?;
        let now_ms = self.provider_time(provider)?;
        let old = |stored_ms: u64| stored_ms.saturating_add(AGE_MIN_MS) < now_ms;
        Ok(!listing.entries.is_empty()
            && listing.entries.iter().all(|entry| entry.modified_unix_ms.is_some_and(old)))
    }

    async fn sweep_feeds(&self) -> Result<(), Wait> {
        for slot in self.parts().fleet.slots() {
            for entry in self.suspect_entries(slot).await? {
                if !self.has_record(&entry).await? {
                    let key = Key::feed(entry.minute, entry.name, entry.version, entry.kind);
                    self.0.pace.take(1).await;
                    self.parts().fleet.get(entry.slot).delete(&key).await?;
                    self.forget_unrecorded(&entry).await?;
                }
            }
        }
        Ok(())
    }

    /// Returns old feed entries of versions whose record the index never saw.
    async fn suspect_entries(&self, slot: Slot) -> Result<Vec<Entry>, Wait> {
        let provider = self.parts().fleet.get(slot);
        let mut found = Vec::new();
        let mut feed = provider.list_tree(key::FEED);
        while let Some(page) = feed.try_next().await? {
            self.0.pace.take(1).await;
            let now_ms = self.provider_time(provider.as_ref())?;
            let entries = page.iter().filter_map(|entry| match key::parse(&entry.key) {
                Some(KeyKind::Feed { minute, name, version, kind }) => {
                    Some(Entry { slot, minute, name, version, kind })
                }
                Some(_) | None => None,
            });
            let old = |entry: &Entry| entry.minute.saturating_mul(60_000).saturating_add(AGE_MIN_MS) < now_ms;
            let entries: Vec<_> = entries.filter(old).collect();
            let ids = entries.iter().map(|entry| (entry.name, entry.version)).collect();
            let recorded = self.parts().catalog.have_record(ids).await?;
            let unrecorded = entries.into_iter().zip(recorded).filter(|(_, recorded)| !recorded);
            found.extend(unrecorded.map(|(entry, _)| entry).take(ORPHANS_MAX.saturating_sub(found.len())));
            if found.len() >= ORPHANS_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// Tells whether anybody has the record of a feed entry; who says no proves to be itself afterwards.
    async fn has_record(&self, entry: &Entry) -> Result<bool, Wait> {
        let (at, asked) = (Key::record(entry.name, entry.version, entry.kind), self.parts().clock.now());
        self.0.pace.take(self.parts().fleet.len() as u64).await;
        let stats = join_all(self.parts().fleet.iter().map(|(_, provider)| provider.stat(&at))).await;
        for stat in stats {
            match stat {
                Ok(_) => return Ok(true),
                Err(failure) if failure.is_not_found() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        self.all_are_themselves(asked).await.map(|()| false)
    }

    async fn forget_unrecorded(&self, entry: &Entry) -> Result<(), Wait> {
        let catalog = &self.parts().catalog;
        let known = catalog.known(entry.name).await;
        let is_it = |known: &&KnownVersion| (known.version, known.kind) == (entry.version, entry.kind);
        if let Some(known) = known.iter().find(is_it) {
            catalog.forget(entry.name, known).await?;
        }
        Ok(())
    }

    async fn dirs(&self, provider: &dyn Provider, dir: &str) -> Result<Vec<String>, Wait> {
        self.0.pace.take(1).await;
        Ok(provider.list_dir(dir).await?.dirs)
    }
}
