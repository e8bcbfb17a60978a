//! A request in flight, as the board sees it: counted until the guard goes.

use tokio::time::Instant;

use super::Board;
use super::plan::SizeClass;
use crate::provider::Slot;

/// A request in flight at one provider; dropping it ends the count and says nothing else, since who drops it
/// has told of the failure elsewhere or does not need the answer any longer.
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
        board.flight(slot, true);
        Self { board, slot, class, began }
    }

    /// Takes note that the first verified block came.
    pub fn delivered(self) {
        self.board.delivered(self.slot, self.class, self.began);
    }

    /// Takes note that another provider, asked later, delivered first.
    pub fn lost(self) {
        self.board.lost(self.slot, self.class, self.began);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.board.flight(self.slot, false);
    }
}
