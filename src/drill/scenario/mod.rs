//! Scenarios: what a drill plays, as checked values.
//!
//! A scenario is a YAML file, or one of those that are built in ([`builtin`]).
//!
//! Faults begin and end with their phase. `wiped` empties the provider when its phase begins, and nothing
//! puts back what was there but the gateway. This scenario has every key:
//!
//! ```yaml
#![doc = include_str!("../../../docs/scenario.yaml")]
//! ```

pub(super) mod builtin;
mod read;

use std::time::Duration;

use http::Method;

pub(super) use read::{Providers, from_file, parse};

use super::fault::Kind;
use crate::asset::BLOCK_BYTES;

/// What a drill plays.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scenario {
    /// The name, for the report.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// What contents, sizes, order of reads and dice of faults come from.
    pub seed: u64,
    /// Who reads and writes what.
    pub load: Load,
    /// What happens, one after the other.
    pub phases: Vec<Phase>,
}

/// Who reads and writes what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Load {
    /// Connections that read.
    pub readers: usize,
    /// Assets, uploaded before the first phase.
    pub assets: usize,
    /// How large assets are.
    pub sizes: Vec<SizeClass>,
    /// The part of reads that ask for a range.
    pub ranges: f64,
    /// Reads a second over all readers; each as fast as it is served where there is none.
    pub reads_per_second: Option<f64>,
    /// Whether all readers ask for one asset at the same moment.
    pub together: bool,
    /// Connections that write.
    pub writers: usize,
    /// Writes a second over all writers.
    pub writes_per_second: Option<f64>,
    /// The part of writes that delete.
    pub deletes: f64,
    /// Bytes of the gateway's memory cache.
    pub cache_bytes: u64,
    /// Whether the gateway races slow providers.
    pub hedging: bool,
}

impl Load {
    /// Returns the part of reads for which providers are asked for ranges: of assets of more than a block.
    pub(in crate::drill) fn ranged(&self) -> f64 {
        let weight = |is_of: fn(&&SizeClass) -> bool| -> usize {
            self.sizes.iter().filter(is_of).map(|class| class.weight).sum()
        };
        let (large, all) = (weight(|class| class.from > BLOCK_BYTES as u64), weight(|_| true));
        self.ranges * large as f64 / all.max(1) as f64
    }
}

/// A class of sizes and how often it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeClass {
    /// The smallest size in bytes, at least 1.
    pub from: u64,
    /// The largest size in bytes.
    pub to: u64,
    /// How often, compared with the other classes.
    pub weight: usize,
}

/// One phase; it has an end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Phase {
    /// The name, for the report.
    pub name: String,
    /// The reads after which it ends.
    pub reads: Option<u64>,
    /// The time after which it ends.
    pub length: Option<Duration>,
    /// What it ends with, unless its time is over before.
    pub until: Option<Until>,
    /// Whether writers rest meanwhile.
    pub writers_rest: bool,
    /// What is wrong meanwhile.
    pub faults: Vec<Fault>,
}

/// What a phase waits for; nobody writes meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// All providers that were faulty are counted on again.
    Healthy,
    /// And none lacks a copy.
    Recovered,
}

/// One fault at some providers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// The places of the providers.
    pub slots: Vec<usize>,
    /// What is wrong.
    pub kind: Kind,
    /// The part of the requests that it happens to.
    pub share: f64,
    /// The methods that it happens to; empty means as the kind is meant.
    pub methods: Vec<Method>,
    /// How keys begin that it happens to; `None` means as the kind is meant.
    pub prefix: Option<String>,
    /// How long something is late.
    pub delay: Option<Duration>,
    /// After how many bytes it strikes; at a random byte where there is none.
    pub after: Option<u64>,
}

impl Scenario {
    /// Gives every phase that ends after some reads this many.
    pub(super) fn scale(&mut self, reads: u64) {
        for phase in self.phases.iter_mut().filter(|phase| phase.reads.is_some()) {
            phase.reads = Some(reads);
        }
    }
}

impl Phase {
    /// Returns the places of all providers at which something is wrong, each once.
    pub(super) fn faulty(&self) -> Vec<usize> {
        let mut slots: Vec<_> = self.faults.iter().flat_map(|fault| fault.slots.iter().copied()).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

#[cfg(test)]
#[path = "../scenario_tests.rs"]
mod tests;
