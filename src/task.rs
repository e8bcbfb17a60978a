//! Tasks: named, supervised and joined; nothing else spawns, but for the disk provider's own threads.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span, warn};

use crate::clock::Clock;

/// All running tasks of one gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Drops what runs where it stands.
    halt: CancellationToken,
}

/// Work off the async workers ended without a result: it panicked, or the process ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the work was interrupted: {0}")]
pub struct Interrupted(String);

/// Runs work that blocks on this machine off the async workers.
///
/// Under a manual clock it runs in place: threads would come back in another order each time, and a test could
/// not be repeated.
///
/// # Errors
///
/// The work panicked, or the process ends.
///
/// # Cancellation
///
/// Work that has begun goes on to its end.
#[expect(clippy::disallowed_methods, reason = "this is the place that blocks")]
pub async fn blocking<T, F>(clock: &Clock, work: F) -> Result<T, Interrupted>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if clock.is_manual() {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        return result.map_err(|panic| Interrupted(panic_text(&*panic).to_owned()));
    }
    tokio::task::spawn_blocking(work).await.map_err(|failure| Interrupted(failure.to_string()))
}

impl Tasks {
    /// Starts with no task.
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new(), halt: CancellationToken::new() }
    }

    /// Returns the token that every loop watches.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Starts a task that is joined at shutdown; a panic in it is logged, not lost.
    #[expect(clippy::disallowed_methods, reason = "this is the place that spawns")]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let guarded = std::panic::AssertUnwindSafe(future).catch_unwind().map(move |result| match result {
            Ok(output) => Some(output),
            Err(panic) => {
                error!(task = name, reason = panic_text(&*panic), "a task panicked");
                None
            }
        });
        let halt = self.halt.clone();
        let halted = async move {
            tokio::select! {
                biased;
                () = halt.cancelled() => None,
                output = guarded => output,
            }
        };
        tokio::spawn(self.tracker.track_future(halted.instrument(info_span!("task", name))))
    }

    /// Starts a loop that runs `step` every `period` until the gateway stops; a panic costs one step.
    pub fn spawn_periodic<F, Fut>(&self, name: &'static str, period: Duration, mut step: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let steps = async move {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    _ = interval.tick() => {}
                }
                let step = std::panic::AssertUnwindSafe(step()).catch_unwind();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    result = step => if let Err(panic) = result {
                        error!(task = name, reason = panic_text(&*panic), "a step panicked");
                    }
                }
            }
        };
        drop(self.spawn(name, steps));
    }

    /// Tells all loops to stop and waits for all tasks, at most `patience`; those that are left are dropped.
    pub async fn shut_down(&self, patience: Duration) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            warn!(tasks = self.tracker.len(), "some tasks did not end in time");
        }
        self.halt();
    }

    /// Drops all tasks at the await point where they stand, as the end of the process would.
    pub fn halt(&self) {
        self.halt.cancel();
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panicking_step_does_not_end_its_loop() {
        let tasks = Tasks::new();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let mut count = 0;
        tasks.spawn_periodic("test", Duration::from_secs(1), move || {
            count += 1;
            let sender = sender.clone();
            async move {
                assert!(count != 1, "the first step fails");
                sender.send(count).unwrap();
            }
        });
        assert_eq!(receiver.recv().await, Some(2));
        tasks.shut_down(Duration::from_secs(5)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_halt_drops_tasks_where_they_stand() {
        let tasks = Tasks::new();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let task = tasks.spawn("test", async move {
            for number in 1.. {
                sender.send(number).unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert_eq!(receiver.recv().await, Some(1));
        tasks.halt();
        assert_eq!(task.await.unwrap(), None);
        assert_eq!(receiver.recv().await, None);
    }

    #[tokio::test]
    async fn work_that_panics_is_interrupted_wherever_it_runs() {
        for clock in [Clock::system(), Clock::manual(1)] {
            assert_eq!(blocking(&clock, || 1).await, Ok(1));
            assert!(blocking(&clock, || assert!(clock_is_broken(), "a reason")).await.is_err());
        }
    }

    fn clock_is_broken() -> bool {
        false
    }
}
