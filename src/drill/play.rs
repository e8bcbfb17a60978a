//! Playing: phase after phase over a running gateway, with everything that a phase is measured by.
//!
//! 1. Faults begin, then the phase opens for readers. Every 250 ms what passed on the wires is written down, and
//!    the gateway is asked for providers that ought to recover.
//! 2. A phase of so many reads ends when the last of them has ended; one of some time ends at once, and reads
//!    under way are still its own. Then its faults end.
//! 3. After the last phase every asset is read once more.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fault::Kind;
use super::faults::Begun;
use super::load::client::Client;
use super::load::{self, read_each_once, read_together};
use super::observe::{self, Counters, Status};
use super::scenario::{Phase, Scenario, Until};
use super::screen::Screen;
use super::shares::{Demotion, Sample, demotion, is_used};
use super::site::Site;
use super::stage::Act;
use crate::clock::Clock;
use crate::repair::Toll;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How soon the gateway counted on a provider again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Recovery {
    /// Nothing had to recover, or the next phase broke it again.
    None,
    /// So many milliseconds after the fault ended.
    AfterMs(u64),
    /// It did not until the end.
    Never,
}

/// A phase that was played.
pub(super) struct Played {
    /// Its readers' part.
    pub(super) act: Arc<Act>,
    /// The phase itself.
    pub(super) phase: Phase,
    /// How long it lasted.
    pub(super) lasted: Duration,
    /// Takeovers in it.
    pub(super) takeovers: u64,
    /// Hedges that won in it.
    pub(super) hedges: u64,
    /// Reads of providers beyond the first of each, as a part of the first ones, where the gateway tells it.
    pub(super) extra: Option<f64>,
    /// After how many milliseconds the next provider was asked as well, at the slowest of the good ones.
    pub(super) hedge_ms: Option<f64>,
    /// What repair had cost clients by its end.
    pub(super) toll: Option<Toll>,
    /// Requests for parts on all wires.
    pub(super) part_reads: u64,
    /// Requests that a fault happened to.
    pub(super) struck: u64,
    /// How many assets all readers asked for together.
    pub(super) rounds: u64,
    /// How soon reads left the faulty providers.
    pub(super) demotion: Option<Demotion>,
    /// How soon the faulty providers were counted on again.
    pub(super) recovery: Recovery,
}

/// A provider that ought to recover.
struct Pending {
    /// The phase whose fault it was.
    played: usize,
    slot: usize,
    since: Instant,
    /// Whether it has to be refilled first.
    wiped: bool,
}

/// Plays a scenario.
pub(super) struct Player<'a> {
    pub(super) site: &'a Site,
    pub(super) load: load::Site,
    pub(super) admin: Client,
    pub(super) clock: Clock,
    pub(super) screen: &'a Screen,
    pub(super) stop: &'a CancellationToken,
    names: Vec<String>,
    counters: Counters,
    played: Vec<Played>,
    pending: Vec<Pending>,
    /// The looks of the phase before.
    samples: Vec<Sample>,
}

