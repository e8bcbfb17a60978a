//! Time and dice: the only place that asks the machine for either.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use moka::sync::Cache;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::asset::UploadId;

/// Tells the time and throws dice; cheap to clone.
///
/// Monotonic time is tokio's, so that a paused test clock drives every wait. Wall time is the machine's, or in
/// tests a fixed start that moves with the monotonic time, and that a test can turn. Dice are the machine's,
/// or in a simulation those of a seed.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    Manual { hands: Mutex<Hands>, dice: Option<Box<Mutex<StdRng>>> },
}

/// The wall time of a manual clock: what it was at a certain moment, and whether it moves.
#[derive(Debug, Clone, Copy)]
struct Hands {
    unix_ms: u64,
    at: Instant,
    moving: bool,
}

impl Hands {
    fn unix_ms(self) -> u64 {
        let passed = if self.moving { self.at.elapsed().as_millis() } else { 0 };
        self.unix_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

impl Clock {
    /// Returns the machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// Returns a clock that starts at `start_unix_ms` and moves with tokio's time.
    pub fn manual(start_unix_ms: u64) -> Self {
        Self::with_dice(start_unix_ms, None)
    }

    /// Returns a manual clock whose dice fall by `seed`, the same in every run.
    pub fn seeded(start_unix_ms: u64, seed: u64) -> Self {
        Self::with_dice(start_unix_ms, Some(Box::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    fn with_dice(unix_ms: u64, dice: Option<Box<Mutex<StdRng>>>) -> Self {
        let hands = Mutex::new(Hands { unix_ms, at: Instant::now(), moving: true });
        Self(Arc::new(Source::Manual { hands, dice }))
    }

    /// Tells whether time is a test's, which passes only while nothing runs.
    pub fn is_manual(&self) -> bool {
        matches!(&*self.0, Source::Manual { .. })
    }

    /// Turns a manual clock to another wall time, from which it moves on or stands; the machine's stays as it is.
    pub fn turn(&self, unix_ms: u64, moving: bool) {
        match &*self.0 {
            Source::System => {}
            Source::Manual { hands, .. } => *hands.lock() = Hands { unix_ms, at: Instant::now(), moving },
        }
    }

    /// Returns the wall time in Unix milliseconds.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the machine's clock")]
    pub fn unix_ms(&self) -> u64 {
        match &*self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Source::Manual { hands, .. } => hands.lock().unix_ms(),
        }
    }

    /// Returns the wall time for people and records.
    pub fn utc(&self) -> DateTime<Utc> {
        to_utc(self.unix_ms())
    }

    /// Returns the monotonic time.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Draws the identity of a new upload.
    pub fn upload_id(&self) -> UploadId {
        let random = u128::from(self.random()) << 64 | u128::from(self.random());
        UploadId::new(self.unix_ms(), random)
    }

    /// Throws a die with 2^64 sides.
    pub fn random(&self) -> u64 {
        match &*self.0 {
            Source::Manual { dice: Some(dice), .. } => dice.lock().random(),
            Source::System | Source::Manual { dice: None, .. } => rand::random(),
        }
    }
}

/// What happened lately: keys that are forgotten after a while, or above a bound.
///
/// The time is that of [`Clock::now`]; the expiry of a cache would be that of the machine, which a test cannot
/// drive.
#[derive(Debug)]
pub struct Lately<K: Eq + Hash + Send + Sync + 'static> {
    keys: Cache<K, Seen>,
    time: Duration,
}

/// When a key was told of, first and last.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Instant,
    last: Instant,
}

impl<K: Eq + Hash + Send + Sync + 'static> Lately<K> {
    /// Remembers up to about `keys_max` keys, each for `time`.
    pub fn new(keys_max: u64, time: Duration) -> Self {
        Self { keys: Cache::new(keys_max), time }
    }

    /// Remembers a key from now on.
    pub fn insert(&self, key: K) {
        let now = Instant::now();
        self.keys.insert(key, Seen { first: now, last: now });
    }

    /// Remembers a key from now on, and returns since when it has been told of without a pause as long as `time`.
    pub fn again(&self, key: K) -> Instant {
        let now = Instant::now();
        let known = self.keys.get(&key).filter(|seen| now.duration_since(seen.last) < self.time);
        let first = known.map_or(now, |seen| seen.first);
        self.keys.insert(key, Seen { first, last: now });
        first
    }

    /// Forgets a key.
    pub fn remove(&self, key: &K) {
        self.keys.invalidate(key);
    }

    /// Tells whether a key is remembered.
    pub fn contains(&self, key: &K) -> bool {
        self.keys.get(key).is_some_and(|seen| seen.last.elapsed() < self.time)
    }
}

/// Converts Unix milliseconds for people and records; beyond the calendar it stays at 1970.
pub fn to_utc(unix_ms: u64) -> DateTime<Utc> {
    i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
}

/// Returns 32 random bytes from the operating system, for keys and tokens.
pub fn random_secret() -> [u8; 32] {
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_manual_clock_moves_with_tokio_and_can_be_turned_and_stopped() {
        let clock = Clock::manual(1_000);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(clock.unix_ms(), 1_500);
        clock.turn(100, true);
        tokio::time::advance(Duration::from_millis(5)).await;
        assert_eq!(clock.unix_ms(), 105);
        clock.turn(9_000, false);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.unix_ms(), 9_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_forgotten_after_its_time() {
        let lately = Lately::new(10, Duration::from_secs(5));
        lately.insert(1);
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert!(lately.contains(&1) && !lately.contains(&2));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lately.contains(&1));
        lately.insert(1);
        assert!(lately.contains(&1));
        lately.remove(&1);
        assert!(!lately.contains(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_time_of_a_row_counts_until_a_pause_ends_it() {
        let lately = Lately::new(10, Duration::from_secs(5));
        let first = lately.again(1);
        for _ in 0..3 {
            tokio::time::advance(Duration::from_millis(4_999)).await;
            assert_eq!(lately.again(1), first);
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(lately.again(1), Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn the_dice_of_a_seed_fall_alike() {
        let throw = |seed| {
            let clock = Clock::seeded(1, seed);
            (clock.random(), clock.upload_id())
        };
        assert_eq!(throw(1), throw(1));
        assert_ne!(throw(1), throw(2));
    }
}
