//! A provider that fails on command, for tests and drills.
//!
//! Faults are set for each operation and can be switched at any time. A fault set with [`Faulty::set`] stays;
//! those queued with [`Faulty::queue`] come first and are used up, one for each call. What a fault does not
//! touch goes to the provider inside. Calls are counted whether they fail or not.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::pending;
use futures::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;

use super::{
    Capabilities, DirListing, Download, Entry, ErrorKind, Operation, Payload, ProbeReport, Provider,
    ProviderError, ProviderId, Result,
};
use crate::asset::Key;

/// All operations, for faults that concern each of them.
const OPERATIONS: [Operation; 6] =
    [Operation::Put, Operation::Get, Operation::Stat, Operation::Delete, Operation::List, Operation::Probe];

/// How large the pieces of a crawling body are.
const CRAWL_BYTES: usize = 16 * 1024;

/// What goes wrong in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails at once, and nothing happens at the provider.
    Error(ErrorKind),
    /// The call takes this much longer.
    Delay(Duration),
    /// The call never ends, and nothing happens at the provider.
    Hang,
    /// The call takes effect, but its answer is lost.
    LoseAnswer(ErrorKind),
    /// One bit of the byte at this offset of the body is wrong: of what is read, or of what is stored.
    CorruptByte(u64),
    /// The body that is read ends cleanly after this many bytes.
    TruncateCleanly(u64),
    /// The body that is read ends in an error after this many bytes.
    TruncateWithError(u64, ErrorKind),
    /// The body that is read stands still for ever after this many bytes.
    Stall(u64),
    /// The body that is read comes in pieces of 16 KiB, and each takes this much longer.
    Crawl(Duration),
    /// The provider behaves as if it were empty: nothing is found, listings are empty; writes go through.
    Forget,
}

/// A provider that fails on command.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Provider>,
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    clock_offset_ms: Option<i64>,
    standing: HashMap<Operation, Fault>,
    queued: HashMap<Operation, VecDeque<Fault>>,
    calls: HashMap<Operation, u64>,
}

impl Faulty {
    /// Wraps a provider that works until a fault is set.
    pub fn new(inner: Arc<dyn Provider>) -> Self {
        Self { inner, script: Mutex::default() }
    }

    /// Sets the fault of every call of `operation` from now on.
    pub fn set(&self, operation: Operation, fault: Fault) {
        self.script.lock().standing.insert(operation, fault);
    }

    /// Sets the fault of every call of every operation from now on.
    pub fn set_all(&self, fault: Fault) {
        self.script.lock().standing.extend(OPERATIONS.map(|operation| (operation, fault)));
    }

    /// Adds the fault of one future call of `operation`, behind those already queued.
    pub fn queue(&self, operation: Operation, fault: Fault) {
        self.script.lock().queued.entry(operation).or_default().push_back(fault);
    }

    /// Makes the provider's clock differ from ours by so many milliseconds, as far as it tells.
    pub fn skew(&self, offset_ms: i64) {
        self.script.lock().clock_offset_ms = Some(offset_ms);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        let mut script = self.script.lock();
        script.standing.clear();
        script.queued.clear();
        script.clock_offset_ms = None;
    }

