//! Flights: one upstream stream a stretch of blocks, whoever and however many read it.
//!
//! A flight runs by itself. It reads a block when a follower wants it, and one ahead; it holds the last few
//! for the others, and ends when nobody follows any more. Who began it does not matter: when that one leaves,
//! the others go on. A follower that falls behind what is held leaves, and looks into the cache or begins
//! another flight.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::attempt::Stage;
use super::upstream::Upstream;
use super::{Parts, ReadError};
use crate::asset::UploadId;

/// So many blocks are read before somebody wants them.
const AHEAD: u64 = 1;
/// So many blocks are held for a single follower, who may be joined.
const HELD_ALONE: usize = 4;
/// So many blocks are held for several followers: 2 MiB, for as long as they differ.
const HELD_SHARED: usize = 32;
/// After so long without a wish the connection to the provider is closed; a slow client costs none.
const REST_AFTER: Duration = Duration::from_secs(20);

/// The flights of a gateway, by upload.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<UploadId, Vec<Arc<Flight>>>>);

/// One stream of blocks and those who follow it.
#[derive(Debug)]
struct Flight {
    end: u64,
    /// That of who began it.
    stage: Stage,
    state: Mutex<State>,
    /// Told to the followers: something changed.
    progress: Notify,
    /// Told to the flight: somebody wants a block, or left.
    demand: Notify,
}

#[derive(Debug)]
struct State {
    /// The number of the first block that is held.
    base: u64,
    held: VecDeque<Bytes>,
    /// Blocks below this number are wanted.
    wanted: u64,
    followers: usize,
    ended: Option<Result<(), ReadError>>,
}

/// What a follower gets.
#[derive(Debug)]
pub(super) enum Step {
    Block(Bytes),
    /// The block is not held any more, or lies behind the end of the flight.
    Left,
    Failed(ReadError),
}

/// One who follows a flight.
#[derive(Debug)]
pub(super) struct Follower {
    flight: Arc<Flight>,
}

impl Flights {
    /// Joins a flight that is at the first of `blocks` now, or begins one.
    pub(super) fn join(
        self: &Arc<Self>,
        parts: &Arc<Parts>,
        upload: UploadId,
        blocks: Range<u64>,
        stage: Stage,
        begin: impl FnOnce() -> Upstream,
    ) -> Follower {
        let mut flights = self.0.lock();
        let under_way = flights.entry(upload).or_default();
        if let Some(flight) = under_way.iter().find(|flight| flight.is_at(blocks.start)) {
            return Follower::of(flight);
        }
        let flight = Arc::new(Flight::new(&blocks, stage));
        under_way.push(flight.clone());
        let follower = Follower::of(&flight);
        let flying = fly(self.clone(), parts.clone(), upload, flight, begin());
        drop(parts.tasks.spawn("flight", flying));
        follower
    }

    /// Takes a flight out, unless somebody joined it just now; tells whether it is out.
    fn retire(&self, upload: UploadId, flight: &Arc<Flight>) -> bool {
        let mut flights = self.0.lock();
        if flight.state.lock().followers > 0 {
            return false;
        }
        Self::remove(&mut flights, upload, flight);
        true
    }

    fn end(&self, upload: UploadId, flight: &Arc<Flight>, result: Result<(), ReadError>) {
        Self::remove(&mut self.0.lock(), upload, flight);
        flight.state.lock().ended = Some(result);
        flight.progress.notify_waiters();
    }

    fn remove(flights: &mut HashMap<UploadId, Vec<Arc<Flight>>>, upload: UploadId, flight: &Arc<Flight>) {
        if let Some(under_way) = flights.get_mut(&upload) {
            under_way.retain(|other| !Arc::ptr_eq(other, flight));
            if under_way.is_empty() {
                flights.remove(&upload);
            }
        }
    }
}

