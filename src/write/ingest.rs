//! Receives a body: cuts it into blocks and parts, hashes it once, and hands full parts to the quorum.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use md5::{Digest, Md5};
use tokio::time::Instant;

use super::pipeline::Item;
use super::quorum::{Quorum, QuorumLost};
use super::{BodyError, BodyStream, ExpectedDigests, Outcome, PutRequest, WriteError};
use crate::asset::digest::Sha256Hasher;
use crate::asset::{BLOCK_BYTES, BlockHasher, BlockList, PART_BYTES, Sha256};
use crate::clock::Clock;
use crate::provider::Payload;

/// What is known of a body once it arrived.
#[derive(Debug, Clone)]
pub(super) struct Ingested {
    pub list: Arc<BlockList>,
    pub sha256: Sha256,
    pub content_type: Arc<str>,
    /// When the last byte came.
    pub arrived: Instant,
}

/// Receives a body until all of it was handed to the quorum.
pub(super) async fn ingest(
    request: &PutRequest,
    mut body: BodyStream,
    quorum: &mut Quorum,
    clock: &Clock,
    patience: Duration,
) -> Result<Ingested, WriteError> {
    let (mut intake, mut arrived) = (Intake::new(request), None);
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(broken)?;
        intake.bytes += chunk.len() as u64;
        if intake.bytes > request.bytes_max {
            return Err(WriteError::TooLarge);
        }
        if request.content_length == Some(intake.bytes) {
            arrived = Some(clock.now());
            quorum.body_arrived(clock.now(), patience);
        }
        while !chunk.is_empty() {
            intake.fill(&mut chunk);
            if intake.part_bytes() == PART_BYTES {
                let part = intake.take_part(None);
                quorum.send(&part).await?;
            }
        }
    }
    if request.content_length.is_some_and(|length| length != intake.bytes) {
        return Err(WriteError::BodyBroken(format!("{} bytes came", intake.bytes)));
    }
    let arrived = arrived.unwrap_or_else(|| clock.now());
    quorum.body_arrived(arrived, patience);
    intake.finish(request, quorum, arrived).await
}

/// A body on its way in.
struct Intake {
    declared: Option<String>,
    content_type: Option<Arc<str>>,
    bytes: u64,
    /// The block being filled.
    block: BytesMut,
    /// The full blocks of the part being filled.
    blocks: Vec<Bytes>,
    parts: u32,
    hasher: BlockHasher,
    sha256: Sha256Hasher,
    md5: Option<Md5>,
}

impl Intake {
    fn new(request: &PutRequest) -> Self {
        Self {
            declared: request.content_type.clone(),
            content_type: None,
            bytes: 0,
            block: BytesMut::new(),
            blocks: Vec::new(),
            parts: 0,
            hasher: BlockHasher::new(),
            sha256: Sha256Hasher::new(),
            md5: request.expected.md5.map(|_| Md5::new()),
        }
    }

    /// Moves bytes of `chunk` into the block being filled. One copy, so that a client that sends single
    /// bytes cannot make us hold a network buffer for each.
    fn fill(&mut self, chunk: &mut Bytes) {
        if self.block.capacity() == 0 {
            self.block.reserve(BLOCK_BYTES.min(chunk.len().max(4_096)));
        }
        let taken = chunk.split_to(chunk.len().min(BLOCK_BYTES - self.block.len()));
        self.block.extend_from_slice(&taken);
        if self.block.len() == BLOCK_BYTES {
            self.settle_block();
        }
    }

