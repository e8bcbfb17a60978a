use super::*;

const DELAY: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);

/// What an entrant does: answers after so many milliseconds, with success or failure.
type Answer = (u64, bool);

const FAST: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_secs(2);

fn entrants(count: usize, expected: Duration) -> Vec<Entrant> {
    (0..count).map(|slot| Entrant { slot: Slot(slot), hedge_after: DELAY, expected }).collect()
}

async fn run(answers: &[Answer], budget: &Budget, expected: Duration) -> (Race<usize, ()>, u64) {
    let outcome = race(&entrants(answers.len(), expected), budget, PATIENCE, |slot, _| async move {
        let (after, good) = answers[slot.0];
        tokio::time::sleep(Duration::from_millis(after)).await;
        if good { Ok(slot.0) } else { Err(()) }
    })
    .await;
    let took = u64::try_from(outcome.took.as_millis()).unwrap();
    (outcome, took)
}

fn spent() -> Budget {
    let budget = Budget::new();
    while budget.try_spend() {}
    budget
}

#[tokio::test(start_paused = true)]
async fn outcomes_by_table() {
    use Reason::{First, Hedge, Retry};
    // (answers, the winner and why it was asked, milliseconds until the end)
    type Row<'a> = (&'a [Answer], Option<(usize, Reason)>, u64);
    let table: [Row<'_>; 8] = [
        (&[(10, true), (10, true)], Some((0, First)), 10),
        (&[(10, false), (10, true)], Some((1, Retry)), 20),
        (&[(60_000, true), (10, true)], Some((1, Hedge)), 310),
        (&[(400, true), (500, true)], Some((0, First)), 400),
        (&[(60_000, true), (10, false), (10, true)], Some((2, Retry)), 320),
        (&[(60_000, true), (60_000, true), (10, true)], Some((2, Hedge)), 610),
        (&[(10, false), (20, false)], None, 30),
        (&[(60_000, true)], None, 10_000),
    ];
    for (answers, winner, took) in table {
        let (outcome, elapsed) = run(answers, &Budget::new(), FAST).await;
        assert_eq!(outcome.won.map(|won| (won.value, won.reason)), winner, "{answers:?}");
        assert_eq!(elapsed, took, "{answers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn losers_are_dropped_with_the_race() {
    let held = std::sync::Arc::new(());
    let outcome = race(&entrants(3, FAST), &Budget::new(), PATIENCE, |slot, _| {
        let held = held.clone();
        async move {
            let _connection = held;
            tokio::time::sleep(if slot == Slot(2) { FAST } else { 10 * PATIENCE }).await;
            Ok::<_, ()>(slot)
        }
    })
    .await;
    assert_eq!((outcome.won.unwrap().value, outcome.slow.len()), (Slot(2), 2));
    assert_eq!(std::sync::Arc::strong_count(&held), 1, "nobody goes on");
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_errors_are_met_at_once_and_slowness_after_a_second() {
    let (outcome, took) = run(&[(10, false), (10, true)], &spent(), FAST).await;
    assert_eq!((outcome.won.unwrap().value, took), (1, 20));
    let (outcome, took) = run(&[(60_000, true), (10, true)], &spent(), FAST).await;
    assert_eq!((outcome.won.unwrap().value, took), (1, 1_010));
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_the_slow_are_asked_as_the_last_resort() {
    let (outcome, took) = run(&[(2_500, true), (10, true)], &spent(), SLOW).await;
    assert_eq!((outcome.won.unwrap().value, took), (0, 2_500));
    let (outcome, took) = run(&[(60_000, true), (10, true)], &spent(), SLOW).await;
    assert_eq!((outcome.won.unwrap().value, took), (1, 3_010));
    let budget = spent();
    let earning = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        (0..10).for_each(|_| budget.earn());
    };
    let answers = [(60_000, true), (10, true)];
    let ((outcome, took), ()) = tokio::join!(run(&answers, &budget, SLOW), earning);
    assert_eq!(outcome.won.unwrap().value, 1);
    assert!((2_000..2_300).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn nobody_to_ask_is_an_empty_race() {
    let (outcome, _) = run(&[], &Budget::new(), FAST).await;
    assert!(outcome.won.is_none() && outcome.failed.is_empty() && outcome.slow.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_slow_are_named() {
    let (outcome, _) = run(&[(60_000, true), (10, true)], &Budget::new(), FAST).await;
    assert_eq!(outcome.slow.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [Slot(0)]);
}

#[tokio::test(start_paused = true)]
async fn without_hedges_slowness_is_waited_for_and_failure_is_not() {
    let budget = Budget::without_hedges();
    let (outcome, took) = run(&[(5_000, true), (10, true)], &budget, FAST).await;
    assert_eq!((outcome.won.unwrap().slot, took), (Slot(0), 5_000));
    let (outcome, took) = run(&[(5_000, false), (10, true)], &budget, FAST).await;
    assert_eq!((outcome.won.unwrap().slot, took), (Slot(1), 5_010));
}
