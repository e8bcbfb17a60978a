//! The monitor: looks at each provider's canary, and finds out how uploads are protected.
//!
//! 1. Look at the canary: every 20 s while all is well, after 1 s and then ever less often while it is not.
//! 2. A look that succeeds says who the provider is; one that fails says nothing of that, and its error was
//!    observed like that of any call.
//! 3. A provider that is not foreign and was not probed yet is probed, with objects that are removed again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Board;
use super::canary::{self, CanaryState};
use crate::asset::RecordKey;
use crate::provider::{Fleet, ProviderError, Slot};
use crate::telemetry::EventKind;

/// Between two looks at a provider that is well.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Before the first new look at one that is not; doubled each time.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// Between two looks at one that is not, at most.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(8);
/// How long one look may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a proof of identity may take that an answer waits for.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(2);
/// A difference of clocks, in milliseconds, that is worth a warning.
const SKEW_WARNED_MS: i64 = 5_000;

/// Looks at canaries; cheap to clone.
#[derive(Debug, Clone)]
pub struct Monitor {
    fleet: Fleet,
    board: Board,
    key: RecordKey,
    looking: Arc<Vec<AsyncMutex<()>>>,
    suspects: Arc<Vec<Notify>>,
}

impl Monitor {
    /// Watches `fleet` for `board`.
    pub fn new(fleet: Fleet, board: Board, key: RecordKey) -> Self {
        let looking = Arc::new(fleet.slots().map(|_| AsyncMutex::new(())).collect());
        let suspects = Arc::new(fleet.slots().map(|_| Notify::new()).collect());
        Self { fleet, board, key, looking, suspects }
    }

    /// Returns the board.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Has the provider's canary looked at soon, without waiting for it: it says "missing" of something that it
    /// should have, so it may have been wiped. At most one look a second comes of this.
    pub fn suspect(&self, slot: Slot) {
        self.suspects[slot.0].notify_one();
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
            wait = match (well, wait == LOOK_EVERY) {
                (true, _) => LOOK_EVERY,
                (false, true) => LOOK_SOON,
                (false, false) => (wait * 2).min(LOOK_AGAIN_MAX),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.suspected(slot) => {}
            }
        }
    }

    /// Waits until the provider is suspected, and the last look is a while ago.
    async fn suspected(&self, slot: Slot) {
        self.suspects[slot.0].notified().await;
        let looked_at = self.board.state(slot).lock().looked_at;
        if let Some(at) = looked_at {
            tokio::time::sleep_until(at + LOOK_SOON).await;
        }
    }

    /// Looks once and probes if need be; tells whether the provider is well.
    pub async fn step(&self, slot: Slot) -> bool {
        let looked = self.look(slot).await;
        self.watch_clock(slot);
        match looked {
            Ok(CanaryState::Ours) => self.probe_once(slot).await,
            Ok(CanaryState::Missing) => {
                self.probe_once(slot).await;
                false
            }
            Ok(CanaryState::Foreign) | Err(_) => false,
        }
    }

    /// Looks at the canary now.
    ///
    /// # Errors
    ///
    /// The provider did not answer in time.
    pub async fn look(&self, slot: Slot) -> Result<CanaryState, ProviderError> {
        let provider = self.fleet.get(slot);
        let began = self.board.0.clock.now();
        self.board.state(slot).lock().looked_at = Some(began);
        let looking = canary::look(provider.as_ref(), &self.key);
        let looked = tokio::time::timeout(LOOK_PATIENCE, looking).await.unwrap_or_else(|_| {
            use crate::provider::{ErrorKind, Operation};
            let detail = "no canary in time";
            self.board.failed(slot, ErrorKind::Timeout, detail);
            Err(ProviderError::new(provider.id(), Operation::Get, ErrorKind::Timeout).with_detail(detail))
        });
        self.board.state(slot).lock().was_looked_at = true;
        let state = looked?;
        self.board.looked(slot, state, began, self.board.0.clock.now().duration_since(began));
        Ok(state)
    }

    /// Waits a moment for providers that nobody has looked at since the start: until then nobody knows whose
    /// word counts, and who may be written to.
    pub async fn first_looks(&self) {
        let unseen = |slot: &Slot| !self.board.state(*slot).lock().was_looked_at;
        let unseen: Vec<_> = self.fleet.slots().filter(unseen).collect();
        let looks = unseen.into_iter().map(async |slot| {
            let _turn = self.looking[slot.0].lock().await;
            if !self.board.state(slot).lock().was_looked_at {
                // A provider that does not answer is asked again by its monitor.
                let _ = self.look(slot).await;
            }
        });
        let _ = tokio::time::timeout(CONFIRM_PATIENCE, futures::future::join_all(looks)).await;
    }

    /// Tells whether the provider proves to be itself *after* `since`: a negative that it gave before is
    /// worth believing only then, since its bucket may have been swapped a moment ago.
    ///
    /// Many callers at once share one look.
    pub async fn confirm(&self, slot: Slot, since: Instant) -> bool {
        let _turn = self.looking[slot.0].lock().await;
        let (state, at, looked_at) = {
            let state = self.board.state(slot).lock();
            (state.canary, state.canary_at, state.looked_at)
        };
        if at.is_some_and(|at| at > since) {
            return state == Some(CanaryState::Ours);
        }
        // Who waited while another look failed has its answer too.
        if looked_at.is_some_and(|at| at > since) {
            return false;
        }
        let looked = tokio::time::timeout(CONFIRM_PATIENCE, self.look(slot)).await;
        looked.is_ok_and(|looked| looked.is_ok_and(|state| state == CanaryState::Ours))
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
