//! The sweep: what no record speaks of goes once it is old, on proof.

use std::time::Duration;

use triplicate::asset::{Key, UploadId, key};
use triplicate::provider::faulty::Fault;
use triplicate::provider::{Operation, Payload, Slot};
use triplicate::retention::Brake;

use crate::bytes;
use crate::retention::{DAY, HOUR, keys, later, remove, site};
use crate::stack::Stack;

#[tokio::test(start_paused = true)]
async fn orphans_go_after_a_day_and_younger_ones_stay() {
    let (site, mut stack) = site().await;
    let kept = stack.put("kept.png", &bytes(1, 10)).await.unwrap().record;
    // Only one provider has the records of these; no gateway's index knows them.
    let mut writer = site.stack(site.clock.clone());
    writer.start().await;
    let mut lonely = Vec::new();
    for at in 0..3 {
        let record = writer.put(&format!("lonely-{at}.png"), &bytes(2, 10)).await.unwrap().record;
        for slot in 0..3 {
            let entry = format!("{}.{}.put", record.version, record.name.hash());
            remove(&stack, slot, &entry).await;
            if slot != at {
                remove(&stack, slot, &record.key().to_string()).await;
            }
        }
        lonely.push(record.version.upload);
    }
    let orphan = site.clock.upload_id();
    let payload = Payload::from(bytes(3, 10));
    for slot in [0, 1] {
        stack.fleet.get(Slot(slot)).put(&Key::part(orphan, 0), &payload, "image/png").await.unwrap();
    }
    later(&mut stack, DAY - HOUR).await;
    // An upload that began long ago and is still under way.
    stack.fleet.get(Slot(1)).put(&Key::part(orphan, 1), &payload, "image/png").await.unwrap();
    let young = site.clock.upload_id();
    stack.fleet.get(Slot(0)).put(&Key::part(young, 0), &payload, "image/png").await.unwrap();
    let has = async |stack: &Stack, slot: usize, upload: UploadId| {
        stack.keys(Slot(slot)).await.iter().any(|key| key.starts_with(&key::blob_dir(upload)))
    };
    stack.retention.round(Brake::Stop, true).await;
    assert!(has(&stack, 0, orphan).await);
    later(&mut stack, HOUR * 2).await;
    let report = stack.retention.round(Brake::Stop, true).await;
    assert!(report.is_done(), "{report:?}");
    assert!(!has(&stack, 0, orphan).await);
    assert!(has(&stack, 1, orphan).await, "something came an hour ago");
    assert!(has(&stack, 0, young).await);
    later(&mut stack, DAY).await;
    stack.retention.round(Brake::Stop, true).await;
    assert!(!has(&stack, 1, orphan).await && !has(&stack, 0, young).await);
    for slot in 0..3 {
        for upload in lonely.iter().chain([&kept.version.upload]) {
            assert!(has(&stack, slot, *upload).await, "{upload} at {slot}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_no_index_knows_still_protects_its_bytes() {
    let (site, stack) = site().await;
    let mut other = site.stack(site.clock.clone());
    other.start().await;
    later(&mut other, DAY * 40).await;
    // Written while the other gateway is cut off from the feeds: its index cannot know.
    let record = stack.put("new.png", &bytes(1, 10)).await.unwrap().record;
    tokio::time::advance(DAY * 2).await;
    other.look().await;
    let report = other.retention.round(Brake::Released, true).await;
    assert!(report.is_done(), "{report:?}");
    assert_eq!(other.get("new.png").await.unwrap(), bytes(1, 10));
    assert!(other.catalog.versions(&record.name).await.len() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_feed_entry_whose_version_is_gone_goes_too() {
    let (site, mut stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    let second = stack.put("b.png", &bytes(2, 10)).await.unwrap().record;
    for slot in 0..3 {
        remove(&stack, slot, &second.key().to_string()).await;
    }
    later(&mut stack, DAY * 2).await;
    // The index of a gateway that starts now knows of it by the feed alone, and has read no record yet.
    let mut cold = site.stack(site.clock.clone());
    cold.start().await;
    assert!(cold.retention.round(Brake::Stop, true).await.is_done());
    for keys in keys(&stack).await {
        assert_eq!(keys.iter().filter(|key| key.starts_with("feed/")).count(), 1, "{keys:?}");
    }
    assert_eq!(stack.get("a.png").await.unwrap(), bytes(1, 10));
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_could_not_begin_is_tried_with_the_next_round() {
    let (site, mut stack) = site().await;
    let orphan = Key::part(site.clock.upload_id(), 0);
    let payload = Payload::from(bytes(1, 10));
    stack.fleet.get(Slot(0)).put(&orphan, &payload, "image/png").await.unwrap();
    later(&mut stack, DAY * 2).await;
    site.flip(Slot(2), "canary/c", 30);
    tokio::time::advance(Duration::from_secs(90)).await;
    stack.look().await;
    let step = tokio::time::timeout(Duration::from_secs(5), stack.retention.step()).await;
    assert!(step.is_err(), "it waits until it can begin");
    assert!(
        stack.retention.last().unwrap().waits.is_some(),
        "the first sweep is due, and a provider foreign"
    );
    site.flip(Slot(2), "canary/c", 30);
    tokio::time::advance(Duration::from_secs(90)).await;
    stack.recover().await;
    stack.poll().await;
    stack.retention.step().await;
    assert!(stack.retention.last().unwrap().is_done(), "{:?}", stack.retention.last());
    assert!(stack.object(Slot(0), &orphan).await.is_none(), "it is not put off for an hour");
}

#[tokio::test(start_paused = true)]
async fn a_crash_amid_a_sweep_leaves_only_what_the_next_ones_take() {
    // At each provider: two parts of a failed upload, the feed entry of a version whose record is gone.
    for (slot, removed) in (0..3).flat_map(|slot| (0..3).map(move |removed| (slot, removed))) {
        let (site, mut stack) = site().await;
        let orphan = site.clock.upload_id();
        let gone = stack.put("gone.png", &bytes(2, 100_000)).await.unwrap().record;
        for slot in 0..3 {
            remove(&stack, slot, &gone.key().to_string()).await;
            for part in 0..2 {
                let payload = Payload::from(bytes(3, 10));
                stack
                    .fleet
                    .get(Slot(slot))
                    .put(&Key::part(orphan, part), &payload, "image/png")
                    .await
                    .unwrap();
            }
        }
        later(&mut stack, DAY * 2).await;
        stack.put("kept.png", &bytes(1, 100_000)).await.unwrap();
        let theirs = gone.version.upload.to_string();
        let mut expected = keys(&stack).await;
        for keys in &mut expected {
            keys.retain(|key| !key.contains(&theirs) && !key.contains(&orphan.to_string()));
        }
        let mut dies = site.stack(site.clock.clone());
        dies.start().await;
        (0..removed).for_each(|_| site.faulty[slot].queue(Operation::Delete, Fault::Delay(Duration::ZERO)));
        site.faulty[slot].set(Operation::Delete, Fault::Hang);
        let round =
            tokio::time::timeout(Duration::from_secs(1), dies.retention.round(Brake::Stop, true)).await;
        assert!(round.is_err(), "{slot} {removed}: it was to be in the middle");
        drop(dies);
        site.faulty[slot].heal();
        let mut next = site.stack(site.clock.clone());
        next.start().await;
        for _ in 0..2 {
            let report = next.retention.round(Brake::Stop, true).await;
            assert!(report.is_done(), "{slot} {removed}: {report:?}");
            later(&mut next, DAY).await;
        }
        assert_eq!(keys(&next).await, expected, "{slot} {removed}");
        assert_eq!(next.get("kept.png").await.unwrap(), bytes(1, 100_000));
    }
}
