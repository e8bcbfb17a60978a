//! Establishes canaries: a provider without one is made complete first, and trusted again only then.
//!
//! * Some providers are trusted: one without a canary is new, wiped or swapped. Once so many others are
//!   trusted that every majority it was part of has a witness among them, their names and its own are listed
//!   anew, what it lacks is copied, and its canary is written.
//! * Too few are trusted for that: what they hold is copied all the same, for it may be the last copy, but no
//!   canary is written, and an alarm says what an operator can do.
//! * No provider has a canary: all of them must answer. Nothing lies anywhere: this is the first start, and
//!   all canaries are written. Records exist: all providers are compared and mended first.
//! * A provider shows another one's canary: buckets were swapped, and what the index took in from there since
//!   may be about the wrong one. It is forgotten, and listed anew once the own canary is back.
//! * No provider has a canary and nothing lies anywhere, though the local index knows of versions: all
//!   buckets were swapped or wiped. Nothing is written, and an alarm says so.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Completed, Mode, Repairer};
use crate::catalog::feed::LoadError;
use crate::clock::to_utc;
use crate::health::canary::{self, CanaryState};
use crate::provider::{Slot, Trust};
use crate::telemetry::EventKind;

/// After a refill that failed, the next one waits for this long: it lists all names anew.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// So often a refill tries to copy what is lacking before it begins anew.
const PASSES: usize = 4;

/// A clock that is so far from most providers' is wrong.
const CLOCK_WRONG_FROM_MS: u64 = 30_000;

/// What is going on with providers that lack their canary.
#[derive(Debug, Default)]
pub(super) struct Refill {
    /// The providers whose old copies were written off since they lost their canary.
    written_off: Vec<Slot>,
    /// The providers that showed a foreign canary and were not listed anew since.
    strayed: Vec<Slot>,
    /// When the next attempt may be made.
    not_before: Option<Instant>,
}

impl Repairer {
    /// Makes providers without a canary complete and writes their canaries.
    ///
    /// Two calls at once would do the work twice: one task makes them all.
    pub async fn establish(&self) {
        if let Err(failure) = self.watch_strays().await {
            warn!(%failure, "a provider that had a foreign canary cannot be listed anew now");
        }
        let parts = self.parts();
        let board = parts.monitor.board();
        let missing: Vec<_> =
            parts.fleet.slots().filter(|slot| board.canary(*slot) == Some(CanaryState::Missing)).collect();
        self.0.refill.lock().written_off.retain(|slot| missing.contains(slot));
        let now = parts.clock.now();
        if missing.is_empty() || self.0.refill.lock().not_before.is_some_and(|at| now < at) {
            return;
        }
        let trusted: Vec<_> = parts.fleet.slots().filter(|slot| board.is_trusted(*slot)).collect();
        let first_start = missing.len() == parts.fleet.len();
        if trusted.is_empty() && !first_start {
            self.wait();
            return;
        }
        match self.refill(&missing, &trusted).await {
            Ok(true) => {
                info!(providers = missing.len(), "canaries are written");
                self.0.refill.lock().written_off.clear();
            }
            Ok(false) => self.wait(),
            Err(failure) => {
                warn!(%failure, "a provider without a canary cannot be made complete now");
                self.wait();
            }
        }
    }

    /// Forgets what was learnt from a bucket that is not the provider's own, and lists the right one.
    async fn watch_strays(&self) -> Result<(), LoadError> {
        let parts = self.parts();
        for slot in parts.fleet.slots() {
            let strayed = self.is_strayed(slot);
            match parts.monitor.board().canary(slot) {
                Some(CanaryState::Foreign) if !strayed => {
                    parts.catalog.forget_all(slot).await?;
                    self.0.refill.lock().strayed.push(slot);
                }
                Some(CanaryState::Ours) if strayed => {
                    // What a snapshot or a feed told meanwhile may have been of the other bucket.
                    parts.catalog.forget_all(slot).await?;
                    parts.catalog.relist(slot).await?;
                    self.0.refill.lock().strayed.retain(|stray| *stray != slot);
                }
                Some(CanaryState::Ours | CanaryState::Foreign | CanaryState::Missing) | None => {}
            }
        }
        Ok(())
    }

    /// Tells whether the index does not know yet what lies at a provider whose canary was foreign.
    pub(super) fn is_strayed(&self, slot: Slot) -> bool {
        self.0.refill.lock().strayed.contains(&slot)
    }

