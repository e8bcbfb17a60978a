//! Health. (seam)

pub mod canary;

use crate::provider::ProviderId;

/// What a gateway thinks of one provider.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ProviderHealth {
    /// The provider's name.
    #[serde(serialize_with = "id_text")]
    pub name: ProviderId,
    /// The vendor's kind: `s3`, `bunny`, `disk`.
    pub kind: &'static str,
    /// Whether the provider is in use: `healthy` or `down`.
    pub health: &'static str,
    /// The breaker: `closed`, `open` or `half-open`.
    pub breaker: &'static str,
    /// The canary: `ours`, `missing`, `foreign` or `unknown`.
    pub canary: &'static str,
    /// The smoothed time to the first verified block in milliseconds, once there was one.
    pub latency_ms: Option<f64>,
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

/// The board: what this gateway thinks of each provider.
#[derive(Debug, Clone)]
pub struct Board {}

impl Board {
    /// Returns a snapshot, in the order of the configuration.
    pub fn snapshot(&self) -> Vec<ProviderHealth> {
        unimplemented!()
    }
}
