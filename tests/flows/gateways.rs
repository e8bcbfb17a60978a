//! Several gateways over the same providers: order, visibility, and indexes that can be lost.

use std::time::Duration;

use triplicate::clock::Clock;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Slot};
use triplicate::read::ReadError;
use triplicate::retention::Brake;
use triplicate::telemetry::EventKind;

use crate::stack::{RETENTION, request};
use crate::{NOW, Site, assert_same_copies, bytes, site};

#[tokio::test(start_paused = true)]
async fn what_one_gateway_acknowledged_the_other_serves_after_a_poll() {
    let (site, one) = site().await;
    let mut two = site.stack(site.clock(NOW));
    two.start().await;
    one.put("a.png", &bytes(1, 10)).await.unwrap();
    two.poll().await;
    assert_eq!(two.get("a.png").await.unwrap(), bytes(1, 10));
    one.put("a.png", &bytes(2, 10)).await.unwrap();
    two.poll().await;
    assert_eq!(two.get("a.png").await.unwrap(), bytes(2, 10));
    one.writer.delete("a.png".parse().unwrap()).await.unwrap();
    two.poll().await;
    assert!(matches!(two.get("a.png").await, Err(ReadError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn sequential_writes_keep_their_order_though_clocks_are_hours_apart() {
    let site = Site::new();
    let hour = 3_600_000;
    let mut one = site.stack(site.clock(NOW + hour));
    let mut two = site.stack(site.clock(NOW - hour));
    one.start().await;
    two.start().await;
    for round in 0..6 {
        let writer = if round % 2 == 0 { &one } else { &two };
        writer.put("a.png", &bytes(round, 10)).await.unwrap();
        let mut cold = site.stack(site.clock(NOW));
        cold.start().await;
        assert_eq!(cold.get("a.png").await.unwrap(), bytes(round, 10), "{round}");
    }
}

#[tokio::test(start_paused = true)]
async fn order_holds_for_any_two_of_three_providers() {
    // Writer one reaches A and B, writer two B and C, and so on: any two majorities meet.
    let (site, one) = site().await;
    let mut round = 0;
    for away in [2, 0, 1, 2, 0] {
        site.faulty[away].set_all(Fault::Error(ErrorKind::Unavailable));
        let other = site.stack(site.clock(NOW - round * 1_000));
        other.look().await;
        other.put("a.png", &bytes(round, 10)).await.unwrap();
        other.tasks.shut_down(Duration::from_secs(60)).await;
        site.faulty[away].heal();
        round += 1;
    }
    drop(one);
    let mut cold = site.stack(site.clock(NOW));
    cold.start().await;
    assert_eq!(cold.get("a.png").await.unwrap(), bytes(round - 1, 10));
    tokio::time::advance(Duration::from_secs(60)).await;
    cold.look().await;
    cold.heal().await;
    assert_same_copies(&cold).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_asset_stays_deleted_when_a_provider_comes_back() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable));
    stack.writer.delete("a.png".parse().unwrap()).await.unwrap();
    stack.tasks.shut_down(Duration::from_secs(60)).await;
    site.faulty[2].heal();
    // A gateway that knows nothing, with one of the two that took the delete away.
    site.faulty[0].set_all(Fault::Error(ErrorKind::Unavailable));
    let mut cold = site.stack(site.clock(NOW));
    cold.start().await;
    assert!(matches!(cold.get("a.png").await, Err(ReadError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn a_minority_can_serve_but_never_say_not_found() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    for faulty in &site.faulty[1..] {
        faulty.set_all(Fault::Error(ErrorKind::Unavailable));
    }
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(stack.get("a.png").await.unwrap(), bytes(1, 10));
    assert!(matches!(stack.get("never.png").await, Err(ReadError::Unavailable { .. })));
    let mut cold = site.stack(site.clock(NOW));
    cold.start().await;
    assert_eq!(cold.get("a.png").await.unwrap(), bytes(1, 10));
    assert!(matches!(cold.get("never.png").await, Err(ReadError::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_majority_costs_a_cold_read_about_a_second() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    let mut cold = site.stack(site.clock(NOW));
    cold.look().await;
    cold.pollers[0].step().await.unwrap();
    for faulty in &site.faulty[1..] {
        faulty.set_all(Fault::Hang);
    }
    let began = tokio::time::Instant::now();
    assert_eq!(cold.get("a.png").await.unwrap(), bytes(1, 10));
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_from_the_start_on_costs_only_the_first_request_a_moment() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    for hanging in stack.fleet.slots() {
        site.faulty[hanging.0].set_all(Fault::Hang);
        let cold = site.stack(Clock::seeded(NOW, 10 + hanging.0 as u64));
        let mut took = Vec::new();
        for number in 0..3 {
            let began = tokio::time::Instant::now();
            assert_eq!(cold.get("a.png").await.unwrap(), bytes(1, 10));
            took.push(began.elapsed());
            let began = tokio::time::Instant::now();
            let mut put = request(&format!("{}-{number}.png", hanging.0));
            put.wait_all = false;
            cold.put_request(put, &bytes(number, 10)).await.unwrap();
            took.push(began.elapsed());
        }
        let moment = Duration::from_millis(1_000);
        assert!(took.iter().all(|took| *took < moment), "{hanging:?}: {took:?}");
        site.faulty[hanging.0].heal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_index_answers_an_unknown_name_without_a_request() {
    let (site, stack) = site().await;
    let calls = || site.faulty.iter().map(|faulty| faulty.calls(Operation::List)).sum::<u64>();
    let before = calls();
    assert!(matches!(stack.get("never.png").await, Err(ReadError::NotFound)));
    assert_eq!(calls(), before);
    assert_eq!(stack.keys(Slot(0)).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_was_cut_off_until_the_tombstone_was_gone_forgets_what_was_deleted() {
    let (site, mut one) = crate::retention::site().await;
    let mut two = site.stack_with_cache(site.clock.clone(), 64 << 20);
    two.start().await;
    one.put("gone.png", &bytes(1, 10)).await.unwrap();
    one.put("kept.png", &bytes(2, 10)).await.unwrap();
    two.poll().await;
    for (text, seed) in [("gone.png", 1), ("kept.png", 2)] {
        assert_eq!(two.get(text).await.unwrap(), bytes(seed, 10));
    }
    crate::retention::delete(&one, "gone.png").await;
    for _ in 0..8 {
        crate::retention::later(&mut one, RETENTION / 3).await;
        assert!(one.retention.round(Brake::Stop, false).await.is_done());
    }
    assert_eq!(one.catalog.names().await, 1, "nothing is left of it, not even a trace in the feeds");
    two.recover().await;
    // Neither the first poll nor a later one takes the old index for fresh.
    for _ in 0..3 {
        two.poll().await;
        assert!(matches!(two.get("gone.png").await, Err(ReadError::NotFound)));
        assert_eq!(two.get("kept.png").await.unwrap(), bytes(2, 10));
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert!(two.catalog.is_fresh());
    assert!(two.catalog.versions(&"gone.png".parse().unwrap()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_slept_for_less_than_the_tombstones_last_keeps_its_index() {
    let (site, mut one) = crate::retention::site().await;
    let mut two = site.stack(site.clock.clone());
    two.start().await;
    one.put("old.png", &bytes(1, 10)).await.unwrap();
    one.put("gone.png", &bytes(2, 10)).await.unwrap();
    two.poll().await;
    crate::retention::later(&mut one, RETENTION / 2 - Duration::from_secs(600)).await;
    one.put("new.png", &bytes(3, 10)).await.unwrap();
    crate::retention::delete(&one, "gone.png").await;
    two.recover().await;
    let rebuilt = |two: &crate::stack::Stack| {
        let events = two.telemetry.recent_events(100);
        events.iter().filter(|event| event.kind == EventKind::IndexRebuilt).count()
    };
    let before = rebuilt(&two);
    two.poll().await;
    assert!(two.catalog.was_fresh() && two.catalog.is_fresh());
    assert_eq!(rebuilt(&two), before);
    assert_eq!(two.get("old.png").await.unwrap(), bytes(1, 10));
    assert_eq!(two.get("new.png").await.unwrap(), bytes(3, 10));
    assert!(matches!(two.get("gone.png").await, Err(ReadError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_only_listings_show_is_made_known_by_whoever_is_asked_again() {
    let (site, one) = site().await;
    one.put("a.png", &bytes(1, 10)).await.unwrap();
    let mut watching = site.stack(site.clock(NOW));
    watching.start().await;
    assert_eq!(watching.get("a.png").await.unwrap(), bytes(1, 10));
    // Its gateway died before any feed entry.
    crate::retention::delete(&one, "a.png").await;
    let name: triplicate::asset::AssetName = "a.png".parse().unwrap();
    let entry = format!("{}.{}.del", one.catalog.versions(&name).await[0].version, name.hash());
    for slot in 0..3 {
        crate::retention::remove(&one, slot, &entry).await;
    }
    drop(one);
    let mut two = site.stack(site.clock(NOW));
    two.start().await;
    crate::retention::delete(&two, "a.png").await;
    assert!(two.writer.delete(name).await.unwrap().is_none(), "one with feed entries is enough");
    watching.poll().await;
    assert!(matches!(watching.get("a.png").await, Err(ReadError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn a_stale_index_asks_providers_that_are_back_though_none_is_known_to_be_well() {
    let (site, one) = site().await;
    one.put("a.png", &bytes(1, 10)).await.unwrap();
    let mut two = site.stack(site.clock(NOW));
    two.start().await;
    site.faulty.iter().for_each(|faulty| faulty.set_all(Fault::Error(ErrorKind::Unavailable)));
    for _ in 0..5 {
        tokio::time::advance(Duration::from_secs(2)).await;
        two.look().await;
        two.poll().await;
    }
    site.faulty.iter().for_each(|faulty| faulty.heal());
    one.look().await;
    one.put("a.png", &bytes(2, 10)).await.unwrap();
    let nobody = two.fleet.slots().all(|slot| !two.monitor.board().is_healthy(slot));
    assert!(nobody && !two.catalog.is_fresh());
    assert_eq!(two.get("a.png").await.unwrap(), bytes(2, 10));
}
