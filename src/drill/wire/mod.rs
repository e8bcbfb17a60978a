//! A fault proxy on the wire between the gateway and one provider.
//!
//! It passes requests on as they came, `Host`, path and query byte for byte, so that signatures stay valid. It
//! takes them in origin form, from clients that believe it to be the provider, and in absolute form, from
//! clients that use it as their HTTP proxy; to a provider with TLS it talks TLS. Nothing is kept, followed or
//! decoded; connections to the provider are used again, and a request is sent a second time only when it
//! never left on a connection that had been closed meanwhile. Faults are switched at run time.

mod answer;
mod body;
mod delivery;
mod fault;
mod hold;
mod loopback;
mod seen;
mod upstream;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use url::Url;

use crate::asset::key::BLOBS;
use crate::task::Tasks;
use body::Shape;
pub use fault::{Fault, Rule};
pub use hold::{Held, Hold, Moment};
pub use loopback::{Body, Connection, Cut, Handler, Loopback, full};
pub use seen::Seen;
use upstream::{Outgoing, Upstream};

/// How many requests the record keeps; older ones fall out.
const SEEN_MAX: usize = 65_536;
/// The largest request that is held to be sent late or twice, and the most that is read of one that does not
/// reach the provider.
const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a request without an answer, or an answer that stands still, is held for a client that stays.
const HOLD_LIMIT: Duration = Duration::from_secs(600);

/// A wire cannot be laid.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The address of the provider is none.
    #[error("{0}")]
    Upstream(String),
    /// There is no port to listen on.
    #[error("cannot listen on 127.0.0.1: {0}")]
    Listen(#[source] std::io::Error),
    /// There is nothing to check the provider's certificate by.
    #[error("no certificates to check the provider by (is the package ca-certificates installed?): {0}")]
    Tls(String),
}

/// What came by since the start; every number only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests of any kind.
    pub requests: u64,
    /// `GET` requests for objects below `blobs/`.
    pub blob_reads: u64,
    /// Requests that a fault happened to.
    pub struck: u64,
    /// Bytes of bodies that were delivered to clients.
    pub bytes: u64,
}

/// A proxy before one provider; dropping it closes everything.
#[derive(Debug)]
pub struct Wire {
    loopback: Loopback<State>,
}

#[derive(Debug)]
struct State {
    upstream: Arc<Upstream>,
    tasks: Tasks,
    rules: Mutex<Vec<Rule>>,
    die: Mutex<StdRng>,
    recording: AtomicBool,
    seen: Mutex<VecDeque<Seen>>,
    requests: AtomicU64,
    blob_reads: AtomicU64,
    struck: AtomicU64,
    bytes: Arc<AtomicU64>,
}

impl Wire {
    /// Starts a proxy before the provider at `upstream`, an `http` or `https` URL.
    ///
    /// A path of `upstream` is one that all its requests begin with, and no part of a key. The die of `seed`
    /// falls the same way for the same requests in the same order. The wire goes down with `tasks`.
    ///
    /// # Errors
    ///
    /// The URL names no such provider, its certificate could not be checked, or there is no free port.
    pub async fn before(upstream: &Url, seed: u64, tasks: &Tasks) -> Result<Self, WireError> {
        Self::over(Upstream::new(upstream, tasks)?, seed, tasks)
    }

    fn over(upstream: Upstream, seed: u64, tasks: &Tasks) -> Result<Self, WireError> {
        let state = State {
            upstream: Arc::new(upstream),
            tasks: tasks.clone(),
            rules: Mutex::default(),
            die: Mutex::new(StdRng::seed_from_u64(seed)),
            recording: AtomicBool::new(false),
            seen: Mutex::default(),
            requests: AtomicU64::new(0),
            blob_reads: AtomicU64::new(0),
            struck: AtomicU64::new(0),
            bytes: Arc::default(),
        };
        Ok(Self { loopback: Loopback::open(Arc::new(state), tasks)? })
    }

