//! Writing over HTTP: types, digests, forms, limits and receipts.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use http::StatusCode;
use ring::digest::{SHA256, SHA512, digest};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::data;
use crate::support::gateway::{Answer, Setup, TestGateway};
use crate::support::provider::{Provider, three_disks};
use crate::support::raw::{connect, exchange};

async fn serving(extra: &str) -> (TestGateway, [Provider; 3]) {
    let disks = three_disks();
    let providers: Vec<_> = disks.iter().collect();
    (Setup::of(&providers).yaml(extra).start().await, disks)
}

async fn put(gateway: &TestGateway, name: &str, body: &'static str, headers: &[(&str, &str)]) -> Answer {
    let request = gateway.authorised("PUT", name).body(body);
    Answer::of(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

async fn objects(disks: &[Provider; 3]) -> usize {
    let mut count = 0;
    for disk in disks {
        count += disk.keys_below("names/").await.len() + disk.keys_below("feed/").await.len();
    }
    count
}

#[tokio::test]
async fn a_type_is_given_known_by_its_extension_or_sniffed() {
    let (gateway, _disks) = serving("").await;
    let png: &[u8] = &[0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R'];
    for (name, given, bytes, expected) in [
        ("a.png", Some("image/x-own"), png, "image/x-own"),
        ("a.svg", None, &b"<svg/>"[..], "image/svg+xml"),
        ("a.JPG", None, png, "image/jpeg"),
        ("nameless", None, png, "image/png"),
        ("nothing", None, &[0, 1, 2, 0xff, 0xfe][..], "application/octet-stream"),
    ] {
        let request = gateway.authorised("PUT", name).body(bytes);
        let request = given.into_iter().fold(request, |request, given| request.header("Content-Type", given));
        assert_eq!(Answer::of(request).await.json()["content_type"], expected, "{name}");
        assert_eq!(gateway.get(name).await.header("content-type"), expected, "{name}");
    }
}

#[tokio::test]
async fn every_digest_that_is_given_is_verified_before_anything_is_committed() {
    let (gateway, disks) = serving("").await;
    let sha256 = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
    let field = |bytes: &[u8]| format!("sha-256=:{}:", BASE64.encode(&sha256(bytes)));
    let md5_hello = "XUFAKrxLKna5cZ2REBfFkg==";
    for (name, right, wrong, malformed) in [
        ("Repr-Digest", field(b"hello"), field(b"other"), "sha-256=nonsense"),
        ("Content-Digest", field(b"hello"), field(b"other"), "sha-256=:AAAA:"),
        ("Checksum", HEXUPPER.encode(&sha256(b"hello")), HEXUPPER.encode(&sha256(b"other")), "12"),
        ("Checksum", HEXLOWER.encode(&sha256(b"hello")), HEXLOWER.encode(&sha256(b"other")), "zz"),
        ("Content-MD5", md5_hello.to_owned(), "AAAAAAAAAAAAAAAAAAAAAA==".to_owned(), "AAAA"),
    ] {
        let before = objects(&disks).await;
        for bad in [wrong.as_str(), malformed] {
            let refused = put(&gateway, "a.txt", "hello", &[(name, bad)]).await;
            assert_eq!(refused.status, 400, "{name}: {bad}");
            assert_eq!(refused.header("content-type"), "application/problem+json");
        }
        assert_eq!(gateway.get("a.txt").await.status, 404, "{name}");
        assert_eq!(objects(&disks).await, before, "{name}: nothing was committed");
        let name_of = format!("{}.txt", right.len());
        // All copies are made by then, so nothing of it comes later.
        let everywhere = ("X-Triplicate-Wait", "all");
        let stored = put(&gateway, &name_of, "hello", &[(name, &right), everywhere]).await;
        assert_eq!(stored.status / 100, 2, "{name}: {right}");
    }
    let sha512 = format!("sha-512=:{}:", BASE64.encode(digest(&SHA512, b"hello").as_ref()));
    let unknown = put(&gateway, "b.txt", "hello", &[("Repr-Digest", &sha512)]).await;
    assert_eq!(unknown.status, 201, "an algorithm that is not known is no mismatch");
}

#[tokio::test]
async fn a_receipt_says_what_was_stored_where() {
    let (gateway, _disks) = serving("").await;
    let receipt = put(&gateway, "icons/a%20b.txt", "hello", &[("X-Triplicate-Wait", "all")]).await;
    let json = receipt.json();
    assert_eq!(receipt.status, 201);
    assert_eq!(json["name"], "icons/a b.txt");
    assert_eq!(json["size"], 5);
    assert_eq!(json["blake3"], blake3::hash(b"hello").to_hex().as_str());
    assert_eq!(json["sha256"], HEXLOWER.encode(digest(&SHA256, b"hello").as_ref()));
    assert!(json["content_type"].as_str().unwrap().starts_with("text/plain"), "{json}");
    assert_eq!(json["url"], format!("{}/icons/a%20b.txt", gateway.public()));
    assert_eq!(json["copies"], json!({"disk-a": "stored", "disk-b": "stored", "disk-c": "stored"}));
    assert!(receipt.header("location").ends_with("/icons/a%20b.txt"));
    let version = json["version"].as_str().unwrap();
    assert_eq!((version.len(), receipt.header("triplicate-version")), (16 + 1 + 26, version));
}

#[tokio::test]
async fn a_form_stores_each_of_its_files() {
    let (gateway, _disks) = serving("").await;
    let form = |files: &[(&str, &str)]| {
        let part = |(name, body): &(&str, &str)| {
            format!(
                "--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{body}\r\n"
            )
        };
        files.iter().map(part).collect::<String>() + "--cut--\r\n"
    };
    let post = async |folder: &str, files: &[(&str, &str)]| {
        let request = gateway.authorised("POST", folder).body(form(files));
        Answer::of(request.header("Content-Type", "multipart/form-data; boundary=cut")).await
    };
    let both = post("forms/", &[("a.txt", "one"), ("b.svg", "<svg/>")]).await;
    let names = |answer: &Answer| -> Vec<Value> {
        answer.json().as_array().expect("a list").iter().map(|item| item["name"].clone()).collect()
    };
    assert_eq!((both.status, names(&both)), (201, vec![json!("forms/a.txt"), json!("forms/b.svg")]));
    assert_eq!(gateway.get("forms/a.txt").await.body, "one");
    assert_eq!(gateway.get("forms/b.svg").await.header("content-type"), "image/svg+xml");

    let mixed = post("forms/", &[("../evil.txt", "x"), ("good.txt", "y")]).await;
    assert_eq!(mixed.status, 207, "{mixed:?}");
    assert_eq!(mixed.json()[0]["problem"]["status"], 400);
    assert_eq!(mixed.json()[1]["name"], "forms/good.txt");
    assert_eq!(
        (gateway.get("forms/good.txt").await.status, gateway.get("evil.txt").await.status),
        (200, 404)
    );
    let alone = post("forms/", &[("a/b.txt", "x")]).await;
    assert_eq!((alone.status, alone.header("content-type")), (400, "application/problem+json"));
    let whole = form(&[("kept.txt", "kept"), ("cut.txt", "cut off")]);
    for (cut, expected) in
        [("cut off", ["forms/kept.txt", "forms/cut.txt"]), ("--cut--", ["forms/kept.txt", ""])]
    {
        let body = match cut {
            "--cut--" => form(&[("kept.txt", "kept")]).replace("--cut--", "--cut"),
            _ => whole[..whole.find(cut).unwrap() + 3].to_owned(),
        };
        let request = gateway.authorised("POST", "forms/").body(body);
        let broken = Answer::of(request.header("Content-Type", "multipart/form-data; boundary=cut")).await;
        assert_eq!((broken.status, names(&broken)), (207, expected.map(Value::from).to_vec()), "{broken:?}");
        assert_eq!(broken.json()[1]["problem"]["outcome"], "not-committed");
    }
    let anonymous =
        gateway.request("POST", "forms/").header("Content-Type", "multipart/form-data; boundary=cut");
    assert_eq!(Answer::of(anonymous.body(form(&[("c.txt", "x")]))).await.status, 401);
}

#[tokio::test]
async fn what_is_too_large_is_refused_early_and_at_last() {
    let (gateway, disks) = serving("limits: { asset: 100KiB }").await;
    gateway.put_everywhere("fits.bin", data::bytes("fits", 100 * 1024)).await;
    let before = objects(&disks).await;
    let head = format!(
        "PUT /large.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 102401\r\n\r\n",
        gateway.token()
    );
    // Not a byte of the body is sent: the length alone decides.
    assert_eq!(exchange(gateway.public(), head.as_bytes()).await.status, 413);
    let chunks = futures::stream::iter([1, 2].map(|_| Ok::<_, std::io::Error>(data::bytes("x", 60_000))));
    let chunked = gateway.authorised("PUT", "large.bin").body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(Answer::of(chunked).await.status, 413);
    assert_eq!(gateway.get("large.bin").await.status, 404);
    assert_eq!(objects(&disks).await, before);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_told_after_authorisation() {
    let (gateway, _disks) = serving("").await;
    let head = |token: &str| {
        format!(
            "PUT /a.txt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 5\r\nExpect: \
             100-continue\r\n\r\n"
        )
    };
    assert_eq!(exchange(gateway.public(), head("wrong").as_bytes()).await.status, 401);
    let mut stream = connect(gateway.public()).await;
    stream.write_all(head(gateway.token()).as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut interim)).await;
    read.expect("in time").unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 Continue"), "{}", String::from_utf8_lossy(&interim));
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
}

#[tokio::test]
async fn conditional_writes_are_not_promised() {
    let (gateway, _disks) = serving("").await;
    for header in [("If-None-Match", "*"), ("If-Match", "\"x\"")] {
        assert_eq!(put(&gateway, "a.txt", "x", &[header]).await.status, StatusCode::NOT_IMPLEMENTED.as_u16());
    }
    assert_eq!(put(&gateway, "a.txt", "x", &[("Content-Range", "bytes 0-0/2")]).await.status, 400);
    assert_eq!(gateway.get("a.txt").await.status, 404);
    assert_eq!(gateway.put("empty", Bytes::new()).await.status, 201);
    assert_eq!(gateway.get("empty").await.body.len(), 0);
}