    /// Tells whether the canaries were written.
    async fn refill(&self, missing: &[Slot], trusted: &[Slot]) -> Result<bool, LoadError> {
        let parts = self.parts();
        let knew = !parts.catalog.is_empty().await;
        self.write_off(missing).await?;
        let began = parts.clock.now();
        let mut versions = 0;
        for slot in missing {
            versions += parts.catalog.relist_names(*slot).await?;
        }
        for slot in trusted {
            versions += parts.catalog.relist(*slot).await?;
        }
        // A witness that was swapped while it was listed is none.
        for slot in trusted {
            if !parts.monitor.confirm(*slot, began).await {
                return Ok(false);
            }
        }
        if versions == 0 && knew && trusted.is_empty() {
            let detail = "all providers are empty and without a canary, though the local index knows of \
                          versions: their buckets were swapped or wiped. Nothing is written. To start anew \
                          with empty providers, stop the gateway and delete the state folder";
            error!("{detail}");
            self.event(missing[0], EventKind::Canary, detail.to_owned());
            return Ok(false);
        }
        if versions > 0 {
            let detail = format!("the canary is missing: {versions} versions are compared and refilled");
            missing.iter().for_each(|slot| self.event(*slot, EventKind::Canary, detail.clone()));
            if !self.fill(missing).await {
                return Ok(false);
            }
            if !self.are_still_there(missing).await? {
                return Ok(false);
            }
        }
        if trusted.len() < parts.fleet.witnesses() && missing.len() < parts.fleet.len() {
            let detail = "what the trusted providers hold is copied, but nobody can prove that it is all: the \
                          canary is not written, and writes wait. When the others come back with their \
                          data they prove it. To accept the loss of what only they held, remove the \
                          canary object of each provider that still has one";
            warn!("{detail}");
            self.event(missing[0], EventKind::Canary, detail.to_owned());
            return Ok(false);
        }
        for slot in missing {
            // Somebody else may have claimed the bucket, or another gateway done this work meanwhile.
            if parts.monitor.look(*slot).await? == CanaryState::Missing {
                canary::write(parts.fleet.get(*slot).as_ref(), &parts.key, self.time()).await?;
                self.event(*slot, EventKind::Canary, "the canary is written".to_owned());
                parts.monitor.look(*slot).await?;
            }
        }
        Ok(true)
    }

    /// Copies what is lacking, and what failed once more a little later: to list all names anew would cost far more.
    async fn fill(&self, missing: &[Slot]) -> bool {
        for pass in 0..PASSES {
            if pass > 0 {
                tokio::time::sleep_until(self.parts().clock.now() + TRY_AGAIN_AFTER).await;
            }
            if self.complete(missing, Mode::Refill).await == Completed::Wholly {
                return true;
            }
        }
        false
    }

    /// Lists anew what was copied: who loses everything in the middle of a refill has no canary to show that by.
    async fn are_still_there(&self, missing: &[Slot]) -> Result<bool, LoadError> {
        let catalog = &self.parts().catalog;
        for slot in missing {
            let kept = catalog.copies_kept(*slot).await?;
            let listed = catalog.relist_names(*slot).await? as u64;
            if listed < kept {
                warn!(provider = %self.parts().fleet.id(*slot), "copies are gone again; the refill begins anew");
                self.0.refill.lock().written_off.retain(|known| known != slot);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the index says of a provider's copies counts no longer once its canary is gone.
    async fn write_off(&self, missing: &[Slot]) -> Result<(), LoadError> {
        for slot in missing {
            let known = self.0.refill.lock().written_off.contains(slot);
            if !known {
                self.parts().catalog.forget_all(*slot).await?;
                self.0.refill.lock().written_off.push(*slot);
            }
        }
        Ok(())
    }

    /// Returns the time, by which uploads from before a canary are told from later ones. They are timed by
    /// gateways whose clock is right; one that is wrong is set right by the providers' clocks.
    fn time(&self) -> DateTime<Utc> {
        let parts = self.parts();
        let wrong = parts.fleet.clock_offset_ms().filter(|ms| ms.unsigned_abs() >= CLOCK_WRONG_FROM_MS);
        to_utc(parts.clock.unix_ms().saturating_add_signed(wrong.unwrap_or(0)))
    }

    fn wait(&self) {
        self.0.refill.lock().not_before = Some(self.parts().clock.now() + TRY_AGAIN_AFTER);
    }
}
