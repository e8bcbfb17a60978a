//! What came of the requests of the last ten seconds, in buckets of one second.
//!
//! A body that arrived whole proves nothing: its bytes may be wrong, and who finds that out says so. Flows
//! that do not tell of each success (repair, listings of records) would all the same look like failing ones if
//! only their failures counted. So unverified answers count as far as they outnumber the failures: where all
//! bodies are wrong there is an answer and a failure of each, and no success is left.

use tokio::time::Instant;

/// How many seconds the window spans.
const SECONDS: usize = 10;

/// Outcomes within the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    successes: u32,
    failures: u32,
}

impl Rate {
    /// Counts outcomes.
    pub const fn new(successes: u32, failures: u32) -> Self {
        Self { successes, failures }
    }

    /// Returns how many outcomes there were.
    pub const fn outcomes(self) -> u32 {
        self.successes.saturating_add(self.failures)
    }

    /// Returns the share of successes, 1 while there were no outcomes.
    pub fn share(self) -> f64 {
        if self.outcomes() == 0 { 1.0 } else { f64::from(self.successes) / f64::from(self.outcomes()) }
    }

    /// Tells whether less than `share` of at least `outcomes` were successes.
    pub fn is_below(self, share: f64, outcomes: u32) -> bool {
        self.outcomes() >= outcomes && self.share() < share
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    second: u64,
    successes: u32,
    answers: u32,
    failures: u32,
}

/// The outcomes of the last ten seconds.
#[derive(Debug, Clone, Default)]
pub struct Window {
    start: Option<Instant>,
    buckets: [Bucket; SECONDS],
}

impl Window {
    /// Counts a verified success.
    pub fn success(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        bucket.successes = bucket.successes.saturating_add(1);
    }

    /// Counts an answer that nobody has verified yet.
    pub fn answer(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        bucket.answers = bucket.answers.saturating_add(1);
    }

    /// Counts a failure.
    pub fn failure(&mut self, now: Instant) {
        let bucket = self.bucket(now);
        bucket.failures = bucket.failures.saturating_add(1);
    }

    /// Returns what came of the requests within the window.
    pub fn rate(&self, now: Instant) -> Rate {
        let second = self.second(now);
        let live = self.buckets.iter().filter(|bucket| bucket.second + SECONDS as u64 > second);
        let (mut verified, mut answers, mut failures) = (0_u32, 0_u32, 0_u32);
        for bucket in live {
            verified = verified.saturating_add(bucket.successes);
            answers = answers.saturating_add(bucket.answers);
            failures = failures.saturating_add(bucket.failures);
        }
        Rate { successes: verified.max(answers.saturating_sub(failures)), failures }
    }

    fn bucket(&mut self, now: Instant) -> &mut Bucket {
        self.start.get_or_insert(now);
        let second = self.second(now);
        let bucket = &mut self.buckets[(second % SECONDS as u64) as usize];
        if bucket.second != second {
            *bucket = Bucket { second, ..Bucket::default() };
        }
        bucket
    }

    fn second(&self, now: Instant) -> u64 {
        self.start.map_or(0, |start| now.duration_since(start).as_secs())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_last_ten_seconds_count() {
        let start = Instant::now();
        let mut window = Window::default();
        for second in 0..30 {
            let now = start + Duration::from_secs(second);
            window.failure(now);
            window.success(now);
            assert_eq!(window.rate(now).outcomes(), 2 * 10.min(u32::try_from(second).unwrap() + 1));
        }
        assert_eq!(window.rate(start + Duration::from_secs(38)).outcomes(), 2);
        assert_eq!(window.rate(start + Duration::from_secs(39)).outcomes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn unverified_answers_count_as_far_as_they_outnumber_the_failures() {
        let now = Instant::now();
        // (verified successes, answers, failures, expected successes)
        for (verified, answers, failures, expected) in
            [(0, 10, 10, 0), (0, 50, 10, 40), (7, 10, 3, 7), (10, 0, 2, 10), (0, 3, 10, 0)]
        {
            let mut window = Window::default();
            (0..verified).for_each(|_| window.success(now));
            (0..answers).for_each(|_| window.answer(now));
            (0..failures).for_each(|_| window.failure(now));
            assert_eq!(window.rate(now), Rate::new(expected, failures));
        }
    }
}
