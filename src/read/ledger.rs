//! The ledger of rescues: every read that one provider would have failed or held up, and another served.
//!
//! Each is counted, timed and kept for `/api/events`, with who failed, who rescued, why, and for how long the
//! client waited.

use std::time::Duration;

use super::{Blob, Parts};
use crate::provider::Slot;
use crate::replica::source::SourceError;
use crate::telemetry::{Event, EventKind, Rescue};

/// The cause of a rescue from a provider that did not answer in its usual time.
pub(super) const SLOW: &str = "slow";
/// The cause of a rescue from a body that made no progress.
pub(super) const STALLED: &str = "stalled";
/// The cause of a rescue from a body that crawled while others were faster.
pub(super) const CRAWLED: &str = "crawled";
/// The cause of a rescue from bytes that arrived whole and were wrong.
const DAMAGED: &str = "damaged";
/// The cause of an answer from the cache.
const ALL_DOWN: &str = "all_down";

/// Returns the word for a failure.
pub(super) fn cause_of(error: &SourceError) -> &'static str {
    match error {
        SourceError::Provider(failure) => failure.kind.as_str(),
        SourceError::Damaged { .. } => DAMAGED,
    }
}

/// What was rescued, and how.
pub(super) struct Rescued {
    pub kind: EventKind,
    pub from: Slot,
    pub to: Slot,
    pub cause: &'static str,
    pub delay: Duration,
    pub detail: String,
}

/// Takes note of a rescue by another provider.
pub(super) fn rescued(parts: &Parts, blob: &Blob, rescued: Rescued) {
    let Rescued { kind, from, to, cause, delay, detail } = rescued;
    let (from, provider) = (parts.fleet.id(from).to_string(), parts.fleet.id(to).to_string());
    let asset = blob.record.name.to_string();
    // Ever so many while a provider is down; they are counted, and the recent ones kept.
    tracing::debug!(provider, from, asset, cause, kind = kind.as_str(), "{detail}");
    parts.telemetry.event(Event {
        at: parts.clock.utc(),
        kind,
        provider: Some(provider),
        asset: Some(asset),
        detail,
        rescue: Some(Rescue { from: Some(from), cause, delay }),
    });
}

/// Takes note of an answer from the cache while no provider is healthy.
pub(super) fn rescued_by_cache(parts: &Parts, asset: &str) {
    parts.telemetry.event(Event {
        at: parts.clock.utc(),
        kind: EventKind::CacheRescue,
        provider: None,
        asset: Some(asset.to_owned()),
        detail: "served from the cache while all providers are down".to_owned(),
        rescue: Some(Rescue { from: None, cause: ALL_DOWN, delay: Duration::ZERO }),
    });
}

/// Takes note of a block that arrived whole and is wrong.
pub(super) fn bad_block(parts: &Parts, blob: &Blob, slot: Slot, reason: &str) {
    let (provider, asset) = (parts.fleet.id(slot).to_string(), blob.record.name.to_string());
    tracing::warn!(provider, asset, "a damaged copy: {reason}");
    parts.telemetry.event(Event {
        at: parts.clock.utc(),
        kind: EventKind::BadBlock,
        provider: Some(provider),
        asset: Some(asset),
        detail: reason.to_owned(),
        rescue: None,
    });
}
