//! The flows over disk providers, with faults put between: what must hold whatever a provider does.
//!
//! Time is tokio's paused clock, so time-outs cost nothing. Copies are compared at each provider directly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../stack/mod.rs"]
mod stack;

mod buckets;
mod dated;
mod forged;
mod gateways;
mod hedging;
mod identity;
mod index;
mod patrol;
mod purge;
mod reads;
mod refilled;
mod repairs;
mod rescues;
mod retention;
mod sharing;
mod snapshot_crashes;
mod snapshot_faults;
mod snapshots;
mod sweep;
mod tombstones;
mod turns;
mod undo;
mod wiped;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dated::Dated;
use stack::{Stack, disk};
use triplicate::clock::Clock;
use triplicate::provider::faulty::Faulty;
use triplicate::provider::{Provider, Slot};

/// 2026-11-22T11:05:30Z
const NOW: u64 = 1_795_345_530_000;

/// Three disks with a fault switch each, and stacks over them.
struct Site {
    folder: tempfile::TempDir,
    faulty: Vec<Arc<Faulty>>,
    dated: Vec<Arc<Dated>>,
    clock: Clock,
    /// Of the last gateway's dice.
    seed: AtomicU64,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::seeded(NOW, 1);
        let dated = ["a", "b", "c"]
            .map(|name| Arc::new(Dated::new(disk(folder.path(), name, &clock), clock.clone())))
            .to_vec();
        let faulty = dated.iter().map(|dated| Arc::new(Faulty::new(dated.clone()))).collect();
        Self { folder, faulty, dated, clock, seed: AtomicU64::new(100) }
    }

    /// Another gateway's clock, with dice of its own that fall the same in every run.
    fn clock(&self, start_unix_ms: u64) -> Clock {
        Clock::seeded(start_unix_ms, self.seed.fetch_add(1, Ordering::Relaxed))
    }

    /// Another gateway over the same providers, with an index and a clock of its own (see [`Site::clock`]).
    fn stack(&self, clock: Clock) -> Stack {
        self.stack_with_cache(clock, 0)
    }

    fn stack_with_cache(&self, clock: Clock, cache_bytes: u64) -> Stack {
        let providers = self.faulty.iter().map(|faulty| faulty.clone() as Arc<dyn Provider>);
        Stack::new(providers.collect(), clock, cache_bytes)
    }

    /// A gateway with the index that `stack` left, after a restart.
    fn restart(&self, stack: Stack, clock: Clock) -> Stack {
        let Stack { state, .. } = stack;
        let providers = self.faulty.iter().map(|faulty| faulty.clone() as Arc<dyn Provider>);
        Stack::over(providers.collect(), clock, 0, 0, state.unwrap())
    }

    /// Removes all that lies at a provider, behind everybody's back.
    fn wipe(&self, slot: Slot) {
        let folder = self.folder.path().join(["a", "b", "c"][slot.0]);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap()
            } else {
                std::fs::remove_file(path).unwrap()
            }
        }
    }

    /// Flips one bit of an object at a provider, behind everybody's back.
    fn flip(&self, slot: Slot, key: &str, at: usize) {
        let path = self.folder.path().join(["a", "b", "c"][slot.0]).join(key);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }

    /// Cuts an object at a provider short, behind everybody's back.
    fn cut(&self, slot: Slot, key: &str, bytes: u64) {
        let path = self.folder.path().join(["a", "b", "c"][slot.0]).join(key);
        std::fs::File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
    }
}

/// A site with one running gateway, which caches nothing.
async fn site() -> (Site, Stack) {
    site_with_cache(0).await
}

async fn site_with_cache(cache_bytes: u64) -> (Site, Stack) {
    let site = Site::new();
    let mut stack = site.stack_with_cache(Clock::seeded(NOW, 1), cache_bytes);
    stack.start().await;
    (site, stack)
}

/// Compares what two providers hold of blobs and names, byte for byte; feed entries may differ in their
/// minute, and canaries do.
async fn assert_same_copies(stack: &Stack) {
    let comparable = |keys: Vec<String>| -> Vec<String> {
        keys.into_iter().filter(|key| key.starts_with("blobs/") || key.starts_with("names/")).collect()
    };
    let expected = comparable(stack.keys(Slot(0)).await);
    for slot in stack.fleet.slots() {
        assert_eq!(comparable(stack.keys(slot).await), expected, "{slot:?}");
        for key in &expected {
            let key = triplicate::asset::key::parse(key).unwrap().key();
            assert_eq!(stack.object(slot, &key).await, stack.object(Slot(0), &key).await, "{slot:?} {key}");
        }
    }
}

/// Sizes around every border: empty, one block, one part.
fn sizes() -> [usize; 9] {
    let (block, part) = (64 * 1024, 8 * 1024 * 1024);
    [0, 1, block - 1, block, block + 1, part - 1, part, part + 1, part + 3 * block + 5]
}

fn bytes(seed: u64, size: usize) -> Bytes {
    stack::noise(seed, size)
}
