//! What clients feel: how long reads take that began while work went on, and how long while it rested.
//!
//! A read counts where it began. Counted where it ends, slow reads would reach into the next shift more often than
//! quick ones, and work would look guilty of them.

use std::time::Duration;

use hdrhistogram::Histogram;

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

/// The times of reads since the last decision.
#[derive(Debug)]
pub(super) struct Felt {
    /// Of reads that began in a shift.
    work: Histogram<u32>,
    /// Of reads that began in a rest.
    rest: Histogram<u32>,
}

impl Felt {
    /// Starts with nothing.
    pub(super) fn new() -> Self {
        Self { work: histogram(), rest: histogram() }
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

    /// Forgets all reads.
    pub(super) fn forget(&mut self) {
        self.work.reset();
        self.rest.reset();
    }
}

fn histogram() -> Histogram<u32> {
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
    fn times_beyond_all_bounds_are_counted() {
        let mut felt = Felt::new();
        for _ in 0..READS_MIN {
            felt.note(true, Duration::MAX);
            felt.note(false, Duration::ZERO);
        }
        assert!(felt.harm().unwrap() > 1e6);
    }
}
