//! A storage zone of this process: the storage API of Bunny in front of any provider.
//!
//! For drills where there is no provider on the network, so that the gateway has a wire that can be cut. It has
//! none of the service's oddities and limits. What it does otherwise than the service: it keeps nothing but
//! keys of this product, deleting what is not there is 200 like any deletion, and `HEAD` is no method.
//!
//! Invariants: an upload whose `Checksum` is wrong stores nothing; a checksum that is told is that of the bytes
//! that were stored, and is forgotten when size or time of the object change; a store that fails is a fault
//! (401, 429, 5xx), never a 404. Uploads are held whole, a few at a time; everything else streams.

mod answer;
mod vouched;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use url::Url;

use self::answer::{Refusal, Rows};
use self::vouched::Vouched;
use super::wire::{Body, Connection, Cut, Handler, Loopback, WireError};
use crate::asset::digest::Sha256Hasher;
use crate::asset::key::parse;
use crate::asset::{Key, PART_BYTES, Sha256};
use crate::clock::random_secret;
use crate::provider::bunny::BunnySettings;
use crate::provider::{Download, ErrorKind, Payload, Provider};
use crate::task::Tasks;

/// The largest upload: the block list of the largest asset; a part is smaller.
const UPLOAD_BYTES_MAX: u64 = 4 * PART_BYTES;
/// How many uploads are held at once.
const UPLOADS_MAX: usize = 32;
/// How long an upload may take to arrive, its turn included.
const UPLOAD_LIMIT: Duration = Duration::from_secs(120);
/// The characters of the zone's name, of 64 random ones.
const ZONE_NAME_CHARS: usize = 12;

/// A zone that is served on a loopback port; dropping it stops the server.
#[derive(Debug)]
pub struct Zone {
    loopback: Loopback<Counter>,
    endpoint: Url,
}

/// What serves the zone.
#[derive(Debug)]
struct Counter {
    store: Arc<dyn Provider>,
    name: String,
    access_key: SecretString,
    vouched: Vouched,
    uploads: Semaphore,
}

impl Zone {
    /// Serves `store` under a random name and with a random password, until it is dropped or `tasks` stop.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn serve(store: Arc<dyn Provider>, tasks: &Tasks) -> Result<Self, WireError> {
        let mut name = HEXLOWER.encode(&random_secret());
        name.truncate(ZONE_NAME_CHARS);
        let counter = Counter {
            store,
            name: format!("drill-{name}"),
            access_key: HEXLOWER.encode(&random_secret()).into(),
            vouched: Vouched::new(),
            uploads: Semaphore::new(UPLOADS_MAX),
        };
        let loopback = Loopback::open(Arc::new(counter), tasks)?;
        let endpoint = loopback.endpoint();
        let endpoint = endpoint.parse().map_err(|_| WireError::Upstream(format!("{endpoint} is no URL")))?;
        Ok(Self { loopback, endpoint })
    }

    /// Returns how a client reaches the zone.
    pub fn settings(&self) -> BunnySettings {
        let counter = self.loopback.handler();
        BunnySettings {
            endpoint: self.endpoint.clone(),
            zone: counter.name.clone(),
            access_key: counter.access_key.clone(),
            via: None,
        }
    }
}

/// An answer, or why there is none.
type Answer = Result<Response<Body>, Refusal>;

impl Handler for Counter {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        _connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        Ok(self.answer(request).await.unwrap_or_else(Refusal::answer))
    }
}

