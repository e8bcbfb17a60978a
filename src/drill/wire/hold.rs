//! Holding a request at the wire: a breakpoint in a flow that knows nothing of it.
//!
//! Every step of a flow is a request to a provider, so a flow can be stopped between any two of its effects
//! without a hook in it. A drill that kills the client meanwhile sees what a crash at this step leaves behind.

use std::time::Duration;

use tokio::sync::mpsc;

use super::seen::Seen;

/// How many reports of held requests may wait to be taken; further requests are held without a report.
const REPORTS_MAX: usize = 1_024;

/// On which side of its effect a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The provider has not heard of the request.
    BeforeEffect,
    /// The provider has done what was asked, and the client does not know.
    AfterEffect,
}

/// Holds requests, and reports each one.
///
/// A held request stays so until its client leaves, which drops it where it is, or until its [`Held`] is
/// dropped, which lets it go on.
#[derive(Debug, Clone)]
pub struct Hold {
    pub(super) moment: Moment,
    reports: mpsc::Sender<Seen>,
}

/// The requests that a [`Hold`] holds; dropping it lets all of them go on.
#[derive(Debug)]
pub struct Held(mpsc::Receiver<Seen>);

impl Hold {
    /// Makes a hold, and what hears of the requests that it holds.
    pub fn at(moment: Moment) -> (Self, Held) {
        let (reports, held) = mpsc::channel(REPORTS_MAX);
        (Self { moment, reports }, Held(held))
    }

    /// Reports a request and holds it until it is let go, or for as long as `limit`.
    ///
    /// # Cancellation
    ///
    /// The request is gone, on the side of its effect where it was.
    pub(super) async fn keep(&self, seen: &Seen, limit: Duration) {
        // A report that nobody has room for holds the request all the same.
        let _ = self.reports.try_send(seen.clone());
        let _ = tokio::time::timeout(limit, self.reports.closed()).await;
    }
}

impl Held {
    /// Waits for the next request to be held. `None` once no rule can hold another one.
    ///
    /// # Cancellation
    ///
    /// No report is lost.
    pub async fn next(&mut self) -> Option<Seen> {
        self.0.recv().await
    }
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;
