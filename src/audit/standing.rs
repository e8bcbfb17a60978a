//! How each provider stands when an audit begins, by its canary.

use crate::asset::RecordKey;
use crate::health::canary::{self, CanaryState};
use crate::provider::Provider;
use crate::replica::retry::retrying;

/// How one provider stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has proved to be itself.
    Ours,
    /// It has no canary: new, wiped or swapped. It is compared and mended like any other.
    NoCanary,
    /// It is somebody else's: neither judged nor written to.
    Foreign,
    /// It does not answer.
    Silent(String),
}

impl Standing {
    /// Looks at the canary of one provider.
    pub async fn of(provider: &dyn Provider, key: &RecordKey) -> Self {
        match retrying(|| canary::look(provider, key)).await.map(|canary| canary.state) {
            Ok(CanaryState::Ours) => Self::Ours,
            Ok(CanaryState::Missing) => Self::NoCanary,
            Ok(CanaryState::Foreign) => Self::Foreign,
            Err(error) => Self::Silent(error.to_string()),
        }
    }

    /// Tells whether the provider can be compared.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Ours | Self::NoCanary)
    }

    /// Returns what the operator should know, in plain words.
    pub fn note(&self, provider: &str) -> Option<String> {
        match self {
            Self::Ours => None,
            Self::NoCanary => Some(format!(
                "{provider} has no canary: it is new, was wiped or was swapped. It is compared like the others; \
                 a gateway writes the canary once the provider is complete."
            )),
            Self::Foreign => Some(format!(
                "ALARM: the canary at {provider} is foreign: the bucket belongs to another provider or was sealed \
                 with another record key. It is not judged and not written to."
            )),
            Self::Silent(reason) => {
                Some(format!("{provider} does not answer and cannot be judged: {reason}"))
            }
        }
    }
}

/// Returns why nothing can be audited, if so: `None` when at least one provider can be compared.
pub fn hopeless(standings: &[Standing]) -> Option<&'static str> {
    if standings.iter().any(Standing::is_usable) {
        return None;
    }
    Some(if standings.contains(&Standing::Foreign) {
        "no provider that answers was sealed with this record key. Is `record_key` the right one?"
    } else {
        "no provider answers."
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_needs_one_provider_that_is_not_foreign() {
        let silent = || Standing::Silent("timeout".to_owned());
        assert_eq!(hopeless(&[silent(), Standing::NoCanary]), None);
        assert_eq!(hopeless(&[Standing::Foreign, Standing::Ours]), None);
        assert!(hopeless(&[silent(), silent()]).is_some_and(|why| why.contains("answers")));
        assert!(hopeless(&[Standing::Foreign, silent()]).is_some_and(|why| why.contains("record_key")));
    }
}
