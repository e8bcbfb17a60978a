//! Limits: how many uploads and reads run at once.
//!
//! A request over a limit waits a moment for its turn, then it is told to come back: a short burst goes
//! unnoticed, a long one cannot fill the memory. The permit travels with the body of the response.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Problem, ProblemKind};

/// How long a request waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// A gate that lets so many requests through at once.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    /// Builds a gate for `limit` requests at once; 0 is no limit.
    pub(super) fn new(limit: usize) -> Self {
        let permits = if limit == 0 { Semaphore::MAX_PERMITS } else { limit.min(Semaphore::MAX_PERMITS) };
        Self(Arc::new(Semaphore::new(permits)))
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    ///
    /// # Errors
    ///
    /// 503 when there was none in time.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        match tokio::time::timeout(WAIT_MAX, Arc::clone(&self.0).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // Nobody closes the semaphore, so this is always the time-out.
            Ok(Err(_)) | Err(_) => {
                Err(Problem::new(ProblemKind::Overloaded, "too many requests run at once, try again soon"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_over_the_limit_waits_a_second_and_is_refused() {
        let gate = Gate::new(1);
        let permit = gate.enter().await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(gate.enter().await.unwrap_err().kind(), ProblemKind::Overloaded);
        assert_eq!(begun.elapsed(), WAIT_MAX);
        drop(permit);
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_over_the_limit_goes_on_when_another_ends_in_time() {
        let gate = Gate::new(1);
        let permit = gate.enter().await.unwrap();
        let (entered, ()) = tokio::join!(gate.enter(), async { drop(permit) });
        assert!(entered.is_ok());
    }
}
