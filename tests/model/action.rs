//! The steps of the modelled world, each with the code that it stands for, and which of them are possible.

use std::fmt;

use super::read;
use super::setting::{Counted, Proof, RefillBegins, Setting, TombstoneGoes};
use super::state::{Kind, MAJORITY, Object, PROVIDERS, Phase, State, Versions, has, only};

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// `write::commit::put` or `delete`: from now on bytes may land anywhere.
    Begin { writer: usize },
    /// The same, with `write::survey::gather` of two providers at this moment.
    BeginAndSurvey { writer: usize, left_out: usize },
    /// `write::survey::ask`: one provider's listing reaches the writer.
    Survey { writer: usize, slot: usize },
    /// `write::commit::stamp` and `Quorum::complete`: the record may go out. `place` is that of the stamp.
    Commit { writer: usize, place: u8 },
    /// `write::commit::delete` answers without a tombstone.
    Gone { writer: usize },
    /// `write::commit::clean_up` before a record went out: DELETEs are sent.
    GiveUp { writer: usize },
    /// A PUT of `write::pipeline` takes effect and is confirmed: for the first time, late, or once more. With
    /// the last one that is needed, `write::commit::finish` answers the client.
    Land { slot: usize, version: usize, object: Object },
    /// `replica::mend::Mender::copy`, called by `repair::Repairer::restore`, writes the next object.
    Repair { version: usize, slot: usize },
    /// Provider 0 loses everything, its canary included.
    Wipe,
    /// `repair::establish` begins: what the wiped provider lists itself is known.
    RefillBegins,
    /// `catalog::feed::Catalog::relist` of a witness.
    Relist { slot: usize },
    /// `health::canary::write`: the refill is done.
    WriteCanary,
    /// `catalog::marks::Catalog::mark_uncommitted`.
    Hide { version: usize },
    /// Retention sends DELETEs of a version that is superseded, or of a tombstone.
    Retire { version: usize },
    /// A DELETE takes effect.
    Remove { slot: usize, version: usize, object: Object },
    /// The retention time passes: what was sent before is delivered or dead.
    Age,
    /// `read::resolve::gather`: one provider's listing reaches the reader; the last one leads to an answer.
    ReadList { slot: usize },
}

impl Action {
    /// Returns a number for the kind of step, for counting.
    pub(crate) const fn kind(self) -> usize {
        match self {
            Self::Begin { .. } | Self::BeginAndSurvey { .. } => 0,
            Self::Survey { .. } => 1,
            Self::Commit { .. } => 2,
            Self::Gone { .. } => 3,
            Self::GiveUp { .. } => 4,
            Self::Land { .. } => 5,
            Self::Repair { .. } => 6,
            Self::Wipe => 7,
            Self::RefillBegins => 8,
            Self::Relist { .. } => 9,
            Self::WriteCanary => 10,
            Self::Hide { .. } => 11,
            Self::Retire { .. } => 12,
            Self::Remove { .. } => 13,
            Self::Age => 14,
            Self::ReadList { .. } => 15,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Begin { writer } => write!(f, "W{writer} begins"),
            Self::BeginAndSurvey { writer, left_out } => {
                write!(f, "W{writer} begins and lists the names at all but P{left_out}")
            }
            Self::Survey { writer, slot } => write!(f, "W{writer} lists the names at P{slot}"),
            Self::Commit { writer, place } => write!(f, "W{writer} stamps its version in place {place}"),
            Self::Gone { writer } => write!(f, "W{writer} finds nothing to delete and answers"),
            Self::GiveUp { writer } => write!(f, "W{writer} gives up and sends DELETEs"),
            Self::Land { slot, version, object } => write!(f, "{object:?} of W{version} lands at P{slot}"),
            Self::Repair { version, slot } => {
                write!(f, "repair writes the next object of W{version} at P{slot}")
            }
            Self::Wipe => write!(f, "P0 is wiped"),
            Self::RefillBegins => write!(f, "the refill of P0 begins"),
            Self::Relist { slot } => write!(f, "the refill lists P{slot}"),
            Self::WriteCanary => write!(f, "the canary of P0 is written"),
            Self::Hide { version } => write!(f, "a gateway notes that W{version} was never committed"),
            Self::Retire { version } => write!(f, "retention sends DELETEs for W{version}"),
            Self::Remove { slot, version, object } => {
                write!(f, "the DELETE of {object:?} of W{version} takes effect at P{slot}")
            }
            Self::Age => write!(f, "the retention time passes"),
            Self::ReadList { slot } => write!(f, "a reader lists the names at P{slot}"),
        }
    }
}

