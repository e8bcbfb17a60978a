use proptest::prelude::*;

use super::*;

#[test]
fn sizes_have_units_or_none() {
    let table = [
        ("0", 0),
        ("1", 1),
        ("256MiB", 256 << 20),
        ("5GiB", 5 << 30),
        ("5 GiB", 5 << 30),
        ("1.5KiB", 1536),
        ("1kB", 1000),
        ("7B", 7),
        ("16m", 16_000_000),
    ];
    for (text, bytes) in table {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
    for text in ["", "-1", "MiB", "12x", "1..5MiB", "1e3", "0x10", "five", "∞", "1 2", "99999999999EiB"] {
        assert!(size(text).is_err(), "{text}");
    }
}

#[test]
fn durations_have_units_and_bounds() {
    let range = Duration::ZERO..=Duration::from_hours(24);
    for (text, milliseconds) in
        [("0", 0), ("2s", 2_000), ("500ms", 500), ("1m 30s", 90_000), ("1d", 86_400_000)]
    {
        assert_eq!(duration(text, &range), Ok(Duration::from_millis(milliseconds)), "{text}");
    }
    for text in ["", "2", "s", "-2s", "2 seconds too many", "2d", "1y", "1.s"] {
        assert!(duration(text, &range).is_err(), "{text}");
    }
    let bounded = duration("1s", &(Duration::from_secs(2)..=Duration::from_hours(1))).unwrap_err();
    assert_eq!(bounded, "is out of range: from 2s to 1h");
}

#[test]
fn addresses_are_numbers_or_localhost() {
    for text in ["127.0.0.1:8080", "[::1]:0", "0.0.0.0:65535", "localhost:80"] {
        assert!(address(text).is_ok(), "{text}");
    }
    let table = [
        ("", "the port is missing"),
        ("8080", "the port is missing"),
        ("127.0.0.1", "the port is missing"),
        (":8080", "0.0.0.0:8080"),
        ("127.0.0.1:65536", "up to 65535"),
        ("localhost:x", "up to 65535"),
        ("gateway:8080", "not a host name"),
    ];
    for (text, fragment) in table {
        let flaw = address(text).unwrap_err();
        assert!(flaw.contains(fragment), "{text}: {flaw}");
    }
}

#[test]
fn urls_hold_neither_credentials_nor_queries() {
    for text in ["https://a.example", "http://127.0.0.1:9000/", "https://a.example/storage/v1/s3"] {
        assert!(url(text).is_ok(), "{text}");
    }
    let table = [
        ("", "with its scheme"),
        ("storage.example.com", "with its scheme"),
        ("https://", "with its scheme"),
        ("ftp://a.example", "must begin with"),
        ("localhost:9000", "must begin with"),
        ("https://me@a.example", "user or password"),
        ("https://me:pass@a.example", "user or password"),
        ("https://a.example/?x=1", "query or fragment"),
        ("https://a.example/#x", "query or fragment"),
    ];
    for (text, fragment) in table {
        let flaw = url(text).unwrap_err();
        assert!(flaw.contains(fragment), "{text}: {flaw}");
    }
}

#[test]
fn prefixes_are_starts_of_canonical_names() {
    for text in ["", "icons/", "icons", "icons/gold", "ü/", "-", "-x/", "a/.b"] {
        assert_eq!(prefix(text), Ok(text.to_owned()), "{text}");
    }
    for text in ["/", "/icons/", "a//", "a//b", "../", "a/../", "./", "a\\b", "u\u{308}/", "a\n", "-/", "-/x"]
    {
        assert!(prefix(text).is_err(), "{text}");
    }
}

#[test]
fn names_buckets_regions_and_zones_have_their_letters() {
    let long = "a".repeat(64);
    for text in ["a", "s3-one", "0", &long[..63]] {
        assert!(provider_name(text).is_ok(), "{text}");
    }
    for text in ["", "-a", "a-", "A", "a_b", "a.b", "ü", "a b", &long] {
        assert!(provider_name(text).is_err(), "{text}");
    }
    for text in ["", "a b", ".a", "-a", "a/b", &long] {
        assert!(token_name(text).is_err(), "{text}");
    }
    for text in ["", "ab", "a/b", "a..b", ".abc", "abc-", "s3://abc", &long] {
        assert!(bucket(text).is_err(), "{text}");
    }
    for text in ["", "eu central", "eu/central", &long] {
        assert!(region(text).is_err() && zone(text).is_err(), "{text}");
    }
    assert!(bucket("my.Bucket_1").is_ok() && region("eu-central-1").is_ok() && zone("my-zone").is_ok());
    assert!(token_name("Shop_backend-2.0").is_ok());
}

#[test]
fn header_values_are_printable_ascii() {
    assert!(header_value("public, max-age=3600").is_ok());
    for text in ["", " public", "public ", "a\nb", "a\r\nX: y", "ü", "a\tb\u{7f}"] {
        assert!(header_value(text).is_err(), "{text:?}");
    }
}

#[test]
fn access_keys_are_whole_printable_words() {
    assert!(secret("AKIA/+=x").is_ok());
    for text in ["", " a", "a\n", "a b", "a\u{7}", "ü", &"a".repeat(5000)] {
        assert!(secret(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_token_is_told_from_its_hash_and_not_repeated() {
    let flaw = token_hash("tpl_SECRET").unwrap_err();
    assert!(flaw.contains("not its hash") && !flaw.contains("SECRET"), "{flaw}");
    assert!(token_hash(&format!("blake3:{}", "0".repeat(64))).is_ok());
    for text in ["", "blake3:", &"0".repeat(64), "blake3:xyz", "sha256:00"] {
        assert!(token_hash(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,30}|[0-9.]{0,30}[a-zA-Z]{0,4}|[a-z:/@\\[\\]0-9.]{0,30}") {
        let _ = (size(&text), address(&text), url(&text), prefix(&text), token_hash(&text), secret(&text));
        let _ = duration(&text, &(Duration::ZERO..=Duration::MAX));
        let _ = integer(&text, &(0..=usize::MAX));
    }
}
