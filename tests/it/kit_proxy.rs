//! The fault proxy as the tests use it: transparent to signed requests, and each fault is what it says.

use std::time::Duration;

use bytes::Bytes;
use http::header;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::Instant;
use triplicate::asset::Key;
use triplicate::clock::Clock;
use triplicate::drill::wire::{Fault, Rule, Wire};
use triplicate::provider::s3::S3Provider;
use triplicate::provider::{DirListing, ErrorKind, Provider, ProviderId, contract};

use crate::support::bucket::{self, Bucket};
use crate::support::bunny::Bunny;
use crate::support::servers::{Make, S3Server, SECRET};
use crate::support::{eventually, http_client, wire_before};

const BODY: &[u8] = b"0123456789abcdef";

/// A zone behind a proxy, with one file to fetch: what comes over the wire is seen plainly.
struct Rig {
    bunny: Bunny,
    proxy: Wire,
    http: reqwest::Client,
}

impl Rig {
    async fn new() -> Self {
        let bunny = Bunny::start().await;
        bunny.put("dir/file.bin", Bytes::from_static(BODY));
        let proxy = wire_before(&bunny.endpoint()).await;
        Self { bunny, proxy, http: http_client() }
    }

    fn request(&self, method: &str, key: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/{}/{key}", self.proxy.endpoint(), self.bunny.zone());
        self.http.request(method.parse().unwrap(), url).header("AccessKey", self.bunny.password())
    }

    async fn get(&self) -> Result<reqwest::Response, reqwest::Error> {
        self.request("GET", "dir/file.bin").send().await
    }

    async fn body(&self) -> Result<Bytes, reqwest::Error> {
        self.get().await?.bytes().await
    }

    /// Reads what arrives until the body ends, breaks, or is silent for a while.
    async fn arrived(&self) -> (Vec<u8>, &'static str) {
        let mut answer = self.get().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            match tokio::time::timeout(Duration::from_millis(500), answer.chunk()).await {
                Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk),
                Ok(Ok(None)) => return (bytes, "ended"),
                Ok(Err(error)) if format!("{error:?}").contains("ConnectionReset") => {
                    return (bytes, "reset");
                }
                Ok(Err(_)) => return (bytes, "cut"),
                Err(_) => return (bytes, "silent"),
            }
        }
    }
}

fn through(proxy: &Wire, bucket: &Bucket) -> AmazonS3 {
    bucket::client(&proxy.endpoint(), bucket.name(), SECRET)
}

#[tokio::test]
async fn signed_requests_pass_unharmed_to_both_servers() {
    for make in [Make::SeaweedFs, Make::JuiceFs] {
        let bucket = S3Server::shared(make).await.bucket().await;
        let proxy = wire_before(&bucket.server().endpoint()).await;
        let store = through(&proxy, &bucket);
        let (key, bytes) = (Path::from("blobs/x/00000"), Bytes::from(vec![3; 9 << 20]));
        store.put(&key, bytes.clone().into()).await.unwrap();
        assert_eq!(bucket.get(key.as_ref()).await, Some(bytes.clone()), "{make:?}");
        assert_eq!(store.get_range(&key, 5..70_000).await.unwrap(), bytes.slice(5..70_000), "{make:?}");
        assert_eq!(store.head(&key).await.unwrap().size, bytes.len() as u64, "{make:?}");
        let listed = store.list_with_delimiter(Some(&Path::from("blobs"))).await.unwrap();
        assert_eq!(listed.common_prefixes, [Path::from("blobs/x")], "{make:?}");
        assert_eq!((proxy.count("PUT", "blobs/x/"), proxy.count("HEAD", "blobs/")), (1, 1));
        assert!(proxy.seen().iter().any(|seen| seen.listing && seen.key == "blobs/"));
        assert!(proxy.seen().iter().any(|seen| seen.range.as_deref() == Some("bytes=5-69999")));
        let stranger = bucket::client(&proxy.endpoint(), bucket.name(), "not-the-secret");
        assert!(stranger.get(&key).await.is_err(), "{make:?}: the proxy lends no signature");
    }
}

#[tokio::test]
async fn the_product_sends_signed_requests_through_a_proxy_to_both_servers() {
    for make in [Make::SeaweedFs, Make::JuiceFs] {
        let bucket = S3Server::shared(make).await.bucket().await;
        let wire = wire_before(&bucket.server().endpoint()).await;
        let settings = bucket.settings(Some(wire.address()));
        let provider = S3Provider::new(ProviderId::new("s3-one"), settings, Clock::system()).unwrap();
        contract::keeps_objects(&provider, &Clock::system()).await.unwrap();
        contract::serves_ranges(&provider, &Clock::system()).await.unwrap();
        contract::lists_dirs(&provider, &Clock::system()).await.unwrap();
        assert!(wire.count("PUT", "blobs/") >= 10, "{make:?}: the requests came by");
        assert!(wire.counts().blob_reads >= 10, "{make:?}");
        wire.inject(Rule::from(Fault::Wiped).prefix("blobs/"));
        let (key, listed) = (Key::part(Clock::system().upload_id(), 0), provider.list_dir("blobs/").await);
        assert!(provider.get(&key, None).await.err().unwrap().is_not_found(), "{make:?}");
        assert_eq!(listed.unwrap(), DirListing::default(), "{make:?}");
        wire.inject(Fault::NoContainer);
        let kind = provider.list_dir("names/").await.unwrap_err().kind;
        assert_eq!(kind, ErrorKind::NoContainer, "{make:?}");
    }
}

