//! Turns: work in the background takes turns with the requests of clients.
//!
//! * No client for a while: work goes on at full speed, a few pieces at the same time, without a rest.
//! * Clients: work goes in shifts, and all of it rests between them (`gate`). How many pieces go on at once and
//!   how long a rest is follows from what clients feel (`felt`, `regulator`): reads that began in a shift are
//!   held against those that began in a rest. So the baseline is never older than a few seconds.
//!
//! A piece is a small copy, or one part of a large one. A turn is taken before a piece begins and given back at its
//! end, so no request to a provider is under way in a rest. What spills over from a shift into the rest, such
//! as a disk that is still writing, makes the baseline worse and is not seen.

mod felt;
mod gate;
mod regulator;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::gate::{Entry, Gate};
use self::regulator::Regulator;
use crate::asset::BLOCK_BYTES;
use crate::clock::Clock;

pub use self::felt::Toll;
pub use self::gate::AT_ONCE_MAX;

/// After so long without a request of a client there is none.
const QUIET_AFTER: Duration = Duration::from_secs(5);

/// Nothing of the work that yields is going on.
const OFF: u64 = 0;
/// A shift is under way.
const SHIFT: u64 = 1;
/// Work rests.
const REST: u64 = 2;

/// Takes turns with clients; all clones are one.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    start: Instant,
    /// When a client last wanted something, in milliseconds from the start; 0 is never.
    client_at_ms: AtomicU64,
    /// [`OFF`], [`SHIFT`] or [`REST`], kept beside the lock for reads.
    phase: AtomicU64,
    state: Mutex<State>,
    /// Told whenever a piece ends.
    left: Notify,
}

#[derive(Debug)]
struct State {
    gate: Gate,
    regulator: Regulator,
}

/// How work goes on just now.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Pacing {
    /// Whether work yields to clients, because there are some.
    pub yielding: bool,
    /// How many copies are made at the same time at most.
    pub copies_at_once: usize,
    /// How long a rest is at most, as a multiple of the work before it; 0 without clients.
    pub rest_factor: f64,
    /// What clients have felt of it since the start, once there were reads enough.
    pub toll: Option<Toll>,
}

impl Turns {
    /// Starts without clients.
    pub fn new(clock: Clock) -> Self {
        let state = Mutex::new(State { gate: Gate::default(), regulator: Regulator::new() });
        Self(Arc::new(Inner {
            start: clock.now(),
            clock,
            client_at_ms: AtomicU64::new(0),
            phase: AtomicU64::new(OFF),
            state,
            left: Notify::new(),
        }))
    }

    /// Takes note that a client wants something just now.
    pub fn client(&self) {
        self.note_client(self.0.clock.now());
    }

    /// Begins to time what a client feels: the wait for the first block of a read.
    pub fn begin_read(&self) -> FeltRead<'_> {
        let began = self.0.clock.now();
        self.note_client(began);
        FeltRead { turns: self, began, phase: self.0.phase.load(Ordering::Relaxed) }
    }

    /// Waits until a piece of work may begin.
    ///
    /// # Cancellation
    ///
    /// A dropped future holds nothing up.
    pub async fn enter(&self) -> Turn {
        self.wait().await;
        Turn { turns: self.clone(), bytes: AtomicU64::new(0), working: AtomicBool::new(true) }
    }

    /// Tells how work goes on.
    pub fn pacing(&self) -> Pacing {
        let yielding = self.has_clients(self.0.clock.now());
        let state = self.0.state.lock();
        let (pacing, toll) = (state.regulator.pacing(), state.regulator.felt.toll());
        if !yielding {
            return Pacing { yielding, copies_at_once: AT_ONCE_MAX, rest_factor: 0.0, toll };
        }
        let rest_factor = (pacing.rest_factor * 100.0).round() / 100.0;
        Pacing { yielding, copies_at_once: pacing.at_once, rest_factor, toll }
    }

    async fn wait(&self) {
        loop {
            let left = self.0.left.notified();
            tokio::pin!(left);
            // Whatever ends after the look is told to who waits from before it.
            left.as_mut().enable();
            match self.try_enter() {
                Entry::Now => return,
                Entry::Later => left.await,
                Entry::At(until) => tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = left => {}
                },
            }
        }
    }

    fn try_enter(&self) -> Entry {
        let now = self.0.clock.now();
        let clients = self.has_clients(now);
        let mut state = self.0.state.lock();
        let pacing = state.regulator.pacing();
        let entry = state.gate.enter(clients, pacing, now);
        self.show(&state, now);
        entry
    }

    fn leave(&self, bytes: u64) {
        let now = self.0.clock.now();
        let clients = self.has_clients(now);
        {
            let mut state = self.0.state.lock();
            let pacing = state.regulator.pacing();
            let blocks = bytes.div_ceil(BLOCK_BYTES as u64);
            if let Some(shift) = state.gate.leave(blocks, clients, pacing, now) {
                state.regulator.shift(shift.worked, shift.rest, shift.blocks);
            }
            self.show(&state, now);
        }
        self.0.left.notify_waiters();
    }

    /// Shows reads what they begin in.
    fn show(&self, state: &State, now: Instant) {
        let phase = match (state.gate.is_busy(), state.gate.is_resting(now)) {
            (true, _) => SHIFT,
            (false, true) => REST,
            (false, false) => OFF,
        };
        self.0.phase.store(phase, Ordering::Relaxed);
    }

    fn note_client(&self, now: Instant) {
        let ms = u64::try_from(now.duration_since(self.0.start).as_millis()).unwrap_or(u64::MAX);
        self.0.client_at_ms.store(ms.max(1), Ordering::Relaxed);
    }

    fn has_clients(&self, now: Instant) -> bool {
        let at = self.0.client_at_ms.load(Ordering::Relaxed);
        at > 0 && now.duration_since(self.0.start) < Duration::from_millis(at) + QUIET_AFTER
    }
}

/// A read whose first block is waited for.
#[derive(Debug)]
#[must_use = "what is not ended is not counted"]
pub struct FeltRead<'a> {
    turns: &'a Turns,
    began: Instant,
    phase: u64,
}

impl FeltRead<'_> {
    /// Takes note that the first block came. Costs no lock while there is nothing to yield.
    pub fn end(self) {
        if self.phase == OFF {
            return;
        }
        let inner = &self.turns.0;
        let now = inner.clock.now();
        let mut state = inner.state.lock();
        state.regulator.felt.note(self.phase == SHIFT, now.duration_since(self.began));
        // After the last piece nobody comes to end the rest.
        self.turns.show(&state, now);
    }
}

/// The right to work on one piece, given back when it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    /// What was read in this piece.
    bytes: AtomicU64,
    /// Not while it waits between two pieces.
    working: AtomicBool,
}

impl Turn {
    /// Takes note of work that was done.
    pub fn did(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends one piece of a longer work, and waits until the next may begin.
    pub async fn pause(&self) {
        self.leave();
        // Whoever waits comes first: a long work must not keep short ones waiting to its end.
        tokio::task::yield_now().await;
        self.turns.wait().await;
        self.working.store(true, Ordering::Relaxed);
    }

    fn leave(&self) {
        if self.working.swap(false, Ordering::Relaxed) {
            self.turns.leave(self.bytes.swap(0, Ordering::Relaxed));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
