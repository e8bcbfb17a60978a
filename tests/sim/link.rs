//! The way from one gateway to one provider: a provider to the gateway, with all that befalls its requests.
//!
//! A request that was sent takes effect whether or not its caller still waits: the gateway may have given
//! up, or crashed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::oneshot;
use triplicate::asset::Key;
use triplicate::clock::Clock;
use triplicate::provider::{
    Capabilities, DirListing, Download, Entry, ErrorKind, Operation, Payload, ProbeReport, Provider,
    ProviderError, ProviderId, Result,
};

use crate::server::{Server, Vendor};
use crate::weather::{BodyFault, Fate, Verdict};
use crate::world::World;

/// After so long an answer is not waited for any more.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// After so long without a byte a body is given up.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How large the pieces of a body are.
const PIECE_BYTES: usize = 40_000;
/// How many entries a page of a tree has.
const PAGE: usize = 1_000;
/// A round trip beyond this says little of the provider's time.
const ROUND_TRIP_MS_MAX: u64 = 2_000;
/// Stands for "no answer yet".
const UNKNOWN: i64 = i64::MIN;

/// The way from one gateway to one provider.
#[derive(Debug)]
pub struct Link {
    world: Arc<World>,
    gateway: usize,
    slot: usize,
    id: ProviderId,
    clock: Clock,
    offset_ms: AtomicI64,
}

impl Link {
    pub fn new(world: Arc<World>, gateway: usize, slot: usize, clock: Clock) -> Self {
        let id = ProviderId::new(world.servers[slot].name);
        Self { world, gateway, slot, id, clock, offset_ms: AtomicI64::new(UNKNOWN) }
    }

    fn server(&self) -> &Arc<Server> {
        &self.world.servers[self.slot]
    }

    fn error(&self, operation: Operation, kind: ErrorKind) -> ProviderError {
        ProviderError::new(&self.id, operation, kind).with_detail("simulated")
    }

    /// Sends a request, which takes effect by itself, and waits for the answer.
    async fn call<T, F>(&self, operation: Operation, key: &str, effect: F) -> Result<(T, Fate)>
    where
        T: Send + 'static,
        F: Fn(&Server) -> T + Send + 'static,
    {
        let fate = self.world.fate(self.gateway, self.slot, operation);
        let sent_ms = self.clock.unix_ms();
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.answer(operation, key, fate, effect)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.error(operation, ErrorKind::Timeout)));
        let kind = answer.as_ref().err().map(|failure| failure.kind);
        self.world.trace.request(self.gateway, self.slot, operation, key, kind);
        let told = kind.is_none_or(|kind| !matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout));
        if told {
            self.note_time(sent_ms);
        }
        answer.map(|answer| (answer, fate))
    }

    async fn answer<T, F>(&self, operation: Operation, key: &str, fate: Fate, effect: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Server) -> T + Send + 'static,
    {
        match fate.verdict {
            Verdict::Error(kind) => {
                tokio::time::sleep(fate.there + fate.back).await;
                return Err(self.error(operation, kind));
            }
            Verdict::LostRequest => return std::future::pending().await,
            Verdict::Fine | Verdict::ErrorAfter(_) | Verdict::LostAnswer => {}
        }
        let answer = if matches!(operation, Operation::Put | Operation::Delete) {
            self.send(operation, key, fate, effect).await
        } else {
            tokio::time::sleep(fate.there).await;
            effect(self.server())
        };
        tokio::time::sleep(fate.back).await;
        match fate.verdict {
            Verdict::ErrorAfter(kind) => Err(self.error(operation, kind)),
            Verdict::LostAnswer => std::future::pending().await,
            Verdict::Fine | Verdict::Error(_) | Verdict::LostRequest => Ok(answer),
        }
    }

    /// Sends what takes effect even when nobody waits for it any more.
    async fn send<T, F>(&self, operation: Operation, key: &str, fate: Fate, effect: F) -> T
    where
        T: Send + 'static,
        F: Fn(&Server) -> T + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let (world, gateway, slot) = (self.world.clone(), self.gateway, self.slot);
        let key = key.to_owned();
        self.world.spawn(async move {
            tokio::time::sleep(fate.there).await;
            world.trace.effect(gateway, slot, operation, &key);
            // Whether its caller left is its own affair.
            let _ = sender.send(effect(&world.servers[slot]));
            if let Some(again) = fate.again {
                tokio::time::sleep(again).await;
                world.trace.effect(gateway, slot, operation, &key);
                effect(&world.servers[slot]);
            }
        });
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }

    /// Learns the provider's time from an answer, as `Date` headers tell it: in whole seconds.
    fn note_time(&self, sent_ms: u64) {
        let received_ms = self.clock.unix_ms();
        let took_ms = received_ms.abs_diff(sent_ms);
        let theirs = self.server().unix_ms() / 1_000 * 1_000 + 500;
        let middle = i64::try_from(sent_ms / 2 + received_ms / 2).unwrap();
        let offset_ms = i64::try_from(theirs).unwrap() - middle;
        // A slow answer replaces only what it proves to be wrong.
        let agrees = |known: i64| known.abs_diff(offset_ms) <= took_ms + ROUND_TRIP_MS_MAX;
        if took_ms <= ROUND_TRIP_MS_MAX || !self.clock_offset_ms().is_some_and(agrees) {
            self.offset_ms.store(offset_ms, Ordering::Relaxed);
        }
    }

    fn missing(&self, operation: Operation) -> ProviderError {
        self.error(operation, ErrorKind::NotFound)
    }
}

