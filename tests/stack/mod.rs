//! A whole stack in one process, over any providers: catalog, reader, writer, repair, without HTTP.
//!
//! Shared by the flow tests, which put faults into it, and the benches.

#![allow(dead_code, unreachable_pub, reason = "each of its users needs a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use triplicate::asset::{Key, RecordKey};
use triplicate::cache::BlockCache;
use triplicate::cache::disk::DiskCache;
use triplicate::catalog::feed::FeedPoller;
use triplicate::catalog::patrol::{self, Patrol};
use triplicate::catalog::{self, Catalog};
use triplicate::clock::Clock;
use triplicate::health::monitor::Monitor;
use triplicate::health::{Board, names_of};
use triplicate::provider::disk::{DiskProvider, DiskSettings};
use triplicate::provider::metered::Metered;
use triplicate::provider::{Budget, Fleet, Observer, Provider, ProviderId, Slot, Trust};
use triplicate::read::{self, ReadError, Reader, Wanted};
use triplicate::repair::{self, Repairer};
use triplicate::replica::turns::Turns;
use triplicate::retention::{self, Retention};
use triplicate::task::Tasks;
use triplicate::telemetry::Telemetry;
use triplicate::write::{
    self, CLOCK_OFFSET_MS_MAX, ExpectedDigests, Precondition, PutRequest, Receipt, WriteError, Writer,
};

/// The key under which the stack seals.
pub const KEY: RecordKey = RecordKey::new([42; 32]);
/// For how long the stack keeps superseded and deleted versions.
pub const RETENTION: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3_600);

/// How a stack is set, beside its providers.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How often feeds are polled.
    pub feed_interval: Duration,
    /// For how long superseded and deleted versions are kept.
    pub retention: Duration,
    /// Between two rounds of retention, where they run by themselves.
    pub rounds_every: Option<Duration>,
    /// From which error of its clock on a gateway writes nothing, in milliseconds.
    pub clock_offset_ms_max: u64,
}

/// What stacks have in most tests.
const SETTINGS: Settings = Settings {
    feed_interval: Duration::from_secs(2),
    retention: RETENTION,
    rounds_every: None,
    clock_offset_ms_max: CLOCK_OFFSET_MS_MAX,
};

/// Everything but HTTP.
#[derive(Debug)]
pub struct Stack {
    pub fleet: Fleet,
    pub catalog: Catalog,
    pub monitor: Monitor,
    pub reader: Reader,
    pub writer: Writer,
    pub repairer: Repairer,
    pub retention: Retention,
    pub telemetry: Telemetry,
    pub cache: BlockCache,
    pub disk: DiskCache,
    pub clock: Clock,
    pub pollers: Vec<FeedPoller>,
    pub tasks: Tasks,
    /// Between two rounds of retention, where they run by themselves.
    pub rounds_every: Option<Duration>,
    /// Where the index lies, when it goes with the stack.
    pub state: Option<tempfile::TempDir>,
}

/// Makes a disk provider below `folder`.
pub fn disk(folder: &Path, name: &str, clock: &Clock) -> Arc<dyn Provider> {
    let settings = DiskSettings { path: folder.join(name) };
    Arc::new(DiskProvider::new(ProviderId::new(name), settings, clock.clone()).unwrap())
}

impl Stack {
    /// Builds a stack with an empty index; nothing runs by itself.
    pub fn new(providers: Vec<Arc<dyn Provider>>, clock: Clock, cache_bytes: u64) -> Self {
        Self::over(providers, clock, cache_bytes, 0, tempfile::tempdir().unwrap())
    }

    /// Builds a stack with what is left of an earlier one in its state folder.
    pub fn over(
        providers: Vec<Arc<dyn Provider>>,
        clock: Clock,
        cache_bytes: u64,
        disk_bytes: u64,
        state: tempfile::TempDir,
    ) -> Self {
        let caches = (cache_bytes, disk_bytes);
        let mut stack = Self::build(providers, clock, caches, state.path(), SETTINGS);
        stack.state = Some(state);
        stack
    }

    /// Builds a stack over the index in the folder `state`, if there is one; nothing runs by itself.
    pub fn open(
        providers: Vec<Arc<dyn Provider>>,
        clock: Clock,
        cache_bytes: u64,
        state: &Path,
        settings: Settings,
    ) -> Self {
        Self::build(providers, clock, (cache_bytes, 0), state, settings)
    }

