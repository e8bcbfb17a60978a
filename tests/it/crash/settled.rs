//! What lies on the providers once things settled: equal copies, compared directly, byte by byte.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::StreamExt;
use futures::stream;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::ledger::Ledger;
use crate::support::copies::open;
use crate::support::provider::{Provider, Trio};

/// A copy that was cut short is left alone while it is young, and made in a later step of repair.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);
/// Between two listings of everything.
const LISTED_EVERY: Duration = Duration::from_secs(2);
/// How many objects are read at once.
const READS_AT_ONCE: usize = 8;

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

/// Waits until all providers hold the same, compares the bytes of all objects that belong to records, and checks
/// each record against the ledger. Returns the newest version of each name's hash.
pub async fn assert_settled(trio: &Trio, ledger: &Ledger) -> BTreeMap<String, Version> {
    let [first, ..] = trio.all();
    let keys = equal_keys(trio).await;
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
    assert_acknowledged(&keys, ledger);
    newest
}

/// Waits until all providers hold the same objects, all of them complete, and returns their keys.
async fn equal_keys(trio: &Trio) -> BTreeSet<String> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        let mut holdings = Vec::new();
        for provider in trio.all() {
            holdings.push(holding(provider).await);
        }
        if holdings.windows(2).all(|pair| pair[0] == pair[1]) && is_complete(&holdings[0]) {
            return holdings.remove(0).keys;
        }
        let all: BTreeSet<_> = holdings.iter().flat_map(|holding| holding.keys.clone()).collect();
        let lacks = holdings.iter().zip(trio.all()).map(|(holding, provider)| {
            let lacking: Vec<_> = all.difference(&holding.keys).collect();
            let last: Vec<_> = lacking.iter().rev().take(5).collect();
            let (complete, lacks) = (holding.complete.len(), lacking.len());
            format!("{}: {complete} complete, lacks {lacks}, such as {last:?}", provider.name())
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

/// Every acknowledged write has its record.
fn assert_acknowledged(keys: &BTreeSet<String>, ledger: &Ledger) {
    let there: BTreeSet<String> = keys.iter().filter_map(|key| Some(version_of(key)?.version)).collect();
    let lost = ledger
        .writes()
        .iter()
        .filter(|write| write.version().is_some_and(|version| !there.contains(version)));
    let lost: Vec<_> = lost.collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

fn is_complete(holding: &Holding) -> bool {
    let recorded: BTreeSet<_> = holding.keys.iter().filter_map(|key| version_of(key)).collect();
    recorded == holding.complete
}

/// Bytes without a record are nobody's yet, or orphans.
async fn holding(provider: &Provider) -> Holding {
    let all = provider.keys().await;
    let uploads: BTreeSet<String> =
        all.iter().filter_map(|key| version_of(key)).map(|version| upload(&version)).collect();
    let recorded = |key: &String| {
        let blob = key.strip_prefix("blobs/").and_then(|key| key.split('/').nth(1));
        key.starts_with("names/") || blob.is_some_and(|upload| uploads.contains(upload))
    };
    let complete = all.iter().filter_map(|key| {
        let (version, rest) = key.strip_prefix("feed/")?.split_once('/')?.1.split_once('.')?;
        let (name, kind) = rest.split_once('.')?;
        Some(Version { name: name.to_owned(), version: version.to_owned(), kind: kind.to_owned() })
    });
    Holding { complete: complete.collect(), keys: all.iter().filter(|key| recorded(key)).cloned().collect() }
}

fn upload(version: &Version) -> String {
    version.version.split_once('-').map_or("", |(_, upload)| upload).to_owned()
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
