use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http::header::HOST;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stub::{BODY, Rig, SILENCE, exchange};
use super::*;

fn once(fault: Fault) -> Rule {
    Rule::from(fault).times(1)
}

#[tokio::test]
async fn requests_pass_byte_for_byte_in_both_forms() {
    let rig = Rig::new(1).await;
    let (address, path) = (rig.stub.address(), "/c/a%2Fb%20c/../d//e?prefix=x%2f&y=%E2%82%AC+&z");
    for target in [path.to_owned(), format!("http://{address}{path}")] {
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: signed.example.com:81\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(rig.wire.address(), head.as_bytes()).await.body, BODY);
    }
    let seen = rig.stub.handler().seen.lock().clone();
    assert_eq!(seen.len(), 2);
    for (method, target, headers) in seen {
        assert_eq!((method, target.as_str()), (Method::GET, path));
        assert_eq!(headers[HOST], "signed.example.com:81");
        assert_eq!(
            headers.len(),
            1,
            "nothing is added, and what is between two ends stays there: {headers:?}"
        );
    }
}

#[tokio::test]
async fn the_wire_is_no_way_to_other_hosts() {
    let rig = Rig::new(1).await;
    let other = Rig::new(1).await;
    let target = format!("http://{}/c/k", other.stub.address());
    assert_eq!(rig.ask("GET", &target, "").await.status, 0);
    assert_eq!(rig.ask("CONNECT", &other.stub.address().to_string(), "").await.status, 405);
    assert_eq!(other.targets(), [""; 0]);
}

#[tokio::test]
async fn connections_to_the_provider_are_used_again() {
    let rig = Rig::new(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (accepted, to) = (Arc::new(AtomicUsize::new(0)), rig.stub.address());
    let (counter, tasks) = (Arc::clone(&accepted), rig.tasks.clone());
    drop(rig.tasks.spawn("front", async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(tasks.spawn("pipe", async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::io::copy_bidirectional(&mut near, &mut far).await.map(drop)
            }));
        }
    }));
    let wire = Wire::before(&front, 1, &rig.tasks).await.unwrap();
    let request = b"GET /c/dir/file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for _ in 0..50 {
        assert_eq!(exchange(wire.address(), request).await.body, BODY);
    }
    assert!(accepted.load(Ordering::SeqCst) <= 3, "{accepted:?} connections for 50 requests");
}

#[tokio::test]
async fn refusal_silence_and_return_are_on_the_wire() {
    let rig = Rig::new(1).await;
    let mut open = TcpStream::connect(rig.wire.address()).await.unwrap();
    let request = b"GET /c/dir/file HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut chunk = [0; 4_096];
    open.write_all(request).await.unwrap();
    assert!(open.read(&mut chunk).await.unwrap() > 0);

    rig.wire.silence().await;
    open.write_all(request).await.unwrap();
    assert!(
        tokio::time::timeout(SILENCE, open.read(&mut chunk)).await.is_err(),
        "an old connection is silent"
    );
    assert_eq!(rig.get("").await.end, "silent", "a new one is taken and never read");
    assert_eq!(rig.targets().len(), 1);
    rig.wire.restore().await;
    assert!(open.read(&mut chunk).await.unwrap() > 0, "what was held up goes on");

    rig.wire.refuse().await;
    assert_eq!(open.read(&mut chunk).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(rig.get("").await.end, "refused");
    // The port stays the wire's own.
    assert!(TcpListener::bind(rig.wire.address()).await.is_err());
    rig.wire.restore().await;
    assert_eq!(rig.get("").await.body, BODY);
    let address = rig.wire.address();
    drop(rig.wire);
    rig.tasks.shut_down(Duration::from_secs(5)).await;
    assert_eq!(exchange(address, request).await.end, "refused");
}

#[tokio::test]
async fn bodies_are_delivered_as_each_fault_says() {
    let rig = Rig::new(1).await;
    let flipped: Vec<u8> = BODY.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 9)).collect();
    let pause = Duration::from_millis(20);
    for (fault, body, end) in [
        (Fault::StallAfter(5), &BODY[..5], "silent"),
        (Fault::ResetAfter(6), &BODY[..6], "reset"),
        (Fault::ResetAfter(0), b"", "reset"),
        (Fault::ShortBody(7), &BODY[..7], "closed"),
        (Fault::CleanShortBody(8), &BODY[..8], "ended"),
        (Fault::Dribble(3, pause), BODY, "ended"),
        (Fault::FlipBit(9), &flipped, "ended"),
        (Fault::OtherBody(Bytes::from_static(b"another")), b"another", "ended"),
        (Fault::WholeForRange(Bytes::from_static(b"whole")), b"whole", "ended"),
        (Fault::GzipHeader, BODY, "ended"),
    ] {
        rig.wire.inject(once(fault.clone()));
        let struck = rig.wire.counts().struck;
        let arrived = rig.get("").await;
        assert_eq!((arrived.status, arrived.body.as_slice(), arrived.end), (200, body, end), "{fault:?}");
        assert_eq!(arrived.header("content-encoding"), matches!(fault, Fault::GzipHeader).then_some("gzip"));
        assert_eq!(rig.wire.counts().struck, struck + 1, "{fault:?}");
    }
    rig.wire.inject(once(Fault::WrongBody));
    let arrived = rig.get("").await;
    assert_eq!((arrived.body.len(), arrived.end), (BODY.len(), "ended"));
    assert_ne!(arrived.body, BODY);
}

