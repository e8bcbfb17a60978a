//! The take-down: nothing of a name is left anywhere but its tombstone, and nobody serves it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use triplicate::asset::{Key, key};
use triplicate::gateway::purge::{Ending, Pass, purge};
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Provider, Slot};
use triplicate::read::{CacheSweep, ReadError, Wanted};
use triplicate::retention::Brake;
use triplicate::retention::purge::{Cleared, Clearing};
use triplicate::telemetry::EventKind;
use triplicate::write::PutRequest;

use crate::retention::{HOUR, TRIES, keys, later, name, remove, site};
use crate::stack::{RETENTION, Stack, request};
use crate::{Site, bytes};

async fn run(
    stack: &Stack,
    text: &str,
    stop: &CancellationToken,
    mut show: impl FnMut(&Pass),
) -> (Ending, Vec<Pass>) {
    let (mut passes, name) = (Vec::new(), name(text));
    let ending = purge(&stack.writer, &stack.retention, &stack.clock, &name, stop, |pass| {
        passes.push(pass.clone());
        show(pass);
    })
    .await;
    (ending, passes)
}

/// A gateway with a cache of its own.
async fn caching(site: &Site) -> Stack {
    let providers = site.faulty.iter().map(|faulty| faulty.clone() as Arc<dyn Provider>);
    let mut stack = Stack::new(providers.collect(), site.clock.clone(), 64 << 20);
    stack.start().await;
    stack
}

