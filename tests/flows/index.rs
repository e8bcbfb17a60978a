//! The local index is a cache: what it misses, or cannot keep, must never show.

use std::time::Duration;

use triplicate::clock::Clock;
use triplicate::health::canary::CanaryState;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Slot};
use triplicate::read::ReadError;

use crate::stack::Stack;
use crate::{NOW, assert_same_copies, bytes, site};

/// Keeps everybody else from writing to the index of a stack, as a full disk would, until it is dropped.
fn jam(stack: &Stack) -> rusqlite::Connection {
    let index =
        rusqlite::Connection::open(stack.state.as_ref().unwrap().path().join("index.sqlite")).unwrap();
    index.execute_batch("BEGIN IMMEDIATE").unwrap();
    index
}

#[tokio::test(start_paused = true)]
async fn a_poll_gap_of_less_than_a_minute_leaves_no_hole() {
    // The last good poll is at :40 of a minute, the write at :50, the next poll at :35 of the next one.
    let (site, one) = site().await;
    let mut two = site.stack(site.clock(NOW));
    two.start().await;
    for gap in [31, 45, 55, 75, 119, 700] {
        let name = format!("{gap}.png");
        let to_forty = 60_000 + 40_000 - two.clock.unix_ms() % 60_000;
        tokio::time::advance(Duration::from_millis(to_forty)).await;
        one.look().await;
        two.look().await;
        two.poll().await;
        tokio::time::advance(Duration::from_secs(10)).await;
        one.look().await;
        one.put(&name, &bytes(gap, 10)).await.unwrap();
        tokio::time::advance(Duration::from_secs(gap - 10)).await;
        two.look().await;
        two.poll().await;
        assert!(two.catalog.is_fresh());
        assert_eq!(two.get(&name).await.unwrap(), bytes(gap, 10), "{gap}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_cannot_be_written_is_not_fresh_and_misses_nothing_afterwards() {
    let (site, one) = site().await;
    let mut two = site.stack(site.clock(NOW));
    two.start().await;
    assert!(two.catalog.is_fresh());
    let jammed = jam(&two);
    one.put("a.png", &bytes(1, 10)).await.unwrap();
    two.poll().await;
    // It asks a majority instead, and writes are taken as well.
    assert!(!two.catalog.is_fresh());
    assert_eq!(two.get("a.png").await.unwrap(), bytes(1, 10));
    two.put("b.png", &bytes(2, 10)).await.unwrap();
    assert_eq!(two.get("b.png").await.unwrap(), bytes(2, 10));
    drop(jammed);
    tokio::time::advance(Duration::from_secs(2)).await;
    two.poll().await;
    assert!(two.catalog.is_fresh());
    for (name, seed) in [("a.png", 1), ("b.png", 2)] {
        let known = two.catalog.versions(&name.parse().unwrap()).await;
        assert_eq!(known.len(), 1, "{name}");
        assert_eq!(two.get(name).await.unwrap(), bytes(seed, 10));
    }
}

#[tokio::test(start_paused = true)]
async fn no_canary_is_written_while_the_index_cannot_tell_what_is_missing() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    site.wipe(Slot(2));
    stack.look().await;
    let jammed = jam(&stack);
    stack.heal().await;
    assert_eq!(stack.monitor.board().canary(Slot(2)), Some(CanaryState::Missing));
    assert!(stack.keys(Slot(2)).await.is_empty());
    drop(jammed);
    tokio::time::advance(Duration::from_secs(20)).await;
    stack.look().await;
    stack.heal().await;
    assert_eq!(stack.monitor.board().canary(Slot(2)), Some(CanaryState::Ours));
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn no_canary_is_written_while_a_source_merely_does_not_answer() {
    // Only A holds the second version; A throttles while C is refilled.
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    site.faulty[1].set(Operation::Put, Fault::Error(ErrorKind::Unavailable));
    stack.put("a.png", &bytes(2, 10)).await.unwrap();
    site.faulty[1].heal();
    site.wipe(Slot(2));
    stack.look().await;
    site.faulty[0].set(Operation::Get, Fault::Error(ErrorKind::Throttled));
    stack.heal().await;
    assert_eq!(stack.monitor.board().canary(Slot(2)), Some(CanaryState::Missing));
    site.faulty[0].heal();
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(40)).await;
        stack.recover().await;
        stack.heal().await;
    }
    assert_eq!(stack.monitor.board().canary(Slot(2)), Some(CanaryState::Ours));
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_outlives_a_listing_of_the_name() {
    let (site, stack) = site().await;
    let content = bytes(1, 10);
    let receipt = stack.put("a.png", &content).await.unwrap();
    let key = triplicate::asset::Key::part(receipt.record.version.upload, 0);
    let name = "a.png".parse::<triplicate::asset::AssetName>().unwrap().hash();
    let slot = Slot(1);
    site.flip(slot, key.as_str(), 5);
    for other in [0, 2] {
        site.faulty[other].set(Operation::Get, Fault::Delay(Duration::from_secs(2)));
    }
    assert_eq!(stack.get("a.png").await.unwrap(), content);
    site.faulty.iter().for_each(|faulty| faulty.heal());
    assert!(stack.catalog.is_suspect(name, receipt.record.version, slot));
    // A listing of the name shows the record, which says nothing of the bytes.
    stack.put("a.png", &bytes(9, 10)).await.unwrap();
    stack.look().await;
    stack.heal().await;
    assert_eq!(stack.object(slot, &key).await.unwrap(), content);
}

#[tokio::test(start_paused = true)]
async fn a_delete_counts_a_version_whose_bytes_were_found_wanting() {
    // A and B have the record, but only A the bytes; A is away for a moment.
    let (site, stack) = site().await;
    site.faulty[2].set(Operation::Put, Fault::Error(ErrorKind::Unavailable));
    let receipt = stack.put("a.png", &bytes(1, 10)).await.unwrap();
    site.faulty[2].heal();
    stack.recover().await;
    let key = triplicate::asset::Key::part(receipt.record.version.upload, 0);
    stack.fleet.get(Slot(1)).delete(&key).await.unwrap();
    site.faulty[0].set(Operation::Get, Fault::Error(ErrorKind::Unavailable));
    // It was acknowledged here: for a moment its absence is not believed.
    let read = stack.get("a.png").await;
    assert!(matches!(read, Err(ReadError::Unavailable { .. })), "{read:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let read = stack.get("a.png").await;
    assert!(matches!(read, Err(ReadError::NotFound)), "{read:?}");
    stack.writer.delete("a.png".parse().unwrap()).await.unwrap().expect("a tombstone");
    site.faulty[0].heal();
    tokio::time::advance(Duration::from_secs(120)).await;
    let mut cold = site.stack(site.clock(NOW));
    cold.start().await;
    assert!(matches!(cold.get("a.png").await, Err(ReadError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn a_version_without_any_feed_entry_reaches_the_other_gateways_once_it_is_seen() {
    let (site, one) = site().await;
    let mut two = site.stack(site.clock(NOW));
    two.start().await;
    one.put("a.png", &bytes(1, 10)).await.unwrap();
    // A crash right after the records went out, before any feed entry.
    for slot in one.fleet.slots() {
        for key in one.keys(slot).await.into_iter().filter(|key| key.starts_with("feed/")) {
            one.fleet.get(slot).delete(&triplicate::asset::key::parse(&key).unwrap().key()).await.unwrap();
        }
    }
    let mut three = site.stack(site.clock(NOW));
    tokio::time::advance(Duration::from_secs(90)).await;
    for stack in [&mut two, &mut three] {
        stack.look().await;
        stack.poll().await;
    }
    assert!(matches!(two.get("a.png").await, Err(ReadError::NotFound)));
    // A gateway whose index is fresh and does not know the version lists the name, and tells all others.
    let wanted = triplicate::read::Wanted { revalidate: true, version: None };
    two.reader.resolve(&"a.png".parse().unwrap(), wanted).await.unwrap();
    two.heal().await;
    let feeds = async |stack: &Stack| {
        let mut count = 0;
        for slot in stack.fleet.slots() {
            count += stack.keys(slot).await.iter().filter(|key| key.starts_with("feed/")).count();
        }
        count
    };
    assert!(feeds(&two).await >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_a_crash_left_without_its_feed_entry_is_completed() {
    let (site, stack) = site().await;
    let clock = stack.clock.clone();
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    let feed =
        |keys: Vec<String>| keys.into_iter().filter(|key| key.starts_with("feed/")).collect::<Vec<_>>();
    // Before the restart of a gateway, and while one is watching.
    for restarted in [true, false] {
        let mut watching = site.stack(clock.clone());
        watching.start().await;
        for key in feed(watching.keys(Slot(1)).await) {
            let key = triplicate::asset::key::parse(&key).unwrap().key();
            watching.fleet.get(Slot(1)).delete(&key).await.unwrap();
        }
        assert!(feed(watching.keys(Slot(1)).await).is_empty());
        if restarted {
            watching = site.stack(clock.clone());
            watching.start().await;
        }
        // Recent minutes are compared from time to time, once they can no longer grow.
        for _ in 0..100 {
            tokio::time::advance(Duration::from_secs(2)).await;
            watching.look().await;
            watching.poll().await;
        }
        watching.heal().await;
        assert!(!feed(watching.keys(Slot(1)).await).is_empty(), "restarted: {restarted}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_record_is_read_in_the_background_does_not_wait_for_its_only_known_holder() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    let mut other = site.stack(Clock::seeded(NOW, 2));
    other.look().await;
    other.pollers[0].step().await.unwrap();
    site.faulty[0].set(Operation::Get, Fault::Hang);
    let background = other.catalog.read_missing_records();
    let ((), read) = tokio::join!(background, other.get("a.png"));
    assert_eq!(read.unwrap(), bytes(1, 10));
}
