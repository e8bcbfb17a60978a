//! Verified bytes of one version from one provider.
//!
//! What a provider did not deliver in full is its failure ([`SourceError::Provider`]) and never evidence
//! against the copy: a reset, a stall or a body that ends early says nothing about what is stored. Only a
//! block that arrived whole and does not hash to its entry, or an object that the provider itself says to
//! have another size than the record (where a range fails for that, by two answers), is
//! [`SourceError::Damaged`]. Nothing here retries, hedges or changes provider: that is up to the flows.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};

use super::pace::Pace;
use crate::asset::record::RECORD_BYTES_MAX;
use crate::asset::{BLOCK_BYTES, BlockHasher, BlockList, Part, Record, RecordKey, blocks, parts};
use crate::asset::{Key, RecordError};
use crate::provider::{self, Download, ErrorKind, Operation, Provider, ProviderError};

/// Bytes of one version could not be had from one provider.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// The provider failed; `NotFound` means that it lacks the object.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The provider holds an object whose bytes, or whose size, are not the right ones: evidence against the copy.
    #[error("{key} at {provider} is damaged: {reason}")]
    Damaged {
        /// The damaged object.
        key: Key,
        /// Where it lies.
        provider: provider::ProviderId,
        /// What does not fit.
        reason: String,
        /// Whether the provider's own failure showed it, which its health knows of already.
        told: bool,
    },
}

/// A record could not be had from one provider.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordSourceError {
    /// The provider failed; `NotFound` means that it lacks the record.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The record there may not be used.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Reads and checks the record under `at`; returns it with its sealed bytes.
///
/// # Errors
///
/// The provider failed, or what lies there may not be used.
pub async fn record(
    provider: &dyn Provider,
    at: &Key,
    key: &RecordKey,
) -> Result<(Arc<Record>, Bytes), RecordSourceError> {
    let sealed = provider::get_small(provider, at, RECORD_BYTES_MAX).await?;
    let record = Record::open(&sealed, key, at)?;
    Ok((Arc::new(record), sealed))
}

/// Reads and proves the block list of a version; asks nobody where none is needed. `record` is that of a put.
///
/// # Errors
///
/// The provider failed, or the list there is damaged.
pub async fn block_list(provider: &dyn Provider, record: &Record) -> Result<BlockList, SourceError> {
    let Some(put) = &record.put else {
        // A tombstone holds no bytes, and neither does the list of an empty asset.
        return Ok(BlockHasher::new().finish());
    };
    if let Some(list) = put.single_block() {
        return Ok(list);
    }
    let key = Key::blocks(record.version.upload);
    let bytes = blocks::list_bytes(put.size);
    let download = open(provider, &key, None, bytes).await?;
    let mut body = Body::new(download);
    let length = usize::try_from(bytes).map_err(|_| too_large(provider))?;
    let Some(values) = body.take(length).await? else {
        return Err(ended_early(provider, &key).into());
    };
    BlockList::prove(values, put.blake3, put.size).map_err(|error| damaged(provider, &key, error.to_string()))
}

/// Streams the blocks `blocks` of a version from one provider, each verified before it is yielded.
///
/// Parts are opened one after the other, each only as far as it is asked for. The stream ends after the
/// first error.
pub fn blocks(
    provider: Arc<dyn Provider>,
    record: Arc<Record>,
    list: Arc<BlockList>,
    blocks: Range<u64>,
) -> BoxStream<'static, Result<Bytes, SourceError>> {
    let end = blocks.end.min(blocks::count(list.size()));
    let reader = Reader { provider, record, list, next: blocks.start, end, open: None };
    stream::try_unfold(reader, |mut reader| async move {
        let block = reader.next_block().await?;
        Ok(block.map(|block| (block, reader)))
    })
    .boxed()
}

/// Returns the numbers of the blocks that lie in `part`; blocks never straddle parts.
pub fn blocks_of(part: Part) -> Range<u64> {
    let block = BLOCK_BYTES as u64;
    part.start / block..part.span().end.div_ceil(block)
}

/// Reads `left` from one provider, at a certain pace, until all of it or a failure came; what is left of it
/// is then still to be read, there or elsewhere.
pub(super) async fn drain(
    provider: &Arc<dyn Provider>,
    record: &Arc<Record>,
    list: &Arc<BlockList>,
    left: &mut Range<u64>,
    pace: &Pace,
    mut sink: impl FnMut(Bytes),
) -> Result<(), SourceError> {
    let mut stream = blocks(provider.clone(), record.clone(), list.clone(), left.clone());
    while let Some(block) = stream.try_next().await? {
        left.start += 1;
        pace.take(block.len() as u64).await;
        sink(block);
    }
    Ok(())
}

