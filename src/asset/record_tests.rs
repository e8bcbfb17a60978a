use chrono::TimeZone;
use proptest::prelude::*;

use super::super::version::{Order, UploadId};
use super::*;

const KEY: RecordKey = RecordKey::new([9; 32]);

fn record(put: Option<PutFields>) -> Record {
    let upload = UploadId::new(1_795_345_530_000, 42);
    Record {
        name: "icons/gold.png".parse().unwrap(),
        version: Version { order: Order::from_unix_ms(1_795_345_531_000), upload },
        created: Utc.timestamp_millis_opt(1_795_345_531_000).unwrap(),
        put,
    }
}

fn fields(size: u64) -> PutFields {
    PutFields {
        size,
        blake3: Blake3::new([1; 32]),
        sha256: Sha256::new([2; 32]),
        content_type: "image/png".to_owned(),
        content_encoding: None,
        content_disposition: None,
        cache_control: None,
        metadata: BTreeMap::new(),
    }
}

#[test]
fn a_record_is_spelled_as_the_contract_says() {
    let record = record(Some(fields(5)));
    let sealed = record.seal(&KEY);
    let line = KEY.open(&sealed).unwrap();
    let version = record.version.to_string();
    let upload = record.version.upload.to_string();
    assert_eq!(
        line,
        format!(
            r#"{{"format":1,"name":"icons/gold.png","kind":"put","version":"{version}","upload":"{upload}","created":"2026-11-22T11:05:31Z","size":5,"blake3":"{}","sha256":"{}","content_type":"image/png","parts":[5]}}"#,
            "01".repeat(32),
            "02".repeat(32)
        )
    );
}

#[test]
fn a_tombstone_has_the_first_six_fields() {
    let sealed = record(None).seal(&KEY);
    let line: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(KEY.open(&sealed).unwrap()).unwrap();
    let mut names: Vec<_> = line.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["created", "format", "kind", "name", "upload", "version"]);
}

#[test]
fn an_empty_asset_has_an_empty_list_of_parts() {
    let sealed = record(Some(fields(0))).seal(&KEY);
    assert!(KEY.open(&sealed).unwrap().ends_with(r#""parts":[]}"#));
}

#[test]
fn a_record_under_a_foreign_key_is_forged() {
    let record = record(Some(fields(5)));
    let other: AssetName = "icons/other.png".parse().unwrap();
    let at = Key::record(other.hash(), record.version, Kind::Put);
    assert!(matches!(Record::open(&record.seal(&KEY), &KEY, &at), Err(RecordError::Forged(_))));
    let at = Key::record(record.name.hash(), record.version, Kind::Del);
    assert!(matches!(Record::open(&record.seal(&KEY), &KEY, &at), Err(RecordError::Forged(_))));
}

#[test]
fn an_unknown_format_is_refused_and_not_called_forged() {
    let record = record(None);
    let sealed = KEY.seal(r#"{"format":2,"anything":"else"}"#);
    assert_eq!(Record::open(&sealed, &KEY, &record.key()), Err(RecordError::UnknownFormat(2)));
}

#[test]
fn a_sealed_line_whose_fields_do_not_fit_is_refused() {
    let good = record(Some(fields(5)));
    let line = good.to_line();
    for (from, to) in [
        (r#""size":5"#, r#""size":6"#),
        (r#""size":5"#, r#""size":-5"#),
        (r#""parts":[5]"#, r#""parts":[4,1]"#),
        (r#","parts":[5]"#, ""),
        (r#""kind":"put""#, r#""kind":"pat""#),
        ("icons/gold.png", "icons//gold.png"),
        (r#""content_type":"image/png","#, ""),
    ] {
        let broken = line.replace(from, to);
        assert_ne!(broken, line);
        let sealed = KEY.seal(&broken);
        assert!(matches!(Record::open(&sealed, &KEY, &good.key()), Err(RecordError::Forged(_))), "{to}");
    }
}

proptest! {
    #[test]
    fn records_round_trip(
        size in 0u64..40_000_000_000,
        content_type in "[a-z]{1,8}/[a-z]{1,8}",
        encoding in proptest::option::of("\\PC{1,20}"),
        cache_control in proptest::option::of("\\PC{1,40}"),
        metadata in proptest::collection::btree_map("[a-z]{1,8}", "\\PC{0,20}", 0..4),
    ) {
        let mut put = fields(size);
        put.content_type = content_type;
        put.content_encoding = encoding.clone();
        put.content_disposition = encoding;
        put.cache_control = cache_control;
        put.metadata = metadata;
        let record = record(Some(put));
        prop_assert_eq!(Record::open(&record.seal(&KEY), &KEY, &record.key()), Ok(record));
    }

    #[test]
    fn no_sealed_line_panics(line in "\\PC{0,80}") {
        prop_assert!(Record::open(&KEY.seal(&line), &KEY, &record(None).key()).is_err());
    }
}
