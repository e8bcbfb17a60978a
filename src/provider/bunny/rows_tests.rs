use proptest::prelude::*;

use super::*;
use crate::provider::ErrorKind;

const CHECKSUM: &str = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";

fn listing() -> String {
    let file = format!(
        r#"{{"Guid":"0","StorageZoneName":"z","Path":"/z/a/","ObjectName":"x [1], \"{{ü\\","Length":5,"LastChanged":"2026-11-22T11:05:30.25","ServerId":1,"ArrayNumber":0,"IsDirectory":false,"UserId":"u","ContentType":"","DateCreated":"2026-11-22T11:05:30","StorageZoneId":9,"Checksum":"{CHECKSUM}","ReplicatedZones":"UK,NY"}}"#
    );
    let dir = r#"{"Guid":"1","Path":"/z/a/","ObjectName":"sub","Length":0,"LastChanged":"2026-11-22T11:05:30","IsDirectory":true,"Checksum":null,"ReplicatedZones":null,"Extra":{"a":[1,{"b":"]"}]}}"#;
    format!(" [ {file} ,\n{dir}]\n")
}

fn scan<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<DirListing, Fault> {
    let mut scanner = RowScanner::new("a/");
    for chunk in chunks {
        scanner.push(chunk)?;
    }
    scanner.finish()
}

#[test]
fn rows_become_entries_and_folders() {
    let listing = scan([listing().as_bytes()]).unwrap();
    assert_eq!(listing.dirs, ["sub"]);
    let expected = Entry {
        key: "a/x [1], \"{ü\\".to_owned(),
        bytes: 5,
        modified_unix_ms: Some(1_795_345_530_250),
        sha256: Some(Sha256::of(b"")),
    };
    assert_eq!(listing.entries, [expected]);
    assert_eq!(scan([b"[]".as_slice()]), Ok(DirListing::default()));
}

#[test]
fn what_is_not_a_whole_listing_is_never_an_empty_one() {
    for body in [
        "",
        "{}",
        "null",
        "<html></html>",
        "[",
        "[]]",
        "[][]",
        "[{}]",
        "[,]",
        "[1]",
        "[\"a\"]",
        r#"{"HttpCode":500,"Message":"x"}"#,
        r#"[{"ObjectName":"a","Length":1}]"#,
        r#"[{"ObjectName":"a","Length":-1,"IsDirectory":false}]"#,
        r#"[{"ObjectName":"..","Length":0,"IsDirectory":true}]"#,
        r#"[{"ObjectName":"a/b","Length":0,"IsDirectory":false}]"#,
        r#"[{"ObjectName":"","Length":0,"IsDirectory":false}]"#,
        r#"[{"ObjectName":"a","Length":1,"IsDirectory":false},]"#,
        r#"[{"ObjectName":"a","Length":1,"IsDirectory":false}{"ObjectName":"b","Length":1,"IsDirectory":false}]"#,
    ] {
        assert_eq!(scan([body.as_bytes()]).map_err(|fault| fault.kind), Err(ErrorKind::Protocol), "{body}");
    }
    let whole = listing();
    let whole = whole.trim_end();
    for cut in 0..whole.len() {
        assert!(scan([&whole.as_bytes()[..cut]]).is_err(), "cut at {cut}");
    }
    let endless = format!(r#"[{{"ObjectName":"{}"#, "a".repeat(ROW_BYTES_MAX));
    assert!(RowScanner::new("").push(endless.as_bytes()).is_err());
}

#[test]
fn descriptions_tolerate_a_missing_checksum() {
    for (checksum, expected) in [
        (format!("\"{CHECKSUM}\""), Some(Sha256::of(b""))),
        (format!("\"{}\"", CHECKSUM.to_lowercase()), Some(Sha256::of(b""))),
        ("null".to_owned(), None),
        ("\"\"".to_owned(), None),
    ] {
        let body = format!(r#"{{"ObjectName":"a","Length":1,"IsDirectory":false,"Checksum":{checksum}}}"#);
        let entry = Row::parse(body.as_bytes()).unwrap().into_entry("d/a".to_owned());
        assert_eq!((entry.key.as_str(), entry.bytes, entry.sha256), ("d/a", 1, expected));
    }
    assert!(Row::parse(b"[]").is_err() && Row::parse(b"{}").is_err());
}

#[test]
fn times_are_utc_with_or_without_fractions() {
    for (text, expected) in [
        ("2026-11-22T11:05:30", Some(1_795_345_530_000)),
        ("2026-11-22T11:05:30.2", Some(1_795_345_530_200)),
        ("2026-11-22T11:05:30.123Z", Some(1_795_345_530_123)),
        ("2026-11-22", None),
        ("", None),
    ] {
        assert_eq!(unix_ms(text), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn it_does_not_matter_where_a_listing_is_cut_into_chunks(size in 1usize..40) {
        let body = listing();
        prop_assert_eq!(scan(body.as_bytes().chunks(size)), scan([body.as_bytes()]));
    }

    #[test]
    fn no_listing_panics(bytes: Vec<u8>, text in "(\\[|\\]|\\{|\\}|,|\"|\\\\|ObjectName|:|1| ){0,40}") {
        let _ = scan([bytes.as_slice()]);
        let _ = scan([text.as_bytes()]);
        let _ = Row::parse(&bytes);
    }
}
