//! A write from its first byte to its answer, and what is left to do after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::ingest::{self, Ingested};
use super::pipeline::{Commit, Item};
use super::quorum::Quorum;
use super::survey::{Survey, check_clock, survey};
use super::{BodyStream, Outcome, Parts, Precondition, PutRequest, Receipt, Shared, WriteError};
use crate::asset::{AssetName, Blake3, BlockHasher, Key, Kind, Order, PutFields, Record, UploadId, Version};
use crate::provider::Slot;
use crate::provider::race::Entrant;

/// How long what a failed write stored is waited for and removed, before the answer.
const CLEAN_UP_PATIENCE: Duration = Duration::from_secs(5);
/// How long pipelines may go on after the answer.
const AFTERMATH_PATIENCE: Duration = Duration::from_secs(120);
/// What a pipeline holds in memory, at least and at most, by the reckoning of the budget.
const LANE_BYTES_MIN: u64 = 64 * 1024;
const LANE_BYTES_MAX: u64 = 3 * crate::asset::PART_BYTES;
/// What all pipelines of answered writes may hold in memory together, in KiB.
pub(super) const AFTERMATH_KIB: usize = 96 * 1024;

type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// Runs a PUT; the answer goes through `reply`, and the pipelines are followed to their end.
pub(super) async fn put(parts: Arc<Shared>, request: PutRequest, body: BodyStream, reply: Reply<Receipt>) {
    parts.monitor.first_looks().await;
    let upload = parts.clock.upload_id();
    let _guard = parts.catalog.begin_write(upload);
    let mut quorum = Quorum::start(&parts, upload, request.wait_all);
    match try_put(&parts, &request, body, upload, &mut quorum).await {
        Ok((commit, receipt)) => {
            let _ = reply.send(Ok(receipt));
            follow(&parts, quorum, &commit).await;
        }
        // Nobody waits for the clean-up after an outage; after a refusal nothing stored has changed.
        Err(error @ WriteError::Unavailable { .. }) => {
            let _ = reply.send(Err(error.clone()));
            clean_up(&parts, upload, quorum, &error).await;
        }
        Err(error) => {
            clean_up(&parts, upload, quorum, &error).await;
            let _ = reply.send(Err(error));
        }
    }
}

/// Runs a DELETE.
pub(super) async fn delete(parts: Arc<Shared>, name: AssetName, reply: Reply<Option<Receipt>>) {
    parts.monitor.first_looks().await;
    let deadline = parts.clock.now() + parts.patience;
    let survey = match survey(&parts, name.hash()).await {
        Ok(survey) => survey,
        Err(error) => return drop(reply.send(Err(error))),
    };
    // What a majority knows to be absent needs no tombstone; one that only a minority holds does, and one that is not
    // in the feeds, of which other gateways do not learn. A version whose bytes were found wanting may turn up
    // again, so it counts.
    let majority = parts.fleet.majority();
    let gone = match survey.newest {
        None => true,
        Some((_, kind)) => {
            kind == Kind::Del && survey.newest_copies >= majority && survey.newest_holders >= majority
        }
    };
    if gone {
        return drop(reply.send(Ok(None)));
    }
    let upload = parts.clock.upload_id();
    let _guard = parts.catalog.begin_write(upload);
    let mut quorum = Quorum::start(&parts, upload, false);
    match try_delete(&parts, &name, &survey, upload, &mut quorum, deadline).await {
        Ok((commit, receipt)) => {
            let _ = reply.send(Ok(Some(receipt)));
            follow(&parts, quorum, &commit).await;
        }
        Err(error) => {
            let _ = reply.send(Err(error));
            quorum.give_up(parts.clock.now() + CLEAN_UP_PATIENCE).await;
        }
    }
}

