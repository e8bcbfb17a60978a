//! What must hold in every state. What a single step can break is noted by the step itself.

use super::action::old_uploads;
use super::read;
use super::setting::{Proof, Setting};
use super::state::{Kind, PROVIDERS, Provider, State, Versions, has, only};

pub(crate) const ORDER: &str = "a write that began after an acknowledgement has the larger stamp";
pub(crate) const GONE: &str = "a delete that leaves no tombstone found nothing to delete";
pub(crate) const LOST: &str = "an acknowledged write is never lost";
pub(crate) const UNREADABLE: &str = "what is acknowledged is readable while one trusted holder is up";
pub(crate) const STALE: &str = "a read never returns less than was acknowledged before it began";
pub(crate) const FALSE_404: &str = "no false 404";
pub(crate) const RESURRECTED: &str = "what was deleted never comes back";
pub(crate) const HIDDEN: &str = "what was passed over as never committed is never acknowledged";
pub(crate) const INCOMPLETE: &str = "a record at a trusted provider means complete bytes there";
pub(crate) const HALF: &str = "what turns up turns up entirely: each record has its bytes somewhere";
pub(crate) const UNEQUAL: &str = "when everybody stops, repair makes all copies equal";
pub(crate) const RETIRED: &str = "retention never removes the newest acknowledged bytes";

/// Returns the properties that do not hold.
pub(crate) fn broken(setting: &Setting, state: &State) -> Vec<&'static str> {
    // As a rule nothing is broken, and an empty vector costs nothing.
    let mut broken = Vec::new();
    broken.extend(state.broken);
    if let Some(newest) = state.newest(state.acknowledged) {
        acknowledged(setting, state, usize::from(newest), &mut broken);
        reads(setting, state, newest, &mut broken);
    }
    at_rest(setting, state, &mut broken);
    broken
}

/// Returns the versions of which a provider has record and bytes.
pub(crate) fn complete(setting: &Setting, provider: &Provider) -> Versions {
    provider.records & (provider.bytes | !setting.puts())
}

fn trusted(state: &State) -> impl Iterator<Item = (usize, &Provider)> {
    state.providers.iter().enumerate().filter(|(_, provider)| provider.canary)
}

fn acknowledged(setting: &Setting, state: &State, newest: usize, broken: &mut Vec<&'static str>) {
    // What retention removed is rightly found wanting.
    if state.acknowledged & state.hidden & !state.doomed != 0 {
        broken.push(HIDDEN);
    }
    if setting.writes[newest] == Kind::Put && has(state.doomed, newest) {
        broken.push(RETIRED);
    }
    let rank = state.writers[newest].rank;
    let enough = |version: &usize| state.writers[*version].rank >= rank;
    let as_new = (0..setting.writes.len()).filter(enough).fold(0, |set, version| set | only(version));
    let holders = state.count(|provider| provider.canary && complete(setting, provider) & as_new != 0);
    if holders == 0 && !has(state.doomed, newest) {
        broken.push(LOST);
    }
    for (slot, provider) in trusted(state) {
        // It is the only one up, so that it serves the newest version that it lists. What repair still has to
        // look at is left out.
        let torn = old_uploads(setting, state, slot) & !complete(setting, provider);
        let listed = provider.records & !state.doomed & !torn;
        let served = state.newest(listed).map_or(0, |it| only(usize::from(it)));
        let holds = has(complete(setting, provider), newest);
        if holds && served & complete(setting, provider) == 0 && served != 0 {
            broken.push(UNREADABLE);
        }
    }
}

/// Cold reads at this moment, of every majority whose word counts.
fn reads(setting: &Setting, state: &State, newest: u8, broken: &mut Vec<&'static str>) {
    let counts = |slot: &usize| {
        let provider = &state.providers[*slot];
        setting.design.read_proof == Proof::Remembered || provider.canary
    };
    for slot in (0..PROVIDERS).filter(counts) {
        let one = state.providers[slot].records;
        let is_enough =
            setting.design.listings_of_read == 1 || (setting.design.negatives_for_404 == 1 && one == 0);
        if is_enough {
            broken.extend(read::judge(setting, state, one, Some(newest)));
        }
        for other in (slot + 1..PROVIDERS).filter(counts) {
            let both = one | state.providers[other].records;
            broken.extend(read::judge(setting, state, both, Some(newest)));
        }
    }
}

/// What is seen when everybody stops here for good, nothing more lands, and repair does what it can.
///
/// Repair copies whatever has a record and bytes anywhere to whoever shows no feed entry. So the copies are
/// equal in the end unless a feed entry claims what is not there, or a record has no bytes anywhere.
fn at_rest(setting: &Setting, state: &State, broken: &mut Vec<&'static str>) {
    let (puts, bytes) = (setting.puts(), state.bytes());
    for (slot, provider) in trusted(state) {
        let records = provider.records & !state.doomed;
        if records & puts & !bytes != 0 {
            broken.push(HALF);
        }
        // A PUT that was under way during the wipe may come after the refill: then repair finds it.
        if !state.wiped && records & puts & !provider.bytes != 0 {
            broken.push(INCOMPLETE);
        }
        // A feed entry of a version without any record leads nowhere.
        let claimed = provider.feed & state.records() & !state.doomed & !old_uploads(setting, state, slot);
        if claimed & !complete(setting, provider) != 0 {
            broken.push(UNEQUAL);
        }
    }
}
