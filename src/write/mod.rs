//! The write flow: receive → list and stamp → record → feed → answer at the quorum.
//!
//! 1. The body is received and hashed once, and cut into parts; each full part goes to all providers at
//!    once ([`ingest`]). Memory is bounded: a part is filled, and a few more are on their way ([`quorum`]).
//! 2. Meanwhile `names/…` is listed on a majority of trusted providers (`survey`). Without one the write
//!    ends: `not-committed`.
//! 3. Declared digests are compared before the last part is sent. A mismatch, a broken or a too large body
//!    ends the write: `not-committed`, and what was stored is removed again.
//! 4. Once a majority holds parts and blocks, the version is stamped and its record goes out. Only from now
//!    on a failure is `unknown`.
//! 5. Per provider the order is parts → blocks → record → feed entry ([`pipeline`]), and then its canary must be
//!    the one of the beginning: a provider that was wiped in between, and even refilled, does not count. When a
//!    majority holds everything the index learns of it and the client is answered. The others go on; what they
//!    do not finish is left to repair.
//!
//! A delete is a write without bytes: its record is a tombstone. The flow runs in a task of its own, so a
//! client that leaves after its body arrived changes nothing.

pub mod commit;
pub mod ingest;
pub mod pipeline;
pub mod quorum;
mod survey;

pub use survey::CLOCK_OFFSET_MS_MAX;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::{Semaphore, oneshot};

use crate::asset::{AssetName, Blake3, Record, RecordKey, Sha256};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::health::monitor::Monitor;
use crate::provider::{Fleet, ProviderId};
use crate::replica::turns::Turns;
use crate::task::Tasks;

/// What a client asks to be stored; everything is checked but the bytes.
#[derive(Debug, Clone)]
pub struct PutRequest {
    /// The canonical name.
    pub name: AssetName,
    /// The declared content type, or the one of the extension; `None` lets the writer sniff the first bytes.
    pub content_type: Option<String>,
    /// The content encoding, kept as it is.
    pub content_encoding: Option<String>,
    /// The content disposition, kept as it is.
    pub content_disposition: Option<String>,
    /// The cache control, kept as it is.
    pub cache_control: Option<String>,
    /// User metadata, by lower-case key.
    pub metadata: BTreeMap<String, String>,
    /// Digests that the client declared; each is verified before anything is committed.
    pub expected: ExpectedDigests,
    /// The declared length of the body in bytes, if any.
    pub content_length: Option<u64>,
    /// The largest body that is taken, in bytes.
    pub bytes_max: u64,
    /// Answer only when all copies are made (or the time is up).
    pub wait_all: bool,
    /// Conditions on the current version, best effort.
    pub precondition: Precondition,
}

/// Digests that the client declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedDigests {
    /// SHA-256, from `Repr-Digest`, `Content-Digest` or `Checksum`; each one given is checked.
    pub sha256: Vec<Sha256>,
    /// MD5, from `Content-MD5`.
    pub md5: Option<[u8; 16]>,
}

/// Conditions on the current version, checked against the majority's listing just before the stamp.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Precondition {
    /// None.
    #[default]
    None,
    /// `If-None-Match: *`: there must be no current version.
    Absent,
    /// `If-Match: *`: there must be a current version.
    Present,
    /// `If-Match: "…"`: the current version must have one of these hashes.
    Matches(Vec<Blake3>),
    /// `If-None-Match: "…"`: the current version must have none of these hashes.
    Differs(Vec<Blake3>),
}

/// The state of one copy when the answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyState {
    /// The provider holds the version completely.
    Stored,
    /// The provider is still being written to.
    Pending,
    /// The provider failed; repair will make the copy.
    Failed,
}

/// A write that a majority holds.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The record of the new version.
    pub record: Arc<Record>,
    /// Whether the name had no current version before.
    pub created: bool,
    /// The state of each copy, in the order of the configuration.
    pub copies: Vec<(ProviderId, CopyState)>,
}

