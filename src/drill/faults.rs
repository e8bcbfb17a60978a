//! The faults of a phase: begun at the wires, and ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fault::{self, Kind};
use super::scenario::Phase;
use super::site::{Site, SiteError};
use super::wire::Wire;
use crate::task::Tasks;

/// How long a flapping provider is down, and then up.
const FLAP: Duration = Duration::from_secs(1);

/// Faults that have begun.
pub(super) struct Begun {
    faulty: Vec<usize>,
    flapping: Vec<JoinHandle<Option<()>>>,
    calm: CancellationToken,
}

impl Begun {
    /// Begins the faults of a phase.
    ///
    /// # Errors
    ///
    /// A provider cannot be wiped.
    pub(super) async fn begin(site: &Site, phase: &Phase, tasks: &Tasks) -> Result<Self, SiteError> {
        let (flapping, calm) = (Vec::new(), CancellationToken::new());
        let mut begun = Self { faulty: phase.faulty(), flapping, calm };
        for fault in &phase.faults {
            for slot in &fault.slots {
                let wire = &site.wires[*slot];
                fault::rules(fault).into_iter().for_each(|rule| wire.inject(rule));
                if fault.kind == Kind::Wiped {
                    site.wipe(*slot).await?;
                }
                if fault.kind == Kind::Refused {
                    wire.refuse().await;
                }
                if fault.kind == Kind::Flapping {
                    let flapping = flap(wire.clone(), begun.calm.clone());
                    begun.flapping.push(tasks.spawn("flapping", flapping));
                }
            }
        }
        Ok(begun)
    }

    /// Ends them; what was wiped stays away.
    pub(super) async fn end(self, site: &Site) {
        self.calm.cancel();
        for flapping in self.flapping {
            // A panic in it was logged.
            drop(flapping.await);
        }
        for slot in self.faulty {
            site.wires[slot].restore().await;
        }
    }
}

/// Refuses and serves by turns, until there is calm.
async fn flap(wire: Arc<Wire>, calm: CancellationToken) {
    let mut refuses = true;
    while !calm.is_cancelled() {
        if refuses {
            wire.refuse().await
        } else {
            wire.restore().await
        }
        refuses = !refuses;
        tokio::select! {
            () = tokio::time::sleep(FLAP) => {}
            () = calm.cancelled() => {}
        }
    }
}
