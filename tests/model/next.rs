//! What each step does to the world.

use super::action::{Action, begun, refill_waits, remembers_old_writes};
use super::property;
use super::read;
use super::setting::{Counted, Proof, Setting};
use super::state::{
    Kind, MAJORITY, Object, PROVIDERS, Phase, Provider, Reader, Refill, State, Versions, has, only,
};

/// Returns the world after one step.
pub(crate) fn next(setting: &Setting, state: &State, action: Action) -> State {
    let mut next = *state;
    match action {
        Action::Begin { writer } => begin(&mut next, writer),
        Action::BeginAndSurvey { writer, left_out } => {
            begin(&mut next, writer);
            (0..PROVIDERS).filter(|slot| *slot != left_out).for_each(|slot| survey(&mut next, writer, slot));
        }
        Action::Survey { writer, slot } => survey(&mut next, writer, slot),
        Action::Commit { writer, place } => commit(setting, &mut next, writer, place),
        Action::Gone { writer } => gone(setting, &mut next, writer),
        Action::GiveUp { writer } => {
            end(&mut next, writer);
            next.doomed |= only(writer);
        }
        Action::Land { slot, version, object } => {
            put(setting, &mut next, slot, version, object);
            answer(setting, &mut next, version);
        }
        Action::Repair { version, slot } => {
            let object = lacking(setting, &next.providers[slot], version);
            put(setting, &mut next, slot, version, object);
            answer(setting, &mut next, version);
        }
        Action::Wipe => wipe(setting, &mut next),
        Action::RefillBegins => {
            let known = next.providers[0].records;
            next.refill = Refill { begun: true, known, ..Refill::default() };
            if refill_waits(setting) {
                next.aged |= next.before_wipe;
            }
        }
        Action::Relist { slot } => {
            next.providers[slot].relisted = true;
            next.refill.known |= next.providers[slot].records;
        }
        Action::WriteCanary => {
            next.providers[0].canary = true;
            next.refill = Refill::default();
            next.providers.iter_mut().for_each(|provider| provider.relisted = false);
        }
        Action::Hide { version } => next.hidden |= only(version),
        Action::Retire { version } => next.doomed |= only(version),
        Action::Remove { slot, version, object } => {
            *next.providers[slot].objects(object) &= !only(version);
        }
        Action::Age => next.aged |= begun(setting, &next),
        Action::ReadList { slot } => read_list(setting, &mut next, slot),
    }
    next
}

fn begin(state: &mut State, writer: usize) {
    state.writers[writer].phase = Phase::Begun;
    state.writers[writer].after = state.newest(state.acknowledged);
}

/// Joins one listing with what the survey saw before, and counts who lists the newest version.
fn survey(state: &mut State, writer: usize, slot: usize) {
    let listed = state.providers[slot].records;
    let (here, before) = (state.newest(listed), state.writers[writer].floor);
    let own = &mut state.writers[writer];
    if let Some(floor) = before
        && has(listed, usize::from(floor))
    {
        own.floor_copies += 1;
    }
    let newer = here.is_some() && (before.is_none() || before != here);
    if newer && state.rank(here) > state.rank(before) {
        let own = &mut state.writers[writer];
        (own.floor, own.floor_copies) = (here, 1);
    }
    state.providers[slot].surveyed |= only(writer);
}

/// Gives a stamp its place; those above move up.
fn commit(setting: &Setting, state: &mut State, writer: usize, place: u8) {
    for other in &mut state.writers {
        other.rank += u8::from(other.rank >= place);
    }
    state.writers[writer].rank = place;
    let after = state.writers[writer].after;
    if binds(state, after) && state.rank(after) > place {
        state.broken = Some(property::ORDER);
    }
    if setting.writes[writer] == Kind::Del {
        // It has no bytes to wait for.
        state.providers.iter_mut().for_each(|provider| provider.levels[writer] = 1);
    }
    forget_survey(state, writer);
    state.writers[writer].phase = Phase::Committed;
}

