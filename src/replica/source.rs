//! Verified bytes of one version from one provider. (seam)

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::asset::{BlockList, Record, RecordKey};
use crate::asset::{Key, RecordError};
use crate::provider::{Provider, ProviderError};

/// Bytes of one version could not be had from one provider.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// The provider failed; `NotFound` means that it lacks the object.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The provider delivered a whole object whose bytes are not the right ones: evidence against the copy.
    #[error("{key} at {provider} is damaged: {reason}")]
    Damaged {
        /// The damaged object.
        key: Key,
        /// Where it lies.
        provider: crate::provider::ProviderId,
        /// What does not fit.
        reason: String,
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
pub async fn record(
    provider: &dyn Provider,
    at: &Key,
    key: &RecordKey,
) -> Result<(Arc<Record>, Bytes), RecordSourceError> {
    let _ = (provider, at, key);
    unimplemented!()
}

/// Reads and proves the block list of a version; asks nobody where none is needed. `record` is that of a put.
pub async fn block_list(provider: &dyn Provider, record: &Record) -> Result<BlockList, SourceError> {
    let _ = (provider, record);
    unimplemented!()
}

/// Streams the blocks `blocks` of a version from one provider, each verified before it is yielded.
pub fn blocks(
    provider: Arc<dyn Provider>,
    record: Arc<Record>,
    list: Arc<BlockList>,
    blocks: Range<u64>,
) -> BoxStream<'static, Result<Bytes, SourceError>> {
    let _ = (provider, record, list, blocks);
    unimplemented!()
}
