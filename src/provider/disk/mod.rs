//! A local folder as a provider, for trying out and for tests.
//!
//! Invariants: an object appears whole or not at all, and what `put` acknowledged survives a power cut; the
//! root folder is made at construction and never again, so that an unmounted disk is a missing container and
//! not a lot of missing objects. Symbolic links are not followed. The folder may be shared by several
//! processes. The disk vouches for no checksum.

mod files;
mod walk;

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::Semaphore;
use tracing::warn;

use self::files::{Found, Root};
use super::error::BuildError;
use super::{
    Capabilities, DirListing, Download, Entry, ErrorKind, Operation, Payload, ProbeReport, Provider,
    ProviderError, ProviderId, Result,
};
use crate::asset::Key;
use crate::clock::Clock;

/// How much is read at once, in bytes.
const CHUNK_BYTES: u64 = 256 * 1024;
/// How long a file system may take for a small thing, or for a chunk: network file systems hang.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// The slowest write that is waited for, in bytes a second.
const WRITE_BYTES_PER_SECOND_MIN: u64 = 256 * 1024;

/// Where a disk provider keeps its objects.
#[derive(Debug, Clone)]
pub struct DiskSettings {
    /// The folder, made when it is not there.
    pub path: PathBuf,
}

/// A folder as a provider.
#[derive(Debug)]
pub struct DiskProvider {
    id: ProviderId,
    root: Arc<Root>,
    clock: Clock,
}

impl DiskProvider {
    /// Opens a folder, makes it where it is missing, and clears away what crashed writes left behind.
    ///
    /// A folder that cannot be used now fails call by call, as a provider that is down does: the others serve.
    ///
    /// # Errors
    ///
    /// The path is empty, or the working directory is gone.
    pub fn new(
        id: ProviderId,
        settings: DiskSettings,
        clock: Clock,
    ) -> std::result::Result<Self, BuildError> {
        let root = Root::new(&settings.path).map_err(|error| {
            BuildError::new(format!("{} is no path of a folder: {error}", settings.path.display()))
        })?;
        if let Err(error) = root.prepare(clock.unix_ms()) {
            warn!(provider = %id, folder = %root.path().display(), %error, "the folder cannot be used");
        }
        Ok(Self { id, root: Arc::new(root), clock })
    }

    /// Runs blocking work on the folder, under a deadline.
    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        limit: Duration,
        work: impl FnOnce(&Root) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        run(self.id.clone(), Arc::clone(&self.root), operation, limit, work).await
    }

    async fn probe_bytes(&self, key: &Key) -> Result<()> {
        let payload = Payload::from(Bytes::from(format!("a probe of triplicate, {key}\n")));
        self.put(key, &payload, "text/plain").await?;
        let held = super::get_small(self, key, payload.len()).await?;
        if payload.chunks() == [held] {
            return Ok(());
        }
        let error = ProviderError::new(&self.id, Operation::Probe, ErrorKind::Corrupt);
        Err(error.with_detail("a probe read back is not what was written"))
    }
}

