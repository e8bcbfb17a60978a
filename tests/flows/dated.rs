//! A provider with a clock of its own: it says when it stored what, as S3 and Bunny do.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use triplicate::asset::Key;
use triplicate::clock::Clock;
use triplicate::provider::{
    Capabilities, DirListing, Download, Entry, Payload, ProbeReport, Provider, ProviderId, Result,
};

/// Dates what is stored by a clock that may differ from everybody else's.
#[derive(Debug)]
pub(crate) struct Dated {
    inner: Arc<dyn Provider>,
    clock: Clock,
    ahead_ms: AtomicI64,
    stored: Arc<Mutex<HashMap<String, u64>>>,
}

impl Dated {
    pub(crate) fn new(inner: Arc<dyn Provider>, clock: Clock) -> Self {
        Self { inner, clock, ahead_ms: AtomicI64::new(0), stored: Arc::default() }
    }

    /// Dates an object as stored at another time.
    pub(crate) fn date_back(&self, key: &str, unix_ms: u64) {
        self.stored.lock().unwrap().insert(key.to_owned(), unix_ms);
    }

    /// Sets the clock that much ahead of everybody else's from now on.
    pub(crate) fn set_ahead_ms(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }
}

fn date(stored: &Mutex<HashMap<String, u64>>, entry: Entry) -> Entry {
    let modified_unix_ms = stored.lock().unwrap().get(&entry.key).copied();
    Entry { modified_unix_ms, ..entry }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Provider for Dated {
    fn id(&self) -> &ProviderId {
        self.inner.id()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, key: &Key, payload: &Payload, content_type: &str) -> Result<()> {
        self.inner.put(key, payload, content_type).await?;
        let now = self.clock.unix_ms().saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed));
        self.stored.lock().unwrap().insert(key.to_string(), now);
        Ok(())
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        self.inner.get(key, range).await
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        Ok(date(&self.stored, self.inner.stat(key).await?))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        let DirListing { entries, dirs } = self.inner.list_dir(dir).await?;
        Ok(DirListing { entries: entries.into_iter().map(|entry| date(&self.stored, entry)).collect(), dirs })
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        let stored = self.stored.clone();
        let dated =
            move |page: Result<Vec<Entry>>| Ok(page?.into_iter().map(|entry| date(&stored, entry)).collect());
        self.inner.list_tree(dir).map(dated).boxed()
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        Some(self.ahead_ms.load(Ordering::Relaxed))
    }

    async fn probe(&self) -> Result<ProbeReport> {
        self.inner.probe().await
    }
}
