//! Sharing: however many read the same bytes at the same time, a provider is asked once.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation};
use triplicate::read::Wanted;

use crate::stack::Stack;
use crate::{NOW, Site, bytes, site};

const BLOCK: u64 = 64 * 1024;

fn reads(site: &Site) -> u64 {
    site.faulty.iter().map(|faulty| faulty.calls(Operation::Get)).sum()
}

fn listings(site: &Site) -> u64 {
    site.faulty.iter().map(|faulty| faulty.calls(Operation::List)).sum()
}

async fn assert_all_read(stack: &Stack, readers: usize, expected: &bytes::Bytes) {
    let read = join_all((0..readers).map(|_| stack.get("a.bin"))).await;
    assert!(read.into_iter().all(|read| read.unwrap() == expected));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_readers_of_one_cold_asset_make_one_request() {
    let (site, stack) = site().await;
    let content = bytes(1, 50_000);
    stack.put("a.bin", &content).await.unwrap();
    let before = reads(&site);
    assert_all_read(&stack, 10_000, &content).await;
    assert_eq!(reads(&site) - before, 1);
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_larger_one_share_the_block_list_and_the_part() {
    let (site, stack) = site().await;
    let content = bytes(1, 1_000_000);
    stack.put("a.bin", &content).await.unwrap();
    let before = reads(&site);
    assert_all_read(&stack, 1_000, &content).await;
    assert_eq!(reads(&site) - before, 2);
}

#[tokio::test(start_paused = true)]
async fn a_cold_gateway_asks_once_for_all_who_want_the_same_name() {
    let (site, first) = site().await;
    let content = bytes(1, 50_000);
    first.put("a.bin", &content).await.unwrap();
    let cold = site.stack(site.clock(NOW));
    cold.look().await;
    let (reads_before, listings_before) = (reads(&site), listings(&site));
    // Virtual time passes when nothing is left to do, so that all wait for the first answer.
    let slow = Fault::Delay(Duration::from_millis(50));
    for faulty in &site.faulty {
        faulty.set(Operation::List, slow);
        faulty.set(Operation::Get, slow);
    }
    assert_all_read(&cold, 10_000, &content).await;
    let reads = reads(&site) - reads_before;
    // A listing at each provider, the record, the part; and the canaries, if they were looked at.
    assert_eq!(listings(&site) - listings_before, 3);
    assert!(reads <= 2 + 3, "{reads}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_leaves_does_not_fail_those_who_follow_it() {
    let (site, stack) = site().await;
    let content = bytes(1, 10 * BLOCK as usize);
    stack.put("a.bin", &content).await.unwrap();
    let before = reads(&site);
    site.faulty.iter().for_each(|faulty| faulty.set(Operation::Get, Fault::Delay(Duration::from_millis(50))));
    let first = tokio::time::timeout(Duration::from_millis(20), stack.get("a.bin"));
    let (first, second) = tokio::join!(first, stack.get("a.bin"));
    assert!(first.is_err(), "the first one has left");
    assert_eq!(second.unwrap(), content);
    assert_eq!(reads(&site) - before, 2);
}

#[tokio::test(start_paused = true)]
async fn when_all_readers_have_left_the_provider_is_left_too() {
    let (site, stack) = site().await;
    let content = bytes(1, 50_000);
    stack.put("a.bin", &content).await.unwrap();
    site.faulty.iter().for_each(|faulty| faulty.set(Operation::Get, Fault::Hang));
    let gone = tokio::time::timeout(Duration::from_millis(50), stack.get("a.bin"));
    assert!(gone.await.is_err());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(stack.monitor.board().snapshot().iter().map(|health| health.in_flight).sum::<u32>(), 0);
    let before = reads(&site);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(reads(&site), before, "nobody hedges for nobody");
    site.faulty.iter().for_each(|faulty| faulty.heal());
    assert_eq!(stack.get("a.bin").await.unwrap(), content);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_and_a_fast_one_both_get_every_byte() {
    let (_site, stack) = site().await;
    let content = bytes(1, 100 * BLOCK as usize + 3);
    stack.put("a.bin", &content).await.unwrap();
    let read = async |pause: Duration| {
        let record = stack.reader.resolve(&"a.bin".parse().unwrap(), Wanted::default()).await.unwrap();
        let mut body = stack.reader.open(record, 0..content.len() as u64).await.unwrap();
        let mut read = Vec::new();
        while let Some(block) = body.stream.next().await {
            read.extend_from_slice(&block.unwrap());
            tokio::time::sleep(pause).await;
        }
        read
    };
    // A pause of 30 s closes the connection to the provider, which is opened again.
    let (fast, slow, slower) =
        tokio::join!(read(Duration::ZERO), read(Duration::from_millis(5)), read(Duration::from_secs(30)),);
    assert!(fast == content && slow == content && slower == content);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_and_the_next_reader_starts_anew() {
    let (site, stack) = site().await;
    let content = bytes(1, 50_000);
    stack.put("a.bin", &content).await.unwrap();
    site.faulty.iter().for_each(|faulty| faulty.set(Operation::Get, Fault::Error(ErrorKind::Unavailable)));
    let failed = join_all((0..1_000).map(|_| stack.get("a.bin"))).await;
    assert!(failed.iter().all(Result::is_err));
    site.faulty.iter().for_each(|faulty| faulty.heal());
    assert_eq!(stack.get("a.bin").await.unwrap(), content);
}
