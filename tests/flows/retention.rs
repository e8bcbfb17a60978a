//! Retention: what is no longer needed goes, in an order that a crash cannot turn into harm; nothing else does.

use std::time::Duration;

use triplicate::asset::{AssetName, Key, key};
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Slot};
use triplicate::read::{ReadError, Wanted};
use triplicate::retention::Brake;
use triplicate::telemetry::EventKind;

use crate::stack::{RETENTION, Stack};
use crate::{Site, assert_same_copies, bytes};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How often a removal is tried.
pub(crate) const TRIES: usize = 3;

/// A site whose gateway has the site's own clock.
pub(crate) async fn site() -> (Site, Stack) {
    let site = Site::new();
    let mut stack = site.stack(site.clock.clone());
    stack.start().await;
    (site, stack)
}

/// Lets time pass, and the gateway notice.
pub(crate) async fn later(stack: &mut Stack, time: Duration) {
    tokio::time::advance(time).await;
    stack.recover().await;
    stack.poll().await;
}

/// Does rounds until nothing more goes, an hour and a half apart.
async fn rounds(stack: &mut Stack) {
    for _ in 0..5 {
        let report = stack.retention.round(Brake::Stop, false).await;
        assert!(report.is_done(), "{report:?}");
        later(stack, HOUR * 3 / 2).await;
    }
}

/// All keys of everything but canaries, at each provider.
pub(crate) async fn keys(stack: &Stack) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for slot in stack.fleet.slots() {
        let keys = stack.keys(slot).await;
        all.push(keys.into_iter().filter(|key| !key.starts_with("canary/")).collect());
    }
    all
}

pub(crate) async fn remove(stack: &Stack, slot: usize, matching: &str) {
    let keys = stack.keys(Slot(slot)).await;
    let found: Vec<_> = keys.iter().filter(|key| key.contains(matching)).collect();
    assert!(!found.is_empty(), "{matching}");
    for key in found {
        let key = key::parse(key).unwrap().key();
        stack.fleet.get(Slot(slot)).delete(&key).await.unwrap();
    }
}