    /// Returns the address, for clients that use the wire as their HTTP proxy.
    pub fn address(&self) -> SocketAddr {
        self.loopback.address()
    }

    /// Returns `http://127.0.0.1:PORT`, for clients that are told that it is the provider.
    pub fn endpoint(&self) -> String {
        self.loopback.endpoint()
    }

    /// Switches a fault on; with several, the one switched on first that fits a request happens to it.
    pub fn inject(&self, rule: impl Into<Rule>) {
        self.state().rules.lock().push(rule.into());
    }

    /// Switches all faults off; what has begun goes on.
    pub fn clear(&self) {
        self.state().rules.lock().clear();
    }

    /// Refuses connections and resets (RST) all that are there.
    pub async fn refuse(&self) {
        self.loopback.refuse().await;
    }

    /// Takes connections and from now on neither reads nor writes on any, old ones included.
    pub async fn silence(&self) {
        self.loopback.silence().await;
    }

    /// Switches all faults off and serves again; connections that fell silent go on.
    pub async fn restore(&self) {
        self.clear();
        self.loopback.restore().await;
    }

    /// Returns what came by.
    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts {
            requests: state.requests.load(Ordering::Relaxed),
            blob_reads: state.blob_reads.load(Ordering::Relaxed),
            struck: state.struck.load(Ordering::Relaxed),
            bytes: state.bytes.load(Ordering::Relaxed),
        }
    }

    /// Writes requests down from now on, the last 65,536 of them.
    pub fn record(&self) {
        self.state().recording.store(true, Ordering::Relaxed);
    }

    /// Returns the recorded requests, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.lock().iter().cloned().collect()
    }

    /// Counts the recorded requests with this method whose key begins so.
    pub fn count(&self, method: &str, prefix: &str) -> usize {
        let seen = self.state().seen.lock();
        seen.iter().filter(|seen| seen.method == method && seen.key.starts_with(prefix)).count()
    }

    /// Empties the record.
    pub fn forget_seen(&self) {
        self.state().seen.lock().clear();
    }

    fn state(&self) -> &State {
        self.loopback.handler()
    }
}

impl Handler for State {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        if request.method() == Method::CONNECT {
            // A tunnel could not be looked into; the client was given `https` where it needs `http`.
            return Ok(answer::text(StatusCode::METHOD_NOT_ALLOWED, "this proxy makes no tunnels"));
        }
        let seen = Seen::of(&request, self.upstream.base());
        let fault = self.note_and_strike(&seen);
        match fault {
            Some(fault) => self.befall(fault, request, &seen, connection).await,
            None => {
                let answer = self.upstream.send(request.map(Either::Left)).await?;
                Ok(self.deliver(answer, Shape::Plain, connection))
            }
        }
    }
}

