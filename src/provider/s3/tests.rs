use std::time::Duration;

use bytes::Bytes;

use super::stub::{Manners, Scripted, Stub};
use super::*;
use crate::provider::transport::listen::listen;
use crate::provider::{ErrorKind, contract, get_small};

async fn bucket() -> (S3Provider, Arc<Stub>) {
    let stub = Arc::new(Stub::default());
    let settings = S3Settings {
        endpoint: listen(stub.router()).await,
        region: "eu-central-1".to_owned(),
        bucket: "assets".to_owned(),
        access_key_id: "access-key".into(),
        secret_access_key: "secret-key".into(),
        path_style: true,
        via: None,
    };
    (S3Provider::new(ProviderId::new("s3-one"), settings, Clock::system()).unwrap(), stub)
}

fn key() -> Key {
    Key::part(Clock::system().upload_id(), 0)
}

fn payload() -> Payload {
    Payload::new(vec![Bytes::from_static(b"01234"), Bytes::from_static(b"56789")])
}

fn scripted(method: &'static str, status: u16, body: &'static str) -> Manners {
    let scripted = Scripted { status, headers: &[("etag", "\"e\"")], body };
    Manners { always: Some((method, scripted)), ..Manners::default() }
}

#[tokio::test]
async fn passes_the_contract_whatever_the_vendor_enforces() {
    for manners in [Manners::default(), Manners { sha256: true, tells_sha256: true, ..Manners::default() }] {
        let (provider, stub) = bucket().await;
        *stub.manners.lock() = manners;
        contract::all(&provider, &Clock::system()).await.unwrap();
        assert!(stub.objects.lock().is_empty(), "{manners:?}");
    }
}

#[tokio::test]
async fn the_first_enforced_checksum_is_chosen() {
    let all = Manners { signed_payload: true, sha256: true, md5: true, ..Manners::default() };
    let told = ", and tells the SHA-256 of what it holds";
    for (manners, expected) in [
        (all, "enforces x-amz-content-sha256".to_owned()),
        (Manners { tells_sha256: true, ..all }, format!("enforces x-amz-content-sha256{told}")),
        (Manners { signed_payload: false, ..all }, "enforces x-amz-checksum-sha256".to_owned()),
        (
            Manners { sha256: true, tells_sha256: true, ..Manners::default() },
            format!("enforces x-amz-checksum-sha256{told}"),
        ),
        (Manners { tells_sha256: true, md5: true, ..Manners::default() }, "enforces Content-MD5".to_owned()),
        (
            Manners { sha256_unknown: true, md5: true, ..Manners::default() },
            "enforces Content-MD5".to_owned(),
        ),
        (Manners { sha256_unknown: true, ..all }, "enforces x-amz-content-sha256".to_owned()),
        (Manners::default(), "enforces no checksum, so every upload is read back and compared".to_owned()),
    ] {
        let (provider, stub) = bucket().await;
        *stub.manners.lock() = manners;
        assert_eq!(provider.probe().await.unwrap().checksum, expected, "{manners:?}");
        assert_eq!(provider.capabilities().stat_sha256, expected.ends_with(told));
        assert!(stub.objects.lock().is_empty(), "probe objects are removed");
        let key = key();
        provider.put(&key, &payload(), "text/plain").await.unwrap();
        assert_eq!(get_small(&provider, &key, 10).await.unwrap(), "0123456789");
    }
}

#[tokio::test]
async fn uploads_are_read_back_until_something_is_known_to_be_enforced() {
    let (provider, stub) = bucket().await;
    stub.manners.lock().signed_payload = true;
    provider.put(&key(), &payload(), "text/plain").await.unwrap();
    assert_eq!(*stub.seen.lock(), ["PUT", "GET"]);
    stub.manners.lock().damage_uploads = true;
    let error = provider.put(&key(), &payload(), "text/plain").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    stub.manners.lock().damage_uploads = false;
    provider.probe().await.unwrap();
    stub.seen.lock().clear();
    provider.put(&key(), &payload(), "text/plain").await.unwrap();
    assert_eq!(*stub.seen.lock(), ["PUT"]);
}

#[tokio::test]
async fn an_object_is_plain_and_has_the_type_of_the_asset() {
    let (provider, stub) = bucket().await;
    let key = key();
    provider.put(&key, &payload(), "image/svg+xml").await.unwrap();
    let stored = stub.objects.lock()[key.as_str()].clone();
    assert_eq!(
        (stored.bytes.as_ref(), stored.content_type.as_str()),
        (b"0123456789".as_slice(), "image/svg+xml")
    );
}

#[tokio::test]
async fn a_missing_bucket_is_never_a_missing_object_or_an_empty_folder() {
    let (provider, stub) = bucket().await;
    for bare in [false, true] {
        *stub.manners.lock() = Manners { no_bucket: true, bare, ..Manners::default() };
        let key = key();
        let mut kinds = vec![
            provider.get(&key, None).await.err().unwrap().kind,
            provider.stat(&key).await.unwrap_err().kind,
            provider.delete(&key).await.unwrap_err().kind,
            provider.list_dir("").await.unwrap_err().kind,
            provider.list_tree("names/").try_collect::<Vec<_>>().await.unwrap_err().kind,
        ];
        // An upload is not asked to tell an object from its bucket.
        kinds.extend((!bare).then_some(provider.probe().await.unwrap_err().kind));
        assert!(kinds.iter().all(|kind| *kind == ErrorKind::NoContainer), "{kinds:?}");
    }
}

