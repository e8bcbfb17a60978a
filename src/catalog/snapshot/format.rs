//! The format of a snapshot: a sealed manifest, and the chunks that it names by size and hash. Pure.
//!
//! The manifest is a line of JSON and its MAC, as a record is. Each chunk is deflated rows, one after the other:
//!
//! ```text
//! name hash 32 · order 8 · upload 16 · kind 1 · holders 8 · length of the name 2 · of the record 4 · name · record
//! ```
//!
//! Numbers are big-endian. Bit n of `holders` stands for the provider whose cover has that bit. A record that
//! was not read has the length 0, and so has its name. Nothing here trusts a byte that is not covered by the MAC.

use std::io::{Read, Write};

use bytes::{Buf, BufMut, Bytes};
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use crate::asset::record::RECORD_BYTES_MAX;
use crate::asset::{Blake3, Kind, NameHash, Order, RecordKey, UploadId, Version};

/// The format that this program writes, and the only one it reads.
const FORMAT: u64 = 1;
/// No manifest is larger, in bytes; one of 50 million names is not.
pub const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// No chunk is larger, in bytes, deflated or not.
pub const CHUNK_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The bytes of a row before its name.
const ROW_HEAD_BYTES: usize = 32 + 8 + 16 + 1 + 8 + 2 + 4;

/// A snapshot may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It was not sealed with our key, or is not what the manifest says.
    #[error("the snapshot is forged or damaged: {0}")]
    Forged(&'static str),
    /// The seal is right, but the format is not one that this program knows.
    #[error("the snapshot has format {0}, which this version of triplicate does not know")]
    UnknownFormat(u64),
}

/// What a snapshot consists of, and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u64,
    /// The snapshot that this is the manifest of.
    pub snapshot: UploadId,
    /// When it was begun, by the clock of the gateway that wrote it; for people.
    pub created: DateTime<Utc>,
    /// How many versions there are in it.
    pub versions: u64,
    /// How far the feed of each provider is in it.
    pub covers: Vec<Cover>,
    /// The chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// How far the feed of one provider is in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// The provider's name.
    pub provider: String,
    /// The bit that stands for it among the holders of a version; below 64.
    pub bit: u32,
    /// The hash of its canary: a provider that was wiped and refilled has another one.
    pub canary: Blake3,
    /// All that came into its feed before this minute, by its own clock, is in the snapshot.
    pub minute: u64,
}

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its size as it lies on a provider, in bytes.
    pub bytes: u64,
    /// Its size once inflated, in bytes.
    pub inflated: u64,
    /// How many versions there are in it.
    pub versions: u64,
    /// The hash of what lies on a provider.
    pub blake3: Blake3,
}

/// Enough of a line to tell its format.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

impl Manifest {
    /// Describes a snapshot of which all chunks are written.
    pub fn new(snapshot: UploadId, created: DateTime<Utc>, covers: Vec<Cover>, chunks: Vec<Chunk>) -> Self {
        let versions = chunks.iter().map(|chunk| chunk.versions).sum();
        Self { format: FORMAT, snapshot, created, versions, covers, chunks }
    }

    /// Writes the manifest as it lies on a provider.
    pub fn seal(&self, key: &RecordKey) -> Bytes {
        // Plain strings and numbers always have a JSON form.
        key.seal(&serde_json::to_string(self).unwrap_or_default())
    }

    /// Reads what lies on a provider as the manifest of `snapshot`.
    ///
    /// # Errors
    ///
    /// It was not sealed with this key, is that of another snapshot, or has an unknown format.
    pub fn open(sealed: &[u8], key: &RecordKey, snapshot: UploadId) -> Result<Self, SnapshotError> {
        let line = key.open(sealed).map_err(|_| SnapshotError::Forged("the MAC is wrong or missing"))?;
        let FormatOnly { format } =
            serde_json::from_str(line).map_err(|_| SnapshotError::Forged("no format number"))?;
        if format != FORMAT {
            return Err(SnapshotError::UnknownFormat(format));
        }
        let manifest: Self =
            serde_json::from_str(line).map_err(|_| SnapshotError::Forged("fields do not fit"))?;
        if manifest.snapshot != snapshot {
            return Err(SnapshotError::Forged("it lies in a foreign folder"));
        }
        let too_large = |chunk: &Chunk| chunk.bytes > CHUNK_BYTES_MAX || chunk.inflated > CHUNK_BYTES_MAX;
        if manifest.chunks.iter().any(too_large) || manifest.covers.iter().any(|cover| cover.bit >= 64) {
            return Err(SnapshotError::Forged("sizes do not fit"));
        }
        Ok(manifest)
    }
}

