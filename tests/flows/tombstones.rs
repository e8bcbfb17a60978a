//! Tombstones: one that retention removed only in part hides nothing and brings nothing back, and goes in the end.

use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Slot};
use triplicate::read::ReadError;
use triplicate::retention::Brake;

use crate::retention::{HOUR, TRIES, delete, keys, later, site};
use crate::stack::{RETENTION, Stack};
use crate::{Site, assert_same_copies, bytes};

/// A name of which nothing but a tombstone will be left.
async fn deleted() -> (Site, Stack) {
    let (site, mut stack) = site().await;
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    delete(&stack, "a.png").await;
    later(&mut stack, RETENTION).await;
    (site, stack)
}

/// Does a round some time later, and tells whether it took a tombstone.
async fn round(stack: &mut Stack) -> bool {
    let before = keys(stack).await;
    later(stack, HOUR * 3 / 2).await;
    let report = stack.retention.round(Brake::Stop, false).await;
    assert!(report.is_done(), "{report:?}");
    keys(stack).await != before && keys(stack).await.iter().all(Vec::is_empty)
}

/// Returns how many rounds leave the tombstone alone, before the one that takes it.
async fn rounds_before() -> usize {
    let (_site, mut stack) = deleted().await;
    for rounds in 0..10 {
        if round(&mut stack).await {
            return rounds;
        }
    }
    panic!("the tombstone never goes: {:?}", keys(&stack).await);
}

/// Does a round in which the removal at one provider is cut short: of the feed entry, or of the record after it.
async fn cut_short(site: &Site, stack: &mut Stack, slot: Slot, step: usize, fault: Fault) {
    later(stack, HOUR * 3 / 2).await;
    let faulty = &site.faulty[slot.0];
    (0..step).for_each(|_| faulty.queue(Operation::Delete, Fault::Delay(std::time::Duration::ZERO)));
    (0..TRIES).for_each(|_| faulty.queue(Operation::Delete, fault));
    let report = stack.retention.round(Brake::Stop, false).await;
    assert!(report.tallies[slot.0].failure.is_some(), "{slot:?}, step {step}, {fault:?}: {report:?}");
}

/// Returns how many keys of tombstones are left, records and feed entries.
async fn tombstones(stack: &Stack) -> usize {
    keys(stack).await.iter().flatten().filter(|key| key.ends_with(".del")).count()
}

#[tokio::test(start_paused = true)]
async fn one_that_went_in_part_brings_nothing_back_and_goes_in_the_end() {
    let before = rounds_before().await;
    let faults = [Fault::Error(ErrorKind::Unavailable), Fault::LoseAnswer(ErrorKind::Timeout)];
    for slot in [Slot(0), Slot(1), Slot(2)] {
        for step in 0..2 {
            let fault = faults[(slot.0 + step) % 2];
            for written_again in [false, true] {
                let (site, mut stack) = deleted().await;
                for _ in 0..before {
                    assert!(!round(&mut stack).await);
                }
                cut_short(&site, &mut stack, slot, step, fault).await;
                drop(stack);
                let what = format!("{slot:?}, step {step}, {fault:?}, written again: {written_again}");
                // The gateway has died with its index.
                let mut next = site.stack(site.clock.clone());
                next.start().await;
                assert!(matches!(next.get("a.png").await, Err(ReadError::NotFound)), "{what}");
                if written_again {
                    next.put("a.png", &bytes(2, 10)).await.unwrap();
                }
                // What is incomplete is made first, and is then as old as the retention.
                later(&mut next, HOUR).await;
                next.heal().await;
                later(&mut next, RETENTION + HOUR).await;
                for _ in 0..20 {
                    next.heal().await;
                    // With the sweep, for a feed entry may outlive its record.
                    next.retention.round(Brake::Stop, true).await;
                    later(&mut next, HOUR * 3 / 2).await;
                    if tombstones(&next).await == 0 {
                        break;
                    }
                }
                let mut cold = site.stack(site.clock.clone());
                cold.start().await;
                for gateway in [&next, &cold] {
                    match gateway.get("a.png").await {
                        Ok(read) => assert!(written_again && read == bytes(2, 10), "{what}"),
                        Err(error) => {
                            assert!(
                                !written_again && matches!(error, ReadError::NotFound),
                                "{what}: {error:?}"
                            );
                        }
                    }
                }
                assert_eq!(tombstones(&next).await, 0, "{what}: {:?}", keys(&next).await);
                assert_same_copies(&next).await;
            }
        }
    }
}
