//! The read flow: name → local index → memory or disk cache → best provider → verified blocks → client.
//!
//! 1. [`Reader::resolve`] finds the version. A fresh index answers alone; a cold or stale one asks `names/…`
//!    on a majority (`resolve`). Nobody known to hold the name: not found, on the word of the fresh index
//!    or of a majority that proved to be themselves *after* their answer; else unavailable.
//! 2. [`Reader::open`] gets the first verified block, from the cache or the best provider (`attempt`): the
//!    next one is asked at once on an error, and after about the p95 of this one on slowness, within a budget
//!    of extra requests. When a trusted majority lacks the bytes the version was never committed, and the
//!    caller resolves again: the next older one is served.
//! 3. The body goes on block by block (`body`). Whoever reads the same blocks at the same time shares one
//!    upstream stream (`flight`). A reset, a stall, a crawl, a short body or a bad block hands over to
//!    another provider at that block (`upstream`). When nobody delivers, the stream ends in an error and
//!    the response is reset, never ended short.
//! 4. Every rescue is entered into the `ledger`.
//!
//! No byte leaves before its block was verified. A missing or damaged copy is evidence for repair; a short
//! read, an abort or a range never is.

mod attempt;
mod body;
mod flight;
mod ledger;
mod resolve;
mod sweep;
mod upstream;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;

use crate::asset::{
    AssetName, BLOCK_BYTES, BlockList, Kind, NameHash, PutFields, Record, UploadId, Version, blocks,
};
use crate::cache::BlockCache;
use crate::cache::disk::DiskCache;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::health::Candidate;
use crate::health::monitor::Monitor;
use crate::provider::{Budget, Fleet, Slot};
use crate::replica::turns::Turns;
use crate::single::Single;
use crate::task::Tasks;
use crate::telemetry::Telemetry;
use attempt::{Attempt, NoBlock};
use flight::Flights;
use resolve::Evidence;
use upstream::Upstream;

pub use sweep::CacheSweep;

/// When a client should ask again after a read that nobody could answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

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

impl ReadError {
    fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: RETRY_AFTER }
    }
}

/// The verified bytes of a range of an asset.
pub struct AssetBody {
    /// Whether every byte comes from the local cache.
    pub cache_hit: bool,
    /// The bytes, exactly as many as were asked for; an error means that the response must be reset.
    pub stream: BoxStream<'static, Result<Bytes, ReadError>>,
}

/// How many requests for certain versions ask providers at the same time.
const VERSION_TURNS: usize = 8;

/// What a reader is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// All providers.
    pub fleet: Fleet,
    /// What is known of names.
    pub catalog: Catalog,
    /// Who is well, and who proves to be itself.
    pub monitor: Monitor,
    /// Verified blocks.
    pub cache: BlockCache,
    /// Verified blocks on disk.
    pub disk: DiskCache,
    /// Time.
    pub clock: Clock,
    /// Metrics and events.
    pub telemetry: Telemetry,
    /// The extra requests that may be made.
    pub budget: Budget,
    /// Runs the flights.
    pub tasks: Tasks,
    /// Told what clients feel, so that work in the background can yield.
    pub turns: Turns,
}

/// Answers reads; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Arc<Parts>,
    flights: Arc<Flights>,
    /// Majorities that are being asked for a name.
    asking: Single<NameHash, Evidence>,
    /// The turns of those who ask for certain versions.
    version_turns: Semaphore,
}

