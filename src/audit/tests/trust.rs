//! Providers that are silent, foreign or forged, and what an audit dares to remove.

use super::*;
use crate::asset::RecordKey;
use crate::provider::{ErrorKind, Operation};

fn writes(provider: &Memory) -> usize {
    let calls = provider.take_calls().into_iter();
    calls.filter(|(operation, ..)| matches!(operation, Operation::Put | Operation::Delete)).count()
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_makes_the_audit_unsure_and_the_rest_goes_on() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", 5).await;
    for kind in [ErrorKind::Denied, ErrorKind::Unavailable, ErrorKind::NoContainer, ErrorKind::Timeout] {
        bench.providers[0].script(|script| script.down = Some(kind));
        let outcome = bench.audit().await;
        assert_eq!((outcome.exit, outcome.findings.len()), (3, 0), "{kind:?}");
        assert_eq!(outcome.summary["summary"]["checked"], 1);
        assert!(outcome.notes.contains("a does not answer"), "{}", outcome.notes);
    }
    bench.providers[1].remove(made.part(0));
    assert_eq!(bench.audit().await.exit, 2, "a fault that remains outranks it");
    assert_eq!(bench.repair().await.exit, 3);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_stops_answering_is_left_after_a_while() {
    let bench = Bench::new().await;
    for number in 0..100 {
        bench.put(&format!("icons/{number}"), 5).await;
    }
    bench.providers[2].script(|script| script.calls_left = 5);
    let outcome = bench.audit().await;
    assert_eq!(outcome.exit, 3);
    assert_eq!(outcome.summary["summary"]["checked"], 100);
    assert!(outcome.notes.contains("c stopped answering"), "{}", outcome.notes);
    let unreadable = outcome.findings.iter().filter(|finding| finding.kind == FindingKind::Unreadable);
    assert!((20..60).contains(&unreadable.count()));
    assert!(outcome.findings.iter().all(|finding| finding.kind == FindingKind::Unreadable));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_provider_is_neither_judged_nor_written_to() {
    let bench = Bench::new().await;
    bench.put("icons/gold.png", 5).await;
    let foreign = &bench.providers[1];
    foreign.wipe();
    canary::write(foreign, &RecordKey::new([1; 32]), to_utc(NOW)).await.unwrap();
    foreign.take_calls();
    let outcome = bench.repair().await;
    assert_eq!((outcome.exit, outcome.findings.len()), (3, 0));
    assert!(outcome.notes.contains("ALARM: the canary at b is foreign"), "{}", outcome.notes);
    assert_eq!(writes(foreign), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_record_key_is_told_in_plain_words() {
    let bench = Bench::new().await;
    for provider in &bench.providers {
        canary::write(provider, &RecordKey::new([1; 32]), to_utc(NOW)).await.unwrap();
        provider.take_calls();
    }
    let outcome = bench.repair().await;
    assert_eq!(outcome.exit, 3);
    assert!(outcome.notes.contains("Is `record_key` the right one?"), "{}", outcome.notes);
    assert_eq!(outcome.summary["summary"]["exit"], 3);
    assert_eq!(bench.providers.each_ref().map(writes), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_an_unknown_format_is_never_touched() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", 5).await;
    let unknown = KEY.seal(r#"{"format":2,"anything":"else"}"#);
    for (count, at) in bench.providers.iter().enumerate() {
        at.insert(made.record(), unknown.clone());
        let outcome = bench.repair().await;
        assert_eq!((outcome.exit, outcome.findings.len()), (3, count + 1));
        assert!(outcome.findings.iter().all(|finding| finding.kind == FindingKind::Unreadable));
        assert!(outcome.findings[0].detail.contains("format 2"), "{outcome:?}");
    }
    assert!(bench.providers.iter().all(|at| at.objects()[made.record().as_str()] == unknown));
}

/// Lays a record that nobody sealed at one provider.
fn forge(at: &Memory, number: u64) -> String {
    let made = Made::put("icons/forged", DAY_BEFORE + number, 5);
    at.insert(made.record(), made.copy.record.seal(&RecordKey::new([1; 32])));
    made.record().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_forged_record_without_a_right_one_is_removed() {
    let bench = Bench::new().await;
    let key = forge(&bench.providers[1], 1);
    let outcome = bench.audit().await;
    assert_eq!(outcome.brief(), [("b", FindingKind::Forged, "record: the MAC is wrong", false)]);
    assert_eq!((outcome.exit, outcome.findings[0].asset.as_str()), (2, key.as_str()));
    assert!(bench.providers[1].objects().contains_key(&key));

    assert_eq!(bench.repair().await.exit, 1);
    assert!(!bench.providers[1].objects().contains_key(&key));
    assert_eq!(bench.audit().await.exit, 0);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_forged_records_are_removed_in_one_run() {
    let bench = Bench::new().await;
    for number in 0..12 {
        forge(&bench.providers[0], number);
    }
    let outcome = bench.repair().await;
    assert_eq!((outcome.exit, outcome.findings.len()), (2, 12));
    assert_eq!(bench.providers[0].keys("names/").len(), 2);
    let left: Vec<_> = outcome.findings.iter().filter(|finding| !finding.repaired).collect();
    assert!(left.iter().all(|finding| finding.detail.contains("too many records are forged")), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn no_forged_record_is_removed_without_proof() {
    let bench = Bench::new().await;
    let key = forge(&bench.providers[0], 1);
    // Somebody who is not asked may have the right one.
    bench.providers[2].script(|script| script.down = Some(ErrorKind::Denied));
    assert!(bench.repair().await.findings[0].detail.contains("not every provider could be asked"));
    bench.providers[2].script(|script| script.down = None);
    // Without a canary the record key itself is in doubt.
    bench.providers[0].remove("canary/a");
    assert!(bench.repair().await.findings[0].detail.contains("no canary"));
    assert!(bench.providers[0].objects().contains_key(&key));
}
