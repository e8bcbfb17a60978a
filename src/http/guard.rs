//! The guard: stands between the socket and the HTTP parser, and hands on one proper request at a time.
//!
//! The parser forgives what we must not (it drops a `Content-Length` beside `Transfer-Encoding`), answers
//! its own refusals with a bare status line, and its header deadline does nothing until the first byte came. So
//! this wrapper reads the framing itself (`framing`):
//!
//! 1. *Head.* Bytes are kept back until the head is complete and judged. The first byte has a deadline (the
//!    head's on a new connection, the idle one between requests), the rest of the head another.
//! 2. *Body.* Exactly the bytes of the body are handed on, whether counted or chunked.
//! 3. *Next.* The parser asks for more only once its response is written (it is told that clients may close
//!    their half, so it does not look whether they did). A pipelined request waits here until then: it can
//!    not be mistaken for a body, nor be refused over the answer to the one before.
//!
//! A refused head never reaches the parser: that one sees the end of the input, closes, and the guard writes
//! the answer before it shuts the socket down. While unread bytes are on their way it then reads and forgets
//! them for a moment, for a socket that is closed over unread bytes is reset, and the answer lost.
//!
//! Writes have a deadline too: a client that takes nothing for so long is cut off.
//!
//! The parser shuts the socket down only when all that it promised is written. A guard that is dropped before,
//! over a body that broke, a write that timed out or a stop, resets the connection: whoever reads to the end
//! must not take a part for the whole.
//!
//! It does not decode bodies, and it does not know what a good URL is.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

use super::framing::{self, BodyFraming, ChunkScanner, HEAD_BYTES_MAX, Refusal, Scan};

/// How much is read at once where the guard has to look at the bytes.
const READ_BYTES: usize = 16 * 1024;
/// How long a refused client may go on sending before the socket is closed over its bytes.
const LINGER: Duration = Duration::from_secs(5);

/// The deadlines of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// For a head, from its first byte; on a new connection from the start.
    pub(super) head: Duration,
    /// For the first byte of the next head.
    pub(super) idle: Duration,
    /// For progress in sending.
    pub(super) write: Duration,
}

/// Writes the answer to a refused head; the head is given as far as it came.
pub(super) type Answer = Arc<dyn Fn(Refusal, &[u8]) -> Bytes + Send + Sync>;

/// A socket behind its guard.
pub(super) struct Guarded {
    socket: TcpStream,
    deadlines: Deadlines,
    answer: Answer,
    phase: Phase,
    /// Bytes that were read and not yet handed on.
    incoming: BytesMut,
    /// How many of them may be handed on.
    granted: usize,
    /// Whether bytes may follow the last head that it did not announce: clients that upload without a length do so.
    may_go_on: bool,
    head_timer: HeadTimer,
    write_timer: Option<Pin<Box<Sleep>>>,
    closing: Closing,
}

#[derive(Debug)]
enum Phase {
    Head,
    Counted(u64),
    Chunked(ChunkScanner),
    /// Nothing more is handed on.
    Closed,
}

#[derive(Debug)]
enum HeadTimer {
    /// Not running; on a new connection the first byte has the head's deadline.
    Off {
        fresh: bool,
    },
    FirstByte(Pin<Box<Sleep>>),
    Rest(Pin<Box<Sleep>>),
}

#[derive(Debug)]
enum Closing {
    Open,
    Answering(Bytes),
    ShuttingDown,
    Lingering(Pin<Box<Sleep>>),
}

impl Guarded {
    /// Puts a guard before a new socket.
    pub(super) fn new(socket: TcpStream, deadlines: Deadlines, answer: Answer) -> Self {
        Self {
            socket,
            deadlines,
            answer,
            phase: Phase::Head,
            incoming: BytesMut::new(),
            granted: 0,
            may_go_on: false,
            head_timer: HeadTimer::Off { fresh: true },
            write_timer: None,
            closing: Closing::Open,
        }
    }

