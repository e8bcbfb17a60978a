//! Identity: a provider that is not itself makes no 404, no delete, and is refilled or left alone.

use std::time::Duration;

use triplicate::health::canary::CanaryState;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Slot, Trust};
use triplicate::read::ReadError;

use crate::{NOW, Site, assert_same_copies, bytes, site};

#[tokio::test(start_paused = true)]
async fn a_first_start_writes_all_canaries() {
    let (_site, stack) = site().await;
    for slot in stack.fleet.slots() {
        assert_eq!(stack.monitor.look(slot).await.unwrap(), CanaryState::Ours);
    }
    assert!(matches!(stack.get("a.png").await, Err(ReadError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn a_first_start_waits_for_all_providers() {
    let site = Site::new();
    site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable));
    let mut stack = site.stack(site.clock(NOW));
    stack.start().await;
    assert!(stack.keys(Slot(0)).await.is_empty(), "a majority may be two wiped providers");
    assert!(stack.put("a.png", &bytes(1, 10)).await.is_err());
    assert!(matches!(stack.get("a.png").await, Err(ReadError::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_wiped_provider_is_refilled_and_trusted_only_then() {
    let (site, mut stack) = site().await;
    for (seed, size) in crate::sizes().into_iter().enumerate() {
        stack.put(&format!("{size}.bin"), &bytes(seed as u64, size)).await.unwrap();
    }
    stack.writer.delete("1.bin".parse().unwrap()).await.unwrap();
    // Virtual time passes when nothing is left to do: the third tombstone is written by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.wipe(Slot(1));
    stack.look().await;
    assert_eq!(stack.monitor.board().canary(Slot(1)), Some(CanaryState::Missing));
    stack.poll().await;
    stack.heal().await;
    assert_eq!(stack.monitor.board().canary(Slot(1)), Some(CanaryState::Ours));
    assert_same_copies(&stack).await;
}

#[tokio::test(start_paused = true)]
async fn two_swapped_providers_make_no_404_and_no_delete() {
    let (site, mut stack) = site().await;
    let content = bytes(1, 100_000);
    stack.put("a.png", &content).await.unwrap();
    for slot in [Slot(0), Slot(1)] {
        site.wipe(slot);
    }
    // Before anybody noticed, with the third provider away: the two empty ones agree, and are not believed.
    site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable));
    assert!(matches!(stack.get("a.png").await, Err(ReadError::Unavailable { .. })));
    let mut cold = site.stack(site.clock(NOW));
    cold.start().await;
    for name in ["a.png", "never.png"] {
        assert!(matches!(cold.get(name).await, Err(ReadError::Unavailable { .. })), "{name}");
    }
    site.faulty[2].heal();
    for stack in [&mut stack, &mut cold] {
        tokio::time::advance(Duration::from_secs(20)).await;
        stack.start().await;
        assert_eq!(stack.get("a.png").await.unwrap(), content);
    }
    // One witness is not enough to call an empty provider complete.
    stack.heal().await;
    assert_eq!(stack.monitor.board().canary(Slot(0)), Some(CanaryState::Missing));
}

#[tokio::test(start_paused = true)]
async fn without_any_canary_all_are_compared_and_mended_first() {
    let (site, stack) = site().await;
    site.faulty[0].set_all(Fault::Error(ErrorKind::Unavailable));
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    site.faulty[0].heal();
    stack.tasks.shut_down(Duration::from_secs(60)).await;
    for slot in stack.fleet.slots() {
        let canary = triplicate::asset::Key::canary(stack.fleet.id(slot).as_str());
        stack.fleet.get(slot).delete(&canary).await.unwrap();
    }
    let mut other = site.stack(site.clock(NOW));
    other.start().await;
    assert_same_copies(&other).await;
    for slot in other.fleet.slots() {
        assert_eq!(other.monitor.board().canary(slot), Some(CanaryState::Ours));
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_provider_is_read_from_when_nobody_else_delivers() {
    let (site, stack) = site().await;
    for (name, seed, size) in [("small.png", 1, 10), ("large.bin", 2, 200_000)] {
        stack.put(name, &bytes(seed, size)).await.unwrap();
    }
    site.flip(Slot(1), "canary/b", 30);
    stack.look().await;
    stack.heal().await;
    assert_eq!(stack.monitor.board().canary(Slot(1)), Some(CanaryState::Foreign));
    for away in [Slot(0), Slot(2)] {
        site.faulty[away.0].set_all(Fault::Error(ErrorKind::Unavailable));
    }
    assert_eq!(stack.get("small.png").await.unwrap(), bytes(1, 10));
    assert_eq!(stack.get("large.bin").await.unwrap(), bytes(2, 200_000));
    assert!(matches!(stack.get("never.png").await, Err(ReadError::NotFound)), "the index is fresh");
}

#[tokio::test(start_paused = true)]
async fn a_page_for_people_in_the_canarys_place_makes_nobody_foreign() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    let canary = site.folder.path().join("b/canary/b");
    let ours = std::fs::read(&canary).unwrap();
    std::fs::write(&canary, "<html>\n<title>Back soon</title>\n").unwrap();
    assert!(stack.monitor.look(Slot(1)).await.is_err());
    let shown = stack.monitor.board().snapshot().remove(1).last_error;
    assert!(shown.as_ref().is_some_and(|error| error.contains("page for people")), "{shown:?}");
    stack.heal().await;
    assert_eq!(stack.catalog.copies_held().await.unwrap(), [1, 1, 1], "nothing is forgotten");
    std::fs::write(&canary, ours).unwrap();
    stack.look().await;
    assert!(stack.monitor.board().is_trusted(Slot(1)));
}

#[tokio::test(start_paused = true)]
async fn all_providers_empty_though_the_index_knows_better_are_left_alone() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    stack.fleet.slots().for_each(|slot| site.wipe(slot));
    stack.look().await;
    stack.heal().await;
    for slot in stack.fleet.slots() {
        assert!(stack.keys(slot).await.is_empty());
    }
    assert!(matches!(stack.get("a.png").await, Err(ReadError::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_provider_is_never_written_to() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    site.flip(Slot(1), "canary/b", 30);
    stack.look().await;
    assert_eq!(stack.monitor.board().canary(Slot(1)), Some(CanaryState::Foreign));
    let before = stack.keys(Slot(1)).await;
    stack.put("b.png", &bytes(2, 10)).await.unwrap();
    stack.monitor.step(Slot(1)).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    stack.look().await;
    stack.heal().await;
    assert_eq!(stack.keys(Slot(1)).await, before);
    assert_eq!(stack.get("b.png").await.unwrap(), bytes(2, 10));
}
