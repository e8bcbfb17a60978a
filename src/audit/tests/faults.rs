//! Every fault of a copy is found at the right provider with the right word, and mended.

use super::*;
use crate::asset::{BLOCK_BYTES, PART_BYTES};
use crate::provider::ErrorKind;

const MULTI: usize = PART_BYTES as usize + 1;

#[tokio::test(start_paused = true)]
async fn a_clean_store_is_clean_at_every_level() {
    let bench = Bench::new().await;
    for (name, size) in [("empty", 0), ("a/tiny", 1), ("a/block", BLOCK_BYTES + 1), ("large", MULTI)] {
        bench.put(name, size).await;
    }
    bench.store(Made::put("a/tiny", DAY_BEFORE + 5, 7)).await;
    bench.store(Made::del("a/tiny", DAY_BEFORE + 9)).await;
    for level in LEVELS {
        for vouches in [false, true] {
            bench.providers[2].script(|script| script.vouches = vouches);
            let outcome = bench.audit_with(&AuditOptions { level, ..bench.options.clone() }).await;
            assert_eq!((outcome.exit, outcome.findings.as_slice()), (0, [].as_slice()), "{level:?}");
            assert_eq!(outcome.summary["summary"]["checked"], 6);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_is_clean() {
    let outcome = Bench::new().await.audit().await;
    assert_eq!((outcome.exit, outcome.findings.len()), (0, 0));
}

/// A way to spoil a copy; what must be found; whether listings alone show it.
type Case = (&'static str, fn(&Memory, &Made), FindingKind, &'static str, bool);

const CASES: [Case; 10] = [
    ("flipped byte", |at, made| at.flip(made.part(0), 9), FindingKind::Damaged, "part 00000: block 0", false),
    (
        "flipped byte in the last part",
        |at, made| at.flip(made.part(1), 0),
        FindingKind::Damaged,
        "part 00001",
        false,
    ),
    (
        "truncated part",
        |at, made| at.change(made.part(0), |bytes| bytes.truncate(99)),
        FindingKind::Damaged,
        "99 bytes instead of 8388608",
        true,
    ),
    (
        "longer part",
        |at, made| at.change(made.part(1), |bytes| bytes.push(0)),
        FindingKind::Damaged,
        "2 bytes instead of 1",
        true,
    ),
    ("removed part", |at, made| at.remove(made.part(1)), FindingKind::Missing, "part 00001", true),
    ("removed block list", |at, made| at.remove(made.blocks()), FindingKind::Missing, "block list", true),
    (
        "damaged block list",
        |at, made| at.flip(made.blocks(), 0),
        FindingKind::Damaged,
        "block list: the block list",
        false,
    ),
    ("removed record", |at, made| at.remove(made.record()), FindingKind::Missing, "record", true),
    ("removed feed entry", |at, _| at.remove(&at.keys("feed/")[0]), FindingKind::Missing, "feed entry", true),
    (
        "forged record",
        |at, made| at.flip(made.record(), 20),
        FindingKind::Forged,
        "record: the MAC is wrong",
        true,
    ),
];

#[tokio::test(start_paused = true)]
async fn every_fault_is_found_where_it_is_then_mended_then_gone() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", MULTI).await;
    let right = bench.providers[1].objects();
    for (what, spoil, kind, detail, listings_show) in CASES {
        spoil(&bench.providers[1], &made);
        for level in LEVELS {
            let outcome = bench.audit_with(&AuditOptions { level, ..bench.options.clone() }).await;
            if level == Level::List && !listings_show {
                assert_eq!(outcome.exit, 0, "{what} {level:?}");
                continue;
            }
            let [finding] = outcome.findings.as_slice() else {
                panic!("{what} {level:?}: {:?}", outcome.findings);
            };
            assert_eq!((outcome.exit, finding.kind, finding.repaired), (2, kind, false), "{what} {level:?}");
            assert_eq!(
                (finding.asset.as_str(), finding.provider.as_str()),
                ("icons/gold.png", "b"),
                "{what}"
            );
            assert_eq!(finding.version, Some(made.copy.record.version.to_string()), "{what}");
            assert!(finding.detail.contains(detail), "{what}: {}", finding.detail);
        }
        let outcome = bench.repair().await;
        assert_eq!((outcome.exit, outcome.findings[0].repaired), (1, true), "{what}: {:?}", outcome.findings);
        assert_eq!(outcome.summary["summary"]["repaired"], 1, "{what}");
        assert_eq!(bench.audit().await.exit, 0, "{what}");
        let mended = bench.providers[1].objects();
        let differs = |key: &&String| !key.starts_with("feed/") && mended.get(*key) != right.get(*key);
        assert_eq!(right.keys().find(differs), None, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wiped_provider_lacks_whole_copies_and_is_refilled() {
    let bench = Bench::new().await;
    bench.put("one", 5).await;
    bench.put("two", MULTI).await;
    bench.store(Made::del("three", DAY_BEFORE)).await;
    bench.providers[0].wipe();
    let outcome = bench.audit().await;
    assert_eq!(outcome.brief(), [("a", FindingKind::Missing, "whole copy", false); 3]);
    assert!(outcome.notes.contains("a has no canary"), "{}", outcome.notes);
    assert_eq!(outcome.exit, 2);

    let outcome = bench.repair().await;
    assert_eq!(outcome.brief(), [("a", FindingKind::Missing, "whole copy", true); 3]);
    assert!(outcome.notes.contains("a still has no canary"), "{}", outcome.notes);
    assert_eq!(outcome.exit, 1);
    assert_eq!(bench.audit().await.exit, 0);
    assert_eq!(bench.providers[0].keys("canary/"), Vec::<String>::new(), "the canary is the gateway's");
}

#[tokio::test(start_paused = true)]
async fn several_faults_of_one_copy_are_one_finding_a_kind() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", MULTI).await;
    bench.providers[2].flip(made.part(0), 0);
    bench.providers[2].remove(made.blocks());
    bench.providers[2].remove(made.part(1));
    let outcome = bench.audit().await;
    let kinds: Vec<_> = outcome.brief().into_iter().map(|(at, kind, ..)| (at, kind)).collect();
    assert_eq!(kinds, [("c", FindingKind::Missing), ("c", FindingKind::Damaged)]);
    assert_eq!(outcome.findings[0].detail, "part 00001, block list");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_has_whole_are_missing_everywhere_and_remain() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", 5).await;
    bench.providers.iter().for_each(|provider| provider.remove(made.part(0)));
    let outcome = bench.repair().await;
    assert_eq!((outcome.exit, outcome.findings.len()), (2, 3));
    for finding in &outcome.findings {
        assert!(finding.detail.starts_with("part 00000; not mended: no provider delivers"), "{finding:?}");
        assert_eq!((finding.kind, finding.repaired), (FindingKind::Missing, false));
    }
}

#[tokio::test(start_paused = true)]
async fn copies_with_different_bad_blocks_mend_each_other() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", 3 * BLOCK_BYTES).await;
    for (block, provider) in bench.providers.iter().enumerate() {
        provider.flip(made.part(0), block * BLOCK_BYTES);
    }
    let outcome = bench.repair().await;
    assert_eq!((outcome.exit, outcome.findings.len()), (1, 3));
    assert_eq!(bench.audit().await.exit, 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_unreadable_and_never_damaged() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Denied, ErrorKind::Corrupt, ErrorKind::Protocol] {
        let bench = Bench::new().await;
        let made = bench.put("icons/gold.png", 5).await;
        bench.providers[1].script(|script| {
            script.unreadable.insert(made.part(0).to_string(), kind);
        });
        let outcome = bench.repair().await;
        let words: Vec<_> =
            outcome.brief().into_iter().map(|(at, kind, _, mended)| (at, kind, mended)).collect();
        assert_eq!(words, [("b", FindingKind::Unreadable, false)], "{kind:?}");
        assert_eq!(outcome.exit, 3, "{kind:?}");

        bench.providers[2].remove(made.part(0));
        assert_eq!(bench.audit().await.exit, 2, "a fault that remains outranks it");
        assert_eq!(bench.repair().await.exit, 3, "one that was mended does not");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_be_judged_gets_no_feed_entry() {
    let bench = Bench::new().await;
    let made = bench.put("icons/gold.png", 5).await;
    bench.providers[1].script(|script| {
        script.unreadable.insert(made.part(0).to_string(), ErrorKind::Denied);
    });
    let feed = bench.providers[1].keys("feed/");
    bench.providers[1].remove(&feed[0]);
    assert_eq!(bench.repair().await.exit, 2);
    assert_eq!(bench.providers[1].keys("feed/"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_checksum_report_is_no_fault_when_the_bytes_are_right() {
    let bench = Bench::new().await;
    bench.put("icons/gold.png", MULTI).await;
    bench.providers[1].script(|script| {
        script.vouches = true;
        script.lied_sha256 = Some(crate::asset::Sha256::of(b"else"));
    });
    assert_eq!(bench.audit().await.exit, 0);
}
