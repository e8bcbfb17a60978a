//! Bytes on their way to providers: held once, sent to all.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::asset::Sha256;
use crate::asset::digest::Sha256Hasher;

/// The bytes of one object; cloning is cheap and copies nothing.
#[derive(Debug, Clone)]
pub struct Payload(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    chunks: Vec<Bytes>,
    bytes: u64,
    sha256: OnceLock<Sha256>,
}

impl Payload {
    /// Wraps the chunks of one object.
    pub fn new(chunks: Vec<Bytes>) -> Self {
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self(Arc::new(Inner { chunks, bytes, sha256: OnceLock::new() }))
    }

    /// Wraps the chunks of one object whose SHA-256 is known already.
    pub fn with_sha256(chunks: Vec<Bytes>, sha256: Sha256) -> Self {
        let payload = Self::new(chunks);
        payload.0.sha256.get_or_init(|| sha256);
        payload
    }

    /// Returns the chunks, in order.
    pub fn chunks(&self) -> &[Bytes] {
        &self.0.chunks
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        self.0.bytes
    }

    /// Tells whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.bytes == 0
    }

    /// Returns the SHA-256, computed at most once for all providers.
    pub fn sha256(&self) -> Sha256 {
        *self.0.sha256.get_or_init(|| {
            let mut hasher = Sha256Hasher::new();
            self.0.chunks.iter().for_each(|chunk| hasher.update(chunk));
            hasher.finish()
        })
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::new(vec![bytes])
    }
}
