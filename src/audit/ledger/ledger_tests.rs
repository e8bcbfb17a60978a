use super::*;
use crate::asset::{Key, NameHash, Order, Sha256, UploadId, Version};
use crate::audit::finding::FindingKind;
use crate::provider::{Entry, Slot};

fn version(number: u64) -> VersionId {
    let upload = UploadId::new(number, 7);
    let version = Version { order: Order::new(number), upload };
    VersionId { name: NameHash::new([1; 32]), version, kind: crate::asset::Kind::Put }
}

fn entry(key: impl ToString) -> Entry {
    Entry { key: key.to_string(), bytes: 5, modified_unix_ms: None, sha256: Some(Sha256::of(b"x")) }
}

fn run() -> Run {
    Run {
        options: "all".to_owned(),
        seed: u64::MAX,
        started_ms: 5,
        phase: Phase::Listing,
        cursor: None,
        checked: 0,
        unsure: false,
    }
}

fn finding() -> Finding {
    Finding {
        asset: "icons/gold.png".to_owned(),
        version: None,
        provider: "a".to_owned(),
        kind: FindingKind::Missing,
        detail: "whole copy".to_owned(),
        repaired: false,
    }
}

#[test]
fn what_was_listed_is_found_by_version() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let id = version(9);
    let upload = id.version.upload;
    let feed = Key::feed(77, id.name, id.version, id.kind);
    let keys = [id.record_key(), Key::part(upload, 0), Key::part(upload, 3), Key::blocks(upload), feed];
    let page: Vec<_> = keys.iter().map(entry).collect();
    // A page that comes twice, as after a listing that broke off, changes nothing.
    ledger.add_page(Slot(1), "b", &page).unwrap();
    ledger.add_page(Slot(1), "b", &page).unwrap();
    let listings = ledger.listings_of(&id).unwrap();
    let listed = &listings[&Slot(1)];
    assert_eq!(listings.len(), 1);
    assert_eq!(listed.record, Some((&entry("")).into()));
    assert_eq!(listed.parts.keys().copied().collect::<Vec<_>>(), [0, 3]);
    assert!(listed.blocks.is_some());
    assert!(ledger.has_feed(Slot(1), &id).unwrap());
    assert!(!ledger.has_feed(Slot(0), &id).unwrap());
    ledger.clear_listing(Slot(1)).unwrap();
    assert!(ledger.listings_of(&id).unwrap().is_empty());
}

#[test]
fn versions_come_in_pages_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    for slot in [0, 1] {
        let page: Vec<_> = (1..=5).map(|number| entry(version(number).record_key())).collect();
        ledger.add_page(Slot(slot), "a", &page).unwrap();
    }
    assert_eq!(ledger.count_versions().unwrap(), 5);
    let mut walked = Vec::new();
    while let page = ledger.versions(walked.last().copied(), 2).unwrap()
        && !page.is_empty()
    {
        walked.extend(page);
    }
    assert_eq!(walked, (1..=5).map(version).collect::<Vec<_>>());
}

#[test]
fn only_what_no_record_speaks_of_is_an_orphan() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let [known, lost, late, bare] = [1, 2, 3, 4].map(version);
    let page = [
        entry(known.record_key()),
        entry(Key::part(known.version.upload, 0)),
        entry(Key::part(lost.version.upload, 0)),
        entry(Key::part(lost.version.upload, 1)),
        entry(Key::blocks(lost.version.upload)),
        // Committed after its folder was listed: the feed of that time tells.
        entry(Key::part(late.version.upload, 0)),
        entry(Key::feed(90, late.name, late.version, late.kind)),
        entry(Key::feed(20, bare.name, bare.version, bare.kind)),
        entry("hello.txt"),
        entry("canary/a"),
        entry("canary/other"),
    ];
    ledger.add_page(Slot(0), "a", &page).unwrap();
    ledger.add_page(Slot(2), "c", &[entry(Key::part(known.version.upload, 0))]).unwrap();

    let blobs = ledger.orphan_blobs(None, 80, 10).unwrap();
    let one = Key::part(lost.version.upload, 1);
    assert_eq!(blobs, [OrphanBlob { slot: Slot(0), upload: lost.version.upload, objects: 3, one }]);
    assert!(ledger.orphan_blobs(Some(&blobs[0]), 80, 10).unwrap().is_empty());

    let feeds = ledger.orphan_feeds(None, 10).unwrap();
    assert_eq!(feeds.iter().map(|feed| feed.id).collect::<Vec<_>>(), [late, bare]);
    assert_eq!(ledger.orphan_feeds(Some(&feeds[0]), 10).unwrap(), feeds[1..]);

    let strays = ledger.strays(None, 10).unwrap();
    assert_eq!(
        strays.iter().map(|stray| stray.key.as_str()).collect::<Vec<_>>(),
        ["canary/other", "hello.txt"]
    );
    assert_eq!(ledger.strays(Some(&strays[0]), 10).unwrap(), strays[1..]);
}

#[test]
fn a_run_and_its_findings_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    assert_eq!(ledger.last_run().unwrap(), None);
    ledger.begin(&run()).unwrap();
    let walked = Run { phase: Phase::Walking, cursor: Some(version(3)), checked: 3, unsure: true, ..run() };
    ledger.advance(&walked, &[finding(), finding()]).unwrap();
    drop(ledger);

    let ledger = Ledger::open(dir.path()).unwrap();
    assert_eq!(ledger.last_run().unwrap(), Some(walked.clone()));
    let findings = ledger.findings(0, 1).unwrap();
    assert_eq!(findings, [(1, finding())]);
    assert_eq!(ledger.findings(1, 9).unwrap().len(), 1);

    ledger.advance(&Run { phase: Phase::Orphans, ..walked.clone() }, &[finding()]).unwrap();
    ledger.forget_findings(Phase::Orphans).unwrap();
    assert_eq!(ledger.findings(0, 9).unwrap().len(), 2);
    ledger.begin(&run()).unwrap();
    assert_eq!(ledger.findings(0, 9).unwrap(), []);
}

#[test]
fn two_audits_never_share_a_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let first = Ledger::open(dir.path()).unwrap();
    assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::Busy)));
    drop(first);
    assert!(Ledger::open(dir.path()).is_ok());
}

#[test]
fn a_file_that_is_no_ledger_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("audit.sqlite"), "garbage ".repeat(1_000)).unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    ledger.begin(&run()).unwrap();
    assert_eq!(ledger.last_run().unwrap(), Some(run()));
}
