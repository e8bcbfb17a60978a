//! What is no proper request, byte by byte: how it is answered, and that nothing behind it is taken for one.

use super::*;

#[tokio::test]
async fn broken_heads_are_answered_with_a_problem_and_the_connection_is_closed() {
    let server = start(settings(PATIENCE)).await;
    let fields = "X: y\r\n".repeat(64);
    let large = format!("X: {}\r\n", "y".repeat(17 * 1024));
    let table = [
        (
            "PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
                .into(),
            "400",
        ),
        ("PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc".into(), "400"),
        ("PUT /count HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), "400"),
        ("PUT /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(), "501"),
        ("GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\nHost: x\n\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\n".into(), "400"),
        ("GET / HTTP/1.1\r\n\r\n".into(), "400"),
        ("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".into(), "400"),
        ("\nPUT / HTTP/1.1\r\nHost: x\r\n\r\n".into(), "400"),
        (format!("PUT / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{large}\r\n"), "431"),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000)), "431"),
        ("\u{16}\u{3}\u{1}\u{2}\n".into(), "400"),
    ];
    for (request, status) in table {
        let answer = exchange(&server, request.as_bytes()).await;
        assert_problem(&answer, status);
        let outcome = answer.contains(r#""outcome":"not-committed""#);
        assert_eq!(outcome, request.trim_start().starts_with("PUT"), "{answer}");
    }
}

#[tokio::test]
async fn a_refused_write_says_that_it_did_not_happen_as_soon_as_its_method_is_known() {
    let server = start(settings(SHORT)).await;
    let table = [
        ("PUT", true),
        ("PUT /a HTTP/1.1\r\nHos", true),
        ("POST\t/a HTTP/1.1\r\n\r\n", true),
        ("\nDELETE /a HTTP/1.1\r\n\r\n", true),
        (" PUT /a HTTP/1.1\r\n\r\n", true),
        ("PUTS /a HTTP/1.1\r\n\r\n", false),
        ("GET /PUT HTTP/1.1\r\n\r\n", false),
        ("PU", false),
    ];
    for (request, is_write) in table {
        let answer = exchange(&server, request.as_bytes()).await;
        assert_eq!(answer.contains(r#""outcome":"not-committed""#), is_write, "{request:?}: {answer}");
    }
}

#[tokio::test]
async fn a_304_has_no_length_whatever_the_method() {
    let server = start(settings(PATIENCE)).await;
    for method in ["GET", "HEAD"] {
        let request = format!("{method} /same HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = exchange(&server, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 304") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.to_lowercase().contains("content-length"), "{answer}");
    }
}

#[tokio::test]
async fn what_follows_an_upload_without_framing_is_never_taken_for_a_request() {
    let server = start(settings(PATIENCE)).await;
    for method in ["PUT", "POST"] {
        let request =
            format!("{method} /refuse HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_problem(&exchange(&server, request.as_bytes()).await, "401");
    }
    // The body comes only after the answer: it is taken in, for a reset could cost the client that answer.
    let mut stream = connect(&server).await;
    stream.write_all(b"PUT /refuse HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_problem(&read_all(&mut stream).await, "401");
    for _ in 0..3 {
        stream.write_all(b"late body").await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_head_request_gets_no_body() {
    let server = start(settings(PATIENCE)).await;
    let answer = exchange(&server, b"HEAD / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_is_timed_out() {
    let server = start(settings(SHORT)).await;
    assert_problem(&exchange(&server, b"GET / HTTP/1.1\r\nHos").await, "408");
}

#[tokio::test]
async fn a_broken_request_behind_a_good_one_takes_nothing_from_its_answer() {
    let server = start(settings(PATIENCE)).await;
    let pipeline = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost : x\r\n\r\n";
    let answer = exchange(&server, pipeline).await;
    assert_eq!(statuses(&answer), ["200", "400"], "{answer}");
    assert!(answer.contains("hello"), "{answer}");
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_never_taken_for_a_request() {
    let server = start(settings(PATIENCE)).await;
    let smuggled = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000_000);
    // More than all buffers hold: the server must take it for the client to get as far as reading.
    let head = format!("PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", smuggled.len());
    let answer = exchange(&server, format!("{head}{smuggled}").as_bytes()).await;
    assert_problem(&answer, "401");
}

#[tokio::test]
async fn broken_chunking_breaks_the_body() {
    let server = start(settings(PATIENCE)).await;
    let head = "PUT /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["3\r\nabcd\r\n0\r\n\r\n", "zz\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n"] {
        let request = format!("{head}{body}GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_problem(&exchange(&server, request.as_bytes()).await, "400");
    }
}
