//! The board: what this gateway thinks of each provider, and the observer of every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::asked::Asked;
use super::breaker::{Breaker, BreakerState};
use super::canary::{Canary, CanaryState};
use super::figures::Figures;
use super::identity::{Doubts, Identity};
use super::plan::{self, Candidate, SizeClass, Standing};
use super::status::{self, ProviderHealth};
use crate::clock::Clock;
use crate::provider::{ErrorKind, Observer, Operation, ProviderId, Slot, Trust};
use crate::telemetry::{Event, EventKind, Metrics, ProviderLabels, Telemetry};

/// What a failed call counts as, in the order of providers.
const FAULT_LATENCY: Duration = Duration::from_secs(1);
/// For how long a plan that puts a half-open provider first keeps that turn, until it is asked.
const TURN_FOR: Duration = Duration::from_secs(1);

/// What this gateway thinks of each provider; cheap to clone.
#[derive(Debug, Clone)]
pub struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seats: Vec<Seat>,
    clock: Clock,
    telemetry: Telemetry,
}

/// What is known of one provider.
#[derive(Debug)]
struct Seat {
    name: ProviderId,
    kind: &'static str,
    state: Mutex<State>,
    /// Whether the provider is healthy, kept beside the lock for those who ask often.
    healthy: AtomicBool,
    /// Wakes the monitor before its time.
    alarm: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub breaker: Breaker,
    pub figures: Figures,
    /// How many reads wait for a first block.
    pub in_flight: u32,
    /// When a plan put the half-open provider first.
    pub turn_at: Option<Instant>,
    pub preferred: bool,
    pub identity: Identity,
    /// When the last look began, whether or not it succeeded.
    pub looked_at: Option<Instant>,
    /// When the last look that failed began.
    pub failed_look_at: Option<Instant>,
    /// Whether any look has ended, or is not waited for any longer.
    pub was_looked_at: bool,
    pub checksum: Option<String>,
    pub last_error: Option<String>,
    pub clock_offset_ms: Option<i64>,
}

impl State {
    pub(super) fn is_healthy(&self) -> bool {
        let itself = !matches!(self.identity.state(), Some(CanaryState::Missing | CanaryState::Foreign));
        itself && self.breaker.state() == BreakerState::Closed
    }

    fn standing(&self, slot: Slot, bytes: u64, now: Instant) -> Standing {
        let is_foreign = self.identity.state() == Some(CanaryState::Foreign);
        let taken = self.in_flight > 0 || self.turn_at.is_some_and(|at| now.duration_since(at) < TURN_FOR);
        Standing {
            slot,
            // Whatever lies there is read only when nobody else delivers: records and blocks prove themselves.
            state: if is_foreign { BreakerState::Open } else { self.breaker.state() },
            turn: !taken,
            missing: self.identity.state() == Some(CanaryState::Missing),
            share: self.breaker.share(now),
            load: self.figures.load(bytes, self.in_flight, now),
            preferred: self.preferred,
            expected: self.figures.expected(SizeClass::of(bytes), now),
            hedge_after: self.figures.hedge_after(SizeClass::of(bytes), now),
            stall_after: self.figures.stall_after(now),
        }
    }
}

