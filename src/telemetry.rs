//! Telemetry: every metric name in one table, and the recent events that operators ask for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;

/// How many events are kept.
const EVENTS_MAX: usize = 1_000;
/// Upper bounds of the latency buckets, in seconds.
const LATENCY_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Labels of a request of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(missing_docs, reason = "label names speak for themselves")]
pub struct RequestLabels {
    pub method: &'static str,
    pub status: u16,
}

/// Labels of a call to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(missing_docs, reason = "label names speak for themselves")]
pub struct CallLabels {
    pub provider: String,
    pub operation: &'static str,
    /// `ok`, or the kind of the error.
    pub outcome: &'static str,
}

/// Labels of what concerns one provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(missing_docs, reason = "label names speak for themselves")]
pub struct ProviderLabels {
    pub provider: String,
}

/// Labels of a counted event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(missing_docs, reason = "label names speak for themselves")]
pub struct EventLabels {
    pub kind: &'static str,
    pub provider: String,
}

/// What happened; the words are those of `/api/events` and of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A read went on at another provider.
    Takeover,
    /// A slow read was raced by another provider, which won.
    HedgeWon,
    /// A block at a provider did not match its hash.
    BadBlock,
    /// A copy was made or mended.
    Repair,
    /// A copy could not be made or mended.
    RepairFailed,
    /// A provider changed between healthy and not.
    Health,
    /// A canary is missing, foreign, or was written.
    Canary,
    /// A record is forged or has an unknown format.
    BadRecord,
    /// The local index was rebuilt.
    IndexRebuilt,
    /// A provider's clock and ours differ too much.
    ClockSkew,
    /// Old versions and orphans were removed, or could not be.
    Retention,
    /// A plan to remove too much stopped, and waits for an operator.
    Brake,
}

impl EventKind {
    /// Returns the word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Takeover => "takeover",
            Self::HedgeWon => "hedge_won",
            Self::BadBlock => "bad_block",
            Self::Repair => "repair",
            Self::RepairFailed => "repair_failed",
            Self::Health => "health",
            Self::Canary => "canary",
            Self::BadRecord => "bad_record",
            Self::IndexRebuilt => "index_rebuilt",
            Self::ClockSkew => "clock_skew",
            Self::Retention => "retention",
            Self::Brake => "brake",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are those of /api/events")]
pub struct Event {
    pub at: DateTime<Utc>,
    pub kind: EventKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    pub detail: String,
}

/// All metrics and recent events of one gateway; cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    registry: Registry,
    events: Mutex<VecDeque<Event>>,
}

/// The metrics themselves.
#[expect(missing_docs, reason = "each is described where it is registered")]
pub struct Metrics {
    pub requests: Family<RequestLabels, Counter>,
    pub request_seconds: Family<RequestLabels, Histogram>,
    pub sent_bytes: Counter,
    pub received_bytes: Counter,
    pub cache_hits: Counter,
    pub cache_misses: Counter,
    pub cache_bytes: Gauge<i64>,
    pub calls: Family<CallLabels, Counter>,
    pub call_seconds: Family<CallLabels, Histogram>,
    pub events: Family<EventLabels, Counter>,
    pub provider_healthy: Family<ProviderLabels, Gauge<i64>>,
    pub provider_trusted: Family<ProviderLabels, Gauge<i64>>,
    pub provider_latency_seconds: Family<ProviderLabels, Gauge<f64, AtomicU64>>,
    pub copies_missing: Family<ProviderLabels, Gauge<i64>>,
    pub retention_removed: Family<ProviderLabels, Counter>,
    pub retention_planned: Family<ProviderLabels, Gauge<i64>>,
    pub retention_braked: Gauge<i64>,
    pub index_names: Gauge<i64>,
    pub index_fresh: Gauge<i64>,
}

impl Telemetry {
    /// Registers every metric.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("triplicate");
        let metrics = Metrics::register(&mut registry);
        Self(Arc::new(Inner { metrics, registry, events: Mutex::default() }))
    }

    /// Returns the metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Writes all metrics in the text format of OpenMetrics.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.0.registry);
        text
    }

    /// Counts and keeps an event, and drops the oldest one where there are too many.
    pub fn event(&self, event: Event) {
        let labels =
            EventLabels { kind: event.kind.as_str(), provider: event.provider.clone().unwrap_or_default() };
        self.metrics().events.get_or_create(&labels).inc();
        let mut events = self.0.events.lock();
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// Returns up to `limit` recent events, the newest first.
    pub fn recent_events(&self, limit: usize) -> Vec<Event> {
        self.0.events.lock().iter().rev().take(limit).cloned().collect()
    }

    /// Counts one call to a provider.
    pub fn call(&self, labels: &CallLabels, took: Duration) {
        self.metrics().calls.get_or_create(labels).inc();
        self.metrics().call_seconds.get_or_create(labels).observe(took.as_secs_f64());
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        fn latency() -> Histogram {
            Histogram::new(LATENCY_SECONDS)
        }
        macro_rules! metric {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        Self {
            requests: metric!("requests", "Requests of clients", Family::default()),
            request_seconds: metric!(
                "request_seconds",
                "Time to the head of the response",
                Family::new_with_constructor(latency as fn() -> Histogram)
            ),
            sent_bytes: metric!("sent_bytes", "Body bytes sent to clients", Counter::default()),
            received_bytes: metric!("received_bytes", "Body bytes received from clients", Counter::default()),
            cache_hits: metric!("cache_hits", "Blocks served from memory", Counter::default()),
            cache_misses: metric!("cache_misses", "Blocks read from a provider", Counter::default()),
            cache_bytes: metric!("cache_bytes", "Bytes held in the memory cache", Gauge::default()),
            calls: metric!("provider_calls", "Calls to providers", Family::default()),
            call_seconds: metric!(
                "provider_call_seconds",
                "Duration of calls to providers, to the head for reads",
                Family::new_with_constructor(latency as fn() -> Histogram)
            ),
            events: metric!("events", "Takeovers, repairs, alarms", Family::default()),
            provider_healthy: metric!("provider_healthy", "1 while the breaker is closed", Family::default()),
            provider_trusted: metric!(
                "provider_trusted",
                "1 while the canary was seen lately",
                Family::default()
            ),
            provider_latency_seconds: metric!(
                "provider_latency_seconds",
                "Smoothed time to the first verified block",
                Family::default()
            ),
            copies_missing: metric!("copies_missing", "Known versions without a copy", Family::default()),
            retention_removed: metric!(
                "retention_removed",
                "Copies and orphans that retention removed",
                Family::default()
            ),
            retention_planned: metric!(
                "retention_planned",
                "Copies and orphans that the last plan would remove",
                Family::default()
            ),
            retention_braked: metric!(
                "retention_braked",
                "1 while a plan to remove too much waits for an operator",
                Gauge::default()
            ),
            index_names: metric!("index_names", "Names in the local index", Gauge::default()),
            index_fresh: metric!("index_fresh", "1 while the index is fresh", Gauge::default()),
        }
    }
}
