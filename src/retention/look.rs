//! Looks at what all providers list of a few names, on evidence that a removal may rest on.
//!
//! A look counts only when every provider answered, told its time, and proved to be itself *after* its
//! listing; otherwise there is no look at all and what was to be removed waits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use backon::Retryable;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::plan::{Copy, Plan, Rules, Shelf, View, plan};
use super::{Retention, Wait};
use crate::asset::key::{self, KeyKind};
use crate::asset::{Kind, NameHash, Version, blocks, parts};
use crate::catalog::KnownVersion;
use crate::provider::Provider;
use crate::provider::race::Entrant;
use crate::replica::retry::{retrying, schedule};

/// How many folders are listed at the same time.
const LISTINGS_AT_ONCE: usize = 8;

/// One name as all providers list it.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub name: NameHash,
    pub known: Arc<Vec<KnownVersion>>,
    pub view: View,
}

impl Retention {
    /// Looks at some names at all providers. A name of which one version is listed as an asset and as a tombstone is left
    /// alone: one of the keys is made up, which an audit tells and mends.
    pub(super) async fn look(&self, names: Vec<NameHash>) -> Result<Vec<Looked>, Wait> {
        let mut looked = Vec::with_capacity(names.len());
        for name in names {
            let known = self.parts().catalog.known(name).await;
            let view =
                View { known: known.iter().map(|it| (it.version, it.kind)).collect(), shelves: Vec::new() };
            looked.push(Looked { name, known, view });
        }
        let asked = self.parts().clock.now();
        let mut kinds = HashMap::new();
        let mut ambiguous = HashSet::new();
        for (slot, provider) in self.parts().fleet.iter() {
            let names: Vec<_> = looked.iter().map(|it| it.name).collect();
            let listings = stream::iter(names).map(|name| self.list(provider.clone(), name));
            let listings: Vec<_> = listings.buffered(LISTINGS_AT_ONCE).try_collect().await?;
            let provider = provider.as_ref();
            // The answers have just brought the provider's clock up to date.
            let now_ms = self.provider_time(provider)?;
            for (it, records) in looked.iter_mut().zip(listings) {
                let fed =
                    |version| it.known.iter().any(|k| k.version == version && k.holders.contains(&slot));
                let copies = records.into_iter().map(|(version, kind, stored_ms)| {
                    if *kinds.entry((it.name, version)).or_insert(kind) != kind {
                        ambiguous.insert(it.name);
                    }
                    (version, Copy { kind, stored_ms, complete: fed(version) })
                });
                it.view.shelves.push(Shelf { now_ms, copies: copies.collect() });
            }
        }
        self.all_are_themselves(asked).await?;
        looked.retain(|it| !ambiguous.contains(&it.name));
        for it in &looked {
            self.forget_made_up(it, &kinds).await?;
        }
        Ok(looked)
    }

    /// Forgets what the index knows of a version under a kind that nobody lists any more while the other one is listed.
    async fn forget_made_up(
        &self,
        it: &Looked,
        kinds: &HashMap<(NameHash, Version), Kind>,
    ) -> Result<(), Wait> {
        for known in it.known.iter() {
            let listed_as_other =
                kinds.get(&(it.name, known.version)).is_some_and(|kind| *kind != known.kind);
            let lists =
                |shelf: &Shelf| shelf.copies.get(&known.version).is_some_and(|copy| copy.kind == known.kind);
            if listed_as_other && !it.view.shelves.iter().any(lists) {
                self.parts().catalog.forget(it.name, known).await?;
            }
        }
        Ok(())
    }

    /// Waits unless every provider proves to have been itself since `asked`.
    pub(super) async fn all_are_themselves(&self, asked: Instant) -> Result<(), Wait> {
        for slot in self.parts().fleet.slots() {
            let confirm =
                || async { self.parts().monitor.confirm(slot, asked).await.then_some(()).ok_or(()) };
            // One look that fails must not undo the work of an hour.
            if confirm.retry(schedule()).await.is_err() {
                return Err(self.wait(slot, "has not proved to be itself"));
            }
        }
        Ok(())
    }

