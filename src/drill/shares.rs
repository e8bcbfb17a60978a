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
    /// It had no more than its leftovers from the start.
    NotUsed,
    /// So many milliseconds after the fault began.
    AfterMs(u64),
    /// It still had more when the phase ended.
    Never,
}

/// Tells how soon reads left the provider at `slot`; `samples` begins at the beginning of the fault.
pub(super) fn demotion(samples: &[Sample], slot: usize) -> Demotion {
    let mut last_busy = None;
    let (mut from, mut ends_busy) = (0, false);
    for to in 1..samples.len() {
        let counts = samples[to].reads.iter().zip(&samples[from].reads);
        let counts: Vec<_> = counts.map(|(after, before)| after.saturating_sub(*before)).collect();
        let all: u64 = counts.iter().sum();
        let its = counts.get(slot).copied().unwrap_or(0);
        if all < WINDOW_READS_MIN && to + 1 < samples.len() {
            continue;
        }
        // The leftovers of a phase may be fewer reads than a share can be told from.
        ends_busy = all >= WINDOW_READS_MIN && its as f64 > all as f64 * LEFT_WITH;
        if ends_busy {
            last_busy = Some(samples[to].at);
        }
        from = to;
    }
    match last_busy {
        _ if ends_busy => Demotion::Never,
        Some(at) => Demotion::AfterMs(u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
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
            assert_eq!(demotion(&samples, 0), *expected, "{windows:?}");
        }
    }
}
