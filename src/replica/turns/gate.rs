//! The gate: which piece of work may begin now. Pure: it takes times and keeps a state.
//!
//! While clients ask, work goes in shifts. A shift that has lasted [`SHIFT`] takes no more pieces; when the last
//! one under way has ended, all work rests for a multiple of what the shift took. A shift is no shorter, so that
//! most reads fall into one or into a rest and not across a border.

use std::time::Duration;

use tokio::time::Instant;

use super::regulator::{BEHIND_BELOW, Pacing};

/// A shift takes pieces of work for so long.
pub(super) const SHIFT: Duration = Duration::from_millis(100);
/// How many pieces go on at the same time while nobody else wants anything.
pub const AT_ONCE_MAX: usize = 8;
/// However short the rest may be by the floor on the pace, it is so much of its shift: without rests nobody could
/// tell what clients feel when nothing is repaired.
pub(super) const REST_MIN: f64 = 0.25;

/// Whether a piece may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It began.
    Now,
    /// Not before this moment.
    At(Instant),
    /// Not before a piece that is under way has ended.
    Later,
}

/// A shift that has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shift {
    /// For how long at least one piece was under way.
    pub(super) worked: Duration,
    /// How long everything rests now.
    pub(super) rest: Duration,
    /// How much was done, in blocks; a piece of work is at least one.
    pub(super) blocks: u64,
}

/// Which piece of work may begin.
#[derive(Debug, Default)]
pub(super) struct Gate {
    under_way: usize,
    /// Since when at least one piece is under way.
    busy_since: Option<Instant>,
    /// What the shift came to before that.
    worked: Duration,
    blocks: u64,
    rest_until: Option<Instant>,
}

impl Gate {
    /// Begins a piece, if it may: without limit but [`AT_ONCE_MAX`] while there are no `clients`.
    pub(super) fn enter(&mut self, clients: bool, pacing: Pacing, now: Instant) -> Entry {
        if !clients {
            self.rest_until = None;
            if self.under_way >= AT_ONCE_MAX {
                return Entry::Later;
            }
            self.busy_since = Some(now);
            self.under_way += 1;
            return Entry::Now;
        }
        if let Some(until) = self.rest_until.filter(|until| now < *until) {
            return Entry::At(until);
        }
        let is_full = self.under_way >= pacing.at_once || self.elapsed(now) >= SHIFT;
        if self.under_way > 0 && is_full {
            return Entry::Later;
        }
        self.rest_until = None;
        self.busy_since.get_or_insert(now);
        self.under_way += 1;
        Entry::Now
    }

    /// Ends a piece of so many blocks; returns the shift, if that ended with it.
    pub(super) fn leave(
        &mut self,
        blocks: u64,
        clients: bool,
        pacing: Pacing,
        now: Instant,
    ) -> Option<Shift> {
        self.under_way = self.under_way.saturating_sub(1);
        self.blocks += blocks.max(1);
        if self.under_way > 0 {
            return None;
        }
        self.worked = self.elapsed(now);
        self.busy_since = None;
        if !clients {
            // What is done for nobody to see is no shift.
            (self.worked, self.blocks) = (Duration::ZERO, 0);
        }
        if self.worked < SHIFT {
            return None;
        }
        let (worked, blocks) = (std::mem::take(&mut self.worked), std::mem::take(&mut self.blocks));
        let rest = rest(worked, blocks, pacing.rest_factor);
        self.rest_until = Some(now + rest);
        Some(Shift { worked, rest, blocks })
    }

    /// Tells whether anything is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// Tells whether everything rests until a moment that is still to come.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.under_way == 0 && self.rest_until.is_some_and(|until| now < until)
    }

    fn elapsed(&self, now: Instant) -> Duration {
        self.worked + self.busy_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }
}

