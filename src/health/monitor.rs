//! The monitor: looks at each provider's canary, probes it, and finds out how uploads are protected.
//!
//! 1. Look at the canary: every 20 s while all is well, every 1 to 4 s while it is not, and at once when the
//!    breaker opens or a read suspects that the provider was wiped.
//! 2. A look that succeeds says who the provider is; one that fails says nothing of that, and its error was
//!    observed like that of any call.
//! 3. A provider that is not foreign is asked once how uploads are protected, with objects that are removed.
//! 4. It is probed after each look: an object is written, read back, compared and removed. An open breaker has
//!    it wait until a probe is due; the probe that succeeds then makes it half-open, and further looks and
//!    probes close it even where no traffic comes.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::breaker::BreakerState;
use super::canary::{self, CanaryState};
use super::identity::Identity;
use super::{Board, probe};
use crate::asset::RecordKey;
use crate::provider::{ErrorKind, Fleet, Operation, ProviderError, Slot};
use crate::telemetry::EventKind;

/// Between two looks at a provider that is well.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Before the first new look at one that is not; doubled each time.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// Between two looks at one that is not, at most.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(4);
/// How long one look may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);
/// How long one look may take at a provider that is down: a call that hangs on it must not hide its return.
const LOOK_PATIENCE_DOWN: Duration = Duration::from_secs(4);
/// Between two searches for probe objects that were left behind.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long a proof of identity may take that an answer waits for.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(2);
/// How long the others may take to show who they are after a start, once a majority has.
const STRAGGLER_PATIENCE: Duration = Duration::from_millis(250);
/// A proof that failed within so long is asked for once more, so long after.
const CONFIRM_AGAIN_WITHIN: Duration = Duration::from_millis(500);
const CONFIRM_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// A difference of clocks, in milliseconds, that is worth a warning.
const SKEW_WARNED_MS: i64 = 5_000;

/// What a proof of identity came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The provider's own canary is the one that was there before.
    Same,
    /// It is gone, foreign, or another one; or nobody had seen it before.
    Changed,
    /// The provider does not answer.
    Silent,
}

impl Proof {
    fn of(identity: Identity, asked: Instant) -> Self {
        if identity.is_same_since(asked) { Self::Same } else { Self::Changed }
    }
}

/// Looks at canaries; cheap to clone.
#[derive(Debug, Clone)]
pub struct Monitor {
    fleet: Fleet,
    board: Board,
    key: RecordKey,
    looking: Arc<Vec<AsyncMutex<()>>>,
    /// When probe objects that were left behind were looked for last.
    swept: Arc<Vec<Mutex<Option<Instant>>>>,
}

impl Monitor {
    /// Watches `fleet` for `board`.
    pub fn new(fleet: Fleet, board: Board, key: RecordKey) -> Self {
        let looking = Arc::new(fleet.slots().map(|_| AsyncMutex::new(())).collect());
        let swept = Arc::new(fleet.slots().map(|_| Mutex::default()).collect());
        Self { fleet, board, key, looking, swept }
    }

    /// Returns the board.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Has the provider's canary looked at soon, without waiting for it: it says "missing" of something that it
    /// should have, so it may have been wiped. At most one look a second comes of this.
    pub fn suspect(&self, slot: Slot) {
        self.board.alarm(slot).notify_one();
    }

