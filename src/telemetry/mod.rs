//! Telemetry: every metric name in one table, and the recent events that operators ask for ([`events`]).

pub mod events;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use events::Rings;
pub use events::{Event, EventFilter, EventKind, Rescue};

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

/// Labels of the rescue of a read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(missing_docs, reason = "label names speak for themselves")]
pub struct RescueLabels {
    pub kind: &'static str,
    /// The provider that did not deliver.
    pub from: String,
    pub cause: &'static str,
}

/// Labels of the reads at providers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(missing_docs, reason = "label names speak for themselves")]
pub struct ReadLabels {
    pub provider: String,
    /// `first`, or why beyond it: `hedge`, `retry`.
    pub reason: &'static str,
}

/// All metrics and recent events of one gateway; cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    registry: Registry,
    events: Mutex<Rings>,
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
    pub upstream_reads: Family<ReadLabels, Counter>,
    pub events: Family<EventLabels, Counter>,
    pub rescue_seconds: Family<RescueLabels, Histogram>,
    pub provider_healthy: Family<ProviderLabels, Gauge<i64>>,
    pub provider_trusted: Family<ProviderLabels, Gauge<i64>>,
    pub provider_latency_seconds: Family<ProviderLabels, Gauge<f64, AtomicU64>>,
    pub copies_missing: Family<ProviderLabels, Gauge<i64>>,
    pub oldest_missing_seconds: Family<ProviderLabels, Gauge<i64>>,
    pub copies_made_per_second: Family<ProviderLabels, Gauge<f64, AtomicU64>>,
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

    /// Counts and keeps an event, and times the rescue that it may be.
    pub fn event(&self, event: Event) {
        let provider = event.provider.clone().unwrap_or_default();
        let labels = EventLabels { kind: event.kind.as_str(), provider };
        self.metrics().events.get_or_create(&labels).inc();
        if let Some(rescue) = &event.rescue {
            let labels = RescueLabels {
                kind: event.kind.as_str(),
                from: rescue.from.clone().unwrap_or_default(),
                cause: rescue.cause,
            };
            self.metrics().rescue_seconds.get_or_create(&labels).observe(rescue.delay.as_secs_f64());
        }
        self.0.events.lock().push(event);
    }

    /// Returns up to `limit` recent events, the newest first.
    pub fn recent_events(&self, limit: usize) -> Vec<Event> {
        self.find_events(&EventFilter::default(), limit)
    }

    /// Returns up to `limit` recent events that fit, the newest first.
    pub fn find_events(&self, filter: &EventFilter, limit: usize) -> Vec<Event> {
        self.0.events.lock().recent(filter, limit)
    }

    /// Counts a read that a provider is asked for, and why it is.
    pub fn upstream_read(&self, provider: &str, reason: &'static str) {
        let labels = ReadLabels { provider: provider.to_owned(), reason };
        self.metrics().upstream_reads.get_or_create(&labels).inc();
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
    /// Sets how repair of one provider stands.
    pub fn repair(&self, labels: &ProviderLabels, missing: u64, oldest_seconds: Option<u64>, rate: f64) {
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.copies_missing.get_or_create(labels).set(whole(missing));
        self.oldest_missing_seconds.get_or_create(labels).set(whole(oldest_seconds.unwrap_or(0)));
        self.copies_made_per_second.get_or_create(labels).set(rate);
    }

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
            upstream_reads: metric!(
                "upstream_reads",
                "Reads asked of providers for clients",
                Family::default()
            ),
            rescue_seconds: metric!(
                "rescue_seconds",
                "How long clients waited for a rescued read to go on",
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
            oldest_missing_seconds: metric!(
                "oldest_missing_seconds",
                "Age of the oldest version whose copy is missing",
                Family::default()
            ),
            copies_made_per_second: metric!(
                "copies_made_per_second",
                "Copies made by repair within the last minute",
                Family::default()
            ),
            index_names: metric!("index_names", "Names in the local index", Gauge::default()),
            index_fresh: metric!("index_fresh", "1 while the index is fresh", Gauge::default()),
        }
    }
}
