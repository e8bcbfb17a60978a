//! Quantiles of the last minutes in bounded memory: buckets that grow by a twelfth, whose weight decays.
//!
//! Nothing is sorted and nothing is swept: a new sample weighs more than all older ones did (forward decay),
//! and only when the weights become large are all scaled down.

use std::time::Duration;

use tokio::time::Instant;

/// How many buckets double a duration; a quantile is exact to within a bucket, 9 %.
const BUCKETS_PER_OCTAVE: f64 = 8.0;
/// From half a millisecond to half a minute.
const BUCKETS: usize = 128;
/// The upper bound of the first bucket, in seconds.
const SMALLEST: f64 = 0.000_5;
/// The time in which a sample loses two thirds of its weight.
const DECAY: Duration = Duration::from_secs(120);
/// Weights beyond this are scaled down.
const WEIGHT_MAX: f64 = 1e9;
/// Fewer samples than 16 tell nothing of a tail; the last of them weigh a little less already.
const SAMPLES_MIN: f64 = 15.5;

/// Quantiles of durations.
#[derive(Debug, Clone)]
pub struct Quantiles {
    weights: [f64; BUCKETS],
    total: f64,
    /// When a sample weighs 1.
    landmark: Option<Instant>,
}

impl Default for Quantiles {
    fn default() -> Self {
        Self { weights: [0.0; BUCKETS], total: 0.0, landmark: None }
    }
}

impl Quantiles {
    /// Takes note of a sample.
    pub fn observe(&mut self, sample: Duration, now: Instant) {
        let mut weight = self.weight(now);
        if weight > WEIGHT_MAX {
            self.weights.iter_mut().for_each(|bucket| *bucket /= weight);
            self.total = self.weights.iter().sum();
            self.landmark = Some(now);
            weight = 1.0;
        }
        self.landmark.get_or_insert(now);
        self.weights[bucket(sample)] += weight;
        self.total += weight;
    }

    /// Returns the duration that the share `quantile` of the samples did not exceed; `None` while too few
    /// are recent.
    pub fn at(&self, quantile: f64, now: Instant) -> Option<Duration> {
        if self.total / self.weight(now) < SAMPLES_MIN {
            return None;
        }
        let above = self.total * (1.0 - quantile);
        let mut seen = 0.0;
        for (index, weight) in self.weights.iter().enumerate().rev() {
            seen += weight;
            if *weight > 0.0 && seen >= above {
                // Within the bucket the samples are taken to lie evenly.
                let place = ((seen - above) / weight).clamp(0.0, 1.0);
                return Some(Duration::from_secs_f64(bound(index, place)));
            }
        }
        None
    }

    fn weight(&self, now: Instant) -> f64 {
        let age = self.landmark.map_or(Duration::ZERO, |landmark| now.duration_since(landmark));
        (age.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

fn bucket(sample: Duration) -> usize {
    let octaves = (sample.as_secs_f64() / SMALLEST).log2();
    // What is below the first bucket, zero included, is in it.
    ((octaves * BUCKETS_PER_OCTAVE).ceil().max(0.0) as usize).min(BUCKETS - 1)
}

/// Returns the duration at `place` (0 to 1) between the bounds of a bucket, in seconds.
fn bound(index: usize, place: f64) -> f64 {
    let exponent = (index as f64 - 1.0 + place) / BUCKETS_PER_OCTAVE;
    SMALLEST * exponent.exp2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantiles_are_exact_to_a_tenth(
            micros in proptest::collection::vec(600u64..20_000_000, 16..2_000),
            quantile in 0.5f64..0.999,
        ) {
            let now = Instant::now();
            let mut quantiles = Quantiles::default();
            micros.iter().for_each(|sample| quantiles.observe(Duration::from_micros(*sample), now));
            let told = quantiles.at(quantile, now).unwrap().as_secs_f64();
            let mut sorted = micros;
            sorted.sort_unstable();
            // The exact value lies between these two ranks, whatever the convention.
            let rank = quantile * sorted.len() as f64;
            let low = sorted[(rank.floor() as usize).saturating_sub(1)] as f64 / 1e6;
            let high = sorted[(rank.ceil() as usize).min(sorted.len() - 1)] as f64 / 1e6;
            prop_assert!(told > low * 0.91 && told < high * 1.1, "{told} is not within {low}..{high}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_tail_is_unknown_until_sixteen_samples_and_again_when_they_are_old() {
        let start = Instant::now();
        let mut quantiles = Quantiles::default();
        for _ in 0..15 {
            quantiles.observe(Duration::from_millis(10), start);
        }
        assert_eq!(quantiles.at(0.95, start), None);
        quantiles.observe(Duration::from_millis(10), start);
        assert!(quantiles.at(0.95, start).is_some());
        assert_eq!(quantiles.at(0.95, start + Duration::from_secs(60)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_regime_replaces_the_old_one_within_minutes_and_for_days() {
        let mut now = Instant::now();
        let mut quantiles = Quantiles::default();
        for round in 0..50_u64 {
            let sample = Duration::from_millis(if round % 2 == 0 { 10 } else { 300 });
            for _ in 0..1_200 {
                quantiles.observe(sample, now);
                now += Duration::from_millis(500);
            }
            let told = quantiles.at(0.95, now).unwrap().as_secs_f64() / sample.as_secs_f64();
            assert!((0.9..1.1).contains(&told), "round {round}: {told}");
        }
    }

    #[test]
    fn extremes_have_a_bucket() {
        for (sample, index) in [(0, 0), (1, 0), (500, 0), (501, 1), (u64::MAX, BUCKETS - 1)] {
            assert_eq!(bucket(Duration::from_micros(sample)), index, "{sample}");
        }
    }
}
