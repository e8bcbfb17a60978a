//! The end of a run: everything heals, time passes, and what is left must be the same everywhere.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use triplicate::asset::key::{self, KeyKind};
use triplicate::asset::{Kind, NameHash, Record, UploadId, Version};

use crate::checker::Violation;
use crate::history::{Op, Told};
use crate::keep::Keep;
use crate::nemesis::Nemesis;
use crate::server::Server;
use crate::stack::KEY;
use crate::world::World;

/// Compares the providers with each other and with what was acknowledged. What was damaged or lost at rest at
/// one of them may still be so: nobody may have read it, and no audit ran. Likewise where buckets were swapped:
/// what was sent to one may lie in the other.
pub fn compare(world: &World, history: &[Op], nemesis: &Nemesis, keep: Keep) -> Vec<Violation> {
    let (mut wrong, damaged) = (Vec::new(), nemesis.damaged);
    let keys: Vec<BTreeSet<String>> =
        world.servers.iter().map(|server| server.keys().into_iter().collect()).collect();
    let all: BTreeSet<&String> = keys.iter().flatten().collect();
    let blobs = blobs(&all);
    // What was never acknowledged, and landed so late that it has no feed entry, sleeps until somebody lists it.
    let fed: BTreeSet<_> = all.iter().filter_map(|key| fed(key)).collect();
    let mut records = BTreeSet::new();
    for key in &all {
        let Some(KeyKind::Record { version, kind, .. }) = key::parse(key) else { continue };
        records.insert(version);
        if !fed.contains(&version) {
            continue;
        }
        let blob = blobs.get(&version.upload).cloned().unwrap_or_default();
        // What nobody has the bytes for cannot be copied: an upload that a crash cut short.
        if kind == Kind::Put && !is_complete_somewhere(world, key, &blob) {
            continue;
        }
        for key in blob.iter().copied().chain([*key]) {
            let stored: Vec<_> = world.servers.iter().map(|server| server.stored(key)).collect();
            let sound: Vec<_> = stored.iter().enumerate().filter(|(at, _)| Some(*at) != damaged).collect();
            // Retention leaves alone what it cannot see whole, such as a copy whose feed entry was lost at rest.
            let some = |copy: &Option<_>| copy.is_some() || keep.0.is_some();
            let same = sound.iter().all(|(_, copy)| some(copy) && *copy == sound[0].1);
            let copies = stored.iter().filter(|copy| copy.is_some()).count();
            if (same && damaged.is_some()) || (nemesis.swapped && copies > stored.len() / 2) {
                continue;
            }
            if stored.iter().any(|copy| copy.is_none()) {
                let lacking = stored.iter().map(|copy| u8::from(copy.is_some())).collect::<Vec<_>>();
                wrong.push(violation(format!("not everybody has {key}: {lacking:?}")));
            } else if stored.iter().any(|copy| *copy != stored[0]) {
                wrong.push(violation(format!("copies of {key} differ")));
            }
        }
    }
    for op in history {
        let Told::Stored(version) = op.told else { continue };
        if records.contains(&version) {
            continue;
        }
        let of_name: Vec<_> = history.iter().filter(|other| other.name == op.name).collect();
        if !keep.may_be_gone(version, Instant::now(), &of_name) {
            wrong.push(Violation { name: Some(op.name), text: format!("{version} of {} is lost", op.id) });
        }
    }
    wrong
}

/// Tells what is left at the providers that should have gone long ago: superseded versions, lone tombstones,
/// bytes and feed entries without a record.
pub fn leftovers(world: &World, nemesis: &Nemesis) -> Vec<Violation> {
    let sound = world.servers.iter().enumerate().filter(|(at, _)| Some(*at) != nemesis.damaged);
    // A tombstone that one provider lost at rest stays with the others until an audit finds that.
    sound.flat_map(|(_, server)| leftovers_at(server, nemesis.damaged.is_some())).collect()
}

fn leftovers_at(server: &Server, lost: bool) -> Vec<Violation> {
    let keys = server.keys();
    let mut records: BTreeMap<NameHash, BTreeMap<Version, Kind>> = BTreeMap::new();
    for key in &keys {
        if let Some(KeyKind::Record { name, version, kind }) = key::parse(key) {
            records.entry(name).or_default().insert(version, kind);
        }
    }
    let all = || records.values().flatten();
    let uploads: BTreeSet<_> = all().map(|(version, _)| version.upload).collect();
    let mut wrong = Vec::new();
    for (name, versions) in &records {
        let is_one_put = versions.len() == 1 && (lost || versions.values().all(|kind| *kind == Kind::Put));
        if !is_one_put {
            wrong.push(format!("{} still has {versions:?} of {name}", server.name));
        }
    }
    wrong.extend(keys.iter().filter_map(|key| match key::parse(key)? {
        KeyKind::Part { upload, .. } | KeyKind::Blocks { upload } if !uploads.contains(&upload) => {
            Some(format!("{} still has {key}, of which no record speaks", server.name))
        }
        KeyKind::Feed { name, version, .. }
            if !records.get(&name).is_some_and(|versions| versions.contains_key(&version)) =>
        {
            Some(format!("{} still has {key}, whose record is gone", server.name))
        }
        _ => None,
    }));
    wrong.into_iter().map(violation).collect()
}

/// Compares what the gateways read of a name at the end. A write of unknown outcome may have had its only record at
/// the provider that was destroyed, and may live on in the index of one gateway.
pub fn agree(name: usize, last: &[Told], history: &[Op], nemesis: &Nemesis) -> Option<Violation> {
    let unknown = |told: &Told| match told {
        Told::Read { by, .. } => !matches!(history[usize::try_from(*by).unwrap()].told, Told::Stored(_)),
        _ => false,
    };
    let may_differ = nemesis.has_destroyed() && last.iter().any(unknown);
    let differ = last.iter().any(|told| *told != last[0]) && !may_differ;
    let text = format!("in the end the gateways do not agree: {last:?}");
    differ.then_some(Violation { name: Some(name), text })
}

fn fed(key: &str) -> Option<Version> {
    match key::parse(key) {
        Some(KeyKind::Feed { version, .. }) => Some(version),
        _ => None,
    }
}

fn violation(text: String) -> Violation {
    Violation { name: None, text }
}

/// Returns the keys of each upload's bytes.
fn blobs<'a>(all: &BTreeSet<&'a String>) -> BTreeMap<UploadId, Vec<&'a String>> {
    let mut blobs: BTreeMap<UploadId, Vec<&String>> = BTreeMap::new();
    for key in all {
        if let Some(KeyKind::Part { upload, .. } | KeyKind::Blocks { upload }) = key::parse(key) {
            blobs.entry(upload).or_default().push(key);
        }
    }
    blobs
}

fn is_complete_somewhere(world: &World, record: &str, blob: &[&String]) -> bool {
    let Some(at) = key::parse(record).map(|kind| kind.key()) else { return false };
    let sealed = world.servers.iter().find_map(|server| server.stored(record));
    let size = sealed.and_then(|sealed| Record::open(&sealed, &KEY, &at).ok()).and_then(|record| {
        let put = record.put?;
        Some(put.size)
    });
    let Some(size) = size else { return false };
    world.servers.iter().any(|server| {
        let parts = blob.iter().filter(|key| !key.ends_with("blocks"));
        let bytes = parts.filter_map(|key| server.stored(key)).map(|part| part.len() as u64).sum::<u64>();
        let wants_list = size > 65_536;
        let has_list = blob.iter().any(|key| key.ends_with("blocks") && server.stored(key).is_some());
        bytes == size && (has_list || !wants_list)
    })
}
