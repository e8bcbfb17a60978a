//! How repair stands: how fast copies are made, and how long the rest will take.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Over how long the rate is taken.
const WINDOW: Duration = Duration::from_secs(60);

/// How repair of one provider stands.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Progress {
    /// How many copies are missing.
    pub copies_missing: u64,
    /// The age in seconds of the oldest version whose copy is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_missing_age_s: Option<u64>,
    /// How many copies a second were made lately.
    pub copies_per_second: f64,
    /// After how many seconds none will be missing at this rate; unknown while none are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_left_s: Option<u64>,
}

impl Progress {
    /// Puts together what is known.
    pub fn new(missing: u64, oldest: Option<Duration>, rate: f64) -> Self {
        let left = (missing as f64 / rate).ceil();
        let time_left_s = (left.is_finite() && rate > 0.0).then_some(left as u64);
        Self {
            copies_missing: missing,
            oldest_missing_age_s: oldest.filter(|_| missing > 0).map(|age| age.as_secs()),
            copies_per_second: (rate * 100.0).round() / 100.0,
            time_left_s: if missing == 0 { Some(0) } else { time_left_s },
        }
    }
}

/// How many copies a second were made within the last minute.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// How many within which second, the oldest first.
    seconds: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Takes note of a copy that was made.
    pub(super) fn count(&mut self, now: Instant) {
        self.forget(now);
        match self.seconds.back_mut() {
            Some((since, count)) if now.duration_since(*since) < Duration::from_secs(1) => *count += 1,
            Some(_) | None => self.seconds.push_back((now, 1)),
        }
    }

    /// Returns copies a second, over the last minute or since they began to be made.
    pub(super) fn per_second(&mut self, now: Instant) -> f64 {
        self.forget(now);
        let Some((since, _)) = self.seconds.front() else { return 0.0 };
        let over = now.duration_since(*since).max(Duration::from_secs(1));
        let count: u64 = self.seconds.iter().map(|(_, count)| count).sum();
        count as f64 / over.as_secs_f64()
    }

    fn forget(&mut self, now: Instant) {
        while self.seconds.front().is_some_and(|(since, _)| now.duration_since(*since) > WINDOW) {
            self.seconds.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_minute() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(start), 0.0);
        for step in 0..1_200 {
            rate.count(start + Duration::from_millis(step * 100));
        }
        let end = start + Duration::from_secs(120);
        assert!((9.5..10.5).contains(&rate.per_second(end)), "{}", rate.per_second(end));
        assert!(rate.seconds.len() <= 62);
        assert!(rate.per_second(end + Duration::from_secs(30)) < 6.0);
        assert_eq!(rate.per_second(end + Duration::from_secs(61)), 0.0);
    }

    #[test]
    fn what_is_left_is_told_where_it_can_be_known() {
        let age = Some(Duration::from_secs(90));
        let told = |missing, rate| {
            let progress = Progress::new(missing, age, rate);
            (progress.oldest_missing_age_s, progress.time_left_s)
        };
        assert_eq!(told(0, 0.0), (None, Some(0)));
        assert_eq!(told(0, 5.0), (None, Some(0)));
        assert_eq!(told(100, 0.0), (Some(90), None));
        assert_eq!(told(100, 8.0), (Some(90), Some(13)));
    }
}
