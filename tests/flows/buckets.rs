//! Buckets that are wiped or change places while a write or its survey is under way.

use std::fs;
use std::time::Duration;

use triplicate::asset::{Key, Kind};
use triplicate::health::canary::CanaryState;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Payload, Provider, Slot};
use triplicate::read::ReadError;
use triplicate::write::{Outcome, WriteError};

use crate::stack::request;
use crate::{NOW, Site, assert_same_copies, bytes, site};

const DOWN: Fault = Fault::Error(ErrorKind::Unavailable);
const HOUR_MS: u64 = 3_600_000;

impl Site {
    fn swap(&self, one: &str, other: &str) {
        let path = |name: &str| self.folder.path().join(name);
        fs::rename(path(one), path("between")).unwrap();
        fs::rename(path(other), path(one)).unwrap();
        fs::rename(path("between"), path(other)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_survey_does_not_rest_on_a_provider_that_was_wiped_a_moment_ago() {
    let site = Site::new();
    let mut ahead = site.stack(site.clock(NOW + HOUR_MS));
    let mut behind = site.stack(site.clock(NOW));
    ahead.start().await;
    behind.start().await;
    site.faulty[1].set_all(DOWN);
    ahead.put("a.png", &bytes(1, 10)).await.unwrap();
    ahead.tasks.shut_down(Duration::from_secs(1)).await;
    site.faulty[1].heal();
    // Of the two that hold it one is wiped, and its canary was seen less than a minute ago; one is away.
    site.wipe(Slot(2));
    site.faulty[0].set_all(DOWN);
    assert_eq!(behind.monitor.board().canary(Slot(2)), Some(CanaryState::Ours));
    let result = behind.put("a.png", &bytes(2, 10)).await;
    let refused = matches!(&result, Err(WriteError::Unavailable { outcome: Outcome::NotCommitted, .. }));
    assert!(refused, "stamped below what was acknowledged: {result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_beside_a_provider_that_was_wiped_a_moment_ago_hides_nothing() {
    let (site, one) = site().await;
    one.put("a.png", &bytes(1, 10)).await.unwrap();
    one.writer.delete("a.png".parse().unwrap()).await.unwrap();
    one.tasks.shut_down(Duration::from_secs(1)).await;
    site.faulty[1].set_all(DOWN);
    let mut newer = request("a.png");
    newer.wait_all = false;
    let writer = site.stack(site.clock(NOW));
    writer.look().await;
    writer.put_request(newer, &bytes(2, 10)).await.unwrap();
    writer.tasks.shut_down(Duration::from_secs(1)).await;
    site.faulty[1].heal();
    let cold = site.stack(site.clock(NOW));
    cold.look().await;
    site.wipe(Slot(2));
    site.faulty[0].set_all(DOWN);
    let read = cold.get("a.png").await;
    assert!(matches!(read, Err(ReadError::Unavailable { .. })), "{read:?}");
    site.faulty[0].heal();
    assert_eq!(cold.get("a.png").await.unwrap(), bytes(2, 10));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_a_wipe_cut_short_is_made_whole() {
    let (site, mut stack) = site().await;
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    // The bytes came before the wipe, the record and the feed entry after it.
    for gone in ["blobs", "canary"] {
        fs::remove_dir_all(site.folder.path().join("c").join(gone)).unwrap();
    }
    stack.look().await;
    stack.poll().await;
    stack.heal().await;
    assert_eq!(stack.monitor.board().canary(Slot(2)), Some(CanaryState::Ours));
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_learnt_from_the_wrong_bucket_is_forgotten() {
    let (site, mut stack) = site().await;
    site.faulty[2].set_all(DOWN);
    let mut put = request("a.png");
    put.wait_all = false;
    stack.put_request(put, &bytes(1, 100_000)).await.unwrap();
    site.faulty[2].heal();
    // Virtual time passes when nothing is left to do: the pipeline of C has given up by then.
    tokio::time::sleep(Duration::from_secs(40)).await;
    stack.recover().await;
    // Nobody has noticed yet: repair takes what lies in B's bucket for the copy of C.
    site.swap("b", "c");
    stack.repairer.step().await;
    stack.poll().await;
    stack.look().await;
    assert_eq!(stack.monitor.board().canary(Slot(2)), Some(CanaryState::Foreign));
    stack.heal().await;
    site.swap("b", "c");
    stack.recover().await;
    stack.heal().await;
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_foreign_bucket_tells_a_gateway_that_starts_is_forgotten_with_it() {
    let (site, one) = site().await;
    site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable));
    let mut put = request("a.png");
    put.wait_all = false;
    let record = one.put_request(put, &bytes(1, 100)).await.unwrap().record;
    one.tasks.shut_down(Duration::from_secs(60)).await;
    site.faulty[2].heal();
    // By a mistake in a configuration the third provider shows the bucket of another one.
    let third = site.dated[2].clone();
    let entry = Key::feed(NOW / 60_000, record.name.hash(), record.version, Kind::Put);
    third.put(&entry, &Payload::from(bytes(1, 1)), "text/plain").await.unwrap();
    site.flip(Slot(2), "canary/c", 30);
    let mut cold = site.stack(site.clock(NOW + 60_000));
    cold.start().await;
    assert_eq!(cold.monitor.board().canary(Slot(2)), Some(CanaryState::Foreign));
    site.flip(Slot(2), "canary/c", 30);
    third.delete(&entry).await.unwrap();
    tokio::time::advance(Duration::from_secs(120)).await;
    cold.recover().await;
    cold.heal().await;
    assert_same_copies(&cold).await;
}
