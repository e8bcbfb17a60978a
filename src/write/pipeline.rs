//! The pipeline of one write at one provider: parts → blocks → record → feed entry, in this order.
//!
//! Each step is retried while its failure may pass. The record waits for the word of the quorum. When its
//! items end before the block list came, the write was given up, and so is the pipeline.
//!
//! At the end the provider's canary must still be the one of the beginning. A provider that lost everything in
//! between has only what was stored later, whatever it confirmed before; where it was refilled meanwhile,
//! nothing else would tell. Such a copy does not count, and repair looks at it. The canary is looked at once a
//! majority has stored everything: the copies that are counted were all there at one moment.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::not_writable;
use crate::asset::{BlockList, Record, UploadId};
use crate::clock::Clock;
use crate::health::canary::CanaryState;
use crate::health::monitor::{Monitor, Proof};
use crate::provider::{ErrorKind, Payload, Provider, ProviderError, Slot};
use crate::replica::store;

/// Before the first retry of a step.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Before each later retry, at most.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How often a step is retried at most; the time is the tighter bound.
const RETRIES_MAX: usize = 50;

/// What a pipeline is given to store.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// The next part.
    Part { number: u32, payload: Payload, content_type: Arc<str> },
    /// The end of the bytes.
    End(Arc<BlockList>),
}

/// The record of a write, once a majority holds its bytes.
#[derive(Debug)]
pub(super) struct Commit {
    pub record: Arc<Record>,
    pub sealed: Bytes,
}

/// How far a pipeline came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// It stores bytes.
    Writing,
    /// It stored parts and blocks.
    BytesStored,
    /// It stored everything, and has yet to prove that it still holds that.
    Stored,
    /// It holds everything.
    Complete,
    /// It gave up.
    Failed(String),
    /// It stored everything, but the provider was wiped or swapped meanwhile: some of it may be gone.
    Torn(String),
}

/// What a pipeline needs.
pub(super) struct Pipeline {
    pub slot: Slot,
    pub provider: Arc<dyn Provider>,
    pub upload: UploadId,
    pub clock: Clock,
    pub monitor: Monitor,
    /// For how long a step is retried.
    pub retry_for: Duration,
    /// Whether the client waits for this copy.
    pub wait_all: bool,
    pub items: mpsc::Receiver<Item>,
    /// Dropped by its sender when the write is given up.
    pub commit: Option<oneshot::Receiver<Arc<Commit>>>,
    /// Told once a majority has stored everything; dropped by its sender when nobody waits for that any more.
    pub majority_stored: oneshot::Receiver<()>,
    pub progress: mpsc::Sender<(Slot, Progress)>,
}

impl Pipeline {
    /// Runs until everything is stored or the pipeline gives up.
    pub(super) async fn run(mut self) {
        if let Err(reason) = self.meet().await {
            let _ = self.progress.send((self.slot, Progress::Failed(reason))).await;
            return;
        }
        let (began, canary) = (self.clock.now(), self.canary());
        let end = match self.store().await {
            Ok(()) => {
                let _ = self.progress.send((self.slot, Progress::Stored)).await;
                // Where its sender is gone, nobody counts any more.
                let _ = (&mut self.majority_stored).await;
                self.prove(began, canary).await
            }
            Err(reason) => Progress::Failed(reason),
        };
        // Nobody listens any more only when the write was given up.
        let _ = self.progress.send((self.slot, end)).await;
    }

    /// Waits for the first look at the provider's canary where the client waits for this copy: a provider that was not
    /// there when this gateway started may be in a moment.
    async fn meet(&self) -> Result<(), String> {
        let (began, mut waits) = (self.clock.now(), self.waits().build());
        let until = began + self.retry_for;
        // Nobody sends items any more where the write was given up.
        while self.canary().is_none() && !self.items.is_closed() && self.clock.now() < until {
            // What it shows is on the board.
            let _ = tokio::time::timeout_at(until, self.monitor.look(self.slot)).await;
            if let Some(wait) = waits.next().filter(|_| self.canary().is_none()) {
                tokio::time::sleep_until((self.clock.now() + wait).min(until)).await;
            }
        }
        let writable = self.monitor.board().is_writable(self.slot);
        if writable { Ok(()) } else { Err(not_writable(self.provider.id())) }
    }

    async fn store(&mut self) -> Result<(), String> {
        self.store_bytes().await?;
        let _ = self.progress.send((self.slot, Progress::BytesStored)).await;
        let commit = match self.commit.take() {
            Some(commit) => commit.await.ok(),
            None => None,
        };
        let Some(commit) = commit else {
            return Err("the write was given up".to_owned());
        };
        let record = &commit.record;
        let (at, name) = (record.key(), record.name.hash());
        self.retry(|| store::record(self.provider.as_ref(), &at, &commit.sealed)).await?;
        self.retry(|| store::feed(self.provider.as_ref(), &self.clock, name, record.version, record.kind()))
            .await
    }

    fn canary(&self) -> Option<CanaryState> {
        self.monitor.board().canary(self.slot)
    }

    /// Compares the provider's canary with that of the beginning, or that it had none with that it has none: such a
    /// provider is about to be refilled.
    async fn prove(&self, began: Instant, canary: Option<CanaryState>) -> Progress {
        let (id, stored) = (self.provider.id(), self.clock.now());
        let mut waits = self.waits().build();
        loop {
            match self.monitor.prove(self.slot, began).await {
                Proof::Same => return Progress::Complete,
                Proof::Changed if canary == Some(CanaryState::Missing) && self.canary() == canary => {
                    return Progress::Complete;
                }
                Proof::Changed => return Progress::Torn(format!("{id} is not what it was at the beginning")),
                Proof::Silent => match waits.next().filter(|_| stored.elapsed() < self.retry_for) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Progress::Failed(format!("{id} did not prove itself")),
                },
            }
        }
    }

    async fn store_bytes(&mut self) -> Result<(), String> {
        while let Some(item) = self.items.recv().await {
            match item {
                Item::Part { number, payload, content_type } => {
                    let provider = self.provider.as_ref();
                    self.retry(|| store::part(provider, self.upload, number, &payload, &content_type))
                        .await?;
                }
                Item::End(list) => {
                    let provider = self.provider.as_ref();
                    return self.retry(|| store::blocks(provider, self.upload, &list)).await;
                }
            }
        }
        Err("the write was given up".to_owned())
    }

    async fn retry<F, Fut>(&self, step: F) -> Result<(), String>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<(), ProviderError>>,
    {
        let began = self.clock.now();
        step.retry(self.waits())
            // Time counts, not attempts: one that hangs for its whole deadline is the last.
            .when(|failure| self.may_pass(failure.kind) && began.elapsed() < self.retry_for)
            .adjust(|failure, wait| {
                wait.map(|wait| failure.retry_after.map_or(wait, |asked| asked.min(RETRY_MAX)))
            })
            .await
            .map_err(|failure| failure.to_string())
    }

    fn waits(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(RETRY_FIRST)
            .with_max_delay(RETRY_MAX)
            .with_max_times(RETRIES_MAX)
    }

    /// A client that waits for all copies waits for a bucket or a key to come back as well.
    fn may_pass(&self, kind: ErrorKind) -> bool {
        kind.is_retryable() || (self.wait_all && matches!(kind, ErrorKind::Denied | ErrorKind::NoContainer))
    }
}
