//! Raw bytes against the listener and its guard, with a small router behind.

use std::convert::Infallible;

use axum::extract::Request as AxumRequest;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response as AxumResponse};
use axum::routing::{any, put};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::*;
use crate::clock::Clock;
use crate::telemetry::Telemetry;

#[path = "listener_refusal_tests.rs"]
mod refusals;

/// Longer than anything here takes: a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Option<()>>,
    /// Told by the handler of `/held` when it began, and when the body of `/endless` was dropped.
    events: mpsc::UnboundedReceiver<&'static str>,
    release: Arc<Semaphore>,
}

/// Sends a word when it is dropped.
struct Told(mpsc::UnboundedSender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

fn settings(timeout: Duration) -> ServeSettings {
    ServeSettings {
        name: "test",
        connections_max: 1_000,
        header_timeout: timeout,
        idle_timeout: timeout,
        write_timeout: timeout,
        shutdown_grace: timeout,
        watch: Watch { telemetry: Telemetry::new(), clock: Clock::system() },
    }
}

async fn start(settings: ServeSettings) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, events) = mpsc::unbounded_channel();
    let release = Arc::new(Semaphore::new(0));
    let router = router(told, Arc::clone(&release), settings.watch.clone());
    let stop = CancellationToken::new();
    let tasks = Tasks::new();
    let (serving, stopping) = (tasks.clone(), stop.clone());
    let served =
        tasks.spawn("serve", async move { serve(listener, router, &serving, settings, stopping).await });
    Server { address, stop, served, events, release }
}

fn router(told: mpsc::UnboundedSender<&'static str>, release: Arc<Semaphore>, watch: Watch) -> Router {
    let held = told.clone();
    Router::new()
        .route("/", any(|| async { "hello" }))
        .route("/count", put(count))
        .route("/refuse", any(|| async { Problem::new(ProblemKind::Unauthorized, "no").into_response() }))
        .route("/same", any(|| async { StatusCode::NOT_MODIFIED }))
        .route("/slow", any(answer_slowly))
        .route("/panic", any(panic_at_once))
        .route("/broken", any(broken))
        .route("/endless", any(move || endless(Told(told.clone()))))
        .route("/held", any(move || hold(held.clone(), Arc::clone(&release))))
        .layer(from_fn_with_state(watch, layers::around))
}

async fn count(request: AxumRequest) -> AxumResponse {
    match axum::body::to_bytes(request.into_body(), usize::MAX).await {
        Ok(bytes) => format!("{} bytes", bytes.len()).into_response(),
        Err(_) => Problem::new(ProblemKind::IncompleteBody, "broken").into_response(),
    }
}

/// Takes longer than the short deadlines, which are for the client alone.
async fn answer_slowly() -> &'static str {
    tokio::time::sleep(SHORT * 3).await;
    "slow"
}

async fn panic_at_once() -> StatusCode {
    panic!("for the test")
}

async fn broken() -> AxumResponse {
    let chunks = [Ok(Bytes::from_static(b"12345")), Err(std::io::Error::other("a provider fell over"))];
    // What came before the fault is sent while the fault is waited for.
    let chunks = futures::stream::iter(chunks).then(|chunk| async {
        tokio::task::yield_now().await;
        chunk
    });
    ([("content-length", "10")], Body::from_stream(chunks)).into_response()
}

async fn endless(told: Told) -> AxumResponse {
    let chunks = futures::stream::repeat(Bytes::from(vec![0; 64 * 1024])).map(move |chunk| {
        let _held = &told;
        Ok::<_, Infallible>(chunk)
    });
    Body::from_stream(chunks).into_response()
}

async fn hold(told: mpsc::UnboundedSender<&'static str>, release: Arc<Semaphore>) -> &'static str {
    let _ = told.send("began");
    let _permit = release.acquire().await;
    "released"
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Sends bytes and returns everything that comes back until the server closes.
async fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server).await;
    stream.write_all(bytes).await.unwrap();
    read_all(&mut stream).await
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as much an end as a proper one.
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads to the end, and tells which error that was; `None` is a proper end.
async fn read_to_reset(stream: &mut TcpStream) -> (String, Option<std::io::ErrorKind>) {
    let mut answer = Vec::new();
    let end = within(stream.read_to_end(&mut answer)).await;
    (String::from_utf8_lossy(&answer).into_owned(), end.err().map(|error| error.kind()))
}

/// Reads until the answer ends in `end`, with the connection left open.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let read = within(stream.read_buf(&mut answer)).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    let starts = answer.match_indices("HTTP/1.1 ").map(|(at, start)| &answer[at + start.len()..]);
    starts.map(|rest| &rest[..3]).filter(|status| status.parse::<u16>().is_ok()).collect()
}

