//! The start of a gateway without an index, over many names: by a snapshot, and by a listing.
//!
//! `cargo test` runs it with few names. By hand, with figures of one run only to be compared:
//!
//! ```text
//! cargo test --bench cold_start -- --names 1000000                  three disks, the snapshot only
//! cargo test --bench cold_start -- --names 100000 --listing         and the listing
//! cargo test --bench cold_start -- --names 1000000 --s3 URL ID SECRET     buckets cold-a, cold-b and cold-c there
//! ```
//!
//! The names are put into the index of one gateway, which writes the snapshot; with `--listing` their records
//! and feed entries are written to all providers as well, as a listing needs them. No bytes are stored.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

#[path = "../tests/stack/mod.rs"]
mod stack;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use stack::{KEY, Stack, disk};
use triplicate::asset::{AssetName, Blake3, Key, Kind, Order, PutFields, Record, Sha256, UploadId, Version};
use triplicate::catalog::Sighting;
use triplicate::catalog::snapshot::{Policy, Snapshots};
use triplicate::clock::{Clock, to_utc};
use triplicate::provider::s3::{S3Provider, S3Settings};
use triplicate::provider::{Payload, Provider, ProviderId, Slot};
use triplicate::replica::store;

/// How many names go into the index at once.
const BATCH: usize = 10_000;
/// How many objects are written at the same time.
const PUTS_AT_ONCE: usize = 32;

struct Wanted {
    names: u64,
    listing: bool,
    s3: Option<[String; 3]>,
}

fn wanted() -> Wanted {
    let mut wanted = Wanted { names: 2_000, listing: false, s3: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--names" => wanted.names = arguments.next().unwrap().parse().unwrap(),
            "--listing" => wanted.listing = true,
            "--s3" => wanted.s3 = Some([(); 3].map(|()| arguments.next().unwrap())),
            // What the test runner hands on to all.
            _ => {}
        }
    }
    wanted.listing |= wanted.names <= 2_000;
    wanted
}

fn s3(name: &str, [endpoint, id, secret]: &[String; 3], clock: &Clock) -> Arc<dyn Provider> {
    let settings = S3Settings {
        endpoint: endpoint.parse().unwrap(),
        region: "us-east-1".to_owned(),
        bucket: format!("cold-{name}"),
        access_key_id: id.clone().into(),
        secret_access_key: secret.clone().into(),
        path_style: true,
        via: None,
    };
    Arc::new(S3Provider::new(ProviderId::new(name), settings, clock.clone()).unwrap())
}

/// The record of one name among many, an hour old or older.
fn record(number: u64, now_ms: u64) -> Record {
    let name: AssetName = format!("icons/packages/{number:07}/icon-{}.png", number % 97).parse().unwrap();
    let hash = blake3::hash(name.as_str().as_bytes());
    let ms = now_ms - 3_600_000 - number % 86_400_000;
    let put = PutFields {
        size: 4_096 + number % 30_000,
        blake3: Blake3::new(*hash.as_bytes()),
        sha256: Sha256::of(hash.as_bytes()),
        content_type: "image/png".to_owned(),
        content_encoding: None,
        content_disposition: None,
        cache_control: None,
        metadata: Default::default(),
    };
    let random = u128::from_be_bytes(hash.as_bytes()[..16].try_into().unwrap());
    let version = Version { order: Order::from_unix_ms(ms), upload: UploadId::new(ms, random) };
    Record { name, version, created: to_utc(ms), put: Some(put) }
}

async fn fill_index(stack: &Stack, names: u64, now_ms: u64) {
    // In the order of the index, or filling it takes longer than all that is measured.
    let mut order: Vec<_> = (0..names).map(|number| (record(number, now_ms).name.hash(), number)).collect();
    order.sort_unstable();
    for batch in order.chunks(BATCH) {
        let sightings = batch.iter().map(|(_, number)| {
            let record = record(*number, now_ms);
            Sighting {
                name: record.name.hash(),
                version: record.version,
                kind: Kind::Put,
                holders: stack.fleet.slots().collect(),
                record: Some((record.name.to_string(), record.seal(&KEY).to_vec())),
            }
        });
        stack.catalog.apply(sightings.collect()).await.unwrap();
    }
}

