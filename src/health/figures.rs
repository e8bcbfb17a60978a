//! The figures of one provider, kept apart for small and large answers.

use std::time::Duration;

use tokio::time::Instant;

use super::latency::{Latency, Throughput};
use super::plan::SizeClass;
use super::quantiles::Quantiles;

/// The next provider is asked after this share of this one's first blocks should have come.
const HEDGE_QUANTILE: f64 = 0.95;
/// A body stands still when it takes longer than a multiple of this quantile of the gaps between blocks.
const STALL_QUANTILE: f64 = 0.99;
/// That multiple.
const STALL_TIMES: u32 = 4;
/// The next provider is asked no sooner.
const HEDGE_MIN: Duration = Duration::from_millis(20);
/// The next provider is asked no later.
const HEDGE_MAX: Duration = Duration::from_millis(400);
/// When the next provider is asked while too little is known of this one.
const HEDGE_UNKNOWN: Duration = Duration::from_millis(200);
/// A wait is long from this part of the usual tail on, which is known to a tenth.
const SLOW_FROM: f64 = 0.8;
/// A body stands still no sooner.
const STALL_MIN: Duration = Duration::from_millis(250);
/// A body stands still no later; so long also while too little is known.
const STALL_MAX: Duration = Duration::from_secs(1);
/// What is assumed of a provider whose bodies were never measured, in bytes a second.
const THROUGHPUT_UNKNOWN: f64 = 16.0 * 1024.0 * 1024.0;

#[derive(Debug, Default)]
struct Class {
    latency: Latency,
    first_blocks: Quantiles,
    /// Of those, the ones that came.
    delivered: Quantiles,
}

/// The figures of one provider.
#[derive(Debug, Default)]
pub(super) struct Figures {
    small: Class,
    large: Class,
    gaps: Quantiles,
    throughput: Throughput,
}

impl Figures {
    /// Takes note of the time to a first verified block.
    pub(super) fn first_block(&mut self, class: SizeClass, took: Duration, now: Instant) {
        let class = self.class_mut(class);
        class.latency.observe(took, now);
        class.first_blocks.observe(took, now);
        class.delivered.observe(took, now);
    }

    /// Takes note of a first block that was waited for in vain. It is among the samples of the tail: without
    /// those that lost, the tail would shrink and ever more races would be run.
    pub(super) fn waited_in_vain(&mut self, class: SizeClass, waited: Duration, now: Instant) {
        let class = self.class_mut(class);
        class.latency.observe_at_least(waited, now);
        class.first_blocks.observe(waited, now);
    }

    /// Takes note of a fault, which costs as much as `penalty` in the order of providers.
    pub(super) fn fault(&mut self, penalty: Duration, now: Instant) {
        for class in [&mut self.small, &mut self.large] {
            class.latency.observe_at_least(penalty, now);
        }
    }

    /// Takes note of a verified block in mid-body.
    pub(super) fn block(&mut self, bytes: u64, waited: Duration, now: Instant) {
        self.gaps.observe(waited, now);
        self.throughput.observe(bytes, waited);
    }

    /// Returns what it costs to ask for so many bytes while `in_flight` other requests are under way, in
    /// seconds.
    pub(super) fn load(&self, bytes: u64, in_flight: u32, now: Instant) -> f64 {
        let class = SizeClass::of(bytes);
        let waiting = self.expected(class, now).as_secs_f64() * (f64::from(in_flight) + 1.0);
        match class {
            SizeClass::Small => waiting,
            SizeClass::Large => waiting + bytes as f64 / self.throughput().unwrap_or(THROUGHPUT_UNKNOWN),
        }
    }

    /// Returns the smoothed time to a first block, as far as one can tell.
    pub(super) fn expected(&self, class: SizeClass, now: Instant) -> Duration {
        // What was measured of the other class is better than nothing.
        let [own, other] = match class {
            SizeClass::Small => [&self.small, &self.large],
            SizeClass::Large => [&self.large, &self.small],
        };
        if own.latency.last().is_some() { own } else { other }.latency.estimate(now)
    }

    /// Returns after which time without a first block the next provider is asked too.
    pub(super) fn hedge_after(&self, class: SizeClass, now: Instant) -> Duration {
        let tail = self.class(class).first_blocks.at(HEDGE_QUANTILE, now);
        tail.unwrap_or(HEDGE_UNKNOWN).clamp(HEDGE_MIN, HEDGE_MAX)
    }