/// Tells whether a write must come after what was acknowledged before it began. What has been superseded
/// since, by an acknowledged version, and is on its way out binds nobody: that version wins over both.
fn binds(state: &State, after: Option<u8>) -> bool {
    let newest = state.rank(state.newest(state.acknowledged));
    after.is_some_and(|it| !has(state.doomed, usize::from(it)) || state.rank(after) == newest)
}

/// Answers a delete that found nothing, or a tombstone that a majority lists and that therefore stays.
fn gone(setting: &Setting, state: &mut State, writer: usize) {
    let own = state.writers[writer];
    if let Some(floor) = own.floor {
        state.acknowledged |= only(usize::from(floor));
    }
    let bytes_before = own.after.is_some_and(|after| setting.writes[usize::from(after)] == Kind::Put);
    if bytes_before && binds(state, own.after) && state.rank(own.after) > state.rank(own.floor) {
        state.broken = Some(property::GONE);
    }
    end(state, writer);
}

fn end(state: &mut State, writer: usize) {
    forget_survey(state, writer);
    state.writers[writer].phase = Phase::Ended;
}

/// What nobody looks at any more would only tell states apart.
fn forget_survey(state: &mut State, writer: usize) {
    let own = &mut state.writers[writer];
    (own.floor, own.floor_copies, own.after) = (None, 0, None);
    state.providers.iter_mut().for_each(|provider| provider.surveyed &= !only(writer));
}

fn put(setting: &Setting, state: &mut State, slot: usize, version: usize, object: Object) {
    let provider = &mut state.providers[slot];
    if !setting.design.write_once && object == Object::Record {
        let others: Versions = !only(version);
        (provider.bytes, provider.records, provider.feed) =
            (provider.bytes & !others, provider.records & !others, provider.feed & !others);
    }
    *provider.objects(object) |= only(version);
    provider.levels[version] = provider.levels[version].max(object as u8 + 1);
}

/// Answers the client as soon as that is possible. An answer that comes later asks for less, so the earliest
/// one stands for all. What repair completed at a majority has happened as well, though nobody was told.
fn answer(setting: &Setting, state: &mut State, version: usize) {
    let changed = |slot: usize| slot == 0 && state.wiped && has(state.before_wipe, version);
    let counts = |slot: &usize| {
        let complete = state.providers[*slot].levels[version] == 3;
        complete && !(setting.design.counted == Counted::SameCanary && changed(*slot))
    };
    let confirmed = (0..PROVIDERS).filter(counts).count();
    let waits = state.writers[version].phase == Phase::Committed && !has(state.aged, version);
    let copies = state.count(|provider| {
        provider.canary && has(provider.feed & property::complete(setting, provider), version)
    });
    if (waits && confirmed >= setting.design.copies_before_answer) || copies >= MAJORITY {
        state.acknowledged |= only(version);
    }
}

/// Returns the first object that a copy lacks.
fn lacking(setting: &Setting, provider: &Provider, version: usize) -> Object {
    if has(setting.puts() & !provider.bytes, version) {
        Object::Bytes
    } else if has(!provider.records, version) {
        Object::Record
    } else {
        Object::Feed
    }
}

fn wipe(setting: &Setting, state: &mut State) {
    state.wiped = true;
    // Where nobody asks for it, it would only tell states apart.
    state.before_wipe = if remembers_old_writes(setting) { begun(setting, state) } else { 0 };
    let own = &mut state.providers[0];
    (own.bytes, own.records, own.feed, own.canary) = (0, 0, 0, false);
}

fn read_list(setting: &Setting, state: &mut State, slot: usize) {
    if !state.reader.open {
        state.reader = Reader { open: true, seen: 0, after: state.newest(state.acknowledged) };
    }
    state.reader.seen |= state.providers[slot].records;
    state.providers[slot].read = true;
    if state.count(|provider| provider.read) < setting.design.listings_of_read.min(MAJORITY) {
        return;
    }
    let proved = setting.design.read_proof != Proof::After
        || state.count(|provider| provider.read && provider.canary) >= MAJORITY;
    if proved {
        state.broken = read::judge(setting, state, state.reader.seen, state.reader.after);
    }
    state.reader = Reader::default();
    state.providers.iter_mut().for_each(|provider| provider.read = false);
}
