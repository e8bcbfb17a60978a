//! A bucket at any S3 vendor, on `object_store`.
//!
//! Invariants: one request for each operation, never retried here; a missing bucket is never "not found"; a
//! broken listing is never an empty one; an upload counts once a checksum that the vendor was seen to
//! enforce covers it, or once it was read back. No multipart uploads (parts are at most 8 MiB), no bulk
//! deletes, no conditional writes: vendors differ there, and write-once keys need none of them.

mod bucket;
mod classify;
#[cfg(fuzzing)]
pub mod fuzzing;
mod protection;
mod wire;
mod xml;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use parking_lot::RwLock;
use secrecy::SecretString;
use tracing::info;

use self::bucket::Bucket;
use self::protection::{Check, Protection};
use self::wire::Wire;
use super::error::BuildError;
use super::transport::{self, ClockOffset, Fault};
use super::{
    Capabilities, DirListing, Download, Entry, Operation, Payload, ProbeReport, Provider, ProviderId, Result,
};
use crate::asset::Key;
use crate::clock::Clock;

/// The most pages that one folder may have: a listing that is kept whole must have an end.
const DIR_PAGES_MAX: usize = 1_000;
/// How many bytes the keys of one folder may have together: its listing is kept in memory.
const DIR_KEY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How many objects a page is asked to hold; no vendor gives more.
const PAGE_KEYS: usize = 1_000;

/// How to reach a bucket at any S3 vendor.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The base URL of the service, without the bucket.
    pub endpoint: url::Url,
    /// The region that signatures name.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The access key id.
    pub access_key_id: SecretString,
    /// The secret access key.
    pub secret_access_key: SecretString,
    /// `endpoint/bucket/key` rather than `bucket.endpoint/key`.
    pub path_style: bool,
    /// An HTTP proxy on this machine that all requests go through, and that talks TLS where the endpoint
    /// does; drills put faults there.
    pub via: Option<std::net::SocketAddr>,
}

/// A bucket as a provider.
#[derive(Debug)]
pub struct S3Provider {
    id: ProviderId,
    bucket: Bucket,
    clock: Clock,
    offset: Arc<ClockOffset>,
    protection: RwLock<Protection>,
}

impl S3Provider {
    /// Prepares a bucket; nothing is sent.
    ///
    /// # Errors
    ///
    /// The settings make no bucket's address, or there are no certificates to check an HTTPS server by.
    pub fn new(
        id: ProviderId,
        mut settings: S3Settings,
        clock: Clock,
    ) -> std::result::Result<Self, BuildError> {
        settings.endpoint = transport::endpoint_on_the_way(settings.endpoint, settings.via)?;
        let offset = Arc::new(ClockOffset::new(clock.clone()));
        let secrets = [settings.access_key_id.clone(), settings.secret_access_key.clone()];
        let client = transport::client(&settings.endpoint, settings.via)?;
        let wire = Wire::new(client, Arc::clone(&offset), Arc::new(secrets));
        let bucket = Bucket::new(&settings, &wire)?;
        Ok(Self { id, bucket, clock, offset, protection: RwLock::new(Protection::UNKNOWN) })
    }

    fn protection(&self) -> Protection {
        *self.protection.read()
    }

    async fn put_and_confirm(&self, key: &Key, payload: &Payload, content_type: &str) -> FaultResult<()> {
        let protection = self.protection();
        self.bucket.put(key, payload, content_type, protection.style()).await?;
        match protection.check {
            Check::SignedPayload | Check::Sha256 | Check::Md5 => Ok(()),
            Check::ReadBack => protection::read_back(&self.bucket, key, payload).await,
        }
    }

    async fn collect_dir(&self, dir: &str) -> FaultResult<DirListing> {
        let mut listing = DirListing::default();
        let (mut token, mut key_bytes) = (None, 0);
        for _ in 0..DIR_PAGES_MAX {
            let page = self.bucket.page(dir, true, token, PAGE_KEYS).await?;
            key_bytes += page.entries.iter().map(|entry| entry.key.len()).sum::<usize>();
            key_bytes += page.prefixes.iter().map(String::len).sum::<usize>();
            if key_bytes > DIR_KEY_BYTES_MAX {
                return Err(Fault::protocol(format!(
                    "the folder {dir:?} has more than {DIR_KEY_BYTES_MAX} bytes of keys"
                )));
            }
            listing.entries.extend(page.entries.into_iter().filter(|entry| !is_folder_marker(entry)));
            let names = page.prefixes.iter().filter_map(|prefix| prefix.strip_prefix(dir)?.strip_suffix('/'));
            listing.dirs.extend(names.map(str::to_owned));
            match page.next {
                Some(next) => token = Some(next),
                None => return Ok(listing),
            }
        }
        Err(Fault::protocol(format!("the folder {dir:?} has more than {DIR_PAGES_MAX} pages")))
    }
}

type FaultResult<T> = std::result::Result<T, Fault>;

#[async_trait]
impl Provider for S3Provider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn kind(&self) -> &'static str {
        "s3"
    }

    fn capabilities(&self) -> Capabilities {
        // General-purpose buckets list in key order, others do not, and a listing does not say which it is.
        Capabilities {
            stat_sha256: self.protection().tells_sha256,
            list_sha256: false,
            ranges: true,
            ordered_listing: false,
        }
    }

    async fn put(&self, key: &Key, payload: &Payload, content_type: &str) -> Result<()> {
        let done = self.put_and_confirm(key, payload, content_type).await;
        done.map_err(|fault| fault.at(&self.id, Operation::Put))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        let id = self.id.clone();
        let opened = self.bucket.get(key, range).await.map_err(|fault| fault.at(&id, Operation::Get))?;
        let body = opened.body.map_err(move |fault| fault.at(&id, Operation::Get)).boxed();
        Ok(Download { object_bytes: opened.object_bytes, body })
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        let entry = self.bucket.head(key, self.protection().tells_sha256).await;
        entry.map_err(|fault| fault.at(&self.id, Operation::Stat))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.bucket.delete(key).await.map_err(|fault| fault.at(&self.id, Operation::Delete))
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        self.collect_dir(dir).await.map_err(|fault| fault.at(&self.id, Operation::List))
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        let id = self.id.clone();
        let start = Some((self.bucket.clone(), dir.to_owned(), None));
        let pages = stream::try_unfold(start, |state| async move {
            let Some((bucket, dir, token)) = state else {
                return Ok(None);
            };
            let page = bucket.page(&dir, false, token, PAGE_KEYS).await?;
            let entries: Vec<_> = page.entries.into_iter().filter(|entry| !is_folder_marker(entry)).collect();
            let next = page.next.map(|next| (bucket, dir, Some(next)));
            Ok(Some((entries, next)))
        });
        pages.map_err(move |fault: Fault| fault.at(&id, Operation::List)).boxed()
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        self.offset.get_ms()
    }

    async fn probe(&self) -> Result<ProbeReport> {
        let found = protection::find_out(&self.bucket, &self.clock).await;
        let protection = found.map_err(|fault| fault.at(&self.id, Operation::Probe))?;
        *self.protection.write() = protection;
        let checksum = protection.words();
        info!(provider = %self.id, checksum, "probed how uploads are protected");
        Ok(ProbeReport { checksum, clock_offset_ms: self.offset.get_ms() })
    }
}

/// Consoles and gateways show folders as empty objects whose key ends in a slash; they hold nothing.
fn is_folder_marker(entry: &Entry) -> bool {
    entry.bytes == 0 && entry.key.ends_with('/')
}

#[cfg(test)]
mod stub;
#[cfg(test)]
mod tests;
