//! The audit finds each fault at the right provider, by the right word, and mends it when told to.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::copies::{assert_complete, newest};
use crate::support::data;
use crate::support::eventually;
use crate::support::gateway::{Report, Setup, TestGateway};
use crate::support::provider::{Provider, Trio};
use triplicate::drill::wire::{Fault, Rule};

/// Big enough for a block list beside its part.
const SIZE: usize = 70_000;

fn asset(name: &str) -> Bytes {
    data::bytes(name, SIZE)
}

/// Stores assets, waits until they lie everywhere, and stops the gateway, which might mend on its own.
async fn filled(trio: &Trio, names: &[String]) -> TestGateway {
    let mut gateway = Setup::of(&trio.all()).start().await;
    for name in names {
        gateway.put_everywhere(name, asset(name)).await;
    }
    gateway.stop().await;
    gateway
}

fn some_names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("icons/{number}.bin")).collect()
}

/// Asset, provider and kind of every finding.
fn found(report: &Report) -> BTreeSet<(String, String, String)> {
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let of = |finding| (text(finding, "asset"), text(finding, "provider"), text(finding, "kind"));
    report.findings.iter().map(of).collect()
}

fn expected(findings: &[(&str, &Provider, &str)]) -> BTreeSet<(String, String, String)> {
    let own = |(asset, provider, kind): &(&str, &Provider, &str)| {
        ((*asset).to_owned(), provider.name().to_owned(), (*kind).to_owned())
    };
    findings.iter().map(own).collect()
}

#[tokio::test]
async fn a_clean_store_is_clean_however_deeply_it_is_audited() {
    let trio = Trio::shared().await;
    let mut gateway = filled(&trio, &some_names(3)).await;
    for depth in ["--audit", "--audit=list", "--audit=checksum", "--audit=bytes"] {
        let report = gateway.audit(&[depth]).await;
        assert_eq!((report.outcome.code, report.findings.len()), (0, 0), "{depth}: {report:?}");
        let counts = ["missing", "damaged", "unreadable", "orphan", "forged", "repaired"];
        assert!(counts.iter().all(|kind| report.summary[kind] == 0), "{}", report.summary);
        assert!(report.summary["checked"].as_u64() > Some(0), "{}", report.summary);
    }
    gateway.start().await;
    assert_eq!(gateway.audit(&["--audit=bytes"]).await.outcome.code, 0, "it runs beside a serving gateway");
    assert_eq!(gateway.audit(&["--audit", "--repair"]).await.outcome.code, 0, "there is nothing to repair");
}

#[tokio::test]
async fn each_fault_is_found_at_its_provider_and_mended_when_told_to() {
    let trio = Trio::shared().await;
    let names = some_names(12);
    let gateway = filled(&trio, &names).await;
    let mut wanted = Vec::new();
    for (provider, names) in trio.all().into_iter().zip(names.chunks(4)) {
        let copy = newest(provider, &names[0]).await;
        provider.damage(&copy.parts[0]).await;
        wanted.push((names[0].as_str(), provider, "damaged"));
        let copy = newest(provider, &names[1]).await;
        provider.delete(&copy.parts[0]).await;
        wanted.push((names[1].as_str(), provider, "missing"));
        let copy = newest(provider, &names[2]).await;
        provider.delete(&copy.record_key).await;
        wanted.push((names[2].as_str(), provider, "missing"));
        let copy = newest(provider, &names[3]).await;
        provider.damage(copy.blocks.as_ref().expect("a block list")).await;
        wanted.push((names[3].as_str(), provider, "damaged"));
    }
    let report = gateway.audit(&["--audit"]).await;
    assert_eq!(found(&report), expected(&wanted), "{report:?}");
    assert_eq!(report.outcome.code, 2);
    assert!(report.findings.iter().all(|finding| finding["repaired"] == false), "{report:?}");
    assert!(
        report.findings.iter().all(|finding| finding["detail"].is_string() && finding["version"].is_string())
    );
    assert_eq!((&report.summary["missing"], &report.summary["damaged"]), (&json!(6), &json!(6)));

    let repaired = gateway.audit(&["--audit", "--repair"]).await;
    assert_eq!((repaired.outcome.code, found(&repaired)), (1, expected(&wanted)), "{repaired:?}");
    assert!(repaired.findings.iter().all(|finding| finding["repaired"] == true), "{repaired:?}");
    assert_eq!(gateway.audit(&["--audit=bytes"]).await.outcome.code, 0);
    for name in &names {
        assert_complete(&trio.all(), name, &asset(name)).await;
    }
}

