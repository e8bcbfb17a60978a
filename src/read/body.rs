//! The body of a read: verified blocks in order, from the cache or from a flight.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::attempt::Stage;
use super::flight::{Follower, Step};
use super::upstream::Upstream;
use super::{AssetBody, Blob, Inner, ReadError, blocks_of, ledger};
use crate::asset::{BLOCK_BYTES, PutFields, Record};

/// How many blocks are looked for in the cache before a body is called a miss.
const HIT_BLOCKS_MAX: u64 = 1_024;

/// Opens `range` of an asset, once its first block is verified.
pub(super) async fn open(
    inner: Arc<Inner>,
    record: Arc<Record>,
    range: Range<u64>,
) -> Result<AssetBody, ReadError> {
    let Some(put) = record.put.clone() else {
        return Err(ReadError::NotFound);
    };
    let blocks = blocks_of(&range, put.size);
    let mut body = Body {
        inner,
        record,
        put,
        next: blocks.start,
        blocks,
        range,
        follower: None,
        told: false,
        failed: false,
    };
    let turns = body.inner.parts.turns.clone();
    let felt = turns.begin_read();
    let cache_hit = body.is_cached();
    let first = body.next_block().await?;
    felt.end();
    let stream = match first {
        None => stream::empty().boxed(),
        Some(first) => body.into_stream(first),
    };
    Ok(AssetBody { cache_hit, stream })
}

/// A body on its way to a client.
struct Body {
    inner: Arc<Inner>,
    record: Arc<Record>,
    put: PutFields,
    range: Range<u64>,
    blocks: Range<u64>,
    next: u64,
    follower: Option<Follower>,
    /// The ledger knows that this body came from the cache while all providers were down.
    told: bool,
    /// A flight that was given up early was left for a more patient one; that is done once.
    failed: bool,
}

impl Body {
    fn into_stream(self, first: Bytes) -> BoxStream<'static, Result<Bytes, ReadError>> {
        stream::unfold((Some(self), Some(first)), |(body, first)| async move {
            let mut body = body?;
            if let Some(first) = first {
                return Some((Ok(first), (Some(body), None)));
            }
            body.inner.parts.turns.client();
            match body.next_block().await {
                Ok(Some(block)) => Some((Ok(block), (Some(body), None))),
                Ok(None) => None,
                Err(error) => Some((Err(error), (None, None))),
            }
        })
        .boxed()
    }

    fn is_cached(&self) -> bool {
        let (parts, upload) = (&self.inner.parts, self.record.version.upload);
        let here = |index| parts.cache.block(upload, index).is_some() || parts.disk.touch(upload, index);
        self.blocks.end - self.blocks.start <= HIT_BLOCKS_MAX && self.blocks.clone().all(here)
    }

    /// Returns the bytes of the next block that were asked for.
    async fn next_block(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.next >= self.blocks.end {
            return Ok(None);
        }
        let block = match self.follower.take() {
            Some(follower) => self.follow(follower).await?,
            None => None,
        };
        let block = match block {
            Some(block) => block,
            None => self.find().await?,
        };
        let offset = self.next * BLOCK_BYTES as u64;
        self.next += 1;
        Ok(Some(cut(block, offset, &self.range)))
    }

    /// Finds the next block: in the cache, else in a flight.
    async fn find(&mut self) -> Result<Bytes, ReadError> {
        loop {
            if let Some(block) = self.cached().await {
                return Ok(block);
            }
            let follower = self.join().await;
            if let Some(block) = self.follow(follower).await? {
                return Ok(block);
            }
        }
    }

    async fn cached(&mut self) -> Option<Bytes> {
        let (parts, upload) = (&self.inner.parts, self.record.version.upload);
        let block = match parts.cache.block(upload, self.next) {
            Some(block) => {
                parts.disk.touch(upload, self.next);
                block
            }
            None => self.on_disk().await?,
        };
        let parts = &self.inner.parts;
        parts.telemetry.metrics().cache_hits.inc();
        if !self.told && parts.monitor.board().all_down() {
            self.told = true;
            ledger::rescued_by_cache(parts, self.record.name.as_str());
        }
        Some(block)
    }

    /// Reads the next block from the disk cache, and keeps it in memory.
    async fn on_disk(&self) -> Option<Bytes> {
        let (parts, upload) = (&self.inner.parts, self.record.version.upload);
        if !parts.disk.keeps(self.put.size) {
            return None;
        }
        let list = parts.cached_list(upload, &self.put).await?;
        let block = parts.disk.block(upload, self.next, &list).await?;
        if parts.cache.keeps(self.put.size) {
            parts.cache.put_block(upload, self.next, &block);
        }
        Some(block)
    }

    fn stage(&self) -> Stage {
        if self.next == self.blocks.start { Stage::BeforeBody } else { Stage::MidBody }
    }

    async fn join(&self) -> Follower {
        let Inner { parts, flights, .. } = &*self.inner;
        let (upload, blocks) = (self.record.version.upload, self.next..self.blocks.end);
        let known = parts.catalog.known(self.record.name.hash()).await;
        let holders = known.iter().find(|known| known.version == self.record.version);
        let holders = holders.map(|known| known.holders.clone()).unwrap_or_default();
        let blob = Blob { record: self.record.clone(), put: self.put.clone(), holders };
        flights.join(parts, upload, blocks.clone(), self.stage(), || {
            Upstream::new(parts.clone(), blob, blocks, self.stage())
        })
    }

    /// Takes the next block from a flight; none where the flight is somewhere else by now.
    async fn follow(&mut self, follower: Follower) -> Result<Option<Bytes>, ReadError> {
        match follower.block(self.next).await {
            Step::Block(block) => {
                self.inner.parts.telemetry.metrics().cache_misses.inc();
                self.follower = Some(follower);
                Ok(Some(block))
            }
            Step::Left => Ok(None),
            // A flight that began with another body gave up sooner than one in mid-body may.
            Step::Failed(_) if !self.failed && self.stage() > follower.stage() => {
                self.failed = true;
                Ok(None)
            }
            Step::Failed(error) => Err(error),
        }
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
