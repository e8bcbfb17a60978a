//! The regulator: how much work goes on beside clients. Pure: it takes figures and keeps one number, the pace.
//!
//! The pace is how many pieces of work are under way on average, shifts and rests taken together. Every few seconds
//! a high quantile of all reads is compared with that of the reads that began in rests: what it is more is what
//! work costs clients. Above [`HARM_MAX`] the pace falls, else it rises. Beyond [`AT_ONCE_FORCED`] pieces only
//! what clients do not feel is done; below that the floor of [`BEHIND_BELOW`] is kept whatever they feel.

use std::time::Duration;

use super::felt::Felt;
use super::gate::{AT_ONCE_MAX, REST_MIN};

/// So much slower may a high quantile of all reads be than that of reads during rests: half of what is promised.
const HARM_MAX: f64 = 1.05;
/// The pace is multiplied by this when clients feel the work.
const SLOWER: f64 = 0.7;
/// The pace is multiplied by this when they do not: a decision by mere chance, as likely as not, changes nothing.
const FASTER: f64 = 1.0 / SLOWER;
/// The pace while too little is known: one piece at a time, half of the time.
const PACE_UNKNOWN: f64 = 0.5;
/// The slowest pace: one piece at a time, with rests of 16 times its length.
const PACE_MIN: f64 = 1.0 / 17.0;
/// The part of the time that shifts fill at most.
const BUSY_MAX: f64 = 1.0 / (1.0 + REST_MIN);
/// The fastest pace.
const PACE_MAX: f64 = AT_ONCE_MAX as f64 * BUSY_MAX;
/// So many pieces at once may the floor demand.
const AT_ONCE_FORCED: f64 = 2.0;
/// The floor: work that makes fewer blocks a second than this is behind. Of small copies these are 10^4 in less than
/// seven minutes, of large ones 1.6 MB a second.
pub(super) const BEHIND_BELOW: f64 = 25.0;
/// What is below the floor by no more than this is measured so.
const BEHIND_SLACK: f64 = 0.9;
/// A decision is taken after so long.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// After so long with too few reads the pace goes back towards the one for little knowledge.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// How work goes on beside clients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pacing {
    /// How many pieces go on at the same time.
    pub(super) at_once: usize,
    /// How long a rest is, as a multiple of its shift.
    pub(super) rest_factor: f64,
}

/// Decides on the pace.
#[derive(Debug)]
pub(super) struct Regulator {
    pace: f64,
    /// What was felt, worked, rested and done since the last decision.
    pub(super) felt: Felt,
    worked: Duration,
    rested: Duration,
    blocks: u64,
}

impl Regulator {
    /// Starts in ignorance.
    pub(super) fn new() -> Self {
        let (worked, rested) = (Duration::ZERO, Duration::ZERO);
        Self { pace: PACE_UNKNOWN, felt: Felt::new(), worked, rested, blocks: 0 }
    }

    /// Returns what the pace means.
    pub(super) fn pacing(&self) -> Pacing {
        let at_once = (self.pace / BUSY_MAX).ceil().max(1.0);
        Pacing { at_once: at_once as usize, rest_factor: at_once / self.pace - 1.0 }
    }

    /// Takes note of a shift and the rest after it, and decides when it is time.
    pub(super) fn shift(&mut self, worked: Duration, rest: Duration, blocks: u64) {
        self.worked += worked;
        self.rested += rest;
        self.blocks += blocks;
        let took = self.worked + self.rested;
        let harm = self.felt.harm();
        if took < LOOK_AFTER || (harm.is_none() && took < GIVE_UP_AFTER) {
            return;
        }
        let is_behind = (self.blocks as f64) < BEHIND_BELOW * BEHIND_SLACK * took.as_secs_f64();
        self.pace = next(self.pace, harm, is_behind);
        self.felt.forget();
        (self.worked, self.rested, self.blocks) = (Duration::ZERO, Duration::ZERO, 0);
    }
}

/// Returns the pace after `pace`, when clients felt so much `harm` (1 is none, `None` if nobody can tell).
fn next(pace: f64, harm: Option<f64>, is_behind: bool) -> f64 {
    let wanted = match harm {
        Some(harm) if harm > HARM_MAX => pace * SLOWER,
        Some(_) => pace * FASTER,
        None => (pace * PACE_UNKNOWN).sqrt(),
    };
    let forced = if is_behind { (pace * FASTER).min(AT_ONCE_FORCED * BUSY_MAX) } else { PACE_MIN };
    wanted.max(forced).clamp(PACE_MIN, PACE_MAX)
}

#[cfg(test)]
#[path = "regulator_tests.rs"]
mod tests;
