//! An upload lies complete on every provider, and comes back byte for byte.

use std::time::Duration;

use crate::support::copies::{assert_complete, copies, newest};
use crate::support::data::{self, SIZES};
use crate::support::eventually;
use crate::support::gateway::{Answer, Setup};
use crate::support::provider::Trio;
use crate::support::servers::Make;

async fn every_size_is_stored_and_served(first: Make) {
    let trio = Trio::with_first(first).await;
    let gateway = Setup::of(&trio.all()).start().await;
    for size in SIZES {
        let (name, bytes) = (format!("made/{size}.bin"), data::bytes("every size", size));
        let stored = gateway.put_everywhere(&name, bytes.clone()).await;
        assert_eq!(stored.status, 201, "{name}");
        assert_complete(&trio.all(), &name, &bytes).await;
        let read = gateway.get(&name).await;
        assert_eq!((read.status, read.header("content-length")), (200, size.to_string().as_str()));
        assert!(read.body == bytes, "{name} differs");
        assert_eq!(read.header("etag"), format!("\"{}\"", blake3::hash(&bytes)));
    }
    for provider in trio.all() {
        for (key, bytes) in provider.objects().await {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/.-".contains(c);
            assert!(key.chars().all(plain) && !bytes.is_empty(), "{} holds {key}", provider.name());
        }
        let canary = provider.get(&format!("canary/{}", provider.name())).await.expect("a canary");
        assert!(String::from_utf8_lossy(&canary).contains(&format!("\"provider\":\"{}\"", provider.name())));
    }
}

#[tokio::test]
async fn every_size_is_stored_and_served_with_seaweedfs_first() {
    every_size_is_stored_and_served(Make::SeaweedFs).await;
}

#[tokio::test]
async fn every_size_is_stored_and_served_with_juicefs_first() {
    every_size_is_stored_and_served(Make::JuiceFs).await;
}

#[tokio::test]
async fn every_size_comes_back_from_each_provider_alone() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).yaml("cache: { memory: 0, disk: 0 }").start().await;
    let sizes = &SIZES[..SIZES.len() - 1];
    let name = |size: &usize| format!("made/{size}.bin");
    for size in sizes {
        gateway.put_everywhere(&name(size), data::bytes("alone", *size)).await;
    }
    gateway.stop().await;
    gateway.start().await;
    for alone in 0..3 {
        for (index, provider) in trio.all().into_iter().enumerate() {
            if index != alone {
                provider.wire().refuse().await;
            }
        }
        for size in sizes {
            let read = gateway.get(&name(size)).await;
            let only = trio.all()[alone].name();
            assert!(read.status == 200 && read.body == data::bytes("alone", *size), "{size} from {only}");
        }
        for provider in trio.all() {
            provider.wire().restore().await;
        }
    }
}

#[tokio::test]
async fn real_icons_keep_their_type_their_bytes_and_their_digests() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).start().await;
    for (file, bytes) in &data::icons()[..60] {
        let name = format!("icons/{file}");
        let receipt = gateway.put_everywhere(&name, bytes.clone()).await;
        let (json, hash) = (receipt.json(), blake3::hash(bytes).to_hex().to_string());
        assert_eq!(
            (json["name"].as_str(), json["blake3"].as_str()),
            (Some(name.as_str()), Some(hash.as_str()))
        );
        assert_eq!(
            (json["size"].as_u64(), json["content_type"].as_str()),
            (Some(bytes.len() as u64), Some("image/svg+xml"))
        );
        assert_eq!(receipt.header("triplicate-version"), json["version"].as_str().unwrap());
        assert_eq!(receipt.header("etag"), format!("\"{hash}\""));
        assert!(json["url"].as_str().unwrap().ends_with(&format!("/{name}")), "{json}");
        let read = gateway.get(&name).await;
        assert_eq!((read.status, &read.body, read.header("content-type")), (200, bytes, "image/svg+xml"));
        assert_complete(&trio.all(), &name, bytes).await;
        for provider in trio.all() {
            let part = &newest(provider, &name).await.parts[0];
            assert_eq!(
                provider.content_type(part).await.as_deref(),
                Some("image/svg+xml"),
                "{}",
                provider.name()
            );
        }
    }
}

#[tokio::test]
async fn a_replaced_asset_is_a_new_version_and_the_old_one_stays() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).start().await;
    let (old, new) = (data::bytes("old", 70_000), data::bytes("new", 50));
    let first = gateway.put_everywhere("logo.png", old.clone()).await;
    let second = gateway.put_everywhere("logo.png", new.clone()).await;
    let again = gateway.put_everywhere("logo.png", new.clone()).await;
    assert_eq!((first.status, second.status, again.status), (201, 200, 200));
    let version = |answer: &Answer| answer.header("triplicate-version").to_owned();
    assert!(version(&first) < version(&second) && version(&second) < version(&again), "the larger wins");
    assert_eq!(gateway.get("logo.png").await.body, new);
    let undo = gateway.get(&format!("logo.png?version={}", version(&first))).await;
    assert_eq!((undo.status, undo.body), (200, old));
    assert_eq!(gateway.get("logo.png?version=nothing").await.status, 404);
    for provider in trio.all() {
        assert_eq!(copies(provider, "logo.png").await.len(), 3, "{}", provider.name());
    }
}

#[tokio::test]
async fn a_warm_read_asks_no_provider_and_neither_does_an_unknown_name() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).start().await;
    let bytes = data::bytes("warm", 200_000);
    gateway.put_everywhere("warm.bin", bytes.clone()).await;
    let asked =
        |prefix: &str| trio.all().iter().map(|provider| provider.wire().count("GET", prefix)).sum::<usize>();
    let quiet = |path: &'static str, status: u16| {
        let (gateway, trio, asked) = (&gateway, &trio, &asked);
        async move {
            trio.all().iter().for_each(|provider| provider.wire().forget_seen());
            assert_eq!(gateway.get(path).await.status, status);
            (asked("blobs/") + asked("names/") == 0).then_some(())
        }
    };
    eventually("a read is served from memory", Duration::from_secs(20), || quiet("warm.bin", 200)).await;
    assert!(gateway.get("warm.bin").await.header("cache-status").starts_with("triplicate; hit"));
    eventually("a fresh index knows what is not there", Duration::from_secs(20), || quiet("cold.bin", 404))
        .await;
}

#[tokio::test]
async fn ranges_of_a_large_asset_are_exact() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).yaml("cache: { memory: 0, disk: 0 }").start().await;
    let bytes = data::bytes("ranges", (8 << 20) + 100_000);
    gateway.put_everywhere("large.bin", bytes.clone()).await;
    let (part, size) = (8 << 20, bytes.len());
    for (first, last) in
        [(0, 0), (65_535, 65_536), (part - 1, part), (part - 70_000, part + 70_000), (size - 1, size - 1)]
    {
        let request = gateway.request("GET", "large.bin").header("Range", format!("bytes={first}-{last}"));
        let read = Answer::of(request).await;
        assert_eq!(
            (read.status, read.header("content-range")),
            (206, format!("bytes {first}-{last}/{size}").as_str())
        );
        assert!(read.body == bytes.slice(first..=last), "{first}-{last}");
    }
}
