//! The dice of a storm: what clients do, and where and when a gateway is killed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use triplicate::drill::wire::Moment;

use super::point::{ALL, Class, Point};
use super::watch::Quarry;
use super::world::Act;
use crate::support::data;

/// How many names there are.
pub const NAMES: u32 = 36;
/// More than a block, so that there is a block list.
const BLOCKS_BYTES: usize = 66_000;
/// More than a part.
const PARTS_BYTES: usize = (8 << 20) + 7;

/// What is done to a gateway once.
#[derive(Debug)]
pub struct Blow {
    /// Where it is killed.
    pub point: Point,
    /// What is asked of it then.
    pub act: Act,
    /// Whether the answer to the act is waited for where it can come.
    pub lingers: bool,
    /// Whether the gateway comes back with an empty state.
    pub empty: bool,
}

/// Somebody with dice.
pub struct Player {
    /// The dice.
    pub die: StdRng,
    name: String,
    puts: u32,
}

/// Returns the name with a number.
pub fn name(number: u32) -> String {
    format!("storm/{number}.bin")
}

impl Player {
    /// Makes somebody whose dice fall by `seed` and `name`.
    pub fn new(seed: u64, name: String) -> Self {
        let text = format!("{seed} {name}");
        Self { die: StdRng::from_seed(*blake3::hash(text.as_bytes()).as_bytes()), name: text, puts: 0 }
    }

    /// Draws a name.
    pub fn draw_name(&mut self) -> String {
        name(self.die.random_range(0..NAMES))
    }

    fn draw_put(&mut self, bytes: usize) -> Act {
        self.puts += 1;
        let unique = format!("{} {}", self.name, self.puts);
        Act::Put(self.draw_name(), data::bytes(&unique, bytes))
    }

    /// Draws what a client does next.
    pub fn draw_act(&mut self) -> Act {
        match self.die.random_range(0..10) {
            0..3 => self.draw_put(700),
            3 => self.draw_put(BLOCKS_BYTES),
            4 => Act::Delete(self.draw_name()),
            _ => Act::Read(self.draw_name(), self.die.random_bool(0.2)),
        }
    }

    /// Draws a read, of a majority with this chance.
    pub fn draw_read(&mut self, asks_majority: f64) -> Act {
        Act::Read(self.draw_name(), self.die.random_bool(asks_majority))
    }

    /// Draws what is done to a gateway next.
    pub fn draw_blow(&mut self) -> Blow {
        let (class, act) = match self.die.random_range(0..90) {
            0..60 => self.draw_put_point(),
            60..75 => {
                let classes = [Class::Listing, Class::Record, Class::Feed];
                (self.pick(&classes), Act::Delete(self.draw_name()))
            }
            75..85 => {
                let classes = [Class::Listing, Class::ReadRecord, Class::ReadBytes];
                (self.pick(&classes), Act::Read(self.draw_name(), true))
            }
            _ => (self.draw_any(), self.draw_put(700)),
        };
        let point = self.draw_point(class);
        let (lingers, empty) = (self.die.random_bool(0.5), self.die.random_bool(0.15));
        Blow { point, act, lingers, empty }
    }

    /// Draws whether a gateway that is down is killed once more while it starts.
    pub fn draws_start(&mut self) -> bool {
        self.die.random_bool(0.1)
    }

    /// Draws where it is killed then, and whether it comes back with an empty state.
    pub fn draw_start(&mut self) -> (Point, bool) {
        let class = self.draw_any();
        (self.draw_point(class), self.die.random_bool(0.15))
    }

    fn draw_any(&mut self) -> Class {
        let any = Class::Any(self.die.random_range(0..25));
        self.pick(&[any, any, Class::Poll, Class::Look, Class::Probe])
    }

    fn draw_point(&mut self, class: Class) -> Point {
        let at = match self.die.random_range(0..20) {
            _ if class == Class::Describe => 0b100,
            0..11 => 1 << self.die.random_range(0..3),
            11..16 => ALL ^ 1 << self.die.random_range(0..3),
            _ => ALL,
        };
        Point { class, moment: self.pick(&[Moment::BeforeEffect, Moment::AfterEffect]), at }
    }

    /// Draws what a gateway is watched for from its start on, if it is watched: a step of a round of retention
    /// where one is due all the time, else one of a copy that repair makes. It comes with the number of such
    /// requests that go on before: a round has to get somewhere, or what it removes piles up until the brake
    /// stops all rounds.
    pub fn draw_watch(&mut self, quarry: Quarry) -> Option<(Point, u64)> {
        let (class, chance, others) = match quarry {
            Quarry::Removals => {
                let classes = [
                    Class::ListBytes,
                    Class::DropFeed,
                    Class::DropRecord,
                    Class::DropBlocks,
                    Class::DropPart(0),
                ];
                let class = self.pick(&classes);
                let most = if class == Class::ListBytes { 12 } else { 3 };
                (class, 0.6, self.die.random_range(0..most))
            }
            Quarry::Repairs => {
                (self.pick(&[Class::Part(0), Class::Blocks, Class::Record, Class::Feed]), 0.4, 0)
            }
        };
        let moment = self.pick(&[Moment::BeforeEffect, Moment::AfterEffect]);
        let at = 1 << self.die.random_range(0..3);
        self.die.random_bool(chance).then_some((Point { class, moment, at }, others))
    }

    /// Draws how long a client waits before it does something again: long where retention has to keep up.
    pub fn draw_pause(&mut self, quarry: Quarry) -> Duration {
        Duration::from_millis(match quarry {
            Quarry::Removals => self.die.random_range(200..1_000),
            Quarry::Repairs => self.die.random_range(50..250),
        })
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
