//! Rescues: each read that another provider saved is in the ledger, with who, why and how long.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Provider, Slot};
use triplicate::read::{ReadError, Wanted};
use triplicate::telemetry::{Event, EventFilter, EventKind};

use crate::stack::Stack;
use crate::{NOW, Site, bytes, site};

const BLOCK: u64 = 64 * 1024;

/// The provider that the next read asks first.
fn first(stack: &Stack, bytes: u64) -> Slot {
    stack.monitor.board().plan(bytes)[0].slot
}

fn rescues(stack: &Stack) -> Vec<Event> {
    let events = stack.telemetry.find_events(&EventFilter::default(), 1_000);
    events.into_iter().filter(|event| event.kind.is_rescue()).collect()
}

/// Reads an asset of `size` bytes while the first provider has a fault; returns the rescues.
async fn rescued_from(fault: Fault, size: usize) -> (Vec<Event>, String) {
    let (site, stack) = site().await;
    let content = bytes(1, size);
    stack.put("a.bin", &content).await.unwrap();
    let slot = first(&stack, size as u64);
    site.faulty[slot.0].set(Operation::Get, fault);
    assert_eq!(stack.get("a.bin").await.unwrap(), content, "{fault:?}");
    (rescues(&stack), stack.fleet.id(slot).to_string())
}

#[tokio::test(start_paused = true)]
async fn every_rescue_says_who_failed_who_helped_why_and_how_long_it_took() {
    let small = 1_000;
    let large = 20 * BLOCK as usize;
    // (fault of the first provider, size, kind of the rescue, cause, the client waited in ms from, to)
    let table = [
        (Fault::Error(ErrorKind::Unavailable), small, EventKind::Takeover, "unavailable", 0, 1),
        (Fault::Error(ErrorKind::Denied), small, EventKind::Takeover, "denied", 0, 1),
        (Fault::CorruptByte(7), small, EventKind::Takeover, "damaged", 0, 1),
        (Fault::Hang, small, EventKind::HedgeWon, "slow", 20, 401),
        (Fault::Delay(Duration::from_secs(3)), small, EventKind::HedgeWon, "slow", 20, 401),
        (Fault::Stall(7), small, EventKind::HedgeWon, "slow", 20, 401),
    ];
    for (fault, size, kind, cause, from, to) in table {
        let (events, failed) = rescued_from(fault, size).await;
        assert_eq!(events.len(), 1, "{fault:?}: {events:?}");
        let rescue = events[0].rescue.clone().unwrap();
        assert_eq!((events[0].kind, rescue.cause), (kind, cause), "{fault:?}");
        assert_eq!(rescue.from.as_ref(), Some(&failed));
        assert_ne!(events[0].provider.as_ref(), Some(&failed));
        assert!((from..=to).contains(&rescue.delay.as_millis()), "{fault:?}: {:?}", rescue.delay);
    }
    let table = [
        (Fault::TruncateWithError(10 * BLOCK + 7, ErrorKind::Unavailable), "unavailable", 0, 1),
        (Fault::TruncateCleanly(10 * BLOCK + 7), "protocol", 0, 1),
        (Fault::CorruptByte(10 * BLOCK + 7), "damaged", 0, 1),
        (Fault::Stall(10 * BLOCK + 7), "stalled", 250, 1_001),
        (Fault::Crawl(Duration::from_millis(30)), "crawled", 0, 1_001),
    ];
    for (fault, cause, from, to) in table {
        let (events, failed) = rescued_from(fault, large).await;
        let events: Vec<_> = events.iter().filter(|event| event.kind == EventKind::TakeoverMidBody).collect();
        assert_eq!(events.len(), 1, "{fault:?}: {events:?}");
        let rescue = events[0].rescue.clone().unwrap();
        assert_eq!((rescue.cause, rescue.from.as_ref()), (cause, Some(&failed)), "{fault:?}");
        assert!((from..=to).contains(&rescue.delay.as_millis()), "{fault:?}: {:?}", rescue.delay);
    }
}

#[tokio::test(start_paused = true)]
async fn rescues_are_counted_by_provider_and_timed_by_cause() {
    let (site, stack) = site().await;
    let content = bytes(1, 1_000);
    stack.put("a.bin", &content).await.unwrap();
    let slot = first(&stack, 1_000);
    site.faulty[slot.0].queue(Operation::Get, Fault::Error(ErrorKind::Throttled));
    stack.get("a.bin").await.unwrap();
    let metrics = stack.telemetry.encode();
    let from = stack.fleet.id(slot);
    let timed =
        format!("triplicate_rescue_seconds_count{{kind=\"takeover\",from=\"{from}\",cause=\"throttled\"}} 1");
    assert!(metrics.contains(&timed), "{metrics}");
    assert!(metrics.contains("triplicate_events_total{kind=\"takeover\""));
    assert!(metrics.contains("reason=\"retry\"} 1"));
}

