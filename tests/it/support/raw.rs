//! Requests byte by byte, for what no HTTP library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug)]
pub struct RawAnswer {
    /// The status code; 0 when the connection was closed without an answer.
    pub status: u16,
    /// Whether the gateway closed the connection.
    pub closed: bool,
}

/// Opens a connection to `endpoint`, `http://ADDRESS:PORT`.
pub async fn connect(endpoint: &str) -> TcpStream {
    TcpStream::connect(endpoint.trim_start_matches("http://")).await.expect("the gateway accepts")
}

/// Sends bytes and returns the first answer, and whether the connection was closed after it.
pub async fn exchange(endpoint: &str, request: &[u8]) -> RawAnswer {
    let mut stream = connect(endpoint).await;
    // The gateway may have refused and closed before all is sent.
    let _ = stream.write_all(request).await;
    let (mut bytes, mut closed) = (Vec::new(), false);
    while !closed && !is_whole(&bytes) {
        closed = read_some(&mut stream, &mut bytes, ANSWER_WITHIN).await == Some(0);
    }
    // A connection that stays open is silent now; one that is closed says so at once.
    closed = closed || read_some(&mut stream, &mut bytes, Duration::from_millis(300)).await == Some(0);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
    RawAnswer { status, closed }
}

/// Reads once; `Some(0)` at the end of the connection, orderly or not, `None` when nothing came in time.
async fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>, within: Duration) -> Option<usize> {
    let read = tokio::time::timeout(within, stream.read_buf(into)).await.ok()?;
    Some(read.unwrap_or(0))
}

/// Tells whether the head and the promised body are there; an answer without a length ends with its head.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    bytes.len() >= head.len() + 4 + length.unwrap_or(0)
}