#[tokio::test]
async fn a_listing_shows_what_is_missing_and_bytes_show_silent_damage() {
    let trio = Trio::shared().await;
    let names = some_names(2);
    let gateway = filled(&trio, &names).await;
    let lost = newest(&trio.two, &names[0]).await;
    trio.two.delete(&lost.parts[0]).await;
    let silent = newest(&trio.bunny, &names[1]).await.parts[0].clone();
    let mut bytes = trio.bunny.get(&silent).await.unwrap().to_vec();
    bytes[1_000] ^= 1;
    trio.bunny.zone().damage(&silent, bytes.into());

    let missing = (names[0].as_str(), &trio.two, "missing");
    let damaged = (names[1].as_str(), &trio.bunny, "damaged");
    for depth in ["--audit=list", "--audit=checksum"] {
        let report = gateway.audit(&[depth]).await;
        assert_eq!((report.outcome.code, found(&report)), (2, expected(&[missing])), "{depth}: {report:?}");
    }
    let report = gateway.audit(&["--audit=bytes"]).await;
    assert_eq!((report.outcome.code, found(&report)), (2, expected(&[missing, damaged])), "{report:?}");
    assert_eq!(gateway.audit(&["--audit=bytes", "--repair"]).await.outcome.code, 1);
    assert_eq!(gateway.audit(&["--audit=bytes"]).await.outcome.code, 0);
}

#[tokio::test]
async fn an_alien_object_is_reported_and_no_fault_and_stays() {
    let trio = Trio::shared().await;
    let gateway = filled(&trio, &some_names(1)).await;
    let alien = Bytes::from_static(b"whose is this?");
    // The second was uploaded years ago; the third is so young that its record may still come.
    let old = "blobs/20200101/01DXF6DT000000000000000000/00000";
    let young = format!("blobs/{}/{}/00000", chrono::Utc::now().format("%Y%m%d"), ulid::Ulid::new());
    for provider in trio.all() {
        provider.put("alien.txt", alien.clone()).await;
        provider.put(old, alien.clone()).await;
        provider.put(&young, alien.clone()).await;
    }
    for args in [["--audit", "--json"], ["--audit", "--repair"]] {
        let report = gateway.audit(&args).await;
        let all = ["bunny", "bunny", "s3-one", "s3-one", "s3-two", "s3-two"];
        let wanted: Vec<_> = all.iter().map(|name| ((*name).to_owned(), "orphan".to_owned())).collect();
        assert_eq!((report.outcome.code, report.kinds()), (0, wanted), "{report:?}");
    }
    for provider in trio.all() {
        assert_eq!(provider.get("alien.txt").await, Some(alien.clone()), "{}", provider.name());
        assert_eq!(provider.get(old).await, Some(alien.clone()), "{}", provider.name());
        assert_eq!(provider.get(&young).await, Some(alien.clone()), "{}", provider.name());
    }
}

#[tokio::test]
async fn a_record_that_nobody_with_the_key_wrote_is_forged() {
    let trio = Trio::shared().await;
    let names = some_names(2);
    let gateway = filled(&trio, &names).await;
    let key = newest(&trio.one, &names[0]).await.record_key;
    let sealed = String::from_utf8(trio.one.get(&key).await.unwrap().to_vec()).unwrap();
    let line = sealed.lines().next().unwrap().replace("\"size\":70000", "\"size\":70001");
    let mac = blake3::keyed_hash(&[7; 32], line.as_bytes()).to_hex();
    trio.one.put(&key, Bytes::from(format!("{line}\n{mac}\n"))).await;
    let report = gateway.audit(&["--audit"]).await;
    let wanted = vec![("s3-one".to_owned(), "forged".to_owned())];
    assert_eq!((report.outcome.code, report.kinds()), (2, wanted), "{report:?}");
    assert_eq!(gateway.audit(&["--audit", "--repair"]).await.outcome.code, 1);
    assert_eq!(gateway.audit(&["--audit=bytes"]).await.outcome.code, 0);
    assert_complete(&trio.all(), &names[0], &asset(&names[0])).await;
}

