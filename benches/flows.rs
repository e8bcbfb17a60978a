//! The flows over disk providers in one process: writes, cached and cold reads, hashing, index, audit.
//!
//! `cargo bench` runs them at full size; `cargo test` runs each once, small. Compare figures of one run only.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../tests/stack/mod.rs"]
mod stack;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stack::{KEY, Stack, disk, noise, request};
use tokio::runtime::Runtime;
use triplicate::asset::{
    AssetName, BLOCK_BYTES, BlockHasher, BlockList, Kind, NameHash, Order, UploadId, Version,
};
use triplicate::audit::{self, AuditOptions, Level};
use triplicate::cache::disk::DiskCache;
use triplicate::catalog::Sighting;
use triplicate::catalog::index::Index;
use triplicate::clock::Clock;
use triplicate::provider::{Fleet, Slot};
use triplicate::task::Tasks;
use triplicate::telemetry::Telemetry;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Whether `cargo bench` runs this, or `cargo test`.
fn is_full() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn sized(full: usize, small: usize) -> usize {
    if is_full() { full } else { small }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn stack(runtime: &Runtime, folder: &tempfile::TempDir, cache_bytes: u64) -> Stack {
    runtime.block_on(async {
        let clock = Clock::system();
        let disks = ["a", "b", "c"].map(|name| disk(folder.path(), name, &clock)).to_vec();
        let mut stack = Stack::new(disks, clock, cache_bytes);
        stack.start().await;
        stack
    })
}

fn hashing(criterion: &mut Criterion) {
    let bytes = noise(1, sized(64 * MIB, MIB));
    let blocks: Vec<Bytes> = bytes.chunks(BLOCK_BYTES).map(|block| bytes.slice_ref(block)).collect();
    let list_of = |blocks: &[Bytes]| {
        let mut hasher = BlockHasher::new();
        blocks.iter().for_each(|block| hasher.push(block.clone()));
        hasher.finish()
    };
    let list = list_of(&blocks);
    let mut group = criterion.benchmark_group("hashing");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("blake3 of the whole", |bench| bench.iter(|| blake3::hash(black_box(&bytes))));
    group.bench_function("blake3 and block list", |bench| bench.iter(|| list_of(black_box(&blocks))));
    group.bench_function("verify every block", |bench| {
        bench.iter(|| {
            for (index, block) in blocks.iter().enumerate() {
                list.verify(index as u64, black_box(block)).unwrap();
            }
        });
    });
    group.bench_function("sha-256", |bench| {
        bench.iter(|| triplicate::asset::Sha256::of(black_box(&bytes)));
    });
    group.bench_function("prove the block list", |bench| {
        bench.iter(|| BlockList::prove(list.as_bytes().clone(), list.hash(), list.size()).unwrap());
    });
    group.finish();
}

fn writes(criterion: &mut Criterion) {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let stack = stack(&runtime, &folder, 0);
    let mut group = criterion.benchmark_group("write");
    group.sample_size(10);
    for size in [8 * KIB, MIB, sized(64 * MIB, 9 * MIB)] {
        let bytes = noise(1, size);
        group.throughput(Throughput::Bytes(size as u64));
        for (label, wait_all) in [("quorum", false), ("all copies", true)] {
            group.bench_with_input(BenchmarkId::new(label, size), &bytes, |bench, bytes| {
                bench.iter(|| {
                    let mut put = request("bench/write.bin");
                    put.wait_all = wait_all;
                    runtime.block_on(stack.put_request(put, bytes)).unwrap()
                });
            });
        }
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let warm = stack(&runtime, &folder, 2 << 30);
    let mut cold = stack(&runtime, &folder, 0);
    let mut group = criterion.benchmark_group("read");
    for size in [8 * KIB, MIB, sized(64 * MIB, 9 * MIB)] {
        let (name, bytes) = (format!("bench/{size}.bin"), noise(1, size));
        runtime.block_on(async {
            warm.put(&name, &bytes).await.unwrap();
            warm.get(&name).await.unwrap();
            cold.poll().await;
        });
        group.throughput(Throughput::Bytes(size as u64));
        for (label, stack) in [("cached", &warm), ("cold", &cold)] {
            group.bench_with_input(BenchmarkId::new(label, size), &name, |bench, name| {
                bench.iter(|| assert_eq!(runtime.block_on(stack.get(name)).unwrap().len(), size));
            });
        }
    }
    group.finish();
}

fn disk_cached_reads(criterion: &mut Criterion) {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let _within = runtime.enter();
    let tasks = Tasks::new();
    let telemetry = Telemetry::new();
    let cache = DiskCache::open(folder.path(), 1 << 30, &tasks, telemetry.clone(), Clock::system());
    let mut group = criterion.benchmark_group("read a block of the disk cache");
    for size in [8 * KIB, BLOCK_BYTES] {
        let (upload, bytes) = (UploadId::new(1, size as u128), noise(1, size));
        let mut hasher = BlockHasher::new();
        hasher.push(bytes.clone());
        let list = hasher.finish();
        cache.put_block(upload, 0, &bytes);
        runtime.block_on(cache.settled());
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bench| {
            // On a machine that pauses for long a read is a miss.
            bench.iter(|| runtime.block_on(cache.block(upload, 0, black_box(&list))));
        });
    }
    group.finish();
    assert!(!is_full() || telemetry.metrics().cache_disk_hits.get() > 100, "misses were measured");
}

fn index(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let providers = ["a", "b", "c"].map(str::to_owned);
    let (index, _) = Index::open(&folder.path().join("index.sqlite"), &providers).unwrap();
    let names = sized(1_000_000, 1_000) as u64;
    let text = |number: u64| format!("icons/{number:09}.png");
    let hash = |number: u64| text(number).parse::<AssetName>().unwrap().hash();
    let sighting = |number: u64| Sighting {
        name: hash(number),
        version: Version { order: Order::new(number), upload: UploadId::new(number, 7) },
        kind: Kind::Put,
        holders: vec![Slot(0), Slot(1), Slot(2)],
        record: Some((text(number), vec![b'x'; 600])),
    };
    for page in (0..names).collect::<Vec<_>>().chunks(10_000) {
        index.apply(&page.iter().map(|number| sighting(*number)).collect::<Vec<_>>()).unwrap();
    }
    let mut group = criterion.benchmark_group(format!("index of {names} names"));
    let mut number = 0_u64;
    let mut next = move || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % names
    };
    group.bench_function("known name", |bench| {
        bench.iter_batched(
            || hash(next()),
            |name| assert_eq!(index.versions(name).unwrap().len(), 1),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("unknown name", |bench| {
        bench.iter(|| assert!(index.versions(black_box(NameHash::new([9; 32]))).unwrap().is_empty()));
    });
    group.bench_function("page of 100 names", |bench| {
        bench.iter(|| assert_eq!(index.names("icons/", Some(&text(names / 2)), 100).unwrap().len(), 100));
    });
    let mut fresh = names;
    group.bench_function("add one version", |bench| {
        bench.iter(|| {
            fresh += 1;
            index.apply(&[sighting(fresh)]).unwrap();
        });
    });
    group.finish();
}

fn audits(criterion: &mut Criterion) {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let stack = stack(&runtime, &folder, 0);
    let (assets, size) = (sized(2_000, 20), 32 * KIB);
    runtime.block_on(async {
        for number in 0..assets {
            stack.put(&format!("bench/{number}.bin"), &noise(number as u64, size)).await.unwrap();
        }
    });
    let mut group = criterion.benchmark_group(format!("audit of {assets} assets of {size} bytes"));
    group.sample_size(10).throughput(Throughput::Bytes((3 * assets * size) as u64));
    for (label, level) in [("list", Level::List), ("bytes", Level::Bytes)] {
        group.bench_function(label, |bench| {
            bench.iter(|| {
                let state = tempfile::tempdir().unwrap();
                let options = AuditOptions {
                    level,
                    repair: false,
                    prefix: None,
                    sample: None,
                    max_bytes_per_second: None,
                    resume: false,
                    report: Some(state.path().join("report")),
                    json: false,
                    state_dir: state.path().to_owned(),
                };
                let fleet: Fleet = stack.fleet.clone();
                assert_eq!(runtime.block_on(audit::run(fleet, KEY, Clock::system(), options)), 0);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hashing, writes, reads, disk_cached_reads, index, audits);
criterion_main!(benches);