async fn fill_providers(stack: &Stack, names: u64, now_ms: u64) {
    let puts = (0..names).flat_map(|number| stack.fleet.slots().map(move |slot| (number, slot)));
    let puts = puts.map(|(number, slot)| async move {
        let (record, provider) = (record(number, now_ms), stack.fleet.get(slot).as_ref());
        store::record(provider, &record.key(), &record.seal(&KEY)).await.unwrap();
        let minute = record.version.order.unix_ms() / 60_000;
        let at = Key::feed(minute, record.name.hash(), record.version, Kind::Put);
        let line = Payload::from(Bytes::from(format!("{}\n", record.version)));
        provider.put(&at, &line, "text/plain").await.unwrap();
    });
    stream::iter(puts).buffer_unordered(PUTS_AT_ONCE).for_each(|()| async {}).await;
}

/// Starts a gateway without an index, and returns how long it took to be ready and fresh.
async fn cold_start(providers: &[Arc<dyn Provider>], names: u64, by_snapshot: bool) -> Duration {
    let mut cold = Stack::new(providers.to_vec(), Clock::system(), 0);
    cold.look().await;
    let began = cold.clock.now();
    let mut pollers = std::mem::take(&mut cold.pollers);
    futures::future::join_all(pollers.iter_mut().map(|poller| poller.step())).await;
    let took = began.elapsed();
    assert!(cold.catalog.is_ready());
    for slot in cold.fleet.slots() {
        assert!(cold.catalog.is_loaded(slot));
    }
    for number in [0, names / 2, names - 1] {
        let name: AssetName = record(number, 10_000_000_000_000).name;
        let known = cold.catalog.versions(&name).await;
        assert_eq!(known[0].record.is_some(), by_snapshot, "{name}");
    }
    took
}

/// Writes a snapshot while canaries are looked at and feeds are polled, as in a gateway.
async fn write_snapshot(stack: &mut Stack, policy: Policy) {
    let snapshots = Snapshots::new(stack.catalog.clone(), policy);
    let mut pollers = std::mem::take(&mut stack.pollers);
    let watching = async {
        loop {
            stack.look().await;
            futures::future::join_all(pollers.iter_mut().map(|poller| poller.step())).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let writing = async {
        while !stack.catalog.is_fresh() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        snapshots.write().await.unwrap();
    };
    tokio::select! {
        () = writing => {}
        () = watching => {}
    }
}

async fn snapshot_bytes(stack: &Stack) -> u64 {
    use futures::TryStreamExt;
    let pages = stack.fleet.get(Slot(0)).list_tree(triplicate::asset::key::SNAPSHOTS);
    let pages: Vec<_> = pages.try_collect().await.unwrap();
    pages.into_iter().flatten().map(|entry| entry.bytes).sum()
}

/// The most memory that this process ever had, in MiB, where the system tells it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// The processor time that this process has used so far, in seconds, where the system tells it.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // The 14th and the 15th field, in hundredths of a second.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Lets the peak begin anew.
fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[tokio::main]
async fn main() {
    let wanted = wanted();
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
    let make = |name: &str| match &wanted.s3 {
        Some(s3_at) => s3(name, s3_at, &clock),
        None => disk(folder.path(), name, &clock),
    };
    let providers = ["a", "b", "c"].map(make).to_vec();
    let mut warm = Stack::new(providers.clone(), clock.clone(), 0);
    warm.start().await;
    let now_ms = clock.unix_ms();
    println!("{} names", wanted.names);
    if wanted.listing {
        fill_providers(&warm, wanted.names, now_ms).await;
        forget_peak();
        let took = cold_start(&providers, wanted.names, false).await;
        println!("by a listing, without any record: {took:.2?}, peak {} MiB", peak_mib());
    }
    fill_index(&warm, wanted.names, now_ms).await;
    let policy = Policy { names_min: 1, bytes_per_second: 0, ..Policy::default() };
    forget_peak();
    let began = clock.now();
    write_snapshot(&mut warm, policy).await;
    let (took, bytes) = (began.elapsed(), snapshot_bytes(&warm).await);
    println!(
        "snapshot written in {took:.2?}, {} bytes a name, peak {} MiB",
        bytes / wanted.names,
        peak_mib()
    );
    forget_peak();
    let before = cpu_seconds();
    let took = cold_start(&providers, wanted.names, true).await;
    let cpu = cpu_seconds() - before;
    println!("by the snapshot, with all records: {took:.2?}, {cpu:.1} s of CPU, peak {} MiB", peak_mib());
}
