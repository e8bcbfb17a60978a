//! Deleting writes a tombstone everywhere, and what is deleted stays deleted.

use std::time::Duration;

use crate::support::copies::copies;
use crate::support::data;
use crate::support::eventually;
use crate::support::gateway::{Answer, Setup};
use crate::support::provider::{Provider, Trio};

async fn has_tombstone(provider: &Provider, name: &str) -> bool {
    let newest = copies(provider, name).await.into_iter().next();
    newest.is_some_and(|copy| copy.kind == "del" && !copy.feed.is_empty())
}

#[tokio::test]
async fn a_deleted_asset_has_a_tombstone_at_every_provider_and_is_404() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).start().await;
    gateway.put_everywhere("a.bin", data::bytes("a", 100_000)).await;
    let deleted = gateway.delete("a.bin").await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(gateway.get("a.bin").await.status, 404);
    assert_eq!(gateway.head("a.bin").await.status, 404);
    for provider in trio.all() {
        let there = || async { has_tombstone(provider, "a.bin").await.then_some(()) };
        eventually("the tombstone lies at every provider", Duration::from_secs(30), there).await;
        let all = copies(provider, "a.bin").await;
        assert_eq!(all.len(), 2, "the deleted version is kept: this is undo");
        let (tombstone, old) = (&all[0], &all[1]);
        assert_eq!((tombstone.parts.len(), &tombstone.blocks), (0, &None), "a tombstone has no blob");
        assert_eq!(old.parts.len(), 1);
        let mut fields: Vec<_> = tombstone.record.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["created", "format", "kind", "name", "upload", "version"]);
        assert_eq!(tombstone.record["kind"], "del");
    }
}

#[tokio::test]
async fn deleting_is_idempotent() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).start().await;
    assert_eq!(gateway.delete("never.bin").await.status, 204);
    gateway.put_everywhere("a.bin", data::bytes("a", 10)).await;
    for _ in 0..3 {
        assert_eq!(gateway.delete("a.bin").await.status, 204);
        assert_eq!(gateway.get("a.bin").await.status, 404);
    }
}

#[tokio::test]
async fn a_deleted_name_can_be_used_again_and_old_versions_can_be_read() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).start().await;
    let (old, new) = (data::bytes("old", 66_000), data::bytes("new", 10));
    let version = gateway.put_everywhere("a.bin", old.clone()).await.header("triplicate-version").to_owned();
    assert_eq!(gateway.delete("a.bin").await.status, 204);
    let undo = gateway.get(&format!("a.bin?version={version}")).await;
    assert_eq!((undo.status, undo.body), (200, old));
    assert_eq!(gateway.put("a.bin", new.clone()).await.status, 201, "it was not there, so it is created");
    assert_eq!(gateway.get("a.bin").await.body, new);
}

#[tokio::test]
async fn what_was_deleted_while_a_provider_was_away_stays_deleted() {
    let trio = Trio::shared().await;
    let mut gateway = Setup::of(&trio.all()).start().await;
    for away in trio.all() {
        gateway.put_everywhere("a.bin", data::bytes(away.name(), 1_000)).await;
        away.wire().refuse().await;
        assert_eq!(gateway.delete("a.bin").await.status, 204);
        assert_eq!(gateway.get("a.bin").await.status, 404);
        away.wire().restore().await;
        let there = || async { has_tombstone(away, "a.bin").await.then_some(()) };
        eventually("the tombstone reaches the provider that was away", Duration::from_secs(90), there).await;
        gateway.stop().await;
        gateway.delete_state();
        gateway.start().await;
        assert_eq!(gateway.get("a.bin").await.status, 404, "{} does not bring it back", away.name());
        let listed = Answer::of(gateway.authorised("GET", "a.bin").header("Cache-Control", "no-cache")).await;
        assert_eq!(listed.status, 404);
    }
}
