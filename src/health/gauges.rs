//! What metrics and events show of each provider.

use super::Board;
use crate::provider::{Slot, Trust};
use crate::telemetry::EventKind;

impl Board {
    /// Sets all gauges. Some change without an event: a provider that falls silent is trusted no more after a while.
    pub fn show(&self) {
        for slot in self.slots() {
            let healthy = self.is_healthy(slot);
            self.metrics().provider_healthy.get_or_create(&self.labels(slot)).set(i64::from(healthy));
            self.show_trust(slot);
            self.show_latency(slot);
        }
    }

    pub(super) fn show_trust(&self, slot: Slot) {
        let trusted = i64::from(self.is_trusted(slot));
        self.metrics().provider_trusted.get_or_create(&self.labels(slot)).set(trusted);
    }

    pub(super) fn show_latency(&self, slot: Slot) {
        let smoothed = self.state(slot).lock().figures.latency().unwrap_or_default().as_secs_f64();
        self.metrics().provider_latency_seconds.get_or_create(&self.labels(slot)).set(smoothed);
    }

    /// Tells that a breaker opened or closed.
    pub(super) fn health_changed(&self, slot: Slot, healthy: bool, detail: &str) {
        let labels = self.labels(slot);
        self.metrics().provider_healthy.get_or_create(&labels).set(i64::from(healthy));
        if healthy {
            tracing::info!(provider = %labels.provider, "the provider is healthy again");
        } else {
            tracing::warn!(provider = %labels.provider, detail, "the provider is taken to be down");
        }
        self.event(
            slot,
            EventKind::Health,
            if healthy { "up".to_owned() } else { format!("down: {detail}") },
        );
    }
}
