//! Load: clients that read and write over keep-alive connections, and judge every answer.

pub(super) mod client;
mod reads;
mod writes;

use std::net::SocketAddr;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use self::client::Client;
use super::ledger::Ledger;
use super::scenario;
use super::stage::Stage;
use crate::config::token::TokenText;
use crate::task::Tasks;

pub(super) use reads::{read_each_once, read_together};
pub(super) use writes::upload;

/// What every client needs.
#[derive(Clone)]
pub(super) struct Site {
    /// The public listener of the gateway.
    pub(super) address: SocketAddr,
    /// What allows writes.
    pub(super) token: TokenText,
    /// What was written.
    pub(super) ledger: Arc<Ledger>,
    /// Who reads and writes what.
    pub(super) load: Arc<scenario::Load>,
    /// Where dice begin.
    pub(super) seed: u64,
    /// Where connections run.
    pub(super) tasks: Tasks,
}

impl Site {
    /// Returns a client with a connection of its own.
    pub(super) fn client(&self) -> Client {
        Client::new(self.address, self.tasks.clone())
    }

    /// Returns the dice of one client.
    fn dice(&self, purpose: u64, client: usize) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ purpose << 56 ^ (client as u64) << 20)
    }

    /// Starts all readers, unless they read together, and all writers; they end when `stage` shows no phase.
    pub(super) fn start(
        &self,
        stage: &Stage,
        stop: &CancellationToken,
    ) -> Vec<tokio::task::JoinHandle<Option<()>>> {
        let readers = if self.load.together { 0 } else { self.load.readers };
        let readers = (0..readers).map(|reader| {
            self.tasks.spawn("reader", reads::keep_reading(self.clone(), reader, stage.clone(), stop.clone()))
        });
        let mut tasks: Vec<_> = readers.collect();
        tasks.extend((0..self.load.writers).map(|writer| {
            self.tasks.spawn("writer", writes::keep_writing(self.clone(), writer, stage.clone()))
        }));
        tasks
    }
}
