//! The removal half of a take-down: everything of a name below its tombstone goes, everywhere, now.
//!
//! The tombstone has been written before, so every gateway stops serving and what a removal misses stays
//! hidden. It is one that a majority holds: another may never have been committed, and the version below it
//! is then the current one. Nobody's age or trust matters, only that no provider is foreign. A pass removes what it finds and
//! tells what was there; the caller repeats it until two passes find nothing, since another gateway's repair
//! may just be copying a version to a provider that this one has cleared. Once no provider has the bytes,
//! nobody can. The tombstone itself stays until retention takes it.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use serde::Serialize;

use super::Retention;
use super::remove::{Doomed, First};
use crate::asset::key::{self, KeyKind};
use crate::asset::{Kind, NameHash, Version};
use crate::catalog::Sighting;
use crate::health::canary::CanaryState;
use crate::provider::{Provider, ProviderError, Slot};

/// What one pass found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clearing {
    /// Every provider answers, and none lists anything of the name.
    Nothing,
    /// There is something of the name, or may be, and no tombstone above it that a majority lists: nothing was removed.
    NotDeleted(Vec<Cleared>),
    /// What lay below the tombstone was removed wherever it was found.
    Below(Vec<Cleared>),
}

/// What one pass came to at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cleared {
    /// The provider.
    pub provider: String,
    /// How many versions were listed below the tombstone.
    pub versions: usize,
    /// How many objects were removed.
    pub objects: u64,
    /// Why it is not known to be clear, where it is not.
    pub failure: Option<String>,
    /// Which versions it listed below the tombstone, if it answered.
    #[serde(skip)]
    pub listed: Option<BTreeSet<Version>>,
}

impl Cleared {
    /// Tells whether the provider was asked and had nothing.
    pub fn is_clear(&self) -> bool {
        self.failure.is_none() && self.versions == 0 && self.objects == 0
    }
}

type Listed = BTreeMap<Version, (Kind, Option<u64>)>;

impl Retention {
    /// Removes everything of a name below its newest tombstone that a majority lists, or below `written`, which
    /// a majority has just confirmed, at every provider that answers. If it must be `above_all`, nothing is removed
    /// while a newer version is listed.
    pub async fn clear(&self, name: NameHash, written: Option<Version>, above_all: bool) -> Clearing {
        let listings = join_all(self.parts().fleet.slots().map(|slot| self.listed(slot, name))).await;
        self.take_note(name, &listings).await;
        let known = self.parts().catalog.known(name).await;
        let mut versions: BTreeSet<(Version, Kind)> =
            known.iter().map(|known| (known.version, known.kind)).collect();
        let answered: Vec<_> = listings.iter().filter_map(|listing| listing.as_ref().ok()).collect();
        versions.extend(answered.iter().copied().flatten().map(|(version, (kind, _))| (*version, *kind)));
        let majority = self.parts().fleet.majority();
        let is_committed = |version: &Version| {
            answered.iter().filter(|listed| listed.contains_key(version)).count() >= majority
        };
        let tombstones = versions.iter().filter(|(_, kind)| *kind == Kind::Del).map(|(version, _)| *version);
        let Some(tombstone) = tombstones.filter(is_committed).chain(written).max() else {
            if answered.len() == listings.len() && answered.iter().all(|listed| listed.is_empty()) {
                return Clearing::Nothing;
            }
            return Clearing::NotDeleted(self.not_deleted(listings));
        };
        let is_above = |listed: &&Listed| listed.range(tombstone..).any(|(version, _)| *version > tombstone);
        if above_all && answered.iter().any(is_above) {
            return Clearing::NotDeleted(self.not_deleted(listings));
        }
        versions.retain(|(version, _)| *version < tombstone);
        let clearing = self.parts().fleet.slots().zip(&listings).map(|(slot, listing)| {
            let versions = &versions;
            async move {
                match listing {
                    Ok(listed) => self.clear_at(slot, name, versions, listed, tombstone).await,
                    Err(failure) => self.failed_at(slot, 0, failure.clone()),
                }
            }
        });
        Clearing::Below(join_all(clearing).await)
    }

