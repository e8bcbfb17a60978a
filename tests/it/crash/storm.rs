//! Three gateways over one trio are killed again and again at random crash points, while clients go on.
//!
//! `TRIPLICATE_KILLS` says how often in all, `TRIPLICATE_SEED` with which dice, and `TRIPLICATE_BINARY` which
//! binary; many kills are shared out over several worlds, so that no store grows for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use triplicate::drill::wire::Moment;

use super::ledger::Shown;
use super::point::{ALL, Class, Point};
use super::post::{Armed, Post};
use super::settled::assert_settled;
use super::world::{Act, Tally, World};
use crate::support::{data, eventually};

/// Without `TRIPLICATE_KILLS`.
const KILLS: u64 = 45;
/// In one world.
const KILLS_PER_WORLD: u64 = 300;
/// How many worlds are stormed at once, while others settle.
const STORMS_AT_ONCE: usize = 1;
const GATEWAYS: u64 = 3;
const CLIENTS: u64 = 2;
const NAMES: u32 = 36;
/// How often a gateway is used by its beater before the next blow.
const ACTS_PER_LIFE: u32 = 4;
/// How long a request of a drawn crash point is waited for.
const STRUCK_WITHIN: Duration = Duration::from_secs(2);
/// How long a write may go on after its answer, or be answered after its crash point.
const LINGER: Duration = Duration::from_millis(300);
/// More than a block, so that there is a block list.
const BLOCKS_BYTES: usize = 66_000;
/// More than a part.
const PARTS_BYTES: usize = (8 << 20) + 7;

/// What is done to a gateway once.
#[derive(Debug)]
struct Blow {
    point: Point,
    act: Act,
    /// Whether the gateway is killed while it starts, instead of at an act.
    at_start: bool,
    /// Whether the answer to the act is waited for where it can come.
    lingers: bool,
    /// Whether the gateway comes back with an empty state.
    empty: bool,
}

