use super::*;

fn settings(endpoint: &str, path_style: bool) -> S3Settings {
    S3Settings {
        endpoint: endpoint.parse().unwrap(),
        region: "eu-central-1".to_owned(),
        bucket: "assets".to_owned(),
        access_key_id: "key".into(),
        secret_access_key: "secret".into(),
        path_style,
        via: None,
    }
}

#[test]
fn the_bucket_is_in_the_host_unless_path_style_is_asked_for() {
    for (endpoint, path_style, expected) in [
        ("http://127.0.0.1:8333", true, Some("http://127.0.0.1:8333")),
        ("https://s3.example.com/", false, Some("https://assets.s3.example.com")),
        ("https://example.com:9000/s3/", false, Some("https://assets.example.com:9000/s3")),
        ("http://127.0.0.1:8333", false, None),
    ] {
        let found = bucket_endpoint(&settings(endpoint, path_style)).ok();
        assert_eq!(found.as_deref(), expected, "{endpoint}");
    }
}

#[test]
fn a_page_of_another_listing_is_refused() {
    let page = |key: &str, next: Option<&str>| Page {
        entries: vec![Entry { key: key.to_owned(), bytes: 1, modified_unix_ms: None, sha256: None }],
        prefixes: Vec::new(),
        next: next.map(str::to_owned),
    };
    for (page, token, good) in [
        (page("a/b", None), None, true),
        (page("a/b", Some("t")), None, true),
        (page("a/b", Some("t")), Some("s"), true),
        (page("a/b", Some("t")), Some("t"), false),
        (page("c", None), None, false),
    ] {
        assert_eq!(check_page(&page, "a/", token).is_ok(), good, "{page:?} after {token:?}");
    }
}

#[test]
fn a_404_without_the_vendors_word_is_in_doubt() {
    let fault = |code: Option<&str>, kind| Fault { code: code.map(str::to_owned), ..Fault::new(kind, "") };
    assert!(is_doubtful(&fault(None, ErrorKind::NotFound)));
    assert!(!is_doubtful(&fault(Some("NoSuchKey"), ErrorKind::NotFound)));
    assert!(!is_doubtful(&fault(None, ErrorKind::NoContainer)));
    assert_eq!(no_folder_is_missing(fault(None, ErrorKind::NotFound)).kind, ErrorKind::NoContainer);
    assert_eq!(no_folder_is_missing(fault(None, ErrorKind::Timeout)).kind, ErrorKind::Timeout);
}
