//! A provider for tests of the wire, and a client that sees what is on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Body, Connection, Cut, Handler, Loopback, Wire, full};
use crate::task::Tasks;

pub(super) const BODY: &[u8] = b"0123456789abcdef";
/// How long the wire may say nothing before that counts as silence.
pub(super) const SILENCE: Duration = Duration::from_millis(400);

/// A provider with one object of 16 bytes, which is also what it says to a `DESCRIBE`.
#[derive(Debug, Default)]
pub(super) struct Stub {
    pub(super) seen: Mutex<Vec<(Method, String, HeaderMap)>>,
    pub(super) written: AtomicUsize,
}

impl Handler for Stub {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        _connection: Connection,
    ) -> Result<Response<Body>, Cut> {
        let (parts, body) = request.into_parts();
        let ranged = parts.headers.get(RANGE).is_some_and(|range| range == "bytes=2-5");
        let mut answer = match parts.method {
            Method::GET if ranged => Response::new(full(&BODY[2..6])),
            Method::PUT | Method::DELETE => Response::new(full("")),
            _ => Response::new(full(BODY)),
        };
        if ranged {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            answer.headers_mut().insert(CONTENT_RANGE, "bytes 2-5/16".parse().unwrap());
        }
        if parts.method == Method::PUT && body.collect().await.is_ok() {
            self.written.fetch_add(1, Ordering::SeqCst);
        }
        self.seen.lock().push((parts.method, parts.uri.to_string(), parts.headers));
        Ok(answer)
    }
}

pub(super) struct Rig {
    pub(super) stub: Loopback<Stub>,
    pub(super) wire: Wire,
    pub(super) tasks: Tasks,
}

/// What came over the wire.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
    pub(super) end: &'static str,
}

impl Arrived {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Rig {
    pub(super) async fn new(seed: u64) -> Self {
        let tasks = Tasks::new();
        let stub = Loopback::open(Arc::new(Stub::default()), &tasks).unwrap();
        let wire = Wire::before(&stub.endpoint().parse().unwrap(), seed, &tasks).await.unwrap();
        Self { stub, wire, tasks }
    }

    pub(super) async fn ask(&self, method: &str, target: &str, fields: &str) -> Arrived {
        let host = self.stub.address();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
        exchange(self.wire.address(), head.as_bytes()).await
    }

    pub(super) async fn get(&self, fields: &str) -> Arrived {
        self.ask("GET", "/c/dir/file", fields).await
    }

    pub(super) fn targets(&self) -> Vec<String> {
        self.stub.handler().seen.lock().iter().map(|(_, target, _)| target.clone()).collect()
    }
}

/// Sends a request and reads until the connection ends, or is silent for a while.
pub(super) async fn exchange(address: SocketAddr, request: &[u8]) -> Arrived {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return Arrived { end: "refused", ..Arrived::default() };
    };
    stream.write_all(request).await.unwrap();
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    let end = loop {
        match tokio::time::timeout(SILENCE, stream.read(&mut chunk)).await {
            Ok(Ok(0)) => break "closed",
            Ok(Ok(read)) => bytes.extend_from_slice(&chunk[..read]),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => break "reset",
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => break "silent",
        }
    };
    let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Arrived { end, ..Arrived::default() };
    };
    let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut arrived = Arrived { status, head, body: bytes.split_off(at + 4), end };
    let promised = arrived.header("content-length").map(|length| length.parse::<usize>().unwrap());
    if end == "closed" && promised.is_none_or(|promised| promised == arrived.body.len()) {
        arrived.end = "ended";
    }
    arrived
}
