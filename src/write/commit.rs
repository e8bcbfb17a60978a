//! A write from its first byte to its answer, and what is left to do after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::ingest::{self, Ingested};
use super::pipeline::{Commit, Item};
use super::quorum::Quorum;
use super::survey::{Survey, survey};
use super::{BodyStream, Outcome, Parts, Precondition, PutRequest, Receipt, WriteError};
use crate::asset::{AssetName, Blake3, BlockHasher, Key, Kind, Order, PutFields, Record, UploadId, Version};
use crate::provider::Slot;

/// How long what a failed write stored is waited for and removed, before the answer.
const CLEAN_UP_PATIENCE: Duration = Duration::from_secs(5);
/// How long pipelines may go on after the answer.
const AFTERMATH_PATIENCE: Duration = Duration::from_secs(120);

type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// Runs a PUT; the answer goes through `reply`, and the pipelines are followed to their end.
pub(super) async fn put(parts: Arc<Parts>, request: PutRequest, body: BodyStream, reply: Reply<Receipt>) {
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
pub(super) async fn delete(parts: Arc<Parts>, name: AssetName, reply: Reply<Option<Receipt>>) {
    let survey = match survey(&parts, name.hash()).await {
        Ok(survey) => survey,
        Err(error) => return drop(reply.send(Err(error))),
    };
    // What a majority knows to be absent needs no tombstone; one that only a minority holds does.
    let gone = match survey.current {
        None => true,
        Some((_, kind)) => kind == Kind::Del && survey.current_copies >= parts.fleet.majority(),
    };
    if gone {
        return drop(reply.send(Ok(None)));
    }
    let upload = parts.clock.upload_id();
    let _guard = parts.catalog.begin_write(upload);
    let deadline = parts.clock.now() + parts.patience;
    let mut quorum = Quorum::start(&parts, upload, false);
    match try_delete(&parts, &name, &survey, upload, &mut quorum, deadline).await {
        Ok((commit, receipt)) => {
            let _ = reply.send(Ok(Some(receipt)));
            follow(&parts, quorum, &commit).await;
        }
        Err(error) => {
            quorum.give_up(parts.clock.now() + CLEAN_UP_PATIENCE).await;
            let _ = reply.send(Err(error));
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
    let (ingested, survey) = tokio::try_join!(ingest::ingest(request, body, quorum), survey(parts, name))?;
    let deadline = parts.clock.now() + parts.patience;
    check(parts, request, &survey).await?;
    quorum.bytes_stored(deadline).await?;
    let record = stamp(parts, request.name.clone(), upload, &survey, Some(fields(request, &ingested)));
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
    let commit = seal(parts, stamp(parts, name.clone(), upload, survey, None));
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
    // The index learns of the version before the client does: on this gateway it is visible at once.
    parts.catalog.apply_record(&commit.record, &commit.sealed, quorum.holders()).await;
    let receipt = Receipt { record: commit.record.clone(), created, copies: quorum.copies() };
    Ok((commit, receipt))
}

/// Follows the pipelines that were not done when the client was answered.
async fn follow(parts: &Parts, mut quorum: Quorum, commit: &Commit) {
    let told = quorum.holders();
    quorum.settled(parts.clock.now() + AFTERMATH_PATIENCE).await;
    let late: Vec<Slot> = quorum.holders().into_iter().filter(|slot| !told.contains(slot)).collect();
    if !late.is_empty() {
        parts.catalog.apply_record(&commit.record, &commit.sealed, late).await;
    }
    let copies = quorum.copies();
    let missing = copies.iter().filter(|(_, state)| *state != super::CopyState::Stored);
    for (provider, _) in missing {
        info!(%provider, name = %commit.record.name, version = %commit.record.version, "a copy is left to repair");
    }
}

/// Ends the pipelines of a failed write, and removes what they stored unless a record may be out: upload
/// ids are drawn anew for each write, so this can harm nobody else.
async fn clean_up(parts: &Parts, upload: UploadId, mut quorum: Quorum, error: &WriteError) {
    if matches!(error, WriteError::Unavailable { outcome: Outcome::Unknown, .. }) {
        warn!(%error, "a write ended with an unknown outcome");
        return;
    }
    let deadline = parts.clock.now() + CLEAN_UP_PATIENCE;
    let removal = async {
        quorum.give_up(deadline).await;
        let keys = (0..quorum.parts).map(|number| Key::part(upload, number)).chain([Key::blocks(upload)]);
        if quorum.parts > 0 {
            let keys: Vec<_> = keys.collect();
            let removals = parts.fleet.iter().map(|(_, provider)| async {
                for key in &keys {
                    if provider.delete(key).await.is_err() {
                        return;
                    }
                }
            });
            futures::future::join_all(removals).await;
        }
    };
    // What cannot be removed now is an orphan, and goes by the rules of retention.
    let _ = tokio::time::timeout_at(deadline, removal).await;
}

fn stamp(
    parts: &Parts,
    name: AssetName,
    upload: UploadId,
    survey: &Survey,
    put: Option<PutFields>,
) -> Record {
    let order = Order::stamp(Order::from_unix_ms(parts.clock.unix_ms()), survey.largest);
    Record { name, version: Version { order, upload }, created: parts.clock.utc(), put }
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
    let unreadable = |reason: String| WriteError::Unavailable { outcome: Outcome::NotCommitted, reason };
    let Some(current) = parts.catalog.current(name).await else {
        return Err(unreadable("the current version is unknown".to_owned()));
    };
    let order = parts.monitor.board().order();
    let record = parts.catalog.record(name, &current, &order).await;
    let record = record.map_err(|missed| unreadable(missed.reasons.join("; ")))?;
    record.put.as_ref().map(|put| put.blake3).ok_or(WriteError::PreconditionFailed)
}
