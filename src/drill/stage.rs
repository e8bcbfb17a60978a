//! The stage: the phase that is being played, as readers and writers see it.
//!
//! A read belongs to the phase in which it began, wherever it ends. Whoever begins takes a ticket; a phase
//! that has no more tickets, or that was closed, gives none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::figures::{Figures, ReadFigures};
use super::scenario::Phase;

/// A phase that is being played.
pub(super) struct Act {
    /// When it began.
    pub(super) began: Instant,
    /// Its figures.
    pub(super) figures: Mutex<Figures>,
    /// Whether nobody writes in it.
    pub(super) writers_rest: bool,
    tickets: AtomicU64,
    tickets_max: Option<u64>,
    closed: AtomicBool,
    over: AtomicBool,
    /// Reads that began and did not end.
    under_way: AtomicU64,
    /// Told when the last ticket was taken, and when no read is under way any more.
    changed: Notify,
}

impl Act {
    /// Opens a phase at `now`.
    pub(super) fn open(phase: &Phase, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            began: now,
            figures: Mutex::new(Figures::new(&phase.name)),
            writers_rest: phase.until.is_some(),
            tickets: AtomicU64::new(0),
            tickets_max: phase.reads,
            closed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            under_way: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    /// Takes a ticket: the number of a read, from 0 on.
    pub(super) fn ticket(self: &Arc<Self>) -> Option<Ticket> {
        if self.closed.load(Ordering::SeqCst) {
            return None;
        }
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let ticket = Ticket { act: self.clone(), number: self.tickets.fetch_add(1, Ordering::SeqCst) };
        let is_valid = self.tickets_max.is_none_or(|max| ticket.number < max);
        if self.tickets_max.is_some_and(|max| ticket.number + 1 >= max) {
            self.closed.store(true, Ordering::SeqCst);
            self.changed.notify_one();
        }
        is_valid.then_some(ticket)
    }

    /// Gives no more tickets, and tells those who hold one and did not begin to give it back.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.over.store(true, Ordering::SeqCst);
    }

    /// Tells whether it was closed before its reads were all begun.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Tells whether it gives no more tickets.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits until something may have changed, at most `patience`.
    pub(super) async fn changed(&self, patience: Duration) {
        // Whoever waits looks again in either case.
        let _ = tokio::time::timeout(patience, self.changed.notified()).await;
    }

    /// Tells whether no read is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }
}

/// The right to one read.
pub(super) struct Ticket {
    act: Arc<Act>,
    /// Its number in the phase.
    pub(super) number: u64,
}

impl Ticket {
    /// Returns the phase.
    pub(super) fn act(&self) -> &Act {
        &self.act
    }

    /// Adds the figures of the read.
    pub(super) fn settle(self, read: ReadFigures) {
        self.act.figures.lock().add(read);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.act.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.act.changed.notify_one();
        }
    }
}

/// Shows the phase that is being played; `None` before the first and after the last.
pub(super) type Stage = watch::Receiver<Option<Arc<Act>>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(reads: Option<u64>) -> Phase {
        let name = "one".to_owned();
        Phase { name, reads, length: None, until: None, faults: Vec::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_gives_as_many_tickets_as_it_has_reads() {
        let act = Act::open(&phase(Some(2)), Instant::now());
        let tickets: Vec<_> = std::iter::from_fn(|| act.ticket()).collect();
        assert_eq!(tickets.iter().map(|ticket| ticket.number).collect::<Vec<_>>(), [0, 1]);
        assert!(act.is_closed() && !act.is_quiet());
        drop(tickets);
        assert!(act.is_quiet());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_phase_gives_no_ticket() {
        let act = Act::open(&phase(None), Instant::now());
        assert!(act.ticket().is_some());
        act.close();
        assert!(act.ticket().is_none() && act.is_quiet());
    }
}
