//! Racing providers: the next one is asked at once on an error and after a delay on slowness.
//!
//! The first success wins and the others are dropped, which closes their connections. A slow candidate is
//! never given up for slowness alone: it may be the only one that holds the bytes.

use std::future::Future;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::Slot;

/// The outcome of a race.
#[derive(Debug)]
pub struct Race<T, E> {
    /// Who won, with what, and how long it took from its own start.
    pub won: Option<(Slot, T, Duration)>,
    /// Who failed before, with the reason.
    pub failed: Vec<(Slot, E)>,
    /// Who had not answered when another won or the time was up, and since when it was asked.
    pub slow: Vec<(Slot, Instant)>,
}

/// Asks `candidates` in order until one succeeds, all failed, or `patience` is at an end.
pub async fn race<T, E, F, Fut>(
    candidates: &[Slot],
    delay: Duration,
    patience: Duration,
    attempt: F,
) -> Race<T, E>
where
    F: Fn(Slot) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + patience;
    let mut waiting = candidates.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut race = Race { won: None, failed: Vec::new(), slow: Vec::new() };
    let start = |slot: Slot| {
        let attempt = attempt(slot);
        let began = Instant::now();
        (began, async move { (slot, began, attempt.await) })
    };
    let mut next_at = Instant::now();
    loop {
        let may_start = waiting.len() > 0;
        if may_start && (running.is_empty() || Instant::now() >= next_at) {
            if let Some(slot) = waiting.next() {
                let (began, attempt) = start(slot);
                race.slow.push((slot, began));
                running.push(attempt);
                next_at = began + delay;
            }
            continue;
        }
        if running.is_empty() {
            return race;
        }
        tokio::select! {
            biased;
            Some((slot, began, result)) = running.next() => {
                race.slow.retain(|(running, _)| *running != slot);
                match result {
                    Ok(value) => {
                        // Who was asked after the winner had no more time than it: that is not slow.
                        race.slow.retain(|(_, since)| *since < began);
                        race.won = Some((slot, value, began.elapsed()));
                        return race;
                    }
                    // The next one is asked at once.
                    Err(error) => {
                        race.failed.push((slot, error));
                        next_at = Instant::now();
                    }
                }
            }
            () = tokio::time::sleep_until(next_at), if may_start => {}
            () = tokio::time::sleep_until(deadline) => return race,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Each candidate answers after so many milliseconds, with success or failure.
    async fn run(answers: &[(u64, bool)]) -> (Race<usize, ()>, u64) {
        let slots: Vec<_> = (0..answers.len()).map(Slot).collect();
        let began = Instant::now();
        let outcome = race(&slots, DELAY, PATIENCE, |slot| async move {
            let (after, good) = answers[slot.0];
            tokio::time::sleep(Duration::from_millis(after)).await;
            if good { Ok(slot.0) } else { Err(()) }
        })
        .await;
        (outcome, u64::try_from(began.elapsed().as_millis()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn outcomes_by_table() {
        // (answers, the winner, milliseconds until the end)
        type Row<'a> = (&'a [(u64, bool)], Option<usize>, u64);
        let table: [Row<'_>; 7] = [
            (&[(10, true), (10, true)], Some(0), 10),
            (&[(10, false), (10, true)], Some(1), 20),
            (&[(60_000, true), (10, true)], Some(1), 310),
            (&[(400, true), (500, true)], Some(0), 400),
            (&[(60_000, true), (10, false), (10, true)], Some(2), 320),
            (&[(10, false), (20, false)], None, 30),
            (&[(60_000, true)], None, 10_000),
        ];
        for (answers, winner, took) in table {
            let (outcome, elapsed) = run(answers).await;
            assert_eq!(outcome.won.map(|(_, value, _)| value), winner, "{answers:?}");
            assert_eq!(elapsed, took, "{answers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_to_ask_is_an_empty_race() {
        let (outcome, _) = run(&[]).await;
        assert!(outcome.won.is_none() && outcome.failed.is_empty() && outcome.slow.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_slow_are_named() {
        let (outcome, _) = run(&[(60_000, true), (10, true)]).await;
        assert_eq!(outcome.slow.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [Slot(0)]);
    }
}
