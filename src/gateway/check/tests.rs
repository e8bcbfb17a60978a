use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;

use super::*;
use crate::asset::Key;
use crate::config::{Config, Origin};
use crate::gateway::check::report::Level;
use crate::provider::{Capabilities, DirListing, Download, Entry, Payload, ProviderId};

/// A provider in memory that may refuse one operation, hang, or have a wrong clock.
#[derive(Debug)]
struct Stand {
    id: ProviderId,
    objects: Mutex<BTreeMap<String, Bytes>>,
    fails: Option<(Operation, ErrorKind)>,
    hangs: bool,
    clock_offset_ms: i64,
    probes: Mutex<usize>,
}

impl Stand {
    fn new(name: &str) -> Self {
        Self {
            id: ProviderId::new(name),
            objects: Mutex::default(),
            fails: None,
            hangs: false,
            clock_offset_ms: 12,
            probes: Mutex::default(),
        }
    }

    async fn with_canary(name: &str, sealed_by: &RecordKey) -> Self {
        let stand = Self::new(name);
        canary::write(&stand, sealed_by, chrono::DateTime::default()).await.unwrap();
        stand
    }

    fn with_record(self) -> Self {
        self.objects.lock().insert("names/00/x/y.put".to_owned(), Bytes::from_static(b"x"));
        self
    }

    fn failing(self, operation: Operation, kind: ErrorKind) -> Self {
        Self { fails: Some((operation, kind)), ..self }
    }

    async fn answer(&self, operation: Operation) -> Result<()> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        match self.fails {
            Some((failing, kind)) if failing == operation => {
                Err(ProviderError::new(&self.id, operation, kind))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[async_trait]
impl Provider for Stand {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn kind(&self) -> &'static str {
        "s3"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { stat_sha256: false, list_sha256: false, ranges: true, ordered_listing: true }
    }

    async fn put(&self, key: &Key, payload: &Payload, _: &str) -> Result<()> {
        self.answer(Operation::Put).await?;
        self.objects.lock().insert(key.as_str().to_owned(), Bytes::from(payload.chunks().concat()));
        Ok(())
    }

    async fn get(&self, key: &Key, _: Option<Range<u64>>) -> Result<Download> {
        self.answer(Operation::Get).await?;
        let found = self.objects.lock().get(key.as_str()).cloned();
        let bytes = found.ok_or_else(|| ProviderError::new(&self.id, Operation::Get, ErrorKind::NotFound))?;
        let object_bytes = bytes.len() as u64;
        Ok(Download { object_bytes, body: futures::stream::once(async { Ok(bytes) }).boxed() })
    }

    async fn stat(&self, _: &Key) -> Result<Entry> {
        Err(ProviderError::new(&self.id, Operation::Stat, ErrorKind::NotFound))
    }

    async fn delete(&self, _: &Key) -> Result<()> {
        self.answer(Operation::Delete).await
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        self.answer(Operation::List).await?;
        let objects = self.objects.lock();
        let below = objects.keys().filter(|key| key.starts_with(dir));
        let entry = |key: &String| Entry { key: key.clone(), bytes: 1, modified_unix_ms: None, sha256: None };
        Ok(DirListing { entries: below.map(entry).collect(), dirs: Vec::new() })
    }

    fn list_tree(&self, _: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        futures::stream::empty().boxed()
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        Some(self.clock_offset_ms)
    }

    async fn probe(&self) -> Result<ProbeReport> {
        self.answer(Operation::Put).await?;
        *self.probes.lock() += 1;
        Ok(ProbeReport { checksum: "CRC64NVME, enforced".to_owned(), clock_offset_ms: None })
    }
}

fn our_key() -> RecordKey {
    RecordKey::new([7; 32])
}

fn loaded(record_key: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("providers.yaml");
    let providers =
        ["a", "b", "c"].map(|name| format!("  - {{ name: {name}, kind: disk, path: ./{name} }}\n"));
    let text = format!("record_key: {record_key}\nproviders:\n{}", providers.concat());
    std::fs::write(&file, text).unwrap();
    let loaded = Config::load(&file).unwrap();
    Loaded { origin: Origin::File(Path::new("providers.yaml").to_owned()), ..loaded }
}

async fn check_all(stands: Vec<Stand>, key: Option<RecordKey>) -> (Report, Vec<usize>) {
    let stands: Vec<Arc<Stand>> = stands.into_iter().map(Arc::new).collect();
    let fleet = Fleet::new(stands.iter().map(|stand| Arc::clone(stand) as Arc<dyn Provider>).collect());
    let key = key.map(|key| ResolvedKey { key, file: None, made_now: false, open_to_others: false });
    let report = check(&loaded("file:record.key"), &fleet, key.as_ref()).await;
    let probes = stands.iter().map(|stand| *stand.probes.lock()).collect();
    (report, probes)
}

fn finding<'r>(report: &'r Report, provider: usize, topic: &str) -> &'r Finding {
    let findings = &report.providers[provider].findings;
    findings.iter().find(|finding| finding.topic == topic).unwrap_or_else(|| panic!("{topic}: {report}"))
}

