//! The quorum of one write: all pipelines together, and whether enough of them hold the version.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::pipeline::{Commit, Item, Pipeline, Progress};
use super::{CopyState, Parts, not_writable};
use crate::asset::UploadId;
use crate::provider::{ProviderId, Slot};

/// How many parts wait at one provider, beside the one on its way, the one being handed over and the one
/// being filled: together four parts of 8 MiB, shared by all providers, are the memory of one write.
const PARTS_WAITING: usize = 1;
/// A provider that cannot take a part this long after a majority took it is hopelessly behind.
const LAG_PATIENCE: Duration = Duration::from_secs(5);
/// For how long one step at one provider is retried.
const RETRY_FOR: Duration = Duration::from_secs(3);
/// Both when the client waits for all copies.
const PATIENCE_FOR_ALL: Duration = Duration::from_secs(28);

/// No majority can hold the version any more, or not in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QuorumLost(pub String);

/// All pipelines of one write.
pub(super) struct Quorum {
    majority: usize,
    /// How long one that is behind is waited for.
    lag_patience: Duration,
    /// When the whole body was there, and how long the write may take from then on.
    arrived: Option<(Instant, Duration)>,
    lanes: Vec<Lane>,
    events: mpsc::Receiver<(Slot, Progress)>,
    /// How many parts were handed out.
    pub parts: u32,
}

struct Lane {
    slot: Slot,
    id: ProviderId,
    items: Option<mpsc::Sender<Item>>,
    /// Lets the record go out.
    commit: Option<oneshot::Sender<Arc<Commit>>>,
    /// Lets it prove that what it stored is still there.
    majority_stored: Option<oneshot::Sender<()>>,
    progress: Progress,
    /// Ends the pipeline at once; a request that is under way may still take effect.
    abort: Option<AbortHandle>,
}

impl Quorum {
    /// Starts a pipeline at every provider that may be written to.
    pub(super) fn start(parts: &Parts, upload: UploadId, wait_all: bool) -> Self {
        let (progress, events) = mpsc::channel(parts.fleet.len() * 4);
        let (retry_for, lag_patience) = match wait_all {
            true => (PATIENCE_FOR_ALL, PATIENCE_FOR_ALL.min(parts.patience)),
            false => (RETRY_FOR, LAG_PATIENCE),
        };
        let lanes = parts
            .fleet
            .iter()
            .map(|(slot, provider)| {
                let id = provider.id().clone();
                let board = parts.monitor.board();
                let unseen = wait_all && board.canary(slot).is_none();
                if !unseen && !board.is_writable(slot) {
                    let progress = Progress::Failed(not_writable(&id));
                    let (items, commit, majority_stored, abort) = (None, None, None, None);
                    return Lane { slot, id, items, commit, majority_stored, progress, abort };
                }
                let (sender, items) = mpsc::channel(PARTS_WAITING);
                let (commit, record) = oneshot::channel();
                let (majority_stored, stored) = oneshot::channel();
                let pipeline = Pipeline {
                    slot,
                    provider: provider.clone(),
                    upload,
                    clock: parts.clock.clone(),
                    monitor: parts.monitor.clone(),
                    retry_for,
                    wait_all,
                    items,
                    commit: Some(record),
                    majority_stored: stored,
                    progress: progress.clone(),
                };
                let abort = Some(parts.tasks.spawn("pipeline", pipeline.run()).abort_handle());
                Lane {
                    slot,
                    id,
                    items: Some(sender),
                    commit: Some(commit),
                    majority_stored: Some(majority_stored),
                    progress: Progress::Writing,
                    abort,
                }
            })
            .collect();
        Self { majority: parts.fleet.majority(), lag_patience, arrived: None, lanes, events, parts: 0 }
    }

    /// Takes note that the body is all there, which leaves `patience` for all the rest.
    pub(super) fn body_arrived(&mut self, at: Instant, patience: Duration) {
        self.arrived = Some((at, patience));
    }

    /// Returns when one is given up that cannot take what a majority took by `now`: in time for the record.
    fn lags_until(&self, now: Instant) -> Instant {
        let Some((arrived, patience)) = self.arrived else { return now + self.lag_patience };
        let longer = (now + LAG_PATIENCE).max(arrived + patience / 2);
        (now + self.lag_patience).min(longer).min(arrived + patience * 3 / 4)
    }

    /// Hands an item to all pipelines; waits until they can take it, for those behind only so long.
    pub(super) async fn send(&mut self, item: &Item) -> Result<(), QuorumLost> {
        if matches!(item, Item::Part { .. }) {
            self.parts += 1;
        }
        let mut sends: FuturesUnordered<_> = self
            .lanes
            .iter()
            .filter_map(|lane| Some((lane.slot, lane.items.clone()?)))
            .map(|(slot, items)| {
                let item = item.clone();
                async move { (slot, items.send(item).await.is_ok()) }
            })
            .collect();
        let mut took = Vec::new();
        // Where no majority can take it, the time of the whole write is the limit.
        let mut give_up_at = self.arrived.map(|(arrived, patience)| arrived + patience);
        let mut is_taken = false;
        loop {
            let give_up = async {
                match give_up_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                sent = sends.next() => match sent {
                    Some((slot, true)) => took.push(slot),
                    Some((_, false)) => {}
                    None => break,
                },
                () = give_up => break,
            }
            if took.len() >= self.majority && !is_taken {
                (is_taken, give_up_at) = (true, Some(self.lags_until(Instant::now())));
            }
        }
        drop(sends);
        // Closing its items makes a pipeline that is behind give up; repair makes that copy.
        self.lanes.iter_mut().filter(|lane| !took.contains(&lane.slot)).for_each(|lane| lane.items = None);
        if took.len() >= self.majority { Ok(()) } else { Err(self.lost()) }
    }

