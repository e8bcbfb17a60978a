//! Power loss of the local index: files are torn, rolled back and mixed up between two lives of a gateway.
//!
//! Another gateway goes on meanwhile, so an index that believes to be fresh and is not shows at once: after each
//! start every name is read, before the feeds were polled and after, and judged by the ledger.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use super::post::{Armed, Door, Post};
use super::world::{Act, World};
use crate::support::{data, eventually};

/// Each damage comes twice.
const ROUNDS: u32 = 22;
const NAMES: u32 = 24;
/// How many requests are under way when the power goes.
const UNDER_LOAD: usize = 12;
const PAGE_BYTES: usize = 4_096;
/// How long a start, with the polls of all feeds, may take on a busy machine.
const POLLED_WITHIN: Duration = Duration::from_secs(60);

/// What a power loss, or a bad disk, does to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Nothing,
    TruncateDatabase,
    TruncateLog,
    ZeroDatabasePages,
    ZeroLogPages,
    DeleteLog,
    DeleteDatabase,
    RollBack,
    RollBackDatabase,
    SwapLog,
    Garbage,
}

const DAMAGES: [Damage; 11] = [
    Damage::Nothing,
    Damage::TruncateDatabase,
    Damage::TruncateLog,
    Damage::ZeroDatabasePages,
    Damage::ZeroLogPages,
    Damage::DeleteLog,
    Damage::DeleteDatabase,
    Damage::RollBack,
    Damage::RollBackDatabase,
    Damage::SwapLog,
    Damage::Garbage,
];

/// The files of an index that nobody has open.
struct Files {
    database: PathBuf,
    log: PathBuf,
    /// The database and its log at earlier moments.
    older: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    fn of(home: &Path) -> Self {
        let database = home.join("state/index.sqlite");
        Self { log: home.join("state/index.sqlite-wal"), database, older: Vec::new() }
    }

    fn keep(&mut self) {
        let read = |path: &Path| fs::read(path).unwrap_or_default();
        self.older.push((read(&self.database), read(&self.log)));
    }

    fn suffer(&self, damage: Damage, die: &mut StdRng) {
        let (database, log) = &self.older[die.random_range(0..self.older.len())];
        match damage {
            Damage::Nothing => {}
            Damage::TruncateDatabase => truncate(&self.database, die),
            Damage::TruncateLog => truncate(&self.log, die),
            Damage::ZeroDatabasePages => zero_pages(&self.database, 1..4, die),
            Damage::ZeroLogPages => zero_pages(&self.log, 1..4, die),
            Damage::DeleteLog => remove(&self.log),
            Damage::DeleteDatabase => remove(&self.database),
            Damage::RollBack => {
                fs::write(&self.database, database).unwrap();
                fs::write(&self.log, log).unwrap();
            }
            Damage::RollBackDatabase => fs::write(&self.database, database).unwrap(),
            Damage::SwapLog => fs::write(&self.log, log).unwrap(),
            Damage::Garbage => {
                let file = if die.random() { &self.database } else { &self.log };
                let mut bytes = vec![0; die.random_range(0..100_000)];
                die.fill_bytes(&mut bytes);
                fs::write(file, bytes).unwrap();
            }
        }
        // The shared memory of the log never survives a power loss.
        remove(&self.log.with_extension("sqlite-shm"));
    }
}

fn remove(file: &Path) {
    // It may not be there.
    let _ = fs::remove_file(file);
}

fn truncate(file: &Path, die: &mut StdRng) {
    let mut bytes = fs::read(file).unwrap_or_default();
    bytes.truncate(die.random_range(0..=bytes.len()));
    fs::write(file, bytes).unwrap();
}

fn zero_pages(file: &Path, count: Range<u32>, die: &mut StdRng) {
    let mut bytes = fs::read(file).unwrap_or_default();
    for _ in 0..die.random_range(count) {
        let pages = bytes.len().div_ceil(PAGE_BYTES);
        if pages > 0 {
            let from = die.random_range(0..pages) * PAGE_BYTES;
            let to = bytes.len().min(from + PAGE_BYTES);
            bytes[from..to].fill(0);
        }
    }
    fs::write(file, bytes).unwrap();
}

fn name(die: &mut StdRng) -> String {
    format!("power/{}.bin", die.random_range(0..NAMES))
}

fn draw(die: &mut StdRng) -> Act {
    let name = name(die);
    if die.random_bool(0.2) {
        return Act::Delete(name);
    }
    let unique = die.next_u64().to_string();
    Act::Put(name, data::bytes(&unique, 700))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_torn_by_power_loss_never_gives_a_wrong_answer() {
    let seed = std::env::var("TRIPLICATE_SEED").ok().map(|text| text.parse().expect("a number"));
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random());
    println!("TRIPLICATE_SEED={seed}");
    let mut die = StdRng::seed_from_u64(seed);
    let (world, mut posts) = World::with(2).await;
    let (other, mut torn) = (posts.remove(1), posts.remove(0));
    let mut files = Files::of(&torn.gateway.home());
    for round in 0..ROUNDS {
        let door = torn.door();
        let acts: Vec<_> = (0..UNDER_LOAD).map(|_| draw(&mut die)).collect();
        let under_load = acts.into_iter().map(|act| {
            let (world, door) = (world.clone(), door.clone());
            tokio::spawn(async move { world.act(&door, &act).await })
        });
        let under_load: Vec<_> = under_load.collect();
        // The moment is meant to be any.
        tokio::time::sleep(Duration::from_millis(die.random_range(0..300))).await;
        torn.kill(Armed::nothing()).await;
        for ended in join_all(under_load).await {
            ended.expect("a client that notes its answer");
        }
        files.keep();
        let damage = DAMAGES[round as usize % DAMAGES.len()];
        files.suffer(damage, &mut die);
        for _ in 0..3 {
            world.act(&other.door(), &draw(&mut die)).await;
        }
        torn.start(false).await;
        let door = torn.door();
        read_all(&world, &door, damage).await;
        assert_polled(&torn).await;
        read_all(&world, &door, damage).await;
        let ledger = world.ledger.lock().unwrap();
        assert!(ledger.violations.is_empty(), "{damage:?} in round {round}: {:#?}", ledger.violations);
    }
    println!("{ROUNDS} power losses, {} acknowledged writes", world.ledger.lock().unwrap().acked_count());
}

async fn read_all(world: &World, door: &Door, damage: Damage) {
    for number in 0..NAMES {
        let name = format!("power/{number}.bin");
        let shown = world.read(door, &name, false).await;
        assert!(shown.is_some(), "nothing is said of {name} after {damage:?}");
    }
}

/// Waits until the gateway has polled every feed more than once in this life.
async fn assert_polled(post: &Post) {
    (0..3).for_each(|slot| post.wire(slot).forget_seen());
    eventually("the feeds are polled", POLLED_WITHIN, || async {
        (0..3).all(|slot| post.wire(slot).count("GET", "feed/") >= 6).then_some(())
    })
    .await;
}