#[tokio::test]
async fn a_bare_404_is_a_missing_object_once_the_bucket_was_seen() {
    let (provider, stub) = bucket().await;
    stub.manners.lock().bare = true;
    assert!(provider.stat(&key()).await.unwrap_err().is_not_found());
    assert!(provider.get(&key(), None).await.err().unwrap().is_not_found());
    *stub.manners.lock() = scripted("DELETE", 404, "");
    provider.delete(&key()).await.unwrap();
}

#[tokio::test]
async fn answers_that_claim_success_and_are_none_are_errors() {
    let (provider, stub) = bucket().await;
    let key = key();
    let slow_down = "<Error><Code>SlowDown</Code></Error>";
    for (method, status, body, expected) in [
        ("PUT", 200, slow_down, ErrorKind::Throttled),
        ("PUT", 200, "<html>welcome</html>", ErrorKind::Protocol),
        ("PUT", 301, "", ErrorKind::Refused),
        ("PUT", 503, slow_down, ErrorKind::Throttled),
        ("GET", 204, "", ErrorKind::Protocol),
        ("GET", 206, "0123456789", ErrorKind::Protocol),
        ("GET", 200, "truncated", ErrorKind::Corrupt),
        ("GET", 500, "", ErrorKind::Unavailable),
        ("GET", 404, "<Error><Code>NoSuchKey</Code></Error>", ErrorKind::Protocol),
    ] {
        *stub.manners.lock() = scripted(method, status, body);
        // An upload that is read back passes both answers.
        let error = provider.put(&key, &payload(), "text/plain").await.unwrap_err();
        assert_eq!(error.kind, expected, "{method} {status} {body}: {error}");
    }
    stub.manners.lock().always = Some(("PUT", Scripted { status: 200, ..Scripted::default() }));
    let error = provider.put(&key, &payload(), "text/plain").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Protocol, "no ETag: {error}");
}

#[tokio::test]
async fn only_the_range_that_was_asked_for_is_taken() {
    let (provider, stub) = bucket().await;
    let key = key();
    stub.keep(key.as_str(), b"0123456789");
    assert_eq!(provider.get(&key, Some(8..12)).await.err().unwrap().kind, ErrorKind::Corrupt);
    assert_eq!(provider.get(&key, Some(10..12)).await.err().unwrap().kind, ErrorKind::Corrupt);
    for (status, headers) in [
        (200, [("etag", "\"e\"")].as_slice()),
        (206, &[("etag", "\"e\"")]),
        (206, &[("etag", "\"e\""), ("content-range", "bytes 1-3/10")]),
        (206, &[("etag", "\"e\""), ("content-range", "bytes 0-3/10")]),
    ] {
        stub.manners.lock().always = Some(("GET", Scripted { status, headers, body: "012" }));
        let read = match provider.get(&key, Some(0..3)).await {
            Ok(download) => download.body.try_collect::<Vec<_>>().await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(read.unwrap_err().kind, ErrorKind::Protocol, "{status} {headers:?}");
    }
}

#[tokio::test]
async fn a_listing_that_is_none_is_never_an_empty_folder() {
    let (provider, stub) = bucket().await;
    for (status, body, expected) in [
        (200, "", ErrorKind::Protocol),
        (200, "<html></html>", ErrorKind::Protocol),
        (200, "<ListBucketResult>", ErrorKind::Protocol),
        (
            200,
            "<ListBucketResult><Contents><Key>x</Key><Size>1</Size></Contents></ListBucketResult>",
            ErrorKind::Protocol,
        ),
        (404, "<html></html>", ErrorKind::NoContainer),
        (403, "", ErrorKind::Denied),
        (500, "", ErrorKind::Unavailable),
    ] {
        *stub.manners.lock() = scripted("GET", status, body);
        assert_eq!(provider.list_dir("names/").await.unwrap_err().kind, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn alien_keys_hide_nothing_and_folder_markers_are_no_objects() {
    let (provider, stub) = bucket().await;
    for key in ["a//b", "a/./c", "a/../d", "/lead", "a/ü & <x>", "a/plain", "trail/"] {
        stub.keep(key, b"x");
    }
    stub.keep("marker/", b"");
    let pages: Vec<_> = provider.list_tree("").try_collect().await.unwrap();
    let found: Vec<_> = pages.into_iter().flatten().map(|entry| entry.key).collect();
    assert_eq!(found, ["/lead", "a/../d", "a/./c", "a//b", "a/plain", "a/ü & <x>", "trail/"]);
    let listing = provider.list_dir("a/").await.unwrap();
    assert_eq!(listing.entries.len(), 2);
    assert_eq!(listing.dirs, ["..", ".", ""]);
}

#[tokio::test]
async fn waits_that_the_vendor_asks_for_are_handed_on() {
    let (provider, stub) = bucket().await;
    let scripted = Scripted { status: 503, headers: &[("retry-after", "7")], body: "" };
    stub.manners.lock().always = Some(("HEAD", scripted));
    let error = provider.stat(&key()).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Unavailable, Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn echoed_keys_do_not_reach_the_log() {
    let (provider, stub) = bucket().await;
    *stub.manners.lock() = scripted(
        "GET",
        403,
        "<Error><Code>InvalidAccessKeyId</Code><Message>no access-key, secret-key</Message></Error>",
    );
    let error = provider.get(&key(), None).await.err().unwrap().to_string();
    assert!(error.contains("InvalidAccessKeyId: no (secret), (secret)"), "{error}");
    let shown = format!("{provider:?}");
    assert!(!shown.contains("secret-key"), "{shown}");
}

#[tokio::test]
async fn the_vendors_clock_is_known_after_any_answer() {
    let (provider, stub) = bucket().await;
    assert_eq!(provider.clock_offset_ms(), None);
    stub.keep(key().as_str(), b"x");
    let _ = get_small(&provider, &key(), 1).await;
    assert!(provider.clock_offset_ms().unwrap().abs() < 5_000);
}
