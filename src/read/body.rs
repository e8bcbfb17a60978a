//! The body of a read: verified blocks in order, from the cache and from one provider after another.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::attempt::{self, NoBlock};
use super::{AssetBody, Blob, Parts, ReadError, blocks_of};
use crate::asset::{BLOCK_BYTES, BlockList, Record};
use crate::provider::{ErrorKind, Slot};
use crate::replica::source::SourceError;
use crate::telemetry::EventKind;

/// A body that makes no progress for this long is raced by another provider.
const STALL_PATIENCE: Duration = Duration::from_secs(1);
/// Before each further round through all candidates while nothing was sent yet: the client may ask again.
const FIRST_ROUND_WAITS: &[Duration] = &[Duration::from_millis(100), Duration::from_millis(400)];
/// The same in mid-body, where giving up resets the response.
const ROUND_WAITS: &[Duration] =
    &[Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];
/// How many blocks are looked for in the cache before a body is called a miss.
const HIT_BLOCKS_MAX: u64 = 1_024;

/// Opens `range` of an asset, once its first block is verified.
pub(super) async fn open(
    parts: Arc<Parts>,
    record: Arc<Record>,
    range: Range<u64>,
) -> Result<AssetBody, ReadError> {
    let Some(put) = record.put.clone() else {
        return Err(ReadError::NotFound);
    };
    let blocks = blocks_of(&range, put.size);
    let known = parts.catalog.known(record.name.hash()).await;
    let holders = known.iter().find(|known| known.version == record.version);
    let holders = holders.map(|known| known.holders.clone()).unwrap_or_default();
    let cache_hit = is_cached(&parts, &record, &blocks);
    let mut body = Body {
        keep: parts.cache.keeps(put.size),
        blob: Blob { record, put, holders },
        next: blocks.start,
        blocks,
        range,
        list: None,
        current: None,
        parts,
    };
    let first = body.next_block().await.map_err(|stop| stop.0)?;
    let stream = match first {
        None => stream::empty().boxed(),
        Some(first) => body.into_stream(first),
    };
    Ok(AssetBody { cache_hit, stream })
}

fn is_cached(parts: &Parts, record: &Record, blocks: &Range<u64>) -> bool {
    let upload = record.version.upload;
    blocks.end - blocks.start <= HIT_BLOCKS_MAX
        && blocks.clone().all(|index| parts.cache.block(upload, index).is_some())
}

/// A body on its way to a client.
struct Body {
    parts: Arc<Parts>,
    blob: Blob,
    range: Range<u64>,
    blocks: Range<u64>,
    next: u64,
    keep: bool,
    list: Option<Arc<BlockList>>,
    current: Option<(Slot, BlockStream)>,
}

type BlockStream = BoxStream<'static, Result<Bytes, SourceError>>;

/// How a race against a stalled stream ended.
enum Raced {
    StalledWent(Bytes),
    Other(Bytes),
}

/// The body cannot go on.
struct Stop(ReadError);