    /// Returns how many calls of `operation` there were.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.script.lock().calls.get(&operation).copied().unwrap_or(0)
    }

    fn next(&self, operation: Operation) -> Option<Fault> {
        let mut script = self.script.lock();
        *script.calls.entry(operation).or_default() += 1;
        let queued = script.queued.get_mut(&operation).and_then(VecDeque::pop_front);
        queued.or_else(|| script.standing.get(&operation).copied())
    }

    fn error(&self, operation: Operation, kind: ErrorKind) -> ProviderError {
        ProviderError::new(self.id(), operation, kind).with_detail("a fault on command")
    }

    /// Does what a fault does before the call; the fault is handed on for what it does afterwards.
    async fn begin(&self, operation: Operation) -> Result<Option<Fault>> {
        let fault = self.next(operation);
        match fault {
            Some(Fault::Error(kind)) => return Err(self.error(operation, kind)),
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::Hang) => pending().await,
            Some(Fault::Forget) if matches!(operation, Operation::Get | Operation::Stat) => {
                return Err(self.error(operation, ErrorKind::NotFound));
            }
            Some(
                Fault::LoseAnswer(_)
                | Fault::CorruptByte(_)
                | Fault::TruncateCleanly(_)
                | Fault::TruncateWithError(..)
                | Fault::Stall(_)
                | Fault::Crawl(_)
                | Fault::Forget,
            )
            | None => {}
        }
        Ok(fault)
    }

    /// Loses the answer to a call that took effect, where the fault says so.
    fn end<T>(&self, operation: Operation, fault: Option<Fault>, result: Result<T>) -> Result<T> {
        match fault {
            Some(Fault::LoseAnswer(kind)) => Err(self.error(operation, kind)),
            _ => result,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Provider for Faulty {
    fn id(&self) -> &ProviderId {
        self.inner.id()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, key: &Key, payload: &Payload, content_type: &str) -> Result<()> {
        let fault = self.begin(Operation::Put).await?;
        let result = match fault {
            Some(Fault::CorruptByte(offset)) => {
                self.inner.put(key, &corrupt_payload(payload, offset), content_type).await
            }
            _ => self.inner.put(key, payload, content_type).await,
        };
        self.end(Operation::Put, fault, result)
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        let fault = self.begin(Operation::Get).await?;
        let start = range.as_ref().map_or(0, |range| range.start);
        let result = self.inner.get(key, range).await;
        let Download { object_bytes, body } = self.end(Operation::Get, fault, result)?;
        let body = match fault {
            Some(Fault::CorruptByte(offset)) => corrupt_body(body, start, offset),
            Some(Fault::TruncateCleanly(bytes)) => first_bytes(body, bytes).boxed(),
            Some(Fault::TruncateWithError(bytes, kind)) => {
                let error = self.error(Operation::Get, kind);
                first_bytes(body, bytes).chain(stream::iter([Err(error)])).boxed()
            }
            Some(Fault::Stall(bytes)) => first_bytes(body, bytes).chain(stream::pending()).boxed(),
            Some(Fault::Crawl(pause)) => crawl(body, pause),
            _ => body,
        };
        Ok(Download { object_bytes, body })
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        let fault = self.begin(Operation::Stat).await?;
        let result = self.inner.stat(key).await;
        self.end(Operation::Stat, fault, result)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let fault = self.begin(Operation::Delete).await?;
        let result = self.inner.delete(key).await;
        self.end(Operation::Delete, fault, result)
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        let fault = self.begin(Operation::List).await?;
        if fault == Some(Fault::Forget) {
            return Ok(DirListing::default());
        }
        let result = self.inner.list_dir(dir).await;
        self.end(Operation::List, fault, result)
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        let inside = self.inner.list_tree(dir);
        let error = |kind| stream::iter([Err(self.error(Operation::List, kind))]).boxed();
        match self.next(Operation::List) {
            Some(Fault::Error(kind)) => error(kind),
            // A tree whose answer is lost shows its beginning.
            Some(Fault::LoseAnswer(kind)) => inside.take(1).chain(error(kind)).boxed(),
            Some(Fault::Delay(delay)) => stream::once(tokio::time::sleep(delay))
                .flat_map(move |()| stream::empty())
                .chain(inside)
                .boxed(),
            Some(Fault::Hang | Fault::Stall(_)) => stream::pending().boxed(),
            Some(Fault::Forget) => stream::empty().boxed(),
            Some(
                Fault::CorruptByte(_)
                | Fault::TruncateCleanly(_)
                | Fault::TruncateWithError(..)
                | Fault::Crawl(_),
            )
            | None => inside,
        }
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        let skewed = self.script.lock().clock_offset_ms;
        skewed.or_else(|| self.inner.clock_offset_ms())
    }

    async fn probe(&self) -> Result<ProbeReport> {
        let fault = self.begin(Operation::Probe).await?;
        let result = self.inner.probe().await;
        self.end(Operation::Probe, fault, result)
    }
}

fn corrupt_payload(payload: &Payload, offset: u64) -> Payload {
    let mut at = 0;
    let chunks = payload.chunks().iter().map(|chunk| {
        let start = at;
        at += chunk.len() as u64;
        corrupt_chunk(chunk, start, offset)
    });
    Payload::new(chunks.collect())
}

fn corrupt_body(
    body: BoxStream<'static, Result<Bytes>>,
    start: u64,
    offset: u64,
) -> BoxStream<'static, Result<Bytes>> {
    let mut at = start;
    body.map(move |chunk| {
        let chunk = chunk?;
        let start = at;
        at += chunk.len() as u64;
        Ok(corrupt_chunk(&chunk, start, offset))
    })
    .boxed()
}

fn crawl(body: BoxStream<'static, Result<Bytes>>, pause: Duration) -> BoxStream<'static, Result<Bytes>> {
    let pieces = body.flat_map(|chunk| {
        let pieces: Vec<_> = match chunk {
            Ok(chunk) => chunk.chunks(CRAWL_BYTES).map(|piece| Ok(chunk.slice_ref(piece))).collect(),
            Err(failure) => vec![Err(failure)],
        };
        stream::iter(pieces)
    });
    pieces
        .then(move |piece| async move {
            tokio::time::sleep(pause).await;
            piece
        })
        .boxed()
}

/// Changes the byte at `offset` of the object in a chunk that begins at `start`, where it lies there.
fn corrupt_chunk(chunk: &Bytes, start: u64, offset: u64) -> Bytes {
    let index = offset.checked_sub(start).and_then(|index| usize::try_from(index).ok());
    let Some(index) = index.filter(|index| *index < chunk.len()) else {
        return chunk.clone();
    };
    let mut bytes = chunk.to_vec();
    bytes[index] ^= 1;
    bytes.into()
}

fn first_bytes(
    body: BoxStream<'static, Result<Bytes>>,
    bytes: u64,
) -> impl futures::Stream<Item = Result<Bytes>> + Send + 'static {
    body.scan(bytes, |left, chunk| {
        let chunk = chunk.map(|chunk| {
            let keep = usize::try_from(*left).map_or(chunk.len(), |left| chunk.len().min(left));
            *left -= keep as u64;
            chunk.slice(..keep)
        });
        let end = chunk.as_ref().is_ok_and(Bytes::is_empty);
        futures::future::ready((!end).then_some(chunk))
    })
}

#[cfg(test)]
#[path = "faulty_tests.rs"]
mod tests;
