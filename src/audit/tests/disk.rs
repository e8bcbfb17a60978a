//! Whole audits over real folders.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::asset::{Key, PART_BYTES};
use crate::provider::disk::{DiskProvider, DiskSettings};
use crate::provider::faulty::{Fault, Faulty};
use crate::provider::{ErrorKind, Operation, Provider, ProviderId};

const NAMES: [&str; 3] = ["a", "b", "c"];

struct Disks {
    dir: tempfile::TempDir,
    providers: [Arc<Faulty>; 3],
    clock: Clock,
}

impl Disks {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let providers = NAMES.map(|name| {
            let settings = DiskSettings { path: dir.path().join(name) };
            let disk = DiskProvider::new(ProviderId::new(name), settings, clock.clone()).unwrap();
            Arc::new(Faulty::new(Arc::new(disk)))
        });
        for provider in &providers {
            canary::write(provider.as_ref(), &KEY, to_utc(DAY_BEFORE)).await.unwrap();
        }
        Self { dir, providers, clock }
    }

    async fn put(&self, name: &str, size: usize) -> Made {
        let made = Made::put(name, DAY_BEFORE, size);
        for provider in &self.providers {
            made.store(provider.as_ref(), &Clock::manual(DAY_BEFORE)).await;
        }
        made
    }

    fn file(&self, provider: &str, key: &Key) -> PathBuf {
        self.dir.path().join(provider).join(key.as_str())
    }

    /// Audits, and returns the exit status and each finding's provider, kind and whether it was repaired.
    async fn audit(&self, level: Level, repair: bool) -> (u8, Vec<(String, FindingKind, bool)>) {
        let fleet = Fleet::new(
            self.providers.iter().map(|provider| Arc::clone(provider) as Arc<dyn Provider>).collect(),
        );
        let options = AuditOptions {
            level,
            repair,
            prefix: None,
            sample: None,
            max_bytes_per_second: Some(1 << 30),
            resume: false,
            report: None,
            json: true,
            state_dir: self.dir.path().join("state"),
        };
        let (out, notes) = (Buffer::default(), Buffer::default());
        let bar = ProgressBar::hidden();
        let screen = Screen::new(true, &self.clock, bar, Box::new(out.clone()), Box::new(notes));
        let exit = run_on(fleet, KEY, self.clock.clone(), options, screen).await;
        let shown = out.text();
        let findings = shown.lines().filter_map(|line| serde_json::from_str::<Finding>(line).ok());
        (exit, findings.map(|finding| (finding.provider, finding.kind, finding.repaired)).collect())
    }
}

#[tokio::test]
async fn folders_are_compared_and_mended() {
    let disks = Disks::new().await;
    let small = disks.put("icons/gold.png", 5).await;
    let large = disks.put("videos/large.bin", PART_BYTES as usize + 1).await;
    for level in LEVELS {
        assert_eq!(disks.audit(level, false).await, (0, vec![]));
    }
    let flipped = disks.file("a", &large.part(1));
    fs::write(&flipped, [!fs::read(&flipped).unwrap()[0]]).unwrap();
    fs::remove_file(disks.file("b", &small.part(0))).unwrap();
    fs::write(disks.file("c", &small.record()), "not a record").unwrap();
    let expected = |repaired: bool| {
        let mut expected = vec![
            ("a".to_owned(), FindingKind::Damaged, repaired),
            ("b".to_owned(), FindingKind::Missing, repaired),
            ("c".to_owned(), FindingKind::Forged, repaired),
        ];
        expected.sort();
        expected
    };
    for (repair, exit) in [(false, 2), (true, 1)] {
        let (status, mut findings) = disks.audit(Level::Checksum, repair).await;
        findings.sort();
        assert_eq!((status, findings), (exit, expected(repair)));
    }
    assert_eq!(disks.audit(Level::Bytes, false).await, (0, vec![]));
    assert_eq!(fs::read(&flipped).unwrap(), &large.bytes[PART_BYTES as usize..]);
}

#[tokio::test]
async fn an_emptied_folder_is_refilled_and_a_removed_one_is_not_judged() {
    let disks = Disks::new().await;
    disks.put("icons/gold.png", 5).await;
    let root = disks.dir.path().join("b");
    for entry in fs::read_dir(&root).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    assert_eq!(disks.audit(Level::List, false).await.0, 2);
    assert_eq!(disks.audit(Level::List, true).await.0, 1);
    assert_eq!(disks.audit(Level::Bytes, false).await.0, 0);
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(disks.audit(Level::Bytes, true).await, (3, vec![]));
    assert!(!root.exists());
}

#[tokio::test(start_paused = true)]
async fn bodies_that_break_are_unreadable_and_flips_on_the_way_are_no_damage() {
    let disks = Disks::new().await;
    let made = disks.put("icons/gold.png", 50_000).await;
    let provider = &disks.providers[0];
    // The canary and the record are read first, then the bytes.
    let passes = Fault::Delay(std::time::Duration::ZERO);
    for fault in [Fault::TruncateWithError(9_000, ErrorKind::Timeout), Fault::TruncateCleanly(9_000)] {
        let faults = [passes, passes, fault, fault, fault];
        faults.into_iter().for_each(|fault| provider.queue(Operation::Get, fault));
        let (exit, findings) = disks.audit(Level::Bytes, false).await;
        assert_eq!(
            (exit, findings),
            (3, vec![("a".to_owned(), FindingKind::Unreadable, false)]),
            "{fault:?}"
        );
        provider.heal();
    }
    for fault in [passes, passes, Fault::CorruptByte(30_000)] {
        provider.queue(Operation::Get, fault);
    }
    let before = provider.calls(Operation::Get);
    assert_eq!(disks.audit(Level::Bytes, false).await, (0, vec![]));
    assert_eq!(provider.calls(Operation::Get) - before, 4, "the part is read twice");
    assert!(disks.file("a", &made.part(0)).exists());
}
