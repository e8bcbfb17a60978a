//! A loopback HTTP server that can vanish, fall silent, come back on its port, and break connections.
//!
//! Its port is its own from the start to the end: while nobody listens, a second socket that is bound and
//! never listens keeps it, so that no other program is given it.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::WireError;
use crate::task::Tasks;

/// How many connections are held at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// How many connections the kernel queues.
const BACKLOG: u32 = 1_024;
/// How long to wait before another try to listen or accept: the process is out of file descriptors.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long a change of [`Mode`] may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// How long a client may be idle: longer than clients keep idle connections, so that none is closed in the
/// moment in which it is used again.
const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Cut>;

/// Says that the connection is to end here, in mid-message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is cut on purpose")]
pub struct Cut;

/// What stands behind a [`Loopback`].
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, or cuts its connection.
    ///
    /// # Cancellation
    ///
    /// The future is dropped when the client leaves.
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

    fn is_reset(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// How the server treats its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It serves.
    Open,
    /// Connections are taken, and nothing on them is read or written.
    Silent,
    /// Connections are refused, and those that were there are reset.
    Refusing,
}

/// A handler behind a port of 127.0.0.1; dropping it closes everything.
pub struct Loopback<H> {
    handler: Arc<H>,
    address: SocketAddr,
    changes: mpsc::Sender<Change>,
}

/// A new mode, and who waits for it.
type Change = (Mode, oneshot::Sender<()>);

impl<H: Handler> Loopback<H> {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// The machine gives no port.
    pub fn open(handler: Arc<H>, tasks: &Tasks) -> Result<Self, WireError> {
        let kept = bind(0).map_err(WireError::Listen)?;
        let address = kept.local_addr().map_err(WireError::Listen)?;
        let listener = listen(address.port()).map_err(WireError::Listen)?;
        let (changes, changed) = mpsc::channel(1);
        let server = Server {
            handler: Arc::clone(&handler),
            tasks: tasks.clone(),
            port: address.port(),
            listener: Some(listener),
            connections: TaskTracker::new(),
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            mode: watch::Sender::new(Mode::Open),
            _kept: kept,
        };
        let stop = tasks.stop().clone();
        drop(tasks.spawn("loopback server", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = server.run(changed) => {}
            }
        }));
        Ok(Self { handler, address, changes })
    }

    /// Returns what stands behind.
    pub fn handler(&self) -> &Arc<H> {
        &self.handler
    }

    /// Returns the address, the same all the time.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses connections and resets (RST) those that are there; returns when all are gone.
    pub async fn refuse(&self) {
        self.change(Mode::Refusing).await;
    }

    /// Takes connections, and from now on neither reads nor writes on any.
    pub async fn silence(&self) {
        self.change(Mode::Silent).await;
    }

    /// Serves again, on the same port; what a silence held up goes on.
    pub async fn restore(&self) {
        self.change(Mode::Open).await;
    }

    async fn change(&self, mode: Mode) {
        let (done, changed) = oneshot::channel();
        let change = async {
            // Where nobody takes the change any more, the tasks were stopped and all is closed.
            if self.changes.send((mode, done)).await.is_ok() {
                let _ = changed.await;
            }
        };
        if tokio::time::timeout(CHANGE_LIMIT, change).await.is_err() {
            warn!(address = %self.address, ?mode, "a loopback server did not change in time");
        }
    }
}

impl<H> fmt::Debug for Loopback<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loopback").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Returns a whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// What serves; it ends when the changes do, and every connection with it.
struct Server<H> {
    handler: Arc<H>,
    tasks: Tasks,
    port: u16,
    listener: Option<TcpListener>,
    connections: TaskTracker,
    slots: Arc<Semaphore>,
    mode: watch::Sender<Mode>,
    /// Keeps the port while nobody listens on it.
    _kept: TcpSocket,
}

impl<H: Handler> Server<H> {
    async fn run(mut self, mut changes: mpsc::Receiver<Change>) {
        loop {
            tokio::select! {
                biased;
                change = changes.recv() => {
                    let Some((mode, done)) = change else { return };
                    self.enter(mode).await;
                    // Nobody may be waiting any more.
                    let _ = done.send(());
                }
                (stream, slot) = accept(self.listener.as_ref(), &self.slots) => {
                    let mode = self.mode.subscribe();
                    let serving = serve(stream, Arc::clone(&self.handler), mode, slot);
                    drop(self.tasks.spawn("loopback connection", self.connections.track_future(serving)));
                }
            }
        }
    }

    async fn enter(&mut self, mode: Mode) {
        self.mode.send_replace(mode);
        if mode == Mode::Refusing {
            self.listener = None;
            let connections = std::mem::take(&mut self.connections);
            connections.close();
            connections.wait().await;
        }
        while mode != Mode::Refusing && self.listener.is_none() {
            match listen(self.port) {
                Ok(listener) => self.listener = Some(listener),
                Err(error) => {
                    warn!(port = self.port, %error, "cannot listen again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

fn bind(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Several sockets of this process hold the port; connections go to the one that listens.
    socket.set_reuseport(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket)
}

fn listen(port: u16) -> io::Result<TcpListener> {
    bind(port)?.listen(BACKLOG)
}

/// Accepts the next client once there is a slot; without a listener there is none.
async fn accept(listener: Option<&TcpListener>, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let Some(listener) = listener else { return std::future::pending().await };
    let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
        // Nobody closes the semaphore.
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                debug!(%error, "cannot accept a connection");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Serves one connection while the mode is open, holds still in silence, and resets it at the end.
async fn serve<H: Handler>(
    stream: TcpStream,
    handler: Arc<H>,
    mut mode: watch::Receiver<Mode>,
    _slot: OwnedSemaphorePermit,
) {
    // A socket that cannot be told so works all the same.
    let _ = stream.set_nodelay(true);
    let connection = Connection::default();
    let socket = Socket { stream, connection: connection.clone() };
    let of_requests = connection.clone();
    let service = service_fn(move |request| Arc::clone(&handler).handle(request, of_requests.clone()));
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .serve_connection(TokioIo::new(socket), service);
    let mut serving = pin!(serving);
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Refusing {
            connection.reset_at_end();
            return;
        }
        tokio::select! {
            biased;
            changed = mode.changed() => if changed.is_err() {
                connection.reset_at_end();
                return;
            },
            served = serving.as_mut(), if now == Mode::Open => {
                if let Err(error) = served {
                    // It was cut on purpose, or its client has gone.
                    debug!(%error, "a connection ended");
                }
                return;
            }
        }
    }
}

/// A stream that ends with a reset when it is told to.
struct Socket {
    stream: TcpStream,
    connection: Connection,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.is_reset() {
            // Where it fails the connection is gone already.
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
        if self.connection.is_reset() {
            // A reset must not be preceded by an orderly end.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
