//! The world of a run: providers, gateways, the weather between them, one set of dice.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use triplicate::clock::Clock;
use triplicate::provider::{Operation, Provider};

use crate::link::Link;
use crate::server::{Server, Vendor};
use crate::stack::{Settings, Stack};
use crate::trace::Trace;
use crate::weather::{Fate, Weather};

/// 2026-11-22T11:05:30Z
pub const NOW: u64 = 1_795_345_530_000;
/// The memory cache of a gateway: large enough that nothing is ever pushed out.
const CACHE_BYTES: u64 = 1 << 30;

/// By how much a gateway's clock is wrong at its first start, at most.
pub const SKEW_MS_MAX: u64 = 3_600_000;

/// Puts something between a gateway and its providers.
pub type Decorate = fn(usize, Vec<Arc<dyn Provider>>) -> Vec<Arc<dyn Provider>>;

/// The world of a run.
#[derive(Debug)]
pub struct World {
    pub servers: Vec<Arc<Server>>,
    pub weather: Weather,
    pub trace: Trace,
    pub began: Instant,
    /// How much of the time passed in leaps.
    pub leapt_ms: AtomicU64,
    /// When each leap began and ended.
    pub leaps: Mutex<Vec<(Instant, Instant)>>,
    dice: Mutex<StdRng>,
}

impl World {
    pub fn new(seed: u64, keeps_lines: bool) -> Arc<Self> {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut time = || NOW + dice.random_range(0..4_000) - 2_000;
        let servers = [("s3-one", Vendor::S3), ("s3-two", Vendor::Disk), ("bunny", Vendor::Bunny)];
        let servers = servers.map(|(name, vendor)| Arc::new(Server::new(name, vendor, time()))).to_vec();
        Arc::new(Self {
            servers,
            weather: Weather::default(),
            trace: Trace::new(keeps_lines),
            began: Instant::now(),
            leapt_ms: AtomicU64::new(0),
            leaps: Mutex::default(),
            dice: Mutex::new(dice),
        })
    }

    /// Throws a die with numbers below `below`.
    pub fn roll(&self, below: u64) -> u64 {
        self.dice.lock().random_range(0..below)
    }

    pub fn chance(&self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    pub fn pick<T: Copy>(&self, all: &[T]) -> T {
        all[usize::try_from(self.roll(all.len() as u64)).unwrap()]
    }

    pub fn fate(&self, gateway: usize, slot: usize, operation: Operation) -> Fate {
        self.weather.fate(gateway, slot, operation, &mut self.dice.lock())
    }

    /// Returns how much time has passed, without what was leapt over.
    pub fn awake(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.leapt_ms.load(Ordering::Relaxed)))
    }

    /// Runs something that no crash of a gateway ends.
    #[expect(clippy::disallowed_methods, reason = "the world is no gateway, and outlives them")]
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        tokio::spawn(future)
    }

    /// Lets much time pass at once, as if all gateways had been frozen.
    pub async fn leap(&self, time: Duration) {
        self.leapt_ms.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
        let began = Instant::now();
        tokio::time::advance(time).await;
        self.leaps.lock().push((began, Instant::now()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A gateway, through its crashes and restarts.
#[derive(Debug)]
pub struct Gateway {
    pub id: usize,
    world: Arc<World>,
    clock: Clock,
    folder: PathBuf,
    settings: Settings,
    decorate: Decorate,
    /// How often its local state was lost.
    pub epoch: AtomicU64,
    life: Mutex<Option<Life>>,
}

/// A gateway between its start and its end.
#[derive(Debug, Clone)]
pub struct Life {
    pub stack: Arc<Stack>,
    pub killed: CancellationToken,
    pub began: Instant,
    pub epoch: u64,
}

impl Gateway {
    pub fn new(
        id: usize,
        world: Arc<World>,
        folder: PathBuf,
        settings: Settings,
        decorate: Decorate,
    ) -> Self {
        let hour = SKEW_MS_MAX;
        let skew = if world.chance(50) { world.roll(2 * hour) } else { hour - 2_000 + world.roll(4_000) };
        let clock = Clock::seeded(NOW - hour + skew, world.roll(u64::MAX));
        let epoch = AtomicU64::new(0);
        Self { id, world, clock, folder, settings, decorate, epoch, life: Mutex::default() }
    }

    /// Starts it over what local state is left; returns before it has looked around.
    pub fn start(&self) {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let state = self.folder.join(format!("{}-{epoch}", self.id));
        std::fs::create_dir_all(&state).unwrap();
        let links = (0..self.world.servers.len()).map(|slot| {
            let link = Link::new(self.world.clone(), self.id, slot, self.clock.clone());
            Arc::new(link) as Arc<dyn Provider>
        });
        let providers = (self.decorate)(self.id, links.collect());
        let mut stack = Stack::open(providers, self.clock.clone(), CACHE_BYTES, &state, self.settings);
        let pollers = std::mem::take(&mut stack.pollers);
        let (stack, killed) = (Arc::new(stack), CancellationToken::new());
        let life = Life { stack: stack.clone(), killed: killed.clone(), began: Instant::now(), epoch };
        *self.life.lock() = Some(life);
        self.world.spawn(async move {
            tokio::select! {
                biased;
                () = killed.cancelled() => {}
                () = stack.run(pollers) => {}
            }
        });
    }

    /// Ends it at whatever await points its tasks are, with or without its local state.
    pub fn crash(&self, loses_state: bool) {
        if let Some(life) = self.life.lock().take() {
            life.killed.cancel();
            life.stack.tasks.halt();
        }
        if loses_state {
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the life of a gateway that takes traffic.
    pub fn life(&self) -> Option<Life> {
        self.life.lock().clone().filter(|life| life.stack.catalog.is_ready())
    }

    /// Returns by how much its clock is ahead of what the providers' clocks say, about.
    pub fn ahead_ms(&self) -> i64 {
        let passed = i64::try_from(self.world.began.elapsed().as_millis()).unwrap();
        let start = self.clock.unix_ms().cast_signed() - NOW.cast_signed();
        start - passed
    }

    /// Turns its clock to another time, where it moves on or stands.
    pub fn turn_clock(&self, by_ms: i64, moving: bool) {
        self.clock.turn(self.clock.unix_ms().saturating_add_signed(by_ms), moving);
    }
}
