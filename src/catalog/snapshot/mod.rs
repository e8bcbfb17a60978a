//! Snapshots of the index on the providers, so that a gateway without one knows all names soon.
//!
//! A snapshot is a copy of somebody's index: write-once chunks, then a manifest, sealed with the record key,
//! which names them by size and hash ([`mod@format`]). It says of each provider up to which minute of its feed
//! everything is in it. Loading one (`load`) is therefore the same as starting with that gateway's index
//! as it was then, and following the feeds from there. What makes that safe:
//!
//! * **A name that is not in it is not absent.** Negatives come from the fresh index or a majority, as ever; a
//!   provider counts as loaded only when all chunks are in the index, and as polled only when its feed was
//!   followed from an hour before the covered minute to the present. Every acknowledged version is on a
//!   majority, which meets the majority of fresh feeds in one provider: there the version is in the snapshot,
//!   because the writer had polled that minute, or in a minute that was listed since. While the load goes on,
//!   not even a tombstone of it is told on its word alone ([`Catalog::was_fresh`](super::Catalog::was_fresh)).
//! * **Late entries.** A feed entry may come some minutes after the minute in its key. The writer sweeps older
//!   minutes (`super::sweep`), and the hour that is listed again covers what came after its last sweep.
//! * **Wiped providers.** The manifest has the hash of each canary. A provider that was wiped and refilled since
//!   has another one and is listed; so is one that does not show its canary now. One that loses its canary while
//!   the load goes on is found out by its count of losses, which is looked at under the index's own lock:
//!   what was added before is written off by the loss, and nothing is added after it.
//! * **Suspicion** that this gateway noted meanwhile outlives the load; it is looked at under the same lock.
//! * **Removed versions.** Retention removes a tombstone no sooner than its time after the delete. Snapshots
//!   older than half of it are not used, so a delete that came after the snapshot still shows in the feed.
//! * **Clocks.** Covers are minutes of the provider's own clock, and so is their age. The time in a snapshot's
//!   name only decides which one is tried first.
//! * **Entries that vanished** from a feed before the load are not missed, as after a restart; the audit finds them.
//!
//! A forged, damaged or unknown snapshot is ignored with an alarm; the next one is tried, then the listing.
//! Writing ([`mod@write`]) and removing follow [`plan`]; two gateways that write at once do no harm.

pub mod format;
mod load;
pub mod plan;
mod survey;
pub mod write;

use crate::asset::{Blake3, Key};
use crate::provider::{Provider, Result, get_small};

pub use plan::Policy;
pub use write::Snapshots;

/// The largest canary that is read, in bytes.
const CANARY_BYTES_MAX: u64 = 4 * 1024;

/// Returns the hash of a provider's canary: the identity of what it holds since it was last filled.
async fn canary(provider: &dyn Provider) -> Result<Blake3> {
    let sealed = get_small(provider, &Key::canary(provider.id().as_str()), CANARY_BYTES_MAX).await?;
    Ok(Blake3::new(*blake3::hash(&sealed).as_bytes()))
}
