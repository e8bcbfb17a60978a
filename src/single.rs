//! One flight a key: callers that want the same thing at the same time share one piece of work.
//!
//! The work belongs to nobody: whoever waits drives it, and when one leaves, even the one that began it, the
//! others go on. It is dropped with its last caller.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Work under way, by key.
pub struct Single<K, V>(Mutex<HashMap<K, Flight<V>>>)
where
    V: Clone;

type Work<V> = BoxFuture<'static, V>;

struct Flight<V: Clone> {
    work: WeakShared<Work<V>>,
    began: Instant,
}

/// Above so many entries the ended ones are looked for and removed.
const ENTRIES_KEPT: usize = 64;

impl<K: Eq + Hash + Clone, V: Clone> Single<K, V> {
    /// Starts with nothing under way.
    pub fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Waits for the work that is under way for `key` since `young` at most, else for that of `begin`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the work to the others that wait for it.
    pub async fn run<F, Fut>(&self, key: &K, young: Duration, begin: F) -> V
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V> + Send + 'static,
    {
        let work = self.join(key, young, begin);
        let result = work.clone().await;
        self.forget(key, &work);
        result
    }

    fn join<F, Fut>(&self, key: &K, young: Duration, begin: F) -> Shared<Work<V>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V> + Send + 'static,
    {
        let now = Instant::now();
        let mut flights = self.0.lock();
        let under_way = flights.get(key).filter(|flight| now.duration_since(flight.began) <= young);
        if let Some(work) = under_way.and_then(|flight| flight.work.upgrade()) {
            return work;
        }
        if flights.len() >= ENTRIES_KEPT && flights.len() == flights.capacity() {
            flights.retain(|_, flight| flight.work.upgrade().is_some());
        }
        let work = begin().boxed().shared();
        if let Some(weak) = work.downgrade() {
            flights.insert(key.clone(), Flight { work: weak, began: now });
        }
        work
    }

    /// What has ended must not be given to those who come later.
    fn forget(&self, key: &K, ended: &Shared<Work<V>>) {
        let mut flights = self.0.lock();
        let is_it = |flight: &Flight<V>| flight.work.upgrade().is_none_or(|work| work.ptr_eq(ended));
        if flights.get(key).is_some_and(is_it) {
            flights.remove(key);
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Default for Single<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V: Clone> fmt::Debug for Single<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Single").field("flights", &self.0.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    struct Site {
        single: Single<u8, usize>,
        begun: Arc<AtomicUsize>,
    }

    impl Site {
        fn new() -> Self {
            Self { single: Single::new(), begun: Arc::default() }
        }

        async fn run(&self, young: Duration) -> usize {
            self.single
                .run(&1, young, || {
                    let begun = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
                    async move {
                        tokio::time::sleep(SECOND).await;
                        begun
                    }
                })
                .await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_at_the_same_time_share_and_later_ones_begin_anew() {
        let site = Site::new();
        let all = futures::future::join_all((0..10_000).map(|_| site.run(LONG))).await;
        assert!(all.iter().all(|result| *result == 1));
        assert_eq!(site.run(LONG).await, 2);
        assert!(site.single.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_leaves_does_not_end_it_for_the_others() {
        let site = Site::new();
        let first = tokio::time::timeout(SECOND / 2, site.run(LONG));
        let (first, second) = tokio::join!(first, site.run(LONG));
        assert!(first.is_err());
        assert_eq!(second, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_too_old_is_not_joined() {
        let site = Site::new();
        let late = async {
            tokio::time::sleep(SECOND / 2).await;
            site.run(SECOND / 4).await
        };
        let (first, second) = tokio::join!(site.run(LONG), late);
        assert_eq!((first, second), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_everybody_left_is_begun_anew() {
        let site = Site::new();
        assert!(tokio::time::timeout(SECOND / 2, site.run(LONG)).await.is_err());
        assert_eq!(site.run(LONG).await, 2);
    }
}