fn assert_problem(answer: &str, status: &str) {
    assert_eq!(statuses(answer), [status], "{answer}");
    let lower = answer.to_lowercase();
    for part in [
        "\r\nx-request-id: ",
        "\r\ndate: ",
        "application/problem+json",
        "\r\ncache-control: no-store",
        "\"request_id\":\"",
    ] {
        assert!(lower.contains(part), "{part} is missing in {answer}");
    }
    assert!(lower.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_silent_client_is_let_go_without_a_word() {
    let server = start(settings(SHORT)).await;
    assert_eq!(exchange(&server, b"").await, "");
}

#[tokio::test]
async fn an_idle_connection_is_let_go_after_its_answer() {
    let server = start(settings(SHORT)).await;
    let answer = exchange(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_slow_answer_does_not_count_as_an_idle_client() {
    let server = start(settings(SHORT)).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "slow").await.starts_with("HTTP/1.1 200"));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "hello").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte_after_empty_lines() {
    let server = start(settings(PATIENCE)).await;
    let mut stream = connect(&server).await;
    stream.set_nodelay(true).unwrap();
    for byte in b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert!(read_all(&mut stream).await.ends_with("hello"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(settings(PATIENCE)).await;
    let pipeline = "GET / HTTP/1.1\r\nHost: x\r\n\r\n\
                    PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\nGET /refuse HTTP/1.1\r\n\r\n..\
                    PUT /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                    5;a=b\r\n12345\r\n2\r\n\r\n\r\n0\r\nX: y\r\n\r\n\
                    GET /refuse HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(&server, pipeline.as_bytes()).await;
    assert_eq!(statuses(&answer), ["200", "200", "200", "401"], "{answer}");
    let at = |text| answer.find(text).unwrap();
    assert!(at("hello") < at("26 bytes") && at("26 bytes") < at("7 bytes"), "{answer}");
}

#[tokio::test]
async fn continue_is_said_only_when_the_body_is_wanted() {
    let server = start(settings(PATIENCE)).await;
    let head = |path| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
    };
    assert_problem(&exchange(&server, head("/refuse").as_bytes()).await, "401");
    let mut stream = connect(&server).await;
    stream.write_all(head("/count").as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    assert!(read_all(&mut stream).await.ends_with("3 bytes"));
}

#[tokio::test]
async fn old_and_half_closed_clients_get_their_answer() {
    let server = start(settings(PATIENCE)).await;
    let answer = exchange(&server, b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("200 OK") && answer.ends_with("hello"), "{answer}");
    let mut stream = connect(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(read_all(&mut stream).await.ends_with("hello"));
    let mut stream = connect(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHos").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_problem(&read_all(&mut stream).await, "400");
}

#[tokio::test]
async fn a_body_that_breaks_resets_the_connection() {
    let server = start(settings(PATIENCE)).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (answer, end) = read_to_reset(&mut stream).await;
    assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset), "{answer}");
    assert!(answer.contains("content-length: 10\r\n") && answer.ends_with("12345"), "{answer}");
}

#[tokio::test]
async fn a_panic_is_a_500_with_a_request_id() {
    let server = start(settings(PATIENCE)).await;
    let request = b"GET /panic HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_problem(&exchange(&server, request).await, "500");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let mut server = start(settings(SHORT)).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(within(server.events.recv()).await, Some("dropped"));
    assert_eq!(read_to_reset(&mut stream).await.1, Some(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn requests_in_flight_end_before_the_listener_does() {
    let mut server = start(settings(PATIENCE)).await;
    let mut idle = connect(&server).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(within(server.events.recv()).await, Some("began"));
    server.stop.cancel();
    assert_eq!(read_all(&mut idle).await, "");
    server.release.add_permits(1);
    assert!(read_all(&mut stream).await.ends_with("released"));
    assert!(within(server.served).await.is_ok());
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn requests_that_outlast_the_grace_are_cut_off() {
    let settings = ServeSettings { shutdown_grace: SHORT, ..settings(PATIENCE) };
    let mut server = start(settings).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(within(server.events.recv()).await, Some("began"));
    server.stop.cancel();
    assert!(within(server.served).await.is_ok());
    let cut = (String::new(), Some(std::io::ErrorKind::ConnectionReset));
    assert_eq!(read_to_reset(&mut stream).await, cut);
}
