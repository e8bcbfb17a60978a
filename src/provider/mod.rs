//! Providers: places that keep objects under keys, and nothing more.
//!
//! One trait, [`Provider`], is what the flows see. Wire types of a vendor stay inside its module; between
//! floors travel keys, payloads and [`ProviderError`]s. A provider does not retry, does not hedge and does
//! not judge: it answers within its deadlines, and says what kind of failure it met.

pub mod budget;
pub mod bunny;
pub mod contract;
pub mod disk;
pub mod error;
pub mod faulty;
pub mod fleet;
pub mod metered;
pub mod payload;
pub mod race;
pub mod s3;
mod transport;
pub mod trust;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use budget::Budget;
pub use error::{BuildError, ErrorKind, Operation, ProviderError};
pub use fleet::{Fleet, Slot};
pub use payload::Payload;
pub use trust::{Observer, Trust};

use crate::asset::{Key, Sha256};

/// The configured name of a provider: 1-63 of `[a-z0-9-]`, checked by the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(Arc<str>);

impl ProviderId {
    /// Wraps a checked name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ProviderId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The result of everything that a provider does.
pub type Result<T> = std::result::Result<T, ProviderError>;

/// What a provider can do beyond the trait's promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// [`Provider::stat`] tells the SHA-256 of the stored bytes, computed by the provider.
    pub stat_sha256: bool,
    /// Listings tell the SHA-256 of the stored bytes, computed by the provider.
    pub list_sha256: bool,
    /// [`Provider::get`] honours ranges on the wire (else it reads and skips).
    pub ranges: bool,
    /// Listings come in key order.
    pub ordered_listing: bool,
}

/// What a provider says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The full key, as the provider spells it; alien objects may have any.
    pub key: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The last change by the provider's clock, in Unix milliseconds, where it is told.
    pub modified_unix_ms: Option<u64>,
    /// The SHA-256 of the stored bytes, where the provider vouches for one.
    pub sha256: Option<Sha256>,
}

/// What lies directly in one folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirListing {
    /// The objects in the folder.
    pub entries: Vec<Entry>,
    /// The names of its sub-folders, without slashes.
    pub dirs: Vec<String>,
}

/// The bytes of one object, or of a range of it, on their way.
pub struct Download {
    /// The size of the whole object in bytes.
    pub object_bytes: u64,
    /// The bytes asked for, unverified; short bodies end in an error, never cleanly.
    pub body: BoxStream<'static, Result<Bytes>>,
}

/// How a provider protects the bytes of an upload, as [`Provider::probe`] found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// In plain words, which checksum the provider was seen to enforce, or how copies are confirmed instead.
    pub checksum: String,
    /// The provider's clock minus ours, in milliseconds, where it tells its time.
    pub clock_offset_ms: Option<i64>,
}

/// A place that keeps objects under keys.
///
/// # Cancellation
///
/// Dropping a future or a body closes its connection. A dropped `put` may or may not have stored the
/// object; keys are written once, so the same `put` may be sent again.
#[async_trait]
pub trait Provider: Debug + Send + Sync + 'static {
    /// Returns the configured name.
    fn id(&self) -> &ProviderId;

    /// Returns the vendor's kind, as the configuration spells it: `s3`, `bunny`, `disk`.
    fn kind(&self) -> &'static str;

    /// Returns what this provider can do.
    fn capabilities(&self) -> Capabilities;

    /// Stores an object durably, and returns once the provider confirmed length and checksum.
    ///
    /// Parents need not exist. Putting the same bytes again is fine. `payload` is never empty.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the provider holds other bytes than were sent. After any other error the object may
    /// be there or not.
    async fn put(&self, key: &Key, payload: &Payload, content_type: &str) -> Result<()>;

    /// Opens an object, or the bytes `range` of it; `range` is not empty and lies within the object.
    ///
    /// # Errors
    ///
    /// `NotFound` on the provider's plain word that it has no such object; `Corrupt` on its plain word that the
    /// object ends before `range` does; `Protocol` for an answer that is not what was asked for.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download>;

    /// Returns what the provider says of one object.
    ///
    /// # Errors
    ///
    /// As [`Provider::get`].
    async fn stat(&self, key: &Key) -> Result<Entry>;

    /// Removes an object; one that is not there is fine.
    ///
    /// # Errors
    ///
    /// The object may be there or not.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// Returns what lies directly in `dir` (`""` or ending in a slash); a missing folder is empty.
    ///
    /// # Errors
    ///
    /// No part of a listing is returned: it is whole or an error.
    async fn list_dir(&self, dir: &str) -> Result<DirListing>;

    /// Streams everything below `dir` (`""` or ending in a slash) in pages of bounded size.
    ///
    /// The order is that of the keys only where [`Capabilities::ordered_listing`] says so. After an error
    /// the stream ends and what came before is incomplete.
    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>>;

    /// Returns the provider's clock minus ours in milliseconds, as last seen; `None` before any answer.
    fn clock_offset_ms(&self) -> Option<i64>;

    /// Finds out, with short-lived objects under `probe/`, how uploads are protected, and remembers it.
    ///
    /// # Errors
    ///
    /// The provider cannot be used; the error says why.
    async fn probe(&self) -> Result<ProbeReport>;
}

/// Reads a small object whole, refusing more than `bytes_max`.
///
/// # Errors
///
/// Those of [`Provider::get`]; `Protocol` when the object is too large.
pub async fn get_small(provider: &dyn Provider, key: &Key, bytes_max: u64) -> Result<Bytes> {
    use futures::TryStreamExt;
    let download = provider.get(key, None).await?;
    let too_large = || {
        ProviderError::new(provider.id(), Operation::Get, ErrorKind::Protocol)
            .with_detail(format!("{key} is larger than {bytes_max} bytes"))
    };
    if download.object_bytes > bytes_max {
        return Err(too_large());
    }
    let Download { object_bytes, mut body } = download;
    let mut bytes = bytes::BytesMut::new();
    while let Some(chunk) = body.try_next().await? {
        if (bytes.len() + chunk.len()) as u64 > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() as u64 != object_bytes {
        let failure = ProviderError::new(provider.id(), Operation::Get, ErrorKind::Protocol);
        return Err(failure.with_detail(format!("{} of {object_bytes} bytes of {key} came", bytes.len())));
    }
    Ok(bytes.freeze())
}
