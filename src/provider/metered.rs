//! A decorator that counts and times every call to a provider.
//!
//! A call that its caller gave up is counted as `cancelled`: hidden faults show there first. Downloads are
//! timed to their head, trees page by page. What flows in bodies is counted where it is used.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use super::{
    Capabilities, DirListing, Download, Entry, Operation, Payload, ProbeReport, Provider, ProviderId, Result,
};
use crate::asset::Key;
use crate::clock::Clock;
use crate::telemetry::{CallLabels, Telemetry};

/// A provider whose calls are counted and timed.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Provider>,
    meter: Meter,
}

#[derive(Debug, Clone)]
struct Meter {
    telemetry: Telemetry,
    clock: Clock,
    provider: String,
}

/// One call that is under way; it is counted when it ends or is dropped.
struct Call<'a> {
    meter: &'a Meter,
    operation: Operation,
    began: Instant,
    outcome: &'static str,
}

impl Metered {
    /// Wraps a provider.
    pub fn new(inner: Arc<dyn Provider>, telemetry: Telemetry, clock: Clock) -> Self {
        let provider = inner.id().as_str().to_owned();
        Self { inner, meter: Meter { telemetry, clock, provider } }
    }
}

impl Meter {
    fn begin(&self, operation: Operation) -> Call<'_> {
        Call { meter: self, operation, began: self.clock.now(), outcome: "cancelled" }
    }
}

impl Call<'_> {
    fn end<T>(mut self, result: Result<T>) -> Result<T> {
        self.outcome = match &result {
            Ok(_) => "ok",
            Err(error) => error.kind.as_str(),
        };
        result
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let labels = CallLabels {
            provider: self.meter.provider.clone(),
            operation: self.operation.as_str(),
            outcome: self.outcome,
        };
        self.meter.telemetry.call(&labels, self.meter.clock.now().duration_since(self.began));
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Provider for Metered {
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
        let call = self.meter.begin(Operation::Put);
        call.end(self.inner.put(key, payload, content_type).await)
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        let call = self.meter.begin(Operation::Get);
        call.end(self.inner.get(key, range).await)
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        let call = self.meter.begin(Operation::Stat);
        call.end(self.inner.stat(key).await)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let call = self.meter.begin(Operation::Delete);
        call.end(self.inner.delete(key).await)
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        let call = self.meter.begin(Operation::List);
        call.end(self.inner.list_dir(dir).await)
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        let state = (self.inner.list_tree(dir), self.meter.clone());
        stream::unfold(state, |(mut pages, meter)| async move {
            let call = meter.begin(Operation::List);
            let page = call.end(pages.next().await.transpose()).transpose();
            page.map(|page| (page, (pages, meter)))
        })
        .boxed()
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        self.inner.clock_offset_ms()
    }

    async fn probe(&self) -> Result<ProbeReport> {
        let call = self.meter.begin(Operation::Probe);
        call.end(self.inner.probe().await)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::disk::{DiskProvider, DiskSettings};
    use crate::provider::faulty::{Fault, Faulty};

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_by_outcome_and_given_up_ones_too() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DiskSettings { path: folder.path().to_owned() };
        let clock = Clock::system();
        let disk = DiskProvider::new(ProviderId::new("disk-a"), settings, clock.clone()).unwrap();
        let faulty = Arc::new(Faulty::new(Arc::new(disk)));
        let telemetry = Telemetry::new();
        let metered = Metered::new(Arc::clone(&faulty) as _, telemetry.clone(), clock.clone());
        let key = Key::part(clock.upload_id(), 0);

        metered.list_dir("").await.unwrap();
        assert!(metered.stat(&key).await.is_err());
        faulty.set(Operation::Get, Fault::Hang);
        assert!(tokio::time::timeout(Duration::from_secs(1), metered.get(&key, None)).await.is_err());

        let text = telemetry.encode();
        for line in [
            r#"provider_calls_total{provider="disk-a",operation="list",outcome="ok"} 1"#,
            r#"provider_calls_total{provider="disk-a",operation="stat",outcome="not_found"} 1"#,
            r#"provider_calls_total{provider="disk-a",operation="get",outcome="cancelled"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
