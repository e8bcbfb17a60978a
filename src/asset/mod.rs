//! Validated values without I/O: names, digests, versions, keys, parts, blocks and records.
//!
//! Everything here is parsed once at an edge and trusted inside. Nothing here reads a clock, a file or a
//! socket, so every rule can be tested by table.

pub mod blocks;
pub mod digest;
pub mod key;
pub mod name;
pub mod parts;
pub mod record;
pub mod seal;
pub mod version;

pub use blocks::{BLOCK_BYTES, BlockHasher, BlockList};
pub use digest::{Blake3, Sha256};
pub use key::{Key, KeyKind};
pub use name::{AssetName, NameHash};
pub use parts::{PART_BYTES, Part};
pub use record::{PutFields, Record, RecordError};
pub use seal::{RecordKey, SealError};
pub use version::{Kind, Order, UploadId, Version};
