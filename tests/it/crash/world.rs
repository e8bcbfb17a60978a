//! Gateways over one trio, the clients that use them, and the ledger of all that happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::ledger::{End, Ledger, Shown};
use super::point::Point;
use super::post::{Door, FOR_LONG, Post};
use super::watch::Quarry;
use crate::support::provider::Trio;

/// What a client does.
#[derive(Debug, Clone)]
pub enum Act {
    /// It stores bytes under a name.
    Put(String, Bytes),
    /// It stores bytes, and waits for all copies.
    PutEverywhere(String, Bytes),
    /// It removes a name.
    Delete(String),
    /// It reads a name, from a majority if it wants to see all that was acknowledged.
    Read(String, bool),
}

/// What happened, in numbers.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Kills by kind of request; `-` where none was held when the gateway was killed.
    pub kills: BTreeMap<String, u64>,
    /// How many reads and writes were answered.
    pub answered: u64,
    /// How many were refused with 503, and how many ended without an answer.
    pub refused: u64,
    /// How many ended without an answer.
    pub cut: u64,
    /// How long starts took until the gateway was ready.
    pub ready: Vec<Duration>,
}

/// One trio, and what is done on it.
#[derive(Debug)]
pub struct World {
    /// The providers.
    pub trio: Trio,
    /// Where each gateway is reached; `None` while it is down.
    pub doors: Mutex<Vec<Option<Door>>>,
    /// What was asked and answered.
    pub ledger: Mutex<Ledger>,
    /// Numbers.
    pub tally: Mutex<Tally>,
}

impl Tally {
    /// Counts a kill at a point, which may be one that the gateway came to by itself.
    pub fn kill(&mut self, point: Option<Point>, quarry: Option<Quarry>) {
        let by_itself = quarry.map_or_else(String::new, |quarry| format!("{quarry:?} "));
        let kind = point.map_or_else(
            || "-".to_owned(),
            |point| format!("{by_itself}{} {:?}", point.class.kind(), point.moment),
        );
        *self.kills.entry(kind).or_default() += 1;
    }

    /// Returns the number of kills.
    pub fn killed(&self) -> u64 {
        self.kills.values().sum()
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        other.kills.iter().for_each(|(kind, count)| *self.kills.entry(kind.clone()).or_default() += count);
        self.answered += other.answered;
        self.refused += other.refused;
        self.cut += other.cut;
        self.ready.extend(&other.ready);
    }

    /// Says how long starts took.
    pub fn readiness(&self) -> String {
        let mut ready = self.ready.clone();
        ready.sort();
        let at = |share: f64| ready.get((ready.len() as f64 * share) as usize).or(ready.last());
        let slow = ready.iter().filter(|took| **took > Duration::from_secs(2)).count();
        format!(
            "ready after {:?} (median), {:?} (p99), {:?} (max); {slow} above 2 s",
            at(0.5),
            at(0.99),
            ready.last()
        )
    }
}

impl World {
    /// Makes a world of real servers with so many gateways, all running, that remove nothing.
    pub async fn with(gateways: usize) -> (Arc<Self>, Vec<Post>) {
        Self::over(Trio::shared().await, gateways, FOR_LONG).await
    }

    /// Makes a world with so many gateways, all running, that keep superseded versions for `retention`.
    pub async fn over(trio: Trio, gateways: usize, retention: &str) -> (Arc<Self>, Vec<Post>) {
        let (mut posts, mut doors) = (Vec::new(), Vec::new());
        for _ in 0..gateways {
            let mut post = Post::before(&trio, retention).await;
            post.start(false).await;
            doors.push(Some(post.door()));
            posts.push(post);
        }
        let world =
            Self { trio, doors: Mutex::new(doors), ledger: Mutex::default(), tally: Mutex::default() };
        (Arc::new(world), posts)
    }

