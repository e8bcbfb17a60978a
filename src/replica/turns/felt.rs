//! What clients feel: how long reads take that began while work went on, and how long while it rested.
//!
//! A read counts where it began. Counted where it ends, slow reads would reach into the next shift more often than
//! quick ones, and work would look guilty of them.

use std::time::Duration;

use hdrhistogram::{Counter, Histogram};

/// Significant digits: within one per cent.
const DIGITS: u8 = 2;
/// The longest time that is told apart, in microseconds: a minute.
const MICROS_MAX: u64 = 60_000_000;
/// So many reads beyond a quantile make it one that can be trusted.
const BEYOND: f64 = 10.0;
/// The highest quantile that is looked at, where there are reads enough.
const QUANTILE_MAX: f64 = 0.99;
/// Fewer reads than this, in shifts or in rests, tell nothing.
const READS_MIN: u64 = 50;

/// Of fewer reads in rests a toll cannot be told: ten are beyond the quantile.
const TOLL_READS_MIN: u64 = 1_000;
/// So often a read counts in the sums for the toll, that a part of it can be counted too.
const PARTS: u64 = 64;

/// The times of reads since the last decision, and since the start.
#[derive(Debug)]
pub(super) struct Felt {
    /// Of reads that began in a shift.
    work: Histogram<u32>,
    /// Of reads that began in a rest.
    rest: Histogram<u32>,
    sums: Sums,
}

/// What was felt before the last decision.
///
/// How long rests are changes with every decision, and so does what clients feel for other reasons. So in each span
/// between two decisions the reads in rests stand for all of that span.
#[derive(Debug)]
struct Sums {
    all: Histogram<u64>,
    rest: Histogram<u64>,
    reads: u64,
    reads_in_rests: u64,
}

/// What work in the background has cost clients since the start: the 99th percentile of the waits for a first block.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Toll {
    /// Reads that began in a shift or in a rest.
    pub reads: u64,
    /// Of those, reads that began in a rest.
    pub reads_in_rests: u64,
    /// In milliseconds, of all these reads.
    pub p99_ms: f64,
    /// In milliseconds, of those in rests.
    pub p99_in_rests_ms: f64,
}

impl Felt {
    /// Starts with nothing.
    pub(super) fn new() -> Self {
        let sums = Sums { all: histogram(), rest: histogram(), reads: 0, reads_in_rests: 0 };
        Self { work: histogram(), rest: histogram(), sums }
    }

    /// Takes note of a read.
    pub(super) fn note(&mut self, in_shift: bool, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if in_shift { &mut self.work } else { &mut self.rest }.saturating_record(micros.max(1));
    }

    /// Returns by which factor a high quantile of all reads is above that of the reads in rests; `None` while
    /// there are too few.
    ///
    /// The quantile is the highest one that the reads allow, at most the 99th percentile.
    pub(super) fn harm(&self) -> Option<f64> {
        let (work, rest) = (self.work.len(), self.rest.len());
        if work < READS_MIN || rest < READS_MIN {
            return None;
        }
        let quantile = (1.0 - BEYOND / rest as f64).min(QUANTILE_MAX);
        let mut all = self.rest.clone();
        // Both have the same bounds.
        all.add(&self.work).ok()?;
        Some(all.value_at_quantile(quantile) as f64 / self.rest.value_at_quantile(quantile) as f64)
    }

    /// Returns how many reads there were in shifts and in rests.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.work.len(), self.rest.len())
    }

    /// Returns what clients have felt until the last decision; `None` while there were too few reads.
    pub(super) fn toll(&self) -> Option<Toll> {
        let Sums { all, rest, reads, reads_in_rests } = &self.sums;
        let p99_ms = |of: &Histogram<u64>| of.value_at_quantile(QUANTILE_MAX) as f64 / 1_000.0;
        (*reads_in_rests >= TOLL_READS_MIN).then(|| Toll {
            reads: *reads,
            reads_in_rests: *reads_in_rests,
            p99_ms: p99_ms(all),
            p99_in_rests_ms: p99_ms(rest),
        })
    }

    /// Begins anew; what was felt until now only counts for the toll, if it tells anything.
    pub(super) fn forget(&mut self) {
        let (work, rest) = (self.work.len(), self.rest.len());
        if work >= READS_MIN && rest >= READS_MIN {
            let all = work + rest;
            let each = |of: &Histogram<u32>, to: &mut Histogram<u64>, times: u64, of_so_many: u64| {
                for value in of.iter_recorded() {
                    let count = value.count_at_value() as u64 * PARTS * times / of_so_many;
                    to.saturating_record_n(value.value_iterated_to(), count);
                }
            };
            each(&self.work, &mut self.sums.all, 1, 1);
            each(&self.rest, &mut self.sums.all, 1, 1);
            each(&self.rest, &mut self.sums.rest, all, rest);
            self.sums.reads += all;
            self.sums.reads_in_rests += rest;
        }
        self.work.reset();
        self.rest.reset();
    }
}