/// Flies until the end, a failure, or nobody follows.
async fn fly(
    flights: Arc<Flights>,
    parts: Arc<Parts>,
    upload: UploadId,
    flight: Arc<Flight>,
    mut upstream: Upstream,
) {
    while upstream.next() < flight.end {
        let read = async {
            flight.is_wanted(&mut upstream).await;
            upstream.next_block().await
        };
        let block = tokio::select! {
            biased;
            block = read => block,
            () = flight.is_abandoned() => {
                if flights.retire(upload, &flight) {
                    return;
                }
                continue;
            }
        };
        match block {
            Ok(block) => {
                parts.keep(&upstream, upload, &block);
                flight.deliver(block);
            }
            Err(error) => return flights.end(upload, &flight, Err(error)),
        }
    }
    flights.end(upload, &flight, Ok(()));
}

impl Flight {
    fn new(blocks: &Range<u64>, stage: Stage) -> Self {
        let state = State {
            base: blocks.start,
            held: VecDeque::new(),
            wanted: blocks.start,
            followers: 0,
            ended: None,
        };
        Self {
            end: blocks.end,
            stage,
            state: Mutex::new(state),
            progress: Notify::new(),
            demand: Notify::new(),
        }
    }

    /// Tells whether a follower that wants block `index` next is served from here soonest.
    fn is_at(&self, index: u64) -> bool {
        let state = self.state.lock();
        let next = state.base + state.held.len() as u64;
        state.ended.is_none() && index < self.end && (state.base..=next + AHEAD).contains(&index)
    }

    /// Waits until the next block is wanted; a long wait closes the connection.
    async fn is_wanted(&self, upstream: &mut Upstream) {
        while upstream.next() >= self.state.lock().wanted + AHEAD {
            if tokio::time::timeout(REST_AFTER, self.demand.notified()).await.is_err() {
                upstream.rest();
            }
        }
    }

    /// Waits until nobody follows.
    async fn is_abandoned(&self) {
        loop {
            // What changes after the look is told to who waits from before it.
            let changed = self.progress.notified();
            if self.state.lock().followers == 0 {
                return;
            }
            changed.await;
        }
    }

    fn deliver(&self, block: Bytes) {
        {
            let mut state = self.state.lock();
            state.held.push_back(block);
            let held_max = if state.followers > 1 { HELD_SHARED } else { HELD_ALONE };
            while state.held.len() > held_max {
                state.held.pop_front();
                state.base += 1;
            }
        }
        self.progress.notify_waiters();
    }

    /// Returns what there is for a follower that wants `index`; else it is noted as wanted.
    fn take(&self, index: u64) -> Option<Step> {
        let mut state = self.state.lock();
        let Some(offset) = index.checked_sub(state.base) else { return Some(Step::Left) };
        let held = usize::try_from(offset).ok().and_then(|offset| state.held.get(offset)).cloned();
        state.wanted = state.wanted.max(index + 1);
        if held.is_none() && state.ended.is_none() {
            drop(state);
            self.demand.notify_one();
            return None;
        }
        let ended = state.ended.clone();
        drop(state);
        if ended.is_none() {
            // The one after it is read while this one is on its way to the client.
            self.demand.notify_one();
        }
        match (held, ended) {
            (Some(block), _) => Some(Step::Block(block)),
            (None, Some(Err(error))) => Some(Step::Failed(error)),
            (None, _) => Some(Step::Left),
        }
    }
}

impl Follower {
    fn of(flight: &Arc<Flight>) -> Self {
        flight.state.lock().followers += 1;
        Self { flight: flight.clone() }
    }

    /// Returns the stage at which the flight began: one before a body gives up sooner.
    pub(super) fn stage(&self) -> Stage {
        self.flight.stage
    }

    /// Waits for block `index`.
    pub(super) async fn block(&self, index: u64) -> Step {
        loop {
            let changed = self.flight.progress.notified();
            if let Some(step) = self.flight.take(index) {
                return step;
            }
            changed.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let left = {
            let mut state = self.flight.state.lock();
            state.followers -= 1;
            state.followers
        };
        if left == 0 {
            self.flight.progress.notify_waiters();
        }
    }
}
