//! A request in flight, as the board sees it: counted until the guard goes.

use tokio::time::Instant;

use super::Board;
use super::plan::SizeClass;
use crate::provider::Slot;

/// A request in flight at one provider.
///
/// Dropping it ends the count and says nothing else: who drops it has told of a failure elsewhere, or does not
/// need the answer any longer.
#[derive(Debug)]
#[must_use = "the request counts as in flight until this is dropped"]
pub struct Asked {
    board: Board,
    slot: Slot,
    class: SizeClass,
    began: Instant,
}

impl Asked {
    pub(super) fn new(board: Board, slot: Slot, class: SizeClass, began: Instant) -> Self {
        board.take_off(slot);
        Self { board, slot, class, began }
    }

    /// Takes note that the first verified block came: a sample of the latency, and a success.
    pub fn delivered(self) {
        self.board.delivered(self.slot, self.class, self.began);
    }

    /// Takes note that another provider, asked later, delivered first: the latency is at least the time since
    /// then. One lost race is no fault; it speaks against the provider when nothing but lost races comes.
    pub fn lost(self) {
        self.board.lost(self.slot, self.class, self.began);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.board.land(self.slot);
    }
}
