//! Writes: what lies where, and what a failure leaves behind.

use std::time::Duration;

use futures::{StreamExt, stream};
use triplicate::asset::Sha256;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Slot};
use triplicate::write::{CopyState, Outcome, Precondition, WriteError};

use crate::stack::{noise, request};
use crate::{assert_same_copies, bytes, site, sizes};

#[tokio::test(start_paused = true)]
async fn all_copies_are_equal_for_every_size() {
    let (_site, stack) = site().await;
    for (seed, size) in sizes().into_iter().enumerate() {
        let name = format!("icons/{size}.png");
        let content = bytes(seed as u64, size);
        let receipt = stack.put(&name, &content).await.unwrap();
        assert!(receipt.created);
        assert!(receipt.copies.iter().all(|(_, state)| *state == CopyState::Stored), "{receipt:?}");
        let put = receipt.record.put.as_ref().unwrap();
        assert_eq!(put.blake3.as_bytes(), blake3::hash(&content).as_bytes());
        assert_eq!(put.sha256, Sha256::of(&content));
        assert_eq!(stack.get(&name).await.unwrap(), content, "{size}");
    }
    assert_same_copies(&stack).await;
    for slot in stack.fleet.slots() {
        let keys = stack.keys(slot).await;
        let feeds = keys.iter().filter(|key| key.starts_with("feed/")).count();
        assert_eq!(feeds, sizes().len());
    }
}

