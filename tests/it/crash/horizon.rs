//! The horizon: once a day has passed, nothing is left of uploads and removals that kills cut short.
//!
//! Servers date what they store by their own clocks, and nobody waits for a day. So a gateway sweeps whose clock is a
//! day ahead, over providers that seem to agree with it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::BoxStream;
use triplicate::asset::Key;
use triplicate::clock::Clock;
use triplicate::provider::{
    Capabilities, DirListing, Download, Entry, Payload, ProbeReport, Provider, ProviderId, Result,
};
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
    let providers = trio.all().map(|provider| Arc::new(Ahead(provider.product())) as Arc<dyn Provider>);
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

/// A provider whose clock is that of whoever asks.
#[derive(Debug)]
struct Ahead(Arc<dyn Provider>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Provider for Ahead {
    fn id(&self) -> &ProviderId {
        self.0.id()
    }

    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn put(&self, key: &Key, payload: &Payload, content_type: &str) -> Result<()> {
        self.0.put(key, payload, content_type).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        self.0.get(key, range).await
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        self.0.stat(key).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.0.delete(key).await
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        self.0.list_dir(dir).await
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        self.0.list_tree(dir)
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        Some(0)
    }

    async fn probe(&self) -> Result<ProbeReport> {
        self.0.probe().await
    }
}
