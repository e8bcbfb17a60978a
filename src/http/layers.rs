//! Layers: what holds for every response of both listeners, whatever the handler does.
//!
//! Each has an `X-Request-Id` of our own (one sent by a client is not believed: it would let clients forge
//! our logs), `X-Content-Type-Options: nosniff`, a line in the access log and a place in the metrics. A
//! [`Problem`] becomes its JSON here, where the request id is known; a panic becomes a 500. A response that
//! was given before the request's body was read closes the connection: the rest of that body is never
//! taken for a request. So does one to an upload that does not say where its body ends.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::listener::Peer;
use super::problem::{Problem, ProblemKind};
use crate::clock::Clock;
use crate::telemetry::{RequestLabels, Telemetry};
use crate::write::Outcome;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the layers watch requests with.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Where requests are counted.
    pub telemetry: Telemetry,
    /// Where time and request ids come from.
    pub clock: Clock,
}

impl Watch {
    /// Draws the id of a request: 16 hex digits.
    pub(super) fn request_id(&self) -> String {
        format!("{:016x}", self.clock.random())
    }
}

/// The id of a request, as an extension of it.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// The outermost layer.
pub(super) async fn around(State(watch): State<Watch>, request: Request, next: Next) -> Response {
    let begun = watch.clock.now();
    let mut line = Line::new(&watch, &request, begun);
    let unframed = is_unframed_upload(&request);
    let (mut request, read) = watch_body(request, &watch);
    request.extensions_mut().insert(RequestId(line.request_id.clone()));
    let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            // The panic hook has logged the message and the place already.
            error!(request_id = line.request_id, "a handler panicked");
            let problem = Problem::new(ProblemKind::Internal, "the gateway failed in an unforeseen way");
            let problem = if line.is_write { problem.with_outcome(Outcome::Unknown) } else { problem };
            problem.into_response()
        }
    };
    let mut response = write_problem(response, &line);
    insert_common(response.headers_mut(), &line.request_id);
    if unframed || read.is_some_and(|read| !read.load(Ordering::Acquire)) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let labels = RequestLabels { method: line.method, status: response.status().as_u16() };
    let metrics = watch.telemetry.metrics();
    metrics.requests.get_or_create(&labels).inc();
    metrics.request_seconds.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
    line.status = labels.status;
    line.whole |= response.body().is_end_stream();
    line.promised_bytes = promised_bytes(response.headers());
    response.map(|body| Body::new(Logged { body, line }))
}

/// Tells whether a body may follow although the head announces none; the parser would take it for the next request.
fn is_unframed_upload(request: &Request) -> bool {
    let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter();
    [Method::PUT, Method::POST, Method::PATCH].contains(request.method())
        && !framed.into_iter().any(|name| request.headers().contains_key(name))
}

/// Adds what every response has.
pub(super) fn insert_common(fields: &mut HeaderMap, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        fields.insert(X_REQUEST_ID, value);
    }
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Logs and counts a request whose head never became one.
pub(super) fn note_refused_head(watch: &Watch, problem: &Problem, request_id: &str) {
    let labels = RequestLabels { method: "-", status: problem.status().as_u16() };
    watch.telemetry.metrics().requests.get_or_create(&labels).inc();
    info!(target: "access", request_id, status = labels.status, "a head was refused");
}

/// Writes the problem that a handler returned, and logs the cause of a failure.
fn write_problem(mut response: Response, line: &Line) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    // Whatever was refused so far has certainly not been committed; failed writes say so themselves.
    let problem = if line.is_write { problem.with_outcome(Outcome::NotCommitted) } else { problem };
    // Who polls for readiness is told often that it is not there yet.
    if problem.status().is_server_error() && problem.kind() != ProblemKind::NotReady {
        let (path, kind, cause) = (&line.path, problem.kind(), problem.cause());
        warn!(request_id = line.request_id, path, ?kind, cause, "a request failed");
    }
    let mut written = problem.to_response(&line.request_id);
    // A field that a layer below added (CORS) stays.
    for (name, value) in response.headers() {
        if name != header::CONTENT_LENGTH && !written.headers().contains_key(name) {
            written.headers_mut().append(name, value.clone());
        }
    }
    written
}

/// Counts the bytes of the body, and returns where it is noted that the body was read to its end.
fn watch_body(request: Request, watch: &Watch) -> (Request, Option<Arc<AtomicBool>>) {
    if request.body().is_end_stream() {
        return (request, None);
    }
    let read = Arc::new(AtomicBool::new(false));
    let telemetry = watch.telemetry.clone();
    let watched = |body| Body::new(Watched { body, telemetry, read: Arc::clone(&read) });
    (request.map(watched), Some(read))
}

/// The body of a request.
struct Watched {
    body: Body,
    telemetry: Telemetry,
    read: Arc<AtomicBool>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.telemetry.metrics().received_bytes.inc_by(data.len() as u64);
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.read.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One line of the access log, written when the response is over.
struct Line {
    telemetry: Telemetry,
    request_id: String,
    method: &'static str,
    path: String,
    peer: Option<Peer>,
    is_write: bool,
    begun: Instant,
    status: u16,
    sent_bytes: u64,
    whole: bool,
    /// How many bytes the head of the response promised.
    promised_bytes: Option<u64>,
}

impl Line {
    fn new(watch: &Watch, request: &Request, begun: Instant) -> Self {
        let method = request.method();
        Self {
            telemetry: watch.telemetry.clone(),
            request_id: watch.request_id(),
            method: method_label(method),
            path: request.uri().path().to_owned(),
            peer: request.extensions().get().copied(),
            is_write: [Method::PUT, Method::POST, Method::DELETE].contains(method),
            begun,
            status: 0,
            sent_bytes: 0,
            // The body of an answer to HEAD is never asked for.
            whole: *method == Method::HEAD,
            promised_bytes: None,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.telemetry.metrics().sent_bytes.inc_by(self.sent_bytes);
        // The connection stops asking once the promised bytes are there.
        let whole = self.whole || self.promised_bytes == Some(self.sent_bytes);
        let Self { request_id, method, path, status, sent_bytes, .. } = self;
        let peer = self.peer.map(|peer| peer.0.to_string());
        let milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(target: "access", request_id, method, path, status, sent_bytes, whole, milliseconds, peer);
    }
}

fn promised_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Returns a method as a label: clients must not be able to invent labels.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The body of a response.
struct Logged {
    body: Body,
    line: Line,
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.line.sent_bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(error)) => {
                let (request_id, path) = (&self.line.request_id, &self.line.path);
                warn!(request_id, path, %error, "a response was reset");
            }
            None => {}
        }
        self.line.whole = frame.is_none() || self.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