/// Reads blocks in order, one open part at a time.
struct Reader {
    provider: Arc<dyn Provider>,
    record: Arc<Record>,
    list: Arc<BlockList>,
    next: u64,
    end: u64,
    open: Option<OpenPart>,
}

struct OpenPart {
    part: Part,
    key: Key,
    body: Body,
}

impl Reader {
    async fn next_block(&mut self) -> Result<Option<Bytes>, SourceError> {
        let offset = self.next * BLOCK_BYTES as u64;
        let part = parts::at(offset, self.list.size()).filter(|_| self.next < self.end);
        let Some(part) = part else {
            return Ok(None);
        };
        let open = match self.open.take() {
            Some(open) if open.part == part => open,
            Some(_) | None => self.open_part(part, offset - part.start).await?,
        };
        let open = self.open.insert(open);
        // Blocks never straddle parts: a part is a whole number of blocks long.
        let length = blocks::bytes_of(self.next, self.list.size());
        let Some(block) = open.body.take(length).await? else {
            return Err(ended_early(self.provider.as_ref(), &open.key).into());
        };
        self.list
            .verify(self.next, &block)
            .map_err(|error| damaged(self.provider.as_ref(), &open.key, error.to_string()))?;
        self.next += 1;
        Ok(Some(block))
    }

    async fn open_part(&mut self, part: Part, start: u64) -> Result<OpenPart, SourceError> {
        let key = Key::part(self.record.version.upload, part.number);
        let end = (self.end * BLOCK_BYTES as u64).min(part.span().end) - part.start;
        // A whole part is asked for without a range, so that an object of another size shows itself.
        let range = (start > 0 || end < part.bytes).then_some(start..end);
        let download = open(self.provider.as_ref(), &key, range, part.bytes).await?;
        Ok(OpenPart { part, key, body: Body::new(download) })
    }
}

/// A body that is taken in pieces of chosen length.
pub(super) struct Body {
    chunks: BoxStream<'static, provider::Result<Bytes>>,
    rest: Bytes,
}

impl Body {
    /// Starts at the beginning of a download.
    pub(super) fn new(download: Download) -> Self {
        Self { chunks: download.body, rest: Bytes::new() }
    }

    /// Takes the next `length` bytes: a slice of one chunk where they lie within it, else one copy.
    /// `None` when the body ends before.
    pub(super) async fn take(&mut self, length: usize) -> provider::Result<Option<Bytes>> {
        while self.rest.is_empty() && length > 0 {
            let Some(chunk) = self.chunks.try_next().await? else {
                return Ok(None);
            };
            self.rest = chunk;
        }
        if self.rest.len() >= length {
            return Ok(Some(self.rest.split_to(length)));
        }
        let mut piece = BytesMut::with_capacity(length);
        loop {
            let wanted = (length - piece.len()).min(self.rest.len());
            piece.extend_from_slice(&self.rest[..wanted]);
            self.rest.advance(wanted);
            if piece.len() == length {
                return Ok(Some(piece.freeze()));
            }
            let Some(chunk) = self.chunks.try_next().await? else {
                return Ok(None);
            };
            self.rest = chunk;
        }
    }
}

/// Opens an object that is to have so many bytes, or a range of it.
///
/// A provider that says that the object ends before the range is asked for its size too: a proxy that cannot do
/// ranges says the same of every copy.
async fn open(
    provider: &dyn Provider,
    key: &Key,
    range: Option<Range<u64>>,
    bytes: u64,
) -> Result<Download, SourceError> {
    let is_of_range = range.is_some();
    let (object_bytes, told) = match provider.get(key, range).await {
        Ok(download) if download.object_bytes == bytes => return Ok(download),
        Ok(download) => (download.object_bytes, false),
        Err(failure) if is_of_range && failure.kind == ErrorKind::Corrupt => match provider.stat(key).await {
            Ok(entry) if entry.bytes != bytes => (entry.bytes, true),
            Ok(_) | Err(_) => return Err(failure.into()),
        },
        Err(failure) => return Err(failure.into()),
    };
    let reason = format!("{object_bytes} bytes instead of {bytes}");
    Err(SourceError::Damaged { key: key.clone(), provider: provider.id().clone(), reason, told })
}

fn damaged(provider: &dyn Provider, key: &Key, reason: String) -> SourceError {
    SourceError::Damaged { key: key.clone(), provider: provider.id().clone(), reason, told: false }
}

fn ended_early(provider: &dyn Provider, key: &Key) -> ProviderError {
    ProviderError::new(provider.id(), Operation::Get, ErrorKind::Protocol)
        .with_detail(format!("the body of {key} ended early"))
}

fn too_large(provider: &dyn Provider) -> ProviderError {
    ProviderError::new(provider.id(), Operation::Get, ErrorKind::Refused)
        .with_detail("the block list does not fit into memory")
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
