//! The read flow. (seam)

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::asset::{AssetName, Record, Version};

/// Which version of a name is asked for, and how sure the answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// A certain version (`?version=`), else the current one.
    pub version: Option<Version>,
    /// Ask a majority even though the index is fresh (`no-cache` with a valid token).
    pub revalidate: bool,
}

/// A read cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A trusted majority, or the fresh index, says that there is no such asset (or that it is deleted).
    #[error("not found")]
    NotFound,
    /// The version turned out never to have been committed: resolve the name again.
    #[error("the version was never committed")]
    NeverCommitted,
    /// Nobody who could answer does.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// For the log.
        reason: String,
        /// When to ask again.
        retry_after: Duration,
    },
}

/// The verified bytes of a range of an asset.
pub struct AssetBody {
    /// Whether every byte comes from the local cache.
    pub cache_hit: bool,
    /// The bytes, exactly as many as were asked for; an error means that the response must be reset.
    pub stream: BoxStream<'static, Result<Bytes, ReadError>>,
}

/// Answers reads.
#[derive(Debug, Clone)]
pub struct Reader {}

impl Reader {
    /// Finds the record of the version to serve. The record is always that of a put.
    pub async fn resolve(&self, name: &AssetName, wanted: Wanted) -> Result<Arc<Record>, ReadError> {
        let _ = (name, wanted);
        unimplemented!()
    }

    /// Opens `range` of the asset, `0..0` for an empty one; returns once its first block is verified.
    pub async fn open(&self, record: Arc<Record>, range: Range<u64>) -> Result<AssetBody, ReadError> {
        let _ = (record, range);
        unimplemented!()
    }
}
