//! Decides what may go of one name, and when a plan is too large: values in, values out.

use std::collections::{BTreeMap, BTreeSet};

use crate::asset::{Kind, Version};
use crate::provider::Slot;

/// A plan may take this many copies from a provider whatever share of all they are: one in a hundred of a
/// small set is next to nothing, and would stop every other round.
pub const BRAKE_FLOOR: u64 = 100;
/// Beyond the floor a plan may take one copy in this many from a provider.
const BRAKE_SHARE: u64 = 100;

/// Returns how many copies one round may take from a provider that holds `held`.
pub fn allowance(held: u64) -> u64 {
    BRAKE_FLOOR.max(held / BRAKE_SHARE)
}

/// What one provider lists of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Whether it holds bytes or is a tombstone.
    pub kind: Kind,
    /// When the record was stored, by the provider's clock, in Unix milliseconds.
    pub stored_ms: Option<u64>,
    /// Whether the copy is complete.
    pub complete: bool,
}

/// What one provider lists of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf {
    /// The provider's time at the listing, in Unix milliseconds.
    pub now_ms: u64,
    /// Its records.
    pub copies: BTreeMap<Version, Copy>,
}

/// What all providers list of a name, and what the index knows of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// One for each provider, in the order of the fleet.
    pub shelves: Vec<Shelf>,
    /// What the index knows.
    pub known: BTreeMap<Version, Kind>,
}

/// The rules by which versions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// For how long a version is kept once it is superseded, in milliseconds.
    pub retention_ms: u64,
    /// How many providers are a majority.
    pub majority: usize,
    /// A deleted name that nobody lists is forgotten only when its stamp is older than this, in Unix
    /// milliseconds of our clock: a listing may lag behind a record that was written a moment ago.
    pub settled_ms: u64,
}

/// What may go of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Copies that may be removed, at each provider the oldest first.
    pub remove: Vec<(Slot, Version, Kind)>,
    /// The versions for whose sake copies may go: each must prove to be complete.
    pub keepers: BTreeSet<Version>,
    /// The tombstone that is all that is left of the name, at all providers.
    pub lone_tombstone: Option<Version>,
    /// Versions in the index that nobody lists.
    pub forget: Vec<Version>,
}

impl Plan {
    /// Tells whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.lone_tombstone.is_none() && self.forget.is_empty()
    }

    /// Returns the versions that are on their way out.
    pub fn expired(&self) -> Vec<Version> {
        let versions: BTreeSet<_> = self.remove.iter().map(|(_, version, _)| *version).collect();
        versions.into_iter().collect()
    }
}

/// Plans what may go of a name.
///
/// * A copy goes for the sake of a newer version that a majority holds completely and has stored for longer
///   than the retention, and which is complete at the copy's own provider as well, since whenever: where it was made
///   by repair, an older version that outlived all its other copies would be missing there.
/// * A tombstone goes when every provider holds it completely, nobody lists anything else of the name, and
///   a majority has stored it for longer than the retention. Its stamp must have come to pass everywhere,
///   or the next version of the name might be stamped below it.
/// * A version is forgotten when nobody lists it and a newer one has made it expire, or when nobody lists
///   anything of a deleted name.
pub fn plan(view: &View, rules: Rules) -> Plan {
    let mut plan = Plan::default();
    let listed: BTreeMap<Version, Kind> = view
        .shelves
        .iter()
        .flat_map(|shelf| shelf.copies.iter().map(|(version, copy)| (*version, copy.kind)))
        .collect();
    let keepers: Vec<_> =
        listed.iter().rev().filter(|(version, _)| is_keeper(view, rules, **version)).collect();
    for (slot, shelf) in view.shelves.iter().enumerate() {
        for (version, copy) in &shelf.copies {
            let keeper = keepers.iter().find(|(keeper, _)| {
                *keeper > version && shelf.copies.get(*keeper).is_some_and(|here| here.complete)
            });
            if let Some((keeper, _)) = keeper {
                plan.keepers.insert(**keeper);
                plan.remove.push((Slot(slot), *version, copy.kind));
            }
        }
    }
    let newest_keeper = keepers.first().map(|(version, _)| **version);
    let vanished = listed.is_empty() && is_settled_deletion(view, rules);
    for version in view.known.keys().filter(|version| !listed.contains_key(version)) {
        if let Some(keeper) = newest_keeper.filter(|keeper| keeper > version) {
            plan.keepers.insert(keeper);
            plan.forget.push(*version);
        } else if vanished {
            plan.forget.push(*version);
        }
    }
    plan.lone_tombstone = lone_tombstone(view, rules, &listed);
    plan
}

/// Tells whether a majority holds a version completely, and has stored it for longer than the retention.
fn is_keeper(view: &View, rules: Rules, version: Version) -> bool {
    let complete = view.shelves.iter().filter_map(|shelf| {
        let copy = shelf.copies.get(&version).filter(|copy| copy.complete)?;
        Some(is_old(copy, shelf.now_ms, rules))
    });
    let (holders, old) =
        complete.fold((0, 0), |(holders, old), is_old| (holders + 1, old + usize::from(is_old)));
    holders >= rules.majority && old >= rules.majority
}

fn is_old(copy: &Copy, now_ms: u64, rules: Rules) -> bool {
    copy.stored_ms.is_some_and(|stored_ms| now_ms.saturating_sub(stored_ms) > rules.retention_ms)
}

fn is_settled_deletion(view: &View, rules: Rules) -> bool {
    let settled = |version: &Version| version.order.unix_ms() < rules.settled_ms;
    view.known.last_key_value().is_some_and(|(_, kind)| *kind == Kind::Del) && view.known.keys().all(settled)
}

fn lone_tombstone(view: &View, rules: Rules, listed: &BTreeMap<Version, Kind>) -> Option<Version> {
    let (version, kind) = listed.first_key_value()?;
    let alone = listed.len() == 1 && *kind == Kind::Del && view.known.keys().all(|known| known == version);
    let everywhere = view.shelves.iter().all(|shelf| {
        let complete = shelf.copies.get(version).is_some_and(|copy| copy.complete);
        complete && version.order.unix_ms() <= shelf.now_ms
    });
    (alone && everywhere && is_keeper(view, rules, *version)).then_some(*version)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
