//! Looks at all copies of one version, and mends them when asked to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::try_join_all;

use super::diff::{self, Attempt};
use super::finding::Finding;
use super::ledger::{LedgerError, VersionId};
use super::listing::ListError;
use super::standing::Standing;
use super::{Audit, Level, unclaimed};
use crate::provider::Slot;
use crate::replica::inspect::{Fault, FaultKind, Inspection, Listed, RecordSeen, list_blob, see_record};
use crate::replica::lists::{self, FoundList};
use crate::replica::{Object, SealedRecord};

/// For how long after its stamp the last copies of a version may still be under way.
const SETTLING: Duration = Duration::from_secs(10);
/// After how many unreadable copies in a row a provider is asked whether it is still there.
const FAILURES_MAX: u64 = 20;

/// What a look at one version came to.
pub(super) struct Examined {
    /// The version.
    pub(super) id: VersionId,
    /// Whether it counts as looked at; a version outside the prefix or the sample does not.
    pub(super) counted: bool,
    /// Whether a provider stopped answering.
    pub(super) unsure: bool,
    /// What is wrong.
    pub(super) findings: Vec<Finding>,
}

impl Examined {
    /// Builds the result for a version that is not looked at.
    pub(super) fn skipped(id: VersionId) -> Self {
        Self { id, counted: false, unsure: false, findings: Vec::new() }
    }
}

/// Looks at all copies of one version.
pub(super) async fn examine(audit: &Audit, id: VersionId) -> Result<Examined, LedgerError> {
    let mut listings = audit.ledger.listings_of(&id)?;
    let slots = audit.usable();
    let (copy, mut seen) = find_record(audit, &id, &slots, &listings).await;
    let Some(copy) = copy else {
        // A name that nobody can tell cannot be known to have the prefix, nor to lack it.
        let (findings, unsure) = match audit.options.prefix {
            Some(_) => (Vec::new(), seen.values().any(|seen| !matches!(seen, RecordSeen::Missing))),
            None => (unclaimed::findings(audit, &id, &seen).await, false),
        };
        let unsure = unsure || audit.lost_any();
        return Ok(Examined { id, counted: !findings.is_empty(), unsure, findings });
    };
    let prefix = audit.options.prefix.as_deref().unwrap_or_default();
    if !copy.record.name.as_str().starts_with(prefix) {
        return Ok(Examined::skipped(id));
    }
    let list = match audit.options.level {
        Level::List => None,
        Level::Checksum | Level::Bytes => lists::find(&audit.fleet, &slots, &copy.record, &audit.pace).await,
    };
    let look = Look { audit, id: &id, copy: &copy, list: list.as_ref() };
    let first = slots
        .iter()
        .map(|&slot| look.at(slot, listings.remove(&slot).unwrap_or_default(), seen.remove(&slot)));
    let mut faults: BTreeMap<Slot, Vec<Fault>> = try_join_all(first).await?.into_iter().collect();
    if look.settle(&faults).await {
        let incomplete = slots.iter().filter(|slot| lacks_something(&faults[*slot]));
        let again = try_join_all(incomplete.map(|&slot| look.again(slot))).await?;
        faults.extend(again);
    }
    for (&slot, faults) in &faults {
        audit.watch(slot, faults).await;
    }
    let attempts = if audit.options.repair { look.mend(&faults).await } else { BTreeMap::new() };
    let findings = faults
        .iter()
        .flat_map(|(slot, faults)| {
            diff::findings(&copy, audit.fleet.id(*slot).as_str(), faults, attempts.get(slot))
        })
        .collect();
    Ok(Examined { id, counted: true, unsure: audit.lost_any(), findings })
}

/// Asks for the record until one provider has a valid one: first who listed it, then the others.
async fn find_record(
    audit: &Audit,
    id: &VersionId,
    slots: &[Slot],
    listings: &BTreeMap<Slot, Listed>,
) -> (Option<SealedRecord>, BTreeMap<Slot, RecordSeen>) {
    let has_listed = |slot: &Slot| listings.get(slot).is_some_and(|listed| listed.record.is_some());
    let mut order = slots.to_vec();
    order.sort_by_key(|slot| !has_listed(slot));
    let mut seen = BTreeMap::new();
    for slot in order {
        let here = see_record(audit.fleet.get(slot).as_ref(), &id.record_key(), &audit.key).await;
        let copy = match &here {
            RecordSeen::Valid(copy) => Some(copy.clone()),
            RecordSeen::Forged(_)
            | RecordSeen::UnknownFormat(_)
            | RecordSeen::Missing
            | RecordSeen::Unreadable(_) => None,
        };
        seen.insert(slot, here);
        if copy.is_some() {
            return (copy, seen);
        }
    }
    (None, seen)
}

fn lacks_something(faults: &[Fault]) -> bool {
    faults.iter().any(|fault| fault.kind == FaultKind::Missing)
}

/// A look at the copies of one version whose record is known.
struct Look<'a> {
    audit: &'a Audit,
    id: &'a VersionId,
    copy: &'a SealedRecord,
    list: Option<&'a FoundList>,
}