#[async_trait]
impl Provider for DiskProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn kind(&self) -> &'static str {
        "disk"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { stat_sha256: false, list_sha256: false, ranges: true, ordered_listing: false }
    }

    async fn put(&self, key: &Key, payload: &Payload, _content_type: &str) -> Result<()> {
        let limit = STEP_LIMIT + Duration::from_millis(payload.len() * 1_000 / WRITE_BYTES_PER_SECOND_MIN);
        let (key, payload, random) = (key.clone(), payload.clone(), self.clock.random());
        self.run(Operation::Put, limit, move |root| root.write(key.as_str(), payload.chunks(), random)).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        let at = key.clone();
        let start = range.as_ref().map_or(0, |range| range.start);
        let opening = move |root: &Root| root.open_at(at.as_str(), start);
        let (file, object_bytes) = self.run(Operation::Get, STEP_LIMIT, opening).await?;
        let left = range.map_or(object_bytes, |range| range.end - range.start);
        if start.saturating_add(left) > object_bytes {
            let error = ProviderError::new(&self.id, Operation::Get, ErrorKind::Corrupt);
            return Err(error.with_detail(format!("{key} has {object_bytes} bytes only")));
        }
        let body = stream::try_unfold(
            (file, left, self.id.clone(), Arc::clone(&self.root)),
            |(file, left, id, root)| async move {
                if left == 0 {
                    return Ok(None);
                }
                let reading = move |_: &Root| read_chunk(file, left);
                let (file, chunk) =
                    run(id.clone(), Arc::clone(&root), Operation::Get, STEP_LIMIT, reading).await?;
                let left = left - chunk.len() as u64;
                Ok(Some((chunk, (file, left, id, root))))
            },
        );
        Ok(Download { object_bytes, body: body.boxed() })
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        let key = key.clone();
        self.run(Operation::Stat, STEP_LIMIT, move |root| root.stat(key.as_str())).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let key = key.clone();
        self.run(Operation::Delete, STEP_LIMIT, move |root| root.remove(key.as_str())).await
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        let dir = dir.to_owned();
        self.run(Operation::List, STEP_LIMIT, move |root| {
            let mut listing = DirListing::default();
            for found in root.read_dir(&dir)? {
                match found? {
                    Found::Object(entry) => listing.entries.push(entry),
                    Found::Dir(name) => listing.dirs.push(name),
                }
            }
            Ok(listing)
        })
        .await
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        let walk = walk::Walk::new(dir.to_owned());
        let state = Some((walk, self.id.clone(), Arc::clone(&self.root)));
        stream::try_unfold(state, |state| async move {
            let Some((mut walk, id, root)) = state else {
                return Ok(None);
            };
            let step = move |root: &Root| Ok((walk.page(root)?, walk));
            let (page, walk) = run(id.clone(), Arc::clone(&root), Operation::List, STEP_LIMIT, step).await?;
            let next = (!walk.is_done()).then_some((walk, id, root));
            Ok(Some((page, next)))
        })
        .boxed()
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        // A disk's clock is the machine's.
        Some(0)
    }

    async fn probe(&self) -> Result<ProbeReport> {
        let key = Key::probe(self.clock.upload_id());
        let found = self.probe_bytes(&key).await;
        let removed = self.delete(&key).await;
        found.and(removed).map_err(|error| ProviderError { operation: Operation::Probe, ..error })?;
        let checksum =
            "writes are flushed to the disk; it vouches for no checksum, so audits read".to_owned();
        Ok(ProbeReport { checksum, clock_offset_ms: Some(0) })
    }
}

#[expect(clippy::disallowed_methods, reason = "a disk may hang, and its threads are bounded here")]
async fn run<T: Send + 'static>(
    id: ProviderId,
    root: Arc<Root>,
    operation: Operation,
    limit: Duration,
    work: impl FnOnce(&Root) -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let slots = root.slots();
    let running = async move {
        // Nobody closes the semaphore. The slot is held until the work ends, even when nobody waits for it.
        let slot = slots.acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let result = work(&root);
            // Only when something was not found is it asked whether anything can be found at all.
            let absent = result.as_ref().is_err_and(is_missing) && !root.is_there();
            (result, absent, root)
        })
        .await
    };
    let error = |kind, detail: String| Err(ProviderError::new(&id, operation, kind).with_detail(detail));
    match tokio::time::timeout(limit, running).await {
        Ok(Ok((Ok(done), ..))) => Ok(done),
        Ok(Ok((Err(_), true, root))) => {
            error(ErrorKind::NoContainer, format!("there is no folder {}", root.path().display()))
        }
        Ok(Ok((Err(failed), false, _))) => error(kind_of(&failed), failed.to_string()),
        Ok(Err(join)) => error(ErrorKind::Unavailable, join.to_string()),
        Err(_) => error(ErrorKind::Timeout, format!("the file system did not answer within {limit:?}")),
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    // A file where a folder was expected means that nothing can lie below it.
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn kind_of(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    const KINDS: [(Io, ErrorKind); 7] = [
        (Io::NotFound, ErrorKind::NotFound),
        (Io::NotADirectory, ErrorKind::NotFound),
        (Io::PermissionDenied, ErrorKind::Denied),
        (Io::InvalidInput, ErrorKind::Refused),
        (Io::IsADirectory, ErrorKind::Refused),
        (Io::UnexpectedEof, ErrorKind::Protocol),
        (Io::InvalidData, ErrorKind::Protocol),
    ];
    let known = KINDS.iter().find(|(kind, _)| *kind == error.kind());
    // No space, quota, read-only, failing hardware: the disk cannot serve now.
    known.map_or(ErrorKind::Unavailable, |(_, kind)| *kind)
}

fn read_chunk(mut file: std::fs::File, left: u64) -> std::io::Result<(std::fs::File, Bytes)> {
    let bytes = left.min(CHUNK_BYTES);
    let mut chunk = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    file.by_ref().take(bytes).read_to_end(&mut chunk)?;
    if chunk.len() as u64 == bytes {
        return Ok((file, chunk.into()));
    }
    Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"))
}

impl Root {
    fn slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.slots)
    }

    fn is_there(&self) -> bool {
        Path::is_dir(self.path())
    }
}

#[cfg(test)]
mod tests;