impl State {
    fn note_and_strike(&self, seen: &Seen) -> Option<Fault> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if seen.method == Method::GET && !seen.listing && seen.key.starts_with(BLOBS) {
            self.blob_reads.fetch_add(1, Ordering::Relaxed);
        }
        if self.recording.load(Ordering::Relaxed) {
            let mut record = self.seen.lock();
            if record.len() == SEEN_MAX {
                record.pop_front();
            }
            record.push_back(seen.clone());
        }
        let (mut rules, mut die) = (self.rules.lock(), self.die.lock());
        rules.iter_mut().find_map(|rule| rule.strike(&seen.method, &seen.key, &mut *die))
    }

    /// Lets a fault happen to a request.
    async fn befall(
        &self,
        fault: Fault,
        request: Request<Incoming>,
        seen: &Seen,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        if let Some(answer) = answer::instead(&fault, seen) {
            self.count_struck();
            // A client that is still sending would not see the answer.
            let _ = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await;
            return Ok(answer);
        }
        if let Fault::DelayRequest(delay) = fault {
            return self.delay(request, delay, connection).await;
        }
        if let Fault::DoubleRequest(delay) = fault {
            return self.double(request, delay, connection).await;
        }
        if matches!(fault, Fault::BlackHole) {
            self.count_struck();
            tokio::time::sleep(HOLD_LIMIT).await;
            return Err(Cut);
        }
        if let Fault::Hold(hold) = fault {
            return self.hold(&hold, request, seen, connection).await;
        }
        let answer = self.upstream.send(request.map(Either::Left)).await?;
        if matches!(fault, Fault::LostAnswer) {
            self.count_struck();
            let _ = answer.into_body().collect().await;
            connection.reset_at_end();
            return Err(Cut);
        }
        if let Fault::SlowFirstByte(delay) = fault {
            self.count_struck();
            tokio::time::sleep(delay).await;
            return Ok(self.deliver(answer, Shape::Plain, connection));
        }
        let seed = self.die.lock().random();
        let (answer, shape) = delivery::spoil(&fault, answer, seed);
        if shape.is_some() {
            self.count_struck();
        }
        Ok(self.deliver(answer, shape.unwrap_or(Shape::Plain), connection))
    }

    /// The request goes on by itself: the client may leave meanwhile.
    async fn delay(
        &self,
        request: Request<Incoming>,
        delay: Duration,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        self.count_struck();
        let (upstream, request) = (Arc::clone(&self.upstream), whole(request).await?);
        let late = self.tasks.spawn("delayed request", async move {
            tokio::time::sleep(delay).await;
            upstream.send(request.map(Either::Right)).await
        });
        let answer = late.await.ok().flatten().ok_or(Cut)??;
        Ok(self.deliver(answer, Shape::Plain, connection))
    }

    async fn double(
        &self,
        request: Request<Incoming>,
        delay: Duration,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        self.count_struck();
        let (upstream, request) = (Arc::clone(&self.upstream), whole(request).await?);
        let again = request.clone();
        drop(self.tasks.spawn("doubled request", async move {
            tokio::time::sleep(delay).await;
            if let Ok(answer) = upstream.send(again.map(Either::Right)).await {
                // Read to its end, so that the connection can be used again.
                let _ = answer.into_body().collect().await;
            }
        }));
        let answer = self.upstream.send(request.map(Either::Right)).await?;
        Ok(self.deliver(answer, Shape::Plain, connection))
    }

    /// The request is dropped where it is when the client leaves.
    async fn hold(
        &self,
        hold: &Hold,
        request: Request<Incoming>,
        seen: &Seen,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        self.count_struck();
        if hold.moment == Moment::BeforeEffect {
            // All of it is taken, so that only the wire stands between the client and the effect.
            let request = whole(request).await?;
            hold.keep(seen, HOLD_LIMIT).await;
            let answer = self.upstream.send(request.map(Either::Right)).await?;
            return Ok(self.deliver(answer, Shape::Plain, connection));
        }
        let answer = self.upstream.send(request.map(Either::Left)).await?;
        hold.keep(seen, HOLD_LIMIT).await;
        Ok(self.deliver(answer, Shape::Plain, connection))
    }

    fn count_struck(&self) {
        self.struck.fetch_add(1, Ordering::Relaxed);
    }

    fn deliver(&self, answer: Response<Incoming>, shape: Shape, connection: Connection) -> Response<Body> {
        answer.map(|from| body::deliver(from, shape, connection, Arc::clone(&self.bytes)))
    }
}

/// Receives the whole request.
async fn whole(request: Request<Incoming>) -> Result<Request<Outgoing>, Cut> {
    let (parts, body) = request.into_parts();
    let bytes = Limited::new(body, REQUEST_BYTES_MAX).collect().await.map_err(|_| Cut)?.to_bytes();
    Ok(Request::from_parts(parts, Outgoing::new(bytes)))
}

#[cfg(test)]
mod stub;
#[cfg(test)]
mod tests;
