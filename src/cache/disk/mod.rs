//! The disk cache: verified blocks and proved block lists in files, so that hot assets outlive a restart and
//! are served while no provider answers.
//!
//! Layout: `<path>/triplicate-blocks/<2 hex>/<upload>-<index>`, one file for each block as it is, and
//! `<upload>-list` for the block list. Blocks are what reads ask for and what is verified; a file for each
//! needs no map of free space, no compaction and no repair after a power cut, can be deleted by anybody at any
//! time, and an icon is one file in any layout. The price is the remembered name, about 70 bytes of memory
//! a file. Folders are not counted: they take up about 1 MiB, and 50 bytes a file.
//!
//! Invariants:
//! * Nothing is trusted: each block is verified and each list proved again when it is read. What does not
//!   verify is removed and is a miss.
//! * One task writes and removes (`keeper`), and removes what is evicted before it writes. So the files
//!   never take up more than the bound. A file that is removed while it is read gives its room back a moment
//!   later: that slack is `READS_MAX` pieces.
//! * A disk that fails, is full or hangs costs hits, never an answer: reads wait `PATIENCE` at most and
//!   leave the tier alone for `REST` after that; writes go through a queue that is bounded in bytes.

mod folder;
mod index;
mod keeper;
mod piece;
mod seldom;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tracing::warn;

use self::folder::Folder;
use self::index::Index;
use self::piece::Piece;
use self::seldom::Seldom;
use crate::asset::blocks::{self, BlockError};
use crate::asset::{Blake3, BlockList, UploadId};
use crate::clock::Clock;
use crate::task::{self, Tasks};
use crate::telemetry::Telemetry;

/// An asset larger than this share of the tier is not kept.
const ASSET_SHARE: u64 = 8;
/// How many reads may be under way at once.
const READS_MAX: usize = 32;
/// How long a read may take, its wait for a place included; by then a provider answers too.
const PATIENCE: Duration = Duration::from_millis(100);
/// The slowest read that is waited for beyond that, in bytes a millisecond: some lists are long.
const BYTES_PER_MS_MIN: u64 = 16 * 1024;
/// How long no read tries after one took too long, so that a disk that hangs does not slow down every block.
const REST: Duration = Duration::from_secs(2);
/// How many bytes may wait to be written.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// How many pieces may wait to be written or removed.
const JOBS_MAX: usize = 4_096;
/// How many removed uploads are remembered, so that nothing on its way brings them back.
const WITHDRAWN_MAX: usize = 256;
/// What the system says where a disk cannot read a sector, on every Unix.
const EIO: i32 = 5;

/// Verified blocks on disk; cheap to clone.
#[derive(Debug, Clone)]
pub struct DiskCache(Option<Arc<Tier>>);