    /// Waits until a majority holds the bytes.
    pub(super) async fn bytes_stored(&mut self, deadline: Instant) -> Result<(), QuorumLost> {
        let holds_bytes = |progress: &Progress| {
            matches!(progress, Progress::BytesStored | Progress::Stored | Progress::Complete)
        };
        self.wait(deadline, holds_bytes).await
    }

    /// Lets the record go out, and waits until a majority holds everything.
    pub(super) async fn complete(
        &mut self,
        commit: Arc<Commit>,
        deadline: Instant,
    ) -> Result<(), QuorumLost> {
        for lane in &mut self.lanes {
            // A pipeline that has failed takes it no more.
            let _ = lane.commit.take().map(|lane| lane.send(commit.clone()));
        }
        self.wait(deadline, |progress| *progress == Progress::Complete).await
    }

    /// Waits until every pipeline has ended.
    pub(super) async fn settled(&mut self, deadline: Instant) {
        while self.lanes.iter().any(|lane| !is_settled(&lane.progress)) && self.next(deadline).await {}
    }

    /// Gives the write up at every provider that is not done: no further request is sent, and those under way
    /// may end until `deadline`, so that what they store can be removed.
    pub(super) async fn give_up(&mut self, deadline: Instant) {
        self.lanes.iter_mut().for_each(|lane| {
            (lane.items, lane.commit, lane.majority_stored) = (None, None, None);
        });
        self.settled(deadline).await;
        self.drop_lanes(|_| true);
        // What ended a moment ago has its say.
        while self.next(Instant::now()).await {}
    }

    /// Ends the pipelines that are not done at the providers that `is_hopeless` names.
    pub(super) fn drop_lanes(&mut self, is_hopeless: impl Fn(Slot) -> bool) {
        let running = self.lanes.iter_mut().filter(|lane| !is_settled(&lane.progress));
        for lane in running.filter(|lane| is_hopeless(lane.slot)) {
            lane.items = None;
            lane.abort.take().iter().for_each(AbortHandle::abort);
            lane.progress = Progress::Failed(format!("{} was given up", lane.id));
        }
    }

    /// Returns the providers that are still being written to.
    pub(super) fn pending(&self) -> Vec<Slot> {
        let pending = self.lanes.iter().filter(|lane| !is_settled(&lane.progress));
        pending.map(|lane| lane.slot).collect()
    }

    /// Returns the providers that hold everything.
    pub(super) fn holders(&self) -> Vec<Slot> {
        let complete = self.lanes.iter().filter(|lane| lane.progress == Progress::Complete);
        complete.map(|lane| lane.slot).collect()
    }

    /// Returns the providers that confirmed everything and may have lost some of it since.
    pub(super) fn torn(&self) -> Vec<Slot> {
        let torn = self.lanes.iter().filter(|lane| matches!(lane.progress, Progress::Torn(_)));
        torn.map(|lane| lane.slot).collect()
    }

    /// Returns the state of each copy, in the order of the configuration.
    pub(super) fn copies(&self) -> Vec<(ProviderId, CopyState)> {
        let state = |progress: &Progress| match progress {
            Progress::Complete => CopyState::Stored,
            Progress::Writing | Progress::BytesStored | Progress::Stored => CopyState::Pending,
            Progress::Failed(_) | Progress::Torn(_) => CopyState::Failed,
        };
        self.lanes.iter().map(|lane| (lane.id.clone(), state(&lane.progress))).collect()
    }

    async fn wait(&mut self, deadline: Instant, good: fn(&Progress) -> bool) -> Result<(), QuorumLost> {
        loop {
            let reached = self.lanes.iter().filter(|lane| good(&lane.progress)).count();
            let failed = self.lanes.iter().filter(|lane| is_failure(&lane.progress)).count();
            if reached >= self.majority {
                return Ok(());
            }
            if self.lanes.len() - failed < self.majority || !self.next(deadline).await {
                return Err(self.lost());
            }
        }
    }

    /// Takes the next event; `false` when the time is up or no pipeline is left.
    async fn next(&mut self, deadline: Instant) -> bool {
        match tokio::time::timeout_at(deadline, self.events.recv()).await {
            Ok(Some((slot, progress))) => {
                let lane = &mut self.lanes[slot.0];
                // A lane that was given up stays so, unless it had just made it.
                if !is_settled(&lane.progress) || progress == Progress::Complete {
                    lane.progress = progress;
                }
                let has_stored =
                    |lane: &&Lane| matches!(lane.progress, Progress::Stored | Progress::Complete);
                if self.lanes.iter().filter(has_stored).count() >= self.majority {
                    // One that has failed takes it no more.
                    let told =
                        self.lanes.iter_mut().filter_map(|lane| lane.majority_stored.take()?.send(()).ok());
                    told.for_each(drop);
                }
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    fn lost(&self) -> QuorumLost {
        let states = self.lanes.iter().map(|lane| match &lane.progress {
            Progress::Failed(reason) | Progress::Torn(reason) => reason.clone(),
            Progress::Writing => format!("{} is slow", lane.id),
            Progress::BytesStored | Progress::Stored | Progress::Complete => format!("{} is fine", lane.id),
        });
        QuorumLost(states.collect::<Vec<_>>().join("; "))
    }
}

fn is_settled(progress: &Progress) -> bool {
    *progress == Progress::Complete || is_failure(progress)
}

fn is_failure(progress: &Progress) -> bool {
    matches!(progress, Progress::Failed(_) | Progress::Torn(_))
}
