//! Smoothed latency: jumps at once to a peak and decays with time, so that slowness is noticed at once and
//! forgiven slowly, and a provider that nobody asks becomes worth a try again (Finagle's peak EWMA).

use std::time::Duration;

use tokio::time::Instant;

/// The time in which a peak loses two thirds of its weight.
const DECAY: Duration = Duration::from_secs(10);
/// What is assumed of a provider that was never measured.
const UNKNOWN: Duration = Duration::from_millis(30);

/// The smoothed latency of one provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latency {
    measured: Option<(f64, Instant)>,
}

impl Latency {
    /// Takes note of a sample.
    pub fn observe(&mut self, sample: Duration, now: Instant) {
        let sample = sample.as_secs_f64();
        let smoothed = match self.measured {
            Some((value, at)) if value > sample => {
                let weight = weight(now.duration_since(at));
                value * weight + sample * (1.0 - weight)
            }
            Some(_) | None => sample,
        };
        self.measured = Some((smoothed, now));
    }

    /// Returns the smoothed latency, decayed towards the unknown since the last sample.
    pub fn estimate(&self, now: Instant) -> Duration {
        let unknown = UNKNOWN.as_secs_f64();
        let estimate = self.measured.map_or(unknown, |(value, at)| {
            let weight = weight(now.duration_since(at));
            if value > unknown { value * weight + unknown * (1.0 - weight) } else { value }
        });
        Duration::from_secs_f64(estimate)
    }

    /// Returns the last smoothed value, if there was a sample.
    pub fn last(&self) -> Option<Duration> {
        self.measured.map(|(value, _)| Duration::from_secs_f64(value))
    }
}

fn weight(age: Duration) -> f64 {
    (-age.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peak_counts_at_once_and_is_forgiven_slowly() {
        let start = Instant::now();
        let mut latency = Latency::default();
        latency.observe(Duration::from_millis(10), start);
        assert_eq!(latency.estimate(start), Duration::from_millis(10));
        latency.observe(Duration::from_secs(2), start);
        assert_eq!(latency.estimate(start), Duration::from_secs(2));
        latency.observe(Duration::from_millis(10), start + Duration::from_millis(100));
        assert!(latency.estimate(start + Duration::from_millis(100)) > Duration::from_millis(1_900));
        assert!(latency.estimate(start + Duration::from_secs(120)) < Duration::from_millis(40));
    }
}
