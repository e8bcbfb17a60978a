//! What is refused over HTTP: odd names, ambiguous framing, wrong tokens, and in which order.

use bytes::Bytes;
use data_encoding::HEXLOWER;

use crate::support::gateway::{Answer, Setup, TestGateway};
use crate::support::provider::{Provider, three_disks};
use crate::support::raw::exchange;

async fn serving(extra: &str) -> (TestGateway, [Provider; 3]) {
    let disks = three_disks();
    let providers: Vec<_> = disks.iter().collect();
    (Setup::of(&providers).yaml(extra).start().await, disks)
}

async fn raw(gateway: &TestGateway, line: &str, headers: &str, body: &str) -> (u16, bool) {
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let answer = exchange(gateway.public(), [head.as_bytes(), body.as_bytes()].concat().as_slice()).await;
    (answer.status, answer.closed)
}

/// Everything that lies at the providers, but for probes that come and go.
async fn stored(disks: &[Provider]) -> Vec<Vec<(String, Bytes)>> {
    let mut all = Vec::new();
    for disk in disks {
        let objects = disk.objects().await.into_iter();
        all.push(objects.filter(|(key, _)| !key.starts_with("probe/")).collect());
    }
    all
}

#[tokio::test]
async fn names_that_could_mean_two_things_are_refused() {
    let (gateway, disks) = serving("").await;
    let before = stored(&disks).await;
    let authorised = format!("Authorization: Bearer {}\r\nContent-Length: 1\r\n", gateway.token());
    let (segment, name) = ("s".repeat(256), vec!["n".repeat(250); 4].join("/"));
    for path in [
        "/",
        "//a",
        "/a//b",
        "/a/",
        "/.",
        "/..",
        "/./a",
        "/a/../b",
        "/%2e%2e/a",
        "/a/%2E",
        "/a%00b",
        "/a%0Ab",
        "/a%7F",
        "/a%5Cb",
        "/%FF",
        "/a%C3",
        "/a%zz",
        "/a%2",
        "/a%",
        &format!("/{segment}"),
        &format!("/{name}"),
    ] {
        assert_eq!(raw(&gateway, &format!("GET {path}"), "", "").await.0, 400, "GET {path}");
        assert_eq!(raw(&gateway, &format!("PUT {path}"), &authorised, "x").await.0, 400, "PUT {path}");
    }
    assert_eq!(stored(&disks).await, before, "a refused request stores nothing");
    for (stored, read) in [
        ("a%2Fb.txt", "a/b.txt"),
        ("caf%C3%A9.txt", "cafe%CC%81.txt"),
        ("a+b%20c.txt", "a%2Bb%20c.txt"),
        ("%25.txt", "%25.txt"),
    ] {
        let bytes = Bytes::from(stored.to_owned());
        assert_eq!(gateway.put(stored, bytes.clone()).await.status, 201, "{stored}");
        let read = gateway.get(read).await;
        assert_eq!((read.status, read.body), (200, bytes), "{stored}");
    }
    assert_eq!(gateway.get("A/B.txt").await.status, 404, "names are case-sensitive");
    let longest = format!("{}/{}", vec!["n".repeat(223); 4].join("/"), "x".repeat(4));
    assert_eq!((longest.len(), gateway.put(&longest, Bytes::from_static(b"x")).await.status), (900, 201));
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let (gateway, _disks) = serving("").await;
    let token = format!("Authorization: Bearer {}\r\n", gateway.token());
    for (what, headers, body) in [
        ("length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("two lengths", "Content-Length: 1\r\nContent-Length: 2\r\n", "x"),
        ("a length that is none", "Content-Length: +1\r\n", "x"),
        ("a length of two", "Content-Length: 1, 2\r\n", "x"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("chunks that are none", "Transfer-Encoding: chunked\r\n", "zz\r\nx\r\n0\r\n\r\n"),
        ("a space before the colon", "Content-Length : 1\r\n", "x"),
    ] {
        let (status, closed) = raw(&gateway, "PUT /smuggled.txt", &format!("{token}{headers}"), body).await;
        assert!([0, 400, 501].contains(&status), "{what}: {status}");
        assert!(closed, "{what}: the connection stays open");
    }
    assert_eq!(gateway.get("smuggled.txt").await.status, 404);
    assert_eq!(raw(&gateway, "PUT /a.txt", &token, "").await.0, 411, "neither length nor chunks");
    let huge = format!("X-Filler: {}\r\n", "x".repeat(1 << 20));
    assert_eq!(raw(&gateway, "GET /a.txt", &huge, "").await.0, 431);
}

#[tokio::test]
async fn refusals_come_in_one_order() {
    let hash = |token: &str| format!("blake3:{}", blake3::hash(token.as_bytes()));
    let tokens = format!(
        "limits: {{ asset: 10B }}\ntokens:\n  - {{ name: icons, hash: \"{}\", allow: [write], prefixes: [icons/] }}",
        hash("icons-token")
    );
    let (gateway, _disks) = serving(&tokens).await;
    let ask = async |method: &str, path: &str, token: &str, headers: &str, length: usize| {
        let token =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let headers = format!("{token}{headers}Content-Length: {length}\r\n");
        raw(&gateway, &format!("{method} {path}"), &headers, &"x".repeat(length)).await.0
    };
    let (mine, digest, condition) = ("icons-token", "Repr-Digest: nonsense\r\n", "If-None-Match: *\r\n");
    assert_eq!(ask("PATCH", "/%zz", "", "", 0).await, 400, "a malformed name before the method");
    assert_eq!(ask("PATCH", "/icons/a", "", "", 0).await, 405, "the method before the token");
    assert_eq!(ask("PUT", "/other/a", "", digest, 100).await, 401, "no token before its scope");
    assert_eq!(ask("PUT", "/other/a", "wrong", digest, 100).await, 401, "a wrong token before its scope");
    assert_eq!(ask("PUT", "/other/a", mine, digest, 100).await, 403, "the scope before the size");
    assert_eq!(ask("PUT", "/icons/a", mine, digest, 100).await, 413, "the size before other faults");
    assert_eq!(
        ask("PUT", "/icons/a", mine, &format!("{digest}{condition}"), 5).await,
        400,
        "faults before 501"
    );
    assert_eq!(ask("PUT", "/icons/a", mine, condition, 5).await, 501);
    assert_eq!(ask("PUT", "/icons/a", mine, "", 5).await, 201);
}

#[tokio::test]
async fn tokens_open_what_they_are_for_and_nothing_else() {
    let disks = three_disks();
    let providers: Vec<_> = disks.iter().collect();
    let printed = Setup::of(&providers).prepare().run(&["--new-token", "shop-backend"]).await;
    assert_eq!(printed.code, 0, "{printed:?}");
    let line = |prefix: &str| {
        let line = printed.stdout.lines().find_map(|line| line.strip_prefix(prefix));
        line.unwrap_or_else(|| panic!("no {prefix}in {printed:?}")).to_owned()
    };
    let (shop, hash) = (line("token: "), line("hash: "));
    assert_eq!(hash, format!("blake3:{}", blake3::hash(shop.as_bytes())));
    let janitor_hash = blake3::hash(b"janitor-token");
    let tokens = format!(
        "tokens:\n  - {{ name: shop-backend, hash: \"{hash}\", allow: [write], prefixes: [icons/, logos/] }}\n  - {{ \
         name: janitor, hash: \"blake3:{janitor_hash}\", allow: [delete] }}"
    );
    let gateway = Setup::of(&providers).yaml(&tokens).start().await;
    assert_eq!(gateway.token(), "", "none is generated when some are configured");
    let ask = async |method: &str, path: &str, header: &str, value: String| {
        Answer::of(gateway.request(method, path).header(header, value).body("x")).await.status
    };
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(ask("PUT", "icons/a", "Authorization", bearer(&shop)).await, 201);
    assert_eq!(ask("PUT", "logos/a", "AccessKey", shop.clone()).await, 201, "as Bunny's clients send it");
    assert_eq!(ask("PUT", "iconsa", "Authorization", bearer(&shop)).await, 403);
    assert_eq!(ask("PUT", "other/a", "Authorization", bearer(&shop)).await, 403);
    assert_eq!(ask("PUT", "icons%2F..%2Fb", "Authorization", bearer(&shop)).await, 400);
    assert_eq!(ask("DELETE", "icons/a", "Authorization", bearer(&shop)).await, 403);
    assert_eq!(ask("PUT", "icons/a", "Authorization", bearer("janitor-token")).await, 403);
    assert_eq!(ask("PUT", "icons/a", "Authorization", format!("Basic {shop}")).await, 401);
    assert_eq!(ask("PUT", "icons/a", "Authorization", bearer(&HEXLOWER.encode(shop.as_bytes()))).await, 401);
    assert_eq!(ask("DELETE", "icons/a", "Authorization", bearer("janitor-token")).await, 204);
    assert_eq!(gateway.get("logos/a").await.status, 200, "reads need no token");
}

#[tokio::test]
async fn problems_are_plain_safe_and_never_cached() {
    let (gateway, _disks) = serving("").await;
    let unauthorised = Answer::of(gateway.request("PUT", "a.txt").body("x")).await;
    assert_ne!(unauthorised.header("www-authenticate"), "");
    let odd_method = Answer::of(gateway.request("PATCH", "a.txt").body("x")).await;
    assert!(odd_method.header("allow").contains("PUT"), "{odd_method:?}");
    let missing = gateway.get("nothing.txt").await;
    for (answer, status) in [(unauthorised, 401), (odd_method, 405), (missing, 404)] {
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"));
        assert_eq!(answer.header("cache-control"), "no-store");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string(), "{problem}");
        assert_eq!(problem["request_id"], answer.header("x-request-id"));
        assert_ne!(answer.header("x-request-id"), "");
        let text = problem.to_string();
        assert!(!text.contains("disk-") && !text.contains(".rs"), "internals leak: {text}");
    }
}