/// What a failed write left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No record was sent: the write has not happened and never will.
    NotCommitted,
    /// A record was sent but no majority confirmed: the write may turn up, entirely or not at all.
    Unknown,
}

/// A write failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No majority could be written in time.
    #[error("no majority of the providers could be written: {reason}")]
    Unavailable {
        /// What the failed write left behind.
        outcome: Outcome,
        /// For the log.
        reason: String,
    },
    /// A declared digest is not that of the body. Nothing was committed.
    #[error("the body does not match the declared {0}")]
    DigestMismatch(&'static str),
    /// The body is larger than allowed. Nothing was committed.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The body ended before its declared length, or broke. Nothing was committed.
    #[error("the body did not arrive whole: {0}")]
    BodyBroken(String),
    /// The body made no progress in time. Nothing was committed.
    #[error("the body made no progress in time")]
    BodyTimeout,
    /// A condition on the current version does not hold. Nothing was committed.
    #[error("the precondition does not hold")]
    PreconditionFailed,
}

/// The body of an upload; errors are texts for the log.
pub type BodyStream = BoxStream<'static, Result<Bytes, BodyError>>;

/// The body of an upload broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client went away or sent garbage.
    #[error("{0}")]
    Broken(String),
    /// No byte came in time.
    #[error("no progress in time")]
    Timeout,
    /// More bytes than allowed.
    #[error("too large")]
    TooLarge,
}

/// What a writer is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// All providers.
    pub fleet: Fleet,
    /// What is known of names.
    pub catalog: Catalog,
    /// Who is well, and who proves to be itself.
    pub monitor: Monitor,
    /// The key under which records are sealed.
    pub key: RecordKey,
    /// Time and dice.
    pub clock: Clock,
    /// Where flows run.
    pub tasks: Tasks,
    /// How long a write may take from its last body byte.
    pub patience: Duration,
    /// From which difference to most providers' clocks on nothing is stamped, in milliseconds; usually
    /// [`CLOCK_OFFSET_MS_MAX`]. Order holds without a limit, too.
    pub clock_offset_ms_max: u64,
    /// Told of clients, so that work in the background can yield.
    pub turns: Turns,
}

/// What the flow shares between writes.
#[derive(Debug)]
struct Shared {
    parts: Parts,
    /// The budget, in KiB, of pipelines that go on after their write was answered.
    aftermath: Semaphore,
}

impl std::ops::Deref for Shared {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// Takes writes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Shared>);

impl Writer {
    /// Builds a writer.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared { parts, aftermath: Semaphore::new(commit::AFTERMATH_KIB) }))
    }

    /// Stores a new version.
    ///
    /// # Errors
    ///
    /// The write failed; the error says whether it may still turn up.
    ///
    /// # Cancellation
    ///
    /// Once the body has arrived the write goes on though the caller is dropped; before, it ends.
    pub async fn put(&self, request: PutRequest, body: BodyStream) -> Result<Receipt, WriteError> {
        let turns = self.0.turns.clone();
        turns.client();
        let body = body.inspect(move |_| turns.client()).boxed();
        let (reply, answer) = oneshot::channel();
        drop(self.0.tasks.spawn("put", commit::put(self.0.clone(), request, body, reply)));
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Writes a tombstone. `None` when the name is known by a majority to be absent already.
    ///
    /// # Errors
    ///
    /// As [`Writer::put`].
    ///
    /// # Cancellation
    ///
    /// The delete goes on though the caller is dropped.
    pub async fn delete(&self, name: AssetName) -> Result<Option<Receipt>, WriteError> {
        self.0.turns.client();
        let (reply, answer) = oneshot::channel();
        drop(self.0.tasks.spawn("delete", commit::delete(self.0.clone(), name, reply)));
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// Says why nothing is written to a provider, nor its word taken.
fn not_writable(id: &ProviderId) -> String {
    format!("{id} has a foreign canary, or has not been seen since the start")
}

/// The flow ended without an answer: it panicked, or the gateway stops.
fn lost() -> WriteError {
    WriteError::Unavailable { outcome: Outcome::Unknown, reason: "the write was interrupted".to_owned() }
}