    /// Returns the provider's time in Unix milliseconds.
    pub(super) fn provider_time(&self, provider: &dyn Provider) -> Result<u64, Wait> {
        let offset = provider.clock_offset_ms();
        let offset = offset.ok_or_else(|| Wait(format!("{} has not told its time", provider.id())))?;
        Ok(self.parts().clock.unix_ms().saturating_add_signed(offset))
    }

    async fn list(
        &self,
        provider: Arc<dyn Provider>,
        name: NameHash,
    ) -> Result<Vec<(Version, Kind, Option<u64>)>, Wait> {
        self.0.pace.take(1).await;
        let dir = key::name_dir(name);
        let listing = retrying(|| provider.list_dir(&dir)).await?;
        let record = |entry: &crate::provider::Entry| match key::parse(&entry.key) {
            Some(KeyKind::Record { name: of, version, kind }) if of == name => {
                Some((version, kind, entry.modified_unix_ms))
            }
            Some(_) | None => None,
        };
        Ok(listing.entries.iter().filter_map(record).collect())
    }

    /// Plans what may go of a name, having looked at the bytes of each version for whose sake it would:
    /// one that lacks an object, or has one of a wrong size, counts as incomplete.
    pub(super) async fn plan_on_proof(&self, looked: &mut Looked, rules: Rules) -> Result<Plan, Wait> {
        let mut proved: BTreeMap<Version, ()> = BTreeMap::new();
        loop {
            let plan = plan(&looked.view, rules);
            let Some(keeper) = plan.keepers.iter().copied().find(|it| !proved.contains_key(it)) else {
                return Ok(plan);
            };
            self.prove(looked, keeper).await?;
            proved.insert(keeper, ());
        }
    }

    async fn prove(&self, looked: &mut Looked, version: Version) -> Result<(), Wait> {
        let catalog = &self.parts().catalog;
        let known = looked.known.iter().find(|known| known.version == version);
        let known = known.ok_or_else(|| Wait(format!("the index does not know {version}")))?;
        let order: Vec<_> = self.parts().fleet.slots().map(Entrant::patient).collect();
        let Ok(record) = catalog.record(looked.name, known, &order).await else {
            // Nobody can say what a complete copy is: this name waits, and the others do not.
            let copies = looked.view.shelves.iter_mut().filter_map(|shelf| shelf.copies.get_mut(&version));
            copies.for_each(|copy| copy.complete = false);
            return Ok(());
        };
        let Some(put) = &record.put else {
            // Only a valid tombstone deletes anything; its record is all of it.
            return Ok(());
        };
        let mut wanted: BTreeMap<String, u64> = parts::all(put.size)
            .map(|part| (crate::asset::Key::part(version.upload, part.number).to_string(), part.bytes))
            .collect();
        if put.has_block_list() {
            wanted
                .insert(crate::asset::Key::blocks(version.upload).to_string(), blocks::list_bytes(put.size));
        }
        let asked = self.parts().clock.now();
        for (slot, provider) in self.parts().fleet.iter() {
            let Some(copy) = looked.view.shelves[slot.0].copies.get_mut(&version) else { continue };
            self.0.pace.take(1).await;
            let dir = key::blob_dir(version.upload);
            let listing = retrying(|| provider.list_dir(&dir)).await?;
            let sizes: BTreeMap<_, _> =
                listing.entries.iter().map(|entry| (entry.key.as_str(), entry.bytes)).collect();
            copy.complete &= wanted.iter().all(|(key, bytes)| sizes.get(key.as_str()) == Some(bytes));
        }
        // The bytes were listed after the look: whoever listed them has to prove itself once more.
        self.all_are_themselves(asked).await
    }
}