#[tokio::test]
async fn an_audit_that_could_not_ask_everyone_says_so() {
    let trio = Trio::shared().await;
    let names = some_names(2);
    let gateway = filled(&trio, &names).await;
    for down in trio.all() {
        down.wire().refuse().await;
        let report = gateway.audit(&["--audit"]).await;
        assert_eq!(report.outcome.code, 3, "{report:?}");
        assert!(
            report.kinds().iter().all(|(_, kind)| !["missing", "damaged"].contains(&kind.as_str())),
            "{report:?}"
        );
        down.wire().restore().await;
    }
    let copy = newest(&trio.one, &names[0]).await;
    trio.one.damage(&copy.parts[0]).await;
    trio.bunny.wire().refuse().await;
    let report = gateway.audit(&["--audit"]).await;
    assert_eq!(report.outcome.code, 2, "faults outrank what could not be told: {report:?}");
    assert!(found(&report).is_superset(&expected(&[(&names[0], &trio.one, "damaged")])), "{report:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_never_called_damaged_or_missing() {
    let trio = Trio::shared().await;
    let names = some_names(1);
    let gateway = filled(&trio, &names).await;
    let part = newest(&trio.two, &names[0]).await.parts[0].clone();
    trio.two.wire().inject(Rule::from(Fault::Status(500, "broken")).prefix(&part));
    let report = gateway.audit(&["--audit=bytes"]).await;
    assert_eq!(found(&report), expected(&[(&names[0], &trio.two, "unreadable")]), "{report:?}");
    assert!([2, 3].contains(&report.outcome.code), "{report:?}");
}

#[tokio::test]
async fn an_audit_keeps_to_its_prefix_and_mends_beside_a_serving_gateway() {
    let trio = Trio::shared().await;
    let mut names = some_names(2);
    names[1] = "other/1.bin".to_owned();
    let mut gateway = filled(&trio, &names).await;
    for name in &names {
        let copy = newest(&trio.one, name).await;
        trio.one.delete(&copy.parts[0]).await;
    }
    let report = gateway.audit(&["--audit", "--prefix", "icons/"]).await;
    assert_eq!((report.outcome.code, found(&report)), (2, expected(&[(&names[0], &trio.one, "missing")])));
    gateway.start().await;
    let report = gateway.audit(&["--audit", "--repair", "--max-rate", "50MiB/s"]).await;
    assert!([0, 1].contains(&report.outcome.code), "the gateway may have been first: {report:?}");
    let clean = || async { (gateway.audit(&["--audit=bytes"]).await.outcome.code == 0).then_some(()) };
    eventually("all is mended", Duration::from_secs(60), clean).await;
    for name in &names {
        assert_complete(&trio.all(), name, &asset(name)).await;
    }
}

#[tokio::test]
async fn an_audit_that_is_misused_is_refused() {
    let trio = Trio::shared().await;
    let gateway = Setup::of(&trio.all()).prepare();
    for args in [
        &["--audit=deep"][..],
        &["--repair"],
        &["--audit", "--sample", "lots"],
        &["--audit", "--sample", "101%"],
        &["--audit", "--max-rate", "fast"],
        &["--audit", "--report", "/nowhere/at/all/report.json"],
        &["--audit", "--config", "missing.yaml"],
    ] {
        let outcome = gateway.run(args).await;
        assert_eq!(outcome.code, 64, "{args:?}: {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{args:?} says why");
    }
    assert!(trio.all().iter().all(|provider| provider.wire().count("PUT", "") == 0), "nothing was written");
}