    fn settle_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let block = std::mem::take(&mut self.block).freeze();
        self.sha256.update(&block);
        if let Some(md5) = &mut self.md5 {
            md5.update(&block);
        }
        self.content_type.get_or_insert_with(|| sniff(self.declared.as_deref(), &block));
        self.hasher.push(block.clone());
        self.blocks.push(block);
    }

    fn part_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.len() as u64).sum()
    }

    /// Takes the part that was filled; of a single part the SHA-256 is that of the asset.
    fn take_part(&mut self, sha256: Option<Sha256>) -> Item {
        let chunks = std::mem::take(&mut self.blocks);
        let payload = match sha256 {
            Some(sha256) => Payload::with_sha256(chunks, sha256),
            None => Payload::new(chunks),
        };
        let number = self.parts;
        self.parts += 1;
        Item::Part { number, payload, content_type: self.content_type() }
    }

    fn content_type(&mut self) -> Arc<str> {
        self.content_type.get_or_insert_with(|| sniff(self.declared.as_deref(), b"")).clone()
    }

    /// Compares digests before the last part is sent, so that a mismatch leaves nothing of a small asset.
    async fn finish(
        mut self,
        request: &PutRequest,
        quorum: &mut Quorum,
        arrived: Instant,
    ) -> Result<Ingested, WriteError> {
        self.settle_block();
        let sha256 = self.sha256.clone().finish();
        let md5 = self.md5.take().map(|md5| md5.finalize().into());
        compare(&request.expected, sha256, md5)?;
        if !self.blocks.is_empty() {
            let part = self.take_part((self.parts == 0).then_some(sha256));
            quorum.send(&part).await?;
        }
        let content_type = self.content_type();
        let list = Arc::new(self.hasher.finish());
        quorum.send(&Item::End(list.clone())).await?;
        Ok(Ingested { list, sha256, content_type, arrived })
    }
}

fn compare(expected: &ExpectedDigests, sha256: Sha256, md5: Option<[u8; 16]>) -> Result<(), WriteError> {
    if expected.sha256.iter().any(|declared| *declared != sha256) {
        return Err(WriteError::DigestMismatch("SHA-256"));
    }
    if expected.md5 != md5 {
        return Err(WriteError::DigestMismatch("MD5"));
    }
    Ok(())
}

fn sniff(declared: Option<&str>, first: &[u8]) -> Arc<str> {
    let sniffed = || infer::get(first).map(|kind| kind.mime_type());
    let text = || std::str::from_utf8(first).is_ok_and(|text| !text.is_empty() && !text.contains('\0'));
    let plain = || if text() { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    declared.or_else(sniffed).unwrap_or_else(plain).into()
}

fn broken(error: BodyError) -> WriteError {
    match error {
        BodyError::Broken(reason) => WriteError::BodyBroken(reason),
        BodyError::Timeout => WriteError::BodyTimeout,
        BodyError::TooLarge => WriteError::TooLarge,
    }
}

impl From<QuorumLost> for WriteError {
    /// Before the record goes out, losing the quorum leaves nothing behind.
    fn from(QuorumLost(reason): QuorumLost) -> Self {
        Self::Unavailable { outcome: Outcome::NotCommitted, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_sniffed_only_where_none_is_declared() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        let table: [(Option<&str>, &[u8], &str); 5] = [
            (Some("image/webp"), png, "image/webp"),
            (None, png, "image/png"),
            (None, b"hello", "text/plain; charset=utf-8"),
            (None, b"a\0b", "application/octet-stream"),
            (None, b"", "application/octet-stream"),
        ];
        for (declared, first, expected) in table {
            assert_eq!(&*sniff(declared, first), expected);
        }
    }

    #[test]
    fn every_declared_digest_counts() {
        let right = Sha256::of(b"x");
        let wrong = Sha256::of(b"y");
        let with = |sha256: Vec<Sha256>, md5| ExpectedDigests { sha256, md5 };
        assert_eq!(compare(&with(vec![], None), right, None), Ok(()));
        assert_eq!(compare(&with(vec![right, right], Some([1; 16])), right, Some([1; 16])), Ok(()));
        assert!(compare(&with(vec![right, wrong], None), right, None).is_err());
        assert!(compare(&with(vec![], Some([1; 16])), right, Some([2; 16])).is_err());
    }
}
