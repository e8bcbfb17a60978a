//! The plan of a read: whom to ask, best first, and how patient to be with each.
//!
//! Pure: it ranks what the board knows of each provider, with one throw of a die.

use std::cmp::Ordering;
use std::time::Duration;

use super::breaker::BreakerState;
use crate::provider::Slot;

/// A request up to this size is small.
const SMALL_BYTES_MAX: u64 = 64 * 1024;
/// The load of a preferred provider counts so much of its value.
const PREFERRED_SHARE: f64 = 0.8;
/// The share of plans that put another healthy provider first, so that its figures stay alive.
const EXPLORED_SHARE: f64 = 0.01;
/// Who is tried out is waited for so many times as long as the best at most.
const TRIED_FOR: u32 = 2;
/// Makes independent numbers out of one throw; slots have smaller ones.
const SALT_EXPLORE: u64 = 1 << 32;
/// As above, for the choice of whom to explore.
const SALT_CHOICE: u64 = SALT_EXPLORE + 1;

/// How large the answer to a request is; figures are kept apart for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeClass {
    /// Up to 64 KiB: records, icons, block lists.
    Small,
    /// More.
    Large,
}

impl SizeClass {
    /// Returns the class of a request for so many bytes.
    pub const fn of(bytes: u64) -> Self {
        if bytes <= SMALL_BYTES_MAX { Self::Small } else { Self::Large }
    }
}

/// One provider to ask, and how patient to be with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The provider.
    pub slot: Slot,
    /// The smoothed time to its first verified block in the class.
    pub expected: Duration,
    /// When the next one is asked too: about this one's p95 to the first verified block in the class.
    pub hedge_after: Duration,
    /// How long it may take in mid-body to come up with the next verified block.
    pub stall_after: Duration,
    /// Whether its breaker is closed and its canary is not missing.
    pub healthy: bool,
}

/// What the board knows of one provider for one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub slot: Slot,
    pub state: BreakerState,
    /// Whether a half-open provider may be asked in its place: nobody else is asking it.
    pub turn: bool,
    /// Whether the canary is missing.
    pub missing: bool,
    /// The share of requests for which it is ranked like any other.
    pub share: f64,
    /// Seconds that it costs to ask it.
    pub load: f64,
    pub preferred: bool,
    pub expected: Duration,
    pub hedge_after: Duration,
    pub stall_after: Duration,
}

/// Where a provider comes, before its load is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// In its place.
    First,
    /// Healthy, but closed a moment ago.
    Starting,
    /// Without its canary: it was wiped, or is new.
    Incomplete,
    /// Taken to be down. Where all are, only the load counts.
    Down,
}

impl Standing {
    fn is_healthy(&self) -> bool {
        self.state == BreakerState::Closed && !self.missing
    }

    fn tier(&self, die: Option<u64>) -> Tier {
        match self.state {
            BreakerState::Open => Tier::Down,
            BreakerState::HalfOpen if !self.turn => Tier::Down,
            BreakerState::HalfOpen | BreakerState::Closed if self.missing => Tier::Incomplete,
            BreakerState::HalfOpen => Tier::First,
            BreakerState::Closed => {
                let starting = die.is_some_and(|die| throw(die, self.slot.0 as u64) >= self.share);
                if starting { Tier::Starting } else { Tier::First }
            }
        }
    }

    fn rank(&self, other: &Self, die: Option<u64>) -> Ordering {
        let load = |standing: &Self| standing.load * if standing.preferred { PREFERRED_SHARE } else { 1.0 };
        let tiers = self.tier(die).cmp(&other.tier(die));
        tiers.then(load(self).total_cmp(&load(other))).then(self.slot.cmp(&other.slot))
    }
}

/// Ranks the providers for one request; without a die nothing is left to chance.
pub(super) fn rank(mut standings: Vec<Standing>, die: Option<u64>) -> Vec<Candidate> {
    standings.sort_by(|one, other| one.rank(other, die));
    let mut plan: Vec<_> = standings
        .iter()
        .map(|standing| Candidate {
            slot: standing.slot,
            expected: standing.expected,
            hedge_after: standing.hedge_after,
            stall_after: standing.stall_after,
            healthy: standing.is_healthy(),
        })
        .collect();
    if let Some(die) = die {
        explore(&mut plan, die);
    }
    plan
}

/// Puts another healthy provider first once in a while.
fn explore(plan: &mut [Candidate], die: u64) {
    // A half-open provider in its place has its turn, and nobody but the healthy is worth a detour.
    let Some(best) = plan.first().filter(|best| best.healthy).copied() else { return };
    let others = plan.iter().skip(1).filter(|candidate| candidate.healthy).count();
    if others == 0 || throw(die, SALT_EXPLORE) >= EXPLORED_SHARE {
        return;
    }
    let choice = ((throw(die, SALT_CHOICE) * others as f64) as usize).min(others - 1);
    let mut healthy = plan.iter().enumerate().skip(1).filter(|(_, candidate)| candidate.healthy);
    let Some((index, _)) = healthy.nth(choice) else { return };
    // Who is tried out is waited for not much longer than the best would have been: long enough to show whether
    // it delivers, if it is about as near.
    plan[index].hedge_after = plan[index].hedge_after.min(best.hedge_after.saturating_mul(TRIED_FOR));
    plan[..=index].rotate_right(1);
}

/// Makes a number from 0 to 1 out of a throw, another one for each `salt` (SplitMix64's finish).
fn throw(die: u64, salt: u64) -> f64 {
    let mut mixed = die.wrapping_add(salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    unit(mixed ^ (mixed >> 31))
}

/// Makes a number from 0 to 1 out of a throw.
pub(super) fn unit(die: u64) -> f64 {
    (die >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
