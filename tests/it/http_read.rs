//! Reading over HTTP: headers, ranges, conditions, as RFC 9110 has them.

use bytes::Bytes;
use data_encoding::BASE64;
use ring::digest::{SHA256, digest};

use crate::support::data;
use crate::support::gateway::{Answer, Setup, TestGateway};
use crate::support::provider::{Provider, three_disks};

const HTML: &str = "<!doctype html><p>hello</p>";

async fn serving(extra: &str) -> (TestGateway, [Provider; 3]) {
    let disks = three_disks();
    let providers: Vec<_> = disks.iter().collect();
    (Setup::of(&providers).yaml(extra).start().await, disks)
}

async fn ask(gateway: &TestGateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = gateway.request(method, path);
    Answer::of(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn a_read_says_all_that_a_cache_and_a_browser_need() {
    let (gateway, _disks) = serving("").await;
    let bytes = data::bytes("png", 5_000);
    gateway.put("icons/gold.png", bytes.clone()).await;
    let read = gateway.get("icons/gold.png").await;
    let sha256 = format!("sha-256=:{}:", BASE64.encode(digest(&SHA256, &bytes).as_ref()));
    for (name, value) in [
        ("etag", format!("\"{}\"", blake3::hash(&bytes))),
        ("content-type", "image/png".to_owned()),
        ("content-length", "5000".to_owned()),
        ("accept-ranges", "bytes".to_owned()),
        ("cache-control", "public, max-age=300".to_owned()),
        ("repr-digest", sha256),
        ("x-content-type-options", "nosniff".to_owned()),
        ("access-control-allow-origin", "*".to_owned()),
    ] {
        assert_eq!(read.header(name), value, "{name}");
    }
    assert!(httpdate::parse_http_date(read.header("last-modified")).is_ok());
    assert!(read.header("cache-status").starts_with("triplicate;"), "{}", read.header("cache-status"));
    assert_ne!(read.header("x-request-id"), "");
    assert_eq!(read.header("content-security-policy"), "", "a picture needs no sandbox");
    let head = gateway.head("icons/gold.png").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["etag", "content-type", "content-length", "last-modified", "repr-digest", "cache-control"] {
        assert_eq!(head.header(name), read.header(name), "{name}");
    }
    assert_ne!(head.header("x-request-id"), read.header("x-request-id"));
}

#[tokio::test]
async fn documents_that_could_run_scripts_are_sandboxed() {
    let (gateway, _disks) = serving("").await;
    for name in ["a.html", "a.svg", "a.xml", "a.xhtml"] {
        gateway.put(name, Bytes::from_static(HTML.as_bytes())).await;
        let policy = gateway.get(name).await.header("content-security-policy").to_owned();
        assert_eq!(policy, "default-src 'none'; sandbox", "{name}");
    }
}

#[tokio::test]
async fn ranges_are_single_exact_and_never_guessed() {
    let (gateway, _disks) = serving("").await;
    let bytes = data::bytes("ranges", 200_000);
    gateway.put("a.bin", bytes.clone()).await;
    gateway.put("empty.bin", Bytes::new()).await;
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=65535-65536", 65_535, 65_536),
        ("bytes=100-", 100, 199_999),
        ("bytes=-1", 199_999, 199_999),
        ("bytes=-300000", 0, 199_999),
        ("bytes=199999-999999", 199_999, 199_999),
    ] {
        let read = ask(&gateway, "GET", "a.bin", &[("Range", range)]).await;
        let expected = format!("bytes {first}-{last}/200000");
        assert_eq!((read.status, read.header("content-range")), (206, expected.as_str()), "{range}");
        assert!(read.body == bytes.slice(first..=last), "{range}");
    }
    for range in ["bytes=0-1,5-6", "bytes=5-1", "bytes=", "bytes=a-b", "lines=0-1", "bytes 0-1", "bytes=-"] {
        let read = ask(&gateway, "GET", "a.bin", &[("Range", range)]).await;
        assert_eq!((read.status, read.body.len()), (200, 200_000), "{range}");
    }
    for (name, range, size) in
        [("a.bin", "bytes=200000-", 200_000), ("a.bin", "bytes=-0", 200_000), ("empty.bin", "bytes=0-", 0)]
    {
        let read = ask(&gateway, "GET", name, &[("Range", range)]).await;
        assert_eq!(
            (read.status, read.header("content-range")),
            (416, format!("bytes */{size}").as_str()),
            "{range}"
        );
    }
    let head = ask(&gateway, "HEAD", "a.bin", &[("Range", "bytes=0-1")]).await;
    assert_eq!((head.status, head.header("content-length")), (200, "200000"), "HEAD ignores ranges");
}

#[tokio::test]
async fn conditions_are_judged_in_the_order_of_the_standard() {
    let (gateway, _disks) = serving("").await;
    gateway.put("a.bin", data::bytes("conditions", 1_000)).await;
    let read = gateway.get("a.bin").await;
    let (etag, modified) = (read.header("etag"), read.header("last-modified"));
    let (weak, listed) = (format!("W/{etag}"), format!("\"x\", {etag}"));
    let (early, late) = ("Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT");
    let (inm, im, ims, ius) = ("If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since");
    for (headers, status) in [
        (vec![(inm, etag)], 304),
        (vec![(inm, &weak)], 304),
        (vec![(inm, &listed)], 304),
        (vec![(inm, "*")], 304),
        (vec![(inm, "\"x\"")], 200),
        (vec![(inm, "\"x\""), (ims, modified)], 200),
        (vec![(ims, modified)], 304),
        (vec![(ims, late)], 304),
        (vec![(ims, early)], 200),
        (vec![(ims, "yesterday")], 200),
        (vec![(im, etag)], 200),
        (vec![(im, &listed)], 200),
        (vec![(im, "*")], 200),
        (vec![(im, &weak)], 412),
        (vec![(im, "\"x\"")], 412),
        (vec![(im, etag), (ius, early)], 200),
        (vec![(ius, early)], 412),
        (vec![(ius, modified)], 200),
        (vec![(im, "\"x\""), (inm, etag)], 412),
        (vec![("If-Range", etag), ("Range", "bytes=0-9")], 206),
        (vec![("If-Range", "\"x\""), ("Range", "bytes=0-9")], 200),
        (vec![("If-Range", &weak), ("Range", "bytes=0-9")], 200),
        (vec![("If-Range", early), ("Range", "bytes=0-9")], 200),
        (vec![(inm, etag), ("Range", "bytes=0-9")], 304),
    ] {
        let answer = ask(&gateway, "GET", "a.bin", &headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        let bytes = match status {
            200 => 1_000,
            206 => 10,
            304 => 0,
            _ => answer.body.len(),
        };
        assert_eq!(answer.body.len(), bytes, "{headers:?}");
        if status == 304 {
            assert_eq!(
                (answer.header("etag"), answer.header("cache-control")),
                (etag, read.header("cache-control"))
            );
        }
        if status != 206 {
            let range_free = ask(&gateway, "HEAD", "a.bin", &headers).await;
            assert_eq!((range_free.status, range_free.body.len()), (status, 0), "HEAD {headers:?}");
        }
    }
}

#[tokio::test]
async fn what_an_upload_says_of_itself_comes_back() {
    let rules = "cache_control:\n  - { prefix: icons/, value: \"public, max-age=3600\" }";
    let (gateway, _disks) = serving(rules).await;
    let put = async |name: &str, headers: &[(&str, &str)]| {
        let request = gateway.authorised("PUT", name).body("text");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(Answer::of(request).await.status, 201, "{name}");
        gateway.get(name).await
    };
    assert_eq!(put("a.txt", &[]).await.header("cache-control"), "public, max-age=300");
    assert_eq!(put("icons/a.txt", &[]).await.header("cache-control"), "public, max-age=3600");
    assert_eq!(
        put("icons/b.txt", &[("Cache-Control", "no-cache")]).await.header("cache-control"),
        "no-cache"
    );
    let read = put(
        "c.bin",
        &[
            ("Content-Type", "application/x-own; v=1"),
            ("Content-Encoding", "gzip"),
            ("Content-Disposition", "attachment; filename=\"c.txt\""),
            ("X-Triplicate-Meta-Owner", "shop"),
        ],
    )
    .await;
    for (name, value) in [
        ("content-type", "application/x-own; v=1"),
        ("content-encoding", "gzip"),
        ("content-disposition", "attachment; filename=\"c.txt\""),
        ("x-triplicate-meta-owner", "shop"),
    ] {
        assert_eq!(read.header(name), value, "{name}");
    }
    assert_eq!(read.body, "text", "the encoding is kept, never decoded");
}

#[tokio::test]
async fn browsers_of_other_sites_may_read_and_learn_the_methods() {
    let (gateway, _disks) = serving("").await;
    let headers = [("Origin", "https://shop.example"), ("Access-Control-Request-Method", "GET")];
    let answer = ask(&gateway, "OPTIONS", "a.bin", &headers).await;
    assert!([200, 204].contains(&answer.status));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        assert!(
            answer.header("allow").split(", ").any(|allowed| allowed == method),
            "{}",
            answer.header("allow")
        );
    }
    for path in ["-/healthy", "-/ready"] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with("text/plain"), "{path}");
    }
}