    fn build(
        providers: Vec<Arc<dyn Provider>>,
        clock: Clock,
        (cache_bytes, disk_bytes): (u64, u64),
        state: &Path,
        settings: Settings,
    ) -> Self {
        let Settings { feed_interval, retention, rounds_every, clock_offset_ms_max } = settings;
        let (telemetry, tasks, budget) = (Telemetry::new(), Tasks::new(), Budget::new());
        let (fleet, board) = metered(providers, &clock, &telemetry);
        let monitor = Monitor::new(fleet.clone(), board.clone(), KEY);
        let parts = catalog::Parts {
            fleet: fleet.clone(),
            trust: Arc::new(board) as Arc<dyn Trust>,
            key: KEY,
            clock: clock.clone(),
            telemetry: telemetry.clone(),
            budget: budget.clone(),
            feed_interval,
            retention,
        };
        let catalog = Catalog::open(state, parts).unwrap();
        let cache = BlockCache::new(cache_bytes);
        let disk =
            DiskCache::open(&state.join("cache"), disk_bytes, &tasks, telemetry.clone(), clock.clone());
        let turns = Turns::new(clock.clone());
        let reader = Reader::new(read::Parts {
            fleet: fleet.clone(),
            catalog: catalog.clone(),
            monitor: monitor.clone(),
            cache: cache.clone(),
            disk: disk.clone(),
            clock: clock.clone(),
            telemetry: telemetry.clone(),
            budget,
            tasks: tasks.clone(),
            turns: turns.clone(),
        });
        let writer = Writer::new(write::Parts {
            fleet: fleet.clone(),
            catalog: catalog.clone(),
            monitor: monitor.clone(),
            key: KEY,
            clock: clock.clone(),
            tasks: tasks.clone(),
            patience: Duration::from_secs(30),
            clock_offset_ms_max,
            turns: turns.clone(),
        });
        let repairer = Repairer::new(repair::Parts {
            fleet: fleet.clone(),
            catalog: catalog.clone(),
            monitor: monitor.clone(),
            key: KEY,
            clock: clock.clone(),
            telemetry: telemetry.clone(),
            turns,
        });
        let retention = retention_over(&catalog, &monitor, &telemetry);
        let pollers = fleet.slots().map(|slot| FeedPoller::new(catalog.clone(), slot)).collect();
        Self {
            fleet,
            catalog,
            monitor,
            reader,
            writer,
            repairer,
            retention,
            telemetry,
            cache,
            disk,
            clock,
            pollers,
            tasks,
            rounds_every,
            state: None,
        }
    }

