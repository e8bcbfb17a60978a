//! Snapshots of the index: a cold gateway knows all names soon, and is right from its first request on.

use std::time::Duration;

use triplicate::asset::{Key, KeyKind, key};
use triplicate::audit::{self, AuditOptions, Level};
use triplicate::catalog::snapshot::{Policy, Snapshots};
use triplicate::clock::Clock;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Payload, Slot};
use triplicate::read::ReadError;

use crate::stack::{KEY, Stack};
use crate::{NOW, Site, bytes, site};

pub(crate) fn snapshots(stack: &Stack) -> Snapshots {
    Snapshots::new(stack.catalog.clone(), Policy { names_min: 1, ..Policy::default() })
}

/// Tells whether the index got the name from a snapshot: a listing brings no records.
pub(crate) async fn came_with_its_record(stack: &Stack, name: &str) -> bool {
    let known = stack.catalog.versions(&name.parse().unwrap()).await;
    known.last().is_some_and(|version| version.record.is_some())
}

/// Five names, one of them deleted.
pub(crate) async fn with_names() -> (Site, Stack) {
    let (site, mut one) = site().await;
    for number in 0..5 {
        one.put(&format!("{number}.png"), &bytes(number, 100)).await.unwrap();
    }
    one.writer.delete("4.png".parse().unwrap()).await.unwrap();
    one.poll().await;
    (site, one)
}

/// Five names, and a snapshot of them.
pub(crate) async fn with_snapshot() -> (Site, Stack) {
    let (site, one) = with_names().await;
    snapshots(&one).write().await.unwrap();
    (site, one)
}