/// Puts the possible steps into `into`.
pub(crate) fn possible(setting: &Setting, state: &State, into: &mut Vec<Action>) {
    into.clear();
    for (writer, kind) in setting.writes.iter().enumerate() {
        writes(setting, state, writer, *kind, into);
        lands(state, writer, *kind, into);
    }
    if setting.wipe || setting.ages {
        repairs(setting, state, into);
    }
    if setting.wipe {
        refills(setting, state, into);
    }
    if setting.retention || setting.gives_up {
        retires(setting, state, into);
    }
    if setting.ages && state.acknowledged != 0 && begun(setting, state) & !state.aged != 0 {
        into.push(Action::Age);
    }
    for version in 0..setting.writes.len() {
        if setting.hides && !has(state.hidden, version) && read::may_be_hidden(setting, state, version) {
            into.push(Action::Hide { version });
        }
    }
    for slot in 0..PROVIDERS {
        if setting.reads_stepwise
            && !state.providers[slot].read
            && answers(state, slot, setting.design.read_proof)
        {
            into.push(Action::ReadList { slot });
        }
    }
}

/// Tells whether a listing may be taken from a provider: without a canary only where that is looked at later.
fn answers(state: &State, slot: usize, proof: Proof) -> bool {
    state.providers[slot].canary || proof != Proof::Same
}

/// Returns the versions whose writers have begun.
pub(crate) fn begun(setting: &Setting, state: &State) -> u8 {
    let begun = (0..setting.writes.len()).filter(|writer| state.writers[*writer].phase != Phase::Idle);
    begun.fold(0, |set, writer| set | only(writer))
}

fn writes(setting: &Setting, state: &State, writer: usize, kind: Kind, into: &mut Vec<Action>) {
    let own = &state.writers[writer];
    if own.phase == Phase::Idle {
        if setting.survey_at_once {
            into.extend((0..PROVIDERS).map(|left_out| Action::BeginAndSurvey { writer, left_out }));
        } else {
            into.push(Action::Begin { writer });
        }
    }
    if own.phase != Phase::Begun || has(state.aged, writer) {
        return;
    }
    let proof = setting.design.survey_proof;
    let surveyed = state.count(|provider| has(provider.surveyed, writer));
    if surveyed < MAJORITY {
        let asked = |slot: &usize| has(state.providers[*slot].surveyed, writer);
        let slots = (0..PROVIDERS).filter(|slot| !asked(slot) && answers(state, *slot, proof));
        into.extend(slots.map(|slot| Action::Survey { writer, slot }));
    } else if proof != Proof::After || state.count(|p| has(p.surveyed, writer) && p.canary) >= MAJORITY {
        commits(setting, state, writer, kind, into);
    }
    if setting.gives_up && kind == Kind::Put {
        into.push(Action::GiveUp { writer });
    }
}

fn commits(setting: &Setting, state: &State, writer: usize, kind: Kind, into: &mut Vec<Action>) {
    let own = &state.writers[writer];
    if kind == Kind::Del {
        let tombstone = |floor: u8| setting.writes[usize::from(floor)] == Kind::Del;
        let enough = usize::from(own.floor_copies) >= MAJORITY;
        if own.floor.is_none_or(|floor| tombstone(floor) && enough) {
            return into.push(Action::Gone { writer });
        }
    } else if state.count(|provider| provider.levels[writer] >= 1) < setting.design.bytes_before_record {
        return;
    }
    let seen = if setting.design.stamp_after_survey { state.rank(own.floor) } else { 0 };
    let past =
        if setting.ages && setting.design.clocks_catch_up { state.rank(state.newest(state.aged)) } else { 0 };
    let stamps = state.writers.iter().map(|writer| writer.rank).max().unwrap_or(0);
    into.extend((seen.max(past) + 1..=stamps + 1).map(|place| Action::Commit { writer, place }));
}

fn lands(state: &State, version: usize, kind: Kind, into: &mut Vec<Action>) {
    let phase = state.writers[version].phase;
    if phase == Phase::Idle || has(state.aged, version) {
        return;
    }
    for slot in 0..PROVIDERS {
        let provider = &state.providers[slot];
        let level = provider.levels[version];
        let committed = phase == Phase::Committed;
        if kind == Kind::Put && !has(provider.bytes, version) {
            into.push(Action::Land { slot, version, object: Object::Bytes });
        }
        if committed && level >= 1 && !has(provider.records, version) {
            into.push(Action::Land { slot, version, object: Object::Record });
        }
        if committed && level >= 2 && !has(provider.feed, version) {
            into.push(Action::Land { slot, version, object: Object::Feed });
        }
    }
}

