//! A bucket in memory whose manners can be chosen, since vendors differ; it does not check signatures.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use http_body_util::BodyExt;
use md5::{Digest, Md5};
use parking_lot::Mutex;

use crate::asset::Sha256;

const BUCKET: &str = "/assets";

/// What this vendor enforces, and what it answers out of turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manners {
    /// A body that does not match the signed payload hash is refused.
    pub(super) signed_payload: bool,
    /// A wrong `x-amz-checksum-sha256` is refused.
    pub(super) sha256: bool,
    /// `x-amz-checksum-sha256` is refused whatever it says.
    pub(super) sha256_unknown: bool,
    /// `HEAD` shows the checksum, when it is asked for.
    pub(super) tells_sha256: bool,
    /// A wrong `Content-MD5` is refused.
    pub(super) md5: bool,
    /// Uploads are stored with one byte changed.
    pub(super) damage_uploads: bool,
    /// The bucket is not there.
    pub(super) no_bucket: bool,
    /// Failed requests have no body.
    pub(super) bare: bool,
    /// The answer to all requests of this method.
    pub(super) always: Option<(&'static str, Scripted)>,
}

/// An answer out of turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scripted {
    pub(super) status: u16,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: &'static str,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) bytes: Bytes,
    pub(super) content_type: String,
    sha256: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Stub {
    pub(super) manners: Mutex<Manners>,
    pub(super) objects: Mutex<BTreeMap<String, Stored>>,
    pub(super) seen: Mutex<Vec<String>>,
}

impl Stub {
    pub(super) fn router(self: &Arc<Self>) -> Router {
        let unlimited = axum::extract::DefaultBodyLimit::disable();
        Router::new().fallback(answer).layer(unlimited).with_state(Arc::clone(self))
    }

    pub(super) fn keep(&self, key: &str, bytes: &'static [u8]) {
        let stored = Stored { bytes: Bytes::from_static(bytes), ..Stored::default() };
        self.objects.lock().insert(key.to_owned(), stored);
    }

    fn put(&self, key: &str, headers: &HeaderMap, body: &Bytes) -> Response {
        let manners = *self.manners.lock();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let sha256 = text("x-amz-checksum-sha256");
        let wrong_payload = text("x-amz-content-sha256") != Some(Sha256::of(body).to_hex());
        let wrong_sha256 =
            sha256.as_ref().is_some_and(|told| *told != BASE64.encode(Sha256::of(body).as_bytes()));
        let wrong_md5 = text("content-md5").is_some_and(|told| told != BASE64.encode(&Md5::digest(body)));
        if sha256.is_some() && manners.sha256_unknown {
            return self.failure(400, "InvalidArgument");
        }
        if manners.signed_payload && wrong_payload
            || manners.sha256 && wrong_sha256
            || manners.md5 && wrong_md5
        {
            return self.failure(400, "BadDigest");
        }
        let mut bytes = body.to_vec();
        if manners.damage_uploads {
            bytes[0] ^= 1;
        }
        let content_type = text("content-type").unwrap_or_default();
        self.objects.lock().insert(key.to_owned(), Stored { bytes: bytes.into(), content_type, sha256 });
        ([(header::ETAG, "\"e\"")], "").into_response()
    }

    fn get(&self, key: &str, headers: &HeaderMap, head: bool) -> Response {
        let Some(stored) = self.objects.lock().get(key).cloned() else {
            return self.failure(404, "NoSuchKey");
        };
        let mut told = HeaderMap::new();
        told.insert(header::ETAG, "\"e\"".parse().unwrap());
        told.insert(header::LAST_MODIFIED, "Sun, 22 Nov 2026 11:05:30 GMT".parse().unwrap());
        let asked = headers.contains_key("x-amz-checksum-mode") && self.manners.lock().tells_sha256;
        if let Some(sha256) = stored.sha256.filter(|_| asked && head) {
            told.insert("x-amz-checksum-sha256", sha256.parse().unwrap());
        }
        let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            return (told, stored.bytes).into_response();
        };
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        if first >= stored.bytes.len() {
            return self.failure(416, "InvalidRange");
        }
        let last = last.min(stored.bytes.len() - 1);
        let range = format!("bytes {first}-{last}/{}", stored.bytes.len());
        told.insert(header::CONTENT_RANGE, range.parse().unwrap());
        (StatusCode::PARTIAL_CONTENT, told, stored.bytes.slice(first..=last)).into_response()
    }

    fn list(&self, query: &str) -> Response {
        let asked: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).collect();
        let prefix = asked.get("prefix").map_or("", |prefix| prefix.as_ref());
        let after = asked.get("continuation-token").map_or("", |token| token.as_ref());
        let most: usize = asked.get("max-keys").map_or(1_000, |most| most.parse().unwrap());
        let (mut xml, mut folders, mut shown, mut more) = (String::new(), Vec::new(), 0, "false".to_owned());
        for (key, stored) in self.objects.lock().iter().filter(|(key, _)| key.as_str() > after) {
            let Some(rest) = key.strip_prefix(prefix) else { continue };
            if shown == most {
                more = "true".to_owned();
                break;
            }
            let folder = rest.split_once('/').filter(|_| asked.contains_key("delimiter"));
            if let Some((name, _)) = folder {
                let folder = format!("<CommonPrefixes><Prefix>{prefix}{name}/</Prefix></CommonPrefixes>");
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
                continue;
            }
            let (key, bytes) = (quick_xml::escape::escape(key.as_str()), stored.bytes.len());
            xml += &format!("<Contents><Key>{key}</Key><Size>{bytes}</Size></Contents>");
            shown += 1;
            if shown == most {
                xml += &format!("<NextContinuationToken>{key}</NextContinuationToken>");
            }
        }
        let folders = folders.concat();
        let xml =
            format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{xml}{folders}</ListBucketResult>");
        xml.into_response()
    }

    fn failure(&self, status: u16, code: &str) -> Response {
        let bare = self.manners.lock().bare;
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
        (StatusCode::from_u16(status).unwrap(), if bare { String::new() } else { body }).into_response()
    }
}

async fn answer(State(stub): State<Arc<Stub>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let manners = *stub.manners.lock();
    stub.seen.lock().push(parts.method.to_string());
    if let Some((_, scripted)) = manners.always.filter(|(method, _)| *method == parts.method.as_str()) {
        let mut response = (StatusCode::from_u16(scripted.status).unwrap(), scripted.body).into_response();
        for (name, value) in scripted.headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        return response;
    }
    let Some(path) = parts.uri.path().strip_prefix(BUCKET).filter(|_| !manners.no_bucket) else {
        return stub.failure(404, "NoSuchBucket");
    };
    let key = path.trim_start_matches('/');
    match parts.method {
        Method::GET if key.is_empty() => stub.list(parts.uri.query().unwrap_or_default()),
        Method::GET | Method::HEAD => stub.get(key, &parts.headers, parts.method == Method::HEAD),
        Method::PUT => stub.put(key, &parts.headers, &body),
        Method::DELETE => {
            stub.objects.lock().remove(key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => stub.failure(405, "MethodNotAllowed"),
    }
}
