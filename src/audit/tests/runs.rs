//! Options, reports, resuming, and what happens while traffic goes on.

use std::time::Duration;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_prefix_is_not_known_to_be_lacking_where_no_record_can_be_read() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", 10).await;
    bench.providers[..2].iter().for_each(|provider| provider.remove(made.record()));
    bench.providers[2].flip(made.record(), 20);
    let prefix = Some("icons/".to_owned());
    let outcome = bench.audit_with(&AuditOptions { prefix, ..bench.options.clone() }).await;
    assert_eq!((outcome.exit, outcome.findings.len()), (3, 0), "{:?}", outcome.findings);
    assert_eq!(bench.audit().await.exit, 2);
}

#[tokio::test(start_paused = true)]
async fn a_prefix_leaves_other_assets_and_orphans_alone() {
    let bench = Bench::new().await;
    let inside = bench.put("icons/gold.png", 5).await;
    let outside = bench.put("photos/gold.png", 5).await;
    for made in [&inside, &outside] {
        bench.providers[0].remove(made.part(0));
    }
    bench.providers[0].insert("alien", "bytes");
    let prefix = Some("icons/".to_owned());
    let outcome = bench.audit_with(&AuditOptions { prefix, ..bench.options.clone() }).await;
    let assets: Vec<_> = outcome.findings.iter().map(|finding| finding.asset.as_str()).collect();
    assert_eq!(assets, ["icons/gold.png"]);
    assert_eq!(outcome.summary["summary"]["checked"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_sample_looks_at_its_share_and_tells_its_seed() {
    let bench = Bench::new().await;
    for number in 0..20 {
        bench.put(&format!("icons/{number}"), 5).await;
    }
    for (share, expected) in [(0.0, 0..1), (0.5, 1..20), (1.0, 20..21)] {
        let outcome = bench.audit_with(&AuditOptions { sample: Some(share), ..bench.options.clone() }).await;
        let checked = outcome.summary["summary"]["checked"].as_i64().unwrap();
        assert!(expected.contains(&checked), "{share}: {checked}");
        assert!(outcome.notes.contains("the sample's seed is"), "{}", outcome.notes);
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_is_what_json_shows() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", 5).await;
    bench.providers[0].remove(made.part(0));
    let outcome = bench.audit().await;
    let report = std::fs::read_to_string(bench.options.report.as_ref().unwrap()).unwrap();
    assert_eq!(outcome.shown, report);
    let last: serde_json::Value = serde_json::from_str(report.lines().last().unwrap()).unwrap();
    let expected = serde_json::json!({"summary": {"checked": 1, "missing": 1, "damaged": 0, "unreadable": 0,
        "orphan": 0, "forged": 0, "repaired": 0, "exit": 2}});
    assert_eq!(last, expected);

    let plain = bench.audit_with(&AuditOptions { json: false, ..bench.options.clone() }).await;
    assert!(plain.shown.starts_with("missing    icons/gold.png version "), "{}", plain.shown);
    assert!(plain.shown.contains(" at a: part 00000\n"), "{}", plain.shown);
    assert_eq!(std::fs::read_to_string(bench.options.report.as_ref().unwrap()).unwrap(), report);
}

#[tokio::test(start_paused = true)]
async fn a_report_or_ledger_that_cannot_be_opened_is_refused_before_work_begins() {
    let bench = Bench::new().await;
    bench.providers[0].take_calls();
    let report = Some(bench.dir.path().join("no such folder/report"));
    let outcome = bench.audit_with(&AuditOptions { report, ..bench.options.clone() }).await;
    assert_eq!(outcome.exit, 64);

    let other = Ledger::open(&bench.options.state_dir).unwrap();
    let outcome = bench.audit().await;
    assert_eq!(outcome.exit, 64);
    assert!(outcome.notes.contains("another audit is running"), "{}", outcome.notes);
    drop(other);
    assert_eq!(bench.providers[0].take_calls(), []);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_audit_goes_on_where_it_was() {
    let bench = Bench::new().await;
    for number in 0..60 {
        let made = bench.put(&format!("icons/{number}"), 5).await;
        bench.providers[number % 3].remove(made.part(0));
    }
    // Only seconds old and not complete, so that the audit waits in its middle.
    let new = Made::put("icons/new", NOW - 1_000, 5);
    new.store(&bench.providers[0], &bench.clock).await;
    let interrupted = tokio::time::timeout(Duration::from_secs(5), bench.audit()).await;
    assert!(interrupted.is_err(), "the audit was to wait for the new version");

    let resumed = bench.audit_with(&AuditOptions { resume: true, ..bench.options.clone() }).await;
    assert!(resumed.notes.contains("going on behind"), "{}", resumed.notes);
    let anew = bench.audit().await;
    assert_eq!(resumed.findings, anew.findings);
    assert_eq!(resumed.summary, anew.summary);
    assert_eq!(anew.findings.len(), 62, "the new version is missing at two providers");

    let resumed = bench.audit_with(&AuditOptions { resume: true, ..bench.options.clone() }).await;
    assert!(resumed.notes.contains("there is nothing to resume"), "{}", resumed.notes);
    assert_eq!(resumed.findings, anew.findings);
}

#[tokio::test(start_paused = true)]
async fn an_audit_with_other_options_is_not_resumed() {
    let bench = Bench::new().await;
    Made::put("icons/new", NOW, 5).store(&bench.providers[0], &bench.clock).await;
    let interrupted = tokio::time::timeout(Duration::from_secs(5), bench.audit()).await;
    assert!(interrupted.is_err());
    let options = AuditOptions { resume: true, level: Level::Bytes, ..bench.options.clone() };
    let outcome = bench.audit_with(&options).await;
    assert!(outcome.notes.contains("had other options"), "{}", outcome.notes);
}

#[tokio::test(start_paused = true)]
async fn a_new_version_is_given_time_to_arrive() {
    let bench = Bench::new().await;
    let new = Made::put("icons/new", NOW - 1_000, 5);
    for provider in &bench.providers[..2] {
        new.store(provider, &bench.clock).await;
    }
    let arrives = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        new.store(&bench.providers[2], &bench.clock).await;
    };
    let (outcome, ()) = tokio::join!(bench.audit(), arrives);
    assert_eq!((outcome.exit, outcome.findings), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_was_written_after_the_listing_is_found_in_the_feed() {
    let bench = Bench::new().await;
    let provider = &bench.providers[0];
    let ledger = Ledger::open(&bench.options.state_dir).unwrap();
    let screen = Screen::standard(true, &bench.clock);
    listing::list(&ledger, Slot(0), provider, &screen).await.unwrap();
    let tail = FeedTail::new(Slot(0), provider, &bench.clock, NOW);
    for minutes in [0, 1, 2, 60, 600] {
        tokio::time::advance(Duration::from_secs(60 * minutes)).await;
        let made = Made::put("icons/late", bench.clock.unix_ms(), 5);
        let record = &made.copy.record;
        let id = ledger::VersionId { name: record.name.hash(), version: record.version, kind: record.kind() };
        assert!(!tail.has(&ledger, provider, &id).await.unwrap());
        tokio::time::advance(Duration::from_millis(1)).await;
        made.store(provider, &bench.clock).await;
        assert!(tail.has(&ledger, provider, &id).await.unwrap(), "{minutes}");
    }
}