fn fail_all(site: &Site, fault: Fault) {
    site.faulty.iter().for_each(|faulty| faulty.set_all(fault));
}

#[tokio::test(start_paused = true)]
async fn what_the_cache_holds_is_served_while_all_are_down_and_the_ledger_knows() {
    let (site, mut stack) = crate::site_with_cache(64 << 20).await;
    let content = bytes(1, 3 * BLOCK as usize);
    stack.put("a.bin", &content).await.unwrap();
    stack.get("a.bin").await.unwrap();
    fail_all(&site, Fault::Error(ErrorKind::Unavailable));
    for _ in 0..10 {
        stack.poll().await;
        stack.look().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(!stack.catalog.is_fresh());
    let began = tokio::time::Instant::now();
    assert_eq!(stack.get("a.bin").await.unwrap(), content);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let events = rescues(&stack);
    assert_eq!(events[0].kind, EventKind::CacheRescue, "{events:?}");
    assert!(matches!(stack.get("b.bin").await, Err(ReadError::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_cache_holds_is_served_after_a_restart_while_all_are_down() {
    let (site, stack) = site().await;
    let small = bytes(1, 1_000);
    let large = bytes(2, 20 * BLOCK as usize + 5);
    stack.put("small.png", &small).await.unwrap();
    stack.put("large.bin", &large).await.unwrap();
    let disk_bytes = 64 << 20;
    let over = |state| {
        let providers = site.faulty.iter().map(|faulty| faulty.clone() as Arc<dyn Provider>);
        Stack::over(providers.collect(), site.clock(NOW), 0, disk_bytes, state)
    };
    let mut first = over(tempfile::tempdir().unwrap());
    first.start().await;
    assert_eq!(first.get("small.png").await.unwrap(), small);
    assert_eq!(first.get("large.bin").await.unwrap(), large);
    first.disk.settled().await;
    first.tasks.shut_down(Duration::from_secs(60)).await;
    fail_all(&site, Fault::Error(ErrorKind::Unavailable));
    let state = first.state.unwrap();
    drop((first.reader, first.catalog, first.writer, first.repairer, first.pollers, first.disk));
    let restarted = over(state);
    restarted.look().await;
    let began = tokio::time::Instant::now();
    assert_eq!(restarted.get("small.png").await.unwrap(), small);
    assert_eq!(restarted.get("large.bin").await.unwrap(), large);
    assert_eq!(
        restarted.get_range("large.bin", Some(70_000..300_000)).await.unwrap(),
        large.slice(70_000..300_000)
    );
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(matches!(restarted.get("other.png").await, Err(ReadError::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_can_continue_ends_in_an_error_never_short() {
    let (site, stack) = site().await;
    let content = bytes(1, 20 * BLOCK as usize);
    stack.put("a.bin", &content).await.unwrap();
    let record = stack.reader.resolve(&"a.bin".parse().unwrap(), Wanted::default()).await.unwrap();
    let mut body = stack.reader.open(record, 0..content.len() as u64).await.unwrap();
    let mut read: Vec<u8> = body.stream.next().await.unwrap().unwrap().to_vec();
    fail_all(&site, Fault::Error(ErrorKind::Unavailable));
    let cut = Fault::TruncateWithError(0, ErrorKind::Unavailable);
    site.faulty.iter().for_each(|faulty| faulty.set(Operation::Get, cut));
    let mut last: Option<Result<Bytes, ReadError>> = None;
    while let Some(block) = body.stream.next().await {
        if let Ok(block) = &block {
            read.extend_from_slice(block);
        }
        last = Some(block);
    }
    // What had come from the open connection is right; the rest is an error or everything.
    assert_eq!(read, content[..read.len()]);
    assert!(read.len() == content.len() || matches!(last, Some(Err(ReadError::Unavailable { .. }))));
}

#[tokio::test(start_paused = true)]
async fn aborts_ranges_and_short_reads_are_no_evidence() {
    let (site, stack) = site().await;
    let content = bytes(1, 20 * BLOCK as usize);
    stack.put("a.bin", &content).await.unwrap();
    for cut in [0, 7, BLOCK + 7] {
        site.faulty.iter().for_each(|faulty| faulty.queue(Operation::Get, Fault::TruncateCleanly(cut)));
        let record = stack.reader.resolve(&"a.bin".parse().unwrap(), Wanted::default()).await.unwrap();
        let mut body = stack.reader.open(record, 5..content.len() as u64 - 5).await.unwrap();
        let _ = body.stream.next().await;
        drop(body);
    }
    assert_eq!(stack.get_range("a.bin", Some(70_000..70_001)).await.unwrap(), content.slice(70_000..70_001));
    let bad = EventFilter { kind: Some(EventKind::BadBlock), provider: None };
    assert!(stack.telemetry.find_events(&bad, 10).is_empty());
    assert_eq!(stack.catalog.copies_missing().await.iter().map(|(_, missing)| missing).sum::<u64>(), 0);
}