impl Body {
    fn into_stream(self, first: Bytes) -> BoxStream<'static, Result<Bytes, ReadError>> {
        stream::unfold((Some(self), Some(first)), |(body, first)| async move {
            let mut body = body?;
            if let Some(first) = first {
                return Some((Ok(first), (Some(body), None)));
            }
            match body.next_block().await {
                Ok(Some(block)) => Some((Ok(block), (Some(body), None))),
                Ok(None) => None,
                Err(Stop(error)) => Some((Err(error), (None, None))),
            }
        })
        .boxed()
    }

    /// Returns the bytes of the next block that were asked for.
    async fn next_block(&mut self) -> Result<Option<Bytes>, Stop> {
        if self.next >= self.blocks.end {
            return Ok(None);
        }
        let metrics = self.parts.telemetry.metrics();
        let upload = self.blob.record.version.upload;
        let cached = if self.current.is_none() { self.parts.cache.block(upload, self.next) } else { None };
        let block = match cached {
            Some(block) => {
                metrics.cache_hits.inc();
                block
            }
            None => {
                metrics.cache_misses.inc();
                let block = self.provider_block().await?;
                if self.keep {
                    self.parts.cache.put_block(upload, self.next, &block);
                }
                block
            }
        };
        let offset = self.next * BLOCK_BYTES as u64;
        self.next += 1;
        Ok(Some(cut(block, offset, &self.range)))
    }

    /// Takes the next block from the open stream, else from whoever delivers it.
    async fn provider_block(&mut self) -> Result<Bytes, Stop> {
        let Some((slot, mut stream)) = self.current.take() else {
            return self.open_at_next(None).await;
        };
        let reason = match tokio::time::timeout(STALL_PATIENCE, stream.next()).await {
            Ok(Some(Ok(block))) => {
                self.current = Some((slot, stream));
                return Ok(block);
            }
            Ok(Some(Err(error))) => {
                attempt::fault(&self.parts, &self.blob, slot, &error).await;
                error.to_string()
            }
            Ok(None) => "the body ended early".to_owned(),
            Err(_) => match self.race_stalled(slot, &mut stream).await? {
                Raced::StalledWent(block) => {
                    self.current = Some((slot, stream));
                    return Ok(block);
                }
                Raced::Other(block) => return Ok(self.taken_over(slot, "stalled in the body", block)),
            },
        };
        let block = self.open_at_next(Some(slot)).await?;
        Ok(self.taken_over(slot, &reason, block))
    }

    /// Asks the others too while a stream stands still; it may be our own line that is slow, so the stream is
    /// left only when another one delivers.
    async fn race_stalled(&mut self, slot: Slot, stream: &mut BlockStream) -> Result<Raced, Stop> {
        let raced = tokio::select! {
            biased;
            Some(Ok(block)) = stream.next() => Raced::StalledWent(block),
            block = self.open_at_next(Some(slot)) => Raced::Other(block?),
        };
        if matches!(raced, Raced::Other(_)) {
            self.parts.monitor.board().failed(slot, ErrorKind::Timeout, "stalled in the body");
        }
        Ok(raced)
    }

    /// Tells of a takeover from `from`, and hands the block on.
    fn taken_over(&self, from: Slot, reason: &str, block: Bytes) -> Bytes {
        if let Some((to, _)) = &self.current
            && *to != from
        {
            let detail = format!("at block {}, from {}: {reason}", self.next, self.parts.fleet.id(from));
            attempt::event(&self.parts, &self.blob, EventKind::Takeover, *to, detail);
        }
        block
    }

    /// Opens a stream at the next block; `left` failed a moment ago and is asked last.
    async fn open_at_next(&mut self, left: Option<Slot>) -> Result<Bytes, Stop> {
        let began = self.parts.clock.now();
        let untouched = self.next == self.blocks.start && left.is_none();
        let mut waits = if untouched { FIRST_ROUND_WAITS } else { ROUND_WAITS }.iter();
        loop {
            let mut candidates = self.parts.candidates(&self.blob.holders);
            candidates.sort_by_key(|slot| Some(*slot) == left);
            let missed = match self.try_candidates(&candidates).await {
                Ok(block) => return Ok(block),
                Err(missed) => missed,
            };
            if untouched && self.parts.is_proved_lacking(&missed.lacking, began).await {
                self.parts.catalog.mark_uncommitted(self.blob.record.version);
                return Err(Stop(ReadError::NeverCommitted));
            }
            match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(Stop(ReadError::unavailable(missed.reasons.join("; ")))),
            }
        }
    }

    async fn try_candidates(&mut self, candidates: &[Slot]) -> Result<Bytes, NoBlock> {
        let list = match &self.list {
            Some(list) => list.clone(),
            None => attempt::block_list(&self.parts, &self.blob, candidates).await?,
        };
        self.list = Some(list.clone());
        let blocks = self.next..self.blocks.end;
        let open = attempt::first_block(&self.parts, &self.blob, &list, blocks, candidates).await?;
        self.current = Some((open.slot, open.rest));
        Ok(open.first)
    }
}

/// Cuts a block that begins at `offset` down to the bytes in `range`, without copying.
fn cut(block: Bytes, offset: u64, range: &Range<u64>) -> Bytes {
    let bytes = block.len() as u64;
    let within = |at: u64| usize::try_from(at.saturating_sub(offset).min(bytes)).unwrap_or(0);
    block.slice(within(range.start)..within(range.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_to_the_range() {
        let block = Bytes::from_static(b"0123456789");
        let table: [(u64, Range<u64>, &[u8]); 5] = [
            (0, 0..10, b"0123456789"),
            (100, 0..1_000, b"0123456789"),
            (100, 103..1_000, b"3456789"),
            (100, 0..104, b"0123"),
            (100, 103..104, b"3"),
        ];
        for (offset, range, expected) in table {
            assert_eq!(cut(block.clone(), offset, &range), expected, "{offset} {range:?}");
        }
    }

    #[test]
    fn ranges_cover_their_blocks() {
        let block = BLOCK_BYTES as u64;
        let table = [
            (0..0, 0, 0..0),
            (0..1, 1, 0..1),
            (0..block, 10 * block, 0..1),
            (block - 1..block + 1, 10 * block, 0..2),
            (block..2 * block, 10 * block, 1..2),
            (9 * block..9 * block + 5, 9 * block + 5, 9..10),
        ];
        for (range, size, expected) in table {
            assert_eq!(blocks_of(&range, size), expected, "{range:?}");
        }
    }
}
