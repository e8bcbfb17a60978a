//! The tools of an operator: purge, undo and one round of retention, beside a serving gateway or without one.
//!
//! They share nothing with a running gateway but the providers. Their index is made anew in a folder of its
//! own, and removed at the end.

use std::path::PathBuf;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::purge::{Ending, Pass, purge};
use super::undo::{self, UndoError, Undone, undo};
use super::{Parts, StartError, fleet};
use crate::asset::{AssetName, RecordKey};
use crate::catalog::feed::FeedPoller;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::record_key::{self, Missing};
use crate::http::Flows;
use crate::retention::{Brake, Report};
use crate::task::Tasks;
use crate::telemetry::Telemetry;

/// How long providers may hold up the beginning.
const BEGIN_PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
/// How long what was begun may take to end.
const END_PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// How often a round of retention shows how far it has come.
const SHOWN_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// All flows without a listener.
#[derive(Debug)]
pub struct Tools {
    parts: Parts,
    flows: Flows,
    _folder: Folder,
}

/// A folder that is removed with everything in it when it is dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is a few kilobytes below the state folder, which may be deleted anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Tools {
    /// Builds the flows; nothing is asked of a provider yet.
    ///
    /// # Errors
    ///
    /// Says what stands in the way.
    pub fn build(mut config: Config) -> Result<Self, StartError> {
        let (clock, telemetry, tasks) = (Clock::system(), Telemetry::new(), Tasks::new());
        let key: RecordKey = record_key::resolve(&config.record_key, Missing::Refuse)?.key;
        let folder = config.state.join(format!("tool-{}", clock.upload_id()));
        std::fs::create_dir_all(&folder).map_err(|error| StartError::State {
            folder: folder.display().to_string(),
            reason: error.to_string(),
        })?;
        config.state.clone_from(&folder);
        let folder = Folder(folder);
        let (fleet, board) = fleet::build(&config.providers, &clock, &telemetry)?;
        let parts = Parts::assemble(config, fleet, board, key.clone(), clock, telemetry, tasks)?;
        let flows = parts.flows(&key);
        Ok(Self { parts, flows, _folder: folder })
    }

    /// Looks at all providers and finds out how uploads are protected, and watches them from then on.
    async fn begin(&self) {
        let monitor = &self.parts.monitor;
        let looks = join_all(self.parts.fleet.slots().map(|slot| monitor.step(slot)));
        // One that does not answer is looked at again by its monitor.
        let _ = tokio::time::timeout(BEGIN_PATIENCE, looks).await;
        for slot in self.parts.fleet.slots() {
            let stop = self.parts.tasks.stop().clone();
            drop(self.parts.tasks.spawn("monitor", monitor.clone().run(slot, stop)));
        }
    }

    /// Removes all versions of a name everywhere; see [`purge`](super::purge).
    pub async fn purge(&self, name: &AssetName, stop: &CancellationToken, show: impl FnMut(&Pass)) -> Ending {
        self.begin().await;
        purge(&self.flows.writer, &self.parts.retention, &self.parts.clock, name, stop, show).await
    }

    /// Makes the version before the current one current again; see `gateway::undo`.
    ///
    /// # Errors
    ///
    /// There is nothing to restore, or providers do not answer.
    pub async fn undo(&self, name: &AssetName) -> Result<Undone, UndoError> {
        self.begin().await;
        let parts = undo::Parts {
            fleet: self.parts.fleet.clone(),
            catalog: self.parts.catalog.clone(),
            monitor: self.parts.monitor.clone(),
            reader: self.flows.reader.clone(),
            writer: self.flows.writer.clone(),
            clock: self.parts.clock.clone(),
        };
        undo(&parts, name).await
    }

    /// Lists all providers and does one round of retention, sweep included; shows how far it has come.
    pub async fn retention(&self, brake: Brake, mut show: impl FnMut(&str)) -> Report {
        self.begin().await;
        let loads = self.parts.fleet.slots().map(async |slot| {
            let mut poller = FeedPoller::new(self.parts.catalog.clone(), slot);
            if let Err(failure) = poller.step().await {
                let provider = self.parts.fleet.id(slot);
                tracing::warn!(%provider, %failure, "a provider cannot be listed");
            }
        });
        join_all(loads).await;
        let round = self.parts.retention.round(brake, true);
        tokio::pin!(round);
        let mut tick = tokio::time::interval(SHOWN_EVERY);
        loop {
            tokio::select! {
                report = &mut round => return report,
                _ = tick.tick() => self.parts.retention.under_way().iter().for_each(|line| show(line)),
            }
        }
    }

    /// Waits for what was begun, such as the third copy of a write.
    pub async fn end(self) {
        self.parts.tasks.shut_down(END_PATIENCE).await;
    }
}