impl Reader {
    /// Builds a reader.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts: Arc::new(parts),
            flights: Arc::default(),
            asking: Single::new(),
            version_turns: Semaphore::new(VERSION_TURNS),
        }))
    }

    /// Finds the record of the version to serve; it is always that of a put.
    ///
    /// # Errors
    ///
    /// There is no such asset, or nobody who could tell answers.
    pub async fn resolve(&self, name: &AssetName, wanted: Wanted) -> Result<Arc<Record>, ReadError> {
        self.0.parts.turns.client();
        resolve::resolve(&self.0, name, wanted).await
    }

    /// Tells whether a version of which no bytes are wanted was never committed. Where a majority is known to hold it,
    /// that costs nothing; else its first block is asked for. Where nobody delivers it now, it may have been.
    pub async fn was_never_committed(&self, record: &Arc<Record>) -> bool {
        let (parts, version) = (&self.0.parts, record.version);
        let known = parts.catalog.known(record.name.hash()).await;
        let held = |slot: &Slot| {
            known.iter().any(|it| it.version == version && it.kind == Kind::Put && it.holders.contains(slot))
        };
        if parts.fleet.slots().filter(held).count() >= parts.fleet.majority() {
            return false;
        }
        let size = record.put.as_ref().map_or(0, |put| put.size);
        matches!(self.open(record.clone(), 0..size.min(1)).await, Err(ReadError::NeverCommitted))
    }

    /// Opens `range` of the asset, `0..0` for an empty one; returns once its first block is verified.
    ///
    /// # Errors
    ///
    /// The version was never committed, or nobody delivers its first block.
    ///
    /// # Cancellation
    ///
    /// Dropping the future or the stream closes all connections to providers that it had open.
    pub async fn open(&self, record: Arc<Record>, range: Range<u64>) -> Result<AssetBody, ReadError> {
        body::open(self.0.clone(), record, range).await
    }
}

/// The bytes of one version as the flow sees them.
#[derive(Debug, Clone)]
struct Blob {
    record: Arc<Record>,
    put: PutFields,
    /// Who is known to hold the version, by what the index says.
    holders: Vec<Slot>,
}

impl Parts {
    /// Returns whom to ask for `bytes` bytes of a version, the best first: known holders, then the others.
    fn plan(&self, bytes: u64, holders: &[Slot]) -> Vec<Candidate> {
        let mut plan = self.monitor.board().plan(bytes);
        plan.sort_by_key(|candidate| !holders.contains(&candidate.slot));
        plan
    }

    /// Returns the proved block list: cached, or read.
    async fn block_list(&self, attempt: &Attempt<'_>) -> Result<Arc<BlockList>, NoBlock> {
        let upload = attempt.blob.record.version.upload;
        if let Some(list) = self.cached_list(upload, &attempt.blob.put).await {
            return Ok(list);
        }
        let list = Arc::new(attempt.block_list().await?);
        self.cache.put_list(upload, &list);
        self.disk.put_list(upload, &list);
        Ok(list)
    }

    /// Returns the proved block list, if it need not be read from a provider.
    async fn cached_list(&self, upload: UploadId, put: &PutFields) -> Option<Arc<BlockList>> {
        if let Some(list) = put.single_block() {
            return Some(Arc::new(list));
        }
        if let Some(list) = self.cache.list(upload) {
            return Some(list);
        }
        let list = self.disk.list(upload, put.blake3, put.size).await?;
        self.cache.put_list(upload, &list);
        Some(list)
    }

    /// Keeps the block that was just read from a provider.
    fn keep(&self, upstream: &Upstream, upload: UploadId, block: &Bytes) {
        let Some(list) = upstream.list() else { return };
        let index = upstream.next() - 1;
        if self.cache.keeps(list.size()) {
            self.cache.put_block(upload, index, block);
        }
        if self.disk.keeps(list.size()) {
            self.disk.put_block(upload, index, block);
        }
    }

    /// Passes a version over from now on that a majority lacks, unless it is known to have been committed; tells
    /// whether it did.
    async fn pass_over(&self, blob: &Blob) -> bool {
        let (name, version) = (blob.record.name.hash(), blob.record.version);
        let passed = self.catalog.may_pass_over(name, version).await;
        if passed {
            self.catalog.mark_uncommitted(version);
        }
        passed
    }

    /// Tells whether a majority lacks the bytes of an upload, and has not lost them, as far as anybody knows: a
    /// provider that was made complete since the upload began may have, and a write that goes on may still be
    /// acknowledged without it.
    async fn never_had(&self, lacking: &[Slot], upload: UploadId, asked: tokio::time::Instant) -> bool {
        let doubts = |slot: &Slot| self.monitor.board().doubts(*slot);
        let may_have_lost = |slot: &Slot| doubts(slot).is_some_and(|it| it.include(upload.unix_ms()));
        let lacking: Vec<_> = lacking.iter().copied().filter(|slot| !may_have_lost(slot)).collect();
        self.monitor.is_proved_lacking(&lacking, asked).await
    }
}

/// Returns the blocks that hold the bytes `range`.
fn blocks_of(range: &Range<u64>, size: u64) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    let block = BLOCK_BYTES as u64;
    range.start / block..range.end.div_ceil(block).min(blocks::count(size))
}
