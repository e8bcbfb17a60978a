//! The weather between gateways and providers: which faults are about, and what befalls a single request.

use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use triplicate::provider::{ErrorKind, Operation};

/// How late a PUT or DELETE may take effect.
const LATE_MAX_MS: u64 = 20 * 60 * 1_000;

/// A fault that is about for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// Every request fails at once.
    Refuse(ErrorKind),
    /// No request arrives, and no answer comes.
    Silence,
    /// Of a hundred requests so many fail with an error of some kind, before or after they took effect.
    Errors(u32),
    /// Of a hundred PUTs and DELETEs so many take effect late, up to 20 minutes, while their caller gives up.
    Late(u32),
    /// Of a hundred PUTs and DELETEs so many take effect twice, the second time later than others.
    Twice(u32),
    /// Of a hundred requests or answers so many are lost.
    Loss(u32),
    /// Of a hundred bodies so many break, stand still, or have a bit flipped.
    Bodies(u32),
    /// Everything takes so many times longer.
    Slow(u32),
    /// Nothing is done to requests: what is stored is not what it should be.
    AtRest,
}

/// A condition, where it is, and since when.
#[derive(Debug, Clone)]
pub struct Spell {
    pub id: u64,
    /// The gateway concerned, or all.
    pub gateway: Option<usize>,
    /// The provider concerned, or all.
    pub slot: Option<usize>,
    pub condition: Condition,
    pub began: Instant,
    pub ended: Option<Instant>,
}

impl Spell {
    pub fn is_at(&self, gateway: usize, slot: usize) -> bool {
        self.gateway.is_none_or(|at| at == gateway) && self.slot.is_none_or(|at| at == slot)
    }

    fn overlaps(&self, from: Instant, to: Instant) -> bool {
        self.began <= to && self.ended.is_none_or(|ended| ended >= from)
    }
}

/// All spells of a run.
#[derive(Debug, Default)]
pub struct Weather(Mutex<Vec<Spell>>);

/// What befalls one request.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// How long the request is on its way, and the answer.
    pub there: Duration,
    pub back: Duration,
    pub verdict: Verdict,
    /// It takes effect once more, so long after the first time.
    pub again: Option<Duration>,
    pub body: Option<BodyFault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// Fails without effect.
    Error(ErrorKind),
    /// Takes effect, but the caller gets an error.
    ErrorAfter(ErrorKind),
    /// Never arrives.
    LostRequest,
    /// Takes effect; the answer never arrives.
    LostAnswer,
}

/// What befalls the body of a download, at a random place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    Break(u64),
    Stall(u64),
    Flip(u64),
    /// It comes in small pieces with pauses.
    Crawl(u64),
}

impl Weather {
    pub fn begin(&self, gateway: Option<usize>, slot: Option<usize>, condition: Condition) -> u64 {
        let mut spells = self.0.lock();
        let id = spells.len() as u64;
        spells.push(Spell { id, gateway, slot, condition, began: Instant::now(), ended: None });
        id
    }

    pub fn end(&self, id: u64) {
        let mut spells = self.0.lock();
        spells.iter_mut().filter(|spell| spell.id == id).for_each(|spell| {
            spell.ended.get_or_insert_with(Instant::now);
        });
    }

    pub fn clear(&self) {
        let mut spells = self.0.lock();
        spells.iter_mut().for_each(|spell| _ = spell.ended.get_or_insert_with(Instant::now));
    }

    /// Tells whether anything was about between a gateway and a provider in a stretch of time.
    pub fn was_disturbed(&self, gateway: usize, slot: usize, from: Instant, to: Instant) -> bool {
        let spells = self.0.lock();
        spells.iter().any(|spell| spell.is_at(gateway, slot) && spell.overlaps(from, to))
    }

    /// Tells whether a provider was out of a gateway's reach for all of a stretch of time.
    pub fn was_unreachable(&self, gateway: usize, slot: usize, from: Instant, to: Instant) -> bool {
        let spells = self.0.lock();
        spells.iter().any(|spell| {
            let out = matches!(spell.condition, Condition::Refuse(_) | Condition::Silence);
            out && spell.is_at(gateway, slot)
                && spell.began <= from
                && spell.ended.is_none_or(|ended| ended >= to)
        })
    }

    /// Throws the dice for one request.
    pub fn fate(&self, gateway: usize, slot: usize, operation: Operation, dice: &mut StdRng) -> Fate {
        let way = |dice: &mut StdRng| {
            let tail = dice.random_range(0..100) == 0;
            Duration::from_millis(if tail { dice.random_range(40..250) } else { dice.random_range(3..25) })
        };
        let (there, back) = (way(dice), way(dice));
        let mut fate = Fate { there, back, verdict: Verdict::Fine, again: None, body: None };
        let spells = self.0.lock();
        for spell in spells.iter().filter(|spell| spell.ended.is_none() && spell.is_at(gateway, slot)) {
            strike(&mut fate, spell.condition, operation, dice);
        }
        fate
    }
}

fn strike(fate: &mut Fate, condition: Condition, operation: Operation, dice: &mut StdRng) {
    let mutates = matches!(operation, Operation::Put | Operation::Delete);
    let hit = |percent: u32, dice: &mut StdRng| dice.random_range(0..100) < percent;
    match condition {
        Condition::Refuse(kind) => fate.verdict = Verdict::Error(kind),
        Condition::Silence => fate.verdict = Verdict::LostRequest,
        Condition::Errors(percent) if hit(percent, dice) => {
            let kinds = [
                ErrorKind::Unavailable,
                ErrorKind::Throttled,
                ErrorKind::Timeout,
                ErrorKind::Protocol,
                ErrorKind::Corrupt,
                ErrorKind::Refused,
            ];
            let kind = kinds[dice.random_range(0..kinds.len())];
            let after = kind != ErrorKind::Throttled && dice.random_range(0..2) == 0;
            fate.verdict = if after { Verdict::ErrorAfter(kind) } else { Verdict::Error(kind) };
        }
        Condition::Late(percent) if mutates && hit(percent, dice) => {
            fate.there = Duration::from_millis(dice.random_range(1_000..LATE_MAX_MS));
        }
        Condition::Twice(percent) if mutates && hit(percent, dice) => {
            fate.again = Some(Duration::from_millis(dice.random_range(1..LATE_MAX_MS)));
        }
        Condition::Loss(percent) if hit(percent, dice) => {
            let request = dice.random_range(0..2) == 0;
            fate.verdict = if request { Verdict::LostRequest } else { Verdict::LostAnswer };
        }
        Condition::Bodies(percent) if operation == Operation::Get && hit(percent, dice) => {
            let at = dice.random_range(0..200_000);
            let faults =
                [BodyFault::Break(at), BodyFault::Stall(at), BodyFault::Flip(at), BodyFault::Crawl(at)];
            fate.body = Some(faults[dice.random_range(0..faults.len())]);
        }
        Condition::Slow(times) => (fate.there, fate.back) = (fate.there * times, fate.back * times),
        Condition::Errors(_)
        | Condition::Late(_)
        | Condition::Twice(_)
        | Condition::Loss(_)
        | Condition::Bodies(_)
        | Condition::AtRest => {}
    }
}