/// A tier that is on.
struct Tier {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

/// What readers and the keeper share.
struct Shared {
    folder: Folder,
    bytes_max: u64,
    contents: Mutex<Contents>,
    withdrawn: Mutex<VecDeque<UploadId>>,
    reads: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    slow_since: Mutex<Option<Instant>>,
    told: Told,
    telemetry: Telemetry,
    clock: Clock,
}

/// When was told of what.
#[derive(Default)]
struct Told {
    unusable: Seldom,
    slow: Seldom,
    damaged: Seldom,
}

/// What is known of the folder.
struct Contents {
    phase: Phase,
    index: Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The folder cannot be used.
    Closed,
    /// The folder is looked through for the first time; until that is done reads just try.
    Scanning,
    /// The index knows all files.
    Open,
}

/// What the keeper has to do.
enum Job {
    Put {
        piece: Piece,
        bytes: Bytes,
        _room: OwnedSemaphorePermit,
    },
    /// A file was not found.
    Missing(Piece),
    /// A file was not what it should be.
    Damaged(Piece),
    Remove(UploadId),
    Settled(oneshot::Sender<()>),
}

impl DiskCache {
    /// Returns a cache that keeps nothing and costs nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the cache below `path`, of at most `bytes_max` as the file system counts; 0 turns it off.
    ///
    /// It returns at once: the folder is made and looked through in the background. One that cannot be used
    /// is warned of, and tried again every minute. It must be called within a runtime.
    pub fn open(path: &Path, bytes_max: u64, tasks: &Tasks, telemetry: Telemetry, clock: Clock) -> Self {
        if bytes_max == 0 {
            return Self::off();
        }
        let contents = Contents { phase: Phase::Scanning, index: Index::new(bytes_max) };
        let shared = Arc::new(Shared {
            folder: Folder::new(path),
            bytes_max,
            contents: Mutex::new(contents),
            withdrawn: Mutex::default(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            queue: Arc::new(Semaphore::new(QUEUE_BYTES)),
            slow_since: Mutex::default(),
            told: Told::default(),
            telemetry,
            clock,
        });
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        drop(tasks.spawn("disk cache", keeper::run(shared.clone(), waiting, tasks.stop().clone())));
        Self(Some(Arc::new(Tier { shared, jobs })))
    }

    /// Tells whether the blocks of an asset of `size` bytes are kept.
    pub fn keeps(&self, size: u64) -> bool {
        self.0.as_ref().is_some_and(|tier| tier.shared.keeps(size))
    }

    /// Returns a block, verified against `list`.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: a damaged file is removed all the same.
    pub async fn block(&self, upload: UploadId, index: u64, list: &BlockList) -> Option<Bytes> {
        let tier = self.0.as_ref()?;
        let bytes = blocks::bytes_of(index, list.size()) as u64;
        let list = list.clone();
        let verified = move |block: Bytes| list.verify(index, &block).map(|()| block);
        let block = tier.read(Piece::block(upload, index), bytes, verified).await?;
        tier.shared.telemetry.metrics().cache_disk_hits.inc();
        Some(block)
    }

    /// Returns the block list of an asset, proved against its hash.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: a damaged file is removed all the same.
    pub async fn list(&self, upload: UploadId, blake3: Blake3, size: u64) -> Option<Arc<BlockList>> {
        let tier = self.0.as_ref()?;
        if let Some(single) = BlockList::single(blake3, size) {
            return Some(Arc::new(single));
        }
        let proved = move |values| BlockList::prove(values, blake3, size).map(Arc::new);
        tier.read(Piece::list(upload), blocks::list_bytes(size), proved).await
    }

    /// Tells whether a block is likely here, and takes note that it was wanted: what is hot in memory must not
    /// grow cold here.
    pub fn touch(&self, upload: UploadId, index: u64) -> bool {
        self.0.as_ref().is_some_and(|tier| tier.shared.is_worth_trying(Piece::block(upload, index)))
    }

    /// Offers a verified block of an asset that the cache [`keeps`](Self::keeps). It is copied; it is dropped
    /// where too much waits to be written.
    pub fn put_block(&self, upload: UploadId, index: u64, block: &Bytes) {
        if let Some(tier) = &self.0 {
            tier.put(Piece::block(upload, index), block.len(), || Bytes::copy_from_slice(block));
        }
    }

    /// Offers a proved block list; it is dropped where its asset is too large, or too much waits.
    pub fn put_list(&self, upload: UploadId, list: &Arc<BlockList>) {
        let Some(tier) = self.0.as_ref().filter(|tier| tier.shared.keeps(list.size())) else {
            return;
        };
        if !list.as_bytes().is_empty() {
            tier.put(Piece::list(upload), list.as_bytes().len(), || list.as_bytes().clone());
        }
    }

    /// Removes all of an upload: its blocks are misses at once, its files go soon.
    pub fn remove(&self, upload: UploadId) {
        let Some(tier) = &self.0 else {
            return;
        };
        let mut withdrawn = tier.shared.withdrawn.lock();
        if withdrawn.len() == WITHDRAWN_MAX {
            withdrawn.pop_front();
        }
        withdrawn.push_back(upload);
        drop(withdrawn);
        if tier.jobs.try_send(Job::Remove(upload)).is_err() {
            warn!(%upload, "the disk cache is busy: the files of a removed asset stay for a while");
        }
    }

    /// Returns the uploads of which anything lies in one of the 256 folders; none where it cannot be read.
    pub async fn uploads_in(&self, folder: u8) -> Vec<UploadId> {
        let Some(tier) = &self.0 else {
            return Vec::new();
        };
        let shared = tier.shared.clone();
        let found = task::blocking(&tier.shared.clock, move || shared.folder.uploads(folder)).await;
        found.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Returns what the files take up, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |tier| tier.shared.contents.lock().index.bytes())
    }

    /// Returns the number of files: blocks and lists.
    pub fn blocks(&self) -> u64 {
        self.0.as_ref().map_or(0, |tier| tier.shared.contents.lock().index.len())
    }

