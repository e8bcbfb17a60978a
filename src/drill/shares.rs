//! Shares: how soon reads leave a faulty provider, from what passed on the wires in short windows.

use std::time::Duration;

use serde::Serialize;

/// The share of reads up to which a provider counts as left.
const LEFT_WITH: f64 = 0.1;
/// A window with fewer reads says nothing by itself, and is looked at together with the next one.
const WINDOW_READS_MIN: u64 = 10;

/// What had passed at a moment of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    /// The moment, from the beginning of the phase.
    pub(super) at: Duration,
    /// Reads of parts that each provider had been asked for.
    pub(super) reads: Vec<u64>,
}

/// How soon reads left a faulty provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Demotion {
    /// It had no more before the fault began either.
    NotUsed,
    /// So many milliseconds after the fault began.
    AfterMs(u64),
    /// It still had more when the phase ended.
    Never,
}

/// Tells whether the provider at `slot` had more than its leftovers from the first sample to the last.
pub(super) fn is_used(samples: &[Sample], slot: usize) -> bool {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return false };
    is_busy(first, last, slot)
}

fn is_busy(from: &Sample, to: &Sample, slot: usize) -> bool {
    let counts = to.reads.iter().zip(&from.reads);
    let counts: Vec<_> = counts.map(|(after, before)| after.saturating_sub(*before)).collect();
    let (all, its): (u64, u64) = (counts.iter().sum(), counts.get(slot).copied().unwrap_or(0));
    // From fewer reads a share cannot be told.
    all >= WINDOW_READS_MIN && its as f64 > all as f64 * LEFT_WITH
}

/// Tells how soon reads left the provider at `slot`; `samples` begins at the beginning of the fault, before which
/// the provider was `used` or not. One that `returns`, since it is made whole meanwhile, counts as left when it is for
/// the first time.
pub(super) fn demotion(samples: &[Sample], slot: usize, used: bool, returns: bool) -> Demotion {
    let mut last_busy = None;
    let (mut from, mut ends_busy) = (0, false);
    for to in 1..samples.len() {
        let passed: u64 = samples[to].reads.iter().sum();
        let before: u64 = samples[from].reads.iter().sum();
        if passed.saturating_sub(before) < WINDOW_READS_MIN && to + 1 < samples.len() {
            continue;
        }
        ends_busy = is_busy(&samples[from], &samples[to], slot);
        if ends_busy {
            last_busy = Some(samples[to].at);
        }
        if returns && !ends_busy && (used || last_busy.is_some()) {
            break;
        }
        from = to;
    }
    match last_busy {
        _ if ends_busy => Demotion::Never,
        Some(at) => Demotion::AfterMs(u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
        // It was left within the first window.
        None if used => Demotion::AfterMs(0),
        None => Demotion::NotUsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_left_when_no_later_window_shows_more_than_a_tenth() {
        use Demotion::{AfterMs, Never, NotUsed};
        // Reads of the faulty provider and of another one, by window of 250 ms.
        let table: &[(&[(u64, u64)], Demotion)] = &[
            (&[], NotUsed),
            (&[(0, 100), (10, 90)], NotUsed),
            (&[(11, 89), (0, 100)], AfterMs(250)),
            (&[(0, 100), (50, 50), (0, 100)], AfterMs(500)),
            (&[(50, 50), (0, 100), (50, 50)], Never),
            (&[(50, 50)], Never),
            // Few reads are looked at together.
            (&[(50, 50), (1, 1), (0, 98)], AfterMs(250)),
            (&[(50, 50), (1, 1), (3, 5), (0, 98)], AfterMs(750)),
            // A few last reads say nothing.
            (&[(50, 50), (0, 100), (1, 1)], AfterMs(250)),
        ];
        for (windows, expected) in table {
            let mut samples = vec![Sample { at: Duration::ZERO, reads: vec![7, 7] }];
            for (number, (its, other)) in windows.iter().enumerate() {
                let before = &samples[number].reads;
                let reads = vec![before[0] + its, before[1] + other];
                samples.push(Sample { at: Duration::from_millis(250 * (number as u64 + 1)), reads });
            }
            assert_eq!(demotion(&samples, 0, false, false), *expected, "{windows:?}");
            let used = if *expected == NotUsed { AfterMs(0) } else { *expected };
            assert_eq!(demotion(&samples, 0, true, false), used, "{windows:?}");
        }
    }

    #[test]
    fn who_returns_was_left_when_it_was_for_the_first_time() {
        use Demotion::{AfterMs, Never};
        for (its, used, expected) in [
            (&[90, 60, 0, 0, 70, 90][..], true, AfterMs(500)),
            (&[0, 0, 70], true, AfterMs(0)),
            (&[0, 70, 0, 70], false, AfterMs(500)),
            (&[70, 70], true, Never),
        ] {
            let mut samples = vec![Sample { at: Duration::ZERO, reads: vec![0, 0] }];
            for (number, its) in its.iter().enumerate() {
                let before = &samples[number].reads;
                let reads = vec![before[0] + its, before[1] + 100 - its];
                samples.push(Sample { at: Duration::from_millis(250 * (number as u64 + 1)), reads });
            }
            assert_eq!(demotion(&samples, 0, used, true), expected, "{its:?}");
        }
    }

    #[test]
    fn a_provider_is_used_while_it_has_more_than_a_tenth() {
        let sample = |one, other| Sample { at: Duration::ZERO, reads: vec![one, other] };
        assert!(is_used(&[sample(0, 0), sample(9, 0), sample(11, 89)], 0));
        assert!(!is_used(&[sample(0, 0), sample(10, 90)], 0));
        assert!(!is_used(&[sample(0, 0), sample(5, 4)], 0), "too few");
        assert!(!is_used(&[], 0));
    }
}
