//! Repair takes turns with clients: it hurries when nobody reads, and beside readers that do not feel it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::time::Instant;
use triplicate::asset::Key;
use triplicate::clock::Clock;
use triplicate::provider::faulty::{Fault, Faulty};
use triplicate::provider::{
    Capabilities, DirListing, Download, Entry, ErrorKind, Payload, ProbeReport, Provider, ProviderId, Result,
    Slot,
};

use crate::stack::{Stack, disk, request};
use crate::{NOW, bytes};

const LACKS: Slot = Slot(2);
/// Several seconds of work beside clients.
const COPIES: usize = 500;
/// Where nobody reads, so many are made at once.
const AT_ONCE: usize = 8;
/// A read begins so often.
const READ_EVERY: Duration = Duration::from_millis(5);

/// How long the way to a provider is.
const WAY: Duration = Duration::from_millis(1);

/// A provider to which each call takes a while.
#[derive(Debug)]
struct Distant(Arc<dyn Provider>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Provider for Distant {
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
        tokio::time::sleep(WAY).await;
        self.0.put(key, payload, content_type).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        tokio::time::sleep(WAY).await;
        self.0.get(key, range).await
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        tokio::time::sleep(WAY).await;
        self.0.stat(key).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.0.delete(key).await
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        tokio::time::sleep(WAY).await;
        self.0.list_dir(dir).await
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        self.0.list_tree(dir)
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        self.0.clock_offset_ms()
    }

    async fn probe(&self) -> Result<ProbeReport> {
        self.0.probe().await
    }
}

/// A gateway whose third provider missed [`COPIES`] uploads and is back.
async fn indebted() -> (tempfile::TempDir, Stack) {
    // In memory where there is such a folder: what disks cost is not what this is about.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let clock = Clock::seeded(NOW, 1);
    let distant = |name| Arc::new(Distant(disk(folder.path(), name, &clock)));
    let third = Arc::new(Faulty::new(distant("c")));
    let providers: Vec<Arc<dyn Provider>> = vec![distant("a"), distant("b"), third.clone()];
    let mut stack = Stack::new(providers, clock, 0);
    stack.start().await;
    third.set_all(Fault::Error(ErrorKind::Unavailable));
    for number in 0..COPIES {
        let mut request = request(&format!("{number}.png"));
        request.wait_all = false;
        stack.put_request(request, &bytes(number as u64, 10)).await.unwrap();
    }
    // Longer than the pipelines of answered writes go on, and long ago for whoever looks for clients.
    tokio::time::sleep(Duration::from_secs(150)).await;
    third.heal();
    stack.recover().await;
    stack.poll().await;
    assert_eq!(missing(&stack).await, COPIES as u64);
    (folder, stack)
}

async fn missing(stack: &Stack) -> u64 {
    stack.catalog.copies_missing().await.iter().find(|(slot, _)| *slot == LACKS).unwrap().1
}

/// Repairs while clients read, and returns how long that took.
async fn repair_beside_clients(stack: &Stack) -> Duration {
    let began = Instant::now();
    let repaired = async {
        stack.repairer.step().await;
        began.elapsed()
    };
    let reads = async {
        let mut turn = tokio::time::interval(READ_EVERY);
        let mut number = 0;
        loop {
            turn.tick().await;
            number = (number + 1) % COPIES;
            stack.get(&format!("{number}.png")).await.unwrap();
        }
    };
    tokio::select! {
        took = repaired => took,
        () = reads => unreachable!("reads go on for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn repair_hurries_when_nobody_reads() {
    let (_folder, stack) = indebted().await;
    assert!(!stack.repairer.pacing().yielding);
    let began = Instant::now();
    stack.repairer.step().await;
    assert_eq!(missing(&stack).await, 0);
    // A copy takes less than ten calls, and eight are made at once.
    assert!(began.elapsed() < Duration::from_millis(COPIES as u64 * 10 / 6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_newest_copies_are_made_first_and_the_oldest_that_lacks_is_told() {
    let (_folder, stack) = indebted().await;
    let version = async |number: usize| {
        let name = format!("{number}.png").parse().unwrap();
        stack.catalog.versions(&name).await.pop().unwrap()
    };
    let oldest = async || {
        let debts = stack.catalog.debts().await;
        debts.into_iter().find(|debt| debt.slot == LACKS).unwrap().oldest_unix_ms
    };
    assert_eq!(oldest().await, Some(version(0).await.version.upload.unix_ms()));
    let step = tokio::time::timeout(Duration::from_millis(100), stack.repairer.step()).await;
    assert!(step.is_err(), "it was to be in the middle");
    let left = usize::try_from(missing(&stack).await).unwrap();
    assert!((1..COPIES).contains(&left), "{left}");
    for number in 0..left - AT_ONCE {
        assert!(!version(number).await.holders.contains(&LACKS), "{number} of {left} that are left");
    }
    stack.repairer.step().await;
    assert_eq!((missing(&stack).await, oldest().await), (0, None));
}

#[tokio::test(start_paused = true)]
async fn repair_beside_clients_that_do_not_feel_it_becomes_faster() {
    let (_folder, stack) = indebted().await;
    stack.get("0.png").await.unwrap();
    let before = stack.repairer.pacing();
    repair_beside_clients(&stack).await;
    assert_eq!(missing(&stack).await, 0);
    let after = stack.repairer.pacing();
    assert!(after.rest_factor < before.rest_factor || after.copies_at_once > 1, "{after:?}");
}
