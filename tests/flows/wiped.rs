//! A bucket that is wiped at a bad moment: what its canary said a moment ago is no proof of what it lists now.

use std::time::Duration;

use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Slot};
use triplicate::read::{ReadError, Wanted};
use triplicate::retention::Brake;
use triplicate::telemetry::EventKind;
use triplicate::write::PutRequest;

use crate::stack::{RETENTION, Stack, request};
use crate::{NOW, Site, assert_same_copies, bytes, site};

fn at_a_majority(name: &str) -> PutRequest {
    PutRequest { wait_all: false, ..request(name) }
}

/// Stores an asset at the first two providers, and empties the first; the second is slow to list from now on.
async fn stored_and_wiped(site: &Site, stack: &Stack, seed: u64) {
    site.faulty[2].set(Operation::Put, Fault::Error(ErrorKind::Unavailable));
    stack.put_request(at_a_majority("a.png"), &bytes(seed, 10)).await.unwrap();
    site.faulty[2].heal();
    site.wipe(Slot(0));
    site.faulty[1].set(Operation::List, Fault::Delay(Duration::from_millis(500)));
}

async fn gateway(site: &Site, ahead_ms: u64) -> Stack {
    let mut stack = site.stack(site.clock(NOW + ahead_ms));
    stack.start().await;
    stack
}

#[tokio::test(start_paused = true)]
async fn a_write_after_it_is_stamped_later_than_what_it_held() {
    let site = Site::new();
    let (ahead, other) = (gateway(&site, 3_600_000).await, gateway(&site, 0).await);
    stored_and_wiped(&site, &ahead, 1).await;
    other.put_request(at_a_majority("a.png"), &bytes(2, 10)).await.unwrap();
    site.faulty[1].heal();
    assert_eq!(gateway(&site, 0).await.get("a.png").await.unwrap(), bytes(2, 10));
}

