//! One zone: single requests under their deadlines and within the servers' limits.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE, RETRY_AFTER};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use url::Url;

use super::BunnySettings;
use super::answer::{self, content_range};
use super::rows::{Row, RowScanner};
use crate::asset::digest::Sha256Hasher;
use crate::asset::{Key, Sha256};
use crate::provider::error::BuildError;
use crate::provider::transport::{
    self, ANSWER_LIMIT, ClockOffset, ERROR_BODY_BYTES_MAX, Fault, fault, upload_limit, within,
};
use crate::provider::{DirListing, Entry, ErrorKind, Payload};

/// Before the first new try of a listing that was one too many at its server.
const LISTING_RETRY_FIRST: Duration = Duration::from_millis(200);
/// How often such a listing is tried again.
const LISTING_RETRIES: usize = 4;
/// Requests in flight at most; the servers allow 100 connections for each address.
const REQUESTS_MAX: usize = 80;
/// Of these, bodies of parts at most: they last as long as their readers take, and must not keep everything else from
/// its turn, the looks by which the zone is known to be well among it.
const PART_BODIES_MAX: usize = 60;
/// Listings in flight at most; a server allows 5, and other gateways may share it.
const LISTINGS_MAX: usize = 3;
/// Deletions in flight at most; a server allows 30.
const DELETIONS_MAX: usize = 20;
/// How long a request waits for its turn.
const TURN_LIMIT: Duration = Duration::from_secs(30);
/// How long a listing may take to its end: it has no pages, so a large folder is one long answer.
const LISTING_LIMIT: Duration = Duration::from_secs(120);
/// The largest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 64 * 1024;
/// The longest folder: no path of the servers is longer.
const DIR_BYTES_MAX: usize = 6_000;
/// Everything but the characters that never need an escape.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An open object.
pub(super) struct Opened {
    pub(super) object_bytes: u64,
    pub(super) body: BoxStream<'static, Result<Bytes, Fault>>,
}

/// One zone.
#[derive(Debug)]
pub(super) struct Zone {
    client: reqwest::Client,
    root: Url,
    access_key: HeaderValue,
    secrets: [SecretString; 1],
    offset: Arc<ClockOffset>,
    requests: Arc<Semaphore>,
    part_bodies: Arc<Semaphore>,
    listings: Semaphore,
    deletions: Semaphore,
}

impl Zone {
    /// Prepares the requests; none is sent.
    pub(super) fn new(settings: &BunnySettings, offset: Arc<ClockOffset>) -> Result<Self, BuildError> {
        let mut access_key = HeaderValue::from_str(settings.access_key.expose_secret())
            .map_err(|_| BuildError::new("the access key has characters that no header can carry"))?;
        access_key.set_sensitive(true);
        let endpoint = transport::endpoint_on_the_way(settings.endpoint.clone(), settings.via)?;
        let zone = utf8_percent_encode(&settings.zone, ESCAPED);
        let root = Url::parse(&format!("{}/{zone}/", endpoint.as_str().trim_end_matches('/')))
            .map_err(|error| BuildError::new(format!("the endpoint makes no address: {error}")))?;
        Ok(Self {
            client: transport::client(&endpoint, settings.via)?,
            root,
            access_key,
            secrets: [settings.access_key.clone()],
            offset,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            part_bodies: Arc::new(Semaphore::new(PART_BODIES_MAX)),
            listings: Semaphore::new(LISTINGS_MAX),
            deletions: Semaphore::new(DELETIONS_MAX),
        })
    }

