//! A provider counts only as itself: emptied, swapped and foreign ones cost nothing and harm nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::support::copies::assert_complete;
use crate::support::data;
use crate::support::eventually;
use crate::support::gateway::{Setup, TestGateway};
use crate::support::provider::{Provider, Trio};
use triplicate::drill::wire::Seen;

/// How long a provider of a few objects may take to be found empty and refilled.
const REFILLED_WITHIN: Duration = Duration::from_secs(150);

/// Everything that lies on a provider for good; feed entries without their minute, which is the provider's own.
async fn content(provider: &Provider) -> BTreeMap<String, Bytes> {
    let lasting = |(key, bytes): (String, Bytes)| {
        let key = match key.strip_prefix("feed/") {
            Some(entry) => format!("feed/{}", entry.split_once('/').expect("a minute").1),
            None => key,
        };
        (key.starts_with("names/") || key.starts_with("blobs/") || key.starts_with("feed/"))
            .then_some((key, bytes))
    };
    provider.objects().await.into_iter().filter_map(lasting).collect()
}

async fn has_canary(provider: &Provider) -> bool {
    provider.get(&format!("canary/{}", provider.name())).await.is_some()
}

/// Returns the requests that came by and would change something.
fn writes(provider: &Provider) -> Vec<Seen> {
    let mut seen = provider.wire().seen();
    seen.retain(|seen| !["GET", "HEAD", "DESCRIBE"].contains(&seen.method.as_str()));
    seen
}

/// Stores some assets, deletes one, and waits until all providers hold the same.
async fn fill(gateway: &TestGateway, trio: &Trio) -> Vec<(String, Bytes)> {
    let mut assets: Vec<_> = data::icons()[100..106]
        .iter()
        .map(|(file, bytes)| (format!("icons/{file}"), bytes.clone()))
        .collect();
    assets.push(("large.bin".to_owned(), data::bytes("large", (8 << 20) + 5)));
    assets.push(("empty.bin".to_owned(), Bytes::new()));
    for (name, bytes) in &assets {
        gateway.put_everywhere(name, bytes.clone()).await;
    }
    gateway.put_everywhere("gone.bin", data::bytes("gone", 5)).await;
    assert_eq!(gateway.delete("gone.bin").await.status, 204);
    let same = || async {
        let whole = content(&trio.bunny).await;
        (content(&trio.one).await == whole && content(&trio.two).await == whole).then_some(())
    };
    eventually("the tombstone lies everywhere", Duration::from_secs(30), same).await;
    assets
}

async fn assert_refilled(trio: &Trio, refilled: &[&Provider], assets: &[(String, Bytes)]) {
    let whole = content(&trio.bunny).await;
    for provider in refilled {
        let same =
            || async { (has_canary(provider).await && content(provider).await == whole).then_some(()) };
        eventually(&format!("{} is refilled", provider.name()), REFILLED_WITHIN, same).await;
    }
    for (name, bytes) in assets {
        assert_complete(&trio.all(), name, bytes).await;
    }
}

/// Fills a set on servers of its own, then replaces both S3 servers by empty ones.
async fn swapped() -> (Trio, TestGateway, Vec<(String, Bytes)>) {
    let trio = Trio::private().await;
    let gateway = Setup::of(&trio.all()).yaml("cache: { memory: 0, disk: 0 }").start().await;
    let assets = fill(&gateway, &trio).await;
    for provider in [&trio.one, &trio.two] {
        provider.bucket().server().swap_for_empty().await;
        provider.bucket().create().await;
    }
    trio.bunny.wire().forget_seen();
    (trio, gateway, assets)
}

#[tokio::test]
async fn two_s3_servers_swapped_for_empty_ones_are_no_404_and_no_delete() {
    let (trio, mut gateway, assets) = swapped().await;
    let before = content(&trio.bunny).await;
    for (name, bytes) in &assets {
        let read = gateway.get(name).await;
        assert!(read.status == 200 && read.body == bytes, "{name}: {}", read.status);
    }
    // Without its index the gateway has but the word of two empty providers against one.
    gateway.stop().await;
    gateway.delete_state();
    gateway.launch().await;
    for (name, _) in &assets {
        let answer = || async {
            let status = gateway.get(name).await.status;
            assert!([200, 503].contains(&status), "{name}: {status}");
            (status == 200).then_some(())
        };
        eventually("the provider that has it is asked", Duration::from_secs(60), answer).await;
    }
    assert_eq!(content(&trio.bunny).await, before, "nothing was removed or added");
    let lasting = |seen: &Seen| seen.method == "DELETE" && !seen.key.starts_with("probe/");
    assert!(!trio.bunny.wire().seen().iter().any(lasting));
}