#[tokio::test(start_paused = true)]
async fn a_delete_after_it_deletes_what_it_held() {
    let site = Site::new();
    let (first, other) = (gateway(&site, 0).await, gateway(&site, 0).await);
    stored_and_wiped(&site, &first, 1).await;
    other.writer.delete("a.png".parse().unwrap()).await.unwrap();
    site.faulty[1].heal();
    assert!(gateway(&site, 0).await.get("a.png").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_beside_it_makes_no_404() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    stack.writer.delete("a.png".parse().unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = site.stack(site.clock(NOW));
    other.look().await;
    stored_and_wiped(&site, &stack, 2).await;
    assert_eq!(other.get("a.png").await.unwrap(), bytes(2, 10));
}

#[tokio::test(start_paused = true)]
async fn who_asks_to_be_sure_gets_no_older_version() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = site.stack(site.clock(NOW));
    other.look().await;
    stored_and_wiped(&site, &stack, 2).await;
    let wanted = Wanted { version: None, revalidate: true };
    let record = other.reader.resolve(&"a.png".parse().unwrap(), wanted).await.unwrap();
    let newest = blake3::hash(&bytes(2, 10));
    assert_eq!(record.put.as_ref().unwrap().blake3.as_bytes(), newest.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn parts_from_before_it_are_made_again() {
    let (site, mut stack) = site().await;
    let content = bytes(1, (8 << 20) + 70_000);
    site.faulty[0].queue(Operation::Put, Fault::Delay(Duration::ZERO));
    site.faulty[0].queue(Operation::Put, Fault::Delay(Duration::from_secs(2)));
    let wiping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.wipe(Slot(0));
    };
    let (put, ()) = tokio::join!(stack.put_request(request("a.png"), &content), wiping);
    put.unwrap();
    for _ in 0..3 {
        stack.look().await;
        stack.poll().await;
        stack.heal().await;
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn a_read_that_comes_before_the_records_hides_nothing_afterwards() {
    let (site, stack) = site().await;
    let other = site.stack(site.clock(NOW));
    other.look().await;
    for slot in [1, 2] {
        site.faulty[slot].queue(Operation::Put, Fault::Delay(Duration::ZERO));
        site.faulty[slot].queue(Operation::Put, Fault::Delay(Duration::from_secs(3)));
    }
    let content = bytes(1, 10);
    // The record lies at one provider alone, which then does not deliver it: a majority lacks it just now.
    let early = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.faulty[0].set(Operation::Get, Fault::Error(ErrorKind::Unavailable));
        let early = other.get("a.png").await;
        site.faulty[0].heal();
        early
    };
    let (put, early) = tokio::join!(stack.put_request(at_a_majority("a.png"), &content), early);
    put.unwrap();
    assert!(matches!(early, Err(ReadError::NotFound | ReadError::Unavailable { .. })));
    assert_eq!(other.get("a.png").await.unwrap(), content, "it is acknowledged by now");
}

#[tokio::test(start_paused = true)]
async fn copies_that_are_lost_again_during_the_refill_are_made_again_before_it_is_trusted() {
    let (site, stack) = site().await;
    for number in 0..12 {
        stack.put(&format!("{number}.png"), &bytes(number, 10)).await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    site.wipe(Slot(2));
    stack.look().await;
    // Eight at a time, part and record and feed entry: the first ones are complete, the others half.
    site.faulty[2].set(Operation::Put, Fault::Delay(Duration::from_secs(1)));
    let wiping = async {
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        site.wipe(Slot(2));
    };
    tokio::join!(stack.repairer.establish(), wiping);
    let canary = site.folder.path().join("c/canary/c");
    assert!(!canary.exists(), "nobody vouches for what is gone");
    site.faulty[2].heal();
    tokio::time::advance(Duration::from_secs(20)).await;
    stack.look().await;
    stack.repairer.establish().await;
    assert!(canary.is_file());
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_does_not_make_the_refill_begin_anew() {
    let mut listings = Vec::new();
    for failing in [0, 40] {
        let (site, stack) = site().await;
        for number in 0..40 {
            stack.put(&format!("{number}.png"), &bytes(number, 10)).await.unwrap();
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        site.wipe(Slot(2));
        stack.look().await;
        (0..failing).for_each(|_| site.faulty[2].queue(Operation::Put, Fault::Error(ErrorKind::Throttled)));
        let calls = || site.faulty[0].calls(Operation::List);
        let before = calls();
        for _ in 0..3 {
            stack.repairer.establish().await;
            tokio::time::advance(Duration::from_secs(20)).await;
        }
        listings.push(calls() - before);
        assert!(site.folder.path().join("c/canary/c").is_file());
        assert_same_copies(&stack).await;
    }
    assert_eq!(listings[0], listings[1], "the names are listed once");
}

#[tokio::test(start_paused = true)]
async fn the_feed_that_is_left_of_it_vouches_for_no_copy() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    for gone in ["c/blobs", "c/canary"] {
        std::fs::remove_dir_all(site.folder.path().join(gone)).unwrap();
    }
    let mut fresh = site.stack(site.clock(NOW + 60_000));
    fresh.look().await;
    // The first try of a refill is given up at the start, the names are loaded, and then it is tried again.
    site.faulty[2].set(Operation::Put, Fault::Hang);
    let tried = tokio::time::timeout(Duration::from_secs(10), fresh.repairer.establish()).await;
    assert!(tried.is_err());
    site.faulty[2].heal();
    fresh.poll().await;
    fresh.look().await;
    fresh.repairer.establish().await;
    assert!(site.folder.path().join("c/canary/c").is_file());
    assert_same_copies(&fresh).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_wiped_soon_after_removals_is_refilled() {
    let (site, mut stack) = crate::retention::site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    stack.put("a.png", &bytes(2, 10)).await.unwrap();
    crate::retention::later(&mut stack, RETENTION * 2).await;
    let report = stack.retention.round(Brake::Stop, false).await;
    assert!(report.is_done() && report.lines()[2].contains("1 of 1"), "{report:?}");
    // What was removed a moment ago is still known, as expired, until the next round forgets it.
    site.wipe(Slot(2));
    stack.look().await;
    stack.heal().await;
    let keys = stack.keys(Slot(2)).await;
    assert!(keys.iter().any(|key| key.starts_with("canary/")), "it is trusted again: {keys:?}");
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_whose_removal_was_cut_short_hold_up_no_refill_and_are_no_loss() {
    let (site, stack) = crate::retention::site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    crate::retention::delete(&stack, "a.png").await;
    // Feed entry and record are gone everywhere, the bytes are not yet, and the index calls the version retained.
    for slot in 0..3 {
        crate::retention::remove(&stack, slot, ".put").await;
    }
    site.wipe(Slot(2));
    stack.look().await;
    stack.heal().await;
    let keys = stack.keys(Slot(2)).await;
    assert!(keys.iter().any(|key| key.starts_with("canary/")), "it is trusted again: {keys:?}");
    let events = stack.telemetry.recent_events(100);
    assert!(!events.iter().any(|event| event.kind == EventKind::RepairFailed), "{events:?}");
}