#[tokio::test(start_paused = true)]
async fn one_provider_down_is_two_copies_and_repair_makes_the_third() {
    for down in [Slot(0), Slot(1), Slot(2)] {
        let (site, stack) = site().await;
        site.faulty[down.0].set_all(Fault::Error(ErrorKind::Unavailable));
        let mut put = request("a.png");
        put.wait_all = false;
        let receipt = stack.put_request(put, &bytes(1, 200_000)).await.unwrap();
        let stored = receipt.copies.iter().filter(|(_, state)| *state == CopyState::Stored).count();
        assert_eq!(stored, 2);
        assert_eq!(stack.get("a.png").await.unwrap(), bytes(1, 200_000));
        stack.tasks.shut_down(Duration::from_secs(60)).await;
        site.faulty[down.0].heal();
        // Old enough not to be taken for a write that is still on its way.
        tokio::time::advance(Duration::from_secs(60)).await;
        stack.recover().await;
        stack.heal().await;
        assert_same_copies(&stack).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_all_copies_waits_for_a_slow_one_in_mid_body() {
    let content = bytes(1, 3 * triplicate::asset::PART_BYTES as usize);
    for wait_all in [true, false] {
        let (site, stack) = site().await;
        site.faulty[2].set(Operation::Put, Fault::Delay(Duration::from_millis(5_500)));
        let mut put = request("large.bin");
        put.wait_all = wait_all;
        let receipt = stack.put_request(put, &content).await.unwrap();
        assert_eq!(receipt.copies[2].1 == CopyState::Stored, wait_all, "{receipt:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_all_copies_is_answered_in_time_though_one_hangs() {
    let content = bytes(1, triplicate::asset::PART_BYTES as usize * 3 / 2);
    let (site, stack) = site().await;
    let slow = Fault::Delay(Duration::from_secs(3));
    for (faulty, fault) in site.faulty.iter().zip([slow, slow, Fault::Hang]) {
        faulty.set(Operation::Put, fault);
    }
    let receipt = stack.put_request(request("large.bin"), &content).await.unwrap();
    let states = receipt.copies.iter().map(|(_, state)| *state == CopyState::Stored);
    assert_eq!(states.collect::<Vec<_>>(), [true, true, false], "{receipt:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_all_copies_waits_for_a_provider_that_was_not_there_at_the_start() {
    for returns in [true, false] {
        let (site, _first) = site().await;
        site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable));
        let mut stack = site.stack(site.clock(crate::NOW));
        stack.start().await;
        let returning = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            if returns {
                site.faulty[2].heal();
            }
        };
        let content = bytes(1, 100);
        let (receipt, ()) = tokio::join!(stack.put("a.png", &content), returning);
        let copies = receipt.unwrap().copies;
        assert_eq!(copies[2].1, if returns { CopyState::Stored } else { CopyState::Failed }, "{copies:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_write_is_refused_in_time_though_a_majority_hangs() {
    for parts in 1..=3 {
        let (site, stack) = site().await;
        site.faulty[1..].iter().for_each(|faulty| faulty.set(Operation::Put, Fault::Hang));
        let content = bytes(1, parts * triplicate::asset::PART_BYTES as usize);
        let mut put = request("large.bin");
        put.content_length = Some(content.len() as u64);
        let began = tokio::time::Instant::now();
        let refused = tokio::time::timeout(Duration::from_secs(300), stack.put_request(put, &content)).await;
        let refused = refused.expect("an answer in time").unwrap_err();
        assert!(
            matches!(refused, WriteError::Unavailable { outcome: Outcome::NotCommitted, .. }),
            "{refused}"
        );
        assert!(began.elapsed() < Duration::from_secs(31), "{parts}: {:?}", began.elapsed());
    }
}

/// A body that pauses in its middle, until the other end is dropped.
fn paused(content: &bytes::Bytes) -> (tokio::sync::oneshot::Sender<()>, triplicate::write::BodyStream) {
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let halves = [content.slice(..content.len() / 2), content.slice(content.len() / 2..)];
    let [first, second] = halves.map(|half| stream::iter([Ok(half)]));
    let pause = stream::once(released).filter_map(|_| std::future::ready(None));
    (release, first.chain(pause).chain(second).boxed())
}

#[tokio::test(start_paused = true)]
async fn a_condition_holds_at_the_end_of_a_slow_body_too() {
    let (_site, stack) = site().await;
    let (release, body) = paused(&bytes(1, 100));
    let mut put = request("a.png");
    put.precondition = Precondition::Absent;
    let slow = stack.writer.put(put, body);
    let other = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        stack.put("a.png", &bytes(2, 100)).await.unwrap();
        drop(release);
    };
    let (refused, ()) = tokio::join!(slow, other);
    assert_eq!(refused.unwrap_err(), WriteError::PreconditionFailed);
    assert_eq!(stack.get("a.png").await.unwrap(), bytes(2, 100));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_wrong_while_a_body_comes_stamps_nothing() {
    let (site, stack) = site().await;
    let (release, body) = paused(&bytes(1, 100));
    let slow = stack.writer.put(request("a.png"), body);
    let turning = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        site.faulty.iter().for_each(|faulty| faulty.skew(-7_200_000));
        drop(release);
    };
    let (refused, ()) = tokio::join!(slow, turning);
    let refused = refused.unwrap_err();
    assert!(matches!(refused, WriteError::Unavailable { outcome: Outcome::NotCommitted, .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn two_providers_down_commit_nothing() {
    let (site, stack) = site().await;
    let before = stack.keys(Slot(0)).await;
    for faulty in &site.faulty[1..] {
        faulty.set_all(Fault::Error(ErrorKind::Unavailable));
    }
    let failed = stack.put("a.png", &bytes(1, 10)).await.unwrap_err();
    assert!(matches!(failed, WriteError::Unavailable { outcome: Outcome::NotCommitted, .. }), "{failed}");
    stack.tasks.shut_down(Duration::from_secs(60)).await;
    assert_eq!(stack.keys(Slot(0)).await, before);
}

#[tokio::test(start_paused = true)]
async fn no_record_goes_out_before_a_majority_has_the_bytes() {
    let (site, stack) = site().await;
    for faulty in &site.faulty[1..] {
        faulty.set(Operation::Put, Fault::Hang);
    }
    let failed = stack.put("a.png", &bytes(1, 10)).await.unwrap_err();
    assert!(matches!(failed, WriteError::Unavailable { outcome: Outcome::NotCommitted, .. }), "{failed}");
    let keys = stack.keys(Slot(0)).await;
    assert!(!keys.iter().any(|key| key.starts_with("names/") || key.starts_with("feed/")), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn losing_the_majority_after_the_record_is_an_unknown_outcome() {
    let (site, stack) = site().await;
    for faulty in &site.faulty[1..] {
        // The part is stored, then nothing any more.
        faulty.queue(Operation::Put, Fault::Delay(Duration::ZERO));
        faulty.set(Operation::Put, Fault::Error(ErrorKind::Unavailable));
    }
    let failed = stack.put("a.png", &bytes(1, 10)).await.unwrap_err();
    assert!(matches!(failed, WriteError::Unavailable { outcome: Outcome::Unknown, .. }), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_sent_again_and_harms_nothing() {
    let (site, stack) = site().await;
    for faulty in &site.faulty {
        for _ in 0..2 {
            faulty.queue(Operation::Put, Fault::LoseAnswer(ErrorKind::Timeout));
        }
    }
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    assert_same_copies(&stack).await;
    assert_eq!(stack.get("a.png").await.unwrap(), bytes(1, 100_000));
}

#[tokio::test(start_paused = true)]
async fn a_refused_upload_leaves_nothing_behind() {
    let (_site, stack) = site().await;
    let before = stack.keys(Slot(0)).await;
    let large = noise(3, 9 * 1024 * 1024);
    for size in [10, large.len()] {
        let content = large.slice(..size);
        let mut wrong_sha256 = request("a.png");
        wrong_sha256.expected.sha256 = vec![Sha256::of(&content), Sha256::of(b"other")];
        let mut wrong_md5 = request("a.png");
        wrong_md5.expected.md5 = Some([0; 16]);
        let mut too_large = request("a.png");
        too_large.bytes_max = size as u64 - 1;
        let mut short = request("a.png");
        short.content_length = Some(size as u64 + 1);
        let mut conditional = request("a.png");
        conditional.precondition = Precondition::Present;
        for (put, expected) in [
            (wrong_sha256, WriteError::DigestMismatch("SHA-256")),
            (wrong_md5, WriteError::DigestMismatch("MD5")),
            (too_large, WriteError::TooLarge),
            (short, WriteError::BodyBroken(format!("{size} bytes came"))),
            (conditional, WriteError::PreconditionFailed),
        ] {
            assert_eq!(stack.put_request(put, &content).await.unwrap_err(), expected);
            for slot in stack.fleet.slots() {
                let keys: Vec<_> = stack.keys(slot).await;
                let canary = |key: &String| key.starts_with("canary/");
                assert_eq!(keys.iter().filter(|key| !canary(key)).count(), 0, "{expected} {keys:?}");
            }
        }
    }
    assert_eq!(stack.keys(Slot(0)).await, before);
}

#[tokio::test(start_paused = true)]
async fn deleting_writes_a_tombstone_once() {
    let (_site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    assert!(stack.writer.delete("a.png".parse().unwrap()).await.unwrap().is_some());
    assert!(stack.get("a.png").await.is_err());
    // Again, and for a name that never was: nothing more to write.
    assert!(stack.writer.delete("a.png".parse().unwrap()).await.unwrap().is_none());
    assert!(stack.writer.delete("never.png".parse().unwrap()).await.unwrap().is_none());
    assert!(stack.put("a.png", &bytes(2, 10)).await.unwrap().created);
    assert!(!stack.put("a.png", &bytes(2, 10)).await.unwrap().created);
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_third_provider_does_not_hold_up_the_answer() {
    let (site, stack) = site().await;
    site.faulty[1].set(Operation::Put, Fault::Delay(Duration::from_secs(5)));
    let mut put = request("a.png");
    put.wait_all = false;
    let began = tokio::time::Instant::now();
    let receipt = stack.put_request(put, &bytes(1, 10)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(receipt.copies[1].1, CopyState::Pending);
    // The rest goes on after the answer.
    stack.tasks.shut_down(Duration::from_secs(60)).await;
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_most_providers_call_wrong_writes_nothing_and_reads_on() {
    let (site, stack) = site().await;
    let content = bytes(1, 100);
    stack.put("a.png", &content).await.unwrap();
    for (offsets, written) in [
        ([29_999, -29_999, 29_999], true),
        ([3_600_000, 0, -29_999], true),
        ([3_600_000, 30_000, 0], false),
        ([-30_000, -30_000, -30_000], false),
    ] {
        site.faulty.iter().zip(offsets).for_each(|(faulty, offset)| faulty.skew(offset));
        let before = stack.keys(Slot(0)).await.iter().filter(|key| key.starts_with("names/")).count();
        match stack.put("a.png", &content).await {
            Ok(_) => assert!(written, "{offsets:?}"),
            Err(error) => {
                assert!(!written, "{offsets:?}: {error}");
                let not_committed = WriteError::Unavailable {
                    outcome: Outcome::NotCommitted,
                    reason: format!("this machine's clock is {} ms off; set it right", offsets[1]),
                };
                assert_eq!(error, not_committed);
                let after = stack.keys(Slot(0)).await;
                assert_eq!(after.iter().filter(|key| key.starts_with("names/")).count(), before);
                assert!(stack.writer.delete("a.png".parse().unwrap()).await.is_err());
            }
        }
        assert_eq!(stack.get("a.png").await.unwrap(), content);
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_from_the_far_future_orders_its_name_and_no_other() {
    let (site, stack) = site().await;
    let century = 100 * 365 * 86_400_000;
    let future = site.stack(site.clock(crate::NOW + century));
    future.look().await;
    let far = future.put("a.png", &bytes(1, 10)).await.unwrap().record.version;
    let next = stack.put("a.png", &bytes(2, 10)).await.unwrap().record.version;
    assert!(next > far);
    assert_eq!(stack.get("a.png").await.unwrap(), bytes(2, 10));
    let other = stack.put("b.png", &bytes(3, 10)).await.unwrap().record.version;
    assert!(other < far, "the clock was dragged along");
}