#[tokio::test]
async fn random_places_are_those_of_the_seed_and_lie_inside() {
    let (mut flips, mut resets) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let rig = Rig::new(7).await;
        for _ in 0..20 {
            rig.wire.inject(once(Fault::FlipAnywhere));
            let body = rig.get("").await.body;
            let wrong: Vec<_> = (0..BODY.len()).filter(|at| body[*at] != BODY[*at]).collect();
            assert_eq!(wrong.len(), 1);
            flips.extend(wrong);
            rig.wire.inject(once(Fault::ResetAnywhere));
            let arrived = rig.get("").await;
            assert_eq!((arrived.end, arrived.body.as_slice()), ("reset", &BODY[..arrived.body.len()]));
            resets.push(arrived.body.len());
        }
    }
    for places in [flips, resets] {
        let (first, second) = places.split_at(20);
        assert_eq!(first, second, "the same seed, the same places");
        let different: std::collections::BTreeSet<_> = first.iter().collect();
        assert!(different.len() > 5, "{different:?}");
    }
}

#[tokio::test]
async fn ranges_are_answered_as_each_fault_says() {
    let rig = Rig::new(1).await;
    let padded = b"\0\x002345\0\0\0\0\0\0\0\0\0\0".as_slice();
    for (fault, status, body, range) in [
        (Fault::WrongRange, 206, b"2345".as_slice(), Some("bytes 1000000000-1000000001/1000000002")),
        (Fault::ShiftedRange, 206, b"345\0", Some("bytes 2-5/16")),
        (Fault::RangeIgnored, 200, padded, None),
        (Fault::WholeForRange(Bytes::from_static(BODY)), 200, BODY, None),
    ] {
        rig.wire.inject(once(fault.clone()));
        let arrived = rig.get("Range: bytes=2-5\r\n").await;
        assert_eq!(
            (arrived.status, arrived.body.as_slice(), arrived.end),
            (status, body, "ended"),
            "{fault:?}"
        );
        assert_eq!(arrived.header("content-range"), range, "{fault:?}");
    }
}

#[tokio::test]
async fn answers_that_a_fault_does_not_fit_are_left_alone() {
    let rig = Rig::new(1).await;
    for fault in [
        Fault::Dribble(1, Duration::from_secs(60)),
        Fault::StallAfter(0),
        Fault::ResetAfter(0),
        Fault::ResetAnywhere,
        Fault::ShortBody(0),
        Fault::CleanShortBody(0),
        Fault::FlipBit(0),
        Fault::FlipAnywhere,
        Fault::OtherBody(Bytes::from_static(b"other")),
        Fault::WrongBody,
        Fault::GzipHeader,
    ] {
        rig.wire.inject(fault.clone());
        for method in ["HEAD", "DELETE"] {
            let arrived = rig.ask(method, "/c/k", "").await;
            assert_eq!((arrived.status, arrived.header("content-encoding")), (200, None), "{fault:?}");
            assert!(["ended", "closed"].contains(&arrived.end), "{fault:?}: {}", arrived.end);
        }
        rig.wire.clear();
    }
    for fault in [
        Fault::WrongRange,
        Fault::ShiftedRange,
        Fault::RangeIgnored,
        Fault::ResetAfter(16),
        Fault::FlipBit(16),
        Fault::CleanShortBody(16),
    ] {
        rig.wire.inject(once(fault.clone()));
        let arrived = rig.get("").await;
        assert_eq!((arrived.status, arrived.body.as_slice(), arrived.end), (200, BODY, "ended"), "{fault:?}");
    }
    assert_eq!(rig.wire.counts().struck, 0);
}

