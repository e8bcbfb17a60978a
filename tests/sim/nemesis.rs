//! The nemesis: puts faults into the world, one after another and over each other, and heals them in the end.
//!
//! What destroys copies (a wiped provider, bits that flip at rest, lost objects) strikes one provider a run,
//! the victim: no promise is made against the loss of two. Nor do buckets change places in such a run, which
//! would carry the damage on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use triplicate::provider::ErrorKind;

use crate::keep::Keep;
use crate::server::Vendor;
use crate::weather::Condition;
use crate::world::{Gateway, World};

/// After the last fault so long passes in leaps, so that what is late has landed, and then in steps.
const LATE: Duration = Duration::from_secs(24 * 60);
const LEAP: Duration = Duration::from_secs(240);
const CALM: Duration = Duration::from_secs(70);
/// Before the first fault: providers that are empty must all answer once.
const START: Duration = Duration::from_secs(10);
/// How many faults are about at the same time, at most.
const AT_ONCE_MAX: usize = 4;
const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOUR_MS: u64 = 3_600_000;
/// By how much clocks are wrong, at most, where tombstones go: what was stamped then lies in the past for all.
const SKEW_MS_MAX: i64 = 3_400_000;
/// So long a doze is: uploads without a record are orphans after a day, and lone tombstones go after an hour.
const LONG: Duration = Duration::from_secs(25 * 3_600);
/// In so long gateways do a few rounds.
const ROUNDS: Duration = Duration::from_secs(14);
/// How often so much time passes at the end.
const HORIZON_LEAPS: usize = 4;
/// Of a hundred faults so many are dozes, where gateways do rounds.
const DOZES: u64 = 6;
/// For so long buckets are swapped at least: every canary is looked at meanwhile.
const SWAPPED_FOR: Duration = Duration::from_secs(75);

/// Which faults there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    None,
    All,
    /// Beside them Bunny's listings lag behind, which its primary endpoint is not known to do.
    StaleListings,
}

/// What ends a fault.
#[derive(Debug)]
enum Undo {
    Spells(Vec<u64>),
    Swap(usize, usize, Vec<u64>),
    Restart(usize),
    Thaw(usize),
    Relist(usize, u64),
}

/// Puts faults into the world.
pub struct Nemesis {
    world: Arc<World>,
    gateways: Vec<Arc<Gateway>>,
    faults: Faults,
    victim: usize,
    active: Vec<(Instant, Undo)>,
    /// Whether single objects were damaged or lost at the victim, which only reads and audits find.
    pub damaged: Option<usize>,
    wiped: bool,
    /// Whether this run swaps buckets instead of destroying what is in them.
    swaps: bool,
    pub swapped: bool,
    /// How long superseded versions are kept, where gateways do rounds.
    keep: Keep,
}

impl Nemesis {
    pub fn new(world: Arc<World>, gateways: Vec<Arc<Gateway>>, faults: Faults, keep: Keep) -> Self {
        let victim = usize::try_from(world.roll(world.servers.len() as u64)).unwrap();
        let swaps = world.chance(25);
        Self {
            world,
            gateways,
            faults,
            victim,
            active: Vec::new(),
            damaged: None,
            wiped: false,
            swaps,
            swapped: false,
            keep,
        }
    }

    /// Puts faults in until so much time has passed, besides the leaps.
    pub async fn rage(&mut self, until: Duration) {
        if self.faults == Faults::None {
            return tokio::time::sleep(until.saturating_sub(self.world.awake())).await;
        }
        tokio::time::sleep(START).await;
        while self.world.awake() < until {
            let pause = if self.world.chance(50) { 2_000 } else { 20_000 };
            tokio::time::sleep(Duration::from_millis(1 + self.world.roll(pause))).await;
            self.expire(Instant::now());
            if self.active.len() < AT_ONCE_MAX {
                self.strike().await;
            }
        }
    }

