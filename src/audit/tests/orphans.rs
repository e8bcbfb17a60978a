//! What belongs to no version is reported, is no fault, and stays.

use super::*;
use crate::asset::{Key, UploadId};

fn hours_ago(hours: u64) -> UploadId {
    UploadId::new(NOW - hours * 60 * 60 * 1_000, 99)
}

#[tokio::test(start_paused = true)]
async fn an_alien_object_is_reported_and_stays() {
    let bench = Bench::new().await;
    bench.put("icons/gold.png", 5).await;
    bench.providers[1].insert("holiday/beach.jpg", "alien");
    bench.providers[2].insert("canary/other", "alien");
    for outcome in [bench.audit().await, bench.repair().await] {
        assert_eq!(outcome.exit, 0);
        let orphans: Vec<_> = outcome
            .findings
            .iter()
            .map(|finding| (finding.asset.as_str(), finding.provider.as_str(), finding.kind))
            .collect();
        let kind = FindingKind::Orphan;
        assert_eq!(orphans, [("holiday/beach.jpg", "b", kind), ("canary/other", "c", kind)]);
        assert_eq!(outcome.summary["summary"]["orphan"], 2);
    }
    assert!(bench.providers[1].objects().contains_key("holiday/beach.jpg"));
}

#[tokio::test(start_paused = true)]
async fn uploads_without_a_record_are_orphans_from_one_hour_on() {
    let bench = Bench::new().await;
    let (old, young) = (hours_ago(2), hours_ago(0));
    for number in [0, 1] {
        bench.providers[0].insert(Key::part(old, number), "bytes");
    }
    bench.providers[1].insert(Key::part(old, 7), "bytes");
    bench.providers[0].insert(Key::part(young, 0), "bytes");
    let outcome = bench.repair().await;
    let orphans: Vec<_> = outcome.findings.iter().map(|f| (f.asset.clone(), f.provider.as_str())).collect();
    let dir = crate::asset::key::blob_dir(old);
    assert_eq!(orphans, [(dir, "a"), (Key::part(old, 7).to_string(), "b")]);
    assert_eq!(outcome.exit, 0);
    assert!(bench.providers[0].objects().contains_key(Key::part(old, 0).as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_no_orphan_while_anybody_has_its_record() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", 5).await;
    for provider in &bench.providers[..2] {
        provider.remove(made.record());
    }
    let outcome = bench.audit().await;
    assert!(outcome.findings.iter().all(|finding| finding.kind == FindingKind::Missing), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn feed_entries_without_a_record_are_orphans() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", 5).await;
    bench.providers.iter().for_each(|provider| provider.remove(made.record()));
    let outcome = bench.audit().await;
    let orphans: Vec<_> = outcome.findings.iter().map(|finding| finding.asset.clone()).collect();
    let feed = bench.providers[0].keys("feed/")[0].clone();
    let blob = made.part(0).to_string();
    assert_eq!(orphans, [blob.clone(), blob.clone(), blob, feed.clone(), feed.clone(), feed]);
    assert_eq!(outcome.exit, 0);
}

#[tokio::test(start_paused = true)]
async fn probes_are_orphans_from_one_hour_on() {
    let bench = Bench::new().await;
    bench.providers[0].insert(Key::probe(hours_ago(2)), "probe");
    bench.providers[0].insert(Key::probe(hours_ago(0)), "probe");
    let outcome = bench.audit().await;
    assert_eq!(outcome.findings.len(), 1);
    assert_eq!(outcome.findings[0].asset, Key::probe(hours_ago(2)).to_string());
}

#[tokio::test(start_paused = true)]
async fn orphaned_blobs_are_not_told_while_a_provider_is_silent() {
    let bench = Bench::new().await;
    bench.providers[0].insert(Key::part(hours_ago(2), 0), "bytes");
    bench.providers[0].insert("alien", "bytes");
    bench.providers[1].script(|script| script.down = Some(crate::provider::ErrorKind::Denied));
    let outcome = bench.audit().await;
    assert_eq!(outcome.findings.iter().map(|f| f.asset.as_str()).collect::<Vec<_>>(), ["alien"]);
    assert!(outcome.notes.contains("orphaned blobs were not looked for"), "{}", outcome.notes);
}
