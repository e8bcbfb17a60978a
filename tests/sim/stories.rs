//! Stories: seeds that play something certain, with the same end and verdict as any run.

use std::time::Duration;

use tokio::time::Instant;
use triplicate::provider::ErrorKind;

use crate::history::{Asked, Told};
use crate::keep::Keep;
use crate::nemesis::{Faults, Nemesis};
use crate::run::{Outcome, Plan, Site, play};
use crate::weather::Condition;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// In so long gateways do a few rounds of retention.
const ROUNDS: Duration = Duration::from_secs(14);
/// How many overwrites follow each other.
const OVERWRITES: usize = 40;
const HOUR: Duration = Duration::from_secs(3_600);
/// The place of Bunny among the providers.
const BUNNY: usize = 2;
/// How many names are uploaded while Bunny is away, without `TRIPLICATE_UPLOADS`.
const UPLOADS: usize = 1_000;
/// How long after its return its copies may take.
const MADE_WITHIN: Duration = Duration::from_secs(600);

fn plan(seed: u64, keep: Keep) -> Plan {
    Plan { seed, keeps_lines: false, decorate: |_, providers| providers, faults: Faults::All, keep }
}

/// Plays a story with some seeds; none may break the contract.
fn all(seeds: u64, keep: Keep, story: impl AsyncFn(&Site, &mut Nemesis)) -> Vec<Outcome> {
    let outcomes = (0..seeds).map(|seed| {
        let outcome = play(plan(seed, keep), &story);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        outcome
    });
    outcomes.collect()
}

impl Site {
    /// Asks one gateway after the other.
    async fn ask(&self, turn: usize, name: usize, asked: Asked, wait_all: bool) -> Told {
        let gateway = &self.gateways[turn % self.gateways.len()];
        self.clients.ask(gateway, name, asked, wait_all).await.unwrap_or(Told::Nothing)
    }

    /// Something that is not a matter of answers went wrong.
    fn wrong(&self, text: String) {
        self.clients.wrong.lock().push((0, text));
    }

    /// Lets much time pass, and then a while in which gateways do what they have to do.
    async fn pass(&self, time: Duration) {
        let frozen = self.world.weather.begin(None, None, Condition::AtRest);
        self.world.leap(time).await;
        self.world.weather.end(frozen);
        tokio::time::sleep(ROUNDS).await;
    }

    /// Returns how many copies Bunny lacks by what that gateway knows which knows of the most.
    async fn debt(&self) -> u64 {
        let mut most = 0;
        for gateway in &self.gateways {
            let debts = gateway.life().unwrap().stack.catalog.debts().await;
            most = most.max(debts[BUNNY].copies);
        }
        most
    }

    /// Returns how many records were removed by requests.
    fn removed(&self) -> usize {
        self.world.servers.iter().map(|server| server.log().removed.len()).sum()
    }
}

/// All PUTs to one provider arrive up to 20 minutes late, once more after that, and so in any order.
async fn overwrites(site: &Site, nemesis: &mut Nemesis) {
    tokio::time::sleep(ROUNDS).await;
    let late = usize::try_from(site.world.roll(site.world.servers.len() as u64)).unwrap();
    for condition in [Condition::Late(100), Condition::Twice(100)] {
        site.world.weather.begin(None, Some(late), condition);
    }
    for turn in 0..OVERWRITES {
        let put = site.ask(turn, 0, Asked::Put { size: 1_000 }, false).await;
        if !matches!(put, Told::Stored(_)) {
            site.wrong(format!("overwrite {turn} is told {put:?}"));
        }
        // The next gateway must know at once when it is asked to be sure, and soon when it is not.
        site.ask(turn + 1, 0, Asked::Revalidate, false).await;
        tokio::time::sleep(Duration::from_millis(1 + site.world.roll(60_000))).await;
        site.ask(turn + 1, 0, Asked::Get, false).await;
    }
    nemesis.heal();
}

