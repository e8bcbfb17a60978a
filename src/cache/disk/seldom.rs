//! Warnings that come once in a while, however often their cause does.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Between two warnings of one kind.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// When one kind of warning was given last.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Tells whether the warning is to be given, and takes it as given.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let mut told = self.0.lock();
        let due = told.is_none_or(|told| now.duration_since(told) >= TOLD_AGAIN_AFTER);
        if due {
            *told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_once_in_a_while() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let told = (0..1_300).filter(|second| seldom.is_due(start + Duration::from_secs(*second)));
        assert_eq!(told.collect::<Vec<_>>(), [0, 600, 1_200]);
    }
}