pub(crate) fn snapshot_keys(keys: Vec<String>) -> Vec<String> {
    keys.into_iter().filter(|key| key.starts_with(key::SNAPSHOTS)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_gateway_without_its_state_folder_knows_all_from_a_snapshot() {
    let (site, one) = with_snapshot().await;
    let mut cold = site.stack(site.clock(NOW));
    assert!(!cold.catalog.is_ready());
    cold.start().await;
    assert!(cold.catalog.is_ready() && cold.catalog.is_fresh());
    for name in ["0.png", "4.png"] {
        assert!(came_with_its_record(&cold, name).await, "{name}");
        let of = async |stack: &Stack| {
            let known = stack.catalog.versions(&name.parse().unwrap()).await;
            known.into_iter().map(|it| (it.version, it.kind, it.holders)).collect::<Vec<_>>()
        };
        assert_eq!(of(&cold).await, of(&one).await, "{name}");
    }
    assert_eq!(cold.get("0.png").await.unwrap(), bytes(0, 100));
    for name in ["4.png", "never.png"] {
        assert!(matches!(cold.get(name).await, Err(ReadError::NotFound)), "{name}");
    }
    let missing = cold.catalog.copies_missing().await;
    assert!(missing.iter().all(|(_, copies)| *copies == 0), "{missing:?}");
    assert_eq!(cold.catalog.list(String::new(), None, 10).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_right_while_the_load_goes_on() {
    let (site, one) = with_snapshot().await;
    one.put("0.png", &bytes(10, 100)).await.unwrap();
    one.writer.delete("1.png".parse().unwrap()).await.unwrap();
    one.put("4.png", &bytes(14, 100)).await.unwrap();
    one.put("new.png", &bytes(15, 100)).await.unwrap();
    let mut cold = site.stack(site.clock(NOW));
    cold.look().await;
    site.faulty
        .iter()
        .for_each(|faulty| faulty.set(Operation::Get, Fault::Delay(Duration::from_millis(1_500))));
    let mut pollers = std::mem::take(&mut cold.pollers);
    let load = async {
        for poller in &mut pollers {
            poller.step().await.unwrap();
        }
    };
    let mut cold_reads = 0;
    let reads = async {
        // The snapshot's canary, manifest and chunk take one and a half seconds each.
        for _ in 0..20 {
            cold_reads += u32::from(!cold.catalog.is_fresh());
            for (name, seed) in [("0.png", 10), ("2.png", 2), ("4.png", 14), ("new.png", 15)] {
                assert_eq!(cold.get(name).await.unwrap(), bytes(seed, 100), "{name}");
            }
            for name in ["1.png", "never.png"] {
                assert!(matches!(cold.get(name).await, Err(ReadError::NotFound)), "{name}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            cold.look().await;
        }
    };
    tokio::join!(load, reads);
    assert!(cold_reads > 0);
    assert!(came_with_its_record(&cold, "0.png").await);
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_of_a_snapshot_is_not_told_while_its_successor_may_be_elsewhere() {
    let (site, one) = with_snapshot().await;
    // The name comes back, at B and C; then only A answers.
    site.faulty[0].set(Operation::Put, Fault::Error(ErrorKind::Unavailable));
    one.put("4.png", &bytes(14, 100)).await.unwrap();
    site.faulty[0].heal();
    let mut cold = site.stack(site.clock(NOW));
    cold.look().await;
    cold.pollers[0].step().await.unwrap();
    assert!(came_with_its_record(&cold, "4.png").await);
    site.faulty[1..].iter().for_each(|faulty| faulty.set_all(Fault::Error(ErrorKind::Unavailable)));
    let read = cold.get("4.png").await;
    assert!(matches!(read, Err(ReadError::Unavailable { .. })), "{read:?}");
    site.faulty.iter().for_each(|faulty| faulty.heal());
    assert_eq!(cold.get("4.png").await.unwrap(), bytes(14, 100));
}

/// Files the feed entries of a name under an earlier minute, as if they had been on their way for so long.
async fn delay_feed_entries(stack: &Stack, name: &str, minutes: u64) {
    let hash = name.parse::<triplicate::asset::AssetName>().unwrap().hash();
    for slot in stack.fleet.slots() {
        for text in stack.keys(slot).await {
            let Some(KeyKind::Feed { minute, name, version, kind }) = key::parse(&text) else { continue };
            if name == hash {
                let provider = stack.fleet.get(slot);
                let late = Key::feed(minute - minutes, name, version, kind);
                provider.delete(&Key::feed(minute, name, version, kind)).await.unwrap();
                provider
                    .put(&late, &Payload::from(bytes::Bytes::from_static(b"x\n")), "text/plain")
                    .await
                    .unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn late_feed_entries_are_found_by_a_cold_gateway_and_by_one_that_watches() {
    let (site, one) = with_snapshot().await;
    let mut watching = site.stack(site.clock(NOW));
    watching.start().await;
    // The half minute is over in which a poll would still list the minute of the write by itself.
    tokio::time::advance(Duration::from_secs(180)).await;
    watching.look().await;
    watching.poll().await;
    one.look().await;
    one.put("late.png", &bytes(9, 100)).await.unwrap();
    delay_feed_entries(&one, "late.png", 20).await;
    let mut cold = site.stack(one.clock.clone());
    cold.look().await;
    for poller in &mut cold.pollers[..2] {
        poller.step().await.unwrap();
    }
    assert!(came_with_its_record(&cold, "0.png").await);
    let knows = async |stack: &Stack| !stack.catalog.versions(&"late.png".parse().unwrap()).await.is_empty();
    assert!(knows(&cold).await);
    // Ten minutes at most go by until the last hour is swept again.
    let began = tokio::time::Instant::now();
    while !knows(&watching).await {
        assert!(began.elapsed() < Duration::from_secs(11 * 60));
        tokio::time::advance(Duration::from_secs(2)).await;
        watching.look().await;
        watching.poll().await;
    }
    assert!(watching.catalog.is_fresh());
}

#[tokio::test(start_paused = true)]
async fn a_restarted_gateway_goes_on_where_it_stopped() {
    let (site, mut one) = site().await;
    let mut two = site.stack(one.clock.clone());
    two.start().await;
    for hour in 0..5 {
        tokio::time::advance(Duration::from_secs(3_600)).await;
        one.look().await;
        one.put(&format!("{hour}.png"), &bytes(hour, 10)).await.unwrap();
    }
    one.poll().await;
    let lists = || site.faulty.iter().map(|faulty| faulty.calls(Operation::List)).sum::<u64>();
    let mut two = site.restart(two, one.clock.clone());
    assert!(two.catalog.is_ready() && !two.catalog.is_fresh());
    let before = lists();
    two.look().await;
    two.poll().await;
    assert!(two.catalog.is_fresh());
    for hour in 0..5 {
        let known = two.catalog.versions(&format!("{hour}.png").parse().unwrap()).await;
        assert_eq!(known.len(), 1, "{hour}");
    }
    assert!(two.catalog.copies_missing().await.iter().all(|(_, copies)| *copies == 0));
    // Each minute since then once, at each of three, and a piece of a sweep.
    assert!((3 * 300..3 * 320).contains(&(lists() - before)), "{}", lists() - before);
    let before = lists();
    tokio::time::advance(Duration::from_secs(2)).await;
    two.look().await;
    two.poll().await;
    assert!(lists() - before <= 3 * 9, "{}", lists() - before);
}

#[tokio::test(start_paused = true)]
async fn an_index_or_a_snapshot_older_than_what_was_kept_is_not_used() {
    let (site, one) = with_snapshot().await;
    // Half of the retention of seven days.
    for (hours, usable) in [(83, true), (85, false)] {
        let later = site.clock(NOW + hours * 3_600_000);
        let mut cold = site.stack(later.clone());
        cold.start().await;
        assert_eq!(came_with_its_record(&cold, "0.png").await, usable, "{hours}");
        assert_eq!(cold.get("0.png").await.unwrap(), bytes(0, 100));
    }
    let two = site.restart(one, site.clock(NOW + 83 * 3_600_000));
    assert!(two.catalog.is_ready());
    let three = site.restart(two, site.clock(NOW + 85 * 3_600_000));
    assert!(!three.catalog.is_ready() && three.catalog.is_empty().await);
}

/// Lets all objects of the snapshots at a provider be so old.
fn age_snapshots(site: &Site, stack: &Stack, slot: Slot, keys: &[String], hours: u64) {
    let stored = stack.clock.unix_ms() - hours * 3_600_000;
    keys.iter().for_each(|key| site.dated[slot.0].date_back(key, stored));
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_written_when_due_and_removed_when_two_newer_ones_are_there() {
    let (site, mut stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    stack.poll().await;
    let snapshots = snapshots(&stack);
    let mut seen: Vec<Vec<String>> = Vec::new();
    for (round, expected) in [1, 2, 3, 3].into_iter().enumerate() {
        snapshots.step().await;
        let keys = snapshot_keys(stack.keys(Slot(1)).await);
        assert_eq!(keys.len(), 2 * expected, "{round}: {keys:?}");
        seen.push(keys.clone());
        // The look is not repeated at once, and a young snapshot keeps others from being written.
        snapshots.step().await;
        tokio::time::advance(Duration::from_secs(11 * 60)).await;
        stack.look().await;
        stack.poll().await;
        for slot in stack.fleet.slots() {
            age_snapshots(&site, &stack, slot, &snapshot_keys(stack.keys(slot).await), 1);
        }
        snapshots.step().await;
        assert_eq!(snapshot_keys(stack.keys(Slot(1)).await), keys, "{round}");
        tokio::time::advance(Duration::from_secs(11 * 60)).await;
        stack.look().await;
        stack.poll().await;
        for slot in stack.fleet.slots() {
            for (age, new) in seen.iter().rev().enumerate() {
                age_snapshots(&site, &stack, slot, &existing(&site, slot, new), 10 * (age as u64 + 1));
            }
        }
    }
    let left = snapshot_keys(stack.keys(Slot(1)).await);
    assert!(!left.contains(&seen[0][0]), "the oldest one is removed");
}

fn existing(site: &Site, slot: Slot, keys: &[String]) -> Vec<String> {
    let folder = site.folder.path().join(["a", "b", "c"][slot.0]);
    keys.iter().filter(|key| folder.join(key).exists()).cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn an_audit_takes_a_snapshot_for_our_own() {
    let (_site, one) = with_snapshot().await;
    let state = tempfile::tempdir().unwrap();
    let report = state.path().join("report");
    let options = AuditOptions {
        level: Level::List,
        repair: false,
        prefix: None,
        sample: None,
        max_bytes_per_second: None,
        resume: false,
        report: Some(report.clone()),
        json: false,
        state_dir: state.path().to_owned(),
    };
    let clock = Clock::seeded(NOW + 7_200_000, 2);
    assert_eq!(audit::run(one.fleet.clone(), KEY, clock, options).await, 0);
    let report = std::fs::read_to_string(report).unwrap();
    assert_eq!(report.lines().count(), 1, "{report}");
}
