//! The take-down: a name is deleted, then all its versions are removed everywhere, until that is proved.
//!
//! 1. A tombstone is written by the normal flow, so that every gateway stops serving the name, a version of
//!    it asked for by `?version=` included, since those are looked up at the providers.
//! 2. Everything below the tombstone is removed at every provider that answers.
//! 3. That is repeated until every provider was asked twice in a row and had nothing; one that cannot be
//!    reached is asked ever less often, until it answers or somebody interrupts.
//!
//! The tombstone stays, and keeps a provider that was away from bringing anything back, until retention
//! removes it.

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::asset::{AssetName, Version};
use crate::clock::Clock;
use crate::retention::Retention;
use crate::retention::purge::Cleared;
use crate::write::Writer;

/// How often in a row all providers must have nothing.
const CLEAR_PASSES: u32 = 2;
/// Between two passes while all goes well: long enough for a repair that is under way to be seen.
const PASS_AGAIN: Duration = Duration::from_secs(5);
/// Between two passes while something cannot be reached, at most.
const PASS_AGAIN_MAX: Duration = Duration::from_secs(60);

/// What one pass came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pass {
    /// Why no tombstone could be written yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_deleted: Option<String>,
    /// What was found and removed at each provider.
    pub providers: Vec<Cleared>,
    /// In how many seconds the next pass comes; none after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again_in_seconds: Option<u64>,
}

/// How a purge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// No provider has anything of the name but its tombstone.
    Gone,
    /// A majority knows of no such name, not even of a tombstone.
    Unknown,
    /// It was interrupted while something could not be reached.
    Interrupted,
}

/// Removes all versions of a name from all providers, and shows each pass.
pub async fn purge(
    writer: &Writer,
    retention: &Retention,
    clock: &Clock,
    name: &AssetName,
    stop: &CancellationToken,
    mut show: impl FnMut(&Pass),
) -> Ending {
    let mut deleted: Option<Option<Version>> = None;
    let (mut clear_passes, mut wait) = (0, PASS_AGAIN);
    loop {
        let mut pass = Pass { not_deleted: None, providers: Vec::new(), again_in_seconds: None };
        if deleted.is_none() {
            match writer.delete(name.clone()).await {
                Ok(receipt) => deleted = Some(receipt.map(|receipt| receipt.record.version)),
                Err(failure) => pass.not_deleted = Some(failure.to_string()),
            }
        }
        if let Some(tombstone) = deleted {
            match retention.clear(name.hash(), tombstone).await {
                Some(cleared) => pass.providers = cleared,
                None => {
                    return Ending::Unknown;
                }
            }
        }
        let failed = pass.not_deleted.is_some() || pass.providers.iter().any(|it| it.failure.is_some());
        let clear = !failed && pass.providers.iter().all(Cleared::is_clear);
        clear_passes = if clear { clear_passes + 1 } else { 0 };
        if clear_passes >= CLEAR_PASSES {
            show(&pass);
            return Ending::Gone;
        }
        wait = if failed { (wait * 2).min(PASS_AGAIN_MAX) } else { PASS_AGAIN };
        pass.again_in_seconds = Some(wait.as_secs());
        show(&pass);
        let until = clock.now() + wait;
        tokio::select! {
            () = stop.cancelled() => return Ending::Interrupted,
            () = tokio::time::sleep_until(until) => {}
        }
    }
}
