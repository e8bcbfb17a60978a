//! Gateways that end while they write a snapshot or remove an old one: nothing that is left misleads, and it goes.

use std::time::Duration;

use triplicate::provider::Operation;
use triplicate::provider::faulty::Fault;

use crate::retention::{HOUR, later};
use crate::snapshot_faults::{alarms, assert_right};
use crate::snapshots::{came_with_its_record, snapshot_keys, snapshots, with_names, with_snapshot};
use crate::stack::Stack;
use crate::{NOW, Site};

/// A snapshot so small has one chunk and its manifest.
const OBJECTS: u64 = 2;

/// Ends what a gateway does once the providers have taken so many calls of an operation.
async fn crash(site: &Site, operation: Operation, taken: [u64; 3], acting: impl Future) {
    for (faulty, taken) in site.faulty.iter().zip(taken) {
        (0..taken).for_each(|_| faulty.queue(operation, Fault::Delay(Duration::ZERO)));
        faulty.set(operation, Fault::Hang);
    }
    let ended = tokio::time::timeout(Duration::from_secs(1), acting).await;
    assert!(ended.is_err(), "{operation:?} {taken:?}: it was to be in the middle");
    site.faulty.iter().for_each(|faulty| faulty.heal());
}

/// How many snapshots lie at each provider, all of which must be whole.
async fn whole(stack: &Stack) -> Vec<usize> {
    let mut counts = Vec::new();
    for slot in stack.fleet.slots() {
        let keys = snapshot_keys(stack.keys(slot).await);
        let manifests = keys.iter().filter(|key| key.ends_with("manifest")).count();
        assert_eq!(keys.len() as u64, manifests as u64 * OBJECTS, "{slot:?}: {keys:?}");
        counts.push(manifests);
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn half_a_snapshot_misleads_nobody_and_is_removed_a_day_later() {
    // All chunks are stored before the first manifest; at which providers is up to chance.
    for (objects, slots) in (0..OBJECTS).flat_map(|objects| (0..7).map(move |slots| (objects, slots))) {
        let taken = [0, 1, 2].map(|slot| objects + (slots >> slot & 1));
        let (site, one) = with_names().await;
        crash(&site, Operation::Put, taken, snapshots(&one).write()).await;
        drop(one);
        let mut cold = site.stack(site.clock(NOW));
        cold.start().await;
        assert!(cold.catalog.is_ready() && cold.catalog.is_fresh(), "{taken:?}");
        assert_eq!(came_with_its_record(&cold, "0.png").await, taken.contains(&OBJECTS), "{taken:?}");
        assert_eq!(alarms(&cold), 0, "{taken:?}");
        assert_right(&cold).await;
        later(&mut cold, HOUR * 25).await;
        cold.catalog.read_missing_records().await;
        snapshots(&cold).step().await;
        let expected = taken.map(|taken| 1 + usize::from(taken == OBJECTS));
        assert_eq!(whole(&cold).await, expected, "{taken:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_an_old_snapshot_is_removed_leaves_what_the_next_gateway_removes() {
    for removed in 0..OBJECTS * 3 {
        let (site, mut one) = with_snapshot().await;
        for _ in 0..2 {
            later(&mut one, HOUR * 13).await;
            snapshots(&one).write().await.unwrap();
        }
        assert_eq!(whole(&one).await, [3; 3]);
        // One provider after the other.
        let taken = [0, 1, 2].map(|slot| removed.saturating_sub(slot * OBJECTS).min(OBJECTS));
        crash(&site, Operation::Delete, taken, snapshots(&one).step()).await;
        let clock = one.clock.clone();
        drop(one);
        let mut cold = site.stack(clock);
        cold.start().await;
        assert!(came_with_its_record(&cold, "0.png").await, "{taken:?}");
        assert_eq!(alarms(&cold), 0, "{taken:?}");
        assert_right(&cold).await;
        snapshots(&cold).step().await;
        assert_eq!(whole(&cold).await, [2; 3], "{taken:?}");
    }
}
