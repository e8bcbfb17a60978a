//! A breadth-first search through all states that a setting can reach.
//!
//! Of each state only 64 bits are kept, with those of the state before it. At 1.3 million states the chance that
//! any two share them, and one goes unseen, is about one in twenty million.
//! Breadth first means that the first counter-example is one of the shortest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use super::action::{self, Action};
use super::next::next;
use super::property;
use super::setting::Setting;
use super::state::{Kind, State, Versions};

/// A search that has seen more states ends with the layer that it is in: with its queue that is some gigabytes.
const STATES_MAX: usize = 20_000_000;

/// What a search found.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub name: &'static str,
    pub writes: &'static [Kind],
    /// How many different states there are.
    pub unique: usize,
    /// How many steps the farthest of them is away.
    pub depth: usize,
    pub took: Duration,
    /// Whether there is nothing left to see.
    pub exhausted: bool,
    /// How often each kind of step was taken.
    pub steps: [u64; 16],
    /// Which versions were acknowledged in some state.
    pub acknowledged: Versions,
    pub violation: Option<Violation>,
}

/// A property does not hold.
#[derive(Debug)]
pub(crate) struct Violation {
    pub property: &'static str,
    pub steps: Vec<Action>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unique, depth, took, .. } = self;
        let total: u64 = self.steps.iter().sum();
        let seconds = took.as_secs_f64();
        let writes = &self.writes;
        writeln!(f, "{name} {writes:?}: {unique} states, {total} steps, depth {depth}, {seconds:.1} s")?;
        match &self.violation {
            Some(violation) => write!(f, "{violation}"),
            None if self.exhausted => Ok(()),
            None => writeln!(f, "  nothing broken down to this depth; not exhausted"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  broken: {} ({} steps)", self.property, self.steps.len())?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:>3}. {step}", number + 1)?;
        }
        Ok(())
    }
}

/// A fingerprint is spread well enough already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed")
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

type Seen = HashMap<u64, u64, BuildHasherDefault<AsItIs>>;

/// Searches until a property is broken, `sought` if one is named, or nothing is left.
#[expect(clippy::disallowed_methods, reason = "a search is measured in real time")]
pub(crate) fn search(setting: &Setting, sought: Option<&str>) -> Outcome {
    let began = std::time::Instant::now();
    let mut seen = Seen::default();
    let (mut steps, mut acknowledged, mut depth, mut violation) = ([0; 16], 0, 0, None);
    let first = first(setting);
    seen.insert(first.fingerprint(setting.wipe), 0);
    let mut frontier = vec![first];
    let mut actions = Vec::new();
    'search: while !frontier.is_empty() && seen.len() <= STATES_MAX {
        let mut reached = Vec::new();
        for state in &frontier {
            action::possible(setting, state, &mut actions);
            for action in &actions {
                steps[action.kind()] += 1;
                let after = next(setting, state, *action);
                acknowledged |= after.acknowledged;
                let print = after.fingerprint(setting.wipe);
                let Entry::Vacant(place) = seen.entry(print) else { continue };
                place.insert(state.fingerprint(setting.wipe));
                let broken = property::broken(setting, &after);
                if let Some(property) =
                    broken.into_iter().find(|broken| sought.is_none_or(|it| it == *broken))
                {
                    depth += 1;
                    violation = Some(Violation { property, steps: retrace(setting, &seen, print) });
                    break 'search;
                }
                reached.push(after);
            }
        }
        depth += usize::from(!reached.is_empty());
        frontier = reached;
    }
    let (name, writes) = (setting.name, setting.writes);
    let (unique, took) = (seen.len(), began.elapsed());
    let exhausted = frontier.is_empty() && violation.is_none();
    let outcome = Outcome { name, writes, unique, depth, took, exhausted, steps, acknowledged, violation };
    println!("{outcome}");
    outcome
}

fn first(setting: &Setting) -> State {
    if setting.deleted { State::deleted() } else { State::new() }
}

/// Returns the steps that lead to a state, by walking the way again from the beginning: providers that the
/// fingerprint does not tell apart then keep their numbers.
fn retrace(setting: &Setting, seen: &Seen, last: u64) -> Vec<Action> {
    let mut way = vec![last];
    while let Some(before) = way.last().and_then(|print| seen.get(print)).filter(|before| **before != 0) {
        way.push(*before);
    }
    way.reverse();
    let mut state = first(setting);
    let mut actions = Vec::new();
    let mut steps = Vec::new();
    for print in &way[1..] {
        action::possible(setting, &state, &mut actions);
        let leads = |action: &&Action| next(setting, &state, **action).fingerprint(setting.wipe) == *print;
        let step = *actions.iter().find(leads).expect("the way was walked once");
        state = next(setting, &state, step);
        steps.push(step);
    }
    steps
}
