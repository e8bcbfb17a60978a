//! Which snapshots lie at a provider, and the removal of those that nobody needs.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::debug;

use super::plan::{Folder, Policy};
use crate::asset::key::{self, KeyKind};
use crate::asset::{Key, UploadId};
use crate::provider::{DirListing, Provider, Result};

/// How many snapshots are looked into at the same time.
const LOOKS_AT_ONCE: usize = 4;
/// How many snapshots are looked into; with more, the oldest are, so that they go first.
const LOOKS_MAX: usize = 200;
/// How many snapshots are removed in one go.
const REMOVED_AT_ONCE: usize = 4;

/// Lists the snapshots at a provider whose clock shows `now_ms`.
///
/// # Errors
///
/// The provider did not answer.
pub(super) async fn folders(provider: &dyn Provider, now_ms: u64) -> Result<Vec<Folder>> {
    let dirs = provider.list_dir(key::SNAPSHOTS).await?.dirs;
    let mut snapshots: Vec<_> = dirs.iter().filter_map(|dir| key::parse_snapshot_dir(dir)).collect();
    snapshots.sort_unstable();
    // The newest is always among them: by it alone it is known whether a new one is due.
    let newest = snapshots.last().copied().filter(|_| snapshots.len() > LOOKS_MAX);
    snapshots.truncate(LOOKS_MAX);
    let looks = snapshots.into_iter().chain(newest).map(|snapshot| async move {
        let listing = provider.list_dir(&key::snapshot_dir(snapshot)).await?;
        Ok(folder(snapshot, &listing, now_ms))
    });
    stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect().await
}

/// A provider that does not tell when it stored an object is taken by the time in the snapshot's name.
fn folder(snapshot: UploadId, listing: &DirListing, now_ms: u64) -> Folder {
    let manifest = Key::snapshot_manifest(snapshot);
    let written = listing.entries.iter().filter_map(|entry| entry.modified_unix_ms).max();
    Folder {
        snapshot,
        complete: listing.entries.iter().any(|entry| entry.key == manifest.as_str()),
        age: Duration::from_millis(now_ms.saturating_sub(written.unwrap_or(snapshot.unix_ms()))),
    }
}

/// Removes what is superseded at a provider, the manifest first, so that nobody begins to load it.
///
/// # Errors
///
/// The provider did not answer; the rest is removed another time.
pub(super) async fn tidy(provider: &dyn Provider, policy: &Policy, folders: &[Folder]) -> Result<()> {
    for snapshot in policy.superseded(folders).into_iter().take(REMOVED_AT_ONCE) {
        let listing = provider.list_dir(&key::snapshot_dir(snapshot)).await?;
        provider.delete(&Key::snapshot_manifest(snapshot)).await?;
        for entry in &listing.entries {
            // What is not ours is left alone.
            if let Some(kind @ KeyKind::SnapshotChunk { .. }) = key::parse(&entry.key) {
                provider.delete(&kind.key()).await?;
            }
        }
        debug!(provider = %provider.id(), %snapshot, "an old snapshot is removed");
    }
    Ok(())
}
