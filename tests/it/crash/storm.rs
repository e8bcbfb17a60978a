//! Three gateways over one trio are killed again and again at random crash points, while clients go on.
//!
//! Many kills are shared out over several worlds, so that no store grows for ever. In every other one versions
//! are kept for seconds only, so that retention removes all the time; in the rest they are all kept, so that
//! repair completes whatever a kill has cut short.
//!
//! `TRIPLICATE_KILLS` says how often is killed in all, `TRIPLICATE_SEED` with which dice, and
//! `TRIPLICATE_BINARY` which binary. `TRIPLICATE_EMULATED` says in how many of ten worlds all three providers
//! are emulated, which costs less than real servers, and `TRIPLICATE_STORMS` how many worlds are stormed at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::Rng;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::player::{Blow, Player};
use super::point::Point;
use super::post::{Armed, FOR_LONG, Post};
use super::settle::settle;
use super::settled::Kept;
use super::watch::{Quarry, Watch};
use super::world::{Tally, World};
use crate::support::provider::Trio;

/// Without `TRIPLICATE_KILLS`.
const KILLS: u64 = 30;
/// In one world.
const KILLS_PER_WORLD: u64 = 300;
/// How many worlds are stormed or settle at once, without `TRIPLICATE_STORMS`.
const STORMS_AT_ONCE: u64 = 2;
/// The retention of a world where old versions go: above the time within which an index is fresh.
const FOR_SECONDS: &str = "4s";
const GATEWAYS: u64 = 3;
const CLIENTS: u64 = 2;
/// How often a gateway is read from by its beater as soon as it is back.
const READS_AT_FIRST: u32 = 2;
/// How often a gateway is used by its beater before the next blow.
const ACTS_PER_LIFE: u32 = 4;
/// How long a gateway that is watched goes on after that: for a round of retention, or a step of repair.
const WATCHED_FOR: Duration = Duration::from_secs(2);
/// How long a request of a drawn crash point is waited for.
const STRUCK_WITHIN: Duration = Duration::from_secs(2);
/// How long a write may go on after its answer, or be answered after its crash point.
const LINGER: Duration = Duration::from_millis(300);

/// What sets one world apart.
#[derive(Debug, Clone, Copy)]
struct Terrain {
    /// What gateways come to by themselves, and are killed at.
    quarry: Quarry,
    /// Whether all three providers are emulated, instead of one.
    emulated: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_whenever_no_acknowledged_write_is_lost() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let kills = number("TRIPLICATE_KILLS").unwrap_or(KILLS);
    let seed = number("TRIPLICATE_SEED").unwrap_or_else(|| rand::rng().random());
    let emulated = number("TRIPLICATE_EMULATED").unwrap_or(0);
    let at_once = number("TRIPLICATE_STORMS").unwrap_or(STORMS_AT_ONCE);
    println!("{kills} kills with TRIPLICATE_SEED={seed}");
    let (began, turns) = (Instant::now(), Arc::new(Semaphore::new(at_once as usize)));
    let worlds = kills.div_ceil(KILLS_PER_WORLD).next_multiple_of(2);
    let storms = (0..worlds).map(|world| {
        let share = kills / worlds + u64::from(world < kills % worlds);
        let quarry = if world % 2 == 0 { Quarry::Repairs } else { Quarry::Removals };
        // Both kinds of world have the same share of emulated ones.
        let terrain = Terrain { quarry, emulated: world / 2 % 10 < emulated };
        storm(terrain, seed.wrapping_add(world), share, turns.clone())
    });
    let (mut all, mut acked) = (Tally::default(), 0);
    for (tally, writes) in join_all(storms).await {
        all.add(&tally);
        acked += writes;
    }
    println!("{} kills in {:?}, {acked} acknowledged writes, 0 violations", all.killed(), began.elapsed());
    println!("{} answered, {} refused, {} cut; {}", all.answered, all.refused, all.cut, all.readiness());
    println!("{:#?}", all.kills);
    assert_eq!(all.killed(), kills);
    assert!(acked > 0, "nothing was acknowledged");
}

/// Storms one world and lets it settle.
async fn storm(terrain: Terrain, seed: u64, kills: u64, turns: Arc<Semaphore>) -> (Tally, usize) {
    let turn = turns.acquire_owned().await.expect("nobody closes it");
    let (began, trio) =
        (Instant::now(), if terrain.emulated { Trio::emulated().await } else { Trio::shared().await });
    let (retention, kept) = match terrain.quarry {
        Quarry::Repairs => (FOR_LONG, Kept::All),
        Quarry::Removals => (FOR_SECONDS, Kept::Newest),
    };
    let (world, posts) = World::over(trio, GATEWAYS as usize, retention).await;
    let calm = CancellationToken::new();
    let clients = (0..CLIENTS).map(|number| {
        let player = Player::new(seed, format!("client-{number}"));
        tokio::spawn(play(world.clone(), player, terrain.quarry, calm.clone()))
    });
    let clients: Vec<_> = clients.collect();
    let beaten = posts.into_iter().enumerate().map(|(gateway, post)| {
        let share = kills / GATEWAYS + u64::from((gateway as u64) < kills % GATEWAYS);
        let player = Player::new(seed, format!("gateway-{gateway}"));
        let beater =
            Beater { world: world.clone(), gateway, post, player, quarry: terrain.quarry, watch: None };
        tokio::spawn(beater.beat(share))
    });
    let beaten = join_all(beaten).await;
    calm.cancel();
    for client in join_all(clients).await {
        client.expect("a client that was served");
    }
    let stormed = began.elapsed();
    let posts: Vec<_> = beaten.into_iter().map(|post| post.expect("a gateway that starts")).collect();
    world.assert_no_violation();
    // Servers that others storm answer too late for an audit, so a world keeps its turn until it has settled.
    settle(&world, posts, kept).await;
    drop(turn);
    let (tally, acked) = (world.tally.lock().unwrap().clone(), world.ledger.lock().unwrap().acked_count());
    println!(
        "seed {seed}, {terrain:?}: {kills} kills in {stormed:?}, settled after {:?}, {acked} acknowledged writes",
        began.elapsed()
    );
    (tally, acked)
}

