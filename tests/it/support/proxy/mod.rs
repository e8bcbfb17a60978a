//! A fault proxy on the wire between the product and one provider.
//!
//! It passes requests on as they came, `Host` included, so that signatures stay valid; it pools nothing and
//! retries nothing. Faults are switched at run time, and every request is written down.

mod body;
mod fault;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;

use super::runtime;
use super::wire::{Body, Connection, Cut, Handler, Wire, full};
use body::{Shape, deliver};
pub use fault::{Fault, Rule};

const S3_ERROR: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InternalError</Code><Message>We \
                        encountered an internal error. Please try again.</Message></Error>";

/// One request that came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// The key it names, or the prefix it lists.
    pub key: String,
    /// Whether it lists.
    pub listing: bool,
    /// The value of its `Range` header.
    pub range: Option<String>,
}

/// A proxy before one provider.
#[derive(Debug)]
pub struct Proxy {
    wire: Wire<State>,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
}

impl Proxy {
    /// Starts a proxy before the provider at `endpoint`, `http://ADDRESS:PORT`.
    pub async fn before(endpoint: &str) -> Self {
        let upstream = endpoint.trim_start_matches("http://").parse().expect("an address and a port");
        let state = State { upstream, rules: Mutex::default(), seen: Mutex::default() };
        Self { wire: Wire::open(Arc::new(state)).await }
    }

    /// Returns `http://127.0.0.1:PORT`, which the product is told to be the provider.
    pub fn endpoint(&self) -> String {
        self.wire.endpoint()
    }

    /// Closes the listener and every connection: the provider refuses connections.
    pub async fn refuse(&self) {
        self.wire.refuse().await;
    }

    /// Listens again and switches all faults off.
    pub async fn restore(&self) {
        self.clear();
        self.wire.restore().await;
    }

    /// Switches a fault on; with several, the one switched on first that fits a request happens to it.
    pub fn inject(&self, rule: impl Into<Rule>) {
        self.wire.handler().rules.lock().unwrap().push(rule.into());
    }

    /// Switches all faults off.
    pub fn clear(&self) {
        self.wire.handler().rules.lock().unwrap().clear();
    }

    /// Returns the requests that came by since the start or the last call of [`Proxy::forget_seen`].
    pub fn seen(&self) -> Vec<Seen> {
        self.wire.handler().seen.lock().unwrap().clone()
    }

    /// Counts the requests with this method whose key begins so.
    pub fn count(&self, method: &str, prefix: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.key.starts_with(prefix)).count()
    }

    /// Starts to write down anew.
    pub fn forget_seen(&self) {
        self.wire.handler().seen.lock().unwrap().clear();
    }
}

impl Handler for State {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        let seen = Seen::of(&request);
        let fault = self.strike(&seen);
        self.seen.lock().unwrap().push(seen);
        let Some(fault) = fault else { return self.pass(request, Shape::Plain, connection).await };
        match fault {
            Fault::BlackHole => std::future::pending().await,
            Fault::Status(status, body) => Ok(canned(status, "text/plain", body)),
            Fault::ErrorWithStatus200 => Ok(canned(200, "application/xml", S3_ERROR)),
            Fault::SlowFirstByte(delay) => {
                let answer = self.pass(request, Shape::Plain, connection).await;
                tokio::time::sleep(delay).await;
                answer
            }
            Fault::LostAnswer => {
                let answer = self.pass(request, Shape::Plain, connection.clone()).await?;
                let _ = answer.into_body().collect().await;
                connection.reset_at_end();
                Err(Cut)
            }
            Fault::DelayRequest(delay) => self.delay(request, delay, connection).await,
            Fault::DoubleRequest(delay) => self.double(request, delay, connection).await,
            Fault::Dribble(bytes, pause) => {
                self.pass(request, Shape::Dribble(bytes, pause), connection).await
            }
            Fault::StallAfter(after) => self.pass(request, Shape::Stall(after), connection).await,
            Fault::ResetAfter(after) => {
                self.pass(request, Shape::Cut { after, reset: true }, connection).await
            }
            Fault::ShortBody(after) => {
                self.pass(request, Shape::Cut { after, reset: false }, connection).await
            }
            Fault::CleanShortBody(after) => self.pass_short(request, after, connection).await,
            Fault::FlipBit(at) => self.pass(request, Shape::Flip(at), connection).await,
            Fault::WrongRange => {
                let mut answer = self.pass(request, Shape::Plain, connection).await?;
                if let Some(range) = answer.headers_mut().get_mut(header::CONTENT_RANGE) {
                    *range = HeaderValue::from_static("bytes 1000000000-1000000001/1000000002");
                }
                Ok(answer)
            }
            Fault::WholeForRange(bytes) | Fault::OtherBody(bytes) => {
                self.replace_body(request, bytes, connection).await
            }
            Fault::GzipHeader => {
                let mut answer = self.pass(request, Shape::Plain, connection).await?;
                answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                Ok(answer)
            }
        }
    }
}

