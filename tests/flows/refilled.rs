//! A provider that is wiped, and refilled by another gateway, in the middle of a question or a write: its canary
//! is there again, but it is another one.

use std::fs;
use std::time::Duration;

use triplicate::clock::Clock;
use triplicate::health::canary;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Slot};
use triplicate::write::{Outcome, PutRequest, WriteError};

use crate::stack::{KEY, Stack, request};
use crate::{NOW, Site, assert_same_copies, bytes, site};

const SECOND: Duration = Duration::from_secs(1);

fn at_a_majority(name: &str) -> PutRequest {
    PutRequest { wait_all: false, ..request(name) }
}

/// Empties the first provider after a second, and has another gateway refill it at once.
async fn wipe_and_refill(site: &Site, other: &Stack) {
    tokio::time::sleep(SECOND).await;
    site.wipe(Slot(0));
    other.look().await;
    other.heal().await;
    assert!(site.folder.path().join("a/canary/a").is_file(), "it was refilled");
}

async fn another_gateway(site: &Site) -> Stack {
    let other = site.stack(Clock::seeded(NOW, 2));
    other.look().await;
    other
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_began_before_it_does_not_count() {
    let (site, stack) = site().await;
    let other = another_gateway(&site).await;
    // The bytes come before it, records and feed entries after it, and the third provider takes nothing.
    for slot in [0, 1] {
        site.faulty[slot].queue(Operation::Put, Fault::Delay(Duration::ZERO));
        site.faulty[slot].queue(Operation::Put, Fault::Delay(5 * SECOND));
    }
    site.faulty[2].set(Operation::Put, Fault::Error(ErrorKind::Denied));
    let content = bytes(1, 10);
    let (put, ()) =
        tokio::join!(stack.put_request(at_a_majority("a.png"), &content), wipe_and_refill(&site, &other));
    let unknown = matches!(&put, Err(WriteError::Unavailable { outcome: Outcome::Unknown, .. }));
    assert!(unknown, "the bytes lie at one provider alone: {put:?}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_whole_before_it_does_not_count_beside_one_that_came_after_it() {
    let (site, stack) = site().await;
    let other = another_gateway(&site).await;
    // The first provider has everything before it, the second its record after it, and the third takes nothing.
    site.faulty[1].queue(Operation::Put, Fault::Delay(Duration::ZERO));
    site.faulty[1].queue(Operation::Put, Fault::Delay(5 * SECOND));
    site.faulty[2].set(Operation::Put, Fault::Error(ErrorKind::Denied));
    let content = bytes(1, 10);
    let (put, ()) =
        tokio::join!(stack.put_request(at_a_majority("a.png"), &content), wipe_and_refill(&site, &other));
    let unknown = matches!(&put, Err(WriteError::Unavailable { outcome: Outcome::Unknown, .. }));
    assert!(unknown, "no two providers held it at the same time: {put:?}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_it_tore_is_mended_by_the_gateway_that_wrote_it() {
    let (site, mut stack) = site().await;
    let other = another_gateway(&site).await;
    for slot in 0..3 {
        site.faulty[slot].queue(Operation::Put, Fault::Delay(Duration::ZERO));
        site.faulty[slot].queue(Operation::Put, Fault::Delay(5 * SECOND));
    }
    let content = bytes(1, 10);
    let (put, ()) =
        tokio::join!(stack.put_request(at_a_majority("a.png"), &content), wipe_and_refill(&site, &other));
    put.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    stack.look().await;
    stack.poll().await;
    stack.repairer.step().await;
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_it_tore_is_mended_though_its_gateway_died() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    stack.tasks.shut_down(SECOND).await;
    // What is left of a write whose bytes came before the wipe, and the rest after the refill.
    fs::remove_dir_all(site.folder.path().join("a/blobs")).unwrap();
    tokio::time::sleep(SECOND).await;
    canary::write(stack.fleet.get(Slot(0)).as_ref(), &KEY, stack.clock.utc()).await.unwrap();
    let mut other = site.stack(Clock::seeded(NOW + 1_000, 2));
    other.look().await;
    other.poll().await;
    other.catalog.read_missing_records().await;
    other.repairer.step().await;
    assert_same_copies(&other).await;
}

#[tokio::test(start_paused = true)]
async fn a_listing_from_before_it_makes_no_404() {
    let (site, stack) = site().await;
    site.faulty[2].set(Operation::Put, Fault::Error(ErrorKind::Denied));
    stack.put_request(at_a_majority("a.png"), &bytes(1, 10)).await.unwrap();
    stack.tasks.shut_down(SECOND).await;
    site.faulty[2].heal();
    let (cold, other) = (another_gateway(&site).await, another_gateway(&site).await);
    site.wipe(Slot(0));
    // The first lists nothing at once; before the third has answered, the first was refilled.
    site.faulty[1].queue(Operation::List, Fault::Delay(20 * SECOND));
    site.faulty[2].queue(Operation::List, Fault::Delay(3 * SECOND));
    let (read, ()) = tokio::join!(cold.get("a.png"), wipe_and_refill(&site, &other));
    assert_eq!(read.unwrap(), bytes(1, 10));
}
