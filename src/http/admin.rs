//! The admin listener: who may come in, metrics, listings, events and the description of the API.
//!
//! Everything here only reads. On the loopback it is open, but not for a web page that points its own name at
//! this machine (DNS rebinding); elsewhere every request, the status page included, needs a token with the
//! admin right. Listings come from the local index and may lag as it does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Method, Uri};
use serde::Serialize;
use serde_json::json;

use super::App;
use super::auth::forbidden;
use super::problem::{Problem, ProblemKind};
use super::query::{self, EventQuery, Query};
use crate::asset::{AssetName, Blake3, Kind, Record, Sha256, UploadId, Version};
use crate::catalog::KnownVersion;
use crate::provider::Fleet;
use crate::read::{ReadError, Wanted};

const METHODS: &str = "GET, HEAD";
/// The one name, besides addresses, by which the loopback is asked.
const LOCALHOST: &str = "localhost";
const ASSETS_PATH: &str = "/api/assets";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Refuses what is malformed or meant for somebody else, other methods than reads, then whoever may not come in.
pub(super) async fn gate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if let Err(problem) = check(&app, &request) {
        return problem.into_response();
    }
    let mut response = next.run(request).await;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

fn check(app: &App, request: &Request) -> Result<(), Problem> {
    query::check_path(request.uri())?;
    if !app.settings.admin_needs_token && !is_for_this_machine(request.uri(), request.headers()) {
        let detail = "this listener answers to an IP address or `localhost` alone";
        return Err(Problem::new(ProblemKind::Misdirected, detail));
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Err(Problem::method_not_allowed(METHODS));
    }
    if app.settings.admin_needs_token && !app.settings.tokens.identify(request.headers())?.admin {
        return Err(forbidden("the token has no admin right"));
    }
    Ok(())
}

/// Tells whether a request names an address or `localhost` as its host; one without a host comes from no browser.
fn is_for_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let is_ours = |authority: &Authority| {
        let host = authority.host();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        !authority.as_str().contains('@')
            && (host.eq_ignore_ascii_case(LOCALHOST) || address.parse::<IpAddr>().is_ok())
    };
    let named = headers.get(header::HOST).map(|value| Authority::try_from(value.as_bytes()));
    uri.authority().is_none_or(is_ours) && named.is_none_or(|named| named.is_ok_and(|named| is_ours(&named)))
}

/// All metrics; what is only known when asked is brought up to date first.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let flows = &app.flows;
    let metrics = flows.watch.telemetry.metrics();
    metrics.index_names.set(i64::try_from(flows.catalog.names().await).unwrap_or(i64::MAX));
    metrics.index_fresh.set(i64::from(flows.catalog.is_fresh()));
    flows.repairer.progress().await;
    ([(header::CONTENT_TYPE, OPENMETRICS)], flows.watch.telemetry.encode()).into_response()
}

/// A record as operators read it.
#[derive(Serialize)]
struct RecordView<'a> {
    name: &'a AssetName,
    kind: Kind,
    version: Version,
    upload: UploadId,
    created: String,
    #[serde(flatten)]
    put: Option<PutView<'a>>,
}

#[derive(Serialize)]
struct PutView<'a> {
    size: u64,
    blake3: Blake3,
    sha256: Sha256,
    content_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_disposition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

impl<'a> RecordView<'a> {
    fn new(record: &'a Record) -> Self {
        let put = record.put.as_ref().map(|put| PutView {
            size: put.size,
            blake3: put.blake3,
            sha256: put.sha256,
            content_type: &put.content_type,
            content_encoding: put.content_encoding.as_deref(),
            content_disposition: put.content_disposition.as_deref(),
            cache_control: put.cache_control.as_deref(),
            metadata: &put.metadata,
        });
        let Record { name, version, .. } = record;
        let (kind, created) = (record.kind(), record.created_text());
        Self { name, kind, version: *version, upload: version.upload, created, put }
    }
}

/// The assets of the index, by name.
pub(super) async fn assets(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri)?;
    // One more than asked for tells whether there is a next page.
    let mut records = app.flows.catalog.list(query.prefix, query.after, query.limit + 1).await;
    let more = records.len() > query.limit;
    records.truncate(query.limit);
    let next = records.last().filter(|_| more).map(|record| record.name.as_str());
    let assets: Vec<RecordView<'_>> = records.iter().map(|record| RecordView::new(record)).collect();
    Ok(Json(json!({ "assets": assets, "next": next })).into_response())
}