#[tokio::test(start_paused = true)]
async fn a_purge_leaves_a_tombstone_and_nothing_else() {
    let (site, stack) = site().await;
    stack.put("other.png", &bytes(9, 10)).await.unwrap();
    let kept = keys(&stack).await;
    for number in 0..3 {
        stack.put("a.png", &bytes(number, 100_000)).await.unwrap();
    }
    stack.writer.delete(name("a.png")).await.unwrap();
    stack.put("a.png", &bytes(4, 100_000)).await.unwrap();
    // The tool has an index of its own, and comes months later.
    tokio::time::advance(HOUR * 2_000).await;
    let mut tool = site.stack(site.clock.clone());
    tool.start().await;
    let (ending, passes) = run(&tool, "a.png", &CancellationToken::new(), |_| ()).await;
    assert_eq!(ending, Ending::Gone);
    assert!(passes[0].providers.iter().all(|it| it.versions == 5 && it.objects == 4 * 4 + 2), "{passes:?}");
    assert!(passes.iter().all(|pass| pass.watching_for_seconds.is_none()), "{passes:?}");
    for (before, after) in kept.iter().zip(keys(&tool).await) {
        let new: Vec<_> = after.iter().filter(|key| !before.contains(key)).collect();
        assert!(new.len() == 2 && new.iter().all(|key| key.ends_with(".del")), "{new:?}");
    }
    assert_eq!(tool.get("other.png").await.unwrap(), bytes(9, 10));
    assert_eq!(run(&tool, "never.png", &CancellationToken::new(), |_| ()).await.0, Ending::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_purge_with_a_provider_down_says_so_and_finishes_when_it_is_back() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable));
    let stop = CancellationToken::new();
    let mut seen = 0;
    let (ending, passes) = run(&stack, "a.png", &stop, |_| {
        seen += 1;
        if seen == 4 {
            site.faulty[2].heal();
        }
    })
    .await;
    assert_eq!(ending, Ending::Gone);
    assert!(passes[..4].iter().all(|pass| pass.providers[2].failure.is_some()), "{passes:?}");
    assert!(passes[1].providers[0].is_clear());
    let waits: Vec<_> = passes.iter().filter_map(|pass| pass.again_in_seconds).collect();
    assert_eq!(waits[..4], [10, 20, 40, 60], "ever less often");
    assert_eq!(passes[4].providers[2].versions, 1);
    assert!(passes.iter().all(|pass| pass.watching_for_seconds.is_none()), "it had its copy: {passes:?}");
    assert!(
        !keys(&stack).await.iter().flatten().any(|key| key.ends_with(".put") || key.starts_with("blobs/"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_purge_says_so_and_without_a_majority_nothing_is_removed() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    let before = stack.keys(Slot(0)).await;
    for down in [1, 2] {
        site.faulty[down].set_all(Fault::Error(ErrorKind::Unavailable));
    }
    tokio::time::advance(Duration::from_secs(90)).await;
    stack.look().await;
    let stop = CancellationToken::new();
    let mut seen = 0;
    let (ending, passes) = run(&stack, "a.png", &stop, |_| {
        seen += 1;
        if seen == 4 {
            stop.cancel();
        }
    })
    .await;
    assert_eq!(ending, Ending::Interrupted);
    assert!(passes[0].not_deleted.is_some() && passes[0].providers.is_empty(), "{passes:?}");
    assert_eq!(stack.keys(Slot(0)).await, before);
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_a_purge_is_finished_by_the_next_one() {
    for step in 0..4 {
        let (site, stack) = site().await;
        stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
        for _ in 0..step {
            site.faulty[0].queue(Operation::Delete, Fault::Delay(Duration::ZERO));
        }
        for _ in 0..TRIES {
            site.faulty[0].queue(Operation::Delete, Fault::Error(ErrorKind::Unavailable));
        }
        let stop = CancellationToken::new();
        run(&stack, "a.png", &stop, |_| stop.cancel()).await;
        let mut next = site.stack(site.clock.clone());
        next.start().await;
        assert_eq!(run(&next, "a.png", &CancellationToken::new(), |_| ()).await.0, Ending::Gone);
        let left: Vec<_> = keys(&next).await.into_iter().flatten().collect();
        assert!(left.iter().all(|key| key.ends_with(".del")), "{step}: {left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_gateway_serves_a_purged_name_from_its_cache_or_by_its_version() {
    let (site, stack) = site().await;
    let mut other = caching(&site).await;
    let old = stack.put("a.png", &bytes(1, 100_000)).await.unwrap().record;
    stack.put("a.png", &bytes(2, 100_000)).await.unwrap();
    other.poll().await;
    let wanted = Wanted { version: Some(old.version), revalidate: false };
    let read = other.reader.resolve(&old.name, wanted).await.unwrap();
    let opened = other.reader.open(read, 0..100_000).await.unwrap();
    drop(futures::TryStreamExt::try_collect::<Vec<_>>(opened.stream).await.unwrap());
    other.get("a.png").await.unwrap();
    let calls = || site.faulty.iter().map(|faulty| faulty.calls(Operation::Get)).sum::<u64>();
    let before = calls();
    other.get("a.png").await.unwrap();
    assert_eq!(calls(), before, "it is cached");
    assert_eq!(run(&stack, "a.png", &CancellationToken::new(), |_| ()).await.0, Ending::Gone);
    other.look().await;
    other.poll().await;
    assert!(matches!(other.get("a.png").await, Err(ReadError::NotFound)));
    assert!(matches!(other.reader.resolve(&old.name, wanted).await, Err(ReadError::NotFound)));
    // Nor does its repair bring anything back.
    other.heal().await;
    assert!(!keys(&stack).await.iter().flatten().any(|key| key.ends_with(".put")));
}

#[tokio::test(start_paused = true)]
async fn after_a_purge_retention_takes_the_tombstone_as_well() {
    let (_site, mut stack) = site().await;
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    assert_eq!(run(&stack, "a.png", &CancellationToken::new(), |_| ()).await.0, Ending::Gone);
    for _ in 0..5 {
        later(&mut stack, RETENTION / 3).await;
        assert!(stack.retention.round(Brake::Stop, false).await.is_done());
    }
    assert_eq!(keys(&stack).await, vec![Vec::<String>::new(); 3]);
    assert_eq!(stack.catalog.names().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_of_a_minority_does_not_make_a_purge_remove_the_current_version() {
    let (_site, mut stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    stack.writer.delete(name("a.png")).await.unwrap();
    for slot in [1, 2] {
        remove(&stack, slot, ".del").await;
    }
    later(&mut stack, HOUR).await;
    let before = keys(&stack).await;
    let cleared = stack.retention.clear(name("a.png").hash(), None, true).await;
    assert!(matches!(cleared, Clearing::NotDeleted(_)), "{cleared:?}");
    assert_eq!(keys(&stack).await, before);
    assert!(before.iter().flatten().any(|text| key::parse(text).is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_a_deleted_name_goes_on_though_for_a_moment_only_a_minority_answers() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    stack.writer.delete(name("a.png")).await.unwrap();
    site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable));
    let mut seen = 0;
    let (ending, passes) = run(&stack, "a.png", &CancellationToken::new(), |_| {
        seen += 1;
        match seen {
            2 => site.faulty[1].set_all(Fault::Error(ErrorKind::Unavailable)),
            3 => site.faulty[1].heal(),
            4 => site.faulty[2].heal(),
            _ => {}
        }
    })
    .await;
    assert_eq!(ending, Ending::Gone);
    assert!(passes.len() > 4 && passes[2].providers.iter().all(|it| it.failure.is_some()), "{passes:?}");
    assert!(!keys(&stack).await.iter().flatten().any(|key| key.ends_with(".put")));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_on_its_way_during_a_purge_is_removed_too() {
    let (site, stack) = site().await;
    site.faulty[2].set(Operation::Put, Fault::Delay(Duration::from_secs(10)));
    let put = PutRequest { wait_all: false, ..request("a.png") };
    stack.put_request(put, &bytes(1, 100_000)).await.unwrap();
    site.faulty[2].heal();
    // Its part is stored in ten seconds' time, then come record and feed entry.
    let mut tool = site.stack(site.clock.clone());
    tool.start().await;
    let (ending, passes) = run(&tool, "a.png", &CancellationToken::new(), |_| ()).await;
    assert_eq!(ending, Ending::Gone);
    assert!(passes[1].providers.iter().all(Cleared::is_clear), "it was not there yet: {passes:?}");
    assert!(passes[1].watching_for_seconds.is_some(), "{passes:?}");
    stack.tasks.shut_down(Duration::from_secs(60)).await;
    let left: Vec<_> = keys(&tool).await.into_iter().flatten().collect();
    assert!(left.iter().all(|key| key.ends_with(".del")), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_purge_removes_what_one_provider_alone_has_of_a_write_that_failed() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 100_000)).await.unwrap();
    for slot in [0, 1] {
        remove(&stack, slot, "names/").await;
    }
    // The tool knows nothing yet, and the two that lack it are faster.
    let tool = site.stack(site.clock.clone());
    tool.look().await;
    site.faulty[2].set(Operation::List, Fault::Delay(Duration::from_millis(300)));
    let (ending, _) = run(&tool, "a.png", &CancellationToken::new(), |_| ()).await;
    assert_eq!(ending, Ending::Gone);
    let left: Vec<_> =
        keys(&tool).await.into_iter().flatten().filter(|key| key.starts_with("names/")).collect();
    assert!(left.len() == 3 && left.iter().all(|key| key.ends_with(".del")), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_to_a_provider_that_lacked_them_are_removed_though_no_record_follows() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 100)).await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    let record = stack.put("a.png", &bytes(2, 100_000)).await.unwrap().record;
    let upload = record.version.upload.to_string();
    for slot in [0, 1] {
        remove(&stack, slot, &upload).await;
    }
    let tool = site.stack(site.clock.clone());
    tool.look().await;
    // The survey hears the two that lack it.
    site.faulty[2].set(Operation::List, Fault::Delay(Duration::from_millis(300)));
    let part = site.folder.path().join("a").join(Key::part(record.version.upload, 0).as_str());
    let mut seen = 0;
    // Both come within one millisecond, so the first tombstone is not the newest.
    let (ending, passes) = run(&tool, "a.png", &CancellationToken::new(), |_| {
        seen += 1;
        if seen == 4 {
            std::fs::create_dir_all(part.parent().unwrap()).unwrap();
            std::fs::write(&part, "what repair had read before").unwrap();
        }
    })
    .await;
    assert_eq!(ending, Ending::Gone);
    assert!(passes[4].providers[0].objects == 1, "{passes:?}");
    assert!(passes[4].watching_for_seconds > passes[3].watching_for_seconds, "{passes:?}");
    let left: Vec<_> = keys(&tool).await.into_iter().flatten().collect();
    assert!(left.iter().all(|key| key.ends_with(".del")), "{left:?}");
}

/// A gateway with a disk cache that holds two assets, of which the first is purged by somebody else.
async fn caching_on_disk_what_is_purged(site: &Site) -> Stack {
    let providers = site.faulty.iter().map(|faulty| faulty.clone() as Arc<dyn Provider>);
    let state = tempfile::tempdir().unwrap();
    let mut stack = Stack::over(providers.collect(), site.clock.clone(), 64 << 20, 64 << 20, state);
    stack.start().await;
    // Uploads soon after a first start are looked at one by one anyway.
    tokio::time::advance(Duration::from_secs(120)).await;
    stack.look().await;
    stack.poll().await;
    for (name, number) in [("a.png", 1), ("a.png", 2), ("a.png", 3), ("b.png", 4)] {
        stack.put(name, &bytes(number, 100_000)).await.unwrap();
        stack.get(name).await.unwrap();
        stack.disk.settled().await;
    }
    stack.poll().await;
    let mut tool = site.stack(site.clock.clone());
    tool.start().await;
    assert_eq!(run(&tool, "a.png", &CancellationToken::new(), |_| ()).await.0, Ending::Gone);
    stack
}

/// Sweeps the whole disk cache, and returns how many uploads left and how many are there.
async fn swept(stack: &Stack) -> (usize, usize) {
    let sweep = CacheSweep::new(stack.catalog.clone(), stack.cache.clone(), stack.disk.clone());
    let (mut gone, mut there) = (0, 0);
    for folder in 0..=255 {
        gone += sweep.step().await.unwrap();
        stack.disk.settled().await;
        there += stack.disk.uploads_in(folder).await.len();
    }
    (gone, there)
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_knew_what_was_purged_calls_it_no_loss() {
    let site = Site::new();
    let mut stack = caching_on_disk_what_is_purged(&site).await;
    for _ in 0..30 {
        tokio::time::advance(Duration::from_secs(10)).await;
        stack.look().await;
        stack.poll().await;
        // Beside clients repair tries one copy after the other.
        stack.put("c.png", &bytes(5, 10)).await.unwrap();
        stack.repairer.step().await;
    }
    let events = stack.telemetry.recent_events(100);
    assert!(!events.iter().any(|event| event.kind == EventKind::RepairFailed), "{events:?}");
    assert!(stack.catalog.debts().await.iter().all(|debt| debt.copies == 0));
    assert_eq!(stack.catalog.versions(&name("a.png")).await.len(), 1, "its tombstone");
    assert_eq!(swept(&stack).await, (3, 1), "what the index forgot");
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_leaves_the_disk_cache_and_nothing_else_does() {
    let site = Site::new();
    let mut stack = caching_on_disk_what_is_purged(&site).await;
    assert_eq!(swept(&stack).await, (0, 4), "the gateway does not know yet");
    stack.look().await;
    stack.poll().await;
    assert_eq!(stack.catalog.versions(&name("a.png")).await.len(), 4);
    assert_eq!(swept(&stack).await, (3, 1));
    assert_eq!(stack.get("b.png").await.unwrap(), bytes(4, 100_000));
    assert_eq!(swept(&stack).await, (0, 1));
}
