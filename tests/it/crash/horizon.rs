//! The horizon: once a day has passed, nothing is left of uploads and removals that kills cut short.
//!
//! Servers date what they store by their own clocks, and nobody waits for a day. So a gateway sweeps whose clock is a
//! day ahead, over providers that seem to agree with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use triplicate::clock::Clock;
use triplicate::provider::Provider;
use triplicate::provider::faulty::Faulty;
use triplicate::retention::Brake;

use super::settled::orphans;
use crate::stack::Stack;
use crate::support::eventually;
use crate::support::provider::Trio;

/// By how much the clock of the gateway that sweeps is ahead: more than orphans have to be old.
const AHEAD_MS: u64 = 26 * 60 * 60 * 1_000;
/// Providers that are busy may not answer in time.
const SWEPT_WITHIN: Duration = Duration::from_secs(300);
/// Between two attempts.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Sweeps, a day later; all orphans are gone then, and nothing else is. Returns how many there were.
pub async fn assert_orphans_go(trio: &Trio) -> usize {
    let before = keys(trio).await;
    sweep(trio).await;
    let (after, mut count) = (keys(trio).await, 0);
    for ((provider, before), after) in trio.all().into_iter().zip(before).zip(after) {
        let orphans = orphans(&before);
        count += orphans.len();
        let expected: BTreeSet<_> = before.difference(&orphans).cloned().collect();
        assert_eq!(after, expected, "{}", provider.name());
    }
    count
}

/// What lies at each provider but canaries and probes.
async fn keys(trio: &Trio) -> Vec<BTreeSet<String>> {
    let mut all = Vec::new();
    for provider in trio.all() {
        let mut keys: BTreeSet<_> = provider.keys().await.into_iter().collect();
        keys.retain(|key| ["blobs/", "names/", "feed/"].iter().any(|folder| key.starts_with(folder)));
        all.push(keys);
    }
    all
}

async fn sweep(trio: &Trio) {
    let clock = Clock::seeded(Clock::system().unix_ms() + AHEAD_MS, 1);
    let providers = trio.all().map(|provider| {
        let agreeing = Faulty::new(provider.product());
        agreeing.skew(0);
        Arc::new(agreeing) as Arc<dyn Provider>
    });
    let mut stack = Stack::new(providers.to_vec(), clock, 0);
    stack.start().await;
    let deadline = Instant::now() + SWEPT_WITHIN;
    while !stack.fleet.slots().all(|slot| stack.catalog.is_loaded(slot)) {
        assert!(Instant::now() < deadline, "the names are not loaded within {SWEPT_WITHIN:?}");
        tokio::time::sleep(AGAIN_AFTER).await;
        stack.look().await;
        stack.poll().await;
    }
    // What the index knows by a feed entry alone is unknown once that is gone, so its bytes go with the second round.
    for round in ["first", "second"] {
        let stack = &stack;
        eventually(&format!("orphans are swept, the {round} time"), SWEPT_WITHIN, || async move {
            let report = stack.retention.round(Brake::Released, true).await;
            if report.is_done() {
                return Some(());
            }
            println!("swept in part: {report:?}");
            tokio::time::sleep(AGAIN_AFTER).await;
            stack.look().await;
            None
        })
        .await;
    }
}
