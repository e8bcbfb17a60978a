//! The board over imagined outcomes, with paused time.

use std::time::Duration;

use tokio::time::advance;

use crate::clock::Clock;
use crate::health::breaker::BreakerState;
use crate::health::canary::{Canary, CanaryState};
use crate::health::{Asked, Board};
use crate::provider::{ErrorKind, Observer, Operation, ProviderId, Slot};
use crate::telemetry::Telemetry;

const SMALL: u64 = 10_000;
const LARGE: u64 = 8 << 20;

/// The dice fall the same in every run: one plan in a hundred explores.
fn board(providers: usize) -> Board {
    let names = (0..providers).map(|index| (ProviderId::new(&format!("disk-{index}")), "disk"));
    Board::new(names.collect(), Clock::seeded(1_795_345_530_000, 1), Telemetry::new())
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A call that the fleet's observer sees.
fn call(board: &Board, slot: usize, operation: Operation, failure: Option<ErrorKind>) {
    board.observe(Slot(slot), operation, ms(1), failure.as_ref(), "");
}

/// Has a first block delivered after so many milliseconds.
async fn deliver(board: &Board, slot: usize, bytes: u64, after: u64) {
    let asked = board.ask(Slot(slot), bytes);
    advance(ms(after)).await;
    asked.delivered();
}

/// Makes a provider half-open.
async fn half_open(board: &Board, slot: usize) {
    board.failed(Slot(slot), ErrorKind::Denied, "");
    advance(ms(1_000)).await;
    board.probed(Slot(slot), Ok(()));
    assert_eq!(board.breaker(Slot(slot)), BreakerState::HalfOpen);
}

fn canary(state: CanaryState) -> Canary {
    Canary { state, created: None }
}

fn first(board: &Board) -> usize {
    board.plan(SMALL)[0].slot.0
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_only_ends_the_count() {
    let board = board(1);
    let before = board.snapshot();
    let asked: Vec<Asked> = (0..3).map(|_| board.ask(Slot(0), SMALL)).collect();
    assert_eq!(board.snapshot()[0].in_flight, 3);
    advance(ms(5_000)).await;
    drop(asked);
    assert_eq!(board.snapshot(), before);
}

#[tokio::test(start_paused = true)]
async fn a_delivered_request_is_a_sample_of_its_class_and_a_success() {
    let board = board(1);
    for _ in 0..20 {
        deliver(&board, 0, LARGE, 300).await;
    }
    let health = &board.snapshot()[0];
    assert_eq!((health.in_flight, health.success_rate), (0, Some(1.0)));
    assert_eq!((health.latency_ms, health.p95_ms), (Some(300.0), None));
    assert_eq!(board.plan(SMALL)[0].hedge_after, ms(200), "small answers are unknown");
    assert!(board.plan(LARGE)[0].hedge_after > ms(270));
    call(&board, 0, Operation::Get, Some(ErrorKind::Timeout));
    deliver(&board, 0, SMALL, 40).await;
    for _ in 0..4 {
        call(&board, 0, Operation::Get, Some(ErrorKind::Timeout));
    }
    assert!(board.is_healthy(Slot(0)), "the delivery ended the row of faults");
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_a_lower_bound_and_no_fault() {
    let board = board(2);
    deliver(&board, 0, SMALL, 10).await;
    deliver(&board, 1, SMALL, 50).await;
    assert_eq!(first(&board), 0);
    let asked = board.ask(Slot(0), SMALL);
    advance(ms(250)).await;
    asked.lost();
    let health = &board.snapshot()[0];
    assert_eq!((health.latency_ms, health.in_flight, health.success_rate), (Some(250.0), 0, Some(1.0)));
    assert_eq!(first(&board), 1);
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_is_demoted_within_a_second_and_the_others_stay() {
    let board = board(3);
    for slot in 0..3 {
        deliver(&board, slot, SMALL, 10).await;
    }
    // A hundred requests a second that were all sent to it, each lost after 200 ms.
    let mut flying: std::collections::VecDeque<Asked> = (0..20).map(|_| board.ask(Slot(0), SMALL)).collect();
    advance(ms(200)).await;
    let mut took = ms(200);
    while board.is_healthy(Slot(0)) {
        flying.push_back(board.ask(Slot(0), SMALL));
        flying.pop_front().unwrap().lost();
        assert_ne!(board.order()[0], Slot(0), "the first lost race already sends others elsewhere");
        advance(ms(10)).await;
        took += ms(10);
    }
    assert!(took < ms(1_000), "{took:?}");
    drop(flying);
    let plan = board.plan(SMALL);
    assert_eq!((plan[2].slot, plan[2].healthy, plan[0].healthy), (Slot(0), false, true));
    assert!(!board.all_down());
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_spread_over_equal_providers() {
    let board = board(3);
    for slot in 0..3 {
        deliver(&board, slot, SMALL, 20).await;
    }
    let mut counts = [0_u32; 3];
    let mut flying = Vec::new();
    for _ in 0..300 {
        let slot = first(&board);
        counts[slot] += 1;
        flying.push(board.ask(Slot(slot), SMALL));
    }
    assert!(counts.iter().all(|count| (90..=110).contains(count)), "{counts:?}");
    drop(flying);
    // Twice as slow, half as many.
    deliver(&board, 2, SMALL, 40).await;
    let mut counts = [0_u32; 3];
    let flying: Vec<_> = (0..500)
        .map(|_| {
            let slot = first(&board);
            counts[slot] += 1;
            board.ask(Slot(slot), SMALL)
        })
        .collect();
    assert!((80..=125).contains(&counts[2]) && counts[0].abs_diff(counts[1]) < 25, "{counts:?}");
    drop(flying);
}

#[tokio::test(start_paused = true)]
async fn a_half_open_provider_is_let_through_one_at_a_time() {
    let board = board(3);
    for slot in 0..3 {
        deliver(&board, slot, SMALL, 10 + 40 * slot as u64).await;
    }
    half_open(&board, 0).await;
    // What the failure cost in the order is forgotten.
    advance(ms(120_000)).await;
    for slot in 1..3 {
        deliver(&board, slot, SMALL, 100).await;
    }
    for left in [2, 1, 0] {
        assert_eq!(first(&board), 0);
        for _ in 0..50 {
            assert_eq!(board.plan(SMALL)[2].slot, Slot(0), "the turn is taken by the plan");
        }
        let asked = board.ask(Slot(0), SMALL);
        advance(ms(5)).await;
        assert_eq!(board.plan(SMALL)[2].slot, Slot(0), "and by the request");
        asked.delivered();
        assert_eq!(board.is_healthy(Slot(0)), left == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_nobody_took_is_given_again() {
    let board = board(2);
    deliver(&board, 1, SMALL, 900).await;
    half_open(&board, 0).await;
    advance(ms(20_000)).await;
    deliver(&board, 1, SMALL, 900).await;
    assert_eq!((first(&board), first(&board)), (0, 1));
    advance(ms(1_000)).await;
    assert_eq!(first(&board), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_whole_is_no_success() {
    let board = board(1);
    for _ in 0..5 {
        assert!(board.is_healthy(Slot(0)));
        call(&board, 0, Operation::Get, None);
        board.failed(Slot(0), ErrorKind::Corrupt, "a wrong block");
        // So seldom that no share of ten seconds is told.
        advance(ms(3_000)).await;
    }
    assert!(!board.is_healthy(Slot(0)));
}

#[tokio::test(start_paused = true)]
async fn who_is_only_written_to_or_only_read_by_repair_is_judged_by_that() {
    // (operation that succeeds, of twenty how many fail, healthy)
    for (operation, failing, healthy) in [
        (Operation::Put, 2, true),
        (Operation::Put, 10, false),
        (Operation::Get, 2, true),
        (Operation::Get, 10, false),
        (Operation::List, 2, true),
    ] {
        let board = board(1);
        for index in 0..40 {
            let failure = (index * failing % 20 >= 20 - failing).then_some(ErrorKind::Unavailable);
            call(&board, 0, operation, failure);
            advance(ms(100)).await;
        }
        assert_eq!(board.is_healthy(Slot(0)), healthy, "{operation:?} {failing}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_counts_though_each_begins_well() {
    let board = board(1);
    let mut broken = 0;
    while board.is_healthy(Slot(0)) {
        deliver(&board, 0, LARGE, 10).await;
        (0..50).for_each(|_| board.block(Slot(0), 65_536, ms(1)));
        call(&board, 0, Operation::Get, Some(ErrorKind::Unavailable));
        broken += 1;
        assert!(broken < 20);
    }
    assert_eq!(broken, 5);
    let throughput = board.throughput(Slot(0)).unwrap();
    assert!((throughput - 65_536_000.0).abs() < 1_000.0, "{throughput}");
}

#[tokio::test(start_paused = true)]
async fn all_down_follows_breakers_and_canaries() {
    let board = board(2);
    assert!(!board.all_down());
    board.failed(Slot(0), ErrorKind::Denied, "");
    assert!(!board.all_down());
    let now = board.clock().now();
    board.looked(Slot(1), canary(CanaryState::Missing), now);
    assert!(board.all_down());
    board.looked(Slot(1), canary(CanaryState::Ours), now);
    assert!(!board.all_down());
    board.failed(Slot(1), ErrorKind::NoContainer, "");
    assert!(board.all_down());
    assert_eq!(board.plan(SMALL).len(), 2, "all are used all the same");
    board.looked(Slot(1), canary(CanaryState::Foreign), now);
    let plan = board.plan(SMALL);
    assert!(
        plan.len() == 2 && !plan[1].healthy && plan[1].slot == Slot(1),
        "a foreign one is as good as down: {plan:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_its_canary_a_provider_is_behind_the_healthy() {
    let board = board(3);
    deliver(&board, 0, SMALL, 1).await;
    board.looked(Slot(0), canary(CanaryState::Missing), board.clock().now());
    for _ in 0..1_000 {
        let plan = board.plan(SMALL);
        assert_eq!((plan[2].slot, plan[2].healthy), (Slot(0), false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_preferred_provider_comes_first_where_loads_are_near() {
    let board = board(2);
    deliver(&board, 0, SMALL, 10).await;
    deliver(&board, 1, SMALL, 12).await;
    assert_eq!(board.order(), [Slot(0), Slot(1)]);
    board.prefer(Slot(1));
    assert_eq!(board.order(), [Slot(1), Slot(0)]);
    board.failed(Slot(1), ErrorKind::Denied, "");
    assert_eq!(board.order(), [Slot(0), Slot(1)]);
}

#[tokio::test(start_paused = true)]
async fn an_open_provider_says_since_when_and_until_when() {
    let board = board(1);
    board.failed(Slot(0), ErrorKind::Denied, "the key");
    advance(ms(500)).await;
    let health = board.snapshot().remove(0);
    assert_eq!((health.health, health.breaker, health.open_for_s), ("down", "open", Some(0.5)));
    assert!((0.25..=0.5).contains(&health.next_probe_s.unwrap()), "{health:?}");
    assert_eq!(health.last_error.as_deref(), Some("denied (the key)"));
    advance(ms(5_000)).await;
    assert_eq!(board.snapshot()[0].next_probe_s, Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_distant_provider_that_is_left_before_its_time_is_not_taken_to_be_down() {
    let board = board(2);
    deliver(&board, 1, SMALL, 150).await;
    for _ in 0..20 {
        let asked = board.ask(Slot(1), SMALL);
        advance(ms(100)).await;
        asked.lost();
    }
    assert!(board.is_healthy(Slot(1)));
}