#[tokio::test]
async fn answers_come_instead_of_the_provider() {
    let rig = Rig::new(1).await;
    let bunny = "AccessKey: k\r\n";
    for (fault, method, target, fields, status, part) in [
        (Fault::Status(418, "short"), "PUT", "/c/k", "", 418, "short"),
        (Fault::ApiError(503), "GET", "/c/k", "", 503, "<Code>SlowDown</Code>"),
        (Fault::ApiError(429), "GET", "/c/k", bunny, 429, "{\"HttpCode\":429"),
        (Fault::ApiError(404), "DELETE", "/c/k", bunny, 404, "\"Object Not Found\""),
        (Fault::ApiError(403), "PUT", "/c/k", "", 403, "<Code>AccessDenied</Code>"),
        (Fault::HtmlPage(200), "GET", "/c/k", "", 200, "<!DOCTYPE html>"),
        (Fault::HtmlPage(502), "GET", "/c?list-type=2", "", 502, "<!DOCTYPE html>"),
        (Fault::ErrorWithStatus200, "PUT", "/c/k", "", 200, "<Code>InternalError</Code>"),
        (Fault::Wiped, "GET", "/c/k", "", 404, "<Code>NoSuchKey</Code>"),
        (Fault::Wiped, "GET", "/c?list-type=2&prefix=a%26/", "", 200, "<Prefix>a&amp;/</Prefix>"),
        (Fault::Wiped, "GET", "/c/dir/", bunny, 200, "[]"),
        (Fault::Wiped, "DESCRIBE", "/c/k", bunny, 404, "\"Object Not Found\""),
        (Fault::NoContainer, "PUT", "/c/k", "", 404, "<Code>NoSuchBucket</Code>"),
        (Fault::NoContainer, "GET", "/c/dir/", bunny, 401, "\"Unauthorized\""),
    ] {
        rig.wire.inject(once(fault.clone()));
        let arrived = rig.ask(method, target, fields).await;
        assert_eq!((arrived.status, arrived.end), (status, "ended"), "{fault:?}");
        assert!(String::from_utf8_lossy(&arrived.body).contains(part), "{fault:?}: {arrived:?}");
        let waits = [429, 503].contains(&status);
        assert_eq!(arrived.header("retry-after"), waits.then_some("1"), "{fault:?}");
    }
    assert_eq!(rig.targets(), [""; 0], "the provider was not asked");
    rig.wire.inject(once(Fault::Wiped));
    assert_eq!(rig.ask("PUT", "/c/k", "Content-Length: 0\r\n").await.status, 200);
    assert_eq!(rig.stub.handler().written.load(Ordering::SeqCst), 1, "an empty container is written to");
}

#[tokio::test]
async fn any_request_can_be_lost_held_or_slow() {
    let rig = Rig::new(1).await;
    rig.wire.inject(once(Fault::BlackHole));
    assert_eq!(rig.ask("DELETE", "/c/k", "").await.end, "silent");
    assert_eq!(rig.targets(), [""; 0]);
    rig.wire.inject(once(Fault::LostAnswer));
    let lost = rig.ask("PUT", "/c/k", "Content-Length: 0\r\n").await;
    assert_eq!((lost.end, lost.status), ("reset", 0));
    assert_eq!(rig.stub.handler().written.load(Ordering::SeqCst), 1, "it was done all the same");
    rig.wire.inject(once(Fault::SlowFirstByte(Duration::from_millis(100))));
    let begun = tokio::time::Instant::now();
    assert_eq!(rig.ask("DELETE", "/c/k", "").await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(rig.wire.counts().struck, 3);
}

#[tokio::test]
async fn what_came_by_is_counted() {
    let rig = Rig::new(1).await;
    for (method, target) in
        [("GET", "/c/blobs/x"), ("GET", "/c/blobs/"), ("HEAD", "/c/blobs/x"), ("GET", "/c/names/x")]
    {
        rig.ask(method, target, "").await;
    }
    let bytes = 3 * BODY.len() as u64;
    assert_eq!(rig.wire.counts(), Counts { requests: 4, blob_reads: 1, struck: 0, bytes });
    assert_eq!(rig.wire.seen(), [], "nothing is written down unasked");
}

#[tokio::test]
async fn the_record_of_requests_is_bounded() {
    let rig = Rig::new(1).await;
    rig.wire.record();
    let request = |key: usize| Request::get(format!("/c/{key}")).body(()).unwrap();
    let state = rig.wire.state();
    for key in 0..=SEEN_MAX {
        state.note_and_strike(&Seen::of(&request(key), state.upstream.base()));
    }
    assert_eq!((rig.wire.seen().len(), rig.wire.seen()[0].key.as_str()), (SEEN_MAX, "1"));
}

#[tokio::test]
async fn a_url_without_a_provider_lays_no_wire() {
    for url in ["ftp://127.0.0.1:1", "http://user@127.0.0.1:1/", "data:text/plain,x"] {
        let laid = Wire::before(&url.parse().unwrap(), 1, &Tasks::new()).await;
        assert!(matches!(laid, Err(WireError::Upstream(_))), "{url}");
    }
}