pub(crate) fn name(text: &str) -> AssetName {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_superseded_version_goes_after_the_retention_and_not_before() {
    let (_site, mut stack) = site().await;
    let first = stack.put("a.png", &bytes(1, 100_000)).await.unwrap().record;
    later(&mut stack, DAY * 30).await;
    stack.put("a.png", &bytes(2, 100_000)).await.unwrap();
    let before = keys(&stack).await;
    later(&mut stack, RETENTION - HOUR).await;
    rounds_do_nothing(&stack, &before).await;
    // Until then it can be read, by its version.
    let wanted = Wanted { version: Some(first.version), revalidate: false };
    assert_eq!(stack.reader.resolve(&name("a.png"), wanted).await.unwrap().version, first.version);
    later(&mut stack, HOUR + Duration::from_secs(1)).await;
    rounds(&mut stack).await;
    for keys in keys(&stack).await {
        assert_eq!(keys.len(), 4, "{keys:?}");
        assert!(!keys.iter().any(|key| key.contains(&first.version.upload.to_string())), "{keys:?}");
    }
    assert_eq!(stack.get("a.png").await.unwrap(), bytes(2, 100_000));
    assert!(matches!(stack.reader.resolve(&name("a.png"), wanted).await, Err(ReadError::NotFound)));
    assert_eq!(stack.catalog.versions(&name("a.png")).await.len(), 1, "the index forgets it");
    let events = stack.telemetry.recent_events(100);
    assert_eq!(events.iter().filter(|event| event.kind == EventKind::Retention).count(), 3);
    // Nobody brings it back.
    stack.heal().await;
    assert_same_copies(&stack).await;
    assert_eq!(keys(&stack).await[0].len(), 4);
}

/// Deletes a name, and waits until its tombstone is at every provider: the answer comes at a majority.
pub(crate) async fn delete(stack: &Stack, text: &str) {
    let receipt = stack.writer.delete(name(text)).await.unwrap().unwrap();
    let upload = receipt.record.version.upload.to_string();
    for _ in 0..10_000 {
        if keys(stack).await.iter().all(|keys| keys.iter().filter(|key| key.contains(&upload)).count() == 2) {
            return;
        }
    }
    panic!("a provider has no tombstone of {text}");
}

async fn rounds_do_nothing(stack: &Stack, before: &[Vec<String>]) {
    for _ in 0..2 {
        stack.retention.round(Brake::Released, true).await;
        assert_eq!(keys(stack).await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_while_a_majority_lacks_the_newer_version() {
    for lacking in ["record", "bytes"] {
        let (_site, mut stack) = site().await;
        stack.put("a.png", &bytes(1, 10)).await.unwrap();
        let second = stack.put("a.png", &bytes(2, 100_000)).await.unwrap().record;
        for slot in [1, 2] {
            let gone = match lacking {
                "record" => second.key().to_string(),
                _ => Key::blocks(second.version.upload).to_string(),
            };
            remove(&stack, slot, &gone).await;
        }
        later(&mut stack, RETENTION * 2).await;
        let before = keys(&stack).await;
        rounds_do_nothing(&stack, &before).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_away_for_thirty_days_resurrects_nothing() {
    let (site, mut stack) = site().await;
    for number in 0..5 {
        stack.put(&format!("{number}.png"), &bytes(number, 100_000)).await.unwrap();
    }
    site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable));
    for number in 0..5 {
        stack.writer.delete(name(&format!("{number}.png"))).await.unwrap();
    }
    for _ in 0..30 {
        later(&mut stack, DAY).await;
        stack.heal().await;
        stack.retention.round(Brake::Stop, true).await;
    }
    site.faulty[2].heal();
    for _ in 0..60 {
        later(&mut stack, HOUR * 6).await;
        stack.heal().await;
        let report = stack.retention.round(Brake::Stop, true).await;
        assert!(report.is_done(), "{report:?}");
        let mut cold = site.stack(site.clock.clone());
        cold.start().await;
        for number in 0..5 {
            for gateway in [&stack, &cold] {
                let read = gateway.get(&format!("{number}.png")).await;
                assert!(matches!(read, Err(ReadError::NotFound)), "{number}");
            }
        }
    }
    assert_eq!(keys(&stack).await, vec![Vec::<String>::new(); 3], "in the end even the tombstones go");
    assert_eq!(stack.catalog.names().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_goes_last_and_only_when_all_have_it() {
    let (_site, mut stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    delete(&stack, "a.png").await;
    later(&mut stack, RETENTION + HOUR).await;
    let report = stack.retention.round(Brake::Stop, false).await;
    assert!(report.is_done(), "{report:?}");
    let only_tombstones = |keys: Vec<Vec<String>>| {
        keys.iter().all(|keys| keys.len() == 2 && keys.iter().all(|key| key.ends_with(".del")))
    };
    assert!(only_tombstones(keys(&stack).await), "{:?}", keys(&stack).await);
    // Straight after that nobody knows what is still on its way.
    for _ in 0..5 {
        stack.retention.round(Brake::Stop, false).await;
    }
    assert!(only_tombstones(keys(&stack).await));
    // One provider has lost it: the others keep it.
    remove(&stack, 1, "names/").await;
    later(&mut stack, HOUR * 2).await;
    stack.retention.round(Brake::Stop, false).await;
    later(&mut stack, HOUR * 2).await;
    stack.retention.round(Brake::Stop, false).await;
    assert_eq!(keys(&stack).await.map_len(), [2, 1, 2]);
    assert!(matches!(stack.get("a.png").await, Err(ReadError::NotFound)));
    stack
        .catalog
        .suspect(name("a.png").hash(), stack.catalog.versions(&name("a.png")).await[0].version, Slot(1))
        .await;
    stack.heal().await;
    rounds(&mut stack).await;
    later(&mut stack, RETENTION + HOUR).await;
    rounds(&mut stack).await;
    assert!(
        keys(&stack).await.iter().flatten().all(|key| key.starts_with("feed/")),
        "{:?}",
        keys(&stack).await
    );
    assert!(matches!(stack.get("a.png").await, Err(ReadError::NotFound)));
}

trait MapLen {
    fn map_len(&self) -> Vec<usize>;
}

impl MapLen for Vec<Vec<String>> {
    fn map_len(&self) -> Vec<usize> {
        self.iter().map(Vec::len).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_brake_stops_a_large_plan_until_an_operator_releases_it() {
    let (_site, mut stack) = site().await;
    for number in 0..102 {
        stack.put("a.png", &bytes(number, 10)).await.unwrap();
    }
    later(&mut stack, RETENTION * 2).await;
    let before = keys(&stack).await;
    for _ in 0..2 {
        let report = stack.retention.round(Brake::Stop, false).await;
        assert!(report.braked && !report.is_done(), "{report:?}");
        assert_eq!(keys(&stack).await, before);
    }
    let braked = |stack: &Stack| {
        stack.telemetry.recent_events(100).iter().filter(|event| event.kind == EventKind::Brake).count()
    };
    assert_eq!(braked(&stack), 3, "one alarm a provider, not one a round");
    assert!(stack.retention.last().unwrap().braked);
    assert_eq!(stack.telemetry.metrics().retention_braked.get(), 1);
    let report = stack.retention.round(Brake::Count, false).await;
    assert_eq!(report.tallies.iter().map(|tally| tally.planned).collect::<Vec<_>>(), [101; 3]);
    assert_eq!(keys(&stack).await, before);
    let report = stack.retention.round(Brake::Released, false).await;
    assert!(report.is_done() && report.tallies.iter().all(|tally| tally.removed == 101), "{report:?}");
    assert_eq!(keys(&stack).await.map_len(), [3; 3]);
    assert_eq!(stack.telemetry.metrics().retention_braked.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_while_a_provider_is_away_foreign_or_wiped() {
    for trouble in ["away", "foreign", "wiped", "swapped meanwhile", "listing fails"] {
        let (site, mut stack) = site().await;
        stack.put("a.png", &bytes(1, 10)).await.unwrap();
        stack.put("a.png", &bytes(2, 10)).await.unwrap();
        later(&mut stack, RETENTION * 2).await;
        match trouble {
            "away" => site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable)),
            "foreign" => site.flip(Slot(2), "canary/c", 30),
            "listing fails" => site.faulty[2].set(Operation::List, Fault::Error(ErrorKind::Unavailable)),
            _ => site.wipe(Slot(2)),
        }
        if trouble != "swapped meanwhile" {
            tokio::time::advance(Duration::from_secs(90)).await;
            stack.look().await;
        }
        let before = [stack.keys(Slot(0)).await, stack.keys(Slot(1)).await];
        let report = stack.retention.round(Brake::Released, true).await;
        assert!(report.waits.is_some(), "{trouble}: {report:?}");
        assert_eq!([stack.keys(Slot(0)).await, stack.keys(Slot(1)).await], before, "{trouble}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_any_two_steps_leaves_a_sound_state_and_the_next_round_finishes() {
    // Feed entry, record, block list, part: four steps, each refused or done without an answer.
    for step in 0..4 {
        for fault in [Fault::Error(ErrorKind::Unavailable), Fault::LoseAnswer(ErrorKind::Timeout)] {
            let (site, mut stack) = site().await;
            let first = stack.put("a.png", &bytes(1, 100_000)).await.unwrap().record;
            stack.put("a.png", &bytes(2, 100_000)).await.unwrap();
            later(&mut stack, RETENTION * 2).await;
            for _ in 0..step {
                site.faulty[1].queue(Operation::Delete, Fault::Delay(Duration::ZERO));
            }
            (0..TRIES).for_each(|_| site.faulty[1].queue(Operation::Delete, fault));
            let report = stack.retention.round(Brake::Stop, false).await;
            assert!(report.tallies[1].failure.is_some(), "{step} {fault:?}");
            let upload = first.version.upload.to_string();
            let left: Vec<_> =
                stack.keys(Slot(1)).await.into_iter().filter(|key| key.contains(&upload)).collect();
            let has = |start: &str| left.iter().any(|key| key.starts_with(start));
            let blobs = left.iter().filter(|key| key.starts_with("blobs/")).count();
            assert!(!has("feed/") || has("names/"), "{step} {fault:?}: {left:?}");
            assert!(!has("names/") || blobs == 2, "{step} {fault:?}: {left:?}");
            // Nobody takes what is left for a copy to complete.
            stack.heal().await;
            assert_eq!(stack.get("a.png").await.unwrap(), bytes(2, 100_000));
            assert_eq!(keys(&stack).await.map_len()[0], 4);
            rounds(&mut stack).await;
            assert_eq!(keys(&stack).await.map_len(), [4; 3], "{step} {fault:?}");
            assert_same_copies(&stack).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_duplicate_delete_harms_nothing() {
    let (_site, mut stack) = site().await;
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    stack.put("a.png", &bytes(2, 100_000)).await.unwrap();
    later(&mut stack, RETENTION * 2).await;
    let before = keys(&stack).await;
    rounds(&mut stack).await;
    let after = keys(&stack).await;
    // The same bytes again, as an undo would write them.
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    let now = keys(&stack).await;
    for (slot, removed) in before.iter().enumerate() {
        for key in removed.iter().filter(|key| !after[slot].contains(key)) {
            stack.fleet.get(Slot(slot)).delete(&key::parse(key).unwrap().key()).await.unwrap();
        }
    }
    assert_eq!(keys(&stack).await, now);
    assert_eq!(stack.get("a.png").await.unwrap(), bytes(1, 100_000));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_wrong_removes_nothing_early() {
    let hour = 3_600_000;
    for (before, after) in [(hour, hour), (-hour, -hour), (0, hour), (0, 10 * 24 * hour)] {
        let (site, mut stack) = site().await;
        site.dated[1].set_ahead_ms(before);
        stack.put("a.png", &bytes(1, 10)).await.unwrap();
        stack.put("a.png", &bytes(2, 10)).await.unwrap();
        stack.poll().await;
        site.dated[1].set_ahead_ms(after);
        let kept = keys(&stack).await;
        later(&mut stack, RETENTION - HOUR / 2).await;
        rounds_do_nothing(&stack, &kept).await;
        later(&mut stack, HOUR * 2).await;
        rounds(&mut stack).await;
        assert_eq!(keys(&stack).await.map_len(), [3; 3], "{before} {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_gateways_at_once_remove_the_same_and_both_forget_it() {
    let (site, mut one) = site().await;
    one.put("a.png", &bytes(1, 10)).await.unwrap();
    one.put("a.png", &bytes(2, 10)).await.unwrap();
    one.put("b.png", &bytes(3, 10)).await.unwrap();
    delete(&one, "b.png").await;
    let mut two = site.stack(site.clock.clone());
    two.start().await;
    for _ in 0..8 {
        later(&mut one, RETENTION / 3).await;
        later(&mut two, HOUR).await;
        one.look().await;
        let reports =
            tokio::join!(one.retention.round(Brake::Stop, true), two.retention.round(Brake::Stop, true));
        assert!(reports.0.is_done() && reports.1.is_done(), "{reports:?}");
        tokio::join!(one.heal(), two.heal());
    }
    for stack in [&one, &two] {
        assert_eq!(stack.catalog.versions(&name("a.png")).await.len(), 1);
        assert_eq!(stack.catalog.names().await, 1);
        assert_eq!(stack.get("a.png").await.unwrap(), bytes(2, 10));
        assert!(stack.catalog.copies_missing().await.iter().all(|(_, missing)| *missing == 0));
    }
    assert_eq!(keys(&one).await.map_len(), [3; 3]);
}

#[tokio::test(start_paused = true)]
async fn one_request_that_fails_does_not_end_a_round() {
    for operation in [Operation::List, Operation::Get, Operation::Delete] {
        let (site, mut stack) = site().await;
        stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
        stack.put("a.png", &bytes(2, 100_000)).await.unwrap();
        later(&mut stack, RETENTION * 2).await;
        site.faulty[1].queue(operation, Fault::Error(ErrorKind::Unavailable));
        let report = stack.retention.round(Brake::Stop, false).await;
        assert!(report.is_done() && report.tallies[1].removed == 1, "{operation:?}: {report:?}");
    }
}
