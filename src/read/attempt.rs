//! One attempt at the blocks of a version: race the candidates to the first verified block.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Blob, Parts};
use crate::asset::BlockList;
use crate::provider::race::{Race, race};
use crate::provider::{ErrorKind, Operation, ProviderError, Slot};
use crate::replica::source::{self, SourceError};
use crate::telemetry::{Event, EventKind};

/// After this time without a verified block the next provider is asked too.
pub(super) const HEDGE_DELAY: Duration = Duration::from_millis(300);
/// How long a first block is waited for in all.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open stream of verified blocks from one provider.
pub(super) struct Open {
    pub slot: Slot,
    pub first: Bytes,
    pub rest: BoxStream<'static, Result<Bytes, SourceError>>,
}

/// Nobody delivered.
#[derive(Debug, Default)]
pub(super) struct NoBlock {
    /// Who says that it lacks the object.
    pub lacking: Vec<Slot>,
    /// What the others said, for the log.
    pub reasons: Vec<String>,
}

/// Opens the blocks `blocks` at the first of `candidates` that delivers one.
pub(super) async fn first_block(
    parts: &Parts,
    blob: &Blob,
    list: &Arc<BlockList>,
    blocks: Range<u64>,
    candidates: &[Slot],
) -> Result<Open, NoBlock> {
    let outcome = race(candidates, HEDGE_DELAY, PATIENCE, |slot| {
        let provider = parts.fleet.get(slot).clone();
        let mut rest = source::blocks(provider.clone(), blob.record.clone(), list.clone(), blocks.clone());
        async move {
            match rest.next().await {
                Some(Ok(first)) => Ok((first, rest)),
                Some(Err(error)) => Err(error),
                None => Err(nothing(provider.id())),
            }
        }
    })
    .await;
    let (won, missed) = settle(parts, blob, outcome).await;
    won.map(|(slot, (first, rest))| Open { slot, first, rest }).ok_or(missed)
}

/// Returns the proved block list, from the cache or the first of `candidates` that delivers it.
pub(super) async fn block_list(
    parts: &Parts,
    blob: &Blob,
    candidates: &[Slot],
) -> Result<Arc<BlockList>, NoBlock> {
    if let Some(list) = blob.put.single_block() {
        return Ok(Arc::new(list));
    }
    let upload = blob.record.version.upload;
    if let Some(list) = parts.cache.list(upload) {
        return Ok(list);
    }
    let outcome = race(candidates, HEDGE_DELAY, PATIENCE, |slot| {
        let provider = parts.fleet.get(slot).clone();
        async move { source::block_list(provider.as_ref(), &blob.record).await }
    })
    .await;
    let (won, missed) = settle(parts, blob, outcome).await;
    let (_, list) = won.ok_or(missed)?;
    let list = Arc::new(list);
    parts.cache.put_list(upload, &list);
    Ok(list)
}

/// Takes note of what a race showed of each provider, and returns the winner.
async fn settle<T>(
    parts: &Parts,
    blob: &Blob,
    outcome: Race<T, SourceError>,
) -> (Option<(Slot, T)>, NoBlock) {
    let board = parts.monitor.board();
    let mut missed = NoBlock::default();
    let hedged = outcome.won.is_some() && !outcome.slow.is_empty();
    for (slot, began) in &outcome.slow {
        board.first_block(*slot, parts.clock.now().duration_since(*began));
        missed.reasons.push(format!("{} is slow", parts.fleet.id(*slot)));
    }
    for (slot, error) in &outcome.failed {
        if let SourceError::Provider(failure) = error
            && failure.is_not_found()
        {
            missed.lacking.push(*slot);
        }
        missed.reasons.push(error.to_string());
        fault(parts, blob, *slot, error).await;
    }
    let Some((slot, value, took)) = outcome.won else {
        return (None, missed);
    };
    board.first_block(slot, took);
    if hedged {
        event(parts, blob, EventKind::HedgeWon, slot, "another provider was slow".to_owned());
    }
    if let Some((from, error)) = outcome.failed.first() {
        let detail = format!("before the body, from {}: {error}", parts.fleet.id(*from));
        event(parts, blob, EventKind::Takeover, slot, detail);
    }
    (Some((slot, value)), missed)
}

/// Takes note of a failure at one provider: evidence against the copy where it is missing though the index
/// says it is there, or where bytes that arrived whole are wrong. Anything else says nothing of the copy.
pub(super) async fn fault(parts: &Parts, blob: &Blob, slot: Slot, error: &SourceError) {
    let (name, version) = (blob.record.name.hash(), blob.record.version);
    match error {
        SourceError::Provider(failure) if failure.is_not_found() => {
            if blob.holders.contains(&slot) {
                parts.catalog.suspect(name, version, slot).await;
            }
        }
        // The call itself was observed where it was made.
        SourceError::Provider(_) => {}
        SourceError::Damaged { reason, .. } => {
            event(parts, blob, EventKind::BadBlock, slot, reason.clone());
            parts.monitor.board().failed(slot, ErrorKind::Corrupt, reason);
            parts.catalog.suspect(name, version, slot).await;
        }
    }
}

pub(super) fn event(parts: &Parts, blob: &Blob, kind: EventKind, slot: Slot, detail: String) {
    let (provider, asset) = (parts.fleet.id(slot).to_string(), blob.record.name.to_string());
    if kind == EventKind::BadBlock {
        tracing::warn!(provider, asset, kind = kind.as_str(), "{detail}");
    } else {
        // Ever so many while a provider is down; they are counted, and the recent ones kept.
        tracing::debug!(provider, asset, kind = kind.as_str(), "{detail}");
    }
    let at = parts.clock.utc();
    parts.telemetry.event(Event { at, kind, provider: Some(provider), asset: Some(asset), detail });
}

fn nothing(provider: &crate::provider::ProviderId) -> SourceError {
    ProviderError::new(provider, Operation::Get, ErrorKind::Protocol).with_detail("no block").into()
}
