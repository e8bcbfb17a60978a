//! Local state is a cache: whatever happens to it, nothing acknowledged is lost.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use crate::support::copies::copies;
use crate::support::data;
use crate::support::eventually;
use crate::support::gateway::{Answer, Setup, TestGateway};
use crate::support::provider::Trio;

/// Stores some icons, replaces one, deletes another, and returns what has to be there.
async fn fill(gateway: &TestGateway) -> Vec<(String, Bytes)> {
    let mut assets: Vec<_> =
        data::icons()[..12].iter().map(|(file, bytes)| (format!("icons/{file}"), bytes.clone())).collect();
    for (name, bytes) in &assets {
        assert_eq!(gateway.put(name, bytes.clone()).await.status, 201);
    }
    assets[3].1 = data::bytes("replaced", 150_000);
    assert_eq!(gateway.put(&assets[3].0, assets[3].1.clone()).await.status, 200);
    assert_eq!(gateway.put("gone.bin", data::bytes("gone", 10)).await.status, 201);
    assert_eq!(gateway.delete("gone.bin").await.status, 204);
    assets
}

async fn assert_all_there(gateway: &TestGateway, assets: &[(String, Bytes)]) {
    for (name, bytes) in assets {
        let read = gateway.get(name).await;
        assert!(read.status == 200 && read.body == bytes, "{name}: {}", read.status);
    }
    assert_eq!(gateway.get("gone.bin").await.status, 404);
    assert_eq!(gateway.get("never.bin").await.status, 404);
}

#[tokio::test]
async fn a_stopped_gateway_comes_back_with_and_without_its_state() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    let assets = fill(&gateway).await;
    assert_eq!(gateway.stop().await, 0, "an orderly end is no failure");
    gateway.start().await;
    assert_all_there(&gateway, &assets).await;
    gateway.stop().await;
    gateway.delete_state();
    gateway.start().await;
    assert_all_there(&gateway, &assets).await;
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing_that_it_acknowledged() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    let assets = fill(&gateway).await;
    gateway.kill();
    gateway.start().await;
    assert_all_there(&gateway, &assets).await;
    let (name, last) = ("last.bin", data::bytes("last", 9 << 20));
    assert_eq!(gateway.put(name, last.clone()).await.status, 201);
    gateway.kill();
    gateway.delete_state();
    gateway.start().await;
    assert_all_there(&gateway, &assets).await;
    assert_eq!(gateway.get(name).await.body, last);
}

#[tokio::test]
async fn an_upload_cut_by_a_kill_was_never_there() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    let old = data::bytes("old", 1_000);
    gateway.put_everywhere("replaced.bin", old.clone()).await;
    for name in ["new.bin", "replaced.bin"] {
        let (half, before) = (data::bytes("half", 9 << 20), trio.two.keys_below("blobs/").await.len());
        let endless =
            futures::stream::once(async { Ok::<_, std::io::Error>(half) }).chain(futures::stream::pending());
        let upload = gateway.authorised("PUT", name).body(reqwest::Body::wrap_stream(endless));
        let upload = tokio::task::spawn(upload.send());
        let sent = || async { (trio.two.keys_below("blobs/").await.len() > before).then_some(()) };
        eventually("a first part lies on a provider", Duration::from_secs(30), sent).await;
        gateway.kill();
        assert!(upload.await.unwrap().is_err(), "a cut upload is not acknowledged");
        gateway.start().await;
    }
    assert_eq!(gateway.get("new.bin").await.status, 404);
    assert_eq!(gateway.get("replaced.bin").await.body, old);
    for provider in trio.all() {
        assert_eq!(copies(provider, "new.bin").await.len(), 0);
    }
}

#[tokio::test]
async fn an_index_that_is_garbage_is_rebuilt() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    let assets = fill(&gateway).await;
    gateway.stop().await;
    let mut spoiled = 0;
    for entry in std::fs::read_dir(gateway.home().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "token" {
            std::fs::write(path, data::bytes("garbage", 10_000)).unwrap();
            spoiled += 1;
        }
    }
    assert!(spoiled > 0, "there is an index");
    gateway.start().await;
    assert_all_there(&gateway, &assets).await;
}

#[tokio::test]
async fn a_second_gateway_sees_what_the_first_was_told() {
    let trio = Trio::shared().await;
    let first = Setup::of(&trio.all()).start().await;
    let assets = fill(&first).await;
    let second = Setup::of(&trio.all()).start().await;
    assert_all_there(&second, &assets).await;
    let bytes = data::bytes("new", 5_000);
    first.put("new.bin", bytes.clone()).await;
    let now = Answer::of(second.authorised("GET", "new.bin").header("Cache-Control", "no-cache")).await;
    assert_eq!((now.status, &now.body), (200, &bytes), "no-cache with a token sees every acknowledged write");
    first.put("newer.bin", bytes.clone()).await;
    let seen = || async { (second.get("newer.bin").await.status == 200).then_some(()) };
    eventually("the feed brings the news", Duration::from_secs(10), seen).await;
    second.delete("new.bin").await;
    let gone = || async { (first.get("new.bin").await.status == 404).then_some(()) };
    eventually("the feed brings the deletion", Duration::from_secs(10), gone).await;
}

#[tokio::test]
async fn a_gateway_starts_without_state_while_one_provider_is_down() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    let assets = fill(&gateway).await;
    for down in trio.all() {
        gateway.stop().await;
        gateway.delete_state();
        down.wire().refuse().await;
        gateway.start().await;
        assert_all_there(&gateway, &assets).await;
        down.wire().restore().await;
    }
}