    /// Lets the index know what the providers list: of a version that was removed here somebody may bring bytes, and
    /// for one that needs it a tombstone is written.
    async fn take_note(&self, name: NameHash, listings: &[Result<Listed, String>]) {
        let listed = listings.iter().filter_map(|listing| listing.as_ref().ok()).flatten();
        let seen = listed.map(|(version, (kind, _))| Sighting::listed(name, *version, *kind)).collect();
        // An index that cannot take it is no worse than none.
        let _ = self.parts().catalog.apply(seen).await;
    }

    /// Says of all providers that nothing was removed.
    fn not_deleted(&self, listings: Vec<Result<Listed, String>>) -> Vec<Cleared> {
        let of = |(slot, listing): (Slot, Result<Listed, String>)| match listing {
            Err(failure) => self.failed_at(slot, 0, failure),
            Ok(listed) if listed.is_empty() => {
                self.failed_at(slot, 0, "nothing is here; the others are waited for".to_owned())
            }
            Ok(listed) => self.failed_at(
                slot,
                listed.len(),
                "a majority has no tombstone above all of it yet".to_owned(),
            ),
        };
        self.parts().fleet.slots().zip(listings).map(of).collect()
    }

    fn failed_at(&self, slot: Slot, versions: usize, failure: String) -> Cleared {
        let provider = self.parts().fleet.id(slot).to_string();
        Cleared { provider, versions, objects: 0, failure: Some(failure), listed: None }
    }

    async fn clear_at(
        &self,
        slot: Slot,
        name: NameHash,
        versions: &BTreeSet<(Version, Kind)>,
        listed: &Listed,
        tombstone: Version,
    ) -> Cleared {
        let provider = self.parts().fleet.get(slot).as_ref();
        let below: BTreeSet<_> = listed.range(..tombstone).map(|(version, _)| *version).collect();
        let mut cleared = Cleared {
            provider: provider.id().to_string(),
            versions: below.len(),
            objects: 0,
            failure: None,
            listed: Some(below),
        };
        for (version, kind) in versions {
            let stored_ms = listed.get(version).and_then(|(_, stored_ms)| *stored_ms);
            let is_listed = listed.contains_key(version);
            let doomed = Doomed { name, version: *version, kind: *kind, listed: is_listed, stored_ms };
            match doomed.remove_from(provider, First::Bytes, &self.0.pace).await {
                Ok(objects) => cleared.objects += objects,
                Err(failure) => {
                    cleared.failure = Some(failure.to_string());
                    // A provider that does not answer fails again, one that refuses an object may give up the next.
                    if failure.kind.is_retryable() {
                        break;
                    }
                }
            }
        }
        cleared
    }

    /// Lists the records of a name at one provider, unless it is somebody else's.
    async fn listed(&self, slot: Slot, name: NameHash) -> Result<Listed, String> {
        let looked = self.parts().monitor.look(slot).await.map_err(|failure| failure.to_string())?;
        if looked == CanaryState::Foreign {
            return Err("its canary is foreign: it is not touched".to_owned());
        }
        let provider = self.parts().fleet.get(slot).as_ref();
        list(provider, name).await.map_err(|failure| failure.to_string())
    }
}

async fn list(provider: &dyn Provider, name: NameHash) -> Result<Listed, ProviderError> {
    let listing = provider.list_dir(&key::name_dir(name)).await?;
    let record = |entry: &crate::provider::Entry| match key::parse(&entry.key) {
        Some(KeyKind::Record { name: of, version, kind }) if of == name => {
            Some((version, (kind, entry.modified_unix_ms)))
        }
        Some(_) | None => None,
    };
    Ok(listing.entries.iter().filter_map(record).collect())
}
