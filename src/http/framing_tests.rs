use proptest::prelude::*;

use super::*;

fn head(lines: &str) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).into_bytes()
}

fn judge_lines(lines: &str) -> Result<BodyFraming, Refusal> {
    judge(&head(lines))
}

#[test]
fn proper_heads_pass_with_their_framing() {
    use BodyFraming::{Chunked, Length};
    let table = [
        ("GET / HTTP/1.1\nHost: x", Length(0)),
        ("GET / HTTP/1.0", Length(0)),
        ("GET http://x/a?b=c HTTP/1.1\nHost: x", Length(0)),
        ("OPTIONS * HTTP/1.1\nHost: x", Length(0)),
        ("CONNECT x:80 HTTP/1.1\nHost: x", Length(0)),
        ("PUT /a HTTP/1.1\nHost: x\nContent-Length: 7", Length(7)),
        ("PUT /a HTTP/1.1\nHost:\nContent-Length:   0  ", Length(0)),
        ("PUT /a HTTP/1.1\nHost: x\nTransfer-Encoding: chunked", Chunked),
        ("PUT /a HTTP/1.1\nHost: x\nTRANSFER-ENCODING: Chunked", Chunked),
        ("BREW /a HTTP/1.1\nHost: x", Length(0)),
    ];
    for (lines, framing) in table {
        assert_eq!(judge_lines(lines), Ok(framing), "{lines}");
    }
}

