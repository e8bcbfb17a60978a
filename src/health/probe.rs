//! The active probe: write an object, read it back, compare, remove it.
//!
//! It asks for what every flow needs, by the plain methods of the trait, whatever the vendor. An object that a
//! crashed gateway left behind is removed when a later probe meets it.

use std::time::Duration;

use bytes::Bytes;

use crate::asset::key::{self, KeyKind};
use crate::asset::{Key, UploadId};
use crate::clock::Clock;
use crate::provider::{ErrorKind, Operation, Payload, Provider, ProviderError, Result, get_small};

/// How long one probe may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long removing its object may take; what stays is removed by a later probe.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);
/// Before each further read of an object that is not there: a replica may lag.
const READ_WAITS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1)];
/// A probe object this old was left behind, in milliseconds; audits think the same.
const LEFTOVER_MS: u64 = 60 * 60 * 1_000;
/// How many objects that were left behind are removed at once.
const LEFTOVERS_MAX: usize = 100;

/// Writes an object, reads it back and removes it.
///
/// # Errors
///
/// `Corrupt` when what was written does not come back; else why a call failed.
///
/// # Cancellation
///
/// The object may stay; a later probe removes it.
pub(super) async fn run(provider: &dyn Provider, clock: &Clock) -> Result<()> {
    let at = Key::probe(clock.upload_id());
    let payload = Payload::from(Bytes::from(format!("a health probe of triplicate, {at}\n")));
    let late = || ProviderError::new(provider.id(), Operation::Probe, ErrorKind::Timeout);
    let outcome = tokio::time::timeout(PATIENCE, write_and_read(provider, &at, &payload)).await;
    remove(provider, &at).await;
    outcome.unwrap_or_else(|_| Err(late().with_detail("it did not end in time")))
}

async fn write_and_read(provider: &dyn Provider, at: &Key, payload: &Payload) -> Result<()> {
    provider.put(at, payload, "text/plain").await?;
    let mut waits = READ_WAITS.iter();
    let held = loop {
        match get_small(provider, at, payload.len()).await {
            Err(failure) if failure.is_not_found() => match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(changed(provider, "what was written is not there")),
            },
            held => break held?,
        }
    };
    if payload.chunks() == [held] {
        return Ok(());
    }
    Err(changed(provider, "what was written comes back changed"))
}

fn changed(provider: &dyn Provider, detail: &str) -> ProviderError {
    ProviderError::new(provider.id(), Operation::Probe, ErrorKind::Corrupt).with_detail(detail)
}

/// Removes probe objects that gateways left behind when they crashed, a bounded number at once.
pub(super) async fn sweep(provider: &dyn Provider, clock: &Clock) {
    let listing = tokio::time::timeout(PATIENCE, provider.list_dir(key::PROBE)).await;
    let Ok(Ok(listing)) = listing else { return };
    let now = clock.unix_ms();
    let is_old = |id: &UploadId| now.saturating_sub(id.unix_ms()) >= LEFTOVER_MS;
    let probes = listing.entries.iter().filter_map(|entry| match key::parse(&entry.key) {
        Some(KeyKind::Probe { id }) => Some(id),
        Some(
            KeyKind::Part { .. }
            | KeyKind::Blocks { .. }
            | KeyKind::Record { .. }
            | KeyKind::Feed { .. }
            | KeyKind::Canary { .. }
            | KeyKind::SnapshotChunk { .. }
            | KeyKind::SnapshotManifest { .. },
        )
        | None => None,
    });
    for id in probes.filter(is_old).take(LEFTOVERS_MAX) {
        remove(provider, &Key::probe(id)).await;
    }
}

async fn remove(provider: &dyn Provider, at: &Key) {
    match tokio::time::timeout(REMOVAL_PATIENCE, provider.delete(at)).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => tracing::debug!(%failure, key = %at, "a probe object could not be removed"),
        Err(_) => tracing::debug!(key = %at, "a probe object could not be removed in time"),
    }
}
