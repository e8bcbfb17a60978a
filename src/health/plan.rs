//! The plan of a read: whom to ask, best first, and how patient to be with each.

use std::time::Duration;

use crate::provider::Slot;

/// A request up to this size is small.
const SMALL_BYTES_MAX: u64 = 64 * 1024;
/// When the next provider is asked too, while nothing is known of the first.
pub(super) const HEDGE_UNKNOWN: Duration = Duration::from_millis(200);
/// How long a body may stand still at least, before it counts as stalled.
pub(super) const STALL_MIN: Duration = Duration::from_millis(250);
/// How long a body may stand still at most.
pub(super) const STALL_MAX: Duration = Duration::from_secs(1);

/// How large the answer to a request is; figures are kept apart for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeClass {
    /// Up to 64 KiB: records, icons, block lists.
    Small,
    /// More.
    Large,
}

impl SizeClass {
    /// Returns the class of a request for so many bytes.
    pub const fn of(bytes: u64) -> Self {
        if bytes <= SMALL_BYTES_MAX { Self::Small } else { Self::Large }
    }
}

/// One provider to ask, and how patient to be with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The provider.
    pub slot: Slot,
    /// When the next one is asked too: about this one's p95 to the first verified block in the class.
    pub hedge_after: Duration,
    /// How long it may take in mid-body to come up with the next verified block.
    pub stall_after: Duration,
    /// Whether its breaker is closed and its canary is not missing.
    pub healthy: bool,
}