/// Repair of what has a record somewhere, and bytes. A copy with a feed entry counts as complete, but at a
/// provider that is refilled by a look at its objects.
///
/// Without a wipe and without ageing this is left out: what repair could write, a late PUT of the writer can.
fn repairs(setting: &Setting, state: &State, into: &mut Vec<Action>) {
    let sources = state.bytes() | !setting.puts();
    let known = state.records() & sources;
    for slot in 0..PROVIDERS {
        let provider = &state.providers[slot];
        if !provider.canary && !state.refill.begun {
            continue;
        }
        let whole = provider.records & (provider.bytes | !setting.puts());
        let claimed = if !provider.canary && setting.design.refill_looks_at_objects {
            provider.feed & whole
        } else {
            provider.feed & (whole | !old_uploads(setting, state, slot))
        };
        let lacking = known & !claimed;
        let versions = (0..setting.writes.len()).filter(|version| has(lacking, *version));
        into.extend(versions.map(|version| Action::Repair { version, slot }));
    }
}

/// Returns the versions that began before a provider's canary was written, where that makes a difference.
pub(crate) fn old_uploads(setting: &Setting, state: &State, slot: usize) -> Versions {
    if setting.design.old_uploads_doubted && slot == 0 && state.wiped { state.before_wipe } else { 0 }
}

fn refills(setting: &Setting, state: &State, into: &mut Vec<Action>) {
    let own = &state.providers[0];
    if !state.wiped {
        into.push(Action::Wipe);
    }
    if own.canary {
        return;
    }
    if !state.refill.begun {
        return into.push(Action::RefillBegins);
    }
    for slot in 1..PROVIDERS {
        if state.providers[slot].canary && !state.providers[slot].relisted {
            into.push(Action::Relist { slot });
        }
    }
    let made = own.feed & state.refill.known;
    let made = match setting.design.refill_looks_at_objects {
        true => made & own.records & (own.bytes | !setting.puts()),
        false => made,
    };
    // What nobody has the bytes of is hopeless, and holds nothing up.
    let makeable = state.refill.known & (state.bytes() | !setting.puts());
    let listed = state.count(|provider| provider.relisted) == PROVIDERS - 1;
    if (listed && makeable & !made == 0) || !setting.design.canary_after_refill {
        into.push(Action::WriteCanary);
    }
}

fn retires(setting: &Setting, state: &State, into: &mut Vec<Action>) {
    for version in 0..setting.writes.len() {
        if has(state.doomed, version) {
            for slot in 0..PROVIDERS {
                let mut provider = state.providers[slot];
                for object in [Object::Bytes, Object::Record, Object::Feed] {
                    if has(*provider.objects(object), version) {
                        into.push(Action::Remove { slot, version, object });
                    }
                }
            }
        } else if setting.retention
            && has(state.records(), version)
            && (is_superseded(state, version) || is_tombstone_over(setting, state, version))
        {
            into.push(Action::Retire { version });
        }
    }
}

/// Tells whether a majority of trusted providers holds something newer completely.
fn is_superseded(state: &State, version: usize) -> bool {
    let rank = state.writers[version].rank;
    let newer = |newer: usize| {
        let copies = state.count(|provider| provider.canary && has(provider.feed, newer));
        state.writers[newer].rank > rank && copies >= MAJORITY
    };
    (0..state.writers.len()).any(newer)
}

fn is_tombstone_over(setting: &Setting, state: &State, version: usize) -> bool {
    if setting.writes[version] != Kind::Del {
        return false;
    }
    let rank = state.writers[version].rank;
    let older = |other: &usize| *other != version && state.writers[*other].rank <= rank;
    let older = (0..setting.writes.len()).filter(older).fold(0, |set, older| set | only(older));
    let unanimous = state.count(|provider| {
        let nothing_older = older & (provider.bytes | provider.records | provider.feed) == 0;
        provider.canary && has(provider.feed, version) && nothing_older
    }) == PROVIDERS;
    let old = (begun(setting, state) & older | only(version)) & !state.aged == 0;
    match setting.design.tombstone_goes {
        TombstoneGoes::UnanimousProof => unanimous && old,
        TombstoneGoes::ProofAmidOldRequests => unanimous,
        TombstoneGoes::Time => old,
    }
}

/// Tells whether the refill waits until the old writes have ended.
pub(crate) fn refill_waits(setting: &Setting) -> bool {
    setting.design.refill_begins == RefillBegins::WhenOldWritesEnded
}

/// Tells whether anybody asks which writes began before the wipe.
pub(crate) fn remembers_old_writes(setting: &Setting) -> bool {
    refill_waits(setting)
        || setting.design.old_uploads_doubted
        || setting.design.counted == Counted::SameCanary
}