    /// Waits until everything that was offered so far is written or dropped.
    pub async fn settled(&self) {
        let Some(tier) = &self.0 else {
            return;
        };
        let (done, settled) = oneshot::channel();
        // A keeper that has ended has dropped everything.
        if tier.jobs.send(Job::Settled(done)).await.is_ok() {
            let _ = settled.await;
        }
    }
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tier").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}

impl Tier {
    fn put(&self, piece: Piece, bytes: usize, copy: impl FnOnce() -> Bytes) {
        {
            let contents = self.shared.contents.lock();
            if contents.phase == Phase::Closed || contents.index.touch(&piece) {
                return;
            }
        }
        let room = u32::try_from(index::cost(bytes as u64)).unwrap_or(u32::MAX);
        if let Ok(room) = self.shared.queue.clone().try_acquire_many_owned(room) {
            // Where even the queue of jobs is full the piece is dropped too.
            let _ = self.jobs.try_send(Job::Put { piece, bytes: copy(), _room: room });
        }
    }

    /// Reads a piece of `bytes` bytes off the async workers, and lets `verify` judge it there.
    #[expect(clippy::disallowed_methods, reason = "a disk may hang, and its threads are bounded here")]
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        piece: Piece,
        bytes: u64,
        verify: impl FnOnce(Bytes) -> Result<T, BlockError> + Send + 'static,
    ) -> Option<T> {
        let shared = &self.shared;
        if !shared.is_worth_trying(piece) || shared.is_resting() {
            return None;
        }
        let tier = self.clone();
        let reading = async move {
            // Nobody closes the semaphore. The place is held until the read ends, even when nobody waits.
            let place = tier.shared.reads.clone().acquire_owned().await;
            let reading = tokio::task::spawn_blocking(move || {
                let _place = place;
                tier.read_blocking(piece, bytes, verify)
            });
            reading.await.ok().flatten()
        };
        let patience = PATIENCE + Duration::from_millis(bytes / BYTES_PER_MS_MIN);
        let read = tokio::time::timeout(patience, reading).await;
        read.unwrap_or_else(|_| {
            shared.rest();
            None
        })
    }

    fn read_blocking<T>(
        &self,
        piece: Piece,
        bytes: u64,
        verify: impl FnOnce(Bytes) -> Result<T, BlockError>,
    ) -> Option<T> {
        let reason = match self.shared.folder.read(piece, bytes) {
            Ok(read) => match verify(read.into()) {
                Ok(verified) => return Some(verified),
                Err(error) => error.to_string(),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if self.shared.contents.lock().phase == Phase::Open {
                    // Where the queue is full the next read says it again.
                    let _ = self.jobs.try_send(Job::Missing(piece));
                }
                return None;
            }
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => error.to_string(),
            Err(error) if error.raw_os_error() == Some(EIO) => error.to_string(),
            Err(error) => {
                // Too many open files, say: that is no fault of the file.
                self.shared.tell_unusable(&error);
                return None;
            }
        };
        self.shared.telemetry.metrics().cache_disk_damaged.inc();
        if self.shared.told.damaged.is_due(self.shared.clock.now()) {
            warn!(file = %piece.path().display(), reason, "a file of the disk cache is damaged and is removed");
        }
        let _ = self.jobs.try_send(Job::Damaged(piece));
        None
    }
}

impl Shared {
    fn keeps(&self, size: u64) -> bool {
        size <= self.bytes_max / ASSET_SHARE
    }

    fn is_withdrawn(&self, upload: UploadId) -> bool {
        self.withdrawn.lock().contains(&upload)
    }

    /// Tells whether a piece may be there, and makes it hotter; with a block its list, which is of no less use.
    fn is_worth_trying(&self, piece: Piece) -> bool {
        let contents = self.contents.lock();
        let there = match contents.phase {
            Phase::Closed => false,
            Phase::Scanning => true,
            Phase::Open => {
                contents.index.touch(&Piece::list(piece.upload()));
                contents.index.touch(&piece)
            }
        };
        drop(contents);
        there && !self.is_withdrawn(piece.upload())
    }

    fn is_resting(&self) -> bool {
        let now = self.clock.now();
        self.slow_since.lock().is_some_and(|since| now.duration_since(since) < REST)
    }

    fn rest(&self) {
        let now = self.clock.now();
        *self.slow_since.lock() = Some(now);
        if self.told.slow.is_due(now) {
            warn!(folder = %self.folder.path().display(), "the disk cache is slow; reads go on without it");
        }
    }

    fn tell_unusable(&self, error: &std::io::Error) {
        if self.told.unusable.is_due(self.clock.now()) {
            let folder = self.folder.path().display();
            warn!(%folder, reason = %error, "the disk cache cannot be used; reads go on without it");
        }
    }
}

#[cfg(test)]
mod tests;
