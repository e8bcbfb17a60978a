//! The budget of extra requests: hedges and retries share it, and successes earn it.
//!
//! A read needs one request at one provider. Whatever is asked beyond that, because somebody is slow or
//! failed, is paid from here: each success earns a tenth of a request, so that over any longer time extra
//! requests are at most a tenth of the needed ones, and an outage everywhere never doubles the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// What one request costs.
const REQUEST: i64 = 10;
/// What one success earns.
const EARNED: i64 = 1;
/// What a start begins with, and what can be saved up: a burst of faults is met at full speed.
const SAVED_MAX: i64 = 20 * REQUEST;

/// The extra requests that may be made; cheap to clone, shared by all reads of a gateway.
#[derive(Debug, Clone)]
pub struct Budget {
    saved: Arc<AtomicI64>,
    hedges: bool,
}

impl Budget {
    /// Starts with a burst saved up.
    pub fn new() -> Self {
        Self { saved: Arc::new(AtomicI64::new(SAVED_MAX)), hedges: true }
    }

    /// Starts a budget of which nothing is spent on slowness, however slow: what hedging is compared with.
    pub fn without_hedges() -> Self {
        Self { hedges: false, ..Self::new() }
    }

    /// Tells whether anything is spent on slowness.
    pub fn hedges(&self) -> bool {
        self.hedges
    }

    /// Takes note of a success.
    pub fn earn(&self) {
        let earned = |saved: i64| (saved < SAVED_MAX).then_some(saved + EARNED);
        // A budget that is full stays so.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    /// Pays for a request that may be left out; tells whether it may be made.
    pub fn try_spend(&self) -> bool {
        let paid = |saved: i64| (saved >= REQUEST).then_some(saved - REQUEST);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid).is_ok()
    }

    /// Pays, as far as there is something left, for a request that is made in any case.
    pub fn spend(&self) {
        let paid = |saved: i64| (saved > 0).then(|| (saved - REQUEST).max(0));
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_successes_earn_one_extra_request() {
        let budget = Budget::new();
        while budget.try_spend() {}
        for _ in 0..9 {
            budget.earn();
        }
        assert!(!budget.try_spend());
        budget.earn();
        assert!(budget.try_spend());
        assert!(!budget.try_spend());
    }

    #[test]
    fn extra_requests_are_a_tenth_beyond_the_first_burst() {
        let budget = Budget::new();
        let extra = (0..100_000).filter(|_| {
            budget.earn();
            budget.try_spend()
        });
        let extra = extra.count();
        assert!((10_000..=10_020).contains(&extra), "{extra}");
    }

    #[test]
    fn what_must_be_made_is_made_on_no_credit() {
        let budget = Budget::new();
        for _ in 0..1_000 {
            budget.spend();
        }
        for _ in 0..10 {
            budget.earn();
        }
        assert!(budget.try_spend(), "nothing is owed");
    }
}