/// Somebody with dice.
struct Player {
    die: StdRng,
    name: String,
    puts: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_whenever_no_acknowledged_write_is_lost() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let kills = number("TRIPLICATE_KILLS").unwrap_or(KILLS);
    let seed = number("TRIPLICATE_SEED").unwrap_or_else(|| rand::rng().random());
    println!("{kills} kills with TRIPLICATE_SEED={seed}");
    let (began, turns) = (Instant::now(), Arc::new(Semaphore::new(STORMS_AT_ONCE)));
    let worlds = kills.div_ceil(KILLS_PER_WORLD);
    let storms = (0..worlds).map(|world| {
        let share = kills / worlds + u64::from(world < kills % worlds);
        storm(seed.wrapping_add(world), share, turns.clone())
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
async fn storm(seed: u64, kills: u64, turns: Arc<Semaphore>) -> (Tally, usize) {
    let turn = turns.acquire_owned().await.expect("nobody closes it");
    let (began, (world, posts)) = (Instant::now(), World::with(GATEWAYS as usize).await);
    let calm = CancellationToken::new();
    let clients = (0..CLIENTS).map(|number| {
        let player = Player::new(seed, format!("client-{number}"));
        tokio::spawn(play(world.clone(), player, calm.clone()))
    });
    let clients: Vec<_> = clients.collect();
    let beaten = posts.into_iter().enumerate().map(|(gateway, post)| {
        let share = kills / GATEWAYS + u64::from((gateway as u64) < kills % GATEWAYS);
        let player = Player::new(seed, format!("gateway-{gateway}"));
        tokio::spawn(beat(world.clone(), gateway, post, share, player))
    });
    let beaten = join_all(beaten).await;
    calm.cancel();
    for client in join_all(clients).await {
        client.expect("a client that was served");
    }
    drop(turn);
    let stormed = began.elapsed();
    let posts: Vec<_> = beaten.into_iter().map(|post| post.expect("a gateway that starts")).collect();
    world.assert_no_violation();
    settle(&world, posts).await;
    let (tally, acked) = (world.tally.lock().unwrap().clone(), world.ledger.lock().unwrap().acked_count());
    println!(
        "seed {seed}: {kills} kills in {stormed:?}, settled after {:?}, {acked} acknowledged writes",
        began.elapsed()
    );
    (tally, acked)
}

/// Kills one gateway again and again.
async fn beat(world: Arc<World>, gateway: usize, mut post: Post, kills: u64, mut player: Player) -> Post {
    let mut door = post.door();
    for _ in 0..kills {
        for _ in 0..ACTS_PER_LIFE {
            world.act(&door, &player.draw_act()).await;
        }
        let blow = player.draw_blow();
        let mut armed = Armed::nothing();
        let struck;
        if blow.at_start {
            world.close(gateway);
            post.kill(armed).await;
            if blow.empty {
                post.gateway.delete_state();
            }
            armed = post.arm(blow.point);
            post.gateway.launch().await;
            struck = tokio::time::timeout(STRUCK_WITHIN, armed.struck()).await.is_ok();
        } else {
            armed = post.arm(blow.point);
            let (own, at, act) = (world.clone(), door.clone(), blow.act);
            let mut acting = tokio::spawn(async move { own.act(&at, &act).await });
            let patience = tokio::time::timeout(STRUCK_WITHIN, armed.struck());
            tokio::pin!(patience);
            struck = tokio::select! {
                struck = &mut patience => struck.is_ok(),
                _ = &mut acting => tokio::time::timeout(LINGER, &mut patience).await.is_ok_and(|it| it.is_ok()),
            };
            if blow.lingers && !acting.is_finished() {
                let _ = tokio::time::timeout(LINGER, &mut acting).await;
            }
        }
        world.close(gateway);
        post.kill(armed).await;
        world.tally.lock().unwrap().kill(struck.then_some(blow.point));
        let began = Instant::now();
        post.start(blow.empty).await;
        world.started(began);
        door = post.door();
        world.open(gateway, door.clone());
        for _ in 0..2 {
            let (name, asks_majority) = (player.draw_name(), player.die.random_bool(0.3));
            world.act(&door, &Act::Read(name, asks_majority)).await;
        }
    }
    post
}

/// Uses random gateways until it is calm.
async fn play(world: Arc<World>, mut player: Player, calm: CancellationToken) {
    while !calm.is_cancelled() {
        let (gateway, pause, act) =
            (player.die.random_range(0..GATEWAYS), player.die.random_range(10..80), player.draw_act());
        let door = world.doors.lock().unwrap()[gateway as usize].clone();
        if let Some(door) = door {
            world.act(&door, &act).await;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Lets repair finish, compares all copies, audits, and reads everything through every gateway.
async fn settle(world: &World, mut posts: Vec<Post>) {
    // A crash between a record and its feed entry shows in listings alone, which a new index makes.
    world.close(0);
    posts[0].kill(Armed::nothing()).await;
    posts[0].start(true).await;
    world.open(0, posts[0].door());
    let newest = {
        let ledger = std::mem::take(&mut *world.ledger.lock().unwrap());
        let newest = assert_settled(&world.trio, &ledger).await;
        *world.ledger.lock().unwrap() = ledger;
        newest
    };
    let report = posts[0].gateway.audit(&["--audit=bytes"]).await;
    assert_eq!(report.outcome.code, 0, "{report:?}");
    let doors = world.doors.lock().unwrap().clone();
    for (door, name) in
        doors.iter().flatten().flat_map(|door| (0..NAMES).map(move |number| (door, name(number))))
    {
        let hash = blake3::hash(name.as_bytes()).to_string();
        let last = newest.get(&hash).filter(|version| version.kind == "put").map(|version| &version.version);
        eventually(&format!("{name} is {last:?}"), Duration::from_secs(20), || async {
            let shown = world.read(door, &name, false).await?;
            let version = match &shown {
                Shown::Absent => None,
                Shown::Bytes { version, .. } => Some(version),
            };
            (version == last).then_some(())
        })
        .await;
    }
    world.assert_no_violation();
}

fn name(number: u32) -> String {
    format!("storm/{number}.bin")
}

impl Player {
    fn new(seed: u64, name: String) -> Self {
        let text = format!("{seed} {name}");
        Self { die: StdRng::from_seed(*blake3::hash(text.as_bytes()).as_bytes()), name: text, puts: 0 }
    }

    fn draw_name(&mut self) -> String {
        name(self.die.random_range(0..NAMES))
    }

    fn draw_put(&mut self, bytes: usize) -> Act {
        self.puts += 1;
        let unique = format!("{} {}", self.name, self.puts);
        Act::Put(self.draw_name(), data::bytes(&unique, bytes))
    }

    fn draw_act(&mut self) -> Act {
        match self.die.random_range(0..10) {
            0..3 => self.draw_put(700),
            3 => self.draw_put(BLOCKS_BYTES),
            4 => Act::Delete(self.draw_name()),
            _ => Act::Read(self.draw_name(), self.die.random_bool(0.2)),
        }
    }

    fn draw_blow(&mut self) -> Blow {
        let kind = self.die.random_range(0..100);
        let (class, act) = match kind {
            0..60 => self.draw_put_point(),
            60..75 => {
                let classes = [Class::Listing, Class::Record, Class::Feed];
                (self.pick(&classes), Act::Delete(self.draw_name()))
            }
            75..85 => {
                let classes = [Class::Listing, Class::ReadRecord, Class::ReadBytes];
                (self.pick(&classes), Act::Read(self.draw_name(), true))
            }
            _ => {
                let any = Class::Any(self.die.random_range(0..25));
                (self.pick(&[any, any, Class::Poll, Class::Look, Class::Probe]), self.draw_put(700))
            }
        };
        let at = match self.die.random_range(0..20) {
            _ if class == Class::Describe => 0b100,
            0..11 => 1 << self.die.random_range(0..3),
            11..16 => ALL ^ 1 << self.die.random_range(0..3),
            _ => ALL,
        };
        let moment = self.pick(&[Moment::BeforeEffect, Moment::AfterEffect]);
        let (lingers, empty) = (self.die.random_bool(0.5), self.die.random_bool(0.15));
        Blow { point: Point { class, moment, at }, act, at_start: kind >= 90, lingers, empty }
    }

    fn draw_put_point(&mut self) -> (Class, Act) {
        let classes =
            [Class::Listing, Class::Part(0), Class::Blocks, Class::Record, Class::Feed, Class::Describe];
        let (class, rare) = (self.pick(&classes), self.die.random_range(0..150));
        match class {
            _ if rare == 0 => (Class::Part(1), self.draw_put(PARTS_BYTES)),
            Class::Blocks => (class, self.draw_put(BLOCKS_BYTES)),
            _ => (class, self.draw_put(900)),
        }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.die).expect("something to pick from")
    }
}
