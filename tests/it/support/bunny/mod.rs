//! An emulator of Bunny Edge Storage: its HTTP API as it behaves, oddities and limits included.
//!
//! It is written from what is known of the service, not from our client, and forgives nothing: there is no
//! answer to `HEAD`, no checksum header, no order in listings, and an ETag that is no content hash. Where
//! sources disagree it takes the stricter side and has a switch for the other.

mod answer;
mod fault;
mod file;
mod path;
mod zone;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use triplicate::drill::wire::Loopback;

pub use fault::{BunnyFault, BunnyRule, Op};
use zone::Tree;

/// How many listings may be in flight.
pub const LISTINGS_MAX: usize = 5;
/// How many `DELETE` requests may be in flight.
pub const DELETES_MAX: usize = 30;
/// How many requests may be in flight from one address.
pub const REQUESTS_MAX: usize = 100;

/// A storage zone behind its HTTP API.
#[derive(Debug)]
pub struct Bunny {
    server: Loopback<State>,
}

/// What the handler of requests knows.
#[derive(Debug)]
struct State {
    zone: String,
    password: String,
    read_only_password: String,
    tree: Mutex<Tree>,
    /// The tree as stale listings show it.
    stale: Mutex<Tree>,
    rules: Mutex<Vec<BunnyRule>>,
    counts: Mutex<HashMap<Op, u64>>,
    struck: Mutex<HashMap<Op, u64>>,
    strict_slashes: AtomicBool,
    clock_skew_seconds: AtomicI64,
    requests: AtomicUsize,
    listings: AtomicUsize,
    deletes: AtomicUsize,
}

impl Bunny {
    /// Starts an empty zone.
    pub async fn start() -> Self {
        let unique = super::unique();
        let state = State {
            zone: format!("zone-{unique}"),
            password: format!("password-{unique}"),
            read_only_password: format!("read-only-{unique}"),
            tree: Mutex::default(),
            stale: Mutex::default(),
            rules: Mutex::default(),
            counts: Mutex::default(),
            struck: Mutex::default(),
            strict_slashes: AtomicBool::new(false),
            clock_skew_seconds: AtomicI64::new(0),
            requests: AtomicUsize::new(0),
            listings: AtomicUsize::new(0),
            deletes: AtomicUsize::new(0),
        };
        Self { server: super::serve(Arc::new(state)).await }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Returns the zone's name.
    pub fn zone(&self) -> &str {
        &self.state().zone
    }

    /// Returns the password that may do everything.
    pub fn password(&self) -> &str {
        &self.state().password
    }

    /// Returns the password that may only read.
    pub fn read_only_password(&self) -> &str {
        &self.state().read_only_password
    }

    /// Stops the service: connections are refused; what is stored stays.
    pub async fn stop(&self) {
        self.server.refuse().await;
    }

    /// Starts the service again on its port.
    pub async fn restart(&self) {
        self.server.restore().await;
    }

    /// Switches a fault on.
    pub fn inject(&self, rule: impl Into<BunnyRule>) {
        let rule = rule.into();
        if rule.fault == BunnyFault::StaleListing {
            *self.state().stale.lock().unwrap() = self.state().tree.lock().unwrap().clone();
        }
        self.state().rules.lock().unwrap().push(rule);
    }

    /// Switches all faults off.
    pub fn clear_faults(&self) {
        self.state().rules.lock().unwrap().clear();
    }

    /// Refuses doubled slashes, as one report says the service does, instead of folding them.
    pub fn refuse_double_slashes(&self) {
        self.state().strict_slashes.store(true, Ordering::SeqCst);
    }

    /// Sets the service's clock wrong by so many seconds.
    pub fn skew_clock(&self, seconds: i64) {
        self.state().clock_skew_seconds.store(seconds, Ordering::SeqCst);
    }

    /// Returns how many authorised requests of a kind came in.
    pub fn count(&self, op: Op) -> u64 {
        self.state().counts.lock().unwrap().get(&op).copied().unwrap_or_default()
    }

    /// Returns how many requests of a kind a fault struck.
    pub fn struck(&self, op: Op) -> u64 {
        self.state().struck.lock().unwrap().get(&op).copied().unwrap_or_default()
    }

    /// Lists the paths of all files, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.state().tree.lock().unwrap().paths()
    }

    /// Reads a file.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.state().tree.lock().unwrap().file(key).map(|file| file.bytes.clone())
    }

    /// Returns the type that a file was uploaded with.
    pub fn content_type(&self, key: &str) -> Option<String> {
        self.state().tree.lock().unwrap().file(key)?.content_type.clone()
    }

    /// Writes a file.
    pub fn put(&self, key: &str, bytes: Bytes) {
        let now = self.state().now();
        self.state().tree.lock().unwrap().put(key, bytes, None, now).expect("a path that can be a file");
    }

    /// Removes a file.
    pub fn delete(&self, key: &str) {
        assert!(self.state().tree.lock().unwrap().delete(key), "there is no {key}");
    }

    /// Changes the bytes of a file as a failing disk would: its checksum still says what was uploaded.
    pub fn damage(&self, key: &str, bytes: Bytes) {
        self.state().tree.lock().unwrap().damage(key, bytes);
    }

    /// Loses everything.
    pub fn wipe(&self) {
        self.state().tree.lock().unwrap().clear();
    }

    fn state(&self) -> &State {
        self.server.handler()
    }
}

impl State {
    /// The service's clock, in milliseconds as its rows show it.
    fn now(&self) -> SystemTime {
        zone::skewed(SystemTime::now(), self.clock_skew_seconds.load(Ordering::SeqCst))
    }

    /// Returns the faults that strike a request; each counts itself.
    fn faults(&self, op: Op, path: &str) -> Vec<BunnyFault> {
        let mut rules = self.rules.lock().unwrap();
        let struck: Vec<_> =
            rules.iter_mut().filter_map(|rule| rule.strikes(op, path).then(|| rule.fault.clone())).collect();
        if !struck.is_empty() {
            *self.struck.lock().unwrap().entry(op).or_default() += 1;
        }
        struck
    }
}

/// The time that a limited request takes at least, so that many at once meet the limit as at the service.
const LIMITED_TAKES: Duration = Duration::from_millis(3);
