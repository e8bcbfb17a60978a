//! Versions of which no provider has a valid record.
//!
//! A record of an unknown format is somebody's who knows more than this program: it is never touched. A
//! forged one is removed only when every provider of the fleet has said that it has no better one, only
//! where the provider's canary proved that the record key is the right one, and only so many in one run: a
//! wrong key or a bug must not empty a provider.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::Audit;
use super::finding::{Finding, FindingKind};
use super::ledger::VersionId;
use super::standing::Standing;
use crate::provider::Slot;
use crate::replica::inspect::RecordSeen;
use crate::replica::retry::retrying;

/// Returns the findings for a version without a valid record; removes forged ones when asked to repair.
///
/// Nothing is found where every record is gone: it was removed since it was listed.
pub(super) async fn findings(
    audit: &Audit,
    id: &VersionId,
    seen: &BTreeMap<Slot, RecordSeen>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (&slot, here) in seen {
        let (kind, mut detail) = match here {
            RecordSeen::Forged(reason) => (FindingKind::Forged, format!("record: {reason}")),
            RecordSeen::UnknownFormat(reason) => (FindingKind::Unreadable, format!("record: {reason}")),
            RecordSeen::Unreadable(error) => (FindingKind::Unreadable, format!("record: {error}")),
            RecordSeen::Missing | RecordSeen::Valid(_) => continue,
        };
        let mut repaired = false;
        if audit.options.repair && kind == FindingKind::Forged {
            match remove(audit, id, slot, seen).await {
                Ok(()) => repaired = true,
                Err(why) => detail = format!("{detail}; not removed: {why}"),
            }
        }
        findings.push(Finding {
            asset: id.record_key().to_string(),
            version: Some(id.version.to_string()),
            provider: audit.fleet.id(slot).to_string(),
            kind,
            detail,
            repaired,
        });
    }
    findings
}

async fn remove(
    audit: &Audit,
    id: &VersionId,
    slot: Slot,
    seen: &BTreeMap<Slot, RecordSeen>,
) -> Result<(), String> {
    if audit.providers[slot.0].standing != Standing::Ours {
        return Err("the provider has no canary that proves the record key".to_owned());
    }
    let has_nothing_better = |here: &RecordSeen| match here {
        RecordSeen::Forged(_) | RecordSeen::Missing => true,
        RecordSeen::Valid(_) | RecordSeen::UnknownFormat(_) | RecordSeen::Unreadable(_) => false,
    };
    if seen.len() < audit.fleet.len() || !seen.values().all(has_nothing_better) {
        return Err("not every provider could be asked for a valid one".to_owned());
    }
    let left = &audit.removals_left;
    if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
        return Err("too many records are forged to remove them all in one run".to_owned());
    }
    let (provider, key) = (audit.fleet.get(slot), id.record_key());
    retrying(|| provider.delete(&key)).await.map_err(|error| error.to_string())
}