#[tokio::test]
async fn a_healthy_set_is_fine_and_the_key_file_only_noted() {
    let key = our_key();
    let stands = vec![Stand::with_canary("a", &key).await, Stand::with_canary("b", &key).await.with_record()];
    let (report, probes) = check_all(stands, Some(key)).await;
    assert_eq!((report.exit, probes), (EXIT_FINE, vec![1, 1]), "{report}");
    assert_eq!(finding(&report, 0, "canary").text, "is ours");
    assert_eq!(finding(&report, 1, "checksum").text, "CRC64NVME, enforced");
    let text = report.to_string();
    assert!(text.contains("NOTE  record key: lies only on this machine"), "{text}");
    assert!(text.ends_with("Fine.\n"), "{text}");
}

#[tokio::test]
async fn an_all_empty_set_is_fine_with_and_without_a_key() {
    for key in [None, Some(our_key())] {
        let (report, _) = check_all(vec![Stand::new("a"), Stand::new("b")], key).await;
        assert_eq!(report.exit, EXIT_FINE, "{report}");
        assert!(finding(&report, 0, "canary").text.contains("at the first start"), "{report}");
    }
}

#[tokio::test]
async fn a_foreign_place_is_never_probed() {
    let key = our_key();
    let stands = vec![
        Stand::with_canary("a", &key).await,
        Stand::with_canary("b", &RecordKey::new([8; 32])).await,
        Stand { id: ProviderId::new("c"), ..Stand::with_canary("other", &key).await },
    ];
    let (report, probes) = check_all(stands, Some(key)).await;
    assert_eq!((report.exit, probes), (EXIT_FIX, vec![1, 0, 0]), "{report}");
    for provider in [1, 2] {
        assert!(finding(&report, provider, "canary").text.contains("is foreign"), "{report}");
    }
}

#[tokio::test]
async fn a_foreign_place_says_nothing_of_the_others() {
    let foreign = Stand::with_canary("a", &RecordKey::new([8; 32])).await;
    let (report, _) = check_all(vec![foreign, Stand::new("b")], Some(our_key())).await;
    assert_eq!(finding(&report, 1, "canary").level, Level::Ok, "{report}");
}

#[tokio::test]
async fn a_missing_canary_beside_others_or_records_is_to_be_fixed() {
    let key = our_key();
    let (report, _) = check_all(vec![Stand::with_canary("a", &key).await, Stand::new("b")], Some(key)).await;
    assert_eq!(report.exit, EXIT_FIX, "{report}");
    assert!(finding(&report, 1, "canary").text.contains("new, wiped or swapped"), "{report}");
    let (report, _) = check_all(vec![Stand::new("a"), Stand::new("b").with_record()], Some(our_key())).await;
    assert_eq!(report.exit, EXIT_FIX, "{report}");
    assert!(finding(&report, 0, "canary").text.contains("though there are records"), "{report}");
}

