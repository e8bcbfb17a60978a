//! Blocks: the 64 KiB pieces in which bytes are verified before they leave the gateway.
//!
//! The BLAKE3 tree of an asset is cut at its 64 KiB subtrees. Their chaining values, 32 bytes each, are the
//! block list; merged they give the asset's BLAKE3, so a list proves itself against the record and needs no
//! signature. An asset of one block needs no list: the hash of the block is the hash of the asset.

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use bytes::{Bytes, BytesMut};

use super::digest::Blake3;

/// The size of every block but the last, in bytes; a power of two, as subtrees of BLAKE3 are.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// The size of one entry of a block list.
const VALUE_BYTES: usize = 32;

type ChainingValue = [u8; VALUE_BYTES];

/// Bytes are not those of the asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The block list has not one entry for each block.
    #[error("the block list has the wrong length")]
    ListLength,
    /// The block list does not merge to the asset's hash.
    #[error("the block list does not merge to the asset's hash")]
    ListHash,
    /// A block does not hash to its entry.
    #[error("block {0} does not match its hash")]
    Block(u64),
}

/// Returns the number of blocks of an asset of `size` bytes; an empty asset has none.
pub fn count(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES as u64)
}

/// Returns the length of block `index` of an asset of `size` bytes.
pub fn bytes_of(index: u64, size: u64) -> usize {
    let left = size.saturating_sub(index.saturating_mul(BLOCK_BYTES as u64));
    usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES))
}

/// Returns the length of the block list of an asset of `size` bytes, as it lies on a provider.
pub fn list_bytes(size: u64) -> u64 {
    let count = count(size);
    if count <= 1 { 0 } else { count * VALUE_BYTES as u64 }
}

/// The verified means to verify each block of one asset.
#[derive(Debug, Clone)]
pub struct BlockList {
    hash: Blake3,
    size: u64,
    /// Empty for assets of one block.
    values: Bytes,
}

impl BlockList {
    /// Builds the list of an asset of at most one block, which needs none on a provider.
    pub fn single(hash: Blake3, size: u64) -> Option<Self> {
        (count(size) <= 1).then_some(Self { hash, size, values: Bytes::new() })
    }

    /// Takes a list that came from anywhere and proves it against the asset's hash.
    ///
    /// # Errors
    ///
    /// The list has the wrong length, or it is not the list of this asset.
    pub fn prove(values: Bytes, hash: Blake3, size: u64) -> Result<Self, BlockError> {
        if let Some(single) = Self::single(hash, size) {
            return if values.is_empty() { Ok(single) } else { Err(BlockError::ListLength) };
        }
        let expected = usize::try_from(count(size)).ok().and_then(|count| count.checked_mul(VALUE_BYTES));
        if Some(values.len()) != expected {
            return Err(BlockError::ListLength);
        }
        let (entries, _) = values.as_chunks::<VALUE_BYTES>();
        if root(entries) == Some(hash) { Ok(Self { hash, size, values }) } else { Err(BlockError::ListHash) }
    }

    /// Returns the list as it lies on a provider; empty where none is needed.
    pub fn as_bytes(&self) -> &Bytes {
        &self.values
    }

    /// Returns the asset's hash.
    pub fn hash(&self) -> Blake3 {
        self.hash
    }

    /// Returns the asset's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Checks that `block` is block `index` of the asset, length included.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn verify(&self, index: u64, block: &[u8]) -> Result<(), BlockError> {
        let right = index < count(self.size)
            && block.len() == bytes_of(index, self.size)
            && match self.entry(index) {
                Some(entry) => chaining_value(index, block) == entry,
                None => blake3::hash(block) == blake3::Hash::from_bytes(*self.hash.as_bytes()),
            };
        if right { Ok(()) } else { Err(BlockError::Block(index)) }
    }

    fn entry(&self, index: u64) -> Option<ChainingValue> {
        let at = usize::try_from(index).ok()?.checked_mul(VALUE_BYTES)?;
        self.values.get(at..at + VALUE_BYTES)?.try_into().ok()
    }
}

/// Hashes an asset block by block while it arrives.
#[derive(Debug, Default)]
pub struct BlockHasher {
    values: BytesMut,
    /// The last block, kept back until it is known whether it is the only one.
    last: Option<Bytes>,
    blocks: u64,
    size: u64,
}

