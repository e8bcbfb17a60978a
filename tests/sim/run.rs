//! One run: a world from a seed, clients and faults for a while, the end, and the verdict.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::checker::{Checker, Violation};
use crate::client::Clients;
use crate::finale;
use crate::history::{Asked, Told};
use crate::keep::Keep;
use crate::nemesis::{self, Nemesis};
use crate::stack::{RETENTION, Settings};
use crate::world::{Decorate, Gateway, SKEW_MS_MAX, World};

/// How many clients ask at the same time.
const CLIENTS: usize = 3;
/// The sizes that are put: around every border.
const SIZES: [usize; 7] = [0, 1, 1_000, 65_535, 65_536, 65_537, 150_000];
/// An asset of more than one part.
const LARGE: usize = 8 * 1024 * 1024 + 70_000;

/// Between two rounds of retention: more often than in earnest, since runs are short.
const ROUNDS_EVERY: Duration = Duration::from_secs(10);
/// So long after it was noticed a version has been copied, and polled from the feeds.
const REPAIRED_AFTER: Duration = Duration::from_secs(60);

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub keeps_lines: bool,
    /// Between gateways and providers.
    pub decorate: Decorate,
    /// Which faults there are.
    pub faults: nemesis::Faults,
    /// For how long gateways keep superseded versions; they do no rounds without it.
    pub keep: Keep,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub hash: u64,
    /// How many reads there were after an acknowledged write, and how many of them had to know of the last one.
    pub reads: u64,
    pub bound: u64,
    pub ops: u64,
    pub acknowledged: u64,
    pub requests: u64,
    pub faults: u64,
    /// How many records were removed by requests.
    pub removed: u64,
    pub time: Duration,
    /// How much of it passed in leaps.
    pub leapt: Duration,
    pub lines: Vec<String>,
}

/// A world with its gateways and clients.
#[derive(Debug)]
pub struct Site {
    pub world: Arc<World>,
    pub gateways: Vec<Arc<Gateway>>,
    pub clients: Arc<Clients>,
    /// How many names there are.
    pub names: usize,
    /// For how long clients ask and faults come.
    pub time: Duration,
}

/// Runs a seed from the beginning to the verdict: clients and faults of all kinds for a while.
pub fn run(plan: Plan) -> Outcome {
    play(plan, chaos)
}

/// Plays a story from a seed to the verdict, in a runtime of its own.
pub fn play(plan: Plan, story: impl AsyncFnOnce(&Site, &mut Nemesis)) -> Outcome {
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.unwrap();
    runtime.unwrap().block_on(live(plan, folder.path().to_owned(), story))
}

async fn live(plan: Plan, folder: PathBuf, story: impl AsyncFnOnce(&Site, &mut Nemesis)) -> Outcome {
    let world = World::new(plan.seed, plan.keeps_lines);
    let feed_interval = Duration::from_secs(world.pick(&[2, 5, 5]));
    let gateways = 2 + usize::from(world.chance(40));
    let settings = settings(plan.keep, feed_interval);
    let gateway = |id| Arc::new(Gateway::new(id, world.clone(), folder.clone(), settings, plan.decorate));
    let gateways: Vec<_> = (0..gateways).map(gateway).collect();
    gateways.iter().for_each(|gateway| gateway.start());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let clients = Arc::new(Clients::new(world.clone(), plan.seed));
    let names = 1 + usize::try_from(world.roll(4)).unwrap();
    let time = Duration::from_secs(30 + world.roll(80));
    let mut nemesis = Nemesis::new(world.clone(), gateways.clone(), plan.faults, plan.keep);
    let site = Site { world, gateways, clients, names, time };
    story(&site, &mut nemesis).await;
    nemesis.settle().await;
    let violations = end(&site, &nemesis, plan.keep).await;
    site.judge(plan.keep, feed_interval, &nemesis, violations)
}

/// Clients ask, and faults come, for a while; days that are leapt over do not count.
async fn chaos(site: &Site, nemesis: &mut Nemesis) {
    let until = site.world.awake() + site.time;
    let asking = (0..CLIENTS)
        .map(|_| site.world.spawn(ask(site.clients.clone(), site.gateways.clone(), site.names, until)));
    let asking: Vec<_> = asking.collect();
    nemesis.rage(until).await;
    nemesis.heal();
    for client in asking {
        client.await.unwrap();
    }
}

