//! Finds a proven block list of one version, wherever one is.
//!
//! A list proves itself against the record, so it does not matter who gives it. When no provider has one
//! any more, it is rebuilt from the bytes of a provider that still has all of them.

use std::sync::Arc;

use super::pace::Pace;
use super::retry::retrying;
use super::source::{Body, block_list};
use crate::asset::{BlockHasher, BlockList, Key, Record, blocks, parts};
use crate::provider::{Fleet, Provider, Slot};

/// A proven block list.
#[derive(Debug, Clone)]
pub struct FoundList {
    /// The list.
    pub list: Arc<BlockList>,
    /// The provider that has it; none for an asset that needs no list, and for a list that was rebuilt.
    pub at: Option<Slot>,
}

/// Returns a proven block list of a version from the first of `slots` that has one, else rebuilds it.
///
/// `None` when nobody could give the list or all of the bytes.
pub async fn find(fleet: &Fleet, slots: &[Slot], record: &Record, pace: &Pace) -> Option<FoundList> {
    let Some(put) = &record.put else {
        return Some(FoundList { list: Arc::new(BlockHasher::new().finish()), at: None });
    };
    if let Some(list) = put.single_block() {
        return Some(FoundList { list: Arc::new(list), at: None });
    }
    for &slot in slots {
        let provider = fleet.get(slot).as_ref();
        if let Ok(list) = retrying(|| block_list(provider, record)).await {
            return Some(FoundList { list: Arc::new(list), at: Some(slot) });
        }
    }
    for &slot in slots {
        if let Some(list) = rebuild(fleet.get(slot).as_ref(), record, pace).await {
            return Some(FoundList { list: Arc::new(list), at: None });
        }
    }
    None
}

/// Hashes all bytes that a provider has of a version; `None` unless they are the right ones.
async fn rebuild(provider: &dyn Provider, record: &Record, pace: &Pace) -> Option<BlockList> {
    let put = record.put.as_ref()?;
    let mut hasher = BlockHasher::new();
    let mut next = 0;
    for part in parts::all(put.size) {
        let key = Key::part(record.version.upload, part.number);
        let download = provider.get(&key, None).await.ok()?;
        if download.object_bytes != part.bytes {
            return None;
        }
        let mut body = Body::new(download);
        while next < super::source::blocks_of(part).end {
            let block = body.take(blocks::bytes_of(next, put.size)).await.ok()??;
            pace.take(block.len() as u64).await;
            hasher.push(block);
            next += 1;
        }
    }
    let list = hasher.finish();
    (list.hash() == put.blake3).then_some(list)
}
