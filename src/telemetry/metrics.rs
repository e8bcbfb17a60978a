//! Every metric in one table, with its labels.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

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

/// A metric that starts at nothing.
trait Fresh {
    fn fresh() -> Self;
}

impl Fresh for Counter {
    fn fresh() -> Self {
        Self::default()
    }
}

impl Fresh for Gauge<i64> {
    fn fresh() -> Self {
        Self::default()
    }
}

impl<L: Clone + std::hash::Hash + Eq, M: Fresh> Fresh for Family<L, M> {
    fn fresh() -> Self {
        Self::new_with_constructor(M::fresh)
    }
}

impl Fresh for Gauge<f64, AtomicU64> {
    fn fresh() -> Self {
        Self::default()
    }
}

impl Fresh for Histogram {
    fn fresh() -> Self {
        Self::new(LATENCY_SECONDS)
    }
}

/// Declares the metrics and registers them: field, type, name and help of each.
macro_rules! metrics {
    ($($field:ident: $type:ty = $name:literal, $help:literal;)*) => {
        /// The metrics themselves.
        #[expect(missing_docs, reason = "each is described by its help")]
        pub struct Metrics {
            $(pub $field: $type,)*
        }

        impl Metrics {
            /// Registers every metric.
            pub(super) fn register(registry: &mut Registry) -> Self {
                $(
                    let $field = <$type as Fresh>::fresh();
                    registry.register($name, $help, $field.clone());
                )*
                Self { $($field,)* }
            }
        }
    };
}

metrics! {
    requests: Family<RequestLabels, Counter> = "requests", "Requests of clients";
    request_seconds: Family<RequestLabels, Histogram> = "request_seconds", "Time to the head of the response";
    sent_bytes: Counter = "sent_bytes", "Body bytes sent to clients";
    received_bytes: Counter = "received_bytes", "Body bytes received from clients";
    cache_hits: Counter = "cache_hits", "Blocks served from memory";
    cache_misses: Counter = "cache_misses", "Blocks read from a provider";
    cache_bytes: Gauge<i64> = "cache_bytes", "Bytes held in the memory cache";
    cache_disk_hits: Counter = "cache_disk_hits", "Blocks served from disk";
    cache_disk_bytes: Gauge<i64> = "cache_disk_bytes", "Bytes held in the disk cache";
    cache_disk_damaged: Counter = "cache_disk_damaged", "Files of the disk cache that did not verify and were removed";
    calls: Family<CallLabels, Counter> = "provider_calls", "Calls to providers";
    call_seconds: Family<CallLabels, Histogram> = "provider_call_seconds", "Duration of calls to providers, to the head for reads";
    upstream_reads: Family<ReadLabels, Counter> = "upstream_reads", "Reads asked of providers for clients";
    events: Family<EventLabels, Counter> = "events", "Takeovers, repairs, alarms";
    rescue_seconds: Family<RescueLabels, Histogram> = "rescue_seconds", "How long clients waited for a rescued read to go on";
    provider_healthy: Family<ProviderLabels, Gauge<i64>> = "provider_healthy", "1 while the breaker is closed";
    provider_trusted: Family<ProviderLabels, Gauge<i64>> = "provider_trusted", "1 while the canary was seen lately";
    provider_latency_seconds: Family<ProviderLabels, Gauge<f64, AtomicU64>> = "provider_latency_seconds", "Smoothed time to the first verified block";
    copies_missing: Family<ProviderLabels, Gauge<i64>> = "copies_missing", "Known versions without a copy";
    oldest_missing_seconds: Family<ProviderLabels, Gauge<i64>> = "oldest_missing_seconds", "Age of the oldest version whose copy is missing";
    copies_made_per_second: Family<ProviderLabels, Gauge<f64, AtomicU64>> = "copies_made_per_second", "Copies made by repair within the last minute";
    repair_yielding: Gauge<i64> = "repair_yielding", "1 while repair yields to clients";
    repair_copies_at_once: Gauge<i64> = "repair_copies_at_once", "Copies that repair may make at the same time";
    repair_rest_factor: Gauge<f64, AtomicU64> = "repair_rest_factor", "How long repair rests at most, as a multiple of its work before";
    retention_removed: Family<ProviderLabels, Counter> = "retention_removed", "Copies and orphans that retention removed";
    retention_planned: Family<ProviderLabels, Gauge<i64>> = "retention_planned", "Copies and orphans that the last plan would remove";
    retention_braked: Gauge<i64> = "retention_braked", "1 while a plan to remove too much waits for an operator";
    index_names: Gauge<i64> = "index_names", "Names in the local index";
    index_fresh: Gauge<i64> = "index_fresh", "1 while the index is fresh";
}

impl Metrics {
    /// Sets how repair of one provider stands.
    pub fn repair(&self, labels: &ProviderLabels, missing: u64, oldest_seconds: Option<u64>, rate: f64) {
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.copies_missing.get_or_create(labels).set(whole(missing));
        self.oldest_missing_seconds.get_or_create(labels).set(whole(oldest_seconds.unwrap_or(0)));
        self.copies_made_per_second.get_or_create(labels).set(rate);
    }

    /// Sets how repair yields to clients.
    pub fn repair_pacing(&self, yielding: bool, copies_at_once: usize, rest_factor: f64) {
        self.repair_yielding.set(i64::from(yielding));
        self.repair_copies_at_once.set(i64::try_from(copies_at_once).unwrap_or(i64::MAX));
        self.repair_rest_factor.set(rest_factor);
    }
}
