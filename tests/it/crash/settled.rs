//! What lies on the providers once things settled: equal copies, compared directly, byte by byte.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::StreamExt;
use futures::stream;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::ledger::{Ledger, Write};
use crate::support::copies::open;
use crate::support::provider::{Provider, Trio};

/// A copy that was cut short is left alone while it is young, and made in a later step of repair.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);
/// Between two listings of everything.
const LISTED_EVERY: Duration = Duration::from_secs(2);
/// How many objects are read at once.
const READS_AT_ONCE: usize = 8;

/// Which versions are there once things settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// All of them: nothing is removed while a test lasts.
    All,
    /// The newest of each name: the others were removed, with all that was theirs but a feed entry here and there, which
    /// only a sweep finds.
    Newest,
}

/// One version as its record's key tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The hash of the name.
    pub name: String,
    /// `<order>-<upload>`.
    pub version: String,
    /// `put` or `del`.
    pub kind: String,
}

/// The keys of one provider that belong to records, and the versions that its feed calls complete.
#[derive(Debug, PartialEq, Eq)]
struct Holding {
    keys: BTreeSet<String>,
    complete: BTreeSet<Version>,
}

/// Waits until all providers hold the same, and of old versions no more than they shall; compares the bytes of
/// all objects that belong to records, and checks each record against the ledger. Returns the newest version of
/// each name's hash.
pub async fn assert_settled(trio: &Trio, ledger: &Ledger, kept: Kept) -> BTreeMap<String, Version> {
    let [first, ..] = trio.all();
    let keys = equal_keys(trio, kept).await;
    for provider in &trio.all()[1..] {
        let pairs = stream::iter(keys.iter()).map(async |key| {
            let (own, other) = tokio::join!(first.get(key), provider.get(key));
            (key, own.is_some() && own == other)
        });
        let unequal: Vec<_> = pairs
            .buffer_unordered(READS_AT_ONCE)
            .filter(|(_, equal)| std::future::ready(!equal))
            .collect()
            .await;
        assert!(unequal.is_empty(), "{}: {unequal:?}", provider.name());
    }
    let records: Vec<_> = keys.iter().filter_map(|key| Some((key, version_of(key)?))).collect();
    let read = stream::iter(records).map(async |(key, version)| (version, first.get(key).await, key));
    let read: Vec<_> = read.buffer_unordered(READS_AT_ONCE).collect().await;
    let mut newest: BTreeMap<String, Version> = BTreeMap::new();
    for (version, sealed, key) in read {
        let record = open(&sealed.expect("a listed record"), key);
        assert_written(first, &keys, ledger, &version, &record).await;
        let entry = newest.entry(version.name.clone()).or_insert_with(|| version.clone());
        if entry.version < version.version {
            *entry = version;
        }
    }
    assert_acknowledged(&keys, ledger, kept, &newest);
    newest
}

/// Waits until all providers hold the same objects, all of them complete, and returns their keys.
async fn equal_keys(trio: &Trio, kept: Kept) -> BTreeSet<String> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        let mut holdings = Vec::new();
        for provider in trio.all() {
            holdings.push(holding(provider, kept).await);
        }
        let equal = holdings.windows(2).all(|pair| pair[0] == pair[1]);
        if equal && holdings[0].is_complete() && (kept == Kept::All || holdings[0].has_newest_alone()) {
            return holdings.remove(0).keys;
        }
        let all: BTreeSet<_> = holdings.iter().flat_map(|holding| holding.keys.clone()).collect();
        let lacks = holdings.iter().zip(trio.all()).map(|(holding, provider)| {
            let lacking: Vec<_> = all.difference(&holding.keys).collect();
            let last: Vec<_> = lacking.iter().rev().take(5).collect();
            let (versions, complete) = (holding.versions().len(), holding.complete.len());
            let lacks = lacking.len();
            format!(
                "{}: {versions} versions, {complete} complete, lacks {lacks}, such as {last:?}",
                provider.name()
            )
        });
        let lacks: Vec<_> = lacks.collect();
        assert!(Instant::now() < deadline, "unequal after {SETTLED_WITHIN:?}: {lacks:#?}");
        // Listing everything is no small thing for the servers.
        tokio::time::sleep(LISTED_EVERY).await;
    }
}

/// Every record is that of a write which somebody made, with its bytes.
async fn assert_written(
    provider: &Provider,
    keys: &BTreeSet<String>,
    ledger: &Ledger,
    version: &Version,
    record: &Value,
) {
    let name = record["name"].as_str().expect("a name");
    assert_eq!(blake3::hash(name.as_bytes()).to_string(), version.name);
    if version.kind == "del" {
        let deletes = ledger.writes().iter().filter(|write| write.name == name && write.hash.is_none());
        assert!(deletes.filter(|write| write.may_show()).count() > 0, "nobody deleted {name}: {version:?}");
        return;
    }
    let hash = record["blake3"].as_str().expect("a hash");
    let write = ledger.write_of(hash).unwrap_or_else(|| panic!("nobody wrote {record}"));
    assert!(write.may_show() && write.name == name, "{write:?} became {record}");
    assert!(write.version().is_none_or(|acked| acked == version.version), "{write:?} became {record}");
    let folder = format!("/{}/", record["upload"].as_str().expect("an upload"));
    let parts = keys.iter().filter(|key| key.contains(&folder) && !key.ends_with("/blocks"));
    let (mut hasher, mut all) = (blake3::Hasher::new(), Vec::new());
    for key in parts {
        let part: Bytes = provider.get(key).await.expect("a listed part");
        hasher.update(&part);
        all.extend_from_slice(&part);
    }
    assert_eq!(hasher.finalize().to_string(), hash, "the bytes of {record}");
    assert_eq!(HEXLOWER.encode(digest(&SHA256, &all).as_ref()), record["sha256"], "the bytes of {record}");
}