impl Look<'_> {
    /// Inspects the copy at one provider, its feed entry included.
    async fn at(
        &self,
        slot: Slot,
        listed: Listed,
        record_seen: Option<RecordSeen>,
    ) -> Result<(Slot, Vec<Fault>), LedgerError> {
        let audit = self.audit;
        let provider = audit.fleet.get(slot);
        let inspection = Inspection {
            provider: provider.clone(),
            copy: self.copy.clone(),
            key: audit.key.clone(),
            depth: audit.options.level,
            listed,
            record_seen,
            list: self.list.map(|found| Arc::clone(&found.list)),
            list_seen: self.list.is_some_and(|found| found.at == Some(slot)),
            pace: audit.pace.clone(),
        };
        let mut faults = inspection.run().await;
        let lacks_record =
            faults.iter().any(|fault| fault.object == Object::Record && fault.kind == FaultKind::Missing);
        // Without a record the feed entry is no longer looked for again: it comes last.
        let has_feed = match &audit.providers[slot.0].tail {
            Some(tail) if !lacks_record => tail.has(&audit.ledger, provider.as_ref(), self.id).await,
            Some(_) | None => audit.ledger.has_feed(slot, self.id).map_err(ListError::from),
        };
        match has_feed {
            Ok(true) => {}
            Ok(false) => faults.push(Fault::new(Object::Feed, FaultKind::Missing, "missing")),
            Err(ListError::Ledger(error)) => return Err(error),
            Err(ListError::Provider(error)) => {
                faults.push(Fault::new(Object::Feed, FaultKind::Unreadable, error.to_string()));
            }
        }
        Ok((slot, faults))
    }

    /// Inspects the copy at one provider with nothing listed before.
    async fn again(&self, slot: Slot) -> Result<(Slot, Vec<Fault>), LedgerError> {
        let listed = list_blob(self.audit.fleet.get(slot).as_ref(), self.copy).await;
        self.at(slot, listed.unwrap_or_default(), None).await
    }

    /// Waits until the last copies of a new version should have arrived; `false` when there is no need.
    async fn settle(&self, faults: &BTreeMap<Slot, Vec<Fault>>) -> bool {
        let version = self.id.version;
        let stamped = version.order.unix_ms().max(version.upload.unix_ms());
        let now = self.audit.clock.unix_ms();
        let is_new = Duration::from_millis(stamped.abs_diff(now)) < SETTLING;
        let wait = is_new && faults.values().any(|faults| lacks_something(faults));
        if wait {
            let left = SETTLING.saturating_sub(Duration::from_millis(now.saturating_sub(stamped)));
            tokio::time::sleep(left).await;
        }
        wait
    }

    /// Mends all copies, one after the other, since one that was mended is a source for the next.
    async fn mend(&self, faults: &BTreeMap<Slot, Vec<Fault>>) -> BTreeMap<Slot, Attempt> {
        let mut sources: Vec<_> = faults.keys().copied().collect();
        sources.sort_by_key(|slot| faults[slot].len());
        let mut attempts = BTreeMap::new();
        for (&slot, faults) in faults {
            let objects = mendable(faults);
            if faults.is_empty() {
                continue;
            }
            let mended = self.audit.mender.mend(slot, self.copy, &objects, &sources).await;
            let failure = mended.error.map(|error| error.to_string());
            attempts.insert(slot, Attempt { mended: mended.objects, failure });
        }
        attempts
    }
}

/// Returns the objects to write. A copy of which something cannot be judged gets neither record nor feed
/// entry: both would claim that it is complete.
fn mendable(faults: &[Fault]) -> BTreeSet<Object> {
    let judged = faults.iter().all(|fault| fault.mendable);
    let claims = |object: Object| matches!(object, Object::Record | Object::Feed);
    let objects = faults.iter().filter(|fault| fault.mendable).map(|fault| fault.object);
    objects.filter(|object| judged || !claims(*object)).collect()
}

impl Audit {
    /// Notices when a provider has stopped answering, so that not every version is waited for.
    async fn watch(&self, slot: Slot, faults: &[Fault]) {
        let watched = &self.providers[slot.0];
        if !faults.iter().any(|fault| fault.kind == FaultKind::Unreadable) {
            watched.failures.store(0, Ordering::Relaxed);
            return;
        }
        if watched.failures.fetch_add(1, Ordering::Relaxed) + 1 < FAILURES_MAX {
            return;
        }
        watched.failures.store(0, Ordering::Relaxed);
        let provider = self.fleet.get(slot);
        let standing = Standing::of(provider.as_ref(), &self.key).await;
        if !standing.is_usable() && !watched.lost.swap(true, Ordering::Relaxed) {
            self.screen
                .note(&format!("{} stopped answering; its other copies are not judged", provider.id()));
        }
    }

    fn lost_any(&self) -> bool {
        self.providers.iter().any(|watched| watched.lost.load(Ordering::Relaxed))
    }
}