#[async_trait]
impl Provider for Link {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn kind(&self) -> &'static str {
        match self.server().vendor {
            Vendor::S3 => "s3",
            Vendor::Bunny => "bunny",
            Vendor::Disk => "disk",
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.server().capabilities()
    }

    async fn put(&self, key: &Key, payload: &Payload, _content_type: &str) -> Result<()> {
        let (at, bytes) = (key.as_str().to_owned(), Bytes::from(payload.chunks().concat()));
        let effect = move |server: &Server| server.put(&at, bytes.clone());
        self.call(Operation::Put, key.as_str(), effect).await.map(drop)
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        let at = key.as_str().to_owned();
        let (stored, fate) = self.call(Operation::Get, key.as_str(), move |server| server.get(&at)).await?;
        let stored = stored.ok_or_else(|| self.missing(Operation::Get))?;
        let object_bytes = stored.len() as u64;
        let range = range.unwrap_or(0..object_bytes);
        if range.end > object_bytes {
            return Err(self.error(Operation::Get, ErrorKind::Corrupt));
        }
        let within = |at: u64| usize::try_from(at).unwrap();
        let bytes = stored.slice(within(range.start)..within(range.end));
        let broken = self.error(Operation::Get, ErrorKind::Unavailable);
        let stalled = self.error(Operation::Get, ErrorKind::Timeout);
        Ok(Download { object_bytes, body: body(bytes, fate.body, broken, stalled) })
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        let at = key.as_str().to_owned();
        let (entry, _) = self.call(Operation::Stat, key.as_str(), move |server| server.stat(&at)).await?;
        entry.ok_or_else(|| self.missing(Operation::Stat))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let at = key.as_str().to_owned();
        self.call(Operation::Delete, key.as_str(), move |server| server.delete(&at)).await.map(drop)
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        let at = dir.to_owned();
        let listed = self.call(Operation::List, dir, move |server| server.list_dir(&at)).await;
        listed.map(|(listing, _)| listing)
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        let link = Self::new(self.world.clone(), self.gateway, self.slot, self.clock.clone());
        let dir = dir.to_owned();
        let pages = async move {
            let at = dir.clone();
            match link.call(Operation::List, &dir, move |server| server.list_tree(&at)).await {
                Ok((entries, _)) => entries.chunks(PAGE).map(|page| Ok(page.to_vec())).collect(),
                Err(failure) => vec![Err(failure)],
            }
        };
        stream::once(pages).flat_map(stream::iter).boxed()
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        Some(self.offset_ms.load(Ordering::Relaxed)).filter(|offset| *offset != UNKNOWN)
    }

    async fn probe(&self) -> Result<ProbeReport> {
        let key = Key::probe(self.clock.upload_id());
        self.put(&key, &Payload::from(Bytes::from_static(b"probe")), "text/plain").await?;
        self.stat(&key).await?;
        self.delete(&key).await?;
        Ok(ProbeReport { checksum: "simulated".to_owned(), clock_offset_ms: self.clock_offset_ms() })
    }
}

/// The bytes of a download on their way, with what befalls them.
fn body(
    bytes: Bytes,
    fault: Option<BodyFault>,
    broken: ProviderError,
    stalled: ProviderError,
) -> BoxStream<'static, Result<Bytes>> {
    let cut = |at: u64| bytes.slice(..usize::try_from(at).unwrap().min(bytes.len()));
    let pieces = |bytes: Bytes| {
        let pieces: Vec<_> = bytes.chunks(PIECE_BYTES).map(|piece| Ok(bytes.slice_ref(piece))).collect();
        stream::iter(pieces)
    };
    match fault {
        None => pieces(bytes).boxed(),
        Some(BodyFault::Break(at)) => pieces(cut(at)).chain(stream::iter([Err(broken)])).boxed(),
        Some(BodyFault::Stall(at)) => {
            let end = async move {
                tokio::time::sleep(STALL_LIMIT).await;
                Err(stalled)
            };
            pieces(cut(at)).chain(stream::once(end)).boxed()
        }
        Some(BodyFault::Flip(at)) => {
            let mut flipped = bytes.to_vec();
            let at = usize::try_from(at).unwrap() % flipped.len().max(1);
            flipped.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
            pieces(flipped.into()).boxed()
        }
        Some(BodyFault::Crawl(at)) => {
            let pause = Duration::from_millis(at % 3_000);
            let crawling = pieces(bytes).then(move |piece| async move {
                tokio::time::sleep(pause).await;
                piece
            });
            crawling.boxed()
        }
    }
}