/// Every acknowledged write has its record, or where old versions go, the name has a newer one.
fn assert_acknowledged(
    keys: &BTreeSet<String>,
    ledger: &Ledger,
    kept: Kept,
    newest: &BTreeMap<String, Version>,
) {
    let there: BTreeSet<String> = keys.iter().filter_map(|key| Some(version_of(key)?.version)).collect();
    let is_lost = |write: &&Write| {
        let Some(version) = write.version() else { return false };
        let superseded = || {
            let name = blake3::hash(write.name.as_bytes()).to_string();
            newest.get(&name).is_some_and(|newest| newest.version.as_str() > version)
        };
        !there.contains(version) && (kept == Kept::All || !superseded())
    };
    let lost: Vec<_> = ledger.writes().iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

impl Holding {
    fn versions(&self) -> BTreeSet<Version> {
        self.keys.iter().filter_map(|key| version_of(key)).collect()
    }

    fn is_complete(&self) -> bool {
        self.versions() == self.complete
    }

    fn has_newest_alone(&self) -> bool {
        let versions = self.versions();
        let names: BTreeSet<_> = versions.iter().map(|version| &version.name).collect();
        names.len() == versions.len()
    }
}

/// Bytes without a record are nobody's yet, or orphans.
async fn holding(provider: &Provider, kept: Kept) -> Holding {
    let all = provider.keys().await;
    let uploads: BTreeSet<String> =
        all.iter().filter_map(|key| version_of(key)).map(|version| upload(&version)).collect();
    let recorded = |key: &String| {
        let blob = key.strip_prefix("blobs/").and_then(|key| key.split('/').nth(1));
        key.starts_with("names/") || blob.is_some_and(|upload| uploads.contains(upload))
    };
    let mut held = Holding {
        complete: all.iter().filter_map(|key| fed(key)).collect(),
        keys: all.iter().filter(|key| recorded(key)).cloned().collect(),
    };
    if kept == Kept::Newest {
        let versions = held.versions();
        held.complete.retain(|version| {
            let newer = |other: &&Version| other.name == version.name && other.version > version.version;
            versions.contains(version) || !versions.iter().any(|other| newer(&other))
        });
    }
    held
}

fn upload(version: &Version) -> String {
    version.version.split_once('-').map_or("", |(_, upload)| upload).to_owned()
}

/// Returns the objects of uploads of which no record speaks.
pub async fn blobs_without_record(provider: &Provider) -> Vec<String> {
    let all = provider.keys().await;
    let uploads: BTreeSet<String> =
        all.iter().filter_map(|key| version_of(key)).map(|version| upload(&version)).collect();
    let of = |key: &str| Some(key.strip_prefix("blobs/")?.split('/').nth(1)?.to_owned());
    all.into_iter().filter(|key| of(key).is_some_and(|upload| !uploads.contains(&upload))).collect()
}

/// Returns, of the keys of a provider, those of bytes and feed entries of which no record speaks.
pub fn orphans(all: &BTreeSet<String>) -> BTreeSet<String> {
    let versions: BTreeSet<Version> = all.iter().filter_map(|key| version_of(key)).collect();
    let uploads: BTreeSet<String> = versions.iter().map(upload).collect();
    let is_orphan = |key: &&String| match key.strip_prefix("blobs/") {
        Some(blob) => blob.split('/').nth(1).is_some_and(|upload| !uploads.contains(upload)),
        None => fed(key).is_some_and(|version| !versions.contains(&version)),
    };
    all.iter().filter(is_orphan).cloned().collect()
}

/// Reads the key of a feed entry.
fn fed(key: &str) -> Option<Version> {
    let (version, rest) = key.strip_prefix("feed/")?.split_once('/')?.1.split_once('.')?;
    let (name, kind) = rest.split_once('.')?;
    Some(Version { name: name.to_owned(), version: version.to_owned(), kind: kind.to_owned() })
}

/// Reads the key of a record.
fn version_of(key: &str) -> Option<Version> {
    let mut folders = key.strip_prefix("names/")?.split('/').skip(1);
    let (name, file) = (folders.next()?, folders.next()?);
    let (version, kind) = file.rsplit_once('.')?;
    let (inverted, upload) = version.split_once('-')?;
    let order = !u64::from_str_radix(inverted, 16).ok()?;
    Some(Version { name: name.to_owned(), version: format!("{order:016x}-{upload}"), kind: kind.to_owned() })
}
