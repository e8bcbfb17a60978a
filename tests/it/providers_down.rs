//! What the client gets when providers are down: every row of the table, with real servers stopped.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::copies::{assert_complete, is_complete};
use crate::support::data;
use crate::support::eventually;
use crate::support::gateway::{Setup, TestGateway};
use crate::support::provider::{Provider, Trio};

const FEED_INTERVAL: Duration = Duration::from_millis(500);
const NO_CACHE: &str = "feed_interval: 500ms\ncache: { memory: 0, disk: 0 }";

async fn stop(trio: &Trio, provider: &Provider) {
    if provider.name() == trio.bunny.name() {
        provider.zone().stop().await;
    } else {
        provider.bucket().server().stop();
    }
}

async fn start(trio: &Trio, provider: &Provider) {
    if provider.name() == trio.bunny.name() {
        provider.zone().restart().await;
    } else {
        provider.bucket().server().start().await;
    }
}

/// A fresh index may say 404 for as long as it is fresh, three feed intervals; afterwards nobody may.
async fn eventually_503(gateway: &TestGateway, name: &str) {
    let since = Mutex::new(Instant::now());
    let ask = || async {
        let refused = gateway.get(name).await.status == 503;
        let mut since = since.lock().unwrap();
        if !refused {
            *since = Instant::now();
        }
        (since.elapsed() > 4 * FEED_INTERVAL).then_some(())
    };
    eventually("an unknown name is 503 and stays it", Duration::from_secs(60), ask).await;
    let answer = gateway.get(name).await;
    assert_eq!(answer.status, 503);
    assert_ne!(answer.header("retry-after"), "");
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn assert_not_committed(gateway: &TestGateway, name: &str) {
    for answer in [gateway.put(name, data::bytes("refused", 1_000)).await, gateway.delete("held.bin").await] {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_ne!(answer.header("retry-after"), "");
        assert_eq!(answer.json()["outcome"], "not-committed");
    }
}

#[tokio::test]
async fn one_provider_down_is_not_noticed_and_gets_its_copies_later() {
    let trio = Trio::private().await;
    let gateway = Setup::of(&trio.all()).yaml(NO_CACHE).start().await;
    let held = data::bytes("held", 100_000);
    gateway.put_everywhere("held.bin", held.clone()).await;
    for down in trio.all() {
        stop(&trio, down).await;
        let (name, bytes) = (format!("without-{}.bin", down.name()), data::bytes(down.name(), 70_000));
        let created = gateway.put(&name, bytes.clone()).await;
        assert_eq!(created.status, 201, "{created:?}");
        let copies = created.json()["copies"].clone();
        assert_ne!(copies[down.name()], "stored", "{copies}");
        assert_eq!(
            copies.as_object().unwrap().values().filter(|state| *state == "stored").count(),
            2,
            "{copies}"
        );
        let bytes = data::bytes(&name, 80_000);
        assert_eq!(gateway.put(&name, bytes.clone()).await.status, 200);
        assert_eq!(gateway.get(&name).await.body, bytes);
        assert_eq!(gateway.get("held.bin").await.body, held);
        assert_eq!(gateway.get("unknown.bin").await.status, 404);
        assert_eq!(gateway.delete("unknown.bin").await.status, 204);
        start(&trio, down).await;
        let mended = || async { is_complete(down, &name, &bytes).await.then_some(()) };
        eventually("the missed copy is made", Duration::from_secs(90), mended).await;
        assert_complete(&trio.all(), &name, &bytes).await;
    }
}

#[tokio::test]
async fn two_providers_down_refuse_writes_and_serve_what_the_third_holds() {
    let trio = Trio::private().await;
    let gateway = Setup::of(&trio.all()).yaml(NO_CACHE).start().await;
    let held = data::bytes("held", 9 << 20);
    gateway.put_everywhere("held.bin", held.clone()).await;
    gateway.put_everywhere("gone.bin", data::bytes("gone", 10)).await;
    assert_eq!(gateway.delete("gone.bin").await.status, 204);
    for up in trio.all() {
        let down: Vec<_> = trio.all().into_iter().filter(|provider| provider.name() != up.name()).collect();
        for provider in &down {
            stop(&trio, provider).await;
        }
        let read = gateway.get("held.bin").await;
        assert!(read.status == 200 && read.body == held, "{} alone: {}", up.name(), read.status);
        let name = format!("refused-{}.bin", up.name());
        assert_not_committed(&gateway, &name).await;
        eventually_503(&gateway, "unknown.bin").await;
        assert_eq!(gateway.get("gone.bin").await.status, 404, "its tombstone is known");
        for provider in &down {
            start(&trio, provider).await;
        }
        let serving = || async { (gateway.get(&name).await.status == 404).then_some(()) };
        eventually("what was refused is known not to be there", Duration::from_secs(60), serving).await;
    }
    assert_eq!(gateway.get("held.bin").await.body, held, "the refused deletes did nothing");
}

#[tokio::test]
async fn three_providers_down_leave_the_cache() {
    let trio = Trio::private().await;
    let mut gateway = Setup::of(&trio.all()).yaml("feed_interval: 500ms").start().await;
    let held = data::bytes("cached", 100_000);
    gateway.put_everywhere("held.bin", held.clone()).await;
    gateway.put_everywhere("cold.bin", data::bytes("cold", 100_000)).await;
    // Only a restarted gateway has certainly not kept what it was sent.
    gateway.stop().await;
    gateway.start().await;
    let warm = || async {
        gateway.get("held.bin").await.header("cache-status").starts_with("triplicate; hit").then_some(())
    };
    eventually("the asset is in memory", Duration::from_secs(10), warm).await;
    for provider in trio.all() {
        stop(&trio, provider).await;
    }
    let cached = gateway.get("held.bin").await;
    assert_eq!((cached.status, &cached.body), (200, &held));
    assert_eq!(gateway.get("cold.bin").await.status, 503);
    assert_not_committed(&gateway, "new.bin").await;
    eventually_503(&gateway, "unknown.bin").await;
    assert_eq!(gateway.get("-/ready").await.status, 200, "the health of providers is not readiness");
    for provider in trio.all() {
        start(&trio, provider).await;
    }
    let back = || async { (gateway.get("cold.bin").await.status == 200).then_some(()) };
    eventually("the providers are used again", Duration::from_secs(60), back).await;
}

#[tokio::test]
async fn a_hanging_provider_holds_up_no_write() {
    let trio = Trio::private().await;
    let gateway = Setup::of(&trio.all()).start().await;
    gateway.put_everywhere("before.bin", data::bytes("before", 10)).await;
    for hanging in [&trio.one, &trio.two] {
        hanging.bucket().server().freeze();
        let begun = Instant::now();
        let (name, bytes) = (format!("during-{}.bin", hanging.name()), data::bytes("during", 300_000));
        assert_eq!(gateway.put(&name, bytes.clone()).await.status, 201);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        hanging.bucket().server().thaw();
        let mended = || async { is_complete(hanging, &name, &bytes).await.then_some(()) };
        eventually("the late copy is made", Duration::from_secs(90), mended).await;
    }
}
