//! The listener: accepts connections, serves HTTP/1.1 on them behind a [`guard`](super::guard), and ends in order.
//!
//! An accept loop of our own, because the ready-made ones leave the parser's deadlines without a clock and let
//! a silent client hold its connection for ever. A stop closes the listening socket, lets every request
//! in flight end until a deadline, and then drops what is left. Client connections are limited; over the limit
//! new ones wait in the kernel's queue.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::TryFutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::framing::Refusal;
use super::guard::{Answer, Deadlines, Guarded};
use super::layers::{self, Watch};
use super::problem::{Problem, ProblemKind};
use crate::task::Tasks;
use crate::write::Outcome;

/// How long to wait after a failed accept: the process is out of file descriptors, and one may be freed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How one listener serves.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// For logs: `public` or `admin`.
    pub name: &'static str,
    /// How many clients may be connected at once; more wait.
    pub connections_max: usize,
    /// For the head of a request, from its first byte.
    pub header_timeout: Duration,
    /// For the next request on an idle connection.
    pub idle_timeout: Duration,
    /// For progress in sending a response.
    pub write_timeout: Duration,
    /// How long requests in flight may go on after the stop.
    pub shutdown_grace: Duration,
    /// Where refusals of broken heads are logged and counted.
    pub watch: Watch,
}

/// The address of the client, as an extension of each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Serves `router` on `listener` until `stop`, then ends in order; returns when no connection is left.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tasks: &Tasks,
    settings: ServeSettings,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(settings.connections_max));
    let cut = CancellationToken::new();
    let serving = Connection {
        router,
        deadlines: Deadlines {
            head: settings.header_timeout,
            idle: settings.idle_timeout,
            write: settings.write_timeout,
        },
        answer: answer(settings.watch.clone()),
        stop: stop.clone(),
        cut: cut.clone(),
    };
    while let Some((stream, peer, slot)) = accept(&listener, &slots, &stop).await {
        let connection = serving.clone().run(stream, peer, slot);
        drop(tasks.spawn("connection", connections.track_future(connection)));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(settings.shutdown_grace, connections.wait()).await.is_err() {
        warn!(listener = settings.name, connections = connections.len(), "requests cut off at shutdown");
        cut.cancel();
        connections.wait().await;
    }
    info!(listener = settings.name, "the listener is closed");
}

/// Accepts the next client once there is a slot; `None` at the stop.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        // Nobody closes the semaphore.
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, slot)),
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = next => accepted,
    }
}

/// What every connection of a listener shares.
#[derive(Clone)]
struct Connection {
    router: Router,
    deadlines: Deadlines,
    answer: Answer,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        // Small answers go out at once; a socket that cannot be told so works all the same.
        let _ = stream.set_nodelay(true);
        let guarded = Guarded::new(stream, self.deadlines, self.answer);
        let router = self.router;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            router.clone().oneshot(request.map(Body::new)).map_ok(without_false_length)
        });
        // The guard has the deadlines for heads, and it counts on being asked for the next head only when it is
        // wanted. Half-closed clients still get their answer.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(true)
            .serve_connection(TokioIo::new(guarded), service);
        let mut connection = pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = connection => served,
                    () = self.cut.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = served {
            debug!(%peer, %error, "a connection broke");
        }
        drop(slot);
    }
}

/// Takes the length off a 304: the router gives it that of its missing body, not that of the asset.
fn without_false_length(mut response: Response<Body>) -> Response<Body> {
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

/// Builds the answers to refused heads.
fn answer(watch: Watch) -> Answer {
    Arc::new(move |refusal, head| {
        let problem = match refusal {
            Refusal::Malformed(detail) => Problem::new(ProblemKind::MalformedRequest, detail),
            Refusal::TooLarge(detail) => Problem::new(ProblemKind::HeadTooLarge, detail),
            Refusal::UnknownCoding => {
                Problem::new(ProblemKind::NotImplemented, "the only transfer coding is chunked")
            }
            Refusal::Timeout => Problem::new(ProblemKind::Timeout, "the head did not arrive in time"),
        };
        let method = method_of(head);
        let is_write = [b"PUT".as_slice(), b"POST", b"DELETE"].contains(&method);
        let problem = if is_write { problem.with_outcome(Outcome::NotCommitted) } else { problem };
        let request_id = watch.request_id();
        layers::note_refused_head(&watch, &problem, &request_id);
        let date = SystemTime::UNIX_EPOCH + Duration::from_millis(watch.clock.unix_ms());
        write_answer(&problem, &request_id, date, method != b"HEAD")
    })
}

/// Returns the method of a head that nobody could read whole, whatever stands around it.
fn method_of(head: &[u8]) -> &[u8] {
    let head = head.trim_ascii_start();
    let end = head.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(head.len());
    &head[..end]
}

fn write_answer(problem: &Problem, request_id: &str, date: SystemTime, with_body: bool) -> Bytes {
    let body = problem.to_body(request_id);
    let mut fields = problem.fields();
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    fields.extend(HeaderValue::try_from(httpdate::fmt_http_date(date)).map(|date| (header::DATE, date)));
    layers::insert_common(&mut fields, request_id);
    let mut answer = format!("HTTP/1.1 {}\r\n", problem.status()).into_bytes();
    for (name, value) in &fields {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    if with_body {
        answer.extend_from_slice(&body);
    }
    answer.into()
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
