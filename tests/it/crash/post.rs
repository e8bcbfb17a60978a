//! A gateway that is killed again and again, with wires of its own before each provider.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::RequestBuilder;
use triplicate::drill::wire::{Held, Hold, Rule, Seen, Wire};

use super::point::Point;
use crate::support::gateway::{Setup, TestGateway};
use crate::support::http_client;
use crate::support::process::Process;
use crate::support::provider::Trio;

/// The retention of those that remove nothing while a test lasts.
pub const FOR_LONG: &str = "7d";
/// The token of all gateways; it survives the state folder, and every gateway takes it.
const TOKEN: &str = "the-token-of-the-crash-tests";
/// How long the wire may take to notice that the gateway is gone.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

/// One gateway and its wires; nobody else's requests are held.
#[derive(Debug)]
pub struct Post {
    /// The gateway.
    pub gateway: TestGateway,
    wires: Vec<Wire>,
    http: reqwest::Client,
    /// When its present life began.
    born: Instant,
}

/// Where a gateway is reached, in its present life.
#[derive(Debug, Clone)]
pub struct Door {
    /// Its URL, without a closing slash.
    pub url: String,
    /// When its present life began: a write that was acknowledged before is in what it reads after its start, while one
    /// that came between its start and the moment when it was ready may be younger than its last poll.
    pub born: Instant,
    http: reqwest::Client,
}

/// A point that waits for its requests.
#[derive(Debug)]
pub struct Armed(Vec<Held>);

impl Post {
    /// Prepares a gateway before the providers of `trio` that keeps superseded versions for `retention`; it is
    /// not started.
    pub async fn before(trio: &Trio, retention: &str) -> Self {
        let (mut wires, mut entries) = (Vec::new(), Vec::new());
        for provider in trio.all() {
            let (wire, entry) = provider.wired_again().await;
            wires.push(wire);
            entries.push(entry);
        }
        let hash = blake3::hash(TOKEN.as_bytes());
        let yaml = format!(
            "feed_interval: 500ms\nretention: {retention}\n\
             tokens: [{{name: kit, hash: \"blake3:{hash}\", allow: [write, delete, admin]}}]"
        );
        let gateway = Setup::of_entries(entries).yaml(&yaml).prepare();
        Self { gateway, wires, http: http_client(), born: Instant::now() }
    }

    /// Returns the wire before the provider in `slot`.
    pub fn wire(&self, slot: usize) -> &Wire {
        &self.wires[slot]
    }

    /// Holds the requests of a point from now on.
    pub fn arm(&self, point: Point) -> Armed {
        self.arm_those(point, |rule| rule)
    }

    /// Holds those requests of a point to which `narrowed` limits its rule.
    pub fn arm_those(&self, point: Point, narrowed: impl Fn(Rule) -> Rule) -> Armed {
        let arm = |slot: usize| {
            let (hold, held) = Hold::at(point.moment);
            self.wires[slot].inject(narrowed(point.class.rule(hold)));
            held
        };
        Armed(point.slots().map(arm).collect())
    }

    /// Lets all requests go on that are held, and holds no more.
    pub fn disarm(&self, armed: Armed) {
        self.wires.iter().for_each(Wire::clear);
        drop(armed);
    }

    /// Kills the gateway; what is held is gone before anything else can happen.
    pub async fn kill(&mut self, armed: Armed) {
        self.gateway.kill();
        self.release(armed).await;
    }

    async fn release(&self, armed: Armed) {
        self.wires.iter().for_each(Wire::clear);
        let all = join_all(armed.0.into_iter().map(gone));
        tokio::time::timeout(NOTICED_WITHIN, all).await.expect("the wires notice the end of the gateway");
    }

    /// Starts the gateway again, after its state was deleted if it shall be; returns how long it took until it
    /// was ready, from the start of the process.
    pub async fn start(&mut self, empty: bool) -> Duration {
        if empty {
            self.gateway.delete_state();
        }
        self.born = Instant::now();
        self.gateway.start().await;
        self.born.elapsed()
    }

    /// Starts a command of an operator, which uses the wires as the gateway does.
    pub fn command(&self, args: &[&str]) -> Process {
        self.gateway.begin(args)
    }

    /// Kills a command; what is held is gone before anything else can happen.
    pub async fn kill_command(&self, mut command: Process, armed: Armed) {
        command.kill();
        self.release(armed).await;
    }

    /// Returns where the gateway is reached now.
    pub fn door(&self) -> Door {
        Door { url: self.gateway.public().to_owned(), born: self.born, http: self.http.clone() }
    }
}

impl Armed {
    /// A point that holds nothing.
    pub fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Waits until a provider of the point holds one more request.
    pub async fn next(&mut self) -> Option<Seen> {
        let [held] = self.0.as_mut_slice() else { return std::future::pending().await };
        held.next().await
    }

    /// Waits until every provider of the point holds a request.
    pub async fn struck(&mut self) {
        for held in &mut self.0 {
            held.next().await;
        }
    }
}

impl Door {
    /// Makes a door that leads to `url`, of a life that begins now.
    pub fn to(url: &str) -> Self {
        Self { url: url.to_owned(), born: Instant::now(), http: http_client() }
    }

    /// Begins a request; `path` has no leading slash.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let url = format!("{}/{path}", self.url);
        self.http.request(method.parse().expect("a method"), url).bearer_auth(TOKEN)
    }
}

/// Waits until a wire has noticed that nobody waits for what it held.
async fn gone(mut held: Held) {
    while held.next().await.is_some() {}
}