/// One version in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The hash of the name.
    pub name: NameHash,
    /// The version.
    pub version: Version,
    /// Whether it holds bytes or is a tombstone.
    pub kind: Kind,
    /// Who held it completely, by the bits of the covers.
    pub holders: u64,
    /// The name and the sealed record, where it was read.
    pub record: Option<(String, Vec<u8>)>,
}

/// Writes rows as a chunk, and describes it.
pub fn pack(rows: &[Row]) -> (Bytes, Chunk) {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let (mut row_bytes, mut inflated) = (Vec::new(), 0);
    for row in rows {
        row_bytes.clear();
        put_row(&mut row_bytes, row);
        inflated += row_bytes.len() as u64;
        // Writing to memory cannot fail.
        let _ = encoder.write_all(&row_bytes);
    }
    let packed = Bytes::from(encoder.finish().unwrap_or_default());
    let chunk = Chunk {
        bytes: packed.len() as u64,
        inflated,
        versions: rows.len() as u64,
        blake3: Blake3::new(*blake3::hash(&packed).as_bytes()),
    };
    (packed, chunk)
}

/// Reads the rows of a chunk, once it is the one that the manifest names.
///
/// # Errors
///
/// It is another one, or not made of rows.
pub fn unpack(packed: &[u8], chunk: &Chunk) -> Result<Vec<Row>, SnapshotError> {
    prove(packed, chunk)?;
    let mut bytes = Vec::with_capacity(usize::try_from(chunk.inflated).unwrap_or(0));
    let mut inflating = ZlibDecoder::new(packed).take(chunk.inflated.saturating_add(1));
    let whole = inflating.read_to_end(&mut bytes).is_ok_and(|read| read as u64 == chunk.inflated);
    if !whole {
        return Err(SnapshotError::Forged("a chunk does not inflate"));
    }
    let mut left = bytes.as_slice();
    let mut rows = Vec::with_capacity(bytes.len() / 512);
    while !left.is_empty() {
        rows.push(take_row(&mut left).ok_or(SnapshotError::Forged("a chunk is not made of rows"))?);
    }
    if rows.len() as u64 != chunk.versions {
        return Err(SnapshotError::Forged("a chunk has another number of rows"));
    }
    Ok(rows)
}

/// Tells whether bytes are the chunk that the manifest names.
///
/// # Errors
///
/// They are not.
pub fn prove(packed: &[u8], chunk: &Chunk) -> Result<(), SnapshotError> {
    let same =
        packed.len() as u64 == chunk.bytes && blake3::hash(packed).as_bytes() == chunk.blake3.as_bytes();
    if same { Ok(()) } else { Err(SnapshotError::Forged("a chunk has other bytes than the manifest says")) }
}

fn put_row(bytes: &mut Vec<u8>, row: &Row) {
    // A name has at most 900 bytes and a record at most 64 KiB; what does not fit is left to be read again.
    let record = row.record.as_ref().and_then(|(name, record)| {
        let fits = record.len() as u64 <= RECORD_BYTES_MAX;
        Some((u16::try_from(name.len()).ok()?, u32::try_from(record.len()).ok()?, name, record))
            .filter(|_| fits)
    });
    bytes.put_slice(row.name.as_bytes());
    bytes.put_u64(row.version.order.get());
    bytes.put_slice(&row.version.upload.to_bytes());
    bytes.put_u8(u8::from(row.kind == Kind::Put));
    bytes.put_u64(row.holders);
    bytes.put_u16(record.map_or(0, |(length, ..)| length));
    bytes.put_u32(record.map_or(0, |(_, length, ..)| length));
    if let Some((_, _, name, record)) = record {
        bytes.put_slice(name.as_bytes());
        bytes.put_slice(record);
    }
}

fn take_row(left: &mut &[u8]) -> Option<Row> {
    if left.len() < ROW_HEAD_BYTES {
        return None;
    }
    let mut name = [0; 32];
    left.copy_to_slice(&mut name);
    let order = Order::new(left.get_u64());
    let mut upload = [0; 16];
    left.copy_to_slice(&mut upload);
    let kind = match left.get_u8() {
        0 => Kind::Del,
        1 => Kind::Put,
        _ => return None,
    };
    let holders = left.get_u64();
    let (name_bytes, record_bytes) = (usize::from(left.get_u16()), usize::try_from(left.get_u32()).ok()?);
    let (text, rest) = left.split_at_checked(name_bytes)?;
    let (record, rest) = rest.split_at_checked(record_bytes)?;
    *left = rest;
    let record = match record_bytes {
        0 => None,
        _ => Some((std::str::from_utf8(text).ok()?.to_owned(), record.to_vec())),
    };
    let version = Version { order, upload: UploadId::from_bytes(upload) };
    Some(Row { name: NameHash::new(name), version, kind, holders, record })
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
