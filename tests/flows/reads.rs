//! Reads: no fault of a provider shows, no wrong byte leaves, and only real evidence counts against a copy.

use std::time::Duration;

use bytes::Bytes;
use triplicate::asset::Key;
use triplicate::clock::Clock;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Payload, Slot};
use triplicate::read::{ReadError, Wanted};
use triplicate::telemetry::EventKind;

use crate::stack::Stack;
use crate::{NOW, bytes, site};

const BLOCK: u64 = 64 * 1024;

/// Every way in which the body of a read can go wrong at one provider.
fn faults() -> Vec<Fault> {
    vec![
        Fault::Error(ErrorKind::Unavailable),
        Fault::Error(ErrorKind::Denied),
        Fault::Error(ErrorKind::NoContainer),
        Fault::Error(ErrorKind::Throttled),
        Fault::Error(ErrorKind::NotFound),
        Fault::Hang,
        Fault::Delay(Duration::from_secs(3)),
        Fault::CorruptByte(0),
        Fault::CorruptByte(BLOCK + 7),
        Fault::TruncateCleanly(0),
        Fault::TruncateCleanly(BLOCK + 7),
        Fault::TruncateWithError(BLOCK + 7, ErrorKind::Unavailable),
        Fault::Stall(0),
        Fault::Stall(BLOCK + 7),
    ]
}

fn suspects(stack: &Stack) -> usize {
    let events = stack.telemetry.recent_events(100);
    events.iter().filter(|event| event.kind == EventKind::BadBlock).count()
}

