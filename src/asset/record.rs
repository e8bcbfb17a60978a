//! Records: what is known of one version, as one sealed line of JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::blocks::{self, BlockList};
use super::digest::{Blake3, Sha256};
use super::key::Key;
use super::name::AssetName;
use super::parts;
use super::seal::{RecordKey, SealError};
use super::version::{Kind, Version};

/// The format that this program writes, and the only one it reads.
const FORMAT: u32 = 1;
/// The largest sealed record that is read, in bytes; names and metadata are limited to far less.
pub const RECORD_BYTES_MAX: u64 = 64 * 1024;
/// The content type under which records, feed entries and canaries are stored.
pub const RECORD_CONTENT_TYPE: &str = "application/json";

/// Sealed bytes are not a record that may be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The MAC is wrong or missing, or the record lies under a key that is not its own.
    #[error("the record is forged or damaged: {0}")]
    Forged(&'static str),
    /// The MAC is right, but the format is not one that this program knows.
    #[error("the record has format {0}, which this version of triplicate does not know")]
    UnknownFormat(u64),
}

/// What is known of one version of one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The canonical name.
    pub name: AssetName,
    /// The version.
    pub version: Version,
    /// When the version was stamped.
    pub created: DateTime<Utc>,
    /// What the version holds; `None` is a tombstone.
    pub put: Option<PutFields>,
}

/// What a version that holds bytes says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutFields {
    /// The size in bytes.
    pub size: u64,
    /// The BLAKE3 of the bytes.
    pub blake3: Blake3,
    /// The SHA-256 of the bytes.
    pub sha256: Sha256,
    /// The content type.
    pub content_type: String,
    /// The content encoding of the upload, given back and never decoded.
    pub content_encoding: Option<String>,
    /// The content disposition of the upload.
    pub content_disposition: Option<String>,
    /// The cache control of the upload; without it the configured rule holds.
    pub cache_control: Option<String>,
    /// User metadata, by lower-case key.
    pub metadata: BTreeMap<String, String>,
}

impl PutFields {
    /// Returns the block list of an asset that needs none on a provider.
    pub fn single_block(&self) -> Option<BlockList> {
        BlockList::single(self.blake3, self.size)
    }

    /// Tells whether a block list lies beside the parts.
    pub fn has_block_list(&self) -> bool {
        blocks::count(self.size) > 1
    }
}

/// The line as it is written: field order, names and absences are the contract's.
#[derive(Serialize, Deserialize)]
struct Line {
    format: u64,
    name: AssetName,
    kind: Kind,
    version: Version,
    upload: super::version::UploadId,
    created: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blake3: Option<Blake3>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_disposition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_control: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<Vec<u64>>,
}

/// Enough of a line to tell its format.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

impl Record {
    /// Returns whether the version holds bytes or is a tombstone.
    pub fn kind(&self) -> Kind {
        if self.put.is_some() { Kind::Put } else { Kind::Del }
    }

    /// Returns the key under which the record lies on every provider.
    pub fn key(&self) -> Key {
        Key::record(self.name.hash(), self.version, self.kind())
    }

    /// Writes the record as it lies on every provider.
    pub fn seal(&self, key: &RecordKey) -> Bytes {
        key.seal(&self.to_line())
    }

    /// Reads what lies on a provider under `at`.
    ///
    /// # Errors
    ///
    /// The record was not sealed with this key, lies under a key that is not its own, or has an unknown
    /// format.
    pub fn open(sealed: &[u8], key: &RecordKey, at: &Key) -> Result<Self, RecordError> {
        let line = key.open(sealed).map_err(|error| match error {
            SealError::Malformed => RecordError::Forged("not a line and its MAC"),
            SealError::Forged => RecordError::Forged("the MAC is wrong"),
        })?;
        let FormatOnly { format } =
            serde_json::from_str(line).map_err(|_| RecordError::Forged("no format number"))?;
        if format != u64::from(FORMAT) {
            return Err(RecordError::UnknownFormat(format));
        }
        let line: Line = serde_json::from_str(line).map_err(|_| RecordError::Forged("fields do not fit"))?;
        let record = Self::from_line(line)?;
        if record.key() == *at { Ok(record) } else { Err(RecordError::Forged("it lies under a foreign key")) }
    }

    fn to_line(&self) -> String {
        let put = self.put.as_ref();
        let line = Line {
            format: u64::from(FORMAT),
            name: self.name.clone(),
            kind: self.kind(),
            version: self.version,
            upload: self.version.upload,
            created: self.created,
            size: put.map(|put| put.size),
            blake3: put.map(|put| put.blake3),
            sha256: put.map(|put| put.sha256),
            content_type: put.map(|put| put.content_type.clone()),
            content_encoding: put.and_then(|put| put.content_encoding.clone()),
            content_disposition: put.and_then(|put| put.content_disposition.clone()),
            cache_control: put.and_then(|put| put.cache_control.clone()),
            metadata: put.map(|put| put.metadata.clone()).filter(|metadata| !metadata.is_empty()),
            parts: put.map(|put| parts::sizes(put.size)),
        };
        // Plain strings and numbers always have a JSON form.
        serde_json::to_string(&line).unwrap_or_default()
    }

    fn from_line(line: Line) -> Result<Self, RecordError> {
        if line.upload != line.version.upload {
            return Err(RecordError::Forged("upload and version differ"));
        }
        let put = match line.kind {
            Kind::Del => None,
            Kind::Put => {
                let fields = line.size.zip(line.blake3).zip(line.sha256).zip(line.content_type);
                let Some((((size, blake3), sha256), content_type)) = fields else {
                    return Err(RecordError::Forged("fields are missing"));
                };
                if line.parts.as_deref() != Some(parts::sizes(size).as_slice()) {
                    return Err(RecordError::Forged("the parts do not fit the size"));
                }
                Some(PutFields {
                    size,
                    blake3,
                    sha256,
                    content_type,
                    content_encoding: line.content_encoding,
                    content_disposition: line.content_disposition,
                    cache_control: line.cache_control,
                    metadata: line.metadata.unwrap_or_default(),
                })
            }
        };
        Ok(Self { name: line.name, version: line.version, created: line.created, put })
    }

    /// Returns the creation time as RFC 3339 with milliseconds.
    pub fn created_text(&self) -> String {
        self.created.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