impl Board {
    /// Starts without an opinion of the providers, given by name and kind in the order of the fleet.
    pub fn new(names: Vec<(ProviderId, &'static str)>, clock: Clock, telemetry: Telemetry) -> Self {
        let seat = |(name, kind)| Seat {
            name,
            kind,
            state: Mutex::default(),
            healthy: AtomicBool::new(true),
            alarm: Notify::new(),
        };
        Self(Arc::new(Inner { seats: names.into_iter().map(seat).collect(), clock, telemetry }))
    }

    /// Prefers a provider where two are about equal: its load counts a fifth less, its health as any other's.
    pub fn prefer(&self, slot: Slot) {
        self.state(slot).lock().preferred = true;
    }

    /// Returns a snapshot, in the order of the configuration.
    pub fn snapshot(&self) -> Vec<ProviderHealth> {
        let now = self.0.clock.now();
        let show = |seat: &Seat| status::of(&seat.name, seat.kind, &seat.state.lock(), now);
        self.0.seats.iter().map(show).collect()
    }

    /// Returns whom to ask for `bytes` bytes, best first.
    ///
    /// A half-open provider that comes first has its turn by this, so the plan should be followed soon.
    pub fn plan(&self, bytes: u64) -> Vec<Candidate> {
        let now = self.0.clock.now();
        let plan = plan::rank(self.standings(bytes, now), Some(self.0.clock.random()));
        if let Some(first) = plan.first() {
            let mut state = self.state(first.slot).lock();
            if state.breaker.state() == BreakerState::HalfOpen {
                state.turn_at = Some(now);
            }
        }
        plan
    }

    /// Returns the providers in the order in which to ask them where it is no client's read.
    pub fn order(&self) -> Vec<Slot> {
        let plan = plan::rank(self.standings(0, self.0.clock.now()), None);
        plan.into_iter().map(|candidate| candidate.slot).collect()
    }

    /// Starts to count a request for `bytes` bytes as in flight, until the guard is dropped.
    pub fn ask(&self, slot: Slot, bytes: u64) -> Asked {
        Asked::new(self.clone(), slot, SizeClass::of(bytes), self.0.clock.now())
    }

    /// Takes note of a verified block in mid-body: how large, after how long a wait on the provider.
    pub fn block(&self, slot: Slot, bytes: u64, waited: Duration) {
        self.change(slot, "", |state, now, _| {
            state.figures.block(bytes, waited, now);
            state.breaker.on_progress();
        });
    }

    /// Returns the smoothed throughput in bytes a second, once there was a body to measure.
    pub fn throughput(&self, slot: Slot) -> Option<f64> {
        self.state(slot).lock().figures.throughput()
    }

    /// Takes note of a failure that only a flow can see: a body that stalled or was damaged.
    pub fn failed(&self, slot: Slot, kind: ErrorKind, detail: &str) {
        self.observe(slot, Operation::Get, FAULT_LATENCY, Some(&kind), detail);
    }

    /// Tells whether no provider is healthy; takes no lock.
    pub fn all_down(&self) -> bool {
        self.0.seats.iter().all(|seat| !seat.healthy.load(Ordering::Relaxed))
    }

    /// Tells whether a provider may be written to: one that was never looked at may be somebody else's.
    pub fn is_writable(&self, slot: Slot) -> bool {
        matches!(self.canary(slot), Some(CanaryState::Ours | CanaryState::Missing))
    }

    /// Tells whether the provider's breaker is closed.
    pub fn is_healthy(&self, slot: Slot) -> bool {
        self.breaker(slot) == BreakerState::Closed
    }

    /// Returns what the provider's canary said last.
    pub fn canary(&self, slot: Slot) -> Option<CanaryState> {
        self.state(slot).lock().identity.state()
    }

    /// Returns which uploads the provider may have lost though nobody noticed.
    pub fn doubts(&self, slot: Slot) -> Option<Doubts> {
        self.state(slot).lock().identity.doubts(self.0.clock.utc())
    }

    /// Returns the state of the provider's breaker.
    pub fn breaker(&self, slot: Slot) -> BreakerState {
        self.state(slot).lock().breaker.state()
    }

    pub(super) fn take_off(&self, slot: Slot) {
        let mut state = self.state(slot).lock();
        state.in_flight = state.in_flight.saturating_add(1);
        state.turn_at = None;
    }

    pub(super) fn land(&self, slot: Slot) {
        let mut state = self.state(slot).lock();
        state.in_flight = state.in_flight.saturating_sub(1);
    }

    pub(super) fn delivered(&self, slot: Slot, class: SizeClass, began: Instant) {
        self.change(slot, "", |state, now, _| {
            state.figures.first_block(class, now.duration_since(began), now);
            state.breaker.on_success(now);
        });
        self.show_latency(slot);
    }

    pub(super) fn lost(&self, slot: Slot, class: SizeClass, began: Instant) {
        self.change(slot, "others always deliver first", |state, now, die| {
            let waited = now.duration_since(began);
            // A distant provider that is tried out is left before it could have delivered.
            if state.figures.is_slow(class, waited, now) {
                state.breaker.on_strike(now, die);
            }
            state.figures.waited_in_vain(class, waited, now);
        });
        self.show_latency(slot);
    }

    /// Takes note of what a probe of the monitor showed; its failed calls were told by themselves.
    pub(super) fn probed(&self, slot: Slot, outcome: Result<(), (ErrorKind, &str)>) {
        let detail = outcome.map_or_else(|(_, detail)| format!("probe: {detail}"), |()| String::new());
        self.change(slot, &detail, |state, now, die| match outcome {
            Ok(()) => state.breaker.on_probe(now),
            Err((kind, _)) => {
                state.breaker.on_failed_probe(kind == ErrorKind::Corrupt, now, die);
                state.last_error = Some(format!("{} ({detail})", kind.as_str()));
            }
        });
    }

    /// Takes note of what a look at the canary showed; the look began at `began`.
    pub(super) fn looked(&self, slot: Slot, seen: Canary, began: Instant) {
        let canary = seen.state;
        let before = self.change(slot, "", |state, now, _| {
            if canary == CanaryState::Ours {
                state.figures.first_block(SizeClass::Small, now.duration_since(began), now);
            }
            if canary != CanaryState::Foreign {
                state.breaker.on_look(canary == CanaryState::Ours, now);
            }
            state.identity.looked(seen, began, now)
        });
        self.show_latency(slot);
        self.show_trust(slot);
        if before != Some(canary) {
            let detail = format!("the canary is {}", canary.as_str());
            match (before, canary) {
                // A provider that is new to us may simply be new.
                (_, CanaryState::Ours) | (None, CanaryState::Missing) => {
                    tracing::info!(provider = %self.seat(slot).name, "{detail}");
                }
                (_, CanaryState::Missing | CanaryState::Foreign) => {
                    tracing::error!(provider = %self.seat(slot).name, "{detail}");
                }
            }
            self.event(slot, EventKind::Canary, detail);
        }
    }

    pub(super) fn event(&self, slot: Slot, kind: EventKind, detail: String) {
        let provider = Some(self.seat(slot).name.to_string());
        self.0.telemetry.event(Event {
            at: self.0.clock.utc(),
            kind,
            provider,
            asset: None,
            detail,
            rescue: None,
        });
    }

    pub(super) fn state(&self, slot: Slot) -> &Mutex<State> {
        &self.seat(slot).state
    }

    pub(super) fn alarm(&self, slot: Slot) -> &Notify {
        &self.seat(slot).alarm
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn seat(&self, slot: Slot) -> &Seat {
        &self.0.seats[slot.0]
    }

    pub(super) fn metrics(&self) -> &Metrics {
        self.0.telemetry.metrics()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..self.0.seats.len()).map(Slot)
    }

    pub(super) fn labels(&self, slot: Slot) -> ProviderLabels {
        ProviderLabels { provider: self.seat(slot).name.to_string() }
    }

    fn standings(&self, bytes: u64, now: Instant) -> Vec<Standing> {
        let seats = self.0.seats.iter().enumerate();
        seats.map(|(index, seat)| seat.state.lock().standing(Slot(index), bytes, now)).collect()
    }

    /// Changes what is known of a provider, and tells of it where that opens or closes its breaker.
    fn change<T>(&self, slot: Slot, detail: &str, change: impl FnOnce(&mut State, Instant, f64) -> T) -> T {
        let now = self.0.clock.now();
        let die = plan::unit(self.0.clock.random());
        let seat = self.seat(slot);
        let (result, before, after) = {
            let mut state = seat.state.lock();
            let before = state.breaker.state();
            let result = change(&mut state, now, die);
            seat.healthy.store(state.is_healthy(), Ordering::Relaxed);
            (result, before, state.breaker.state())
        };
        match (before == BreakerState::Closed, after == BreakerState::Closed) {
            (true, false) => {
                seat.alarm.notify_one();
                self.health_changed(slot, false, detail);
            }
            (false, true) => self.health_changed(slot, true, detail),
            (true, true) | (false, false) => {}
        }
        result
    }

    /// Looks whether a provider that failed does so far more often than the others.
    fn compare(&self, slot: Slot) {
        let now = self.0.clock.now();
        let others = self.0.seats.iter().enumerate().filter(|(index, _)| *index != slot.0);
        let rates: Vec<_> = others.map(|(_, seat)| seat.state.lock().breaker.rate(now)).collect();
        let detail = "it fails far more often than the others";
        self.change(slot, detail, |state, now, die| state.breaker.eject_outlier(&rates, now, die));
    }
}

impl Trust for Board {
    fn is_trusted(&self, slot: Slot) -> bool {
        self.state(slot).lock().identity.is_trusted(self.0.clock.now())
    }

    fn lacks_canary(&self, slot: Slot) -> bool {
        matches!(self.canary(slot), Some(CanaryState::Missing | CanaryState::Foreign))
    }
}

impl Observer for Board {
    fn observe(
        &self,
        slot: Slot,
        operation: Operation,
        _took: Duration,
        failure: Option<&ErrorKind>,
        detail: &str,
    ) {
        self.change(slot, detail, |state, now, die| match failure {
            Some(ErrorKind::NotFound) => {}
            Some(kind) => {
                state.breaker.on_failure(*kind, now, die);
                state.last_error = Some(format!("{} ({detail})", kind.as_str()));
                state.figures.fault(FAULT_LATENCY, now);
            }
            None => match operation {
                // The provider confirmed what it holds.
                Operation::Put => state.breaker.on_sign(now),
                // The bytes may be wrong: who verifies them tells.
                Operation::Get | Operation::Stat => state.breaker.on_answer(now),
                // These work at a provider whose objects cannot be read.
                Operation::List | Operation::Delete | Operation::Probe => {}
            },
        });
        if failure.is_some_and(|kind| kind.is_fault()) {
            self.compare(slot);
        }
    }
}