    /// Watches one provider until the gateway stops.
    pub async fn run(self, slot: Slot, stop: CancellationToken) {
        let mut wait = LOOK_EVERY;
        loop {
            let well = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                well = self.step(slot) => well,
            };
            wait = match (well, self.board.breaker(slot)) {
                (true, _) => LOOK_EVERY,
                (false, BreakerState::HalfOpen) => LOOK_SOON,
                (false, _) if wait == LOOK_EVERY => LOOK_SOON,
                (false, _) => (wait * 2).min(LOOK_AGAIN_MAX),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(self.next_step(slot, wait)) => {}
                () = self.suspected(slot) => {}
            }
        }
    }

    /// Returns the end of `wait`, or when the provider is to be probed if that is sooner.
    fn next_step(&self, slot: Slot, wait: Duration) -> Instant {
        let now = self.board.clock().now();
        let due = self.board.state(slot).lock().breaker.open_since().map(|(_, until)| until);
        due.filter(|due| *due > now).unwrap_or(now + wait).min(now + wait)
    }

    /// Waits until the provider is suspected or down, and the last look is a while ago.
    async fn suspected(&self, slot: Slot) {
        self.board.alarm(slot).notified().await;
        let looked_at = self.board.state(slot).lock().looked_at;
        if let Some(at) = looked_at {
            tokio::time::sleep_until(at + LOOK_SOON).await;
        }
    }

    /// Looks once and probes where that is due; tells whether the provider is well.
    pub async fn step(&self, slot: Slot) -> bool {
        let looked = self.look(slot).await;
        self.watch_clock(slot);
        let well = match &looked {
            Ok(CanaryState::Ours) => self.probe_once(slot).await & self.probe(slot).await,
            Ok(CanaryState::Missing) => {
                self.probe_once(slot).await;
                self.probe(slot).await;
                false
            }
            Ok(CanaryState::Foreign) => false,
            Err(failure) => {
                // Where not even the canary can be read a probe is not worth its calls.
                if self.board.breaker(slot) == BreakerState::Open {
                    self.board.probed(slot, Err((failure.kind, &failure.detail)));
                }
                false
            }
        };
        well && self.board.breaker(slot) == BreakerState::Closed
    }

    /// Looks at the canary now.
    ///
    /// # Errors
    ///
    /// The provider did not answer in time.
    pub async fn look(&self, slot: Slot) -> Result<CanaryState, ProviderError> {
        let provider = self.fleet.get(slot);
        let began = self.board.clock().now();
        self.board.state(slot).lock().looked_at = Some(began);
        let looking = canary::look(provider.as_ref(), &self.key);
        let closed = self.board.breaker(slot) == BreakerState::Closed;
        let patience = if closed { LOOK_PATIENCE } else { LOOK_PATIENCE_DOWN };
        let looked = tokio::time::timeout(patience, looking).await.unwrap_or_else(|_| {
            let detail = "no canary in time";
            self.board.failed(slot, ErrorKind::Timeout, detail);
            Err(ProviderError::new(provider.id(), Operation::Get, ErrorKind::Timeout).with_detail(detail))
        });
        self.board.state(slot).lock().was_looked_at = true;
        match looked {
            Ok(canary) => {
                self.board.looked(slot, canary, began);
                Ok(canary.state)
            }
            Err(failure) => {
                self.look_failed(slot, began);
                // The call itself may have been fine, and told nobody.
                let told = format!("{} ({})", failure.kind.as_str(), failure.detail);
                self.board.state(slot).lock().last_error = Some(told);
                Err(failure)
            }
        }
    }

    /// Takes note that a look that began at `began` has come to nothing.
    fn look_failed(&self, slot: Slot, began: Instant) {
        let mut state = self.board.state(slot).lock();
        state.failed_look_at = state.failed_look_at.max(Some(began));
    }

    /// Waits a moment for providers that nobody has looked at since the start: until a majority was seen nobody
    /// knows whose word counts, and who may be written to.
    pub async fn first_looks(&self) {
        let is_unseen = |slot: &Slot| !self.board.state(*slot).lock().was_looked_at;
        let unseen: Vec<_> = self.fleet.slots().filter(is_unseen).collect();
        if unseen.is_empty() {
            return;
        }
        let looks = unseen.iter().map(async |slot| {
            let _turn = self.looking[slot.0].lock().await;
            if is_unseen(slot) {
                // A provider that does not answer is asked again by its monitor.
                let _ = self.look(*slot).await;
            }
        });
        let mut looks: FuturesUnordered<_> = looks.collect();
        let mut until = self.board.clock().now() + CONFIRM_PATIENCE;
        let mut straggling = false;
        loop {
            if !straggling && self.has_seen_a_majority() {
                straggling = true;
                until = until.min(self.board.clock().now() + STRAGGLER_PATIENCE);
            }
            tokio::select! {
                looked = looks.next() => if looked.is_none() { return },
                () = tokio::time::sleep_until(until) => break,
            }
        }
        if straggling {
            // Nobody waits for them again: until they show who they are, they count for nothing.
            unseen.iter().for_each(|slot| self.board.state(*slot).lock().was_looked_at = true);
        }
    }

    fn has_seen_a_majority(&self) -> bool {
        let seen = |slot: &Slot| self.board.canary(*slot).is_some();
        self.fleet.slots().filter(seen).count() >= self.fleet.majority()
    }

    /// Tells whether the provider proves that it has been itself all the time since `asked`: what it said or
    /// took from then on, until now, is worth believing only then, since its bucket may have been swapped or
    /// wiped a moment ago, and refilled even.
    ///
    /// One that fails at once is asked once more: a connection that breaks says nothing.
    pub async fn confirm(&self, slot: Slot, asked: Instant) -> bool {
        let began = self.board.clock().now();
        match self.prove(slot, asked).await {
            Proof::Silent if began.elapsed() < CONFIRM_AGAIN_WITHIN => {
                tokio::time::sleep(CONFIRM_AGAIN_AFTER).await;
                self.prove(slot, asked).await == Proof::Same
            }
            Proof::Silent | Proof::Changed => false,
            Proof::Same => true,
        }
    }

    /// Tells whether a majority that lacks something proves to have been itself since it was asked.
    pub async fn is_proved_lacking(&self, lacking: &[Slot], asked: Instant) -> bool {
        if lacking.len() < self.fleet.majority() {
            return false;
        }
        let proofs = lacking.iter().map(|slot| self.confirm(*slot, asked));
        let proved = futures::future::join_all(proofs).await.into_iter().filter(|proved| *proved);
        proved.count() >= self.fleet.majority()
    }

    /// Looks at the provider's canary and compares it with the one of `asked`.
    ///
    /// Many callers at once share one look.
    pub async fn prove(&self, slot: Slot, asked: Instant) -> Proof {
        let since = self.board.clock().now();
        let _turn = self.looking[slot.0].lock().await;
        let (identity, failed_at) = {
            let state = self.board.state(slot).lock();
            (state.identity, state.failed_look_at)
        };
        if identity.was_seen_after(since) {
            return Proof::of(identity, asked);
        }
        // Who waited while another look failed has its answer too. One that is still under way has none: the
        // monitor's own looks take no turn.
        if failed_at.is_some_and(|at| at >= since) {
            return Proof::Silent;
        }
        let began = self.board.clock().now();
        match tokio::time::timeout(CONFIRM_PATIENCE, self.look(slot)).await {
            Ok(Ok(_)) => Proof::of(self.board.state(slot).lock().identity, asked),
            Ok(Err(_)) => Proof::Silent,
            Err(_) => {
                self.look_failed(slot, began);
                Proof::Silent
            }
        }
    }

    async fn probe_once(&self, slot: Slot) -> bool {
        if self.board.state(slot).lock().checksum.is_some() {
            return true;
        }
        let provider = self.fleet.get(slot);
        match provider.probe().await {
            Ok(report) => {
                info!(provider = %provider.id(), checksum = report.checksum, "the provider was probed");
                self.board.state(slot).lock().checksum = Some(report.checksum);
                true
            }
            Err(failure) => {
                warn!(provider = %provider.id(), %failure, "the provider cannot be probed");
                false
            }
        }
    }

    /// Probes the provider, unless its breaker has it wait; tells whether what was written came back.
    async fn probe(&self, slot: Slot) -> bool {
        let now = self.board.clock().now();
        if !self.board.state(slot).lock().breaker.is_probe_due(now) {
            return false;
        }
        let provider = self.fleet.get(slot);
        let probed = probe::run(provider.as_ref(), self.board.clock()).await;
        if let Err(failure) = &probed {
            // The calls of a probe do not know what it is about, and a body that stands still ends in no error.
            if matches!(failure.operation, Operation::Probe) {
                self.board.failed(slot, failure.kind, &failure.detail);
            }
            debug!(%failure, "a probe failed");
        }
        let outcome = probed.as_ref().map_err(|failure| (failure.kind, failure.detail.as_str()));
        self.board.probed(slot, outcome.copied());
        let sweep = {
            let mut swept = self.swept[slot.0].lock();
            let due = swept.is_none_or(|at| now.duration_since(at) >= SWEEP_EVERY);
            (due && probed.is_ok()).then(|| *swept = Some(now)).is_some()
        };
        if sweep {
            probe::sweep(provider.as_ref(), self.board.clock()).await;
        }
        probed.is_ok()
    }

    fn watch_clock(&self, slot: Slot) {
        let offset = self.fleet.get(slot).clock_offset_ms();
        let before = std::mem::replace(&mut self.board.state(slot).lock().clock_offset_ms, offset);
        let skewed = |offset: Option<i64>| offset.is_some_and(|offset| offset.abs() >= SKEW_WARNED_MS);
        if skewed(offset) && !skewed(before) {
            let detail = format!("its clock and ours differ by {} ms", offset.unwrap_or(0));
            warn!(provider = %self.fleet.id(slot), "{detail}");
            self.board.event(slot, EventKind::ClockSkew, detail);
        }
    }
}