    /// Does it, and enters it into the ledger.
    pub async fn act(&self, door: &Door, act: &Act) {
        match act {
            Act::Put(name, bytes) | Act::PutEverywhere(name, bytes) => {
                let hash = blake3::hash(bytes).to_string();
                let id = self.ledger.lock().unwrap().begin_write(name, Some(hash), door);
                let put = door.request("PUT", name).header("Content-Length", bytes.len()).body(bytes.clone());
                let everywhere = matches!(act, Act::PutEverywhere(..));
                let put = if everywhere { put.header("X-Triplicate-Wait", "all") } else { put };
                let end = self.end_of(put).await;
                assert_ne!(end, End::Acked(String::new()), "a receipt without a version");
                self.ledger.lock().unwrap().end_write(id, end);
            }
            Act::Delete(name) => self.delete(door, name).await,
            Act::Read(name, asks_majority) => {
                self.read(door, name, *asks_majority).await;
            }
        }
    }

    /// Reads a name; `None` without an answer of 200 or 404.
    pub async fn read(&self, door: &Door, name: &str, asks_majority: bool) -> Option<Shown> {
        let ticket = self.ledger.lock().unwrap().begin_read(name, door, asks_majority);
        let mut request = door.request("GET", name);
        if asks_majority {
            request = request.header("Cache-Control", "no-cache");
        }
        let answer = self.answer_of(request).await?;
        let shown = match answer.status().as_u16() {
            404 => Shown::Absent,
            200 => {
                let version = header(&answer, "triplicate-version");
                let hash = blake3::hash(&answer.bytes().await.ok()?).to_string();
                Shown::Bytes { version, hash }
            }
            status => panic!("GET {name}: {status}"),
        };
        self.ledger.lock().unwrap().end_read(&ticket, &shown);
        Some(shown)
    }

    async fn delete(&self, door: &Door, name: &str) {
        let (id, ticket) = {
            let mut ledger = self.ledger.lock().unwrap();
            (ledger.begin_write(name, None, door), ledger.begin_read(name, door, true))
        };
        let end = self.end_of(door.request("DELETE", name)).await;
        let mut ledger = self.ledger.lock().unwrap();
        if end == End::Acked(String::new()) {
            // It was absent already and got no tombstone, which is the word of a majority.
            ledger.end_write(id, End::Never);
            ledger.end_read(&ticket, &Shown::Absent);
        } else {
            ledger.end_write(id, end);
        }
    }

    async fn end_of(&self, write: RequestBuilder) -> End {
        let Some(answer) = self.answer_of_any(write).await else { return End::Unknown };
        let status = answer.status().as_u16();
        let version = header(&answer, "triplicate-version");
        match status {
            200 | 201 | 204 => End::Acked(version),
            503 => {
                let body = answer.bytes().await.unwrap_or_default();
                let problem: Option<Value> = serde_json::from_slice(&body).ok();
                let outcome = problem.map(|problem| problem["outcome"].clone());
                if outcome == Some("not-committed".into()) { End::Never } else { End::Unknown }
            }
            _ => panic!("a write was answered with {status}: {:?}", answer.text().await),
        }
    }

    async fn answer_of(&self, read: RequestBuilder) -> Option<Response> {
        self.answer_of_any(read).await.filter(|answer| answer.status().as_u16() != 503)
    }

    async fn answer_of_any(&self, request: RequestBuilder) -> Option<Response> {
        let answer = request.send().await;
        let mut tally = self.tally.lock().unwrap();
        match &answer {
            Ok(answer) if answer.status().as_u16() == 503 => tally.refused += 1,
            Ok(_) => tally.answered += 1,
            Err(_) => tally.cut += 1,
        }
        answer.ok()
    }

    /// Fails with all violations, and what is known of their names.
    pub fn assert_no_violation(&self) {
        let ledger = self.ledger.lock().unwrap();
        for violation in &ledger.violations {
            println!("VIOLATION {violation}");
            let name = violation.split(' ').find(|word| word.contains(".bin")).unwrap_or_default();
            ledger
                .writes()
                .iter()
                .filter(|write| write.name == name)
                .for_each(|write| println!("    {write:?}"));
        }
        assert!(ledger.violations.is_empty(), "{} violations", ledger.violations.len());
    }

    /// Opens a door after a start.
    pub fn open(&self, gateway: usize, door: Door) {
        self.doors.lock().unwrap()[gateway] = Some(door);
    }

    /// Closes the door of a gateway that is killed.
    pub fn close(&self, gateway: usize) {
        self.doors.lock().unwrap()[gateway] = None;
    }

    /// Counts a start that took so long.
    pub fn started(&self, began: Instant) {
        self.tally.lock().unwrap().ready.push(began.elapsed());
    }
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
