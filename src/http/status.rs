//! The status of this gateway: as JSON, and as the page that operators see first.
//!
//! The page is rendered here and needs nothing else: no script, no picture, no other file, and its policy lets
//! none in. What comes from outside (a provider's words in the last error) is escaped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::header;
use serde::Serialize;

use super::App;
use crate::health::ProviderHealth;
use crate::repair::{Pacing, Progress};
use crate::retention::Report;
use crate::write;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Triplicate</title>
<meta name="viewport" content="width=device-width"><style>
body { font: 1rem/1.5 system-ui; margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
div { overflow-x: auto } table { border-collapse: collapse }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .8rem; text-align: left; vertical-align: top }
.bad { color: #b00020; font-weight: bold }
</style></head><body><h1>Triplicate</h1>
"#;
const LINKS: &str = r#"<ul>
<li><a href="/api/status">/api/status</a>: this page as JSON
<li><a href="/api/assets">/api/assets</a>: the assets in the index
<li><a href="/api/events">/api/events</a>: recent takeovers, repairs and alarms
<li><a href="/metrics">/metrics</a>: for Prometheus
<li><a href="/api/openapi.json">/api/openapi.json</a>: the API described
</ul></body></html>
"#;

/// What this gateway thinks of itself and of the providers.
#[derive(Serialize)]
struct Status {
    ready: bool,
    fresh: bool,
    version: &'static str,
    names: u64,
    /// By how much most providers' clocks differ from ours; from 30 s on nothing is written.
    clock_offset_ms: Option<i64>,
    providers: Vec<ProviderStatus>,
    /// How repair yields to clients.
    repair: Pacing,
    /// What the last round of retention came to; none before the first.
    retention: Option<Report>,
}

#[derive(Serialize)]
struct ProviderStatus {
    #[serde(flatten)]
    health: ProviderHealth,
    #[serde(flatten)]
    repair: Progress,
}

/// Answers `/api/status`.
pub(super) async fn json(State(app): State<Arc<App>>) -> Response {
    Json(status(&app).await).into_response()
}

/// Answers `/`.
pub(super) async fn page(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(render(&status(&app).await))).into_response()
}

async fn status(app: &App) -> Status {
    let flows = &app.flows;
    let progress: BTreeMap<_, _> = flows.repairer.progress().await.into_iter().collect();
    let provider = |health: ProviderHealth| {
        let slot = flows.fleet.find(health.name.as_str());
        let repair = slot.and_then(|slot| progress.get(&slot)).copied();
        ProviderStatus { health, repair: repair.unwrap_or_else(|| Progress::new(0, None, 0.0)) }
    };
    Status {
        ready: app.is_ready(),
        fresh: flows.catalog.is_fresh(),
        version: env!("CARGO_PKG_VERSION"),
        names: flows.catalog.names().await,
        clock_offset_ms: flows.fleet.clock_offset_ms(),
        providers: flows.board.snapshot().into_iter().map(provider).collect(),
        repair: flows.repairer.pacing(),
        retention: flows.retention.last(),
    }
}

fn render(status: &Status) -> String {
    let Status { ready, fresh, version, names, clock_offset_ms, providers, repair, retention } = status;
    let word = |yes: bool| if yes { "yes" } else { "<span class=\"bad\">no</span>" };
    let (ready, fresh) = (word(*ready), word(*fresh));
    let wrong = clock_offset_ms.is_some_and(|ms| ms.unsigned_abs() >= write::CLOCK_OFFSET_MS_MAX);
    let clock = if wrong {
        " · <span class=\"bad\">this machine's clock is wrong: nothing is written</span>"
    } else {
        ""
    };
    let mut page = HEAD.to_owned();
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<p>ready: {ready} · index fresh: {fresh} · names: {names} · version {version}{clock}</p>\n<div><table>\n<tr>"
    );
    for title in [
        "provider",
        "kind",
        "health",
        "breaker",
        "canary",
        "latency",
        "copies missing",
        "clock offset",
        "checksum",
        "last error",
    ] {
        let _ = write!(page, "<th>{title}");
    }
    for provider in providers {
        page.push_str("\n<tr>");
        for (text, good) in cells(provider) {
            let class = if good { "" } else { " class=\"bad\"" };
            let _ = write!(page, "<td{class}>{}", escape(&text));
        }
    }
    page.push_str("\n</table></div>\n");
    if repair.yielding && providers.iter().any(|provider| provider.repair.copies_missing > 0) {
        let Pacing { copies_at_once, rest_factor, .. } = repair;
        let _ = writeln!(
            page,
            "<p>repair yields to clients: copies at once {copies_at_once}, rests {rest_factor:.1} times its work"
        );
    }
    if let Some(report) = retention {
        let class = if report.braked { " class=\"bad\"" } else { "" };
        let _ = write!(page, "<p{class}>retention, {}:", report.at.format("%F %T UTC"));
        for line in report.lines() {
            let _ = write!(page, "<br>{}", escape(&line));
        }
        page.push('\n');
    }
    page + LINKS
}

/// The texts of one row, and whether each is as it should be.
fn cells(provider: &ProviderStatus) -> [(String, bool); 10] {
    let ProviderStatus { health, repair } = provider;
    let milliseconds = |value: Option<String>| value.map_or_else(|| "–".to_owned(), |value| value + " ms");
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
    [
        (health.name.to_string(), true),
        (health.kind.to_owned(), true),
        (health.health.to_owned(), health.health == "healthy"),
        (health.breaker.to_owned(), health.breaker == "closed"),
        (health.canary.to_owned(), health.canary == "ours"),
        (milliseconds(health.latency_ms.map(|latency| format!("{latency:.1}"))), true),
        (debt(repair), repair.copies_missing == 0),
        (milliseconds(health.clock_offset_ms.map(|offset| offset.to_string())), true),
        (text(&health.checksum), true),
        (text(&health.last_error), true),
    ]
}

/// Returns how many copies are missing, and when they will be there.
fn debt(repair: &Progress) -> String {
    match (repair.copies_missing, repair.time_left_s) {
        (0, _) => "0".to_owned(),
        (missing, Some(left)) => {
            format!("{missing}, {:.1} a second, {left} s left", repair.copies_per_second)
        }
        (missing, None) => missing.to_string(),
    }
}

fn escape(text: &str) -> String {
    let pairs = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")];
    pairs.into_iter().fold(text.to_owned(), |text, (char, entity)| text.replace(char, entity))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
