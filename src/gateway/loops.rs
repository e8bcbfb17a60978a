//! The loops of a running gateway: what is done again and again until it stops.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::Parts;
use crate::catalog::feed::FeedPoller;
use crate::catalog::patrol::{self, Patrol};
use crate::catalog::snapshot::{self, Snapshots};
use crate::read::CacheSweep;
use crate::{repair, retention};

/// How long the first look at the canaries may hold up the start.
const FIRST_LOOK_PATIENCE: Duration = Duration::from_secs(3);
/// How long the first canaries may hold up the start.
const ESTABLISH_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at what only metrics show.
const GAUGES_EVERY: Duration = Duration::from_secs(15);
/// Between two of the 256 steps of a sweep of the caches.
const SWEEP_CACHES_EVERY: Duration = Duration::from_secs(1);
/// Between two readings of records that the index lacks.
const RECORDS_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at whether traffic may be taken.
const READY_EVERY: Duration = Duration::from_millis(250);

impl Parts {
    /// Looks at all canaries, writes them at a first start, and starts every loop.
    pub(super) async fn start(&self) {
        let looks = self.fleet.slots().map(|slot| self.monitor.look(slot));
        let looks = futures::future::join_all(looks);
        if tokio::time::timeout(FIRST_LOOK_PATIENCE, looks).await.is_err() {
            warn!("a provider does not answer; the start goes on without it");
        }
        if tokio::time::timeout(ESTABLISH_PATIENCE, self.repairer.establish()).await.is_err() {
            info!("a provider without a canary is being refilled");
        }
        for slot in self.fleet.slots() {
            let stop = self.tasks.stop().clone();
            drop(self.tasks.spawn("monitor", self.monitor.clone().run(slot, stop.clone())));
            let poller = FeedPoller::new(self.catalog.clone(), slot);
            drop(self.tasks.spawn("feed", poller.run(stop)));
        }
        let repairer = self.repairer.clone();
        self.tasks.spawn_periodic("repair", repair::STEP_EVERY, move || {
            let repairer = repairer.clone();
            async move { repairer.step().await }
        });
        let repairer = self.repairer.clone();
        self.tasks.spawn_periodic("canaries", repair::STEP_EVERY, move || {
            let repairer = repairer.clone();
            async move { repairer.establish().await }
        });
        let retention = self.retention.clone();
        let every = retention::round_every(self.config.retention);
        self.tasks.spawn_periodic("retention", every, move || {
            let retention = retention.clone();
            async move { retention.step().await }
        });
        let catalog = self.catalog.clone();
        self.tasks.spawn_periodic("records", RECORDS_EVERY, move || {
            let catalog = catalog.clone();
            async move { catalog.read_missing_records().await }
        });
        let patrol = Arc::new(Patrol::new(self.catalog.clone()));
        self.tasks.spawn_periodic("patrol", patrol::PAGE_EVERY, move || {
            let patrol = patrol.clone();
            async move { patrol.step().await }
        });
        let snapshots = Arc::new(Snapshots::new(self.catalog.clone(), snapshot::Policy::default()));
        self.tasks.spawn_periodic("snapshots", snapshot::write::STEP_EVERY, move || {
            let snapshots = snapshots.clone();
            async move { snapshots.step().await }
        });
        let catalog = self.catalog.clone();
        self.tasks.spawn_periodic("ready", READY_EVERY, move || {
            let catalog = catalog.clone();
            async move { catalog.check_ready() }
        });
        self.sweep_caches();
        self.watch_gauges();
    }

    fn sweep_caches(&self) {
        let sweep = CacheSweep::new(self.catalog.clone(), self.cache.clone(), self.disk.clone());
        let sweep = Arc::new(sweep);
        self.tasks.spawn_periodic("cache sweep", SWEEP_CACHES_EVERY, move || {
            let sweep = sweep.clone();
            async move {
                // An index that fails says so itself.
                if let Ok(uploads @ 1..) = sweep.step().await {
                    info!(uploads, "what was deleted leaves the disk cache");
                }
            }
        });
    }

    fn watch_gauges(&self) {
        let (catalog, telemetry) = (self.catalog.clone(), self.telemetry.clone());
        let (cache, disk, repairer) = (self.cache.clone(), self.disk.clone(), self.repairer.clone());
        let board = self.monitor.board().clone();
        self.tasks.spawn_periodic("gauges", GAUGES_EVERY, move || {
            let (catalog, telemetry) = (catalog.clone(), telemetry.clone());
            let repairer = repairer.clone();
            let (cache, disk, board) = (cache.clone(), disk.clone(), board.clone());
            async move {
                board.show();
                let metrics = telemetry.metrics();
                metrics.index_names.set(i64::try_from(catalog.names().await).unwrap_or(i64::MAX));
                metrics.index_fresh.set(i64::from(catalog.is_fresh()));
                metrics.cache_bytes.set(i64::try_from(cache.bytes()).unwrap_or(i64::MAX));
                metrics.cache_disk_bytes.set(i64::try_from(disk.bytes()).unwrap_or(i64::MAX));
                // A step that pays off a large debt takes minutes, and tells nothing before its end.
                repairer.progress().await;
            }
        });
    }
}
