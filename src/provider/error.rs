//! What can go wrong at a provider, by what the caller does next.

use std::fmt;
use std::time::Duration;

use super::ProviderId;

/// What was asked of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are the trait's methods")]
pub enum Operation {
    Put,
    Get,
    Stat,
    Delete,
    List,
    Probe,
}

impl Operation {
    /// Returns the word used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Stat => "stat",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Probe => "probe",
        }
    }
}

/// The kind of a failure; it decides what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The provider says that it has no such object. Not a fault; believe it only as the trust rules say.
    NotFound,
    /// 401 or 403: our key is not accepted. A fault of the provider or its configuration, never "not found".
    Denied,
    /// The bucket or zone itself is missing. A fault, never "not found".
    NoContainer,
    /// 429, 503 SlowDown and the like: it is asked too much of.
    Throttled,
    /// It cannot be reached, refused, reset, or answered with a server error.
    Unavailable,
    /// It did not answer, or not get on, in time.
    Timeout,
    /// It refused the request for good: asking again with the same bytes is useless.
    Refused,
    /// It answered with something that was not asked for: wrong range, wrong length, an error page.
    Protocol,
    /// The stored or received bytes are not the right ones.
    Corrupt,
}

impl ErrorKind {
    /// Returns the word used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::NoContainer => "no_container",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Protocol => "protocol",
            Self::Corrupt => "corrupt",
        }
    }

    /// Tells whether the same request may succeed when it is sent again.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Timeout | Self::Protocol | Self::Corrupt)
    }

    /// Tells whether the failure speaks against the provider's health; a missing object does not.
    pub const fn is_fault(self) -> bool {
        !matches!(self, Self::NotFound)
    }
}

/// A failure at a provider.
#[derive(Debug, Clone)]
pub struct ProviderError {
    /// The provider that failed.
    pub provider: ProviderId,
    /// What was asked of it.
    pub operation: Operation,
    /// What the caller does next.
    pub kind: ErrorKind,
    /// How long the provider asked us to wait.
    pub retry_after: Option<Duration>,
    /// The full story for our log, free of secrets; never for clients.
    pub detail: String,
}

impl ProviderError {
    /// Builds an error without a story.
    pub fn new(provider: &ProviderId, operation: Operation, kind: ErrorKind) -> Self {
        Self { provider: provider.clone(), operation, kind, retry_after: None, detail: String::new() }
    }

    /// Adds the story for the log.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds how long the provider asked us to wait.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Tells whether the provider said that it has no such object.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.operation.as_str(), self.provider, self.kind.as_str())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl std::error::Error for ProviderError {}

/// A provider cannot be built from its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(String);

impl BuildError {
    /// Builds the error from what is wrong, in words free of secrets.
    pub fn new(detail: impl Into<String>) -> Self {
        Self(detail.into())
    }
}
