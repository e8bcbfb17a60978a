//! Canaries: the sealed object by which a provider proves to be itself.
//!
//! Without ours, a provider's "missing" counts for nothing: its bucket may have been wiped or swapped. A
//! foreign canary means that the bucket belongs to somebody else, and nothing is ever written there.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::asset::{Key, RecordKey, SealError};
use crate::provider::{ErrorKind, Operation, Payload, Provider, ProviderError, Result, get_small};

/// The format that this program writes, and the only one it reads.
const FORMAT: u32 = 1;
/// The largest canary that is read, in bytes.
const CANARY_BYTES_MAX: u64 = 4 * 1024;

/// What a provider's canary says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryState {
    /// The provider is itself.
    Ours,
    /// There is none: a new, wiped or swapped provider.
    Missing,
    /// It has another provider's name, another MAC or another key: not our bucket.
    Foreign,
}

impl CanaryState {
    /// Returns the word used in `/api/status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Missing => "missing",
            Self::Foreign => "foreign",
        }
    }
}

/// What one look at a canary showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// Whose bucket it is.
    pub state: CanaryState,
    /// When it was written, if it is ours. A canary is written when its provider has just been made complete, so
    /// another time means that the provider lost everything in between.
    pub created: Option<DateTime<Utc>>,
}

impl Canary {
    const MISSING: Self = Self { state: CanaryState::Missing, created: None };
    const FOREIGN: Self = Self { state: CanaryState::Foreign, created: None };
}

#[derive(Serialize, Deserialize)]
struct Line {
    format: u32,
    provider: String,
    created: DateTime<Utc>,
}

/// Reads a provider's canary.
///
/// Another canary beside a missing one of ours (`canary/` of another name) makes the bucket foreign: two
/// configured providers that are the same bucket would otherwise look like two copies.
///
/// # Errors
///
/// The provider did not answer.
pub async fn look(provider: &dyn Provider, key: &RecordKey) -> Result<Canary> {
    let at = Key::canary(provider.id().as_str());
    match get_small(provider, &at, CANARY_BYTES_MAX).await {
        Ok(sealed) => judge(&sealed, provider.id().as_str(), key).ok_or_else(|| {
            let failure = ProviderError::new(provider.id(), Operation::Get, ErrorKind::Protocol);
            failure.with_detail("what lies in the canary's place is a page for people")
        }),
        Err(error) if error.is_not_found() => {
            let beside = provider.list_dir(crate::asset::key::CANARY).await?;
            // Listed but not delivered: a replica lags behind, which says nothing of who this is.
            if beside.entries.iter().any(|entry| entry.key == at.as_str()) {
                let failure = ProviderError::new(provider.id(), Operation::Get, ErrorKind::Protocol);
                return Err(failure.with_detail("the canary is listed but not found"));
            }
            Ok(if beside.entries.is_empty() { Canary::MISSING } else { Canary::FOREIGN })
        }
        Err(error) => Err(error),
    }
}

/// Writes a provider's canary, once the provider is known to be complete.
///
/// # Errors
///
/// The canary may be there or not.
pub async fn write(provider: &dyn Provider, key: &RecordKey, created: DateTime<Utc>) -> Result<()> {
    let id = provider.id().as_str();
    let line = Line { format: FORMAT, provider: id.to_owned(), created };
    // Plain strings and numbers always have a JSON form.
    let sealed = key.seal(&serde_json::to_string(&line).unwrap_or_default());
    provider.put(&Key::canary(id), &Payload::from(sealed), crate::asset::record::RECORD_CONTENT_TYPE).await
}

/// Tells whose canary it is; `None` for a page, which somebody on the way may have sent: it says nothing of whose bucket
/// it is.
fn judge(sealed: &[u8], id: &str, key: &RecordKey) -> Option<Canary> {
    let line = match key.open(sealed) {
        Ok(line) => serde_json::from_str::<Line>(line).ok(),
        Err(SealError::Malformed) if is_page(sealed) => return None,
        Err(SealError::Forged | SealError::Malformed) => None,
    };
    Some(match line {
        Some(line) if line.format == FORMAT && line.provider == id => {
            Canary { state: CanaryState::Ours, created: Some(line.created) }
        }
        Some(_) | None => Canary::FOREIGN,
    })
}

/// Tells whether it is HTML or XML, for people or of a store that answers 200 with an error.
fn is_page(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_canary_is_ours() {
        let key = RecordKey::new([3; 32]);
        let line = r#"{"format":1,"provider":"s3-one","created":"2026-11-22T11:05:31Z"}"#;
        let ours = judge(&key.seal(line), "s3-one", &key).unwrap();
        assert_eq!(
            (ours.state, ours.created),
            (CanaryState::Ours, DateTime::from_timestamp(1_795_345_531, 0))
        );
        assert_eq!(judge(&key.seal(line), "s3-two", &key), Some(Canary::FOREIGN));
        assert_eq!(judge(&RecordKey::new([4; 32]).seal(line), "s3-one", &key), Some(Canary::FOREIGN));
        assert_eq!(judge(&key.seal(&line.replace(":1", ":2")), "s3-one", &key), Some(Canary::FOREIGN));
        for foreign in [&b""[..], b"not yours", &key.seal(line)[..40], b"{}\n"] {
            assert_eq!(judge(foreign, "s3-one", &key), Some(Canary::FOREIGN));
        }
        for page in [&b"<html>"[..], b"\n <html>\n<body>\n"] {
            assert_eq!(judge(page, "s3-one", &key), None);
        }
    }
}
