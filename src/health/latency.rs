//! Latency of one provider and one class of size, and its throughput.
//!
//! The smoothed value jumps at once to a peak and decays with time, so that slowness is noticed at once and
//! forgiven slowly, and a provider that nobody asks becomes worth a try again (Finagle's peak EWMA).

use std::time::Duration;

use tokio::time::Instant;

/// The time in which a peak loses two thirds of its weight.
const DECAY: Duration = Duration::from_secs(10);
/// What is assumed of a provider that was never measured.
const UNKNOWN: Duration = Duration::from_millis(30);
/// So many bytes at least make one measurement of the throughput: a single block is mostly in a buffer already.
const WINDOW_BYTES: u64 = 256 * 1024;
/// The weight of a new measurement of the throughput.
const THROUGHPUT_WEIGHT: f64 = 0.2;
/// The shortest wait that is believed, in seconds for each byte: no line is faster than 100 Gbit/s.
const SECONDS_PER_BYTE_MIN: f64 = 8e-11;

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

    /// Takes note that an answer would have taken longer than `bound`: what is above it already stays.
    pub fn observe_at_least(&mut self, bound: Duration, now: Instant) {
        if self.measured.is_none() || self.estimate(now) < bound {
            self.measured = Some((bound.as_secs_f64(), now));
        }
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

/// The smoothed throughput of one provider.
///
/// Smoothed is the time for each byte, not the bytes a second: what was in a buffer already came in no time
/// and would drown all other measurements.
#[derive(Debug, Clone, Copy, Default)]
pub struct Throughput {
    bytes: u64,
    waited: Duration,
    seconds_per_byte: Option<f64>,
}

impl Throughput {
    /// Takes note of bytes that came after a wait on the provider.
    pub fn observe(&mut self, bytes: u64, waited: Duration) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.waited = self.waited.saturating_add(waited);
        if self.bytes < WINDOW_BYTES {
            return;
        }
        let measured = (self.waited.as_secs_f64() / self.bytes as f64).max(SECONDS_PER_BYTE_MIN);
        let before = self.seconds_per_byte.unwrap_or(measured);
        self.seconds_per_byte = Some(before + (measured - before) * THROUGHPUT_WEIGHT);
        (self.bytes, self.waited) = (0, Duration::ZERO);
    }

    /// Returns the bytes a second, once enough came to tell.
    pub fn bytes_per_second(&self) -> Option<f64> {
        self.seconds_per_byte.map(f64::recip)
    }
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

    #[tokio::test(start_paused = true)]
    async fn a_lower_bound_never_makes_a_latency_smaller() {
        let start = Instant::now();
        let mut latency = Latency::default();
        latency.observe(Duration::from_millis(400), start);
        let later = start + Duration::from_secs(1);
        let before = latency.estimate(later);
        latency.observe_at_least(Duration::from_millis(50), later);
        assert_eq!(latency.estimate(later), before);
        latency.observe_at_least(Duration::from_millis(600), later);
        assert_eq!(latency.estimate(later), Duration::from_millis(600));
    }

    #[test]
    fn throughput_is_told_from_a_quarter_of_a_mebibyte_on() {
        let mut throughput = Throughput::default();
        for _ in 0..3 {
            throughput.observe(64 * 1024, Duration::from_millis(10));
        }
        assert_eq!(throughput.bytes_per_second(), None);
        throughput.observe(64 * 1024, Duration::from_millis(10));
        let told = throughput.bytes_per_second().unwrap();
        assert!((told - 6_553_600.0).abs() < 1.0, "{told}");
        // One window out of a buffer raises it by a quarter, not beyond all measure.
        throughput.observe(WINDOW_BYTES, Duration::ZERO);
        let told = throughput.bytes_per_second().unwrap();
        assert!((8_100_000.0..8_300_000.0).contains(&told), "{told}");
    }
}
