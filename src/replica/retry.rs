//! Retries of background work: few, spaced out, and only where the same request may succeed.
//!
//! Client traffic never comes here: a read takes over at another provider instead of waiting for one.

use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use super::source::{RecordSourceError, SourceError};
use crate::provider::ProviderError;

/// How often a failed request is sent again.
const RETRIES_MAX: usize = 2;
/// The wait before the first retry; the next ones double it.
const WAIT_MIN: Duration = Duration::from_millis(250);
/// The longest wait, whatever a provider asks for.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Tells whether, and when, a failed request may be sent again.
pub trait RetryClass {
    /// Returns the provider's failure behind this error, if there is one.
    fn provider_error(&self) -> Option<&ProviderError>;
}

impl RetryClass for ProviderError {
    fn provider_error(&self) -> Option<&ProviderError> {
        Some(self)
    }
}

impl RetryClass for SourceError {
    fn provider_error(&self) -> Option<&ProviderError> {
        match self {
            Self::Provider(error) => Some(error),
            Self::Damaged { .. } => None,
        }
    }
}

impl RetryClass for RecordSourceError {
    fn provider_error(&self) -> Option<&ProviderError> {
        match self {
            Self::Provider(error) => Some(error),
            Self::Record(_) => None,
        }
    }
}

/// Runs `request` until it succeeds, fails for good, or was retried a few times.
///
/// # Errors
///
/// The last failure.
pub async fn retrying<T, E, Fut>(request: impl FnMut() -> Fut) -> Result<T, E>
where
    E: RetryClass,
    Fut: Future<Output = Result<T, E>>,
{
    request
        .retry(schedule())
        .when(|error: &E| error.provider_error().is_some_and(|error| error.kind.is_retryable()))
        .adjust(|error, wait| {
            let asked = error.provider_error().and_then(|error| error.retry_after);
            wait.map(|wait| asked.map_or(wait, |asked| asked.max(wait).min(WAIT_MAX)))
        })
        .await
}

/// Returns the waits between attempts, for loops that go on where the last attempt stopped.
pub fn schedule() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(WAIT_MIN)
        .with_max_delay(WAIT_MAX)
        .with_max_times(RETRIES_MAX)
        .with_jitter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{ErrorKind, Operation, ProviderId};

    async fn attempts(kind: ErrorKind, succeed_at: usize) -> (usize, bool) {
        let mut attempts = 0;
        let result = retrying(|| {
            attempts += 1;
            let id = ProviderId::new("a");
            let error = ProviderError::new(&id, Operation::Get, kind);
            let error = error.with_retry_after(Some(Duration::from_secs(3_600)));
            std::future::ready(if attempts == succeed_at { Ok(()) } else { Err(error) })
        })
        .await;
        (attempts, result.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_sent_again_and_not_forever() {
        let started = tokio::time::Instant::now();
        assert_eq!(attempts(ErrorKind::Unavailable, 3).await, (3, true));
        assert_eq!(attempts(ErrorKind::Timeout, 9).await, (3, false));
        assert_eq!(attempts(ErrorKind::NotFound, 9).await, (1, false));
        assert_eq!(attempts(ErrorKind::Denied, 9).await, (1, false));
        assert!(started.elapsed() <= 4 * WAIT_MAX, "{:?}", started.elapsed());
    }
}
