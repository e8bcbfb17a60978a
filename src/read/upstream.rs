//! The verified blocks of one version, in order, from one provider after another.
//!
//! 1. The plan's best candidate is raced by the others to the first verified block ([`attempt`]).
//! 2. The winner's stream goes on. An error, a body that ends early or a bad block hands over at that block.
//! 3. A stream that stands still, or crawls while others are faster, is raced by the others, and left only when
//!    one of them delivers: it may be our own line that is slow.
//! 4. When nobody delivers, all are asked again a few times, with growing pauses; then the body cannot go on.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use super::attempt::{self, Attempt, BlockStream, NoBlock, Stage};
use super::ledger::{self, Rescued};
use super::{Blob, Parts, ReadError};
use crate::asset::{BLOCK_BYTES, BlockList};
use crate::provider::race::FORCED_AFTER;
use crate::provider::{ErrorKind, Slot};
use crate::telemetry::EventKind;

/// Before each further round through all candidates while nothing was sent yet: the client may ask again.
const FIRST_ROUND_WAITS: &[Duration] = &[Duration::from_millis(100), Duration::from_millis(400)];
/// The same in mid-body, where giving up resets the response.
const ROUND_WAITS: &[Duration] =
    &[Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];
/// After so long a wait on a provider its rate is looked at.
const RATE_LOOK_AFTER: Duration = Duration::from_secs(1);
/// A body below this rate, in bytes a second, is raced by others that are faster: 64 KiB in 62 ms.
const RATE_MIN: f64 = 1024.0 * 1024.0;
/// So many times faster must another provider have been lately.
const RATE_RATIO: f64 = 4.0;

/// An open stream at one provider.
struct Source {
    slot: Slot,
    stream: BlockStream,
    stall_after: Duration,
    /// Bytes that came since the rate was looked at, and how long they were waited for.
    bytes: u64,
    waited: Duration,
    /// The rate was too low.
    crawls: bool,
}

/// How a race against a slow stream ended.
enum Raced {
    SlowWent(Bytes),
    Other(Bytes),
}

/// The verified blocks of one version on their way.
pub(super) struct Upstream {
    parts: Arc<Parts>,
    blob: Blob,
    list: Option<Arc<BlockList>>,
    blocks: Range<u64>,
    next: u64,
    stage: Stage,
    source: Option<Source>,
}

impl Upstream {
    /// Starts before the first of `blocks`; nobody is asked yet.
    pub(super) fn new(parts: Arc<Parts>, blob: Blob, blocks: Range<u64>, stage: Stage) -> Self {
        Self { parts, blob, list: None, next: blocks.start, blocks, stage, source: None }
    }

    /// Returns the number of the next block.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Returns the proved block list, once a block was read.
    pub(super) fn list(&self) -> Option<&Arc<BlockList>> {
        self.list.as_ref()
    }

    /// Closes the connection; the next block opens another one.
    pub(super) fn rest(&mut self) {
        self.source = None;
    }

    /// Returns the next block; there must be one.
    ///
    /// # Cancellation
    ///
    /// A dropped future loses its connection, not its place.
    pub(super) async fn next_block(&mut self) -> Result<Bytes, ReadError> {
        let block = match self.source.take() {
            Some(source) => self.go_on(source).await?,
            None => self.open(None).await?,
        };
        self.next += 1;
        self.stage = Stage::MidBody;
        Ok(block)
    }

    async fn go_on(&mut self, mut source: Source) -> Result<Bytes, ReadError> {
        let began = self.parts.clock.now();
        let patience = if source.crawls { Duration::ZERO } else { source.stall_after };
        let (cause, reason) = match tokio::time::timeout(patience, source.stream.next()).await {
            Ok(Some(Ok(block))) => {
                self.keep(source, &block, began);
                return Ok(block);
            }
            Ok(Some(Err(error))) => {
                attempt::fault(&self.parts, &self.blob, source.slot, &error).await;
                (ledger::cause_of(&error), error.to_string())
            }
            Ok(None) => (ErrorKind::Protocol.as_str(), "the body ended early".to_owned()),
            Err(_) => return self.race_slow(source, began).await,
        };
        let from = source.slot;
        drop(source);
        self.parts.budget.spend();
        let block = self.open(Some(from)).await?;
        self.tell(from, cause, began, &reason);
        Ok(block)
    }

    /// Takes note of a block that came, and of the rate at which they come.
    fn keep(&mut self, mut source: Source, block: &Bytes, began: tokio::time::Instant) {
        let (bytes, waited) = (block.len() as u64, began.elapsed());
        self.parts.monitor.board().block(source.slot, bytes, waited);
        source.bytes += bytes;
        source.waited += waited;
        source.crawls = false;
        if source.waited >= RATE_LOOK_AFTER {
            let rate = source.bytes as f64 / source.waited.as_secs_f64();
            source.crawls = rate < RATE_MIN && self.is_faster_elsewhere(source.slot, rate);
            (source.bytes, source.waited) = (0, Duration::ZERO);
        }
        self.source = Some(source);
    }