/// Returns the rest after a shift: the factor's, but no longer than the floor on the pace leaves time for.
fn rest(worked: Duration, blocks: u64, factor: f64) -> Duration {
    let owed = Duration::from_secs_f64(blocks as f64 / BEHIND_BELOW).saturating_sub(worked);
    worked.mul_f64(factor).min(owed).max(worked.mul_f64(REST_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Pacing = Pacing { at_once: 1, rest_factor: 1.0 };

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[tokio::test(start_paused = true)]
    async fn without_clients_nothing_rests() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for _ in 0..AT_ONCE_MAX {
            assert_eq!(gate.enter(false, ONE, now), Entry::Now);
        }
        assert_eq!(gate.enter(false, ONE, now), Entry::Later);
        for _ in 0..100 {
            assert_eq!(gate.leave(1, false, ONE, now + ms(500)), None);
            assert_eq!(gate.enter(false, ONE, now + ms(500)), Entry::Now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_clients_a_shift_ends_after_its_time_and_rests() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        let mut now = start;
        for piece in 0..3 {
            assert_eq!(gate.enter(true, ONE, now), Entry::Now, "{piece}");
            assert_eq!(gate.enter(true, ONE, now), Entry::Later, "one at a time");
            now += ms(40);
            let shift = gate.leave(5, true, ONE, now);
            // What passes between two pieces is no work.
            now += ms(7);
            let ended = (piece == 2).then_some(Shift { worked: ms(120), rest: ms(120), blocks: 15 });
            assert_eq!(shift, ended);
        }
        let until = start + ms(3 * 40 + 2 * 7 + 120);
        assert!(gate.is_resting(now) && !gate.is_busy());
        assert_eq!(gate.enter(true, ONE, now), Entry::At(until));
        assert_eq!(gate.enter(true, ONE, until), Entry::Now);
        assert!(gate.is_busy() && !gate.is_resting(until));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shift_that_is_over_waits_for_its_last_piece() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let pacing = Pacing { at_once: 2, rest_factor: 0.5 };
        assert_eq!(gate.enter(true, pacing, now), Entry::Now);
        assert_eq!(gate.enter(true, pacing, now), Entry::Now);
        assert_eq!(gate.leave(1_000, true, pacing, now + SHIFT), None);
        assert_eq!(gate.enter(true, pacing, now + SHIFT), Entry::Later);
        let shift = gate.leave(1_000, true, pacing, now + ms(300)).unwrap();
        assert_eq!((shift.worked, shift.rest, shift.blocks), (ms(300), ms(150), 2_000));
    }

    #[tokio::test(start_paused = true)]
    async fn work_at_full_speed_gives_way_to_the_first_client_and_owes_no_rest() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for _ in 0..3 {
            gate.enter(false, ONE, now);
        }
        let later = now + Duration::from_secs(60);
        assert_eq!(gate.enter(true, ONE, later), Entry::Later);
        gate.leave(1, true, ONE, later);
        gate.leave(1, true, ONE, later);
        assert!(gate.leave(1, true, ONE, later).unwrap().rest <= ms(60_000).mul_f64(REST_MIN));
        assert_eq!(gate.enter(false, ONE, later), Entry::Now, "the last client has left: the rest is over");
        assert_eq!(gate.leave(1, true, ONE, later + ms(10)), None, "a new shift");
    }

    #[test]
    fn the_rest_keeps_to_the_floor_on_the_pace() {
        // (worked, blocks, factor) and the rest
        for (worked, blocks, factor, expected) in [
            (100, 10, 1.0, 100),
            // 10 blocks may take 400 ms at the slowest.
            (100, 10, 16.0, 300),
            (100, 100, 16.0, 1_600),
            // Slow work is behind the floor and rests as little as possible.
            (100, 1, 16.0, 25),
            (5_000, 128, 4.0, 1_250),
        ] {
            assert_eq!(rest(ms(worked), blocks, factor), ms(expected), "{worked} {blocks} {factor}");
        }
    }
}
