//! Health: what this gateway thinks of each provider, and why.
//!
//! Passive: every call to a provider is observed ([`Board`] is the fleet's observer). Active: a monitor a
//! provider reads its canary ([`canary`]) and finds out once how uploads are protected ([`monitor`]).
//! Each gateway decides by itself, and health is never part of readiness. The order of [`Board::order`] is
//! advice: an open provider is last, never forbidden; only a foreign one is left out.

mod asked;
pub mod breaker;
pub mod canary;
pub mod latency;
pub mod monitor;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::provider::{ErrorKind, Fleet, Observer, Operation, ProviderId, Slot, Trust};
use crate::telemetry::{Event, EventKind, ProviderLabels, Telemetry};
pub use asked::Asked;
pub use plan::{Candidate, SizeClass};

use breaker::{Breaker, BreakerState};
use canary::CanaryState;
use latency::Latency;

/// A canary that was seen longer ago proves nothing.
const TRUST_FOR: Duration = Duration::from_secs(60);
/// What a failed read counts as, in the order of providers.
const FAULT_LATENCY: Duration = Duration::from_secs(1);

/// What a gateway thinks of one provider.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ProviderHealth {
    /// The provider's name.
    #[serde(serialize_with = "id_text")]
    pub name: ProviderId,
    /// The vendor's kind: `s3`, `bunny`, `disk`.
    pub kind: &'static str,
    /// Whether the provider is in use: `healthy` or `down`.
    pub health: &'static str,
    /// The breaker: `closed`, `open` or `half-open`.
    pub breaker: &'static str,
    /// The canary: `ours`, `missing`, `foreign` or `unknown`.
    pub canary: &'static str,
    /// The smoothed time to the first verified block in milliseconds, once there was one.
    pub latency_ms: Option<f64>,
    /// The provider's clock minus ours in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// How uploads are protected, once it was probed.
    pub checksum: Option<String>,
    /// The last failure, in words that are safe to show to an operator.
    pub last_error: Option<String>,
}