impl<'a> Player<'a> {
    /// Prepares to play over a gateway whose assets were uploaded.
    pub(super) fn new(
        site: &'a Site,
        load: load::Site,
        admin: Client,
        screen: &'a Screen,
        stop: &'a CancellationToken,
    ) -> Self {
        let (counters, clock) = (Counters::default(), Clock::system());
        let (played, pending, samples) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            site,
            load,
            admin,
            clock,
            screen,
            stop,
            names: site.names(),
            counters,
            played,
            pending,
            samples,
        }
    }

    /// Plays all phases, and returns what they came to; after a stop those that were begun.
    ///
    /// # Errors
    ///
    /// The gateway's admin listener does not answer, or a provider cannot be wiped; the text says which.
    pub(super) async fn play(mut self, scenario: &Scenario) -> Result<Vec<Played>, String> {
        let (curtain, stage) = watch::channel(None);
        let clients = self.load.start(&stage, self.stop);
        let result = self.phases(scenario, &curtain).await;
        drop(curtain);
        // Each client's request in flight has its own deadline.
        futures::future::join_all(clients).await;
        for wire in &self.site.wires {
            wire.restore().await;
        }
        result?;
        if !self.stop.is_cancelled() {
            self.read_everything_once().await?;
        }
        for pending in std::mem::take(&mut self.pending) {
            self.played[pending.played].recovery = Recovery::Never;
        }
        Ok(self.played)
    }

    async fn phases(
        &mut self,
        scenario: &Scenario,
        curtain: &watch::Sender<Option<Arc<Act>>>,
    ) -> Result<(), String> {
        self.counters = Counters::read(&mut self.admin).await?;
        let count = scenario.phases.len();
        for (number, phase) in scenario.phases.iter().enumerate() {
            if self.stop.is_cancelled() {
                break;
            }
            self.screen.note(&format!("phase {} of {count}: {}", number + 1, phase.name));
            self.phase(phase, curtain).await?;
        }
        curtain.send_replace(None);
        Ok(())
    }

    async fn phase(
        &mut self,
        phase: &Phase,
        curtain: &watch::Sender<Option<Arc<Act>>>,
    ) -> Result<(), String> {
        let faulty = phase.faulty();
        self.pending.retain(|pending| !faulty.contains(&pending.slot));
        let before = self.passed();
        let begun =
            Begun::begin(self.site, phase, &self.load.tasks).await.map_err(|error| error.to_string())?;
        let act = Act::open(phase, self.clock.now());
        curtain.send_replace(Some(act.clone()));
        let (load, together) = (self.load.clone(), self.load.load.together);
        let rounds = async { if together { read_together(&load, &act).await } else { 0 } };
        let (rounds, samples) = tokio::join!(rounds, self.watch(phase, &act));
        let lasted = act.began.elapsed();
        let status = observe::status(&mut self.admin).await.ok().flatten();
        begun.end(self.site).await;
        let wiped = |slot: &usize| {
            phase.faults.iter().any(|fault| fault.kind == Kind::Wiped && fault.slots.contains(slot))
        };
        let (played, since) = (self.played.len(), self.clock.now());
        self.pending.extend(faulty.iter().map(|slot| Pending {
            played,
            slot: *slot,
            since,
            wiped: wiped(slot),
        }));
        let demotion = (faulty.len() < self.names.len())
            .then(|| {
                faulty
                    .iter()
                    .map(|slot| demotion(&samples, *slot, is_used(&self.samples, *slot), wiped(slot)))
                    .max_by_key(|demotion| rank(*demotion))
            })
            .flatten();
        self.samples = samples;
        self.settle(phase, act, lasted, rounds, demotion, before).await?;
        if let Some(played) = self.played.last_mut() {
            played.hedge_ms = status.as_ref().and_then(longest_hedge_ms);
            played.toll = status.and_then(|status| status.toll);
        }
        Ok(())
    }

    /// Adds a phase that has ended.
    async fn settle(
        &mut self,
        phase: &Phase,
        act: Arc<Act>,
        lasted: Duration,
        rounds: u64,
        demotion: Option<Demotion>,
        before: (u64, u64),
    ) -> Result<(), String> {
        let counters = Counters::read(&mut self.admin).await?;
        let after = self.passed();
        let flawed = act.figures.lock().flawed();
        let reads = act.figures.lock().reads();
        self.screen.note(&format!("  {reads} reads in {:.1} s, {flawed} not right", lasted.as_secs_f64()));
        self.played.push(Played {
            act,
            phase: phase.clone(),
            lasted,
            takeovers: counters.events_since(&self.counters, "takeover"),
            hedges: counters.events_since(&self.counters, "hedge_won"),
            extra: counters.extra_since(&self.counters),
            hedge_ms: None,
            toll: None,
            part_reads: after.0 - before.0,
            struck: after.1 - before.1,
            rounds,
            demotion,
            recovery: Recovery::None,
        });
        self.counters = counters;
        Ok(())
    }

    /// Every acknowledged write must still be there.
    async fn read_everything_once(&mut self) -> Result<(), String> {
        let name = "at the end, each asset once".to_owned();
        let reads = Some(self.load.ledger.assets() as u64);
        let faults = Vec::new();
        let phase = Phase { name, reads, length: None, until: None, writers_rest: true, faults };
        let (before, act) = (self.passed(), Act::open(&phase, self.clock.now()));
        self.screen.note(&phase.name);
        read_each_once(&self.load, &act).await;
        let lasted = act.began.elapsed();
        self.settle(&phase, act, lasted, 0, None, before).await
    }

    /// Watches a phase until its end, and returns what had passed at each look.
    async fn watch(&mut self, phase: &Phase, act: &Arc<Act>) -> Vec<Sample> {
        let refuses = |kind| matches!(kind, Kind::Refused | Kind::Flapping);
        let by_calls = phase.faults.iter().any(|fault| refuses(fault.kind));
        let mut samples = vec![self.sample(Duration::ZERO, by_calls).await];
        let (mut looked, mut told, mut complete) = (act.began, act.began, false);
        loop {
            act.changed(LOOK_EVERY.saturating_sub(looked.elapsed())).await;
            let now = self.clock.now();
            if now.duration_since(looked) >= LOOK_EVERY {
                looked = now;
                samples.push(self.sample(act.began.elapsed(), by_calls).await);
                complete = self.look_for_recoveries(phase).await;
            }
            if now.duration_since(told) >= TELL_EVERY {
                told = now;
                self.tell(phase, act);
            }
            let all_read = act.is_closed() && act.is_quiet();
            let in_time = phase.length.is_none_or(|length| act.began.elapsed() < length);
            let reached = self.pending.is_empty()
                && match phase.until {
                    None => false,
                    Some(Until::Healthy) => true,
                    Some(Until::Recovered) => complete,
                };
            if all_read || !in_time || reached || self.stop.is_cancelled() {
                act.close();
                samples.push(self.sample(act.began.elapsed(), by_calls).await);
                return samples;
            }
        }
    }

    fn tell(&self, phase: &Phase, act: &Act) {
        let figures = act.figures.lock();
        let of = phase.reads.map(|reads| format!(" of {reads}")).unwrap_or_default();
        self.screen.note(&format!("  … {}{of} reads, {} not right", figures.reads(), figures.flawed()));
    }

    /// Counts the reads that each provider was asked for. Attempts that are refused never pass a wire, so the
    /// gateway's own count stands in for them.
    async fn sample(&mut self, at: Duration, by_calls: bool) -> Sample {
        let passed = self.site.wires.iter().map(|wire| wire.counts().blob_reads);
        let mut reads: Vec<u64> = passed.collect();
        if by_calls && let Ok(counters) = Counters::read(&mut self.admin).await {
            let calls = self.names.iter().map(|name| counters.asked.get(name).copied().unwrap_or(0.0) as u64);
            reads = calls.collect();
        }
        Sample { at, reads }
    }

    /// Asks the gateway, where somebody wants to know, and tells whether every provider has all that it should.
    async fn look_for_recoveries(&mut self, phase: &Phase) -> bool {
        if self.pending.is_empty() && phase.until.is_none() {
            return false;
        }
        // A gateway that does not answer now is asked again at the next look.
        let Ok(Some(Status { providers, .. })) = observe::status(&mut self.admin).await else { return false };
        let mut waiting = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            let status = providers.get(&self.names[pending.slot]);
            let well = if pending.wiped {
                status.is_some_and(|status| status.is_complete()) && self.site.has_canary(pending.slot).await
            } else {
                status.is_some_and(|status| status.is_well())
            };
            if !well {
                waiting.push(pending);
                continue;
            }
            let took = u64::try_from(pending.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let recovery = &mut self.played[pending.played].recovery;
            *recovery = match *recovery {
                Recovery::AfterMs(longest) => Recovery::AfterMs(longest.max(took)),
                Recovery::None | Recovery::Never => Recovery::AfterMs(took),
            };
        }
        self.pending = waiting;
        providers.values().all(|provider| provider.is_complete())
    }

    /// Returns requests for parts, and requests that a fault happened to, on all wires.
    fn passed(&self) -> (u64, u64) {
        let counts = self.site.wires.iter().map(|wire| wire.counts());
        counts.fold((0, 0), |sum, counts| (sum.0 + counts.blob_reads, sum.1 + counts.struck))
    }
}

/// Returns the longest delay before a second request at providers that are well.
fn longest_hedge_ms(status: &Status) -> Option<f64> {
    let well = status.providers.values().filter(|provider| provider.is_well());
    well.filter_map(|provider| provider.hedge_ms()).max_by(f64::total_cmp)
}

/// Orders how soon providers were left, the worst last.
fn rank(demotion: Demotion) -> u64 {
    match demotion {
        Demotion::NotUsed => 0,
        Demotion::AfterMs(milliseconds) => milliseconds.saturating_add(1),
        Demotion::Never => u64::MAX,
    }
}