    /// Ends all faults, and starts all gateways.
    pub fn heal(&mut self) {
        let all = self.active.iter().map(|(at, _)| *at).max();
        all.into_iter().for_each(|at| self.expire(at));
        self.world.weather.clear();
        self.world.trace.tell("all is well again");
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

    /// Lets so much time pass that all goes that retention may take: a version by its first rounds, the tombstone that
    /// hid it and what was left behind by later ones.
    pub async fn outlast(&self, retention: Duration) {
        for _ in 0..HORIZON_LEAPS {
            self.world.leap(retention + LONG).await;
            tokio::time::sleep(ROUNDS).await;
        }
    }

    /// Tells whether anything that was stored is gone.
    pub fn has_destroyed(&self) -> bool {
        self.wiped || self.damaged.is_some()
    }

    fn expire(&mut self, now: Instant) {
        let (over, active) = std::mem::take(&mut self.active).into_iter().partition(|(at, _)| *at <= now);
        self.active = active;
        let over: Vec<(Instant, Undo)> = over;
        for (_, undo) in over {
            self.world.trace.tell(&format!("over: {undo:?}"));
            match undo {
                Undo::Spells(spells) => spells.iter().for_each(|spell| self.world.weather.end(*spell)),
                Undo::Swap(one, other, spells) => {
                    self.world.servers[one].swap(&self.world.servers[other]);
                    spells.iter().for_each(|spell| self.world.weather.end(*spell));
                }
                Undo::Restart(gateway) => self.gateways[gateway].start(),
                Undo::Relist(slot, spell) => {
                    self.world.servers[slot].unlist(Duration::ZERO);
                    self.world.weather.end(spell);
                }
                Undo::Thaw(gateway) => self.gateways[gateway].turn_clock(0, true),
            }
        }
    }

    /// Puts one fault in.
    async fn strike(&mut self) {
        if self.keep.0.is_some() && self.world.chance(DOZES) {
            return self.doze().await;
        }
        let seconds = if self.world.chance(60) { 1 + self.world.roll(30) } else { 30 + self.world.roll(150) };
        let mut until = Instant::now() + Duration::from_secs(seconds);
        let undo = match self.world.roll(100) {
            0..14 => self.partition(),
            14..26 => self.outage(),
            26..30 if self.faults == Faults::StaleListings => self.stale_listings(),
            26..58 => self.disturbance(),
            58..70 => Some(self.crash()),
            70..82 => self.clock(),
            82..96 if self.swaps => {
                until += SWAPPED_FOR;
                self.swap()
            }
            82..91 => self.at_rest(),
            91..96 => self.wipe(),
            _ => {
                self.away().await;
                None
            }
        };
        self.active.extend(undo.map(|undo| (until, undo)));
    }

    fn gateway(&self) -> usize {
        usize::try_from(self.world.roll(self.gateways.len() as u64)).unwrap()
    }

    fn slot(&self) -> usize {
        usize::try_from(self.world.roll(self.world.servers.len() as u64)).unwrap()
    }

    fn spell(&self, gateway: Option<usize>, slot: Option<usize>, condition: Condition) -> u64 {
        self.world.trace.fault(&format!("fault: {condition:?} between gateway {gateway:?} and {slot:?}"));
        self.world.weather.begin(gateway, slot, condition)
    }

    /// One gateway does not see one provider, the next one another.
    fn partition(&self) -> Option<Undo> {
        let silent = self.world.chance(60);
        let condition = if silent { Condition::Silence } else { Condition::Refuse(ErrorKind::Unavailable) };
        let (gateway, slot) = (self.gateway(), self.slot());
        let (gateways, slots) = (self.gateways.len(), self.world.servers.len());
        let mut spells = vec![self.spell(Some(gateway), Some(slot), condition)];
        if self.world.chance(60) {
            let (next, other) = ((gateway + 1) % gateways, (slot + 1) % slots);
            spells.push(self.spell(Some(next), Some(other), condition));
        }
        Some(Undo::Spells(spells))
    }

    /// A provider is down for all, in one of many ways.
    fn outage(&self) -> Option<Undo> {
        let kinds = [
            Condition::Silence,
            Condition::Refuse(ErrorKind::Unavailable),
            Condition::Refuse(ErrorKind::Denied),
            Condition::Refuse(ErrorKind::NoContainer),
            Condition::Refuse(ErrorKind::Throttled),
        ];
        Some(Undo::Spells(vec![self.spell(None, Some(self.slot()), self.world.pick(&kinds))]))
    }

    /// Requests are disturbed, some of them.
    fn disturbance(&self) -> Option<Undo> {
        let percent = u32::try_from(5 + self.world.roll(70)).unwrap();
        let condition = self.world.pick(&[
            Condition::Errors(percent),
            Condition::Late(percent),
            Condition::Late(percent),
            Condition::Twice(percent),
            Condition::Loss(percent),
            Condition::Bodies(percent),
            Condition::Slow(2 + percent / 2),
        ]);
        let gateway = self.world.chance(60).then(|| self.gateway());
        let slot = self.world.chance(80).then(|| self.slot());
        Some(Undo::Spells(vec![self.spell(gateway, slot, condition)]))
    }

    /// New objects are missing in Bunny's listings for some seconds.
    fn stale_listings(&self) -> Option<Undo> {
        let bunny = self.world.servers.iter().position(|server| server.vendor == Vendor::Bunny)?;
        let stale = self.active.iter().any(|(_, undo)| matches!(undo, Undo::Relist(..)));
        if stale {
            return None;
        }
        self.world.servers[bunny].unlist(Duration::from_secs(1 + self.world.roll(5)));
        Some(Undo::Relist(bunny, self.spell(None, Some(bunny), Condition::AtRest)))
    }

    fn crash(&self) -> Undo {
        let (gateway, loses_state) = (self.gateway(), self.world.chance(35));
        self.world.trace.fault(&format!("fault: gateway {gateway} crashes, state lost: {loses_state}"));
        self.gateways[gateway].crash(loses_state);
        Undo::Restart(gateway)
    }

    fn clock(&self) -> Option<Undo> {
        let gateway = self.gateway();
        let mut by = self.world.roll(2 * HOUR_MS).cast_signed() - HOUR_MS.cast_signed();
        let stops = self.world.chance(30);
        if self.keep.0.is_some() {
            by = by.clamp(-SKEW_MS_MAX, SKEW_MS_MAX) - self.gateways[gateway].ahead_ms();
        }
        self.world.trace.fault(&format!("fault: the clock of {gateway} jumps by {by} ms, stops: {stops}"));
        self.gateways[gateway].turn_clock(by, !stops);
        stops.then_some(Undo::Thaw(gateway))
    }

    /// Bits flip, or objects vanish, at the victim.
    fn at_rest(&mut self) -> Option<Undo> {
        let server = self.world.servers[self.victim].clone();
        self.damaged = Some(self.victim);
        // It lasts until the end: who knows what reads and repair find.
        self.world.weather.begin(None, Some(self.victim), Condition::AtRest);
        for _ in 0..=self.world.roll(4) {
            let keys: Vec<_> = server.keys().into_iter().filter(|key| !key.starts_with("probe/")).collect();
            if keys.is_empty() {
                return None;
            }
            let key = &keys[usize::try_from(self.world.roll(keys.len() as u64)).unwrap()];
            // A canary with a wrong bit is a foreign one, and waits for an operator.
            let flips = self.world.chance(60) && !key.starts_with("canary/");
            self.world.trace.fault(&format!("fault: at rest at {}: {key}, flips: {flips}", self.victim));
            if flips {
                server.flip(key, usize::try_from(self.world.roll(200_000)).unwrap());
            } else {
                server.lose(key);
            }
        }
        None
    }

    fn wipe(&mut self) -> Option<Undo> {
        if !std::mem::replace(&mut self.wiped, true) {
            self.world.trace.fault(&format!("fault: {} is wiped", self.victim));
            self.world.servers[self.victim].wipe();
            self.world.weather.begin(None, Some(self.victim), Condition::AtRest);
        }
        None
    }

    fn swap(&mut self) -> Option<Undo> {
        let one = self.slot();
        let other = (one + 1) % self.world.servers.len();
        let swapped = self.active.iter().any(|(_, undo)| matches!(undo, Undo::Swap(..)));
        if swapped {
            return None;
        }
        self.swapped = true;
        let spells = [one, other].map(|slot| self.spell(None, Some(slot), Condition::AtRest)).to_vec();
        self.world.servers[one].swap(&self.world.servers[other]);
        Some(Undo::Swap(one, other, spells))
    }

    /// Clocks that stand would be days behind after a leap: beyond an hour gateways write nothing.
    fn thaw(&mut self) {
        let active = std::mem::take(&mut self.active);
        for (until, undo) in active {
            match undo {
                Undo::Thaw(gateway) if self.keep.0.is_some() => self.gateways[gateway].turn_clock(0, true),
                undo => self.active.push((until, undo)),
            }
        }
    }

    /// Days pass, while clients go on now and then, and all may be well meanwhile, so that rounds take what
    /// they can. One gateway may be cut off from everybody.
    async fn doze(&mut self) {
        if self.world.chance(70) {
            let all = self.active.iter().map(|(at, _)| *at).max();
            all.into_iter().for_each(|at| self.expire(at));
        }
        self.thaw();
        let exiled = self.world.chance(40).then(|| self.gateway());
        let spell = exiled.map(|gateway| self.spell(Some(gateway), None, Condition::Silence));
        for _ in 0..=self.world.roll(3) {
            let frozen = self.world.weather.begin(None, None, Condition::AtRest);
            self.world.leap(LONG).await;
            self.world.weather.end(frozen);
            tokio::time::sleep(ROUNDS).await;
        }
        spell.into_iter().for_each(|spell| self.world.weather.end(spell));
    }

    /// A provider is away for a month, while clients go on now and then.
    async fn away(&mut self) {
        self.thaw();
        let spell = self.spell(None, Some(self.slot()), Condition::Refuse(ErrorKind::Unavailable));
        for _ in 0..5 {
            let frozen = self.world.weather.begin(None, None, Condition::AtRest);
            self.world.leap(6 * DAY).await;
            self.world.weather.end(frozen);
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        self.world.weather.end(spell);
    }
}
