//! A simulation of whole gateways over simulated providers, from seeds.
//!
//! Each run is one seed: gateways with all their tasks, clients, faults, and a checker of the contract. The
//! same seed does the same. `TRIPLICATE_SEED=n` runs one and prints its trace, `TRIPLICATE_SEEDS=n` or
//! `TRIPLICATE_SEEDS=n..m` many.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../stack/mod.rs"]
mod stack;

mod checker;
mod client;
mod finale;
mod history;
mod link;
mod nemesis;
mod run;
mod server;
mod trace;
mod weather;
mod world;

use nemesis::Faults;
use run::{Outcome, Plan, run};

fn plan(seed: u64) -> Plan {
    Plan { seed, keeps_lines: false, decorate: |_, providers| providers, faults: Faults::All }
}

#[test]
fn calm() {
    let began = std::time::Instant::now();
    for seed in 0..20 {
        let outcome = run(Plan { faults: Faults::None, ..plan(seed) });
        println!("{seed} {:?} {} {} {} {:?}", outcome.violations, outcome.ops, outcome.requests, outcome.hash, outcome.time);
    }
    println!("{:?}", began.elapsed());
}

#[test]
fn dump() {
    let seed = std::env::var("SEED").unwrap().parse().unwrap();
    let outcome = run(Plan { faults: Faults::None, keeps_lines: true, ..plan(seed) });
    for line in outcome.lines { println!("{line}"); }
}