#[tokio::test(start_paused = true)]
async fn no_fault_of_any_one_provider_shows_in_any_range() {
    let (site, stack) = site().await;
    let content = bytes(1, 8 * 1024 * 1024 + 3 * 65_536 + 5);
    let size = content.len() as u64;
    stack.put("big.bin", &content).await.unwrap();
    for fault in faults() {
        for slot in 0..3 {
            site.faulty[slot].set(Operation::Get, fault);
            for range in [0..size, 0..1, BLOCK - 1..BLOCK + 1, 8 * 1024 * 1024 - 3..size, size - 1..size] {
                let began = tokio::time::Instant::now();
                let read = stack.get_range("big.bin", Some(range.clone())).await.unwrap();
                let expected = content.slice(range.start as usize..range.end as usize);
                assert!(read == expected, "{fault:?} at {slot} for {range:?}");
                assert!(
                    began.elapsed() < Duration::from_secs(4),
                    "{fault:?} at {slot}: {:?}",
                    began.elapsed()
                );
            }
            site.faulty[slot].heal();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_lying_providers_are_found_out_and_three_end_in_an_error() {
    let (site, stack) = site().await;
    let content = bytes(1, 200_000);
    stack.put("a.bin", &content).await.unwrap();
    for slot in 0..2 {
        site.faulty[slot].set(Operation::Get, Fault::CorruptByte(70_000));
    }
    assert_eq!(stack.get("a.bin").await.unwrap(), content);
    site.faulty[2].set(Operation::Get, Fault::CorruptByte(70_000));
    assert!(matches!(stack.get("a.bin").await, Err(ReadError::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_again_and_again_still_arrives_whole() {
    let (site, stack) = site().await;
    let content = bytes(1, 8 * 1024 * 1024 + 5);
    stack.put("a.bin", &content).await.unwrap();
    for faulty in &site.faulty {
        for cut in [BLOCK * 3 + 1, BLOCK * 2 + 9, BLOCK + 5] {
            faulty.queue(Operation::Get, Fault::TruncateWithError(cut, ErrorKind::Unavailable));
        }
    }
    assert_eq!(stack.get("a.bin").await.unwrap(), content);
}

#[tokio::test(start_paused = true)]
async fn only_wrong_bytes_are_evidence_and_repair_mends_them() {
    let (site, stack) = site().await;
    let content = bytes(1, 200_000);
    let receipt = stack.put("a.bin", &content).await.unwrap();
    for fault in [
        Fault::TruncateCleanly(BLOCK + 7),
        Fault::TruncateWithError(7, ErrorKind::Unavailable),
        Fault::Stall(7),
        Fault::Error(ErrorKind::Unavailable),
    ] {
        site.faulty.iter().for_each(|faulty| faulty.queue(Operation::Get, fault));
        assert_eq!(stack.get("a.bin").await.unwrap(), content);
    }
    assert_eq!(suspects(&stack), 0);
    let missing: u64 = stack.catalog.copies_missing().await.iter().map(|(_, missing)| missing).sum();
    assert_eq!(missing, 0, "a short read is no evidence");

    let key = Key::part(receipt.record.version.upload, 0);
    stack.look().await;
    for slot in stack.fleet.slots().take(2) {
        site.flip(slot, key.as_str(), 100_000);
    }
    // Whoever is asked first, the damaged ones are asked as well when the good one is out of the way.
    site.faulty[2].set(Operation::Get, Fault::Delay(Duration::from_secs(5)));
    assert_eq!(stack.get("a.bin").await.unwrap(), content);
    site.faulty[2].heal();
    assert!(suspects(&stack) >= 1);
    while suspects_left(&stack).await > 0 {
        stack.heal().await;
    }
    let damaged = [Slot(0), Slot(1)];
    for slot in damaged {
        if suspected_before(&stack, slot) {
            assert_eq!(stack.object(slot, &key).await.unwrap(), content);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_ends_before_the_range_is_evidence_and_is_made_whole() {
    let (site, stack) = site().await;
    let content = bytes(1, 4 * BLOCK as usize);
    let receipt = stack.put("a.bin", &content).await.unwrap();
    let key = Key::part(receipt.record.version.upload, 0);
    stack.look().await;
    let short = [BLOCK, 2 * BLOCK + 7];
    for (slot, kept) in stack.fleet.slots().flat_map(|slot| short.map(|kept| (slot, kept))) {
        let before = suspects(&stack);
        site.cut(slot, key.as_str(), kept);
        // The others come late, so that the short one is asked.
        for other in stack.fleet.slots().filter(|other| *other != slot) {
            site.faulty[other.0].set(Operation::Get, Fault::Delay(Duration::from_secs(5)));
        }
        let read = stack.get_range("a.bin", Some(2 * BLOCK..3 * BLOCK)).await.unwrap();
        assert_eq!(read, content.slice(2 * BLOCK as usize..3 * BLOCK as usize));
        assert!(suspects(&stack) > before, "{slot:?} cut to {kept} bytes");
        site.faulty.iter().for_each(|faulty| faulty.heal());
        for _ in 0..10 {
            stack.recover().await;
            stack.heal().await;
        }
        assert_eq!(suspects_left(&stack).await, 0, "{slot:?} cut to {kept} bytes");
        assert!(stack.object(slot, &key).await.unwrap() == content, "{slot:?} is whole again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_gone_or_forged_at_a_holder_is_made_again() {
    let (site, stack) = site().await;
    for slot in stack.fleet.slots() {
        for forged in [false, true] {
            let name = format!("{}-{forged}.png", slot.0);
            let record = stack.put(&name, &bytes(1, 10)).await.unwrap().record;
            let key = record.key();
            let mut cold = site.stack(Clock::seeded(NOW, 7));
            cold.look().await;
            cold.poll().await;
            if forged {
                site.flip(slot, key.as_str(), 20);
            } else {
                std::fs::remove_file(site.folder.path().join(["a", "b", "c"][slot.0]).join(key.as_str()))
                    .unwrap();
            }
            // The others come late, so that it is asked too.
            let others = stack.fleet.slots().filter(|other| *other != slot);
            others.for_each(|other| {
                site.faulty[other.0].set(Operation::Get, Fault::Delay(Duration::from_secs(3)))
            });
            assert_eq!(cold.get(&name).await.unwrap(), bytes(1, 10));
            site.faulty.iter().for_each(|faulty| faulty.heal());
            for _ in 0..10 {
                cold.recover().await;
                cold.heal().await;
            }
            assert_eq!(suspects_left(&cold).await, 0, "{slot:?}, forged: {forged}");
            let right = record.seal(&crate::stack::KEY);
            assert_eq!(stack.object(slot, &key).await, Some(right), "{slot:?}, forged: {forged}");
        }
    }
}

async fn suspects_left(stack: &Stack) -> u64 {
    stack.catalog.copies_missing().await.iter().map(|(_, missing)| missing).sum()
}

fn suspected_before(stack: &Stack, slot: Slot) -> bool {
    let name = stack.fleet.id(slot).to_string();
    let events = stack.telemetry.recent_events(100);
    events.iter().any(|event| event.kind == EventKind::BadBlock && event.provider.as_ref() == Some(&name))
}

#[tokio::test(start_paused = true)]
async fn a_version_whose_bytes_a_majority_lacks_was_never_committed() {
    let (site, stack) = site().await;
    let old = bytes(1, 1_000);
    stack.put("a.bin", &old).await.unwrap();
    let receipt = stack.put("a.bin", &bytes(2, 1_000)).await.unwrap();
    let key = Key::part(receipt.record.version.upload, 0);
    // One that lacks them is not enough to call it uncommitted, though the others do not answer.
    stack.fleet.get(Slot(0)).delete(&key).await.unwrap();
    for faulty in &site.faulty[1..] {
        faulty.set(Operation::Get, Fault::Error(ErrorKind::Unavailable));
    }
    assert!(matches!(stack.get("a.bin").await, Err(ReadError::Unavailable { .. })));
    site.faulty.iter().for_each(|faulty| faulty.heal());
    stack.fleet.get(Slot(1)).delete(&key).await.unwrap();
    site.faulty[2].set(Operation::Get, Fault::Error(ErrorKind::Unavailable));
    // It was acknowledged here, and who lacks it may deny it for a moment only.
    assert!(matches!(stack.get("a.bin").await, Err(ReadError::Unavailable { .. })));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stack.get("a.bin").await.unwrap(), old);
}

#[tokio::test(start_paused = true)]
async fn a_spell_in_which_all_deny_what_they_hold_makes_no_404_and_shows_nothing_older() {
    let (_site, stack) = site().await;
    let newest = bytes(2, 1_000);
    stack.put("older.bin", &bytes(1, 1_000)).await.unwrap();
    for name in ["older.bin", "new.bin"] {
        let key = Key::part(stack.put(name, &newest).await.unwrap().record.version.upload, 0);
        let lose = async || {
            for slot in stack.fleet.slots() {
                stack.fleet.get(slot).delete(&key).await.unwrap();
            }
        };
        let find = async |after| {
            tokio::time::sleep(after).await;
            for slot in stack.fleet.slots() {
                let bytes = Payload::from(newest.clone());
                stack.fleet.get(slot).put(&key, &bytes, "image/png").await.unwrap();
            }
        };
        lose().await;
        let (told, ()) = tokio::join!(stack.get(name), find(Duration::from_millis(40)));
        assert_eq!(told.unwrap(), newest, "{name}: they are asked again");
        lose().await;
        for _ in 0..3 {
            let told = stack.get(name).await;
            assert!(matches!(told, Err(ReadError::Unavailable { .. })), "{name}: {told:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        find(Duration::ZERO).await;
        assert_eq!(stack.get(name).await.unwrap(), newest, "{name}: nothing is left of the spell");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_merely_listed_is_passed_over_at_once_unless_it_was_served() {
    let (site, stack) = site().await;
    let (old, new) = (bytes(1, 1_000), bytes(2, 1_000));
    stack.put("a.bin", &old).await.unwrap();
    let key = Key::part(stack.put("a.bin", &new).await.unwrap().record.version.upload, 0);
    let others = [site.stack(site.clock(NOW)), site.stack(Clock::manual(NOW))];
    for other in &others {
        other.look().await;
    }
    for slot in [0, 1] {
        stack.fleet.get(Slot(slot)).delete(&key).await.unwrap();
    }
    assert_eq!(others[0].get("a.bin").await.unwrap(), new, "one holds it still");
    stack.fleet.get(Slot(2)).delete(&key).await.unwrap();
    let told = others[0].get("a.bin").await;
    assert!(matches!(told, Err(ReadError::Unavailable { .. })), "{told:?}");
    assert_eq!(others[1].get("a.bin").await.unwrap(), old);
}

#[tokio::test(start_paused = true)]
async fn an_asset_that_two_providers_merely_lost_is_served_by_the_third() {
    let (_site, stack) = site().await;
    let content = bytes(1, 1_000);
    let receipt = stack.put("a.bin", &content).await.unwrap();
    let key = Key::part(receipt.record.version.upload, 0);
    for slot in stack.fleet.slots().take(2) {
        stack.fleet.get(slot).delete(&key).await.unwrap();
    }
    assert_eq!(stack.get("a.bin").await.unwrap(), content);
    // What the read found missing is made again without being asked.
    for _ in 0..3 {
        let _: Result<Bytes, _> = stack.get("a.bin").await;
        stack.heal().await;
    }
    crate::assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn questions_for_certain_versions_take_turns_and_are_soon_given_up() {
    let (site, stack) = site().await;
    let old = stack.put("a.png", &bytes(1, 10)).await.unwrap().record;
    stack.put("a.png", &bytes(2, 10)).await.unwrap();
    site.faulty.iter().for_each(|faulty| faulty.set(Operation::List, Fault::Hang));
    let lists = || site.faulty.iter().map(|faulty| faulty.calls(Operation::List)).sum::<u64>();
    let before = lists();
    let wanted = Wanted { version: Some(old.version), revalidate: false };
    let asks = (0..100).map(async |_| {
        let began = tokio::time::Instant::now();
        let found = stack.reader.resolve(&old.name, wanted).await;
        assert!(matches!(found, Err(ReadError::Unavailable { .. })), "{found:?}");
        began.elapsed()
    });
    let took = futures::future::join_all(asks).await;
    assert!(took.iter().all(|took| *took < Duration::from_secs(2)), "{took:?}");
    // Eight at a time, for most of a second each, and no new one after a second.
    assert!((8 * 3..=3 * 8 * 3).contains(&(lists() - before)), "{}", lists() - before);
}