#[tokio::test]
async fn a_lost_record_key_is_told() {
    let (report, _) = check_all(vec![Stand::with_canary("a", &our_key()).await], None).await;
    assert_eq!(report.exit, EXIT_FIX);
    assert!(
        report.to_string().contains("yet there are providers in use: put the key's copy there"),
        "{report}"
    );
    assert!(finding(&report, 0, "canary").text.contains("without the record key"), "{report}");
}

#[tokio::test]
async fn every_failure_says_what_to_do() {
    let table = [
        (Operation::Get, ErrorKind::Denied, "key", "check `access_key_id`"),
        (Operation::List, ErrorKind::NoContainer, "reach", "the bucket does not exist"),
        (Operation::Put, ErrorKind::Denied, "key", "may read but not write"),
        (Operation::Get, ErrorKind::Unavailable, "reach", "check `endpoint`"),
        (Operation::Get, ErrorKind::Throttled, "reach", "try again later"),
        (Operation::Get, ErrorKind::Protocol, "reach", "is not that of such a provider"),
        (Operation::Put, ErrorKind::Corrupt, "checksum", "other bytes than were sent"),
    ];
    for (operation, kind, topic, fragment) in table {
        let stands = vec![Stand::new("a").failing(operation, kind), Stand::new("b")];
        let (report, _) = check_all(stands, Some(our_key())).await;
        assert_eq!(report.exit, EXIT_FIX, "{kind:?}");
        let found = finding(&report, 0, topic);
        assert!(found.level == Level::Fix && found.text.contains(fragment), "{kind:?}: {report}");
        assert!(report.providers[1].findings.iter().all(|found| found.level == Level::Ok), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_provider_holds_nothing_up_but_the_deadline() {
    let started = Instant::now();
    let stands = vec![Stand { hangs: true, ..Stand::new("a") }, Stand::new("b")];
    let (report, _) = check_all(stands, Some(our_key())).await;
    assert_eq!(started.elapsed().as_secs(), PROVIDER_DEADLINE.as_secs());
    assert!(finding(&report, 0, "reach").text.contains("did not answer in time"), "{report}");
    assert_eq!(finding(&report, 1, "checksum").level, Level::Ok);
}

#[test]
fn clocks_are_judged_by_their_distance() {
    let table = [
        (0, Level::Ok, "0.000 s ahead of"),
        (-4_999, Level::Ok, "4.999 s behind"),
        (5_000, Level::Note, "5.000 s ahead of"),
        (-29_999, Level::Note, "29.999 s behind"),
        (30_000, Level::Fix, "30.000 s ahead of"),
        (i64::MIN, Level::Fix, "NTP"),
    ];
    for (offset_ms, level, fragment) in table {
        let found = words::clock(offset_ms);
        assert!(found.level == level && found.text.contains(fragment), "{offset_ms}: {found}");
    }
}

#[tokio::test]
async fn the_report_is_json_too() {
    let (report, _) = check_all(vec![Stand::new("a")], Some(our_key())).await;
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["exit"], 0);
    assert_eq!(json["providers"][0]["name"], "a");
    assert_eq!(json["providers"][0]["findings"][0]["level"], "ok");
    assert_eq!(json["configuration"]["admin"], "127.0.0.1:8081");
}

#[tokio::test]
async fn a_malformed_key_file_is_a_configuration_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record.key");
    std::fs::write(&file, "nonsense").unwrap();
    let loaded = loaded(&format!("\"file:{}\"", file.display()));
    let fleet = Fleet::new(vec![Arc::new(Stand::new("a"))]);
    assert_eq!(run(&loaded, &fleet, false).await, EXIT_CONFIGURATION);
}
