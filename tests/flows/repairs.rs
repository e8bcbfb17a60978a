//! Repair: one copy that cannot be made, or takes long, keeps no other from being made.

use std::time::Duration;

use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Slot};
use triplicate::write::Receipt;

use crate::stack::{Stack, request};
use crate::{bytes, site};

const LACKS: Slot = Slot(2);
/// More than what a step works on at the same time, so that an older copy waits behind the newer ones.
const STUCK: usize = 9;
/// How many copies a slow provider lacks: minutes of work.
const DEBT: usize = 160;

async fn put(stack: &Stack, name: &str) -> Receipt {
    let mut put = request(name);
    put.wait_all = false;
    stack.put_request(put, &bytes(1, 10)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn objects_that_a_provider_never_takes_hold_up_no_older_copy() {
    let (site, stack) = site().await;
    site.faulty[LACKS.0].set_all(Fault::Error(ErrorKind::Unavailable));
    let old = put(&stack, "old.png").await;
    let mut stuck = Vec::new();
    for number in 0..STUCK {
        stuck.push(put(&stack, &format!("stuck-{number}.png")).await);
    }
    stack.tasks.shut_down(Duration::from_secs(60)).await;
    site.faulty[LACKS.0].heal();
    let part = |receipt: &Receipt| {
        triplicate::asset::Key::part(receipt.record.version.upload, 0).as_str().to_owned()
    };
    for receipt in &stuck {
        // A folder in the place of the object: it can be neither written nor replaced.
        let path = site.folder.path().join("c").join(part(receipt)).join("in/the/way");
        std::fs::create_dir_all(path).unwrap();
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..2 {
        stack.recover().await;
        stack.repairer.step().await;
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert!(stack.keys(LACKS).await.contains(&part(&old)), "the older copy is made");
    for receipt in &stuck {
        std::fs::remove_dir_all(site.folder.path().join("c").join(part(receipt))).unwrap();
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    stack.recover().await;
    stack.repairer.step().await;
    crate::assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_returns_does_not_wait_for_the_debt_of_another() {
    let (site, stack) = site().await;
    let returning = Slot(1);
    site.faulty[LACKS.0].set_all(Fault::Error(ErrorKind::Unavailable));
    for number in 0..DEBT {
        put(&stack, &format!("{number}.png")).await;
    }
    site.faulty[LACKS.0].heal();
    site.faulty[returning.0].set_all(Fault::Error(ErrorKind::Unavailable));
    put(&stack, "one.png").await;
    stack.tasks.shut_down(Duration::from_secs(60)).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    stack.recover().await;
    assert!(!stack.monitor.board().is_healthy(returning) && stack.monitor.board().is_healthy(LACKS));
    site.faulty[LACKS.0].set(Operation::Put, Fault::Delay(Duration::from_secs(2)));
    let is_record = |key: &&String| key.starts_with("names/");
    let records = async |slot| stack.keys(slot).await.iter().filter(is_record).count();
    let watching = async {
        site.faulty[returning.0].heal();
        for _ in 0..20 {
            stack.recover().await;
            if records(returning).await == DEBT + 1 {
                break;
            }
        }
        (records(returning).await, records(LACKS).await)
    };
    let ((), (returned, slow)) = tokio::join!(stack.repairer.step(), watching);
    assert_eq!(returned, DEBT + 1, "it is complete");
    assert!(slow < DEBT / 2, "{slow} copies were made at the slow one before");
    site.faulty[LACKS.0].heal();
    stack.recover().await;
    stack.repairer.step().await;
    crate::assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn what_only_a_provider_has_that_hangs_holds_up_no_other_copy() {
    let (site, stack) = site().await;
    let (hangs, returning) = (Slot(2), Slot(1));
    let mut alone = Vec::new();
    site.faulty[returning.0].set_all(Fault::Error(ErrorKind::Unavailable));
    put(&stack, "old.png").await;
    // Its own pipeline gives the copy up.
    tokio::time::sleep(Duration::from_secs(10)).await;
    site.faulty[returning.0].heal();
    for number in 0..STUCK {
        alone.push(put(&stack, &format!("{number}.png")).await.record);
    }
    stack.tasks.shut_down(Duration::from_secs(60)).await;
    // They were taken down, and the third provider does not know it yet.
    for record in &alone {
        for slot in [Slot(0), returning] {
            for key in [record.key(), triplicate::asset::Key::part(record.version.upload, 0)] {
                stack.fleet.get(slot).delete(&key).await.unwrap();
            }
            stack.catalog.suspect(record.name.hash(), record.version, slot).await;
        }
    }
    site.faulty[hangs.0].set_all(Fault::Error(ErrorKind::Unavailable));
    tokio::time::advance(Duration::from_secs(60)).await;
    stack.recover().await;
    assert!(!stack.monitor.board().is_healthy(hangs) && stack.monitor.board().is_healthy(returning));
    site.faulty[hangs.0].set_all(Fault::Hang);
    let step = tokio::time::timeout(Duration::from_secs(20), stack.repairer.step()).await;
    assert!(step.is_ok(), "nobody waits for it");
    let records = stack.keys(returning).await;
    assert_eq!(records.iter().filter(|key| key.starts_with("names/")).count(), 1, "the older copy is made");
}

#[tokio::test(start_paused = true)]
async fn an_empty_asset_is_not_given_up_while_its_record_cannot_be_read() {
    let (site, stack) = site().await;
    site.faulty[LACKS.0].set_all(Fault::Error(ErrorKind::Unavailable));
    let mut request = request("empty.txt");
    request.wait_all = false;
    stack.put_request(request, &bytes(1, 0)).await.unwrap();
    stack.tasks.shut_down(Duration::from_secs(60)).await;
    site.faulty[LACKS.0].heal();
    tokio::time::advance(Duration::from_secs(60)).await;
    stack.recover().await;
    // What was uploaded in the first minute is looked at once more for an hour.
    tokio::time::advance(Duration::from_secs(3_700)).await;
    stack.recover().await;
    (0..2).for_each(|slot| site.faulty[slot].queue(Operation::Get, Fault::Error(ErrorKind::Unavailable)));
    stack.repairer.step().await;
    tokio::time::advance(Duration::from_secs(45)).await;
    stack.recover().await;
    stack.repairer.step().await;
    crate::assert_same_copies(&stack).await;
    let events = stack.telemetry.recent_events(100);
    assert!(
        events.iter().all(|event| event.kind != triplicate::telemetry::EventKind::RepairFailed),
        "{events:?}"
    );
}
