//! The nemesis: puts faults into the world, one after another and over each other, and heals them in the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::world::{Gateway, World};

/// After the last fault so long passes in leaps, so that what is late has landed, and then in steps.
const LATE: Duration = Duration::from_secs(22 * 60);
const LEAP: Duration = Duration::from_secs(120);
const CALM: Duration = Duration::from_secs(200);

/// Which faults there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    None,
    All,
}

/// Puts faults into the world.
pub struct Nemesis {
    world: Arc<World>,
    gateways: Vec<Arc<Gateway>>,
    faults: Faults,
}

impl Nemesis {
    pub fn new(world: Arc<World>, gateways: Vec<Arc<Gateway>>, faults: Faults) -> Self {
        Self { world, gateways, faults }
    }

    /// Puts faults in until a certain time.
    pub async fn rage(&mut self, until: Instant) {
        tokio::time::sleep_until(until).await;
    }

    /// Ends all faults, and starts all gateways.
    pub async fn heal(&mut self) {
        self.world.weather.clear();
        for gateway in self.gateways.iter().filter(|gateway| !gateway.is_up()) {
            gateway.start();
        }
    }

    /// Lets time pass until everything that is late has landed, and repair has done its work.
    pub async fn settle(&mut self) {
        if self.faults != Faults::None {
            let until = Instant::now() + LATE;
            while Instant::now() < until {
                self.world.leap(LEAP).await;
            }
        }
        tokio::time::sleep(CALM).await;
    }
}
