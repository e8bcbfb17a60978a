//! Undo: the version before the current one becomes the current one again, as a new version.
//!
//! 1. The name is listed at all providers; a majority of trusted ones must answer, or nobody knows what the
//!    current version is.
//! 2. The newest version that holds bytes and is older than the current one, or than the tombstone, is opened
//!    by the read flow, so that each of its bytes is verified; one that is not retained any more, or was never
//!    committed, is passed over.
//! 3. Its bytes go through the write flow with the metadata of its record, and its SHA-256 as the digest that
//!    the writer compares. Nothing old is changed: an undo can be undone.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::join_all;

use crate::asset::{AssetName, Kind, Record, Version};
use crate::catalog::{Catalog, KnownVersion, Sighting, known, listing};
use crate::clock::Clock;
use crate::health::monitor::Monitor;
use crate::provider::{Fleet, Trust};
use crate::read::{AssetBody, ReadError, Reader, Wanted};
use crate::write::{BodyError, ExpectedDigests, Precondition, PutRequest, Receipt, WriteError, Writer};

/// What an undo is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// All providers.
    pub fleet: Fleet,
    /// What is known of names.
    pub catalog: Catalog,
    /// Who proves to be itself.
    pub monitor: Monitor,
    /// Answers reads.
    pub reader: Reader,
    /// Takes writes.
    pub writer: Writer,
    /// Time.
    pub clock: Clock,
}

/// What an undo did.
#[derive(Debug, Clone)]
pub struct Undone {
    /// The version that was current.
    pub current: Version,
    /// The version whose bytes are current again.
    pub restored: Version,
    /// The new version.
    pub receipt: Receipt,
}

/// Nothing was restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UndoError {
    /// A majority knows of no version of the name.
    #[error("there is no asset of this name, and none is retained")]
    UnknownName,
    /// There is no older version that holds bytes.
    #[error("nothing to restore: no older version is retained")]
    NothingToRestore,
    /// Too few providers answer.
    #[error("too few providers answer: {0}")]
    Unavailable(String),
    /// The new version was not stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<ReadError> for UndoError {
    fn from(failure: ReadError) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

/// Makes the version before the current one current again.
///
/// # Errors
///
/// There is nothing to restore, or providers do not answer.
pub async fn undo(parts: &Parts, name: &AssetName) -> Result<Undone, UndoError> {
    let versions = list(parts, name).await?;
    let current = current(parts, name, &versions).await?;
    for older in versions.iter().filter(|it| it.version < current && it.kind == Kind::Put) {
        let wanted = Wanted { version: Some(older.version), revalidate: true };
        let record = match parts.reader.resolve(name, wanted).await {
            Ok(record) => record,
            Err(ReadError::NotFound | ReadError::NeverCommitted) => continue,
            Err(failure @ ReadError::Unavailable { .. }) => return Err(failure.into()),
        };
        let size = record.put.as_ref().map_or(0, |put| put.size);
        match parts.reader.open(record.clone(), 0..size).await {
            Ok(body) => {
                let receipt = store(parts, &record, body).await?;
                return Ok(Undone { current, restored: older.version, receipt });
            }
            Err(ReadError::NotFound | ReadError::NeverCommitted) => {}
            Err(failure @ ReadError::Unavailable { .. }) => return Err(failure.into()),
        }
    }
    Err(UndoError::NothingToRestore)
}

/// Lists the versions of a name, the newest first, on the word of a trusted majority at least.
async fn list(parts: &Parts, name: &AssetName) -> Result<Vec<KnownVersion>, UndoError> {
    parts.monitor.first_looks().await;
    let began = parts.clock.now();
    let asking = parts.fleet.iter().map(async |(slot, provider)| {
        let versions = listing::versions_at(provider.as_ref(), name.hash()).await;
        let trusted = parts.monitor.board().is_trusted(slot) || parts.monitor.confirm(slot, began).await;
        versions.map(|versions| (versions, trusted)).map_err(|failure| failure.to_string())
    });
    let answers = join_all(asking).await;
    let trusted = answers.iter().flatten().filter(|(_, trusted)| *trusted).count();
    if trusted < parts.fleet.majority() {
        let reasons: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        return Err(UndoError::Unavailable(reasons.join("; ")));
    }
    let versions = answers.iter().flatten().flat_map(|(versions, _)| versions);
    let seen: Vec<_> =
        versions.map(|(version, kind)| Sighting::listed(name.hash(), *version, *kind)).collect();
    let known = parts.catalog.known(name.hash()).await;
    let joined = known::join(&known, &seen);
    // The index is only told: what follows asks the providers again.
    let _ = parts.catalog.apply(seen).await;
    if joined.is_empty() { Err(UndoError::UnknownName) } else { Ok(joined) }
}

/// Returns the version that is served now, or the tombstone.
async fn current(parts: &Parts, name: &AssetName, versions: &[KnownVersion]) -> Result<Version, UndoError> {
    let wanted = Wanted { version: None, revalidate: true };
    match parts.reader.resolve(name, wanted).await {
        Ok(record) => Ok(record.version),
        Err(ReadError::NotFound | ReadError::NeverCommitted) => {
            let tombstone = versions.iter().find(|known| known.kind == Kind::Del);
            tombstone.map(|known| known.version).ok_or(UndoError::NothingToRestore)
        }
        Err(failure @ ReadError::Unavailable { .. }) => Err(failure.into()),
    }
}

async fn store(parts: &Parts, record: &Arc<Record>, body: AssetBody) -> Result<Receipt, UndoError> {
    let put = record.put.clone().ok_or(UndoError::NothingToRestore)?;
    let request = PutRequest {
        name: record.name.clone(),
        content_type: Some(put.content_type),
        content_encoding: put.content_encoding,
        content_disposition: put.content_disposition,
        cache_control: put.cache_control,
        metadata: put.metadata,
        expected: ExpectedDigests { sha256: vec![put.sha256], md5: None },
        content_length: Some(put.size),
        bytes_max: put.size,
        wait_all: true,
        precondition: Precondition::None,
    };
    let bytes = body.stream.map(|chunk| chunk.map_err(|failure| BodyError::Broken(failure.to_string())));
    Ok(parts.writer.put(request, bytes.boxed()).await?)
}