/// A provider is away for a month, meanwhile names are deleted and overwritten.
async fn absence(site: &Site, nemesis: &mut Nemesis) {
    for name in 0..site.names {
        for _ in 0..2 {
            site.ask(name, name, Asked::Put { size: 70_000 }, true).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let away = usize::try_from(site.world.roll(site.world.servers.len() as u64)).unwrap();
    let refuse = Condition::Refuse(ErrorKind::Unavailable);
    let spell = site.world.weather.begin(None, Some(away), refuse);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = site.removed();
    for turn in 0..10 {
        let name = turn % site.names;
        let asked = if turn / site.names % 3 == 2 { Asked::Put { size: 100 } } else { Asked::Delete };
        site.ask(turn, name, asked, false).await;
        site.pass(DAY * 3).await;
    }
    for name in 0..site.names {
        site.ask(name, name, Asked::Delete, false).await;
    }
    site.pass(DAY * 3).await;
    if site.removed() > before {
        site.wrong("something was removed while a provider was away".to_owned());
    }
    site.world.weather.end(spell);
    for hour in 0..8 {
        tokio::time::sleep(Duration::from_secs(hour * 20)).await;
        for name in 0..site.names {
            for (turn, asked) in [Asked::Get, Asked::Revalidate].into_iter().enumerate() {
                let told = site.ask(turn + name, name, asked, false).await;
                if matches!(told, Told::Read { .. }) {
                    site.wrong(format!("{name} was deleted, and comes back: {told:?}"));
                }
            }
        }
    }
    nemesis.heal();
}

/// One gateway is cut off for days. The others delete what it has just served, and remove even the tombstones.
async fn exile(site: &Site, nemesis: &mut Nemesis) {
    for name in 0..site.names {
        site.ask(0, name, Asked::Put { size: 70_000 }, true).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        site.ask(1, name, Asked::Get, false).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let spell = site.world.weather.begin(Some(1), None, Condition::Silence);
    tokio::time::sleep(Duration::from_secs(60)).await;
    for name in 0..site.names {
        site.ask(0, name, Asked::Delete, false).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    for _ in 0..6 {
        site.pass(DAY * 3).await;
    }
    let left = site.world.servers.iter().flat_map(|server| server.keys());
    let left: Vec<_> = left.filter(|key| key.contains(".del")).collect();
    if !left.is_empty() {
        site.wrong(format!("what tells of the deletions is to be gone: {left:?}"));
    }
    site.world.weather.end(spell);
    tokio::time::sleep(Duration::from_secs(120)).await;
    for name in 0..site.names {
        for asked in [Asked::Get, Asked::Revalidate] {
            let told = site.ask(1, name, asked, false).await;
            if told != Told::NotFound {
                site.wrong(format!("{name} was deleted, and the gateway that was cut off tells {told:?}"));
            }
        }
    }
    nemesis.heal();
}

/// Bunny is away for an hour in which much is uploaded; its copies are made when it is back.
async fn outage(site: &Site, nemesis: &mut Nemesis) {
    let uploads = crate::environment("TRIPLICATE_UPLOADS").map_or(UPLOADS, |text| text.parse().unwrap());
    tokio::time::sleep(ROUNDS).await;
    let refuse = Condition::Refuse(ErrorKind::Unavailable);
    let spell = site.world.weather.begin(None, Some(BUNNY), refuse);
    let began = Instant::now();
    for upload in 0..uploads {
        tokio::time::sleep_until(began + HOUR / uploads as u32 * upload as u32).await;
        let told = site.ask(upload, upload, Asked::Put { size: 1_000 }, false).await;
        if !matches!(told, Told::Stored(_)) {
            site.wrong(format!("upload {upload} is told {told:?}"));
        }
    }
    tokio::time::sleep_until(began + HOUR).await;
    tokio::time::sleep(ROUNDS).await;
    let before = site.debt().await;
    if before < uploads as u64 {
        site.wrong(format!("{before} copies are missing where {uploads} were uploaded"));
    }
    site.world.weather.end(spell);
    let returned = Instant::now();
    while site.debt().await > 0 && returned.elapsed() < MADE_WITHIN {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (left, took) = (site.debt().await, returned.elapsed());
    println!(
        "{uploads} uploads in an hour without Bunny: {left} copies are missing {took:?} after its return"
    );
    if left > 0 {
        site.wrong(format!("{left} copies are still missing"));
    }
    for name in (0..uploads).step_by((uploads / 100).max(1)) {
        let told = site.ask(name, name, Asked::Get, false).await;
        if !matches!(told, Told::Read { .. }) {
            site.wrong(format!("name {name} is told {told:?}"));
        }
    }
    nemesis.heal();
}

#[test]
fn overwrites_keep_their_order_while_the_puts_of_one_provider_are_late_doubled_and_out_of_order() {
    for keep in [Keep(None), Keep(Some(Duration::from_secs(120)))] {
        let outcomes = all(2, keep, overwrites);
        let removed: u64 = outcomes.iter().map(|outcome| outcome.removed).sum();
        assert_eq!(removed > 0, keep.0.is_some());
    }
}

#[test]
fn a_provider_that_was_away_for_a_month_resurrects_nothing_and_then_all_that_was_deleted_goes() {
    for outcome in all(3, Keep(Some(DAY * 2)), absence) {
        assert!(outcome.removed > 0);
    }
}

#[test]
fn a_gateway_that_was_cut_off_until_the_tombstones_were_gone_resurrects_nothing() {
    all(3, Keep(Some(DAY * 2)), exile);
}

#[test]
fn the_copies_of_an_hour_without_bunny_are_made_within_minutes_of_its_return() {
    all(1, Keep(None), outage);
}