#[tokio::test]
async fn two_s3_servers_swapped_for_empty_ones_get_copies_but_no_trust() {
    let (trio, gateway, assets) = swapped().await;
    let whole = content(&trio.bunny).await;
    for provider in [&trio.one, &trio.two] {
        let same = || async { (content(provider).await == whole).then_some(()) };
        eventually(&format!("{} has what is left", provider.name()), REFILLED_WITHIN, same).await;
    }
    // One witness cannot prove that it holds all: what the two acknowledged together may be lost.
    assert_eq!(gateway.get("never.bin").await.status, 503);
    assert_eq!(gateway.get("gone.bin").await.status, 404, "its tombstone is known");
    assert!(!has_canary(&trio.one).await && !has_canary(&trio.two).await);
    for (name, bytes) in &assets {
        assert_eq!(gateway.get(name).await.body, bytes, "{name}");
    }
    // The operator accepts the loss: without any canary all are compared, and believed again.
    trio.bunny.delete("canary/bunny").await;
    assert_refilled(&trio, &[&trio.one, &trio.two, &trio.bunny], &assets).await;
    let known = || async { (gateway.get("never.bin").await.status == 404).then_some(()) };
    eventually("the refilled providers are believed", Duration::from_secs(60), known).await;
}

#[tokio::test]
async fn a_wiped_provider_is_refilled_by_itself() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).start().await;
    let assets = fill(&gateway, &trio).await;
    trio.one.wipe().await;
    for (name, bytes) in &assets {
        let read = gateway.get(name).await;
        assert!(read.status == 200 && read.body == bytes, "{name}: {}", read.status);
    }
    assert_eq!(gateway.get("gone.bin").await.status, 404);
    assert_refilled(&trio, &[&trio.one], &assets).await;
}

#[tokio::test]
async fn a_wiped_bunny_is_refilled_by_itself() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    let assets = fill(&gateway, &trio).await;
    let whole = content(&trio.one).await;
    gateway.stop().await;
    trio.bunny.zone().wipe();
    gateway.start().await;
    let bunny = &trio.bunny;
    let same = || async { (has_canary(bunny).await && content(bunny).await == whole).then_some(()) };
    eventually("bunny is refilled", REFILLED_WITHIN, same).await;
    for (name, bytes) in &assets {
        assert_complete(&trio.all(), name, bytes).await;
    }
}

#[tokio::test]
async fn a_provider_with_a_foreign_canary_is_never_written_to() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    let assets = fill(&gateway, &trio).await;
    gateway.stop().await;
    let own = trio.two.get("canary/s3-two").await.expect("a canary");
    let foreign = trio.one.get("canary/s3-one").await.expect("a canary");
    trio.two.put("canary/s3-two", foreign.clone()).await;
    let before = trio.two.objects().await;
    trio.two.wire().forget_seen();
    gateway.start().await;
    let bytes = data::bytes("new", 70_000);
    let stored = gateway.put("new.bin", bytes.clone()).await;
    assert_eq!(stored.status, 201);
    assert_ne!(stored.json()["copies"]["s3-two"], "stored");
    for (name, bytes) in &assets {
        assert_eq!(gateway.get(name).await.body, bytes, "{name}");
    }
    assert_eq!(gateway.get("unknown.bin").await.status, 404, "two others are themselves");
    assert_complete(&[&trio.one, &trio.bunny], "new.bin", &bytes).await;
    let alarmed = || async {
        let status = gateway.admin("api/status").await;
        let events = gateway.admin("api/events").await;
        let text = String::from_utf8_lossy(&[status.body, events.body].concat()).to_lowercase();
        (text.contains("foreign") && text.contains("s3-two")).then_some(())
    };
    eventually("the operators are told", Duration::from_secs(60), alarmed).await;
    assert_eq!(writes(&trio.two), Vec::<Seen>::new());
    assert_eq!(trio.two.objects().await, before);

    // Its own canary back, it is a provider again.
    gateway.stop().await;
    trio.two.put("canary/s3-two", own).await;
    gateway.start().await;
    let two = &trio.two;
    let mended = || async { crate::support::copies::is_complete(two, "new.bin", &bytes).await.then_some(()) };
    eventually("what it missed is copied", REFILLED_WITHIN, mended).await;
}

#[tokio::test]
async fn a_gateway_with_another_record_key_writes_nothing_anywhere() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    fill(&gateway, &trio).await;
    gateway.stop().await;
    let mut before = Vec::new();
    for provider in trio.all() {
        before.push(provider.objects().await);
        provider.wire().forget_seen();
    }
    let mut stranger = Setup::of(&trio.all()).record_key(&"ab".repeat(32)).prepare();
    stranger.launch().await;
    for answer in [stranger.put("new.bin", data::bytes("x", 10)).await, stranger.delete("large.bin").await] {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(stranger.get("large.bin").await.status, 503, "it cannot read, and must not say 404");
    for (provider, before) in trio.all().into_iter().zip(before) {
        assert_eq!(writes(provider), Vec::<Seen>::new());
        assert_eq!(provider.objects().await, before, "{}", provider.name());
    }
}
