//! Sweeps: which older minutes of a feed are listed again, for entries that came late. Pure.
//!
//! The minute in the key of an entry is that of its writing, but a PUT may take its time to arrive. The last
//! ten minutes are therefore swept every minute, the last hour every ten minutes and the last day every
//! six hours: an entry of up to 9 minutes is found a minute after it came, one of up to 50 minutes ten minutes
//! after, one of up to 18 hours six hours after. A sweep is worked off in pieces, the newest minutes first, so that each poll stays short.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use crate::asset::key::FeedMinute;

/// How many minutes back, and how often.
const ROUNDS: [(u64, Duration); 3] = [
    (10, Duration::from_secs(60)),
    (60, Duration::from_secs(10 * 60)),
    (24 * 60, Duration::from_secs(6 * 3_600)),
];
/// How many minutes are listed in one piece.
const PIECE: usize = 6;

/// The sweeps of one feed.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    /// When each round is due next; at once after a start.
    due: [Option<Instant>; ROUNDS.len()],
    /// What is still to be listed: no more minutes than the widest round has, and those of a restart.
    waiting: BTreeSet<FeedMinute>,
}

impl Sweeps {
    /// Adds minutes that nobody has watched.
    pub(super) fn add(&mut self, minutes: Range<FeedMinute>) {
        self.waiting.extend(minutes);
    }

    /// Takes the next piece, with `current` the minute that the provider has now.
    pub(super) fn next(&mut self, now: Instant, current: FeedMinute) -> Vec<FeedMinute> {
        for (due, (back, every)) in self.due.iter_mut().zip(ROUNDS) {
            if due.is_none_or(|due| now >= due) {
                *due = Some(now + every);
                self.waiting.extend(current.saturating_sub(back)..current);
            }
        }
        (0..PIECE).map_while(|_| self.waiting.pop_last()).collect()
    }

    /// Puts a piece back that could not be listed.
    pub(super) fn put_back(&mut self, minutes: Vec<FeedMinute>) {
        self.waiting.extend(minutes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs sweeps for a while, one piece every two seconds, and returns what was listed when, in seconds.
    fn run(seconds: u64) -> Vec<(u64, Vec<FeedMinute>)> {
        let (mut sweeps, start) = (Sweeps::default(), Instant::now());
        let ticks = (0..seconds).step_by(2);
        let piece = |at: u64| {
            let listed = sweeps.next(start + Duration::from_secs(at), 10_000 + at / 60);
            (at, listed)
        };
        ticks.map(piece).collect()
    }

    #[tokio::test]
    async fn each_minute_is_listed_again_within_its_bound_and_no_tick_does_much() {
        let listed = run(8 * 3_600);
        assert!(listed.iter().all(|(_, minutes)| minutes.len() <= PIECE));
        // An entry that comes this late, in minutes, is found so soon afterwards, in seconds.
        for (late, bound) in [(1, 70), (9, 70), (30, 660), (49, 660), (300, 7 * 3_600), (1_000, 7 * 3_600)] {
            for arrival in [3_600, 3_700, 3_900] {
                let minute = 10_000 + arrival / 60 - late;
                let found = listed.iter().find(|(at, minutes)| *at >= arrival && minutes.contains(&minute));
                let after = found.expect("it is found").0 - arrival;
                assert!(after <= bound, "{late} minutes late: found after {after} s");
            }
        }
    }

    #[tokio::test]
    async fn a_piece_that_failed_comes_again_and_so_does_what_a_restart_added() {
        let (mut sweeps, now) = (Sweeps::default(), Instant::now());
        sweeps.add(100..102);
        let first = sweeps.next(now, 10_000);
        assert_eq!(first, [9_999, 9_998, 9_997, 9_996, 9_995, 9_994]);
        sweeps.put_back(first.clone());
        assert_eq!(sweeps.next(now, 10_000), first);
        let mut rest = Vec::new();
        while let piece @ [_, ..] = sweeps.next(now, 10_000).as_slice() {
            rest.extend_from_slice(piece);
        }
        assert_eq!(rest[rest.len() - 2..], [101, 100]);
    }
}