#[test]
fn heads_that_can_be_read_in_two_ways_are_refused() {
    let table = [
        "PUT /a HTTP/1.1\nHost: x\nContent-Length: 3\nTransfer-Encoding: chunked",
        "PUT /a HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nContent-Length: 3",
        "PUT /a HTTP/1.1\nHost: x\nContent-Length: 3\nContent-Length: 4",
        "PUT /a HTTP/1.1\nHost: x\nContent-Length: 3\nContent-Length: 3",
        "PUT /a HTTP/1.1\nHost: x\nContent-Length: 3, 3",
        "PUT /a HTTP/1.1\nHost: x\nContent-Length: +3",
        "PUT /a HTTP/1.1\nHost: x\nContent-Length: 3a",
        "PUT /a HTTP/1.1\nHost: x\nContent-Length: -1",
        "PUT /a HTTP/1.1\nHost: x\nContent-Length:",
        "PUT /a HTTP/1.1\nHost: x\nContent-Length: 18446744073709551616",
        "PUT /a HTTP/1.0\nTransfer-Encoding: chunked",
        "PUT /a HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked",
        "PUT /a HTTP/1.1\nHost: x\nTransfer-Encoding: chunked, chunked",
        "PUT /a HTTP/1.1\nHost: x\nTransfer-Encoding: chunked, gzip",
        "PUT /a HTTP/1.1\nHost: x\nTransfer-Encoding: identity",
        "PUT /a HTTP/1.1\nHost: x\nTransfer-Encoding: xchunked",
        "PUT /a HTTP/1.1\nHost: x\nTransfer-Encoding:",
        "PUT /a HTTP/1.1\nHost: x\nContent-Length : 3",
        "PUT /a HTTP/1.1\nHost: x\n Content-Length: 3",
        "PUT /a HTTP/1.1\nHost: x\nX: a\n folded",
        "PUT /a HTTP/1.1\nHost: x\nX\u{0}: a",
        "PUT /a HTTP/1.1\nHost: x\nX: a\u{0}",
        "GET /a HTTP/1.1",
        "GET /a HTTP/1.1\nHost: x\nHost: y",
        "GET /a HTTP/1.1\nHost: x y",
        "GET /a#b HTTP/1.1\nHost: x",
        "GET a HTTP/1.1\nHost: x",
        "GET * HTTP/1.1\nHost: x",
        "GET  /a HTTP/1.1\nHost: x",
        "GET /a b HTTP/1.1\nHost: x",
        "GET /a HTTP/2.0\nHost: x",
        "GET /a HTTP/1.1x\nHost: x",
        "GET /a",
        "G@T /a HTTP/1.1\nHost: x",
        "PRI * HTTP/2.0",
    ];
    for lines in table {
        let verdict = judge_lines(lines);
        assert!(matches!(verdict, Err(Refusal::Malformed(_))), "{lines}: {verdict:?}");
    }
    // A bare carriage return is none of the line ends that the table can spell.
    let verdict = judge(b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n");
    assert!(matches!(verdict, Err(Refusal::Malformed(_))), "{verdict:?}");
}

#[test]
fn other_codings_are_proper_but_not_offered() {
    let verdict = judge_lines("PUT /a HTTP/1.1\nHost: x\nTransfer-Encoding: gzip, chunked");
    assert_eq!(verdict, Err(Refusal::UnknownCoding));
}

#[test]
fn sixty_four_header_fields_pass_and_one_more_does_not() {
    let lines = |count: usize| format!("GET / HTTP/1.1\nHost: x{}", "\nX: y".repeat(count - 1));
    assert_eq!(judge_lines(&lines(64)), Ok(BodyFraming::Length(0)));
    assert!(matches!(judge_lines(&lines(65)), Err(Refusal::TooLarge(_))));
}

#[test]
fn the_end_of_a_head_is_found_and_bare_line_feeds_are_refused() {
    assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nbody\n"), Ok(Some(27)));
    assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: x\r\n\r"), Ok(None));
    assert_eq!(head_end(b""), Ok(None));
    for bytes in [b"GET / HTTP/1.1\n".as_slice(), b"GET / HTTP/1.1\r\nHost: x\n\r\n", b"\n"] {
        assert!(head_end(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn chunked_bodies_are_followed_to_their_end() {
    let bodies = [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n0;last\r\nX: y\r\nZ: w\r\n\r\n",
        "3 ; a=\"b\"\r\n\r\n\r\r\n000\r\n\r\n",
    ];
    for body in bodies {
        let mut scanner = ChunkScanner::new();
        let followed = format!("{body}GET /");
        assert_eq!(scanner.scan(followed.as_bytes()), Scan::End(body.len()), "{body:?}");
        // The same, byte by byte.
        let mut scanner = ChunkScanner::new();
        let (last, first) = body.as_bytes().split_last().unwrap();
        for byte in first {
            assert_eq!(scanner.scan(&[*byte]), Scan::More, "{body:?}");
        }
        assert_eq!(scanner.scan(&[*last]), Scan::End(1), "{body:?}");
    }
}

#[test]
fn broken_chunking_is_found_where_it_breaks() {
    let line = format!("1;{}", "x".repeat(CHUNK_LINE_BYTES_MAX));
    let trailers = format!("0\r\n{}", "X: y\r\n".repeat(TRAILER_BYTES_MAX));
    let table = [
        ("\r\n", 0),
        ("g\r\n", 0),
        ("-1\r\n", 0),
        ("0x1\r\n", 1),
        ("1\n", 1),
        ("1;a\nb", 3),
        ("1\ra", 2),
        ("3\r\nabcd", 6),
        ("3\r\nabc\n", 6),
        ("0\r\n\n", 3),
        ("0\r\nX: y\n", 7),
        ("1111111111111111\r\n", 15),
        (line.as_str(), CHUNK_LINE_BYTES_MAX),
    ];
    for (body, at) in table {
        assert_eq!(ChunkScanner::new().scan(body.as_bytes()), Scan::Broken(at), "{body:.40}");
    }
    assert!(matches!(ChunkScanner::new().scan(trailers.as_bytes()), Scan::Broken(_)));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = head_end(&bytes);
        let _ = judge(&bytes);
        let _ = ChunkScanner::new().scan(&bytes);
    }

    #[test]
    fn any_split_of_a_chunked_body_gives_the_same_end(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..5),
        cut: prop::sample::Index,
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let cut = cut.index(body.len());
        let mut scanner = ChunkScanner::new();
        prop_assert_eq!(scanner.scan(&body[..cut]), Scan::More);
        prop_assert_eq!(scanner.scan(&body[cut..]), Scan::End(body.len() - cut));
    }
}
