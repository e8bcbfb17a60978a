//! A decorator that counts and times every call to a provider, and tells an [`Observer`] of each outcome.
//!
//! A call that its caller gave up is counted as `cancelled`: hidden faults show there first. Downloads are
//! timed to their head, trees page by page. To the observer a download ends well with the last byte of its
//! body, so a provider whose bodies always break never looks well; whether the bytes are the right ones only
//! those know who verify them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use super::{
    Capabilities, DirListing, Download, Entry, ErrorKind, Observer, Operation, Payload, ProbeReport,
    Provider, ProviderError, ProviderId, Result, Slot,
};
use crate::asset::Key;
use crate::clock::Clock;
use crate::telemetry::{CallLabels, Telemetry};

/// The outcome of a call that its caller gave up.
const CANCELLED: &str = "cancelled";
/// A call that is given up after this time speaks against the provider.
const HANGS_AFTER: Duration = Duration::from_millis(500);

/// A provider whose calls are counted and timed.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Provider>,
    meter: Meter,
}

#[derive(Debug, Clone)]
struct Meter {
    telemetry: Telemetry,
    observer: Arc<dyn Observer>,
    clock: Clock,
    slot: Slot,
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
    /// Wraps the provider in `slot`.
    pub fn new(
        inner: Arc<dyn Provider>,
        slot: Slot,
        telemetry: Telemetry,
        observer: Arc<dyn Observer>,
        clock: Clock,
    ) -> Self {
        let provider = inner.id().as_str().to_owned();
        Self { inner, meter: Meter { telemetry, observer, clock, slot, provider } }
    }
}

impl Meter {
    fn begin(&self, operation: Operation) -> Call<'_> {
        Call { meter: self, operation, began: self.clock.now(), outcome: CANCELLED }
    }

    fn observe(&self, operation: Operation, began: Instant, failure: Option<&ProviderError>) {
        let took = self.clock.now().duration_since(began);
        let detail = failure.map_or("", |failure| failure.detail.as_str());
        self.observer.observe(self.slot, operation, took, failure.map(|failure| &failure.kind), detail);
    }

    /// Watches a body: it succeeds with its last byte, and fails with its first error.
    fn watch(&self, download: Download, bytes: u64) -> Download {
        let (meter, began) = (self.clone(), self.clock.now());
        let mut left = bytes;
        let body = download.body.inspect(move |chunk| match chunk {
            Ok(chunk) if left > 0 => {
                left = left.saturating_sub(chunk.len() as u64);
                if left == 0 {
                    meter.observe(Operation::Get, began, None);
                }
            }
            Ok(_) => {}
            Err(failure) => meter.observe(Operation::Get, began, Some(failure)),
        });
        Download { object_bytes: download.object_bytes, body: body.boxed() }
    }
}

impl Call<'_> {
    fn end<T>(mut self, result: Result<T>) -> Result<T> {
        self.outcome = match &result {
            Ok(_) => "ok",
            Err(error) => error.kind.as_str(),
        };
        match &result {
            // A download has only begun.
            Ok(_) if self.operation == Operation::Get => {}
            Ok(_) => self.meter.observe(self.operation, self.began, None),
            Err(error) => self.meter.observe(self.operation, self.began, Some(error)),
        }
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
        let took = self.meter.clock.now().duration_since(self.began);
        self.meter.telemetry.call(&labels, took);
        // Somebody waited for so long and then did without: the provider hangs.
        if self.outcome == CANCELLED && took >= HANGS_AFTER {
            let kind = ErrorKind::Timeout;
            self.meter.observer.observe(self.meter.slot, self.operation, took, Some(&kind), "no answer");
        }
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
        let wanted = range.as_ref().map(|range| range.end - range.start);
        let call = self.meter.begin(Operation::Get);
        let download = call.end(self.inner.get(key, range).await)?;
        let bytes = wanted.unwrap_or(download.object_bytes);
        Ok(self.meter.watch(download, bytes))
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
    use super::*;
    use crate::provider::disk::{DiskProvider, DiskSettings};
    use crate::provider::faulty::{Fault, Faulty};

    /// What the observer was told.
    #[derive(Debug, Default)]
    struct Outcomes(parking_lot::Mutex<Vec<(Operation, Option<ErrorKind>)>>);

    impl Observer for Outcomes {
        fn observe(&self, _: Slot, operation: Operation, _: Duration, failure: Option<&ErrorKind>, _: &str) {
            self.0.lock().push((operation, failure.copied()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_succeeds_with_its_last_byte() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DiskSettings { path: folder.path().to_owned() };
        let clock = Clock::system();
        let disk = DiskProvider::new(ProviderId::new("disk-a"), settings, clock.clone()).unwrap();
        let faulty = Arc::new(Faulty::new(Arc::new(disk)));
        let observer = Arc::new(Outcomes::default());
        let provider = Arc::clone(&faulty) as Arc<dyn Provider>;
        let metered = Metered::new(provider, Slot(0), Telemetry::new(), observer.clone(), clock.clone());
        let key = Key::part(clock.upload_id(), 0);
        metered.put(&key, &Payload::from(bytes::Bytes::from_static(b"hello")), "text/plain").await.unwrap();
        let download = metered.get(&key, None).await.unwrap();
        assert_eq!(observer.0.lock().len(), 1);
        download.body.for_each(|_| async {}).await;
        faulty.queue(Operation::Get, Fault::TruncateWithError(2, ErrorKind::Unavailable));
        metered.get(&key, None).await.unwrap().body.for_each(|_| async {}).await;
        let told = observer.0.lock().clone();
        let get = |failure| (Operation::Get, failure);
        assert_eq!(told, [(Operation::Put, None), get(None), get(Some(ErrorKind::Unavailable))]);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_by_outcome_and_given_up_ones_too() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DiskSettings { path: folder.path().to_owned() };
        let clock = Clock::system();
        let disk = DiskProvider::new(ProviderId::new("disk-a"), settings, clock.clone()).unwrap();
        let faulty = Arc::new(Faulty::new(Arc::new(disk)));
        let telemetry = Telemetry::new();
        let observer = Arc::new(Outcomes::default());
        let provider = Arc::clone(&faulty) as Arc<dyn Provider>;
        let metered = Metered::new(provider, Slot(0), telemetry.clone(), observer.clone(), clock.clone());
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