/// Uses random gateways until it is calm.
async fn play(world: Arc<World>, mut player: Player, quarry: Quarry, calm: CancellationToken) {
    while !calm.is_cancelled() {
        let (gateway, pause, act) =
            (player.die.random_range(0..GATEWAYS), player.draw_pause(quarry), player.draw_act());
        let door = world.doors.lock().unwrap()[gateway as usize].clone();
        if let Some(door) = door {
            world.act(&door, &act).await;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Somebody who kills one gateway again and again.
struct Beater {
    world: Arc<World>,
    gateway: usize,
    post: Post,
    player: Player,
    quarry: Quarry,
    watch: Option<Watch>,
}

impl Beater {
    async fn beat(mut self, kills: u64) -> Post {
        let mut left = kills;
        while left > 0 {
            let empty = self.live().await;
            left -= 1;
            self.empty(empty);
            while left > 0 && self.player.draws_start() {
                let empty = self.start_in_vain().await;
                left -= 1;
                self.empty(empty);
            }
            self.start().await;
        }
        let watch = self.watch.take();
        self.post.disarm(watch.map_or_else(Armed::nothing, Watch::into_armed));
        self.post
    }

    /// Uses the gateway, and kills it at a step that it comes to by itself or, unless it does, at one of an act;
    /// tells whether it shall come back with an empty state.
    async fn live(&mut self) -> bool {
        let blow = self.player.draw_blow();
        let caught = self.use_it().await;
        let watched = self.watch.take().map_or_else(Armed::nothing, Watch::into_armed);
        let (armed, struck, quarry) = if caught.is_some() {
            (watched, caught, Some(self.quarry))
        } else {
            self.post.disarm(watched);
            let (armed, struck) = self.strike(&blow).await;
            (armed, struck, None)
        };
        self.kill(armed, struck, quarry).await;
        blow.empty
    }

    /// Uses the gateway a few times, unless it is caught meanwhile; returns where.
    async fn use_it(&mut self) -> Option<Point> {
        let door = self.post.door();
        let reads = (0..READS_AT_FIRST).map(|_| self.player.draw_read(0.3));
        let mut acts: Vec<_> = reads.collect();
        acts.extend((0..ACTS_PER_LIFE).map(|_| self.player.draw_act()));
        let Self { world, post, watch, .. } = self;
        let lingers = if watch.is_some() { WATCHED_FOR } else { Duration::ZERO };
        let used = async {
            for act in acts {
                world.act(&door, &act).await;
            }
            tokio::time::sleep(lingers).await;
        };
        let caught = async {
            match watch {
                Some(watch) => watch.struck(post).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = used => None,
            point = caught => Some(point),
        }
    }

    /// Leads the gateway to a crash point by an act; returns what is held, and the point if it was reached.
    async fn strike(&self, blow: &Blow) -> (Armed, Option<Point>) {
        let mut armed = self.post.arm(blow.point);
        let (own, at, act) = (self.world.clone(), self.post.door(), blow.act.clone());
        let mut acting = tokio::spawn(async move { own.act(&at, &act).await });
        let struck = {
            let patience = tokio::time::timeout(STRUCK_WITHIN, armed.struck());
            tokio::pin!(patience);
            tokio::select! {
                struck = &mut patience => struck.is_ok(),
                _ = &mut acting => tokio::time::timeout(LINGER, &mut patience).await.is_ok_and(|it| it.is_ok()),
            }
        };
        if blow.lingers && !acting.is_finished() {
            let _ = tokio::time::timeout(LINGER, &mut acting).await;
        }
        (armed, struck.then_some(blow.point))
    }

    /// Starts the gateway, which is down, and kills it while it does; tells whether it shall come back with an
    /// empty state.
    async fn start_in_vain(&mut self) -> bool {
        let (point, empty) = self.player.draw_start();
        let mut armed = self.post.arm(point);
        self.post.gateway.launch().await;
        let struck = tokio::time::timeout(STRUCK_WITHIN, armed.struck()).await.is_ok();
        self.kill(armed, struck.then_some(point), None).await;
        empty
    }

    async fn kill(&mut self, armed: Armed, struck: Option<Point>, quarry: Option<Quarry>) {
        self.world.close(self.gateway);
        self.post.kill(armed).await;
        self.world.tally.lock().unwrap().kill(struck, quarry);
    }

    async fn start(&mut self) {
        let watch = self.player.draw_watch(self.quarry);
        self.watch = watch.map(|(point, others)| Watch::over(&self.post, self.quarry, point, others));
        let began = Instant::now();
        self.post.start(false).await;
        self.world.started(began);
        self.world.open(self.gateway, self.post.door());
    }

    fn empty(&self, empty: bool) {
        if empty {
            self.post.gateway.delete_state();
        }
    }
}