    /// Brings the head to its verdict; afterwards the phase is another one.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Empty lines before a request line are noise of old clients (RFC 9112, section 2.2).
            while self.incoming.starts_with(b"\r\n") {
                self.incoming.advance(2);
            }
            match framing::head_end(&self.incoming[..self.incoming.len().min(HEAD_BYTES_MAX)]) {
                Ok(Some(end)) => {
                    self.judge(end);
                    return Poll::Ready(Ok(()));
                }
                Ok(None) if self.incoming.len() >= HEAD_BYTES_MAX => {
                    self.refuse(Refusal::TooLarge("the head is larger than 16 KiB"));
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => {}
                Err(refusal) => {
                    self.refuse(refusal);
                    return Poll::Ready(Ok(()));
                }
            }
            match self.poll_fill(cx)? {
                Poll::Ready(0) if self.incoming.is_empty() => self.phase = Phase::Closed,
                Poll::Ready(0) => self.refuse(Refusal::Malformed("the head is incomplete")),
                Poll::Ready(_) => continue,
                Poll::Pending => {
                    ready!(self.poll_head_timer(cx));
                    if self.incoming.is_empty() {
                        self.phase = Phase::Closed;
                    } else {
                        self.refuse(Refusal::Timeout);
                    }
                }
            }
            return Poll::Ready(Ok(()));
        }
    }

    fn judge(&mut self, end: usize) {
        match framing::judge(&self.incoming[..end]) {
            Ok(body) => {
                self.granted = end;
                let is_upload = [b"PUT ".as_slice(), b"POST ", b"PATCH "]
                    .iter()
                    .any(|method| self.incoming.starts_with(method));
                self.may_go_on = is_upload && body == BodyFraming::Length(0);
                self.head_timer = HeadTimer::Off { fresh: false };
                self.phase = match body {
                    BodyFraming::Length(bytes) => Phase::Counted(bytes),
                    BodyFraming::Chunked => Phase::Chunked(ChunkScanner::new()),
                };
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.closing = Closing::Answering((self.answer)(refusal, &self.incoming));
        self.phase = Phase::Closed;
    }

    fn poll_head_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Deadlines { head, idle, .. } = self.deadlines;
        match (&self.head_timer, self.incoming.is_empty()) {
            (HeadTimer::Off { fresh }, true) => {
                let patience = if *fresh { head.min(idle) } else { idle };
                self.head_timer = HeadTimer::FirstByte(Box::pin(tokio::time::sleep(patience)));
            }
            (HeadTimer::Off { .. } | HeadTimer::FirstByte(_), false) => {
                self.head_timer = HeadTimer::Rest(Box::pin(tokio::time::sleep(head)));
            }
            (HeadTimer::FirstByte(_), true) | (HeadTimer::Rest(_), _) => {}
        }
        match &mut self.head_timer {
            HeadTimer::FirstByte(sleep) | HeadTimer::Rest(sleep) => sleep.as_mut().poll(cx),
            HeadTimer::Off { .. } => Poll::Pending,
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Result<Poll<usize>, io::Error> {
        self.incoming.reserve(READ_BYTES);
        match poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.incoming) {
            Poll::Ready(read) => read.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Grants what belongs to the body of what was read; tells whether the message ended.
    fn grant_body(&mut self) {
        match &mut self.phase {
            Phase::Counted(left) => {
                let bytes = usize::try_from(*left).unwrap_or(usize::MAX).min(self.incoming.len());
                *left -= bytes as u64;
                self.granted = bytes;
            }
            Phase::Chunked(scanner) => match scanner.scan(&self.incoming) {
                Scan::More => self.granted = self.incoming.len(),
                Scan::End(bytes) => {
                    self.granted = bytes;
                    self.phase = Phase::Head;
                }
                // The parser gets the end of the input where the chunking breaks, and calls the body broken.
                Scan::Broken(bytes) => {
                    self.granted = bytes;
                    self.phase = Phase::Closed;
                }
            },
            Phase::Head | Phase::Closed => {}
        }
    }

    fn poll_write_timer(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let patience = self.deadlines.write;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(cx).map(|()| io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing"))
    }

    /// Turns "nothing written" into an error once it lasted too long.
    fn timed<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(result) => {
                self.write_timer = None;
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_write_timer(cx).map(Err),
        }
    }

    /// Tells whether the client may still be sending something that nobody will read.
    fn has_unread(&self) -> bool {
        match self.phase {
            Phase::Counted(1..) | Phase::Chunked(_) => true,
            Phase::Counted(0) | Phase::Head => self.may_go_on || !self.incoming.is_empty(),
            Phase::Closed => !self.incoming.is_empty(),
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.granted > 0 {
                let bytes = this.granted.min(out.remaining());
                out.put_slice(&this.incoming[..bytes]);
                this.incoming.advance(bytes);
                this.granted -= bytes;
                return Poll::Ready(Ok(()));
            }
            match &mut this.phase {
                Phase::Closed => return Poll::Ready(Ok(())),
                Phase::Counted(0) => this.phase = Phase::Head,
                Phase::Head => ready!(this.poll_head(cx))?,
                // The quick way for large bodies: straight into the parser's buffer where it cannot overshoot.
                Phase::Counted(left) if this.incoming.is_empty() && out.remaining() as u64 <= *left => {
                    let before = out.filled().len();
                    ready!(Pin::new(&mut this.socket).poll_read(cx, out))?;
                    *left -= (out.filled().len() - before) as u64;
                    return Poll::Ready(Ok(()));
                }
                Phase::Counted(_) | Phase::Chunked(_) => {
                    if this.incoming.is_empty() && ready!(this.poll_fill(cx)?) == 0 {
                        this.phase = Phase::Closed;
                        return Poll::Ready(Ok(()));
                    }
                    this.grant_body();
                }
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.timed(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.timed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.timed(cx, flushed)
    }

    /// Answers a refused head, shuts the socket down, and takes what is still on its way.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.closing {
                Closing::Open => this.closing = Closing::ShuttingDown,
                Closing::Answering(answer) if answer.is_empty() => this.closing = Closing::ShuttingDown,
                Closing::Answering(answer) => {
                    let written = Pin::new(&mut this.socket).poll_write(cx, answer);
                    if let Poll::Ready(Ok(bytes)) = written {
                        answer.advance(bytes);
                    }
                    ready!(this.timed(cx, written))?;
                }
                Closing::ShuttingDown => {
                    ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
                    if !this.has_unread() {
                        return Poll::Ready(Ok(()));
                    }
                    this.closing = Closing::Lingering(Box::pin(tokio::time::sleep(LINGER)));
                }
                Closing::Lingering(sleep) => {
                    if sleep.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Ok(()));
                    }
                    this.incoming.clear();
                    if ready!(this.poll_fill(cx)?) == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl Drop for Guarded {
    /// Resets a connection that was not ended in order.
    fn drop(&mut self) {
        if matches!(self.closing, Closing::Open | Closing::Answering(_)) {
            // A socket that cannot be told so is gone already.
            let _ = self.socket.set_zero_linger();
        }
    }
}
