//! One attempt at the blocks of a version: race the candidates to the first verified block.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;

use super::ledger::{self, Rescued};
use super::{Blob, Parts};
use crate::asset::{BLOCK_BYTES, BlockList, blocks, parts as asset_parts};
use crate::health::{Asked, Candidate};
use crate::provider::race::{Entrant, Race, Reason, race};
use crate::provider::{ErrorKind, Operation, ProviderError, Slot};
use crate::replica::source::{self, SourceError};
use crate::telemetry::EventKind;

/// How long a first block is waited for in all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Verified blocks, in order, from one provider.
pub(super) type BlockStream = BoxStream<'static, Result<Bytes, SourceError>>;

/// An open stream of verified blocks from one provider.
pub(super) struct Open {
    pub slot: Slot,
    pub first: Bytes,
    pub rest: BlockStream,
}

/// Nobody delivered.
#[derive(Debug, Default)]
pub(super) struct NoBlock {
    /// Who says that it lacks the object.
    pub lacking: Vec<Slot>,
    /// What the others said, for the log.
    pub reasons: Vec<String>,
}

/// Whether the client was given bytes of this body before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    BeforeBody,
    MidBody,
}

/// An attempt, and what it is for.
pub(super) struct Attempt<'a> {
    pub parts: &'a Parts,
    pub blob: &'a Blob,
    /// Whom to ask, best first.
    pub plan: &'a [Candidate],
    pub stage: Stage,
}

impl Attempt<'_> {
    /// Opens the blocks `blocks` at the first candidate that delivers one.
    pub(super) async fn first_block(
        &self,
        list: &Arc<BlockList>,
        blocks: Range<u64>,
    ) -> Result<Open, NoBlock> {
        let (first, rest) = (blocks.start, blocks.clone());
        let (won, missed) = self
            .race(answer_bytes(&rest, self.blob.put.size), |slot| {
                let provider = self.parts.fleet.get(slot).clone();
                let record = self.blob.record.clone();
                let mut rest = source::blocks(provider.clone(), record, list.clone(), rest.clone());
                async move {
                    match rest.next().await {
                        Some(Ok(first)) => Ok((first, rest)),
                        Some(Err(error)) => Err(error),
                        None => Err(nothing(provider.id(), first)),
                    }
                }
            })
            .await;
        won.map(|(slot, (first, rest))| Open { slot, first, rest }).ok_or(missed)
    }

    /// Reads and proves the block list at the first candidate that delivers it.
    pub(super) async fn block_list(&self) -> Result<BlockList, NoBlock> {
        let (won, missed) = self
            .race(blocks::list_bytes(self.blob.put.size), |slot| {
                let provider = self.parts.fleet.get(slot).clone();
                async move { source::block_list(provider.as_ref(), &self.blob.record).await }
            })
            .await;
        won.map(|(_, list)| list).ok_or(missed)
    }

    /// Races the candidates, each counted as in flight meanwhile, and takes note of what that showed.
    async fn race<T, F, Fut>(&self, bytes: u64, attempt: F) -> (Option<(Slot, T)>, NoBlock)
    where
        F: Fn(Slot) -> Fut,
        Fut: Future<Output = Result<T, SourceError>>,
    {
        let parts = self.parts;
        let asked = Mutex::new(Vec::new());
        let outcome = race(&entrants(self.plan), &parts.budget, PATIENCE, |slot, reason| {
            parts.telemetry.upstream_read(parts.fleet.id(slot).as_str(), self.reason(reason).as_str());
            asked.lock().push((slot, parts.monitor.board().ask(slot, bytes)));
            attempt(slot)
        })
        .await;
        self.settle(outcome, asked.into_inner()).await
    }

    /// In mid-body even the first request is one beyond that of an undisturbed read.
    fn reason(&self, reason: Reason) -> Reason {
        match (self.stage, reason) {
            (Stage::MidBody, Reason::First) => Reason::Retry,
            (Stage::BeforeBody | Stage::MidBody, reason) => reason,
        }
    }

    async fn settle<T>(
        &self,
        outcome: Race<T, SourceError>,
        asked: Vec<(Slot, Asked)>,
    ) -> (Option<(Slot, T)>, NoBlock) {
        let mut missed = NoBlock::default();
        let (slow, won) = (&outcome.slow, outcome.won.as_ref().map(|won| won.slot));
        for (slot, asked) in asked {
            if won == Some(slot) {
                asked.delivered();
            } else if slow.iter().any(|(slow, _)| *slow == slot) {
                asked.lost();
            }
        }
        for (slot, _) in slow {
            missed.reasons.push(format!("{} is slow", self.parts.fleet.id(*slot)));
        }
        for (slot, error) in &outcome.failed {
            if let SourceError::Provider(failure) = error
                && failure.is_not_found()
            {
                missed.lacking.push(*slot);
            }
            missed.reasons.push(error.to_string());
            fault(self.parts, self.blob, *slot, error).await;
        }
        self.tell(&outcome);
        (outcome.won.map(|won| (won.slot, won.value)), missed)
    }

    /// Enters a rescue into the ledger; one in mid-body is entered by who knows of the body.
    fn tell<T>(&self, outcome: &Race<T, SourceError>) {
        let Some(won) = &outcome.won else { return };
        self.parts.budget.earn();
        self.parts.catalog.delivered(self.blob.record.version, &self.blob.holders);
        let slow = || outcome.slow.first().map(|(slot, _)| (EventKind::HedgeWon, *slot, ledger::SLOW));
        let failed = || {
            let (slot, error) = outcome.failed.first()?;
            Some((EventKind::Takeover, *slot, ledger::cause_of(error)))
        };
        let rescue = match (self.stage, won.reason) {
            (Stage::MidBody, _) | (_, Reason::First) => None,
            (Stage::BeforeBody, Reason::Hedge) => slow().or_else(failed),
            (Stage::BeforeBody, Reason::Retry) => failed().or_else(slow),
        };
        if let Some((kind, from, cause)) = rescue {
            let error = outcome.failed.first().map_or_else(String::new, |(_, error)| format!(": {error}"));
            let detail = format!("before the body{error}");
            let rescued = Rescued { kind, from, to: won.slot, cause, delay: outcome.took, detail };
            ledger::rescued(self.parts, self.blob, rescued);
        }
    }
}

