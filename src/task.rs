//! Tasks: named, supervised and joined; nothing else spawns.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span, warn};

/// All running tasks of one gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Starts with no task.
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new() }
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
        tokio::spawn(self.tracker.track_future(guarded.instrument(info_span!("task", name))))
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
                    () = stop.cancelled() => return,
                    _ = interval.tick() => {}
                }
                let step = std::panic::AssertUnwindSafe(step()).catch_unwind();
                tokio::select! {
                    () = stop.cancelled() => return,
                    result = step => if let Err(panic) = result {
                        error!(task = name, reason = panic_text(&*panic), "a step panicked");
                    }
                }
            }
        };
        drop(self.spawn(name, steps));
    }

    /// Tells all loops to stop and waits for all tasks, at most `patience`.
    pub async fn shut_down(&self, patience: Duration) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            warn!(tasks = self.tracker.len(), "some tasks did not end in time");
        }
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
}
