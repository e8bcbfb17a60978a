//! What operators are shown of each provider.

use std::time::Duration;

use tokio::time::Instant;

use super::board::State;
use super::canary::CanaryState;
use super::plan::SizeClass;
use crate::provider::ProviderId;

/// What a gateway thinks of one provider.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ProviderHealth {
    /// The provider's name.
    #[serde(serialize_with = "id_text")]
    pub name: ProviderId,
    /// The vendor's kind: `s3`, `bunny`, `disk`.
    pub kind: &'static str,
    /// `healthy` while its breaker is closed and its canary in place, else `down`: it is asked last.
    pub health: &'static str,
    /// The breaker: `closed`, `open` or `half-open`.
    pub breaker: &'static str,
    /// For how many seconds the breaker has been open.
    pub open_for_s: Option<f64>,
    /// In how many seconds an open provider is probed again at the latest, 0 when that is due.
    pub next_probe_s: Option<f64>,
    /// The canary: `ours`, `missing`, `foreign` or `unknown`.
    pub canary: &'static str,
    /// The smoothed time to the first verified block in milliseconds, once there was one.
    pub latency_ms: Option<f64>,
    /// The time within which 95 % of the answers up to 64 KiB began, in milliseconds, of the last minutes.
    pub p95_ms: Option<f64>,
    /// After how many milliseconds a read of up to 64 KiB asks another provider as well.
    pub hedge_ms: f64,
    /// The smoothed throughput of bodies in bytes a second, once there was one.
    pub throughput_bytes: Option<f64>,
    /// The share of requests that succeeded, 0 to 1, in the last ten seconds, if there were any.
    pub success_rate: Option<f64>,
    /// How many reads wait for the provider's first block.
    pub in_flight: u32,
    /// The provider's clock minus ours in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// How uploads are protected, once it was probed.
    pub checksum: Option<String>,
    /// The last failure, in words that are safe to show to an operator.
    pub last_error: Option<String>,
}

fn id_text<S: serde::Serializer>(id: &ProviderId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

/// Shows what is known of one provider at `now`.
pub(super) fn of(name: &ProviderId, kind: &'static str, state: &State, now: Instant) -> ProviderHealth {
    let open = state.breaker.open_since();
    let rate = state.breaker.rate(now);
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    ProviderHealth {
        name: name.clone(),
        kind,
        health: if state.is_healthy() { "healthy" } else { "down" },
        breaker: state.breaker.state().as_str(),
        open_for_s: open.map(|(since, _)| now.duration_since(since).as_secs_f64()),
        next_probe_s: open.map(|(_, until)| until.saturating_duration_since(now).as_secs_f64()),
        canary: state.identity.state().map_or("unknown", CanaryState::as_str),
        latency_ms: state.figures.latency().map(milliseconds),
        p95_ms: state.figures.small_tail(now).map(milliseconds),
        hedge_ms: milliseconds(state.figures.hedge_after(SizeClass::Small, now)),
        throughput_bytes: state.figures.throughput(),
        success_rate: (rate.outcomes() > 0).then(|| rate.share()),
        in_flight: state.in_flight,
        clock_offset_ms: state.clock_offset_ms,
        checksum: state.checksum.clone(),
        last_error: state.last_error.clone(),
    }
}