    /// Starts all that a gateway runs by itself, in the order of its start.
    pub async fn run(&self, pollers: Vec<FeedPoller>) {
        let looks = futures::future::join_all(self.fleet.slots().map(|slot| self.monitor.look(slot)));
        let _ = tokio::time::timeout(Duration::from_secs(3), looks).await;
        let _ = tokio::time::timeout(Duration::from_secs(10), self.repairer.establish()).await;
        let stop = self.tasks.stop().clone();
        for slot in self.fleet.slots() {
            drop(self.tasks.spawn("monitor", self.monitor.clone().run(slot, stop.clone())));
        }
        for poller in pollers {
            drop(self.tasks.spawn("feed", poller.run(stop.clone())));
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
        if let Some(every) = self.rounds_every {
            let retention = self.retention.clone();
            self.tasks.spawn_periodic("retention", every, move || {
                let retention = retention.clone();
                async move { retention.step().await }
            });
        }
        let catalog = self.catalog.clone();
        self.tasks.spawn_periodic("records", Duration::from_secs(1), move || {
            let catalog = catalog.clone();
            async move { catalog.read_missing_records().await }
        });
        let patrol = Arc::new(Patrol::new(self.catalog.clone()));
        self.tasks.spawn_periodic("patrol", patrol::PAGE_EVERY, move || {
            let patrol = patrol.clone();
            async move { patrol.step().await }
        });
        let catalog = self.catalog.clone();
        self.tasks.spawn_periodic("ready", Duration::from_secs(1), move || {
            let catalog = catalog.clone();
            async move { catalog.check_ready() }
        });
    }

    /// Looks at canaries, writes them at a first start, and polls all feeds once, as a start does.
    pub async fn start(&mut self) {
        self.look().await;
        self.repairer.establish().await;
        self.poll().await;
    }

    /// Refills providers without a canary, and makes missing copies, as the tasks of a gateway do.
    pub async fn heal(&self) {
        self.repairer.establish().await;
        self.repairer.step().await;
    }

    /// Looks at all canaries.
    pub async fn look(&self) {
        for slot in self.fleet.slots() {
            let _ = self.monitor.look(slot).await;
        }
    }

    /// Looks and probes as the monitors do after a return: a probe lets a provider that was down be tried, and
    /// where nobody reads, looks and probes close its breaker some seconds later.
    pub async fn recover(&self) {
        for _ in 0..5 {
            for slot in self.fleet.slots() {
                self.monitor.step(slot).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Polls all feeds once.
    pub async fn poll(&mut self) {
        for poller in &mut self.pollers {
            let _ = poller.step().await;
        }
    }

    /// Stores an asset.
    pub async fn put(&self, name: &str, bytes: &Bytes) -> Result<Receipt, WriteError> {
        self.put_request(request(name), bytes).await
    }

    /// Stores an asset by a certain request.
    pub async fn put_request(&self, request: PutRequest, bytes: &Bytes) -> Result<Receipt, WriteError> {
        let chunks: Vec<_> = bytes.chunks(60_000).map(|chunk| Ok(bytes.slice_ref(chunk))).collect();
        self.writer.put(request, stream::iter(chunks).boxed()).await
    }

    /// Reads an asset whole.
    pub async fn get(&self, name: &str) -> Result<Bytes, ReadError> {
        self.get_range(name, None).await
    }

    /// Reads a range of an asset.
    pub async fn get_range(
        &self,
        name: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Bytes, ReadError> {
        loop {
            let record = self.reader.resolve(&name.parse().unwrap(), Wanted::default()).await?;
            let size = record.put.as_ref().unwrap().size;
            match self.reader.open(record, range.clone().unwrap_or(0..size)).await {
                Ok(body) => {
                    let chunks: Vec<Bytes> = body.stream.try_collect().await?;
                    return Ok(chunks.concat().into());
                }
                Err(ReadError::NeverCommitted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns all keys that lie at a provider, sorted.
    pub async fn keys(&self, slot: Slot) -> Vec<String> {
        let pages: Vec<_> = self.fleet.get(slot).list_tree("").try_collect().await.unwrap();
        let mut keys: Vec<_> = pages.into_iter().flatten().map(|entry| entry.key).collect();
        keys.sort();
        keys
    }

    /// Returns the bytes of one object at a provider.
    pub async fn object(&self, slot: Slot, key: &Key) -> Option<Bytes> {
        let download = self.fleet.get(slot).get(key, None).await.ok()?;
        let chunks: Vec<Bytes> = download.body.try_collect().await.ok()?;
        Some(chunks.concat().into())
    }
}

fn retention_over(catalog: &Catalog, monitor: &Monitor, telemetry: &Telemetry) -> Retention {
    let catalog::Parts { fleet, clock, retention, .. } = catalog.parts();
    Retention::new(retention::Parts {
        fleet: fleet.clone(),
        catalog: catalog.clone(),
        monitor: monitor.clone(),
        clock: clock.clone(),
        telemetry: telemetry.clone(),
        retention: *retention,
        requests_per_second: 0,
    })
}

/// Has every call counted and observed.
fn metered(providers: Vec<Arc<dyn Provider>>, clock: &Clock, telemetry: &Telemetry) -> (Fleet, Board) {
    let bare = Fleet::new(providers);
    let board = Board::new(names_of(&bare), clock.clone(), telemetry.clone());
    let observer: Arc<dyn Observer> = Arc::new(board.clone());
    let metered = bare.iter().map(|(slot, provider)| {
        let metered =
            Metered::new(provider.clone(), slot, telemetry.clone(), observer.clone(), clock.clone());
        Arc::new(metered) as Arc<dyn Provider>
    });
    (Fleet::new(metered.collect()), board)
}

/// Returns a plain request to store `name`.
pub fn request(name: &str) -> PutRequest {
    PutRequest {
        name: name.parse().unwrap(),
        content_type: None,
        content_encoding: None,
        content_disposition: None,
        cache_control: None,
        metadata: Default::default(),
        expected: ExpectedDigests::default(),
        content_length: None,
        bytes_max: 5 << 30,
        wait_all: true,
        precondition: Precondition::None,
    }
}

/// Returns `size` bytes that look random and depend on `seed`.
pub fn noise(seed: u64, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}
