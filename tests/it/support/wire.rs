//! A loopback HTTP server that can vanish, come back on its port, and break connections in every way.
//!
//! The emulator and the fault proxy both stand on it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{ports, runtime};

/// The body of an answer of the kit's servers.
pub type Body = UnsyncBoxBody<Bytes, Cut>;

/// Says that the connection is to end here, in mid-message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is cut on purpose")]
pub struct Cut;

/// What stands behind a [`Wire`].
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, or cuts its connection.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> impl Future<Output = Result<Response<Body>, Cut>> + Send;
}

/// The connection that a request came on.
#[derive(Debug, Clone, Default)]
pub struct Connection(Arc<AtomicBool>);

impl Connection {
    /// Makes the end of the connection a reset (RST) instead of a clean close.
    pub fn reset_at_end(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A listening handler.
#[derive(Debug)]
pub struct Wire<H> {
    handler: Arc<H>,
    port: u16,
    serving: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl<H: Handler> Wire<H> {
    /// Listens on a free port.
    pub async fn open(handler: Arc<H>) -> Self {
        let [port] = ports::free();
        let wire = Self { handler, port, serving: tokio::sync::Mutex::new(None) };
        wire.restore().await;
        wire
    }

    /// Returns what stands behind.
    pub fn handler(&self) -> &Arc<H> {
        &self.handler
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Closes the listener and every connection: from now on connections are refused.
    pub async fn refuse(&self) {
        if let Some(serving) = self.serving.lock().await.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Listens again on the same port.
    pub async fn restore(&self) {
        let mut serving = self.serving.lock().await;
        if serving.is_none() {
            let (port, handler) = (self.port, self.handler.clone());
            let bound = runtime().spawn(async move { TcpListener::bind(("127.0.0.1", port)).await });
            let listener = bound.await.expect("the kit's runtime runs").expect("the port is ours");
            *serving = Some(runtime().spawn(serve(listener, handler)));
        }
    }
}

impl<H> Drop for Wire<H> {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.get_mut().take() {
            serving.abort();
        }
    }
}

/// Returns a whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Serves until it is aborted, which closes every connection as well: they live in its set.
async fn serve<H: Handler>(listener: TcpListener, handler: Arc<H>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve_connection(stream, handler.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection<H: Handler>(stream: TcpStream, handler: Arc<H>) {
    let _ = stream.set_nodelay(true);
    let connection = Connection::default();
    let socket = Socket { stream, connection: connection.clone() };
    let service = service_fn(move |request| handler.clone().handle(request, connection.clone()));
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), service);
    // A connection that ends badly was cut on purpose, or its client has gone.
    let _ = serving.await;
}

/// A stream that ends with a reset when it is told to.
struct Socket {
    stream: TcpStream,
    connection: Connection,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.0.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.0.load(Ordering::SeqCst) {
            // A reset must not be preceded by an orderly end.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
