//! A simulation of whole gateways over simulated providers, from seeds.
//!
//! Each run is one seed: gateways with all their tasks, clients, faults, and a checker of the contract. The
//! same seed does the same. `TRIPLICATE_SEED=n` runs one and prints its trace, `TRIPLICATE_SEEDS=n` or
//! `TRIPLICATE_SEEDS=n..m` many; `TRIPLICATE_STALE_LISTINGS=1` lets Bunny's listings lag behind as well, which its
//! primary endpoint is not known to do, and which breaks the order of writes. `TRIPLICATE_UPLOADS=n` sets how much is
//! uploaded in the hour without Bunny of [`stories`].

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "the modules of one test binary")]
#![allow(clippy::wildcard_enum_match_arm, reason = "each check is about a few of the answers")]

#[path = "../stack/mod.rs"]
mod stack;

mod checker;
mod client;
mod finale;
mod history;
mod keep;
mod link;
mod nemesis;
mod run;
mod sabotage;
mod server;
mod stories;
mod trace;
mod weather;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use keep::Keep;
use nemesis::Faults;
use run::{Outcome, Plan, run};

/// How many seeds a plain run has.
const SEEDS: u64 = 2_000;
/// How many run at the same time.
const THREADS: usize = 2;
/// After so many failing seeds no new one begins.
const FAILURES_MAX: usize = 10;

/// What a plain run has, and one with `TRIPLICATE_STALE_LISTINGS=1`, which the contract does not cover.
fn plan(seed: u64) -> Plan {
    let stale = environment("TRIPLICATE_STALE_LISTINGS").is_some();
    let faults = if stale { Faults::StaleListings } else { Faults::All };
    Plan { seed, keeps_lines: false, decorate: |_, providers| providers, faults, keep: keep(seed) }
}

/// In one seed of twelve gateways do rounds of retention, and keep versions for seconds, minutes or days.
fn keep(seed: u64) -> Keep {
    let seconds = [45, 120, 600, 2 * 24 * 3_600][usize::try_from(seed / 12 % 4).unwrap()];
    Keep(seed.is_multiple_of(12).then_some(Duration::from_secs(seconds)))
}

#[expect(clippy::disallowed_methods, reason = "how many seeds run is no configuration of the product")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What many runs came to.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    ops: u64,
    acknowledged: u64,
    reads: u64,
    bound: u64,
    requests: u64,
    faults: u64,
    removed: u64,
    time: Duration,
    leapt: Duration,
    failed: BTreeMap<u64, Outcome>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.ops += outcome.ops;
        self.acknowledged += outcome.acknowledged;
        self.reads += outcome.reads;
        self.bound += outcome.bound;
        self.requests += outcome.requests;
        self.faults += outcome.faults;
        self.removed += outcome.removed;
        self.time += outcome.time;
        self.leapt += outcome.leapt;
        if !outcome.violations.is_empty() {
            self.failed.insert(seed, outcome);
        }
    }

    fn tell(&self) {
        println!(
            "{} seeds, {:.0} simulated hours ({:.0} of them not in leaps), {} requests of clients ({} writes acknowledged; {} reads \
             after a write, {} bound to it), {} requests to providers, {} faults, {} records removed, {} seeds with violations",
            self.seeds,
            self.time.as_secs_f64() / 3_600.0,
            (self.time - self.leapt).as_secs_f64() / 3_600.0,
            self.ops,
            self.acknowledged,
            self.reads,
            self.bound,
            self.requests,
            self.faults,
            self.removed,
            self.failed.len(),
        );
    }
}

/// Runs many seeds on a few threads.
fn run_all(seeds: Range<u64>, plan: impl Fn(u64) -> Plan + Sync) -> Sum {
    let (next, sum) = (AtomicU64::new(seeds.start), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || sum.lock().failed.len() >= FAILURES_MAX {
                        return;
                    }
                    let outcome = run(plan(seed));
                    for violation in &outcome.violations {
                        println!("seed {seed}: {:?}: {}", violation.name, violation.text);
                    }
                    sum.lock().add(seed, outcome);
                }
            });
        }
    });
    sum.into_inner()
}

/// Prints what a run did with the names that it went wrong with; tells whether all went well.
fn print(seed: u64) -> bool {
    let outcome = run(Plan { keeps_lines: true, ..plan(seed) });
    for violation in &outcome.violations {
        println!("seed {seed}: {:?}: {}", violation.name, violation.text);
    }
    let name = outcome.violations.iter().find_map(|violation| violation.name);
    let words = name.map(|name| [client::text(name), client::parsed(name).hash().to_string()]);
    // Besides what names it, what lies under the uploads of its versions.
    let uploads: Vec<_> = outcome.lines.iter().filter(|line| is_about(line, words.as_ref())).collect();
    let uploads: Vec<String> = uploads.iter().filter_map(|line| upload(line)).collect();
    for line in &outcome.lines {
        let blob = line.contains("blobs/") && uploads.iter().any(|upload| line.contains(upload));
        let world = ["fault:", "over:", "all is well", "canary/"].iter().any(|word| line.contains(word));
        if is_about(line, words.as_ref()) || blob || (world && !line.ends_with("canary/ok")) {
            println!("{line}");
        }
    }
    outcome.violations.is_empty()
}

fn is_about(line: &str, words: Option<&[String; 2]>) -> bool {
    words.is_none_or(|words| words.iter().any(|word| line.contains(word.as_str())))
}

/// Finds the upload in the key of a record.
fn upload(line: &str) -> Option<String> {
    let (_, file) = line.split_once("names/")?;
    let (_, upload) = file.split_once('-')?;
    Some(upload.chars().take(26).collect())
}

#[test]
fn no_seed_breaks_the_contract() {
    let number = |text: &str| text.parse::<u64>().unwrap();
    if let Some(seed) = environment("TRIPLICATE_SEED") {
        assert!(print(number(&seed)), "violations, see above");
        return;
    }
    let seeds = match environment("TRIPLICATE_SEEDS") {
        Some(range) => match range.split_once("..") {
            Some((start, end)) => number(start)..number(end),
            None => 0..number(&range),
        },
        None => 0..SEEDS,
    };
    let sum = run_all(seeds, plan);
    sum.tell();
    assert!(sum.bound * 3 > sum.reads, "reads that nothing binds show nothing");
    let first = sum.failed.keys().next();
    first.into_iter().for_each(|seed| _ = print(*seed));
    assert!(sum.failed.is_empty(), "violations, see above; TRIPLICATE_SEED={} prints one", first.unwrap());
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in 0..6 {
        let (one, two) = (run(plan(seed)), run(plan(seed)));
        assert_eq!((one.hash, one.requests), (two.hash, two.requests), "{seed}");
        assert_ne!(one.hash, run(plan(seed + 1_000)).hash);
    }
}

#[test]
fn without_faults_everything_is_answered() {
    let sum = run_all(0..10, |seed| Plan { faults: Faults::None, ..plan(seed) });
    sum.tell();
    assert!(sum.failed.is_empty(), "{:?}", sum.failed);
}

#[tokio::test(start_paused = true)]
async fn simulated_providers_keep_the_contract_of_providers() {
    for slot in 0..3 {
        let world = world::World::new(1, false);
        let clock = triplicate::clock::Clock::seeded(world::NOW, 1);
        let link = link::Link::new(world, 0, slot, clock.clone());
        triplicate::provider::contract::all(&link, &clock).await.unwrap();
    }
}
