//! A storage zone of Bunny Edge Storage, over its own HTTP API.
//!
//! Invariants: an upload counts once `DESCRIBE` shows its length and SHA-256, whatever the upload's own
//! answer said; a folder is never deleted, whose deletion would be recursive; no more requests are in flight
//! than the servers allow. `HEAD` is never used, because the servers answer it with 401.
//!
//! A deletion right after the upload may not take effect at once, and emptied folders stay behind: callers
//! must not read much into either.

mod answer;
#[cfg(fuzzing)]
pub mod fuzzing;
mod rows;
mod walk;
mod zone;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use secrecy::SecretString;
use tracing::{debug, info};

use self::zone::Zone;
use super::error::BuildError;
use super::transport::{ClockOffset, Fault};
use super::{
    Capabilities, DirListing, Download, Entry, ErrorKind, Operation, Payload, ProbeReport, Provider,
    ProviderId, Result,
};
use crate::asset::{Key, Sha256};
use crate::clock::Clock;

/// How to reach a zone of Bunny Edge Storage.
#[derive(Debug, Clone)]
pub struct BunnySettings {
    /// The base URL of the zone's primary region.
    pub endpoint: url::Url,
    /// The zone.
    pub zone: String,
    /// The zone's password.
    pub access_key: SecretString,
    /// An HTTP proxy on this machine that all requests go through, and that talks TLS where the endpoint
    /// does; drills put faults there.
    pub via: Option<std::net::SocketAddr>,
}

/// A zone as a provider.
#[derive(Debug)]
pub struct BunnyProvider {
    id: ProviderId,
    zone: Arc<Zone>,
    clock: Clock,
    offset: Arc<ClockOffset>,
}

impl BunnyProvider {
    /// Prepares a zone; nothing is sent.
    ///
    /// # Errors
    ///
    /// The settings make no zone's address, or there are no certificates to check an HTTPS server by.
    pub fn new(
        id: ProviderId,
        settings: BunnySettings,
        clock: Clock,
    ) -> std::result::Result<Self, BuildError> {
        let offset = Arc::new(ClockOffset::new(clock.clone()));
        let zone = Arc::new(Zone::new(&settings, Arc::clone(&offset))?);
        Ok(Self { id, zone, clock, offset })
    }

    async fn find_out(&self, keys: &[Key; 2]) -> FaultResult<&'static str> {
        let payload = Payload::from(Bytes::from(format!("a probe of triplicate, {}\n", keys[0])));
        self.zone.put(&keys[0], &payload, payload.sha256(), "text/plain").await?;
        let told = self.zone.confirm(&keys[0], &payload).await?;
        let wrong = Sha256::of(b"other bytes");
        let refused = match self.zone.put(&keys[1], &payload, wrong, "text/plain").await {
            Err(fault) if matches!(fault.kind, ErrorKind::Corrupt | ErrorKind::Refused) => true,
            Err(fault) => return Err(fault),
            // Some say that a wrong checksum is answered like a right one, and nothing is stored.
            Ok(()) => match self.zone.describe(&keys[1]).await {
                Ok(_) => false,
                Err(fault) if fault.kind == ErrorKind::NotFound => true,
                Err(fault) => return Err(fault),
            },
        };
        Ok(match (refused, told) {
            (true, true) => "refuses a wrong Checksum, and DESCRIBE shows the SHA-256 of what it holds",
            (false, true) => "DESCRIBE shows the SHA-256 of what it holds; a wrong Checksum is not refused",
            (_, false) => "DESCRIBE shows no SHA-256, so every upload is read back and compared",
        })
    }
}

type FaultResult<T> = std::result::Result<T, Fault>;

#[async_trait]
impl Provider for BunnyProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn kind(&self) -> &'static str {
        "bunny"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { stat_sha256: true, list_sha256: true, ranges: true, ordered_listing: false }
    }

    async fn put(&self, key: &Key, payload: &Payload, content_type: &str) -> Result<()> {
        let done = async {
            self.zone.put(key, payload, payload.sha256(), content_type).await?;
            self.zone.confirm(key, payload).await
        };
        done.await.map(drop).map_err(|fault| fault.at(&self.id, Operation::Put))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        let id = self.id.clone();
        let opened = self.zone.get(key, range).await.map_err(|fault| fault.at(&id, Operation::Get))?;
        let body = opened.body.map_err(move |fault| fault.at(&id, Operation::Get)).boxed();
        Ok(Download { object_bytes: opened.object_bytes, body })
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        self.zone.describe(key).await.map_err(|fault| fault.at(&self.id, Operation::Stat))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.zone.delete(key).await.map_err(|fault| fault.at(&self.id, Operation::Delete))
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        self.zone.list(dir).await.map_err(|fault| fault.at(&self.id, Operation::List))
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        let id = self.id.clone();
        let pages = walk::tree(Arc::clone(&self.zone), dir.to_owned());
        pages.map_err(move |fault| fault.at(&id, Operation::List)).boxed()
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        self.offset.get_ms()
    }

    async fn probe(&self) -> Result<ProbeReport> {
        let keys = [0, 1].map(|_| Key::probe(self.clock.upload_id()));
        let found = self.find_out(&keys).await;
        for key in &keys {
            if let Err(fault) = self.zone.delete(key).await {
                debug!(%key, %fault, "a probe object could not be removed");
            }
        }
        let checksum = found.map_err(|fault| fault.at(&self.id, Operation::Probe))?.to_owned();
        info!(provider = %self.id, checksum, "probed how uploads are protected");
        Ok(ProbeReport { checksum, clock_offset_ms: self.offset.get_ms() })
    }
}

#[cfg(test)]
mod stub;
#[cfg(test)]
mod tests;
