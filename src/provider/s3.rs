//! S3 providers. (seam)

use secrecy::SecretString;

/// How to reach a bucket at any S3 vendor.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The base URL of the service, without the bucket.
    pub endpoint: url::Url,
    /// The region that signatures name.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The access key id.
    pub access_key_id: SecretString,
    /// The secret access key.
    pub secret_access_key: SecretString,
    /// `endpoint/bucket/key` rather than `bucket.endpoint/key`.
    pub path_style: bool,
}