    /// Uploads an object; the answer is provisional, see [`Zone::confirm`].
    pub(super) async fn put(
        &self,
        key: &Key,
        payload: &Payload,
        sha256: Sha256,
        content_type: &str,
    ) -> Result<(), Fault> {
        let chunks: Vec<_> = payload.chunks().iter().cloned().map(Ok::<_, std::io::Error>).collect();
        let request = self
            .request(Method::PUT, key.as_str())?
            .header("Checksum", sha256.to_hex().to_ascii_uppercase())
            .header("Override-Content-Type", content_type)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, payload.len())
            .body(reqwest::Body::wrap_stream(stream::iter(chunks)));
        let _turn = turn(&self.requests).await?;
        within(upload_limit(payload.len()), async {
            let response = self.send(request, true).await?;
            // The body is read so that the connection can be used again.
            transport::bounded(chunks_of(response), ERROR_BODY_BYTES_MAX).await
        })
        .await?;
        Ok(())
    }

    /// Checks that an upload has arrived, and tells whether the servers showed its SHA-256; where they do
    /// not, it is read back.
    pub(super) async fn confirm(&self, key: &Key, payload: &Payload) -> Result<bool, Fault> {
        let entry = match self.describe(key).await {
            Err(fault) if fault.kind == ErrorKind::NotFound => {
                return Err(Fault::protocol("an accepted upload is not there when it is looked for"));
            }
            result => result?,
        };
        let told = entry.sha256.is_some();
        let held = match entry.sha256 {
            Some(sha256) => (entry.bytes, sha256),
            None => within(upload_limit(payload.len()), self.read_back(key)).await?,
        };
        if held == (payload.len(), payload.sha256()) {
            return Ok(told);
        }
        let story = format!("{} bytes held, SHA-256 {}, are not those sent", held.0, held.1);
        Err(Fault::new(ErrorKind::Corrupt, story))
    }

    /// Asks for what is known of an object.
    pub(super) async fn describe(&self, key: &Key) -> Result<Entry, Fault> {
        // Method names are tokens, and this is one.
        let describe = Method::from_bytes(b"DESCRIBE").unwrap_or(Method::GET);
        let request = self.request(describe, key.as_str())?;
        let _turn = turn(&self.requests).await?;
        let body = within(ANSWER_LIMIT, async {
            let response = self.send(request, false).await?;
            transport::bounded(chunks_of(response), DESCRIPTION_BYTES_MAX).await
        });
        let row = Row::parse(&body.await?)?;
        if row.is_dir() {
            return Err(Fault::new(ErrorKind::NotFound, "a folder, not an object"));
        }
        Ok(row.into_entry(key.as_str().to_owned()))
    }

    /// Opens an object, or a range of it.
    pub(super) async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Opened, Fault> {
        let mut request = self.request(Method::GET, key.as_str())?;
        if let Some(range) = &range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        let part = match key.as_str().starts_with(crate::asset::key::BLOBS) {
            true => Some(own_turn(&self.part_bodies).await?),
            false => None,
        };
        let turn = own_turn(&self.requests).await?;
        let response = within(ANSWER_LIMIT, self.send(request, false)).await;
        let response = response.map_err(|fault| fault.of_range(range.as_ref()))?;
        let (bytes, object_bytes) = sizes(response.status(), response.headers(), range.as_ref())?;
        let body = chunks_of(response).map(move |chunk| {
            // The turns are held here, and so end with the body.
            let _held = (&part, &turn);
            chunk
        });
        Ok(Opened { object_bytes, body: transport::exact(body.boxed(), bytes) })
    }

    /// Removes an object; one that is not there is fine.
    pub(super) async fn delete(&self, key: &Key) -> Result<(), Fault> {
        if key.as_str().is_empty() || key.as_str().ends_with('/') {
            return Err(Fault::new(ErrorKind::Refused, "folders are not deleted: it would be recursive"));
        }
        let request = self.request(Method::DELETE, key.as_str())?;
        let _deletion = turn(&self.deletions).await?;
        let _turn = turn(&self.requests).await?;
        let answer = within(ANSWER_LIMIT, async {
            let response = self.send(request, false).await?;
            transport::bounded(chunks_of(response), ERROR_BODY_BYTES_MAX).await
        });
        match answer.await {
            Err(fault) if fault.kind != ErrorKind::NotFound => Err(fault),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Lists one folder, `""` or ending in a slash; a missing one is empty.
    ///
    /// So few listings may be under way at a server that other clients get in the way: a refusal for that
    /// reason is ridden out here, as the one exception to "a provider does not retry".
    pub(super) async fn list(&self, dir: &str) -> Result<DirListing, Fault> {
        let waits = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(LISTING_RETRY_FIRST)
            .with_max_times(LISTING_RETRIES);
        (|| self.list_once(dir)).retry(waits).when(|fault| fault.kind == ErrorKind::Throttled).await
    }

    async fn list_once(&self, dir: &str) -> Result<DirListing, Fault> {
        if dir.len() > DIR_BYTES_MAX {
            return Err(Fault::protocol("a folder with a longer path than the servers allow"));
        }
        let request = self.request(Method::GET, dir)?;
        let _listing = turn(&self.listings).await?;
        let _turn = turn(&self.requests).await?;
        let listing = within(LISTING_LIMIT, async {
            let response = within(ANSWER_LIMIT, self.send(request, false)).await?;
            check_json(response.headers())?;
            let mut scanner = RowScanner::new(dir);
            let mut chunks = chunks_of(response);
            while let Some(chunk) = within(ANSWER_LIMIT, chunks.try_next()).await? {
                scanner.push(&chunk)?;
            }
            scanner.finish()
        });
        match listing.await {
            // The root of a zone is always there.
            Err(fault) if fault.kind == ErrorKind::NotFound && dir.is_empty() => {
                Err(Fault { kind: ErrorKind::NoContainer, ..fault })
            }
            Err(fault) if fault.kind == ErrorKind::NotFound => Ok(DirListing::default()),
            result => result,
        }
    }

    async fn read_back(&self, key: &Key) -> Result<(u64, Sha256), Fault> {
        let mut opened = self.get(key, None).await?;
        let mut hasher = Sha256Hasher::new();
        while let Some(chunk) = opened.body.try_next().await? {
            hasher.update(&chunk);
        }
        Ok((opened.object_bytes, hasher.finish()))
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Fault> {
        let url = address(&self.root, path)?;
        Ok(self.client.request(method, url).header("AccessKey", self.access_key.clone()))
    }

    async fn send(&self, request: RequestBuilder, upload: bool) -> Result<Response, Fault> {
        let sent_unix_ms = self.offset.now_unix_ms();
        let response = request.send().await.map_err(|error| Fault::of_reqwest(&error.without_url()))?;
        self.offset.note(response.headers(), sent_unix_ms);
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let wait = header(response.headers(), &RETRY_AFTER).map(str::to_owned);
        let body = transport::head_of(chunks_of(response), ERROR_BODY_BYTES_MAX).await;
        let mut fault = answer::fault(status, &body, upload).without(&self.secrets);
        fault.retry_after = wait.and_then(|wait| fault::retry_after(&wait, self.offset.now_unix_ms()));
        Err(fault)
    }
}

async fn turn(semaphore: &Semaphore) -> Result<SemaphorePermit<'_>, Fault> {
    let turn = tokio::time::timeout(TURN_LIMIT, semaphore.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or_else(no_turn)
}

async fn own_turn(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    let turn = tokio::time::timeout(TURN_LIMIT, Arc::clone(semaphore).acquire_owned()).await;
    turn.ok().and_then(Result::ok).ok_or_else(no_turn)
}

fn no_turn() -> Fault {
    Fault::new(ErrorKind::Throttled, format!("no turn within {TURN_LIMIT:?}, as many requests are in flight"))
}

/// Joins a path to the zone's address, each segment escaped for itself.
fn address(root: &Url, path: &str) -> Result<Url, Fault> {
    let escaped: Vec<_> =
        path.split('/').map(|segment| utf8_percent_encode(segment, ESCAPED).to_string()).collect();
    // Such segments would vanish from the address, and the request go to another object or folder.
    if escaped.iter().any(|segment| matches!(segment.as_str(), "." | "..")) {
        return Err(Fault::new(ErrorKind::Refused, "a path with a dot segment"));
    }
    Url::parse(&format!("{root}{}", escaped.join("/")))
        .map_err(|error| Fault::new(ErrorKind::Refused, format!("no address: {error}")))
}

/// Tells how many bytes follow, and how many the whole object has.
fn sizes(status: StatusCode, headers: &HeaderMap, range: Option<&Range<u64>>) -> Result<(u64, u64), Fault> {
    let bytes = header(headers, &CONTENT_LENGTH).and_then(|value| value.parse().ok());
    let bytes: u64 = bytes.ok_or_else(|| Fault::protocol("an object without Content-Length"))?;
    let Some(range) = range else {
        return if status == StatusCode::OK {
            Ok((bytes, bytes))
        } else {
            Err(Fault::protocol(format!("{status} where 200 was expected")))
        };
    };
    if status != StatusCode::PARTIAL_CONTENT {
        return Err(Fault::protocol(format!("{status} where 206 was expected")));
    }
    match header(headers, &CONTENT_RANGE).and_then(content_range) {
        Some((told, _)) if bytes != told.end.saturating_sub(told.start) => {
            Err(Fault::protocol(format!("{bytes} bytes of the range {told:?}")))
        }
        Some((told, object_bytes)) if told == *range => Ok((bytes, object_bytes)),
        Some((told, object_bytes)) => Err(Fault::another_range(range, &told, object_bytes)),
        None => Err(Fault::protocol("a range that does not say where it lies")),
    }
}

fn check_json(headers: &HeaderMap) -> Result<(), Fault> {
    match header(headers, &CONTENT_TYPE) {
        Some(value) if value.to_ascii_lowercase().starts_with("application/json") => Ok(()),
        other => Err(Fault::protocol(format!("a listing of type {other:?}"))),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn chunks_of(response: Response) -> BoxStream<'static, Result<Bytes, Fault>> {
    response.bytes_stream().map_err(|error| Fault::of_reqwest(&error.without_url())).boxed()
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
