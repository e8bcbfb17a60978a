//! One round: counts what would go, and unless that is too much, removes it.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::look::Looked;
use super::plan::{Plan, Rules, plan};
use super::remove::{Doomed, First, remove_blob};
use super::{Brake, QUIET, Report, Retention, Wait};
use crate::asset::{Kind, NameHash, Version};
use crate::catalog::KnownVersion;
use crate::catalog::expiry::{Cutoff, SHARDS};
use crate::clock::Clock;
use crate::provider::{Slot, Trust};

/// How many names are looked at in one go.
const PAGE: usize = 64;
/// A stamp that far ahead is that of a wrong clock, and says nothing of age.
const AHEAD_MS: u64 = 5 * 60 * 1_000;
/// So much may our clock gain on the monotonic one before all ages are in doubt.
const JUMP_MS_MAX: u64 = 30_000;

/// Watches our clock: providers' times are reckoned from it, so a jump would make everything look old.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    clock: Clock,
    started: Instant,
    started_ms: u64,
}

impl Dial {
    fn start(clock: &Clock) -> Self {
        Self { clock: clock.clone(), started: clock.now(), started_ms: clock.unix_ms() }
    }

    /// Waits when our clock has jumped since the start.
    pub(super) fn is_steady(&self) -> Result<(), Wait> {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let expected = self.started_ms.saturating_add(elapsed);
        if self.clock.unix_ms().abs_diff(expected) > JUMP_MS_MAX {
            return Err(Wait("the clock of this machine has jumped".to_owned()));
        }
        Ok(())
    }
}

impl Retention {
    pub(super) async fn try_round(&self, brake: Brake, sweep: bool, report: &mut Report) -> Result<(), Wait> {
        self.all_are_well()?;
        let dial = Dial::start(&self.parts().clock);
        let held = self.parts().catalog.copies_held().await?;
        report.tallies.iter_mut().zip(held).for_each(|(tally, held)| tally.held = held);
        if !self.parts().retention.is_zero() {
            let names = self.count(brake, report).await?;
            if report.braked {
                return Ok(());
            }
            for page in names.chunks(PAGE) {
                let looked = self.look(page.to_vec()).await?;
                for looked in looked {
                    dial.is_steady()?;
                    self.comes_to(format!("removed so far: {}", report.counts()));
                    self.carry_out(looked, brake, report).await?;
                }
            }
        }
        if sweep && !report.braked {
            report.sweep_began = true;
            self.sweep(brake, &dial, report).await?;
        }
        Ok(())
    }

    /// Says why no round can begin, if none can.
    pub(super) fn all_are_well(&self) -> Result<(), Wait> {
        for slot in self.parts().fleet.slots() {
            if !self.parts().monitor.board().is_trusted(slot) {
                return Err(self.wait(slot, "is not trusted"));
            }
            if !self.parts().catalog.is_loaded(slot) {
                return Err(self.wait(slot, "has not been listed yet"));
            }
        }
        Ok(())
    }

    fn rules(&self) -> Rules {
        let parts = self.parts();
        Rules {
            retention_ms: millis(parts.retention),
            majority: parts.fleet.majority(),
            settled_ms: parts.clock.unix_ms().saturating_sub(millis(QUIET)),
        }
    }

    /// Counts what would go, and returns the names of which something would.
    async fn count(&self, brake: Brake, report: &mut Report) -> Result<Vec<NameHash>, Wait> {
        let now_ms = self.parts().clock.unix_ms();
        let before_ms = now_ms.saturating_sub(millis(self.parts().retention));
        let cutoff = Cutoff { before_ms, now_ms: now_ms.saturating_add(AHEAD_MS) };
        let mut names = Vec::new();
        for shard in (0..SHARDS).filter_map(|shard| u8::try_from(shard).ok()) {
            let mut after = None;
            loop {
                let page = self.parts().catalog.outlived(shard, after, cutoff, PAGE).await?;
                let Some(last) = page.last().copied() else { break };
                after = Some(last);
                self.comes_to(format!("counting what would go: {}", report.counts()));
                for looked in self.look(self.worth_a_look(page, cutoff).await).await? {
                    if self.count_one(&looked, report) {
                        names.push(looked.name);
                    }
                }
                let too_much = report.tallies.iter().any(|tally| tally.is_too_much());
                report.braked = too_much && brake != Brake::Released;
                if report.braked && brake == Brake::Stop {
                    return Ok(names);
                }
            }
        }
        Ok(names)
    }

    /// Leaves out the names whose superseding versions are all young: most of those that were overwritten
    /// lately.
    async fn worth_a_look(&self, names: Vec<NameHash>, cutoff: Cutoff) -> Vec<NameHash> {
        let mut worthy = Vec::with_capacity(names.len());
        for name in names {
            let known = self.parts().catalog.known(name).await;
            let superseding = if known.len() > 1 { &known[..known.len() - 1] } else { &known[..] };
            let stamps = superseding.iter().map(|known| known.version.order.unix_ms());
            if stamps.into_iter().any(|ms| ms <= cutoff.before_ms || ms > cutoff.now_ms) {
                worthy.push(name);
            }
        }
        worthy
    }

