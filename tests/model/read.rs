//! The cold read: `read::resolve` and the proof that a version was never committed.

use super::action::old_uploads;
use super::property;
use super::setting::{Lacking, Setting};
use super::state::{Kind, MAJORITY, Provider, State, Versions, has};

/// Tells whether a read may pass a listed version over: a trusted majority proves to lack it. Those who hold it
/// may fail to answer, so that nobody delivers what those who answer lack.
pub(crate) fn is_proved_uncommitted(setting: &Setting, state: &State, version: usize) -> bool {
    let lacks = |(slot, provider): &(usize, &Provider)| {
        let in_doubt = has(old_uploads(setting, state, *slot), version);
        provider.canary && !has(provider.bytes, version) && !in_doubt
    };
    let lacking = state.providers.iter().enumerate().filter(lacks).count();
    let bytes = has(setting.puts(), version) && lacking >= MAJORITY;
    match setting.design.lacking {
        Lacking::Bytes => bytes,
        Lacking::BytesOrRecord => {
            bytes || state.count(|provider| provider.canary && !has(provider.records, version)) >= MAJORITY
        }
    }
}

/// Tells whether a gateway may note that a version was never committed: it was listed, and is proved lacking.
pub(crate) fn may_be_hidden(setting: &Setting, state: &State, version: usize) -> bool {
    has(state.records(), version) && is_proved_uncommitted(setting, state, version)
}

/// Says what is wrong with the answer of a read that saw the records `seen` and began when `after` was the
/// newest acknowledged version. The reader takes the newest version that it may not pass over.
///
/// With the listings known, whether a provider that holds a version delivers it only decides between that
/// version and "unavailable"; the worst case is passing over whatever may be passed over.
pub(crate) fn judge(
    setting: &Setting,
    state: &State,
    seen: Versions,
    after: Option<u8>,
) -> Option<&'static str> {
    let after = after?;
    let rank = state.rank(Some(after));
    let mut older_put = false;
    for version in 0..setting.writes.len() {
        if !has(seen, version) {
            continue;
        }
        let passed = has(state.hidden, version) || is_proved_uncommitted(setting, state, version);
        if state.writers[version].rank >= rank && !passed {
            return None;
        }
        older_put |= state.writers[version].rank < rank && setting.writes[version] == Kind::Put;
    }
    match (setting.writes[usize::from(after)], older_put) {
        (Kind::Put, true) => Some(property::STALE),
        (Kind::Put, false) => Some(property::FALSE_404),
        (Kind::Del, true) => Some(property::RESURRECTED),
        (Kind::Del, false) => None,
    }
}