impl State {
    fn strike(&self, seen: &Seen) -> Option<Fault> {
        self.rules.lock().unwrap().iter_mut().find_map(|rule| rule.strike(&seen.method, &seen.key))
    }

    async fn pass(
        &self,
        request: Request<Incoming>,
        shape: Shape,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        let answer = send(self.upstream, request).await?;
        Ok(answer.map(|body| deliver(body, shape, connection)))
    }

    async fn pass_short(
        &self,
        request: Request<Incoming>,
        after: u64,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        let answer = send(self.upstream, request).await?;
        let promised = answer
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let bytes = promised.map_or(after, |promised: u64| promised.min(after));
        let mut answer = answer.map(|body| deliver(body, Shape::End(bytes), connection));
        answer.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
        Ok(answer)
    }

    async fn replace_body(
        &self,
        request: Request<Incoming>,
        bytes: Bytes,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        let answer = self.pass(request, Shape::Plain, connection).await?;
        let (mut parts, _) = answer.into_parts();
        parts.status = http::StatusCode::OK;
        parts.headers.remove(header::CONTENT_RANGE);
        parts.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        Ok(Response::from_parts(parts, full(bytes)))
    }

    /// The request goes on by itself: the client may leave meanwhile.
    async fn delay(
        &self,
        request: Request<Incoming>,
        delay: Duration,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        let (upstream, request) = (self.upstream, whole(request).await?);
        let late = runtime().spawn(async move {
            tokio::time::sleep(delay).await;
            send(upstream, request).await
        });
        let answer = late.await.map_err(|_| Cut)??;
        Ok(answer.map(|body| deliver(body, Shape::Plain, connection)))
    }

    async fn double(
        &self,
        request: Request<Incoming>,
        delay: Duration,
        connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        let (upstream, request) = (self.upstream, whole(request).await?);
        let again = request.clone();
        runtime().spawn(async move {
            tokio::time::sleep(delay).await;
            send(upstream, again).await
        });
        let answer = send(upstream, request).await?;
        Ok(answer.map(|body| deliver(body, Shape::Plain, connection)))
    }
}

impl Seen {
    fn of(request: &Request<Incoming>) -> Self {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let path = request.uri().path().trim_start_matches('/');
        let key = path.split_once('/').map_or("", |(_, key)| key);
        let query = request.uri().query().unwrap_or_default();
        let listed = query.split('&').find_map(|field| field.strip_prefix("prefix="));
        let listing =
            query.contains("list-type=") || (request.method() == Method::GET && path.ends_with('/'));
        let key = decode(listed.unwrap_or(key));
        let range =
            request.headers().get(header::RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned);
        Self { method: request.method().clone(), key, listing, range }
    }
}

/// Sends a request as it is, on a connection of its own; an unreachable provider cuts the client off.
async fn send<B>(upstream: SocketAddr, request: Request<B>) -> Result<Response<Incoming>, Cut>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let (mut parts, body) = request.into_parts();
    remove_hop_headers(&mut parts.headers);
    let stream = TcpStream::connect(upstream).await.map_err(|_| Cut)?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Cut)?;
    runtime().spawn(connection);
    let mut answer = sender.send_request(Request::from_parts(parts, body)).await.map_err(|_| Cut)?;
    remove_hop_headers(answer.headers_mut());
    Ok(answer)
}

/// Receives the whole request.
async fn whole(request: Request<Incoming>) -> Result<Request<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| Cut)?.to_bytes();
    Ok(Request::from_parts(parts, Full::new(bytes)))
}

fn remove_hop_headers(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

fn canned(status: u16, content_type: &str, body: &'static str) -> Response<Body> {
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, content_type);
    answer.body(full(body)).expect("a plain answer")
}
