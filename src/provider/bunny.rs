//! Bunny Edge Storage. (seam)

use secrecy::SecretString;

/// How to reach a zone of Bunny Edge Storage.
#[derive(Debug, Clone)]
pub struct BunnySettings {
    /// The base URL of the zone's primary region.
    pub endpoint: url::Url,
    /// The zone.
    pub zone: String,
    /// The zone's password.
    pub access_key: SecretString,
}