async fn try_put(
    parts: &Parts,
    request: &PutRequest,
    body: BodyStream,
    upload: UploadId,
    quorum: &mut Quorum,
) -> Result<(Arc<Commit>, Receipt), WriteError> {
    let name = request.name.hash();
    let (ingested, survey) = tokio::try_join!(
        ingest::ingest(request, body, quorum, &parts.clock, parts.patience),
        survey(parts, name)
    )?;
    let deadline = ingested.arrived + parts.patience;
    check(parts, request, &survey).await?;
    quorum.bytes_stored(deadline).await?;
    let survey = if request.precondition == Precondition::None {
        survey
    } else {
        // The body may have taken minutes.
        let again = tokio::time::timeout_at(deadline, self::survey(parts, name)).await;
        let again = again.unwrap_or_else(|_| Err(unavailable("the name cannot be listed again in time")))?;
        check(parts, request, &again).await?;
        again
    };
    let record = stamp(parts, request.name.clone(), upload, &survey, Some(fields(request, &ingested)))?;
    let commit = seal(parts, record);
    finish(parts, quorum, commit, !survey.exists(), deadline, request.wait_all).await
}

async fn try_delete(
    parts: &Parts,
    name: &AssetName,
    survey: &Survey,
    upload: UploadId,
    quorum: &mut Quorum,
    deadline: Instant,
) -> Result<(Arc<Commit>, Receipt), WriteError> {
    quorum.send(&Item::End(Arc::new(BlockHasher::new().finish()))).await?;
    let commit = seal(parts, stamp(parts, name.clone(), upload, survey, None)?);
    finish(parts, quorum, commit, false, deadline, false).await
}

/// Sends the record out and waits for the quorum; from here on a failure is of unknown outcome.
async fn finish(
    parts: &Parts,
    quorum: &mut Quorum,
    commit: Arc<Commit>,
    created: bool,
    deadline: Instant,
    wait_all: bool,
) -> Result<(Arc<Commit>, Receipt), WriteError> {
    quorum
        .complete(commit.clone(), deadline)
        .await
        .map_err(|lost| WriteError::Unavailable { outcome: Outcome::Unknown, reason: lost.0 })?;
    if wait_all {
        quorum.settled(deadline).await;
    }
    // The index learns of the version before the client does: on this gateway it is visible at once. An index
    // that cannot take it is not fresh any longer, and majorities are asked instead.
    let _ = parts.catalog.apply_record(&commit.record, &commit.sealed, quorum.holders()).await;
    let receipt = Receipt { record: commit.record.clone(), created, copies: quorum.copies() };
    Ok((commit, receipt))
}

/// Follows the pipelines that were not done when the client was answered, within a budget that all writes
/// share: behind a provider that hangs they would pile up, and repair makes those copies as well.
async fn follow(parts: &Shared, mut quorum: Quorum, commit: &Commit) {
    let told = quorum.holders();
    let board = parts.monitor.board();
    let size = commit.record.put.as_ref().map_or(0, |put| put.size);
    let cost = u32::try_from(size.clamp(LANE_BYTES_MIN, LANE_BYTES_MAX) / 1024).unwrap_or(u32::MAX);
    let pending = u32::try_from(quorum.pending().len()).unwrap_or(u32::MAX);
    let budget = parts.aftermath.try_acquire_many(cost.saturating_mul(pending));
    quorum.drop_lanes(|slot| budget.is_err() || !board.is_healthy(slot));
    quorum.settled(parts.clock.now() + AFTERMATH_PATIENCE).await;
    let late: Vec<Slot> = quorum.holders().into_iter().filter(|slot| !told.contains(slot)).collect();
    if !late.is_empty() {
        let _ = parts.catalog.apply_record(&commit.record, &commit.sealed, late).await;
    }
    for slot in quorum.torn() {
        // Its feed entry will say that it is complete.
        parts.catalog.suspect(commit.record.name.hash(), commit.record.version, slot).await;
    }
    let copies = quorum.copies();
    let missing = copies.iter().filter(|(_, state)| *state != super::CopyState::Stored);
    for (provider, _) in missing {
        debug!(%provider, name = %commit.record.name, version = %commit.record.version, "a copy is left to repair");
    }
}

