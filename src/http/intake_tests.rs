use proptest::prelude::*;

use super::*;
use crate::write::Precondition;

const LIMIT: u64 = 1_000;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = name.parse::<HeaderName>().unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn put(fields: &[(&str, &str)]) -> Result<PutRequest, u16> {
    let mut all = vec![("content-length", "3")];
    all.extend_from_slice(fields);
    put_raw(&all)
}

fn put_raw(fields: &[(&str, &str)]) -> Result<PutRequest, u16> {
    let name = "icons/gold.png".parse().unwrap();
    of_put(&headers(fields), None, name, LIMIT, false).map_err(|problem| problem.status().as_u16())
}

#[test]
fn a_plain_upload_needs_only_its_length() {
    let request = put(&[]).unwrap();
    assert_eq!(request.content_length, Some(3));
    assert_eq!(request.content_type.as_deref(), Some("image/png"));
    assert_eq!(request.precondition, Precondition::None);
    assert!(!request.wait_all);
    assert_eq!(put_raw(&[("transfer-encoding", "chunked")]).unwrap().content_length, None);
}

#[test]
fn every_field_is_kept() {
    let request = put(&[
        ("content-type", "text/plain; charset=utf-8"),
        ("content-encoding", "gzip"),
        ("content-encoding", "br"),
        ("content-disposition", "attachment; filename=\"Zoë.png\""),
        ("cache-control", "public"),
        ("cache-control", "max-age=1"),
        ("x-triplicate-wait", "ALL"),
        ("X-Triplicate-Meta-Who", " Zoë "),
        ("x-triplicate-meta-empty", ""),
        ("expect", "100-Continue"),
    ])
    .unwrap();
    assert_eq!(request.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(request.content_encoding.as_deref(), Some("gzip, br"));
    assert_eq!(request.content_disposition.as_deref(), Some("attachment; filename=\"Zoë.png\""));
    assert_eq!(request.cache_control.as_deref(), Some("public, max-age=1"));
    assert!(request.wait_all);
    let metadata = [("empty".to_owned(), String::new()), ("who".to_owned(), "Zoë".to_owned())];
    assert_eq!(request.metadata, BTreeMap::from(metadata));
}

#[test]
fn bad_fields_are_refused_with_their_status() {
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    let table: Vec<(Vec<(&str, &str)>, u16)> = vec![
        (vec![("content-range", "bytes 0-1/3")], 400),
        (vec![("content-type", "no media type")], 400),
        (vec![("content-type", "text")], 400),
        (vec![("content-type", "")], 400),
        (vec![("content-type", "text/plain"), ("content-type", "text/html")], 400),
        (vec![("content-disposition", &long)], 400),
        (vec![("content-encoding", "")], 400),
        (vec![("cache-control", "")], 400),
        (vec![("cache-control", "a\tb")], 400),
        (vec![("x-triplicate-wait", "none")], 400),
        (vec![("x-triplicate-meta-", "a")], 400),
        (vec![("x-triplicate-meta-a", "1"), ("x-triplicate-meta-a", "2")], 400),
        (vec![("repr-digest", "sha-256=abc")], 400),
        (vec![("checksum", "abc")], 400),
        (vec![("content-md5", "abc")], 400),
        (vec![("trailer", "Repr-Digest")], 400),
        (vec![("trailer", "X-Other, content-digest")], 400),
        (vec![("trailer", "x"), ("trailer", "CHECKSUM")], 400),
        (vec![("expect", "200-ok")], 417),
        (vec![("if-match", "*")], 501),
        (vec![("if-none-match", "*")], 501),
        // What is malformed comes before what is not implemented.
        (vec![("if-none-match", "*"), ("checksum", "abc")], 400),
        (vec![("if-none-match", "*"), ("repr-digest", "nonsense")], 400),
        (vec![("if-none-match", "nonsense")], 400),
        (vec![("if-none-match", "*"), ("if-match", "*")], 400),
    ];
    for (fields, status) in table {
        assert_eq!(put(&fields).unwrap_err(), status, "{fields:?}");
    }
}

#[test]
fn lengths_come_first() {
    assert_eq!(put_raw(&[("content-type", "broken")]).unwrap_err(), 411);
    assert_eq!(put_raw(&[("content-length", "1001"), ("content-type", "broken")]).unwrap_err(), 413);
    assert!(put_raw(&[("content-length", "1000")]).is_ok());
}

#[test]
fn metadata_is_bounded() {
    let keys: Vec<String> = (0..33).map(|key| format!("x-triplicate-meta-{key}")).collect();
    let fields: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    assert!(put(&fields[..32]).is_ok());
    assert_eq!(put(&fields).unwrap_err(), 400);
    let value = "v".repeat(METADATA_BYTES_MAX);
    assert_eq!(put(&[("x-triplicate-meta-k", &value)]).unwrap_err(), 400);
    assert!(put(&[("x-triplicate-meta-k", &value[1..])]).is_ok());
    let mut latin1 = headers(&[("content-length", "3")]);
    latin1.insert("x-triplicate-meta-k", HeaderValue::from_bytes(b"\xe9").unwrap());
    assert!(of_put(&latin1, None, "a".parse().unwrap(), LIMIT, false).is_err());
}

#[test]
fn content_types_come_from_the_declaration_then_the_extension() {
    let typed = |name: &str| {
        let name = name.parse().unwrap();
        of_put(&headers(&[("content-length", "3")]), None, name, LIMIT, false).unwrap().content_type
    };
    assert_eq!(typed("a/logo.svg").as_deref(), Some("image/svg+xml"));
    assert_eq!(typed("a/LOGO.PNG").as_deref(), Some("image/png"));
    assert_eq!(typed("a.b/logo"), None);
    assert_eq!(typed("logo.unheard-of"), None);
}

#[test]
fn forms_have_no_digests_or_conditions_of_their_own() {
    let form = |fields: &[(&str, &str)]| {
        of_form(&headers(fields), None, true).map_err(|problem| problem.status().as_u16())
    };
    let (length, kind) = (("content-length", "3"), ("content-type", "multipart/form-data; boundary=b"));
    let (common, boundary) = form(&[length, kind, ("x-triplicate-wait", "all")]).unwrap();
    assert!(common.wait_all);
    assert_eq!(boundary, "b");
    assert_eq!(form(&[kind]), Err(411));
    assert_eq!(form(&[length, kind, ("checksum", "abc")]), Err(400));
    assert_eq!(form(&[length, kind, ("trailer", "Content-MD5")]), Err(400));
    assert_eq!(form(&[length, kind, ("if-match", "*")]), Err(501));
    assert_eq!(
        form(&[length, ("if-match", "*")]),
        Err(415),
        "what is wrong comes before what is not offered"
    );
}

#[test]
fn a_version_is_neither_written_nor_deleted_by_itself() {
    let delete = |query, fields: &[(&str, &str)]| {
        of_delete(&headers(fields), query, true).map_err(|problem| problem.status().as_u16())
    };
    let put = |query| {
        let fields = headers(&[("content-length", "3"), ("if-match", "*")]);
        of_put(&fields, query, "a".parse().unwrap(), LIMIT, false)
            .map_err(|problem| problem.status().as_u16())
    };
    let form = |query| of_form(&headers(&[("content-length", "3")]), query, false);
    for query in ["version=1", "a=b&version=", "ver%73ion=1", "version"] {
        assert_eq!(delete(Some(query), &[("if-match", "*")]), Err(400), "{query}");
        assert_eq!(put(Some(query)).unwrap_err(), 400, "{query}");
        assert_eq!(form(Some(query)).unwrap_err().status(), 400, "{query}");
    }
    assert_eq!(put(Some("versions=1")).unwrap_err(), 501);
    assert_eq!(delete(None, &[]), Ok(()));
    assert_eq!(delete(Some("other=1"), &[("if-none-match", "*")]), Err(501));
    assert_eq!(delete(None, &[("if-none-match", "a\"")]), Err(400));
}

#[test]
fn only_forms_are_taken() {
    let table = [
        ("multipart/form-data; boundary=abc", Ok("abc")),
        ("Multipart/Form-Data; boundary=\"a b\"", Ok("a b")),
        ("multipart/form-data", Err(400)),
        ("multipart/mixed; boundary=abc", Err(415)),
        ("application/octet-stream", Err(415)),
        ("", Err(415)),
    ];
    for (content_type, expected) in table {
        let found = boundary(&headers(&[("content-type", content_type)]));
        let found = found.as_deref().map_err(|problem| problem.status().as_u16());
        assert_eq!(found, expected, "{content_type}");
    }
    assert_eq!(boundary(&HeaderMap::new()).unwrap_err().status(), 415);
}

#[test]
fn media_types_are_read_as_the_rfc_says_and_kept_as_they_came() {
    let table = [
        ("text/html ;charset=utf-8", true),
        ("text/html ; charset=utf-8", true),
        ("text/html;charset=\"utf-8\"", true),
        ("text/html;", true),
        ("text/html; ; charset=utf-8 ;", true),
        ("text/x; a=\"b ;; c\" ; d=e", true),
        ("text/x; a=\"b \\\" ; c\"", true),
        ("text /html", false),
        ("text/ html", false),
        ("text/html charset", false),
        (";charset=utf-8", false),
        ("text/html; a=\"b", false),
    ];
    for (declared, valid) in table {
        let taken = put(&[("content-type", declared)]);
        assert_eq!(taken.is_ok(), valid, "{declared}");
        assert!(taken.is_err() || taken.unwrap().content_type.as_deref() == Some(declared), "{declared}");
    }
}

proptest! {
    #[test]
    fn no_header_value_panics(value in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            for name in ["content-type", "content-length", "content-encoding", "content-disposition", "expect",
                         "cache-control", "x-triplicate-wait", "x-triplicate-meta-a", "content-range"] {
                let mut map = headers(&[("content-length", "3")]);
                map.insert(name, value.clone());
                if let Ok(request) = of_put(&map, None, "a".parse().unwrap(), LIMIT, true) {
                    // What was taken can be sent back.
                    for text in [&request.content_type, &request.content_encoding, &request.content_disposition,
                                 &request.cache_control].into_iter().flatten().chain(request.metadata.values()) {
                        prop_assert!(HeaderValue::from_bytes(text.as_bytes()).is_ok());
                    }
                }
            }
        }
    }
}
