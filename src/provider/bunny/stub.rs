//! A zone in memory, as strict as the real servers where a client could go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::asset::Sha256;

pub(super) const KEY: &str = "zone-password";
const PREFIX: &str = "/my-zone/";

/// What the servers do otherwise than usual.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manners {
    /// `DESCRIBE` and listings show no checksum.
    pub(super) no_checksum: bool,
    /// Uploads are answered like stored ones, and are not stored.
    pub(super) forget_uploads: bool,
    /// Uploads are stored with one byte changed.
    pub(super) damage_uploads: bool,
    /// A wrong checksum is answered like a right one.
    pub(super) believe_checksums: bool,
    /// Every answer is this instead.
    pub(super) always: Option<(u16, &'static str, &'static str)>,
}

#[derive(Debug, Default)]
pub(super) struct Stub {
    pub(super) manners: Mutex<Manners>,
    pub(super) objects: Mutex<BTreeMap<String, (Vec<u8>, String)>>,
    listings: AtomicUsize,
    pub(super) listings_most: AtomicUsize,
    pub(super) listings_all: AtomicUsize,
}

impl Stub {
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(Arc::clone(self))
    }

    fn row(&self, path: &str, name: &str, object: Option<&[u8]>) -> Value {
        let shown = object.filter(|_| !self.manners.lock().no_checksum);
        json!({
            "Guid": "00000000-0000-0000-0000-000000000000", "StorageZoneName": "my-zone",
            "Path": format!("{PREFIX}{path}"), "ObjectName": name,
            "Length": object.map_or(0, <[u8]>::len), "LastChanged": "2026-11-22T11:05:30.123",
            "ServerId": 1, "ArrayNumber": 0, "IsDirectory": object.is_none(), "UserId": "u",
            "ContentType": "", "DateCreated": "2026-11-22T11:05:30", "StorageZoneId": 1,
            "Checksum": shown.map(|bytes| Sha256::of(bytes).to_hex().to_uppercase()),
            "ReplicatedZones": object.map(|_| ""),
        })
    }

    fn put(&self, key: String, headers: &HeaderMap, body: &[u8]) -> Response {
        let manners = *self.manners.lock();
        if headers.get(header::CONTENT_LENGTH).is_none() || !headers.contains_key("override-content-type") {
            return problem(400, "Length and type are wanted");
        }
        let told = headers.get("checksum").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if told != Sha256::of(body).to_hex().to_uppercase() && !manners.believe_checksums {
            return problem(400, "The checksum does not match");
        }
        let kind = headers["override-content-type"].to_str().unwrap_or_default().to_owned();
        let mut body = body.to_vec();
        if manners.damage_uploads {
            body[0] ^= 1;
        }
        if !manners.forget_uploads {
            self.objects.lock().insert(key, (body, kind));
        }
        problem(201, "File uploaded.")
    }

    async fn list(&self, dir: &str) -> Response {
        self.listings_all.fetch_add(1, Ordering::SeqCst);
        let at_once = self.listings.fetch_add(1, Ordering::SeqCst) + 1;
        self.listings_most.fetch_max(at_once, Ordering::SeqCst);
        // Whatever was sent by now arrives while this one is still here.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let rows = self.rows(dir);
        self.listings.fetch_sub(1, Ordering::SeqCst);
        if at_once > 5 { problem(400, "Unable to process request") } else { axum::Json(rows).into_response() }
    }

    fn rows(&self, dir: &str) -> Vec<Value> {
        let (mut rows, mut dirs) = (Vec::new(), BTreeSet::new());
        for (key, (bytes, _)) in self.objects.lock().iter() {
            match key.strip_prefix(dir).map(|rest| rest.split_once('/').ok_or(rest)) {
                Some(Ok((name, _))) if dirs.insert(name.to_owned()) => rows.push(self.row(dir, name, None)),
                Some(Err(name)) => rows.push(self.row(dir, name, Some(bytes))),
                Some(Ok(_)) | None => {}
            }
        }
        rows
    }

    fn get(&self, key: &str, range: Option<&str>) -> Response {
        let Some((bytes, kind)) = self.objects.lock().get(key).cloned() else {
            return problem(404, "Object Not Found");
        };
        let typed = [(header::CONTENT_TYPE, kind)];
        let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((first, last)) = range.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?))) else {
            return (typed, bytes).into_response();
        };
        let last: usize = std::cmp::min(last, bytes.len() - 1);
        let told = [(header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", bytes.len()))];
        (StatusCode::PARTIAL_CONTENT, typed, told, bytes[first..=last].to_vec()).into_response()
    }

    fn describe(&self, key: &str) -> Response {
        let (dir, name) = key.rsplit_once('/').map_or(("", key), |(dir, name)| (dir, name));
        match self.objects.lock().get(key) {
            Some((bytes, _)) => axum::Json(self.row(&format!("{dir}/"), name, Some(bytes))).into_response(),
            None => problem(404, "Object Not Found"),
        }
    }

    fn delete(&self, key: &str) -> Response {
        if key.is_empty() || key.ends_with('/') {
            self.objects.lock().retain(|other, _| !other.starts_with(key));
            return problem(200, "Directory deleted.");
        }
        match self.objects.lock().remove(key) {
            Some(_) => problem(200, "File deleted successfuly."),
            None => problem(404, "Object Not Found"),
        }
    }
}

async fn answer(State(stub): State<Arc<Stub>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if let Some((status, kind, text)) = stub.manners.lock().always {
        return (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, kind)], text).into_response();
    }
    let key = parts.headers.get("accesskey").is_some_and(|key| key == KEY);
    let path = parts.uri.path().strip_prefix(PREFIX).filter(|path| !path.contains("//"));
    let Some(path) = path.filter(|_| key && parts.method != Method::HEAD) else {
        return problem(401, "Unauthorized");
    };
    let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
    let range = parts.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    match parts.method.as_str() {
        "PUT" => stub.put(path, &parts.headers, &body),
        "GET" if path.is_empty() || path.ends_with('/') => stub.list(&path).await,
        "GET" => stub.get(&path, range),
        "DESCRIBE" => stub.describe(&path),
        "DELETE" => stub.delete(&path),
        _ => problem(405, "Method not allowed"),
    }
}

fn problem(status: u16, message: &str) -> Response {
    let body = json!({ "HttpCode": status, "Message": message });
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}