    fn is_faster_elsewhere(&self, than: Slot, rate: f64) -> bool {
        let board = self.parts.monitor.board();
        let others = self.parts.fleet.slots().filter(|slot| *slot != than && board.is_healthy(*slot));
        // One that was never measured is worth a try.
        others.into_iter().any(|slot| board.throughput(slot).is_none_or(|other| other > rate * RATE_RATIO))
    }

    /// Asks the others too while a stream stands still or crawls.
    async fn race_slow(
        &mut self,
        mut source: Source,
        began: tokio::time::Instant,
    ) -> Result<Bytes, ReadError> {
        if !self.parts.budget.try_spend() {
            let forced = began + FORCED_AFTER;
            if let Ok(Some(Ok(block))) = tokio::time::timeout_at(forced, source.stream.next()).await {
                self.keep(source, &block, began);
                return Ok(block);
            }
            self.parts.budget.spend();
        }
        let slot = source.slot;
        let raced = tokio::select! {
            biased;
            Some(Ok(block)) = source.stream.next() => Raced::SlowWent(block),
            block = self.open(Some(slot)) => Raced::Other(block?),
        };
        match raced {
            Raced::SlowWent(block) => {
                self.keep(source, &block, began);
                Ok(block)
            }
            Raced::Other(block) => {
                let cause = if source.crawls { ledger::CRAWLED } else { ledger::STALLED };
                self.parts.monitor.board().failed(slot, ErrorKind::Timeout, "stalled in the body");
                self.tell(slot, cause, began, "no progress");
                Ok(block)
            }
        }
    }

    /// Enters a takeover from `from` into the ledger.
    fn tell(&self, from: Slot, cause: &'static str, began: tokio::time::Instant, reason: &str) {
        if let Some(Source { slot: to, .. }) = &self.source
            && *to != from
        {
            let detail = format!("at block {}: {reason}", self.next);
            let kind = EventKind::TakeoverMidBody;
            let rescued = Rescued { kind, from, to: *to, cause, delay: began.elapsed(), detail };
            ledger::rescued(&self.parts, &self.blob, rescued);
        }
    }

    /// Opens a stream at the next block; `left` failed a moment ago and is asked last.
    async fn open(&mut self, left: Option<Slot>) -> Result<Bytes, ReadError> {
        let began = self.parts.clock.now();
        let mut waits = match self.stage {
            Stage::BeforeBody => FIRST_ROUND_WAITS,
            Stage::MidBody => ROUND_WAITS,
        }
        .iter();
        let mut lacked = false;
        loop {
            let missed = match self.round(left).await {
                Ok(block) => return Ok(block),
                Err(missed) => missed,
            };
            let lacking =
                self.stage == Stage::BeforeBody && self.parts.is_proved_lacking(&missed.lacking, began).await;
            // A majority may deny for a moment what it holds: it is asked once more after it proved itself.
            if lacking && std::mem::replace(&mut lacked, true) && self.parts.pass_over(&self.blob).await {
                return Err(ReadError::NeverCommitted);
            }
            // A body that has begun is worth a few requests more; one that has not is paid for.
            let again = self.stage == Stage::MidBody || lacking || self.parts.budget.try_spend();
            match waits.next().filter(|_| again) {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(ReadError::unavailable(missed.reasons.join("; "))),
            }
        }
    }

    /// Asks all candidates once.
    async fn round(&mut self, left: Option<Slot>) -> Result<Bytes, NoBlock> {
        let blocks = self.next..self.blocks.end;
        let bytes = (blocks.end - blocks.start) * BLOCK_BYTES as u64;
        let mut plan = self.parts.plan(bytes.min(self.blob.put.size), &self.blob.holders);
        plan.sort_by_key(|candidate| Some(candidate.slot) == left);
        let attempt = Attempt { parts: &self.parts, blob: &self.blob, plan: &plan, stage: self.stage };
        let list = match &self.list {
            Some(list) => list.clone(),
            None => self.parts.block_list(&attempt).await?,
        };
        let open = attempt.first_block(&list, blocks).await?;
        let stall_after = plan
            .iter()
            .find(|candidate| candidate.slot == open.slot)
            .map_or(FORCED_AFTER, |candidate| candidate.stall_after);
        self.list = Some(list);
        self.source = Some(Source {
            slot: open.slot,
            stream: open.rest,
            stall_after,
            bytes: 0,
            waited: Duration::ZERO,
            crawls: false,
        });
        Ok(open.first)
    }
}