#[tokio::test]
async fn a_refusing_proxy_refuses_and_comes_back() {
    let rig = Rig::new().await;
    assert_eq!(rig.body().await.unwrap(), BODY);
    rig.proxy.refuse().await;
    assert!(rig.body().await.is_err());
    assert!(http_client().get(rig.proxy.endpoint()).send().await.unwrap_err().is_connect());
    rig.proxy.restore().await;
    assert_eq!(rig.body().await.unwrap(), BODY);
    rig.bunny.stop().await;
    assert!(rig.body().await.is_err(), "what is behind is down");
}

#[tokio::test]
async fn silence_and_slowness_are_on_the_wire() {
    let rig = Rig::new().await;
    rig.proxy.inject(Rule::from(Fault::BlackHole).times(1));
    let asked = rig.request("GET", "dir/file.bin").timeout(Duration::from_millis(300)).send().await;
    assert!(asked.unwrap_err().is_timeout());
    rig.proxy.inject(Rule::from(Fault::SlowFirstByte(Duration::from_millis(300))).times(1));
    let begun = Instant::now();
    assert_eq!(rig.get().await.unwrap().status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    rig.proxy.inject(Rule::from(Fault::Dribble(4, Duration::from_millis(50))).times(1));
    let begun = Instant::now();
    assert_eq!(rig.body().await.unwrap(), BODY);
    assert!(begun.elapsed() >= Duration::from_millis(200), "four pieces, four pauses");
    rig.proxy.inject(Rule::from(Fault::StallAfter(5)).times(1));
    assert_eq!(rig.arrived().await, (BODY[..5].to_vec(), "silent"));
    assert_eq!(rig.body().await.unwrap(), BODY, "no fault is left");
}

#[tokio::test]
async fn bodies_are_cut_reset_shortened_and_changed() {
    let rig = Rig::new().await;
    let mut flipped = BODY.to_vec();
    flipped[9] ^= 1;
    for (fault, bytes, end) in [
        (Fault::ResetAfter(6), BODY[..6].to_vec(), "reset"),
        (Fault::ResetAfter(0), Vec::new(), "reset"),
        (Fault::ShortBody(7), BODY[..7].to_vec(), "cut"),
        (Fault::CleanShortBody(8), BODY[..8].to_vec(), "ended"),
        (Fault::FlipBit(9), flipped, "ended"),
        (Fault::OtherBody(Bytes::from_static(b"another")), b"another".to_vec(), "ended"),
    ] {
        rig.proxy.inject(Rule::from(fault.clone()).times(1));
        assert_eq!(rig.arrived().await, (bytes, end), "{fault:?}");
    }
    rig.proxy.inject(Rule::from(Fault::ShortBody(7)).times(1));
    assert_eq!(rig.get().await.unwrap().headers()[header::CONTENT_LENGTH], "16", "all of it was promised");
    rig.proxy.inject(Rule::from(Fault::CleanShortBody(8)).times(1));
    assert_eq!(rig.get().await.unwrap().headers()[header::CONTENT_LENGTH], "8");
}

#[tokio::test]
async fn answers_lie_about_status_range_and_encoding() {
    let rig = Rig::new().await;
    let ranged = || rig.request("GET", "dir/file.bin").header("Range", "bytes=2-5").send();
    rig.proxy.inject(Rule::from(Fault::WrongRange).times(1));
    let answer = ranged().await.unwrap();
    assert_eq!(answer.status(), 206);
    assert_ne!(answer.headers()[header::CONTENT_RANGE], "bytes 2-5/16");
    rig.proxy.inject(Rule::from(Fault::WholeForRange(Bytes::from_static(BODY))).times(1));
    let answer = ranged().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap()), (200, Bytes::from_static(BODY)));
    rig.proxy.inject(Rule::from(Fault::GzipHeader).times(1));
    assert_eq!(rig.get().await.unwrap().headers()[header::CONTENT_ENCODING], "gzip");
    rig.proxy.inject(Rule::from(Fault::Status(503, "slow down")).methods(&["GET"]).prefix("dir/").times(1));
    assert_eq!(rig.request("DESCRIBE", "dir/file.bin").send().await.unwrap().status(), 200);
    assert_eq!(rig.request("GET", "else").send().await.unwrap().status(), 404);
    let answer = rig.get().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (503, "slow down".to_owned()));
    rig.proxy.inject(Rule::from(Fault::ErrorWithStatus200).times(1));
    assert!(rig.get().await.unwrap().text().await.unwrap().contains("<Code>InternalError</Code>"));
}

#[tokio::test]
async fn requests_are_lost_late_or_doubled() {
    let rig = Rig::new().await;
    let put = |key: &str| rig.request("PUT", key).body("new");
    rig.proxy.inject(Rule::from(Fault::LostAnswer).methods(&["PUT"]).times(1));
    assert!(put("lost").send().await.is_err());
    assert_eq!(rig.bunny.get("lost"), Some(Bytes::from_static(b"new")), "it was done all the same");

    rig.proxy.inject(Rule::from(Fault::DelayRequest(Duration::from_millis(400))).times(1));
    assert!(put("late").timeout(Duration::from_millis(100)).send().await.unwrap_err().is_timeout());
    assert_eq!(rig.bunny.get("late"), None);
    let late = async || rig.bunny.get("late");
    assert_eq!(eventually("the late PUT arrives", Duration::from_secs(5), late).await, "new");

    rig.proxy.inject(Rule::from(Fault::DoubleRequest(Duration::from_millis(100))).times(1));
    assert_eq!(put("twice").send().await.unwrap().status(), 201);
    rig.bunny.delete("twice");
    let again = async || rig.bunny.get("twice");
    assert_eq!(eventually("the PUT comes again", Duration::from_secs(5), again).await, "new");
    assert_eq!(rig.proxy.count("PUT", ""), 3);
    rig.proxy.forget_seen();
    assert_eq!(rig.proxy.seen(), []);
}
