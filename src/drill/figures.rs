//! Figures of one phase: reads, what was wrong with them, how long they took, and writes.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::verify::{Flaw, FlawKind};

/// How many examples of wrong reads a phase keeps.
const EXAMPLES_MAX: usize = 10;
/// Significant digits of latencies: within one per cent.
const DIGITS: u8 = 2;

/// What one read came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ReadFigures {
    /// When it began, from the beginning of the phase.
    pub(super) began: Duration,
    /// Until the first byte of the body, once there was one.
    pub(super) first: Option<Duration>,
    /// Until the end.
    pub(super) end: Duration,
    /// The bytes of the body that came.
    pub(super) bytes: u64,
    /// The name of the asset.
    pub(super) asset: usize,
    /// What was wrong.
    pub(super) flaw: Option<Flaw>,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Example {
    /// The phase.
    pub(super) phase: String,
    /// The name of the asset.
    pub(super) asset: String,
    /// How long after the beginning of the phase the read began, in milliseconds.
    pub(super) began_ms: f64,
    /// In which way.
    pub(super) kind: FlawKind,
    /// What happened.
    pub(super) detail: String,
}

/// The figures of one phase.
pub(super) struct Figures {
    phase: String,
    reads: u64,
    bytes: u64,
    flaws: [u64; FlawKind::ALL.len()],
    first: Histogram<u64>,
    end: Histogram<u64>,
    /// The whole reads that began in the first second, in which the gateway learns of a fault.
    first_second: Histogram<u64>,
    /// Those that began later.
    later: Histogram<u64>,
    /// Writes that were begun, and those that were acknowledged.
    pub(super) writes: Writes,
    examples: Vec<Example>,
}

/// What became of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Writes {
    /// How many were begun.
    pub(super) asked: u64,
    /// How many the gateway acknowledged.
    pub(super) acknowledged: u64,
    /// How many it refused: nothing was committed.
    pub(super) refused: u64,
    /// How many may turn up later, or never.
    pub(super) unknown: u64,
}

/// Latencies in milliseconds; zero where nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// The figures of one phase, for the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Sums {
    /// Reads that ended, right or wrong.
    pub(super) reads: u64,
    /// Bytes that clients got.
    pub(super) bytes: u64,
    /// Reads without a complete answer of the right status.
    pub(super) errors: u64,
    /// Reads that showed something wrong.
    pub(super) wrong: u64,
    /// By the way in which reads were wrong.
    pub(super) flaws: std::collections::BTreeMap<&'static str, u64>,
    /// To the first byte of the body.
    pub(super) first_byte_ms: Latency,
    /// To the end of the body.
    pub(super) whole_ms: Latency,
    /// To the end of the body, of reads that began in the first second of the phase.
    pub(super) first_second_ms: Latency,
    /// To the end of the body, of reads that began later.
    pub(super) later_ms: Latency,
    /// Writes.
    pub(super) writes: Writes,
}

impl Figures {
    /// Starts with nothing.
    pub(super) fn new(phase: &str) -> Self {
        let [first, end, first_second, later] = std::array::from_fn(|_| histogram());
        let (writes, examples) = (Writes::default(), Vec::new());
        Self {
            phase: phase.to_owned(),
            reads: 0,
            bytes: 0,
            flaws: Default::default(),
            first,
            end,
            first_second,
            later,
            writes,
            examples,
        }
    }

    /// Adds one read.
    pub(super) fn add(&mut self, read: ReadFigures) {
        self.reads += 1;
        self.bytes += read.bytes;
        if let Some(first) = read.first {
            record(&mut self.first, first);
        }
        record(&mut self.end, read.end);
        let learning = read.began < Duration::from_secs(1);
        record(if learning { &mut self.first_second } else { &mut self.later }, read.end);
        let Some(Flaw { kind, detail }) = read.flaw else { return };
        self.flaws[kind as usize] += 1;
        if self.examples.len() < EXAMPLES_MAX {
            let (phase, asset) = (self.phase.clone(), super::ledger::Ledger::name(read.asset));
            self.examples.push(Example { phase, asset, began_ms: milliseconds(read.began), kind, detail });
        }
    }

    /// Returns how many reads ended.
    pub(super) fn reads(&self) -> u64 {
        self.reads
    }

    /// Returns how many reads were not right.
    pub(super) fn flawed(&self) -> u64 {
        self.flaws.iter().sum()
    }

    /// Returns the examples.
    pub(super) fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// Sums everything up.
    pub(super) fn sums(&self) -> Sums {
        let count = |wrong| {
            let kinds = FlawKind::ALL.into_iter().filter(|kind| kind.is_wrong() == wrong);
            kinds.map(|kind| self.flaws[kind as usize]).sum()
        };
        let names = ["unanswered", "status", "truncated", "wrong_bytes", "header", "stale"];
        Sums {
            reads: self.reads,
            bytes: self.bytes,
            errors: count(false),
            wrong: count(true),
            flaws: names.into_iter().zip(self.flaws).filter(|(_, count)| *count > 0).collect(),
            first_byte_ms: latency(&self.first),
            whole_ms: latency(&self.end),
            first_second_ms: latency(&self.first_second),
            later_ms: latency(&self.later),
            writes: self.writes,
        }
    }
}

/// Returns milliseconds, rounded to microseconds.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    // A histogram that grows by itself takes every value.
    let _ = histogram.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
}

fn histogram() -> Histogram<u64> {
    let mut histogram =
        Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("two digits are within one to five"));
    histogram.auto(true);
    histogram
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() as f64 / 1_000.0 }
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
