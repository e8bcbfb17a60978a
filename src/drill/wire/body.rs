//! Bodies of answers as a bad wire delivers them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::HOLD_LIMIT;
use super::loopback::{Body, Connection, Cut};

/// How a body is delivered.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// As it came.
    Plain,
    /// In pieces of so many bytes, with a pause before each.
    Dribble(usize, Duration),
    /// So many bytes, then silence.
    Stall(u64),
    /// So many bytes, then a cut connection: reset or closed.
    Cut {
        /// How many bytes are delivered.
        after: u64,
        /// Whether the cut is a reset.
        reset: bool,
    },
    /// So many bytes, then an orderly end.
    End(u64),
    /// One bit of the byte at this offset is flipped.
    Flip(u64),
    /// These bytes in its place.
    Instead(Bytes),
    /// As many random bytes, from this seed.
    Random(u64),
    /// Without its first byte, and a zero behind its last.
    Shift,
    /// With zeros around it.
    Pad {
        /// How many zeros come before it.
        before: u64,
        /// How many zeros come behind it.
        after: u64,
    },
}

/// How long written bytes get to leave before the connection is cut behind them.
const FLUSH: Duration = Duration::from_millis(20);
/// Zeros to be delivered, as many as are sent at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The state of a body in delivery.
struct Delivery {
    /// The provider's body until its end.
    from: Option<Incoming>,
    shape: Shape,
    connection: Connection,
    /// Bytes that came and were not delivered yet.
    rest: Bytes,
    delivered: u64,
    /// Bytes of the provider's body that are left out.
    skip: usize,
    /// Zeros to be delivered before the provider's body, and behind it.
    zeros: [u64; 2],
    random: Option<StdRng>,
    counter: Arc<AtomicU64>,
}

/// Delivers `from` in `shape`, and counts the bytes.
pub(super) fn deliver(from: Incoming, shape: Shape, connection: Connection, counter: Arc<AtomicU64>) -> Body {
    let mut delivery = Delivery {
        from: Some(from),
        shape,
        connection,
        rest: Bytes::new(),
        delivered: 0,
        skip: 0,
        zeros: [0, 0],
        random: None,
        counter,
    };
    match &delivery.shape {
        Shape::Instead(bytes) => (delivery.from, delivery.rest) = (None, bytes.clone()),
        Shape::Random(seed) => delivery.random = Some(StdRng::seed_from_u64(*seed)),
        Shape::Shift => (delivery.skip, delivery.zeros) = (1, [0, 1]),
        Shape::Pad { before, after } => delivery.zeros = [*before, *after],
        Shape::Plain
        | Shape::Dribble(..)
        | Shape::Stall(_)
        | Shape::Cut { .. }
        | Shape::End(_)
        | Shape::Flip(_) => {}
    }
    let frames = stream::unfold(Some(delivery), |delivery| async move {
        let mut delivery = delivery?;
        match delivery.next().await {
            Some(Ok(bytes)) => Some((Ok(Frame::data(bytes)), Some(delivery))),
            Some(Err(cut)) => Some((Err(cut), None)),
            None => None,
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Delivery {
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        let bytes_max = match self.limit().await {
            Ok(0) => return None,
            Ok(bytes_max) => bytes_max,
            Err(cut) => return Some(Err(cut)),
        };
        match self.fill().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(cut) => return Some(Err(cut)),
        }
        let bytes = usize::try_from(bytes_max).map_or(self.rest.len(), |max| max.min(self.rest.len()));
        let piece = self.rest.split_to(bytes);
        let piece = self.change(piece);
        self.delivered += bytes as u64;
        self.counter.fetch_add(bytes as u64, Ordering::Relaxed);
        Some(Ok(piece))
    }

    /// Gets bytes to deliver; `false` at the end.
    async fn fill(&mut self) -> Result<bool, Cut> {
        while self.rest.is_empty() {
            let [before, behind] = &mut self.zeros;
            if *before > 0 {
                self.rest = some_zeros(before);
            } else if let Some(from) = &mut self.from {
                match from.frame().await {
                    Some(frame) => {
                        let mut bytes = frame.map_err(|_| Cut)?.into_data().unwrap_or_default();
                        let skipped = self.skip.min(bytes.len());
                        self.skip -= skipped;
                        self.rest = bytes.split_off(skipped);
                    }
                    None => self.from = None,
                }
            } else if *behind > 0 {
                self.rest = some_zeros(behind);
            } else {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn change(&mut self, piece: Bytes) -> Bytes {
        if let Some(random) = &mut self.random {
            let mut bytes = vec![0; piece.len()];
            random.fill_bytes(&mut bytes);
            return bytes.into();
        }
        let Shape::Flip(at) = self.shape else { return piece };
        let index = at.checked_sub(self.delivered).and_then(|index| usize::try_from(index).ok());
        let Some(index) = index.filter(|index| *index < piece.len()) else { return piece };
        let mut flipped = piece.to_vec();
        flipped[index] ^= 1;
        flipped.into()
    }

    /// Returns how many bytes may be delivered next; 0 ends the body.
    async fn limit(&self) -> Result<u64, Cut> {
        match self.shape {
            Shape::Plain
            | Shape::Flip(_)
            | Shape::Instead(_)
            | Shape::Random(_)
            | Shape::Shift
            | Shape::Pad { .. } => Ok(u64::MAX),
            Shape::Dribble(bytes, pause) => {
                tokio::time::sleep(pause).await;
                Ok(bytes as u64)
            }
            Shape::End(after) => Ok(after - self.delivered),
            Shape::Stall(after) if self.delivered == after => {
                tokio::time::sleep(HOLD_LIMIT).await;
                Err(Cut)
            }
            Shape::Cut { after, reset } if self.delivered == after => {
                if reset {
                    self.connection.reset_at_end();
                }
                tokio::time::sleep(FLUSH).await;
                Err(Cut)
            }
            Shape::Stall(after) | Shape::Cut { after, .. } => Ok(after - self.delivered),
        }
    }
}

fn some_zeros(left: &mut u64) -> Bytes {
    let bytes = usize::try_from(*left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
    *left -= bytes as u64;
    Bytes::from_static(&ZEROS[..bytes])
}
