//! Bodies of answers: bounded where they are kept, exact where they stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};

use super::Fault;

/// How long a body may stand still.
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// Reads a body whole, refusing more than `bytes_max`.
pub(crate) async fn bounded(
    mut body: impl Stream<Item = Result<Bytes, Fault>> + Unpin,
    bytes_max: usize,
) -> Result<Bytes, Fault> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.try_next().await? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(Fault::protocol(format!("an answer of more than {bytes_max} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Reads the first `bytes_max` bytes of a body, or as many as come: the story of a failed request is
/// better told in part than replaced by a second failure.
pub(crate) async fn head_of(
    mut body: impl Stream<Item = Result<Bytes, Fault>> + Unpin,
    bytes_max: usize,
) -> Bytes {
    let mut bytes = BytesMut::new();
    while let Some(Ok(chunk)) = body.next().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(bytes_max - bytes.len())]);
        if bytes.len() == bytes_max {
            break;
        }
    }
    bytes.freeze()
}

/// Passes on a body of exactly `bytes`; a shorter, longer or stalled one ends in a fault.
pub(crate) fn exact(
    body: BoxStream<'static, Result<Bytes, Fault>>,
    bytes: u64,
) -> BoxStream<'static, Result<Bytes, Fault>> {
    stream::try_unfold((body, bytes), |(mut body, left)| async move {
        let next = tokio::time::timeout(STALL_LIMIT, body.try_next());
        let Ok(chunk) = next.await else {
            return Err(Fault::new(
                crate::provider::ErrorKind::Timeout,
                format!("the body stood still for {STALL_LIMIT:?}"),
            ));
        };
        match chunk? {
            Some(chunk) if chunk.len() as u64 > left => Err(Fault::protocol("the body is too long")),
            Some(chunk) => {
                let left = left - chunk.len() as u64;
                Ok(Some((chunk, (body, left))))
            }
            None if left > 0 => Err(Fault::protocol(format!("the body ended {left} bytes early"))),
            None => Ok(None),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ErrorKind;

    fn body(chunks: &[&'static str]) -> BoxStream<'static, Result<Bytes, Fault>> {
        stream::iter(chunks.iter().map(|chunk| Ok(Bytes::from(*chunk))).collect::<Vec<_>>()).boxed()
    }

    #[tokio::test]
    async fn only_bodies_of_the_right_length_end_cleanly() {
        for (chunks, bytes, good) in [
            (["ab", "cd"].as_slice(), 4, true),
            (&["ab", "cd"], 5, false),
            (&["ab", "cd"], 3, false),
            (&[], 0, true),
            (&["a"], 0, false),
        ] {
            let read: Result<Vec<_>, _> = exact(body(chunks), bytes).try_collect().await;
            assert_eq!(read.is_ok(), good, "{chunks:?} as {bytes}");
            assert!(read.is_ok() || read.unwrap_err().kind == ErrorKind::Protocol);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_a_timeout() {
        let stalled = body(&["ab"]).chain(stream::pending()).boxed();
        let read: Result<Vec<_>, _> = exact(stalled, 4).try_collect().await;
        assert_eq!(read.unwrap_err().kind, ErrorKind::Timeout);
    }

    #[tokio::test]
    async fn kept_bodies_are_bounded() {
        assert_eq!(bounded(body(&["ab", "cd"]), 4).await.unwrap(), "abcd");
        assert!(bounded(body(&["ab", "cd"]), 3).await.is_err());
        assert_eq!(head_of(body(&["ab", "cd"]), 3).await, "abc");
        let broken = body(&["ab"]).chain(stream::iter([Err(Fault::protocol("x"))])).boxed();
        assert_eq!(head_of(broken, 3).await, "ab");
    }
}
