use super::*;

#[test]
fn segments_are_escaped_for_themselves() {
    let root: Url = "http://127.0.0.1:1/my-zone/".parse().unwrap();
    for (path, expected) in [
        ("", Some("http://127.0.0.1:1/my-zone/")),
        ("blobs/20261122/00000", Some("http://127.0.0.1:1/my-zone/blobs/20261122/00000")),
        ("a b/ü?#%+/", Some("http://127.0.0.1:1/my-zone/a%20b/%C3%BC%3F%23%25%2B/")),
        ("a/../b", None),
        ("./a", None),
    ] {
        assert_eq!(address(&root, path).ok().as_ref().map(Url::as_str), expected, "{path}");
    }
}

#[test]
fn only_the_object_or_the_range_that_was_asked_for_is_taken() {
    let headers = |length: &str, range: &str| {
        let mut headers = HeaderMap::new();
        if !length.is_empty() {
            headers.insert(CONTENT_LENGTH, length.parse().unwrap());
        }
        if !range.is_empty() {
            headers.insert(CONTENT_RANGE, range.parse().unwrap());
        }
        headers
    };
    for (status, length, told, range, expected) in [
        (200, "10", "", None, Some((10, 10))),
        (200, "", "", None, None),
        (206, "10", "bytes 0-9/10", None, None),
        (204, "0", "", None, None),
        (206, "3", "bytes 2-4/10", Some(2..5), Some((3, 10))),
        (206, "3", "bytes 2-4/*", Some(2..5), None),
        (206, "3", "bytes 1-3/10", Some(2..5), None),
        (206, "4", "bytes 2-4/10", Some(2..5), None),
        (206, "3", "", Some(2..5), None),
        (200, "10", "", Some(2..5), None),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let found = sizes(status, &headers(length, told), range.as_ref()).ok();
        assert_eq!(found, expected, "{status} {length} {told} {range:?}");
    }
}

#[test]
fn listings_are_json() {
    for (value, good) in
        [("application/json", true), ("application/json; charset=utf-8", true), ("text/html", false)]
    {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]);
        assert_eq!(check_json(&headers).is_ok(), good, "{value}");
    }
    assert!(check_json(&HeaderMap::new()).is_err());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_has_an_end() {
    let semaphore = Arc::new(Semaphore::new(1));
    let first = own_turn(&semaphore).await.unwrap();
    assert_eq!(turn(&semaphore).await.unwrap_err().kind, ErrorKind::Throttled);
    drop(first);
    assert!(turn(&semaphore).await.is_ok());
}