impl BlockHasher {
    /// Starts an empty asset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next block: [`BLOCK_BYTES`] long, only the last one may be shorter, none is empty.
    pub fn push(&mut self, block: Bytes) {
        debug_assert!(!block.is_empty() && block.len() <= BLOCK_BYTES);
        self.settle_last();
        self.size += block.len() as u64;
        self.blocks += 1;
        self.last = Some(block);
    }

    /// Returns the asset's hash and block list.
    pub fn finish(mut self) -> BlockList {
        if self.blocks <= 1 {
            let hash = blake3::hash(self.last.as_deref().unwrap_or_default());
            return BlockList { hash: Blake3::new(*hash.as_bytes()), size: self.size, values: Bytes::new() };
        }
        self.settle_last();
        let values = self.values.freeze();
        let (entries, _) = values.as_chunks::<VALUE_BYTES>();
        // Two or more entries always have a root.
        let hash = root(entries).unwrap_or(Blake3::new([0; 32]));
        BlockList { hash, size: self.size, values }
    }

    fn settle_last(&mut self) {
        if let Some(block) = self.last.take() {
            self.values.extend_from_slice(&chaining_value(self.blocks - 1, &block));
        }
    }
}

fn chaining_value(index: u64, block: &[u8]) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(index * BLOCK_BYTES as u64);
    hasher.update(block);
    hasher.finalize_non_root()
}

/// Merges two or more entries to the root hash.
fn root(entries: &[ChainingValue]) -> Option<Blake3> {
    if entries.len() < 2 {
        return None;
    }
    let (left, right) = entries.split_at(left_entries(entries.len()));
    let hash = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
    Some(Blake3::new(*hash.as_bytes()))
}

/// The recursion is as deep as the tree: 17 levels at 5 GiB.
fn subtree(entries: &[ChainingValue]) -> ChainingValue {
    match entries {
        [] => [0; VALUE_BYTES],
        [entry] => *entry,
        _ => {
            let (left, right) = entries.split_at(left_entries(entries.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// A left subtree of BLAKE3 is the largest power of two that leaves something to its right.
fn left_entries(entries: usize) -> usize {
    entries.div_ceil(2).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash_blocks(bytes: &[u8]) -> BlockList {
        let mut hasher = BlockHasher::new();
        bytes.chunks(BLOCK_BYTES).for_each(|block| hasher.push(Bytes::copy_from_slice(block)));
        hasher.finish()
    }

    fn pattern(size: usize) -> Vec<u8> {
        (0..size).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
    }

    #[test]
    fn block_lists_merge_to_the_hash_of_the_whole() {
        let block = BLOCK_BYTES;
        for size in [0, 1, block - 1, block, block + 1, 2 * block, 3 * block - 7, 5 * block, 17 * block + 9] {
            let bytes = pattern(size);
            let list = hash_blocks(&bytes);
            assert_eq!(list.hash().as_bytes(), blake3::hash(&bytes).as_bytes(), "{size}");
            let proved = BlockList::prove(list.as_bytes().clone(), list.hash(), size as u64).unwrap();
            for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
                assert_eq!(proved.verify(index as u64, block), Ok(()), "{size} {index}");
            }
            assert!(proved.verify(count(size as u64), b"").is_err());
        }
    }

    #[test]
    fn lists_of_other_assets_are_refused() {
        let bytes = pattern(3 * BLOCK_BYTES);
        let list = hash_blocks(&bytes);
        let size = bytes.len() as u64;
        let values = list.as_bytes();
        assert_eq!(
            BlockList::prove(values.slice(32..), list.hash(), size).err(),
            Some(BlockError::ListLength)
        );
        let mut flipped = values.to_vec();
        flipped[40] ^= 1;
        assert_eq!(BlockList::prove(flipped.into(), list.hash(), size).err(), Some(BlockError::ListHash));
        assert!(BlockList::prove(Bytes::from_static(b"x"), list.hash(), 5).is_err());
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_is_found(size in 1usize..3 * BLOCK_BYTES, at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = pattern(size);
            let list = hash_blocks(&bytes);
            let at = at.index(size);
            bytes[at] ^= 1 << bit;
            for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
                prop_assert_eq!(list.verify(index as u64, block).is_err(), index == at / BLOCK_BYTES);
            }
        }
    }
}
