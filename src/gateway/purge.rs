//! The take-down: a name is deleted, then all its versions are removed everywhere, until that is proved.
//!
//! 1. A tombstone is written by the normal flow, so that every gateway stops serving the name, a version of
//!    it asked for by `?version=` included, since those are looked up at the providers.
//! 2. Everything below the tombstone is removed at every provider that answers.
//! 3. That is repeated until every provider was asked twice in a row and had nothing; one that cannot be
//!    reached is asked ever less often, until it answers or somebody interrupts. Where a provider lacked what
//!    another one had, the copy may be on its way to it, by a write or by repair: that is waited for.
//!
//! The tombstone stays, and keeps a provider that was away from bringing anything back, until retention
//! removes it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::asset::{AssetName, Version};
use crate::clock::Clock;
use crate::retention::Retention;
use crate::retention::purge::{Cleared, Clearing};
use crate::write::Writer;

/// How often in a row all providers must have nothing.
const CLEAR_PASSES: u32 = 2;
/// Between two passes while all goes well: long enough for a repair that is under way to be seen.
const PASS_AGAIN: Duration = Duration::from_secs(5);
/// Between two passes while something cannot be reached, at most.
const PASS_AGAIN_MAX: Duration = Duration::from_secs(60);

/// For how long a copy may be on its way: a write goes on for 120 s after its answer, and repair sends a part three
/// times, each for 42 s at most.
const ON_ITS_WAY: Duration = Duration::from_secs(130);
/// How many tombstones are written for the sake of what the first look finds.
const TOMBSTONES_MAX: u32 = 3;
/// Between two passes that only wait for such a copy, at most.
const PASS_AGAIN_WATCHING: Duration = Duration::from_secs(15);

/// What one pass came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pass {
    /// Why no tombstone could be written yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_deleted: Option<String>,
    /// What was found and removed at each provider.
    pub providers: Vec<Cleared>,
    /// For how many more seconds a copy is waited for that may be on its way to a provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watching_for_seconds: Option<u64>,
    /// In how many seconds the next pass comes; none after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again_in_seconds: Option<u64>,
}

/// How a purge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// No provider has anything of the name but its tombstone.
    Gone,
    /// No provider knows of such a name, not even of a tombstone.
    Unknown,
    /// It was interrupted before that was certain.
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
    let mut takedown = Takedown { writer, retention, name, deleted: None, not_deleted: 0 };
    let (mut clear_passes, mut wait, mut watch) = (0, PASS_AGAIN, Watch::new(clock.now()));
    loop {
        // A pass that is cut short leaves what a crash would.
        let pass = tokio::select! {
            () = stop.cancelled() => return Ending::Interrupted,
            pass = takedown.pass() => pass,
        };
        let Some(mut pass) = pass else { return Ending::Unknown };
        watch.note(&pass.providers, clock.now());
        let left = watch.until.duration_since(clock.now());
        let failed = pass.not_deleted.is_some() || pass.providers.iter().any(|it| it.failure.is_some());
        let clear = !failed && pass.providers.iter().all(Cleared::is_clear);
        clear_passes = if clear { clear_passes + 1 } else { 0 };
        if clear_passes >= CLEAR_PASSES && left.is_zero() {
            show(&pass);
            return Ending::Gone;
        }
        wait = match failed {
            true => (wait * 2).min(PASS_AGAIN_MAX),
            false if clear => left.clamp(PASS_AGAIN, PASS_AGAIN_WATCHING),
            false => PASS_AGAIN,
        };
        pass.watching_for_seconds = (!left.is_zero()).then_some(left.as_secs());
        pass.again_in_seconds = Some(wait.as_secs());
        show(&pass);
        let until = clock.now() + wait;
        tokio::select! {
            () = stop.cancelled() => return Ending::Interrupted,
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

struct Takedown<'a> {
    writer: &'a Writer,
    retention: &'a Retention,
    name: &'a AssetName,
    /// The tombstone, once the name is deleted; none where it was before.
    deleted: Option<Option<Version>>,
    /// How often what was found asked for another tombstone.
    not_deleted: u32,
}

impl Takedown<'_> {
    /// Deletes the name if that is still to do, and removes what is found; `None` where nobody has anything.
    async fn pass(&mut self) -> Option<Pass> {
        let mut pass = Pass::default();
        if self.deleted.is_none() {
            match self.writer.delete(self.name.clone()).await {
                Ok(receipt) => self.deleted = Some(receipt.map(|receipt| receipt.record.version)),
                Err(failure) => pass.not_deleted = Some(failure.to_string()),
            }
        }
        if let Some(tombstone) = self.deleted {
            // A version whose writer's clock was ahead, and which few hold, may be newer than the first tombstone. What
            // is uploaded later is not what was to be taken down.
            let above_all = self.not_deleted < TOMBSTONES_MAX;
            match self.retention.clear(self.name.hash(), tombstone, above_all).await {
                Clearing::Nothing => return None,
                Clearing::NotDeleted(found) => {
                    self.not_deleted += 1;
                    (self.deleted, pass.providers) = (None, found);
                }
                Clearing::Below(cleared) => {
                    self.not_deleted = TOMBSTONES_MAX;
                    pass.providers = cleared;
                }
            }
        }
        Some(pass)
    }
}

/// Knows until when a copy may still be on its way to a provider.
struct Watch {
    /// What each provider listed when it answered first: later this purge itself has removed it.
    first: Vec<Option<BTreeSet<Version>>>,
    anywhere: BTreeSet<Version>,
    lacking: usize,
    until: Instant,
}

impl Watch {
    fn new(now: Instant) -> Self {
        Self { first: Vec::new(), anywhere: BTreeSet::new(), lacking: 0, until: now }
    }

    fn note(&mut self, providers: &[Cleared], now: Instant) {
        self.first.resize(self.first.len().max(providers.len()), None);
        for (first, cleared) in self.first.iter_mut().zip(providers) {
            self.anywhere.extend(cleared.listed.iter().flatten());
            *first = first.take().or_else(|| cleared.listed.clone());
        }
        let lacking = self.first.iter().flatten().map(|first| self.anywhere.difference(first).count()).sum();
        // Bytes without a record are those of a copy that is being made.
        let is_coming = |cleared: &Cleared| cleared.objects > 0 && cleared.versions == 0;
        if lacking > self.lacking || providers.iter().any(is_coming) {
            self.until = now + ON_ITS_WAY;
        }
        self.lacking = lacking;
    }
}
