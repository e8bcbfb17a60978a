//! Whatever two providers do wrong, a read is right while the third holds the bytes.

use std::time::Duration;

use bytes::Bytes;

use crate::support::data;
use crate::support::eventually;
use crate::support::gateway::{Answer, Setup, TestGateway};
use crate::support::provider::{Provider, Trio};
use triplicate::drill::wire::{Fault, Rule};

/// Faults that show themselves at once; none of them is a matter of waiting.
fn faults() -> Vec<Fault> {
    vec![
        Fault::FlipBit(0),
        Fault::FlipBit(70_000),
        Fault::ResetAfter(0),
        Fault::ResetAfter(100_000),
        Fault::ShortBody(65_536),
        Fault::CleanShortBody(65_536),
        Fault::CleanShortBody(0),
        Fault::Status(503, "busy"),
        Fault::Status(500, "broken"),
        Fault::Status(403, "denied"),
        Fault::Status(401, "denied"),
        Fault::Status(404, "no such key"),
        Fault::Status(429, "slow down"),
        Fault::OtherBody(data::bytes("another", 200_000)),
        Fault::OtherBody(Bytes::from_static(b"<html>")),
        Fault::WrongRange,
        Fault::GzipHeader,
        Fault::ErrorWithStatus200,
    ]
}

const SIZE: usize = 200_000;

async fn assert_reads_are_right(gateway: &TestGateway, bytes: &Bytes, what: &str) {
    let read = gateway.get("a.bin").await;
    assert!(read.status == 200 && read.body == bytes, "{what}: {}", read.status);
    let range = Answer::of(gateway.request("GET", "a.bin").header("Range", "bytes=66000-199999")).await;
    assert!(range.status == 206 && range.body == bytes.slice(66_000..), "{what}: {}", range.status);
    assert!(read.headers.keys().all(|name| !name.as_str().starts_with("x-amz")), "{what}");
}

#[tokio::test]
async fn a_fault_at_two_providers_is_never_visible() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).yaml("cache: { memory: 0, disk: 0 }").start().await;
    let bytes = data::bytes("faults", SIZE);
    gateway.put_everywhere("a.bin", bytes.clone()).await;
    for fault in faults() {
        for good in 0..3 {
            let bad = |index: usize| index != good;
            let inject = |(_, provider): (usize, &Provider)| {
                provider.wire().inject(Rule::from(fault.clone()).methods(&["GET"]).prefix("blobs/"));
            };
            trio.all().into_iter().enumerate().filter(|(index, _)| bad(*index)).for_each(inject);
            let what = format!("{fault:?} everywhere but at {}", trio.all()[good].name());
            assert_reads_are_right(&gateway, &bytes, &what).await;
            trio.all().iter().for_each(|provider| provider.wire().clear());
        }
    }
}

#[tokio::test]
async fn a_fault_that_no_provider_is_free_of_is_never_a_wrong_byte() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).yaml("cache: { memory: 0, disk: 0 }").start().await;
    let bytes = data::bytes("everywhere", SIZE);
    gateway.put_everywhere("a.bin", bytes.clone()).await;
    for fault in faults().into_iter().filter(|fault| !matches!(fault, Fault::Status(404, _))) {
        for provider in trio.all() {
            provider.wire().inject(Rule::from(fault.clone()).methods(&["GET"]).prefix("blobs/"));
        }
        let request = gateway.request("GET", "a.bin").timeout(Duration::from_secs(60));
        let answer = request.send().await.expect("the gateway answers");
        let status = answer.status().as_u16();
        let whole = answer.bytes().await;
        // Harmless for this provider or that; an answer that is whole is right, and none is a false 404.
        match (status, whole) {
            (200, Ok(body)) => assert!(body == bytes, "{fault:?}: wrong bytes in a whole answer"),
            (200, Err(_)) | (503, _) => {}
            (other, _) => panic!("{fault:?}: {other}"),
        }
        trio.all().iter().for_each(|provider| provider.wire().clear());
        assert_reads_are_right(&gateway, &bytes, &format!("after {fault:?} everywhere")).await;
    }
}

#[tokio::test]
async fn bytes_that_all_providers_deny_for_a_while_are_served_again() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).yaml("cache: { memory: 0, disk: 0 }").start().await;
    let bytes = data::bytes("denied", SIZE);
    gateway.put_everywhere("a.bin", bytes.clone()).await;
    for provider in trio.all() {
        provider
            .wire()
            .inject(Rule::from(Fault::Status(404, "no such key")).methods(&["GET"]).prefix("blobs/"));
    }
    // What a majority that has proved to be itself lacks was never committed.
    assert!([404, 503].contains(&gateway.get("a.bin").await.status));
    trio.all().iter().for_each(|provider| provider.wire().clear());
    let served = || async { (gateway.get("a.bin").await.body == bytes).then_some(()) };
    eventually("the verdict does not outlive its reason for long", Duration::from_secs(90), served).await;
}

#[tokio::test]
async fn a_copy_that_was_damaged_at_rest_is_not_served() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).yaml("cache: { memory: 0, disk: 0 }").start().await;
    let bytes = data::bytes("at rest", SIZE);
    gateway.put_everywhere("a.bin", bytes.clone()).await;
    for provider in [&trio.one, &trio.bunny] {
        for key in provider.keys_below("blobs/").await {
            provider.damage(&key).await;
        }
    }
    assert_reads_are_right(&gateway, &bytes, "damage at rest").await;
}
