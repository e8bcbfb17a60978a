//! The caches: verified blocks and proved block lists, by upload, in memory and on [`disk`].
//!
//! Only bytes that were verified come in. Keys are uploads, which are written once, so nothing here can be
//! outdated; only a take-down removes anything. Admission is TinyLFU: a scan does not push out what is hot.

pub mod disk;

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
        let blocks = Cache::builder()
            .max_capacity(bytes)
            // A take-down knows the upload alone.
            .support_invalidation_closures()
            .weigher(move |_, block: &Bytes| cost(block.len()));
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

    /// Removes all of an upload: none of its blocks is returned any more, and their memory is free soon.
    pub fn remove(&self, upload: UploadId) {
        self.lists.invalidate(&upload);
        // Fails only for a cache that was built without closures.
        let _ = self.blocks.invalidate_entries_if(move |(of, _), _| *of == upload);
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
    fn a_removed_upload_is_gone_and_others_stay() {
        let cache = BlockCache::new(1 << 20);
        let [gone, stays] = [1, 2].map(|random| UploadId::new(1, random));
        for upload in [gone, stays] {
            let block = Bytes::from_static(b"block");
            (0..3).for_each(|index| cache.put_block(upload, index, &block));
            let mut hasher = crate::asset::BlockHasher::new();
            hasher.push(block);
            cache.put_list(upload, &Arc::new(hasher.finish()));
        }
        cache.remove(gone);
        let there = |upload| (0..3).filter(|index| cache.block(upload, *index).is_some()).count();
        assert_eq!((there(gone), cache.list(gone).is_some()), (0, false));
        assert_eq!((there(stays), cache.list(stays).is_some()), (3, true));
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
