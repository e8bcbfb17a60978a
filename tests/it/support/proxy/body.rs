//! Bodies of answers as a bad wire delivers them.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::support::wire::{Body, Connection, Cut};

/// How a body is delivered.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
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
}

/// How long written bytes get to leave before the connection is cut behind them.
const FLUSH: Duration = Duration::from_millis(20);

/// The state of a body in delivery.
struct Delivery {
    from: Incoming,
    shape: Shape,
    connection: Connection,
    /// Bytes that came and were not delivered yet.
    rest: Bytes,
    delivered: u64,
}

/// Delivers `from` in `shape`.
pub fn deliver(from: Incoming, shape: Shape, connection: Connection) -> Body {
    let delivery = Delivery { from, shape, connection, rest: Bytes::new(), delivered: 0 };
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
            Some(Ok(0)) => return None,
            Some(Ok(bytes_max)) => bytes_max,
            Some(Err(cut)) => return Some(Err(cut)),
            None => u64::MAX,
        };
        while self.rest.is_empty() {
            match self.from.frame().await? {
                Ok(frame) => self.rest = frame.into_data().unwrap_or_default(),
                Err(_) => return Some(Err(Cut)),
            }
        }
        let bytes = usize::try_from(bytes_max).map_or(self.rest.len(), |max| max.min(self.rest.len()));
        let mut piece = self.rest.split_to(bytes);
        if let Shape::Flip(at) = self.shape
            && let Some(index) = at.checked_sub(self.delivered).filter(|index| *index < bytes as u64)
        {
            let mut flipped = piece.to_vec();
            flipped[index as usize] ^= 1;
            piece = flipped.into();
        }
        self.delivered += bytes as u64;
        Some(Ok(piece))
    }

    /// Returns how many bytes may be delivered next; 0 ends the body.
    async fn limit(&self) -> Option<Result<u64, Cut>> {
        match self.shape {
            Shape::Plain | Shape::Flip(_) => None,
            Shape::Dribble(bytes, pause) => {
                tokio::time::sleep(pause).await;
                Some(Ok(bytes as u64))
            }
            Shape::End(after) => Some(Ok(after - self.delivered)),
            Shape::Stall(after) if self.delivered == after => std::future::pending().await,
            Shape::Cut { after, reset } if self.delivered == after => {
                if reset {
                    self.connection.reset_at_end();
                }
                tokio::time::sleep(FLUSH).await;
                Some(Err(Cut))
            }
            Shape::Stall(after) | Shape::Cut { after, .. } => Some(Ok(after - self.delivered)),
        }
    }
}