fn histogram<T: Counter>() -> Histogram<T> {
    Histogram::new_with_bounds(1, MICROS_MAX, DIGITS)
        .unwrap_or_else(|_| unreachable!("the bounds are in order and two digits are within one to five"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Notes `count` reads that take 5 ms, but about a seventh of them `tail`, and one in 200 three times that.
    fn note(felt: &mut Felt, in_shift: bool, count: u64, tail: Duration) {
        for number in 0..count {
            let took = match number % 200 {
                0 => tail * 3,
                1..30 => tail,
                _ => ms(5),
            };
            felt.note(in_shift, took);
        }
    }

    #[test]
    fn few_reads_tell_nothing() {
        let mut felt = Felt::new();
        note(&mut felt, true, 1_000, ms(10));
        note(&mut felt, false, READS_MIN - 1, ms(10));
        assert_eq!(felt.harm(), None);
        felt.note(false, ms(5));
        assert!(felt.harm().is_some());
        felt.forget();
        assert_eq!(felt.harm(), None);
    }

    #[test]
    fn harm_is_what_all_reads_feel_against_those_in_rests() {
        // (reads in shifts, their tail, reads in rests, their tail) and the harm
        for (work, slow, rest, usual, harm) in [
            (1_000, 10, 1_000, 10, 0.99..1.01),
            (1_000, 20, 1_000, 10, 1.5..2.1),
            // Reads that are quicker in shifts do not make the rest look bad.
            (1_000, 5, 1_000, 10, 0.5..1.01),
            // The slow reads are too few for anybody to feel.
            (50, 30, 100_000, 10, 0.99..1.01),
            // A lower quantile is looked at where reads are few.
            (100, 10, 100, 10, 0.99..1.01),
            (100, 60, 100, 10, 1.5..6.1),
        ] {
            let mut felt = Felt::new();
            note(&mut felt, true, work, ms(slow));
            note(&mut felt, false, rest, ms(usual));
            let told = felt.harm().unwrap();
            assert!(harm.contains(&told), "{work} reads of {slow} ms, {rest} of {usual} ms: {told}");
        }
    }

    #[test]
    fn the_toll_is_of_all_reads_until_the_last_decision() {
        let mut felt = Felt::new();
        // (reads in shifts, their tail, reads in rests, their tail) of each span, and what it comes to
        for (spans, all_ms, rests_ms) in [
            ([(4_000, 20, 1_000, 10), (4_000, 20, 1_000, 10)], 20.0, 10.0),
            // A bad hour in which work rested most of the time: it is bad in shifts and in rests, and no excuse for
            // the other one.
            ([(9_000, 20, 1_000, 10), (100, 50, 900, 50)], 50.0, 50.0),
            ([(90_000, 20, 1_000, 10), (100, 50, 900, 50)], 20.0, 10.0),
        ] {
            for (work, slow, rest, usual) in spans {
                note(&mut felt, true, work, ms(slow));
                note(&mut felt, false, rest, ms(usual));
                felt.forget();
            }
            let toll = felt.toll().unwrap();
            let is_near = |told: f64, expected: f64| (told / expected - 1.0).abs() < 0.02;
            assert!(is_near(toll.p99_ms, all_ms) && is_near(toll.p99_in_rests_ms, rests_ms), "{toll:?}");
            felt = Felt::new();
        }
        note(&mut felt, true, 10_000, ms(20));
        note(&mut felt, false, READS_MIN - 1, ms(10));
        felt.forget();
        assert_eq!((felt.sums.reads, felt.toll()), (0, None), "too few reads in rests");
        note(&mut felt, true, 1_000, ms(20));
        note(&mut felt, false, 999, ms(10));
        felt.forget();
        assert_eq!((felt.sums.reads, felt.toll()), (1_999, None));
    }

    #[test]
    fn times_beyond_all_bounds_are_counted() {
        let mut felt = Felt::new();
        for _ in 0..READS_MIN {
            felt.note(true, Duration::MAX);
            felt.note(false, Duration::ZERO);
        }
        assert!(felt.harm().unwrap() > 1e6);
    }
}