/// Ends the pipelines of a failed write, and removes what they stored unless a record may be out: upload
/// ids are drawn anew for each write, so this can harm nobody else.
async fn clean_up(parts: &Parts, upload: UploadId, mut quorum: Quorum, error: &WriteError) {
    if matches!(error, WriteError::Unavailable { outcome: Outcome::Unknown, .. }) {
        warn!(%error, "a write ended with an unknown outcome");
        return;
    }
    quorum.give_up(parts.clock.now() + CLEAN_UP_PATIENCE).await;
    if quorum.parts == 0 {
        return;
    }
    let keys = (0..quorum.parts).map(|number| Key::part(upload, number)).chain([Key::blocks(upload)]);
    let keys: Vec<_> = keys.collect();
    let board = parts.monitor.board();
    let writable = parts.fleet.iter().filter(|(slot, _)| board.is_writable(*slot));
    let removals = writable.map(async |(_, provider)| {
        for key in &keys {
            if provider.delete(key).await.is_err() {
                return;
            }
        }
    });
    // What cannot be removed now is an orphan, and goes by the rules of retention.
    let _ = tokio::time::timeout(CLEAN_UP_PATIENCE, futures::future::join_all(removals)).await;
}

/// Stamps a version, unless the clock was set wrong while its body came.
fn stamp(
    parts: &Parts,
    name: AssetName,
    upload: UploadId,
    survey: &Survey,
    put: Option<PutFields>,
) -> Result<Record, WriteError> {
    check_clock(parts)?;
    let order = Order::stamp(Order::from_unix_ms(parts.clock.unix_ms()), survey.largest);
    Ok(Record { name, version: Version { order, upload }, created: parts.clock.utc(), put })
}

fn seal(parts: &Parts, record: Record) -> Arc<Commit> {
    let sealed = record.seal(&parts.key);
    Arc::new(Commit { record: Arc::new(record), sealed })
}

fn fields(request: &PutRequest, ingested: &Ingested) -> PutFields {
    PutFields {
        size: ingested.list.size(),
        blake3: ingested.list.hash(),
        sha256: ingested.sha256,
        content_type: ingested.content_type.to_string(),
        content_encoding: request.content_encoding.clone(),
        content_disposition: request.content_disposition.clone(),
        cache_control: request.cache_control.clone(),
        metadata: request.metadata.clone(),
    }
}

/// Compares the condition with the current version, as well as plain stores can: another gateway may write
/// between this look and the stamp.
async fn check(parts: &Parts, request: &PutRequest, survey: &Survey) -> Result<(), WriteError> {
    let exists = survey.exists();
    let holds = match &request.precondition {
        Precondition::None => true,
        Precondition::Absent => !exists,
        Precondition::Present => exists,
        Precondition::Matches(hashes) => exists && hashes.contains(&current_hash(parts, request).await?),
        Precondition::Differs(hashes) => !exists || !hashes.contains(&current_hash(parts, request).await?),
    };
    if holds { Ok(()) } else { Err(WriteError::PreconditionFailed) }
}

async fn current_hash(parts: &Parts, request: &PutRequest) -> Result<Blake3, WriteError> {
    let name = request.name.hash();
    let Some(current) = parts.catalog.current(name).await else {
        return Err(unavailable("the current version is unknown"));
    };
    let order: Vec<_> = parts.monitor.board().order().into_iter().map(Entrant::patient).collect();
    let record = parts.catalog.record(name, &current, &order).await;
    let record = record.map_err(|missed| unavailable(&missed.reasons.join("; ")))?;
    record.put.as_ref().map(|put| put.blake3).ok_or(WriteError::PreconditionFailed)
}

fn unavailable(reason: &str) -> WriteError {
    WriteError::Unavailable { outcome: Outcome::NotCommitted, reason: reason.to_owned() }
}
