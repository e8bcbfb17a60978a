//! Protection: which checksum a vendor accepts and enforces, found out by sending it a damaged body.
//!
//! 1. A true body must be accepted; else the bucket cannot be used, and the probe fails.
//! 2. A body with one byte changed on the wire, under the signature and checksums of the true one, must be
//!    refused; then that checksum is enforced. Tried in order: the signed payload hash,
//!    `x-amz-checksum-sha256`, `Content-MD5`. A vendor that refuses the true body with a header is not sent
//!    that header again.
//! 3. Where nothing is enforced, every upload is read back, and the probe tries that once.
//! 4. All probe objects are removed; a failure to do so does not change the finding.

use bytes::Bytes;
use futures::TryStreamExt;
use tracing::debug;

use super::bucket::{Bucket, PutStyle};
use crate::asset::Key;
use crate::asset::digest::Sha256Hasher;
use crate::clock::Clock;
use crate::provider::transport::{Fault, upload_limit, within};
use crate::provider::{ErrorKind, Payload};

/// What makes an accepted upload a confirmed copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// The hash of the payload, which the signature covers.
    SignedPayload,
    /// The header `x-amz-checksum-sha256`.
    Sha256,
    /// The header `Content-MD5`.
    Md5,
    /// No checksum that is known to be enforced: the object is read back and compared.
    ReadBack,
}

/// How uploads to one bucket are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Protection {
    /// What makes an upload a copy.
    pub(super) check: Check,
    /// Whether the vendor checks `x-amz-checksum-sha256` and tells it again on `HEAD`.
    pub(super) tells_sha256: bool,
}

impl Protection {
    /// What is done until a probe has succeeded.
    pub(super) const UNKNOWN: Self = Self { check: Check::ReadBack, tells_sha256: false };

    /// Returns how uploads are sent.
    pub(super) fn style(self) -> PutStyle {
        PutStyle {
            sha256: self.tells_sha256 || self.check == Check::Sha256,
            md5: self.check == Check::Md5,
            tamper: false,
        }
    }

    /// Says it to an operator.
    pub(super) fn words(self) -> String {
        let words = match self.check {
            Check::SignedPayload => "enforces x-amz-content-sha256",
            Check::Sha256 => "enforces x-amz-checksum-sha256",
            Check::Md5 => "enforces Content-MD5",
            Check::ReadBack => "enforces no checksum, so every upload is read back and compared",
        };
        let told = if self.tells_sha256 { ", and tells the SHA-256 of what it holds" } else { "" };
        format!("{words}{told}")
    }
}

/// Finds out how uploads to `bucket` are protected.
pub(super) async fn find_out(bucket: &Bucket, clock: &Clock) -> Result<Protection, Fault> {
    let payload = Payload::from(Bytes::from(format!("a probe of triplicate, {}\n", clock.upload_id())));
    let mut probe = Probe { bucket, clock, payload, keys: Vec::new() };
    let found = probe.run().await;
    for key in &probe.keys {
        if let Err(fault) = bucket.delete(key).await {
            debug!(%key, %fault, "a probe object could not be removed");
        }
    }
    found
}

/// Reads an object back and compares it with what was sent.
pub(super) async fn read_back(bucket: &Bucket, key: &Key, payload: &Payload) -> Result<(), Fault> {
    let held = within(upload_limit(payload.len()), async {
        let mut opened = bucket.get(key, None).await?;
        let mut hasher = Sha256Hasher::new();
        while let Some(chunk) = opened.body.try_next().await? {
            hasher.update(&chunk);
        }
        Ok((opened.object_bytes, hasher.finish()))
    });
    match held.await {
        Ok(held) if held == (payload.len(), payload.sha256()) => Ok(()),
        Ok((bytes, _)) => {
            Err(Fault::new(ErrorKind::Corrupt, format!("{bytes} bytes read back are not those sent")))
        }
        Err(fault) if fault.kind == ErrorKind::NotFound => {
            Err(Fault::protocol("an accepted upload is not there when it is read back"))
        }
        Err(fault) => Err(fault),
    }
}

struct Probe<'a> {
    bucket: &'a Bucket,
    clock: &'a Clock,
    payload: Payload,
    keys: Vec<Key>,
}

impl Probe<'_> {
    async fn run(&mut self) -> Result<Protection, Fault> {
        let plain = PutStyle::default();
        let first = self.put(plain).await?;
        let signed = self.enforces(plain).await;
        let (hashed, tells_sha256) = self.try_sha256().await?;
        let md5 = PutStyle { md5: true, ..plain };
        let check = if signed {
            Check::SignedPayload
        } else if hashed {
            Check::Sha256
        } else if self.accepts(md5).await?.is_some() && self.enforces(md5).await {
            Check::Md5
        } else {
            read_back(self.bucket, &first, &self.payload).await?;
            Check::ReadBack
        };
        Ok(Protection { check, tells_sha256 })
    }

    /// Tells whether `x-amz-checksum-sha256` is enforced, and whether `HEAD` then shows it.
    async fn try_sha256(&mut self) -> Result<(bool, bool), Fault> {
        let style = PutStyle { sha256: true, ..PutStyle::default() };
        let Some(key) = self.accepts(style).await? else {
            return Ok((false, false));
        };
        if !self.enforces(style).await {
            return Ok((false, false));
        }
        // A vendor that takes offence at the question is not asked it.
        let told = self.bucket.head(&key, true).await.is_ok_and(|entry| {
            entry.sha256 == Some(self.payload.sha256()) && entry.bytes == self.payload.len()
        });
        Ok((true, told))
    }

    /// Tells where a true body was stored; a vendor that refuses the header is no failure.
    async fn accepts(&mut self, style: PutStyle) -> Result<Option<Key>, Fault> {
        match self.put(style).await {
            Ok(key) => Ok(Some(key)),
            Err(fault) if is_refusal(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Tells whether a damaged body is refused. A server error or a lost answer is no refusal: it might
    /// have come by chance.
    async fn enforces(&mut self, style: PutStyle) -> bool {
        self.put(PutStyle { tamper: true, ..style }).await.is_err_and(|fault| is_refusal(&fault))
    }

    async fn put(&mut self, style: PutStyle) -> Result<Key, Fault> {
        let key = Key::probe(self.clock.upload_id());
        self.keys.push(key.clone());
        self.bucket.put(&key, &self.payload, "text/plain", style).await?;
        Ok(key)
    }
}

/// A vendor may call a wrong checksum a bad request, a bad digest or a bad signature.
fn is_refusal(fault: &Fault) -> bool {
    matches!(fault.kind, ErrorKind::Refused | ErrorKind::Corrupt | ErrorKind::Denied)
}
