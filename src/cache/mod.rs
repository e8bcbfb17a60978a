//! The memory cache: verified blocks and proved block lists, by upload.
//!
//! Only bytes that were verified come in. Keys are uploads, which are written once, so nothing here can be
//! outdated and nothing is ever invalidated. Admission is TinyLFU: a scan does not push out what is hot.

use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;

use crate::asset::{BlockList, UploadId};

/// What an entry costs beside its bytes, about.
const ENTRY_BYTES: usize = 128;
/// An asset larger than this share of the cache is not kept.
const ASSET_SHARE: u64 = 8;
/// The share of the memory that block lists may take.
const LISTS_SHARE: u64 = 8;

/// Verified blocks in memory; cheap to clone.
#[derive(Debug, Clone)]
pub struct BlockCache {
    blocks: Cache<(UploadId, u64), Bytes>,
    lists: Cache<UploadId, Arc<BlockList>>,
    asset_bytes_max: u64,
}

impl BlockCache {
    /// Makes a cache of about `bytes` of memory; 0 turns it off.
    pub fn new(bytes: u64) -> Self {
        let cost = |bytes: usize| u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX);
        let blocks = Cache::builder().max_capacity(bytes).weigher(move |_, block: &Bytes| cost(block.len()));
        let lists = Cache::builder()
            .max_capacity(bytes / LISTS_SHARE)
            .weigher(move |_, list: &Arc<BlockList>| cost(list.as_bytes().len()));
        Self { blocks: blocks.build(), lists: lists.build(), asset_bytes_max: bytes / ASSET_SHARE }
    }

    /// Tells whether the blocks of an asset of `size` bytes are kept.
    pub fn keeps(&self, size: u64) -> bool {
        size <= self.asset_bytes_max
    }

    /// Returns a verified block.
    pub fn block(&self, upload: UploadId, index: u64) -> Option<Bytes> {
        self.blocks.get(&(upload, index))
    }

    /// Keeps a verified block. It is copied: a slice would keep a whole network buffer alive.
    pub fn put_block(&self, upload: UploadId, index: u64, block: &Bytes) {
        self.blocks.insert((upload, index), Bytes::copy_from_slice(block));
    }

    /// Returns a proved block list.
    pub fn list(&self, upload: UploadId) -> Option<Arc<BlockList>> {
        self.lists.get(&upload)
    }

    /// Keeps a proved block list.
    pub fn put_list(&self, upload: UploadId, list: &Arc<BlockList>) {
        self.lists.insert(upload, list.clone());
    }

    /// Returns how many bytes the cache holds, about.
    pub fn bytes(&self) -> u64 {
        self.blocks.weighted_size() + self.lists.weighted_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_blocks_come_back_and_memory_is_bounded() {
        let cache = BlockCache::new(1 << 20);
        let upload = UploadId::new(1, 1);
        for index in 0..100 {
            cache.put_block(upload, index, &Bytes::from(vec![u8::try_from(index).unwrap(); 65_536]));
        }
        cache.blocks.run_pending_tasks();
        assert!(cache.bytes() <= 1 << 20);
        let kept = (0..100).filter_map(|index| Some((index, cache.block(upload, index)?)));
        let kept: Vec<_> = kept.collect();
        assert!(kept.len() >= 10, "{}", kept.len());
        assert!(kept.iter().all(|(index, block)| u64::from(block[0]) == *index));
    }

    #[test]
    fn a_cache_of_no_memory_keeps_nothing() {
        let cache = BlockCache::new(0);
        assert!(!cache.keeps(1));
        cache.put_block(UploadId::new(1, 1), 0, &Bytes::from_static(b"x"));
        cache.blocks.run_pending_tasks();
        assert_eq!(cache.block(UploadId::new(1, 1), 0), None);
    }
}