    /// Tells whether a wait is longer than it usually is until the provider delivers.
    pub(super) fn is_slow(&self, class: SizeClass, waited: Duration, now: Instant) -> bool {
        let usual = self.class(class).delivered.at(HEDGE_QUANTILE, now).unwrap_or(HEDGE_UNKNOWN);
        waited >= usual.clamp(HEDGE_MIN, HEDGE_MAX).mul_f64(SLOW_FROM)
    }

    /// Returns after which time without the next block a body stands still.
    pub(super) fn stall_after(&self, now: Instant) -> Duration {
        let tail = self.gaps.at(STALL_QUANTILE, now);
        tail.map_or(STALL_MAX, |tail| tail.saturating_mul(STALL_TIMES)).clamp(STALL_MIN, STALL_MAX)
    }

    /// Returns the smoothed throughput in bytes a second.
    pub(super) fn throughput(&self) -> Option<f64> {
        self.throughput.bytes_per_second()
    }

    /// Returns the last smoothed latency: of small answers, where there were any.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.small.latency.last().or(self.large.latency.last())
    }

    /// Returns the time within which 95 % of the small answers began.
    pub(super) fn small_tail(&self, now: Instant) -> Option<Duration> {
        self.small.first_blocks.at(HEDGE_QUANTILE, now)
    }

    fn class(&self, class: SizeClass) -> &Class {
        match class {
            SizeClass::Small => &self.small,
            SizeClass::Large => &self.large,
        }
    }

    fn class_mut(&mut self, class: SizeClass) -> &mut Class {
        match class {
            SizeClass::Small => &mut self.small,
            SizeClass::Large => &mut self.large,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[tokio::test(start_paused = true)]
    async fn patience_follows_the_tail_within_its_bounds() {
        let now = Instant::now();
        assert_eq!(Figures::default().hedge_after(SizeClass::Small, now), HEDGE_UNKNOWN);
        assert_eq!(Figures::default().stall_after(now), STALL_MAX);
        // (each sample, hedge at least and at most, stall at least and at most)
        for (sample, hedge, stall) in [
            (ms(2), (ms(20), ms(20)), (ms(250), ms(250))),
            (ms(100), (ms(90), ms(110)), (ms(360), ms(440))),
            (ms(3_000), (ms(400), ms(400)), (ms(1_000), ms(1_000))),
        ] {
            let mut figures = Figures::default();
            for _ in 0..20 {
                figures.first_block(SizeClass::Small, sample, now);
                figures.block(65_536, sample, now);
            }
            let told = figures.hedge_after(SizeClass::Small, now);
            assert!(told >= hedge.0 && told <= hedge.1, "{sample:?}: {told:?}");
            let told = figures.stall_after(now);
            assert!(told >= stall.0 && told <= stall.1, "{sample:?}: {told:?}");
            assert_eq!(figures.hedge_after(SizeClass::Large, now), HEDGE_UNKNOWN, "classes are kept apart");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lost_races_stay_in_the_tail() {
        let now = Instant::now();
        let mut figures = Figures::default();
        for index in 0..100 {
            if index % 10 == 0 {
                figures.waited_in_vain(SizeClass::Small, ms(300), now);
            } else {
                figures.first_block(SizeClass::Small, ms(30), now);
            }
        }
        assert!(figures.hedge_after(SizeClass::Small, now) > ms(270));
    }

    #[tokio::test(start_paused = true)]
    async fn large_requests_prefer_the_wide_line_and_small_ones_the_near_one() {
        let now = Instant::now();
        let (mut near, mut wide) = (Figures::default(), Figures::default());
        near.first_block(SizeClass::Small, ms(10), now);
        near.block(1 << 20, ms(1_000), now);
        wide.first_block(SizeClass::Small, ms(50), now);
        wide.block(1 << 20, ms(10), now);
        assert!(near.load(1_000, 0, now) < wide.load(1_000, 0, now));
        assert!(near.load(8 << 20, 0, now) > wide.load(8 << 20, 0, now));
        assert!(near.load(1_000, 5, now) > wide.load(1_000, 0, now), "requests in flight count");
    }
}
