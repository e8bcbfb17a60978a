//! Telemetry: every metric in one table ([`metrics`]), and the recent events that operators ask for ([`events`]).

pub mod events;
pub mod metrics;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use events::Rings;
pub use events::{Event, EventFilter, EventKind, Rescue};
pub use metrics::{
    CallLabels, EventLabels, Metrics, ProviderLabels, ReadLabels, RequestLabels, RescueLabels,
};

/// All metrics and recent events of one gateway; cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    registry: Registry,
    events: Mutex<Rings>,
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
