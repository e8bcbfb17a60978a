//! Replicas: the copy of one version at one provider.
//!
//! Per provider the order is parts → blocks → record → feed entry, so a record at a provider means complete
//! bytes there, and a feed entry a complete copy.

pub mod inspect;
pub mod lists;
#[cfg(test)]
pub mod memory;
pub mod mend;
pub mod pace;
pub mod retry;
pub mod source;
pub mod store;
pub mod turns;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::asset::{Key, Record, parts};

/// A verified record with its sealed bytes, which are the same at every provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRecord {
    /// The record.
    pub record: Arc<Record>,
    /// The record as it lies on a provider.
    pub sealed: Bytes,
}

impl SealedRecord {
    /// Returns the size of the asset in bytes; a tombstone has none.
    pub fn size(&self) -> u64 {
        self.record.put.as_ref().map_or(0, |put| put.size)
    }

    /// Returns everything that a complete copy of this version consists of, in the order of writing.
    pub fn objects(&self) -> Vec<Object> {
        let mut objects: Vec<_> = parts::all(self.size()).map(|part| Object::Part(part.number)).collect();
        if self.has_block_list() {
            objects.push(Object::Blocks);
        }
        objects.extend([Object::Record, Object::Feed]);
        objects
    }

    /// Tells whether a block list lies beside the parts.
    pub fn has_block_list(&self) -> bool {
        self.record.put.as_ref().is_some_and(|put| put.has_block_list())
    }

    /// Returns the key of one of the objects of this version; that of a feed entry differs per provider.
    pub fn key_of(&self, object: Object) -> Option<Key> {
        match object {
            Object::Part(number) => Some(Key::part(self.record.version.upload, number)),
            Object::Blocks => Some(Key::blocks(self.record.version.upload)),
            Object::Record => Some(self.record.key()),
            Object::Feed => None,
        }
    }
}

/// One of the objects of a copy; their order is that of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    /// The part with this number.
    Part(u32),
    /// The block list.
    Blocks,
    /// The record.
    Record,
    /// The feed entry.
    Feed,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(number) => write!(f, "part {number:05}"),
            Self::Blocks => f.write_str("block list"),
            Self::Record => f.write_str("record"),
            Self::Feed => f.write_str("feed entry"),
        }
    }
}
