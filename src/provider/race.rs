//! Racing providers: the next one is asked at once on an error, and after a while on slowness.
//!
//! The first success wins and the others are dropped, which closes their connections. A slow entrant is
//! never given up for slowness alone: it may be the only one that holds the bytes. What is asked beyond the
//! first is paid from the [`Budget`]: after an error in any case, for slowness only while there is
//! something left. Without it, the next one is asked when the last one takes half as long again as it
//! does lately, between [`FORCED_AFTER`] and `LAST_RESORT_AFTER`: slowness everywhere is not made worse, and
//! nobody waits for ever.

use std::future::Future;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::{Budget, Slot};

/// A request that has not succeeded for so long may be as good as failed.
pub const FORCED_AFTER: Duration = Duration::from_secs(1);
/// A request that has not succeeded for so long is as good as failed.
const LAST_RESORT_AFTER: Duration = Duration::from_secs(3);

/// One who may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrant {
    /// Who.
    pub slot: Slot,
    /// For how long it is asked alone.
    pub hedge_after: Duration,
    /// In what time it answered lately.
    pub expected: Duration,
}

impl Entrant {
    /// Makes an entrant of work that nobody waits for: it is asked alone for as long as may be.
    pub fn patient(slot: Slot) -> Self {
        Self { slot, hedge_after: FORCED_AFTER, expected: Duration::ZERO }
    }
}

/// Why an entrant is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is the first.
    First,
    /// The one before is slow.
    Hedge,
    /// The one before failed.
    Retry,
}

impl Reason {
    /// Returns the word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Hedge => "hedge",
            Self::Retry => "retry",
        }
    }
}

/// Who won a race.
#[derive(Debug)]
pub struct Winner<T> {
    /// Who.
    pub slot: Slot,
    /// With what.
    pub value: T,
    /// How long it took from its own start.
    pub took: Duration,
    /// Why it was asked.
    pub reason: Reason,
}

/// The outcome of a race.
#[derive(Debug)]
pub struct Race<T, E> {
    /// Who won, if anybody did.
    pub won: Option<Winner<T>>,
    /// Who failed before, with the reason.
    pub failed: Vec<(Slot, E)>,
    /// Who was asked before the winner and had not answered when it won, or when the time was up; and since
    /// when.
    pub slow: Vec<(Slot, Instant)>,
    /// How long the whole race took.
    pub took: Duration,
}

/// Asks `entrants` in order until one succeeds, all failed, or `patience` is at an end.
pub async fn race<T, E, F, Fut>(
    entrants: &[Entrant],
    budget: &Budget,
    patience: Duration,
    attempt: F,
) -> Race<T, E>
where
    F: Fn(Slot, Reason) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let began = Instant::now();
    let mut line =
        Line { waiting: entrants.iter(), budget, next: Some(Reason::First), at: began, forced: began };
    let mut running = FuturesUnordered::new();
    let mut race = Race { won: None, failed: Vec::new(), slow: Vec::new(), took: Duration::ZERO };
    loop {
        while let Some((entrant, reason)) = line.due() {
            let (slot, began) = (entrant.slot, Instant::now());
            race.slow.push((slot, began));
            let attempt = attempt(slot, reason);
            running.push(async move { (slot, began, reason, attempt.await) });
        }
        if running.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            Some((slot, since, reason, result)) = running.next() => {
                race.slow.retain(|(running, _)| *running != slot);
                match result {
                    Ok(value) => {
                        // Who was asked after the winner had no more time than it: that is not slow.
                        race.slow.retain(|(_, asked)| *asked < since);
                        race.won = Some(Winner { slot, value, took: since.elapsed(), reason });
                        break;
                    }
                    Err(error) => {
                        race.failed.push((slot, error));
                        line.failed();
                    }
                }
            }
            () = tokio::time::sleep_until(line.at), if line.is_waited_for() => {}
            () = tokio::time::sleep_until(began + patience) => break,
        }
    }
    race.took = began.elapsed();
    race
}

/// Those who were not asked yet, and when the next of them is.
struct Line<'a> {
    waiting: std::slice::Iter<'a, Entrant>,
    budget: &'a Budget,
    /// Why the next one is asked, once it is time.
    next: Option<Reason>,
    /// When the next one may be asked for slowness.
    at: Instant,
    /// When the last one is as good as failed.
    forced: Instant,
}

impl Line<'_> {
    fn is_waited_for(&self) -> bool {
        self.waiting.len() > 0 && self.budget.hedges()
    }

    /// The next one is asked at once.
    fn failed(&mut self) {
        self.next = Some(Reason::Retry);
    }

    /// Takes out the next entrant if it is time to ask it.
    fn due(&mut self) -> Option<(Entrant, Reason)> {
        let entrant = *self.waiting.as_slice().first()?;
        let now = Instant::now();
        let reason = match self.next.take() {
            Some(reason) => reason,
            None if now < self.at || !self.budget.hedges() => return None,
            None => Reason::Hedge,
        };
        match reason {
            Reason::First => {}
            Reason::Retry => self.budget.spend(),
            Reason::Hedge if self.budget.try_spend() => {}
            Reason::Hedge if now >= self.forced => self.budget.spend(),
            Reason::Hedge => {
                // Looked at again when it is forced, or when others may have earned something.
                self.at = self.forced.min(now + FORCED_AFTER / 4);
                return None;
            }
        }
        self.waiting.next();
        self.at = now + entrant.hedge_after;
        self.forced = now + (entrant.expected * 3 / 2).clamp(FORCED_AFTER, LAST_RESORT_AFTER);
        Some((entrant, reason))
    }
}

#[cfg(test)]
#[path = "race_tests.rs"]
mod tests;