fn id_text<S: serde::Serializer>(id: &ProviderId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

/// What this gateway thinks of each provider; cheap to clone.
#[derive(Debug, Clone)]
pub struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    names: Vec<(ProviderId, &'static str)>,
    states: Vec<Mutex<State>>,
    clock: Clock,
    telemetry: Telemetry,
}

#[derive(Debug, Default)]
struct State {
    breaker: Breaker,
    latency: Latency,
    in_flight: u32,
    canary: Option<CanaryState>,
    /// When the last successful look at the canary began.
    canary_at: Option<Instant>,
    /// When the last look began, whether or not it succeeded.
    looked_at: Option<Instant>,
    /// Whether any look has ended.
    was_looked_at: bool,
    checksum: Option<String>,
    last_error: Option<String>,
    clock_offset_ms: Option<i64>,
}

impl Board {
    /// Starts without an opinion of the providers, given by name and kind in the order of the fleet.
    pub fn new(names: Vec<(ProviderId, &'static str)>, clock: Clock, telemetry: Telemetry) -> Self {
        let states = names.iter().map(|_| Mutex::default()).collect();
        Self(Arc::new(Inner { names, states, clock, telemetry }))
    }

    /// Returns a snapshot, in the order of the configuration.
    pub fn snapshot(&self) -> Vec<ProviderHealth> {
        let now = self.0.clock.now();
        let providers = self.0.names.iter().zip(&self.0.states);
        providers
            .map(|((name, kind), state)| {
                let state = state.lock();
                let breaker = state.breaker.state(now);
                let usable = breaker == BreakerState::Closed && state.canary != Some(CanaryState::Foreign);
                ProviderHealth {
                    name: name.clone(),
                    kind,
                    health: if usable { "healthy" } else { "down" },
                    breaker: breaker.as_str(),
                    canary: state.canary.map_or("unknown", CanaryState::as_str),
                    latency_ms: state.latency.last().map(|latency| latency.as_secs_f64() * 1_000.0),
                    clock_offset_ms: state.clock_offset_ms,
                    checksum: state.checksum.clone(),
                    last_error: state.last_error.clone(),
                }
            })
            .collect()
    }

    /// Returns the providers in the order in which to ask them; foreign ones are left out.
    pub fn order(&self) -> Vec<Slot> {
        let now = self.0.clock.now();
        let mut order: Vec<_> = self
            .slots()
            .filter_map(|slot| {
                let state = self.state(slot).lock();
                let open = state.breaker.state(now) != BreakerState::Closed;
                let incomplete = state.canary == Some(CanaryState::Missing);
                let asked = state.canary != Some(CanaryState::Foreign);
                asked.then(|| ((open, incomplete, state.latency.estimate(now)), slot))
            })
            .collect();
        order.sort_by_key(|(rank, slot)| (*rank, *slot));
        order.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Returns whom to ask for `bytes` bytes, best first; foreign ones are left out.
    pub fn plan(&self, bytes: u64) -> Vec<Candidate> {
        let _class = SizeClass::of(bytes);
        let candidate = |slot| Candidate {
            slot,
            hedge_after: plan::HEDGE_UNKNOWN,
            stall_after: plan::STALL_MAX.max(plan::STALL_MIN),
            healthy: self.is_well(slot),
        };
        self.order().into_iter().map(candidate).collect()
    }

    /// Starts to count a request for `bytes` bytes as in flight, until the guard is dropped.
    pub fn ask(&self, slot: Slot, bytes: u64) -> Asked {
        Asked::new(self.clone(), slot, SizeClass::of(bytes), self.0.clock.now())
    }

    /// Takes note of a verified block in mid-body: how large, after how long a wait on the provider.
    pub fn block(&self, slot: Slot, bytes: u64, waited: Duration) {
        let _ = (slot, bytes, waited);
    }

    /// Returns the smoothed throughput in bytes a second, once there was a body to measure.
    pub fn throughput(&self, slot: Slot) -> Option<f64> {
        let _ = slot;
        None
    }

    /// Tells whether no provider is healthy.
    pub fn all_down(&self) -> bool {
        !self.slots().any(|slot| self.is_well(slot))
    }

    fn is_well(&self, slot: Slot) -> bool {
        let state = self.state(slot).lock();
        let itself = !matches!(state.canary, Some(CanaryState::Missing | CanaryState::Foreign));
        itself && state.breaker.state(self.0.clock.now()) == BreakerState::Closed
    }

    fn flight(&self, slot: Slot, begins: bool) {
        let mut state = self.state(slot).lock();
        state.in_flight =
            if begins { state.in_flight.saturating_add(1) } else { state.in_flight.saturating_sub(1) };
    }

    fn delivered(&self, slot: Slot, _class: SizeClass, began: Instant) {
        let now = self.0.clock.now();
        self.first_block(slot, now.duration_since(began));
        self.observe(slot, Operation::Get, now.duration_since(began), None, "");
    }

    fn lost(&self, slot: Slot, _class: SizeClass, began: Instant) {
        self.first_block(slot, self.0.clock.now().duration_since(began));
    }

    /// Tells whether a provider may be written to: one that was never looked at may be somebody else's.
    pub fn is_writable(&self, slot: Slot) -> bool {
        matches!(self.canary(slot), Some(CanaryState::Ours | CanaryState::Missing))
    }

    /// Tells whether the provider's breaker is closed.
    pub fn is_healthy(&self, slot: Slot) -> bool {
        self.state(slot).lock().breaker.state(self.0.clock.now()) == BreakerState::Closed
    }

    /// Returns what the provider's canary said last.
    pub fn canary(&self, slot: Slot) -> Option<CanaryState> {
        self.state(slot).lock().canary
    }

    /// Takes note of the time to a first verified block, or of how long one was waited for in vain.
    pub fn first_block(&self, slot: Slot, took: Duration) {
        let mut state = self.state(slot).lock();
        state.latency.observe(took, self.0.clock.now());
        let labels = ProviderLabels { provider: self.0.names[slot.0].0.to_string() };
        let smoothed = state.latency.last().unwrap_or_default().as_secs_f64();
        self.0.telemetry.metrics().provider_latency_seconds.get_or_create(&labels).set(smoothed);
    }

    /// Takes note of a failure that only a flow can see: a body that broke, stalled or was damaged.
    pub fn failed(&self, slot: Slot, kind: ErrorKind, detail: &str) {
        self.observe(slot, Operation::Get, FAULT_LATENCY, Some(&kind), detail);
    }

    /// Takes note of what a look at the canary showed; the look began at `began`.
    fn looked(&self, slot: Slot, canary: CanaryState, began: Instant, took: Duration) {
        let before = {
            let mut state = self.state(slot).lock();
            state.canary_at = Some(began);
            state.canary.replace(canary)
        };
        if canary == CanaryState::Ours {
            self.first_block(slot, took);
        }
        let labels = ProviderLabels { provider: self.0.names[slot.0].0.to_string() };
        let trusted = i64::from(canary == CanaryState::Ours);
        self.0.telemetry.metrics().provider_trusted.get_or_create(&labels).set(trusted);
        if before != Some(canary) {
            let detail = format!("the canary is {}", canary.as_str());
            match (before, canary) {
                // A provider that is new to us may simply be new.
                (_, CanaryState::Ours) | (None, CanaryState::Missing) => {
                    tracing::info!(provider = %labels.provider, "{detail}");
                }
                (_, CanaryState::Missing | CanaryState::Foreign) => {
                    tracing::error!(provider = %labels.provider, "{detail}");
                }
            }
            self.event(slot, EventKind::Canary, detail);
        }
    }

    fn event(&self, slot: Slot, kind: EventKind, detail: String) {
        let provider = Some(self.0.names[slot.0].0.to_string());
        self.0.telemetry.event(Event {
            at: self.0.clock.utc(),
            kind,
            provider,
            asset: None,
            detail,
            rescue: None,
        });
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.0.states.len()).map(Slot)
    }

    fn state(&self, slot: Slot) -> &Mutex<State> {
        &self.0.states[slot.0]
    }

    fn health_changed(&self, slot: Slot, healthy: bool, detail: &str) {
        let labels = ProviderLabels { provider: self.0.names[slot.0].0.to_string() };
        self.0.telemetry.metrics().provider_healthy.get_or_create(&labels).set(i64::from(healthy));
        if healthy {
            tracing::info!(provider = %labels.provider, "the provider is healthy again");
        } else {
            tracing::warn!(provider = %labels.provider, detail, "the provider is taken to be down");
        }
        self.event(
            slot,
            EventKind::Health,
            if healthy { "up".to_owned() } else { format!("down: {detail}") },
        );
    }
}

impl Trust for Board {
    fn is_trusted(&self, slot: Slot) -> bool {
        let state = self.state(slot).lock();
        let lately = state.canary_at.is_some_and(|at| self.0.clock.now().duration_since(at) <= TRUST_FOR);
        state.canary == Some(CanaryState::Ours) && lately
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
        let now = self.0.clock.now();
        let (before, after) = {
            let mut state = self.state(slot).lock();
            let before = state.breaker.state(now);
            match failure {
                Some(ErrorKind::NotFound) => {}
                Some(kind) => {
                    state.breaker.on_failure(*kind, now);
                    state.last_error = Some(format!("{} ({detail})", kind.as_str()));
                }
                // A listing that works says little of a provider whose objects cannot be read.
                None if matches!(operation, Operation::List | Operation::Delete | Operation::Probe) => {}
                None => state.breaker.on_success(),
            }
            if failure.is_some_and(|kind| kind.is_fault()) {
                state.latency.observe(FAULT_LATENCY, now);
            }
            (before, state.breaker.state(now))
        };
        match (before == BreakerState::Closed, after == BreakerState::Closed) {
            (true, false) => self.health_changed(slot, false, detail),
            (false, true) => self.health_changed(slot, true, detail),
            (true, true) | (false, false) => {}
        }
    }
}

/// Returns the names and kinds that a board starts with.
pub fn names_of(fleet: &Fleet) -> Vec<(ProviderId, &'static str)> {
    fleet.iter().map(|(_, provider)| (provider.id().clone(), provider.kind())).collect()
}