    /// Tells whether something of the name would go.
    fn count_one(&self, looked: &Looked, report: &mut Report) -> bool {
        let plan = plan(&looked.view, self.rules());
        if plan.lone_tombstone.is_none() {
            looked.view.known.keys().for_each(|version| self.0.alone.invalidate(version));
        }
        plan.remove.iter().for_each(|(slot, ..)| report.tallies[slot.0].planned += 1);
        let alone = plan.lone_tombstone.is_some_and(|version| self.is_long_alone(version));
        if alone {
            report.tallies.iter_mut().for_each(|tally| tally.planned += 1);
        }
        alone || !plan.remove.is_empty() || !plan.forget.is_empty()
    }

    fn is_long_alone(&self, version: Version) -> bool {
        let now = self.parts().clock.now();
        let since = self.0.alone.get_with(version, || now);
        now.duration_since(since) >= QUIET
    }

    /// Removes what may go of one name.
    async fn carry_out(&self, mut looked: Looked, brake: Brake, report: &mut Report) -> Result<(), Wait> {
        let plan = self.plan_on_proof(&mut looked, self.rules()).await?;
        self.parts().catalog.expire(looked.name, plan.expired()).await?;
        let removals =
            self.parts().fleet.slots().map(|slot| self.remove_at(slot, &looked, &plan, brake, report));
        let results = join_all(removals).await;
        for (tally, (removed, failure)) in report.tallies.iter_mut().zip(results) {
            tally.removed += removed;
            tally.failure = tally.failure.take().or(failure);
        }
        if report.tallies.iter().all(|tally| tally.failure.is_none()) {
            self.forget(&looked, &plan, report).await?;
        }
        Ok(())
    }

    /// Removes what may go of one name at one provider; returns how many copies went, and what failed.
    async fn remove_at(
        &self,
        slot: Slot,
        looked: &Looked,
        plan: &Plan,
        brake: Brake,
        report: &Report,
    ) -> (u64, Option<String>) {
        let tally = &report.tallies[slot.0];
        let tombstone = plan.lone_tombstone.filter(|version| self.is_long_alone(*version));
        // The tombstone goes everywhere or nowhere, as far as that is known beforehand.
        let tombstone = tombstone.filter(|_| report.tallies.iter().all(|tally| tally.failure.is_none()));
        let here =
            plan.remove.iter().filter(|(at, ..)| *at == slot).map(|(_, version, kind)| (*version, *kind));
        let mut removed = 0;
        for (version, kind) in here.chain(tombstone.map(|version| (version, Kind::Del))) {
            // What failed once fails again, and what was not counted was not judged by the brake.
            if tally.failure.is_some()
                || (brake != Brake::Released && tally.removed + removed >= tally.planned)
            {
                break;
            }
            let copy = looked.view.shelves[slot.0].copies.get(&version);
            let (listed, stored_ms) = (copy.is_some(), copy.and_then(|copy| copy.stored_ms));
            let doomed = Doomed { name: looked.name, version, kind, listed, stored_ms };
            let provider = self.parts().fleet.get(slot);
            if let Err(failure) = doomed.remove_from(provider.as_ref(), First::Record, &self.0.pace).await {
                return (removed, Some(failure.to_string()));
            }
            removed += 1;
            if self.parts().catalog.removed(slot, looked.name, version).await.is_err() {
                return (removed, Some("the local index cannot be changed".to_owned()));
            }
        }
        (removed, None)
    }

    /// Forgets what nobody lists any more, and the tombstone that has just gone everywhere. Where a removal was cut short between record and bytes, these are
    /// still there; of a deleted name that vanished they are left to the sweep.
    async fn forget(&self, looked: &Looked, plan: &Plan, report: &mut Report) -> Result<(), Wait> {
        let now = self.parts().catalog.known(looked.name).await;
        let is_planned = |known: &&KnownVersion| {
            let is_held = self.parts().fleet.slots().any(|slot| known.holders.contains(&slot));
            plan.forget.contains(&known.version) || (plan.lone_tombstone == Some(known.version) && !is_held)
        };
        // The oldest first: a tombstone that went before what it hides would bring that back, if this ended between.
        for known in now.iter().rev().filter(is_planned) {
            if self.parts().catalog.is_writing(known.version.upload) {
                continue;
            }
            if known.kind == Kind::Put && !plan.keepers.is_empty() {
                for (_, provider) in self.parts().fleet.iter() {
                    remove_blob(provider.as_ref(), known.version.upload, &self.0.pace).await?;
                }
            }
            self.parts().catalog.forget(looked.name, known).await?;
            report.forgotten += 1;
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