/// One asset: the record that is served, all known versions, and who holds which.
pub(super) async fn asset(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let path = uri.path().strip_prefix(ASSETS_PATH).unwrap_or_default();
    let name = AssetName::from_url_path(path)?;
    let versions = app.flows.catalog.versions(&name).await;
    let current = match app.flows.reader.resolve(&name, Wanted::default()).await {
        Ok(record) => Some(record),
        // What the index knows is worth showing although nobody can say what is current.
        Err(_) if !versions.is_empty() => None,
        Err(error @ (ReadError::NotFound | ReadError::NeverCommitted | ReadError::Unavailable { .. })) => {
            return Err(error.into());
        }
    };
    let versions: Vec<_> = versions.iter().map(|known| version_json(known, &app.flows.fleet)).collect();
    let current = current.as_deref().map(RecordView::new);
    Ok(Json(json!({ "name": name, "current": current, "versions": versions })).into_response())
}

fn version_json(known: &KnownVersion, fleet: &Fleet) -> serde_json::Value {
    let copies: BTreeMap<&str, &str> = fleet
        .iter()
        .map(|(slot, provider)| {
            (provider.id().as_str(), if known.holders.contains(&slot) { "stored" } else { "missing" })
        })
        .collect();
    let put = known.record.as_ref().and_then(|record| record.put.as_ref());
    json!({
        "version": known.version,
        "kind": known.kind,
        "created": known.record.as_ref().map(|record| record.created_text()),
        "size": put.map(|put| put.size),
        "blake3": put.map(|put| put.blake3),
        "copies": copies,
    })
}

/// Recent takeovers, repairs and alarms, the newest first.
pub(super) async fn events(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let query = EventQuery::read(&uri)?;
    let events = app.flows.watch.telemetry.find_events(&query.filter, query.limit);
    Ok(Json(json!({ "events": events })).into_response())
}

/// The API of both listeners, described.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

/// Anything else.
pub(super) async fn unknown() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is nothing here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_points_its_name_at_this_machine_is_kept_out() {
        let table = [
            ("/", Some("127.0.0.1:8081"), true),
            ("/", Some("127.0.0.1"), true),
            ("/", Some("[::1]:8081"), true),
            ("/", Some("localhost:8081"), true),
            ("/", Some("LocalHost"), true),
            ("/", None, true),
            ("http://localhost/", Some("127.0.0.1"), true),
            ("/", Some("rebound.example:8081"), false),
            ("/", Some("localhost.example"), false),
            ("/", Some("127.0.0.1.example"), false),
            ("/", Some("127.0.0.1@rebound.example"), false),
            ("/", Some("rebound.example@127.0.0.1"), false),
            ("/", Some(""), false),
            ("http://rebound.example/", Some("127.0.0.1"), false),
            ("http://localhost/", Some("rebound.example"), false),
        ];
        for (uri, host, is_ours) in table {
            let mut headers = HeaderMap::new();
            headers.extend(host.map(|host| (header::HOST, HeaderValue::from_str(host).unwrap())));
            assert_eq!(is_for_this_machine(&uri.parse().unwrap(), &headers), is_ours, "{uri} {host:?}");
        }
    }

    #[test]
    fn the_api_is_described_whole() {
        let described: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let paths = described["paths"].as_object().unwrap();
        let table: [(&str, &[&str]); 11] = [
            ("/{name}", &["get", "head", "put", "delete", "options"]),
            ("/{folder}/", &["post", "options"]),
            ("/-/healthy", &["get", "head"]),
            ("/-/ready", &["get", "head"]),
            ("/", &["get"]),
            ("/metrics", &["get"]),
            ("/api/status", &["get"]),
            ("/api/assets", &["get"]),
            ("/api/assets/{name}", &["get"]),
            ("/api/events", &["get"]),
            ("/api/openapi.json", &["get"]),
        ];
        assert_eq!(paths.len(), table.len());
        for (path, methods) in table {
            for method in methods {
                assert!(paths[path][method]["responses"].is_object(), "{method} {path}");
            }
        }
        let kinds = &described["components"]["schemas"]["EventKind"]["enum"];
        assert_eq!(*kinds, json!(crate::telemetry::EventKind::ALL));
        // Every reference leads somewhere.
        let text = described.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(described.pointer(reference).is_some(), "{reference}");
        }
    }
}