impl Counter {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = self.path(&request)?;
        let (parts, body) = request.into_parts();
        if path.is_empty() || path.ends_with('/') {
            return match parts.method {
                Method::GET => self.list(&path).await,
                // The service would remove everything below.
                _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "A folder can only be listed")),
            };
        }
        let key = parse(&path).map(|kind| kind.key());
        match (parts.method.as_str(), key) {
            ("PUT", Some(key)) => self.put(&key, &parts.headers, body).await,
            ("PUT", None) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, "Unable to upload file: not a key of this drill"))
            }
            ("GET" | "DESCRIBE" | "DELETE", None) => Err(Refusal::missing()),
            ("GET", Some(key)) => self.get(&key, &parts.headers).await,
            ("DESCRIBE", Some(key)) => self.describe(&key).await,
            ("DELETE", Some(key)) => {
                self.store.delete(&key).await?;
                self.vouched.forget(&key);
                Ok(answer::said(StatusCode::OK, "File deleted successfully."))
            }
            (_, _) => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")),
        }
    }

    /// Returns the path within the zone, for who has its password.
    fn path<B>(&self, request: &Request<B>) -> Result<String, Refusal> {
        let told = request.headers().get("accesskey").map_or(b"".as_slice(), |key| key.as_bytes());
        let known = bool::from(self.access_key.expose_secret().as_bytes().ct_eq(told));
        let path = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(&self.name));
        let Some(path) = path.and_then(|path| path.strip_prefix('/')).filter(|_| known) else {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized"));
        };
        let path = percent_decode_str(path).decode_utf8();
        Ok(path.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "The path is no text"))?.into_owned())
    }

    async fn list(&self, dir: &str) -> Answer {
        let listing = self.store.list_dir(dir).await?;
        let vouched = self.vouched.clone();
        let rows = Rows::new(&self.name, dir, listing, move |entry| vouched.told(entry));
        Ok(answer::listing(rows))
    }

    async fn put(&self, key: &Key, headers: &HeaderMap, body: Incoming) -> Answer {
        let told = headers.get("checksum").map(|told| {
            let sha256 = told.to_str().ok().and_then(|told| told.parse::<Sha256>().ok());
            sha256.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "The Checksum is no SHA-256"))
        });
        let told = told.transpose()?;
        let content_type = ["override-content-type", "content-type"]
            .iter()
            .find_map(|name| headers.get(*name)?.to_str().ok())
            .unwrap_or("application/octet-stream");
        let receiving = async {
            // Nobody closes the semaphore; without a turn the upload is refused like a late one.
            let turn = self.uploads.acquire().await.ok()?;
            Some((turn, receive(body).await))
        };
        let Ok(Some((_turn, received))) = tokio::time::timeout(UPLOAD_LIMIT, receiving).await else {
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "The upload did not arrive in time"));
        };
        let payload = received?;
        if told.is_some_and(|told| told != payload.sha256()) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "The Checksum does not match"));
        }
        self.store.put(key, &payload, content_type).await?;
        if let Ok(entry) = self.store.stat(key).await {
            self.vouched.remember(&entry, payload.sha256());
        }
        Ok(answer::said(StatusCode::CREATED, "File uploaded."))
    }

    async fn get(&self, key: &Key, headers: &HeaderMap) -> Answer {
        let asked = headers.get(header::RANGE).and_then(|range| answer::range(range.to_str().ok()?));
        let Some(asked) = asked else {
            let download = self.store.get(key, None).await?;
            return Ok(answer::whole(download));
        };
        // Clients know the size, as a rule, so that it need not be looked up before.
        if let (Some(first), Some(last)) = asked
            && let Some(end) = last.checked_add(1).filter(|end| first < *end)
        {
            match self.store.get(key, Some(first..end)).await {
                Ok(download) => return Ok(answer::part(download, first..end)),
                Err(error) if error.kind == ErrorKind::Corrupt => {}
                Err(error) => return Err(error.into()),
            }
        }
        let entry = self.store.stat(key).await?;
        let range = within(asked, entry.bytes).ok_or_else(|| Refusal::unsatisfiable(entry.bytes))?;
        let download = self.store.get(key, Some(range.clone())).await;
        // It was cut since: what is left of it is not what was described.
        let download = download.map_err(|error| {
            if error.kind == ErrorKind::Corrupt { Refusal::unsatisfiable(entry.bytes) } else { error.into() }
        })?;
        Ok(answer::part(download, range))
    }

    async fn describe(&self, key: &Key) -> Answer {
        let entry = self.store.stat(key).await?;
        let sha256 = match self.vouched.told(&entry) {
            Some(sha256) => sha256,
            None => {
                let download = self.store.get(key, None).await?;
                let sha256 = hash(download).await?;
                self.vouched.remember(&entry, sha256);
                sha256
            }
        };
        Ok(answer::description(&self.name, &entry, sha256))
    }
}

/// Returns the part of an object of `bytes` that is asked for by its first and last byte, or by a number of
/// last bytes.
fn within(asked: (Option<u64>, Option<u64>), bytes: u64) -> Option<Range<u64>> {
    let range = match asked {
        (Some(first), None) => first..bytes,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(bytes),
        (None, Some(last_bytes)) => bytes.saturating_sub(last_bytes)..bytes,
        (None, None) => return None,
    };
    (range.start < range.end).then_some(range)
}

async fn receive(mut body: Incoming) -> Result<Payload, Refusal> {
    let (mut chunks, mut bytes, mut hasher) = (Vec::new(), 0, Sha256Hasher::new());
    while let Some(frame) = body.frame().await {
        let broken = |_| Refusal::new(StatusCode::BAD_REQUEST, "The upload broke off");
        let chunk: Bytes = frame.map_err(broken)?.into_data().unwrap_or_default();
        bytes += chunk.len() as u64;
        if bytes > UPLOAD_BYTES_MAX {
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "The upload is too large"));
        }
        hasher.update(&chunk);
        chunks.push(chunk);
    }
    if bytes == 0 {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "Nothing was uploaded"));
    }
    Ok(Payload::with_sha256(chunks, hasher.finish()))
}

async fn hash(mut download: Download) -> Result<Sha256, Refusal> {
    let mut hasher = Sha256Hasher::new();
    while let Some(chunk) = download.body.next().await {
        hasher.update(&chunk?);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests;