/// Returns the candidates as those of a race.
pub(super) fn entrants(plan: &[Candidate]) -> Vec<Entrant> {
    plan.iter()
        .map(|candidate| Entrant {
            slot: candidate.slot,
            hedge_after: candidate.hedge_after,
            expected: candidate.expected,
        })
        .collect()
}

/// Returns how large the answer to the first request for `blocks` is: it ends with its part.
fn answer_bytes(blocks: &Range<u64>, size: u64) -> u64 {
    let (start, end) = (blocks.start * BLOCK_BYTES as u64, (blocks.end * BLOCK_BYTES as u64).min(size));
    let part_end = asset_parts::at(start, size).map_or(end, |part| part.span().end);
    end.min(part_end).saturating_sub(start)
}

/// Takes note of a failure at one provider: evidence against the copy where it is missing though the index
/// says it is there, or where bytes that arrived whole, or the size that the provider tells, are wrong. Anything
/// else says nothing of the copy.
pub(super) async fn fault(parts: &Parts, blob: &Blob, slot: Slot, error: &SourceError) {
    let (name, version) = (blob.record.name.hash(), blob.record.version);
    match error {
        SourceError::Provider(failure) if failure.is_not_found() => {
            if blob.holders.contains(&slot) {
                // It may lack this object, or all of them: its canary tells which.
                parts.monitor.suspect(slot);
                parts.catalog.suspect(name, version, slot).await;
            }
        }
        // The call itself was observed where it was made.
        SourceError::Provider(_) => {}
        SourceError::Damaged { reason, told, .. } => {
            ledger::bad_block(parts, blob, slot, reason);
            if !told {
                parts.monitor.board().failed(slot, ErrorKind::Corrupt, reason);
            }
            parts.catalog.suspect(name, version, slot).await;
        }
    }
}

fn nothing(provider: &crate::provider::ProviderId, block: u64) -> SourceError {
    let detail = format!("no block {block}");
    ProviderError::new(provider, Operation::Get, ErrorKind::Protocol).with_detail(detail).into()
}