impl Site {
    fn judge(
        &self,
        keep: Keep,
        feed_interval: Duration,
        nemesis: &Nemesis,
        mut violations: Vec<Violation>,
    ) -> Outcome {
        let (world, history) = (&self.world, self.clients.history.all());
        let checker = Checker {
            weather: &world.weather,
            slots: world.servers.len(),
            feed_interval,
            reach: keep.0.unwrap_or(RETENTION) / 2,
            leaps: world.leaps.lock().clone(),
            keep,
        };
        violations.extend((0..self.names).flat_map(|name| checker.check(name, &history)));
        let bound = (0..self.names).map(|name| checker.bound(name, &history));
        let (reads, bound) = bound.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        let logs: Vec<_> = world.servers.iter().map(|server| server.log()).collect();
        violations.extend(keep.check(&logs));
        violations.extend(finale::compare(world, &history, nemesis, keep));
        if keep.0.is_some() {
            violations.extend(finale::leftovers(world, nemesis));
        }
        let wrong = self.clients.wrong.lock().drain(..).collect::<Vec<_>>();
        violations.extend(wrong.into_iter().map(|(name, text)| Violation { name: Some(name), text }));
        Outcome {
            violations,
            reads,
            bound,
            hash: world.trace.hash(),
            ops: history.len() as u64,
            acknowledged: history.iter().filter(|op| matches!(op.told, Told::Stored(_))).count() as u64,
            requests: world.trace.requests(),
            faults: world.trace.faults(),
            removed: logs.iter().map(|log| log.removed.len() as u64).sum(),
            time: world.began.elapsed(),
            leapt: Duration::from_millis(world.leapt_ms.load(std::sync::atomic::Ordering::Relaxed)),
            lines: world.trace.lines(),
        }
    }
}

/// How gateways are set. Where nothing is ever removed, order must hold whatever clocks say, so that none is too
/// wrong to write; else those are that are wrong by more than an hour.
fn settings(keep: Keep, feed_interval: Duration) -> Settings {
    let forever =
        Settings { feed_interval, retention: RETENTION, rounds_every: None, clock_offset_ms_max: u64::MAX };
    match keep.0 {
        Some(retention) => Settings {
            retention,
            rounds_every: Some(ROUNDS_EVERY),
            clock_offset_ms_max: SKEW_MS_MAX + 60_000,
            ..forever
        },
        None => forever,
    }
}

/// One client: asks this and that, here and there, with pauses.
async fn ask(clients: Arc<Clients>, gateways: Vec<Arc<Gateway>>, names: usize, until: Duration) {
    let world = clients.world.clone();
    while world.awake() < until {
        let pause = if world.chance(30) { 50 } else { world.pick(&[1_000, 10_000, 40_000]) };
        tokio::time::sleep(Duration::from_millis(1 + world.roll(pause))).await;
        let gateway = &gateways[usize::try_from(world.roll(gateways.len() as u64)).unwrap()];
        let name = usize::try_from(world.roll(names as u64)).unwrap();
        let asked = match world.roll(100) {
            0..30 => Asked::Put { size: size(&world) },
            30..42 => Asked::Delete,
            42..55 => Asked::Revalidate,
            55..62 => match clients.history.versions(name) {
                versions if versions.is_empty() => Asked::Get,
                versions => Asked::GetVersion(world.pick(&versions)),
            },
            _ => Asked::Get,
        };
        clients.ask(gateway, name, asked, world.chance(15)).await;
    }
}

fn size(world: &World) -> usize {
    if world.roll(400) == 0 { LARGE } else { world.pick(&SIZES) }
}

/// Reads everything everywhere at the end: twice, since who asks a majority may find a record that landed late
/// and has no feed entry, which repair then makes known to all. In between all goes that is no longer needed.
async fn end(site: &Site, nemesis: &Nemesis, keep: Keep) -> Vec<Violation> {
    let Site { gateways, clients, names, .. } = site;
    for name in 0..*names {
        for gateway in gateways {
            for asked in [Asked::Get, Asked::Revalidate] {
                clients.ask(gateway, name, asked, false).await;
            }
        }
    }
    tokio::time::sleep(REPAIRED_AFTER).await;
    if let Some(retention) = keep.0 {
        nemesis.outlast(retention).await;
    }
    for gateway in gateways {
        let last = gateway.life().and_then(|life| life.stack.retention.last());
        site.world.trace.tell(&format!("all is well: the last round of {}: {last:?}", gateway.id));
    }
    let mut violations = Vec::new();
    for name in 0..*names {
        let mut last = Vec::new();
        for gateway in gateways {
            last.push(clients.ask(gateway, name, Asked::Get, false).await.unwrap_or(Told::Nothing));
        }
        violations.extend(finale::agree(name, &last, &clients.history.all(), nemesis));
    }
    violations
}
