use std::time::Duration;

use axum::body::Body;
use futures::TryStreamExt;

use super::*;

const BOUNDARY: &str = "frontier";

fn part(disposition: &str, content: &str) -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
}

fn multipart(form: String, allowance: u64) -> Multipart<'static> {
    let body = upload::stream(Body::from(form), Duration::from_secs(30), u64::MAX);
    Multipart::new(paced(body, Arc::new(AtomicU64::new(allowance))), BOUNDARY)
}

#[tokio::test]
async fn fields_with_a_file_name_are_files() {
    let table = [
        (r#"name="a"; filename="x.png""#, true, Some("x.png")),
        (r#"name="a"; filename="""#, true, Some("")),
        (r#"name="a""#, false, None),
    ];
    for (disposition, file, file_name) in table {
        let form = format!("{}--{BOUNDARY}--\r\n", part(disposition, "content"));
        let field = multipart(form, u64::MAX).next_field().await.unwrap().unwrap();
        assert_eq!((is_file(&field), field.file_name()), (file, file_name), "{disposition}");
    }
}

#[tokio::test]
async fn a_part_whose_head_does_not_end_is_refused() {
    let chunks = futures::stream::repeat(Ok::<_, BodyError>(Bytes::from(vec![b'x'; 1024]))).take(1_000);
    let counted = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&counted);
    let body: BodyStream = chunks
        .inspect_ok(move |chunk| {
            seen.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        })
        .boxed();
    let body = futures::stream::iter([Ok(Bytes::from(format!("--{BOUNDARY}\r\nX: ")))]).chain(body).boxed();
    let allowance = Arc::new(AtomicU64::new(PART_HEAD_BYTES_MAX));
    let error = Multipart::new(paced(body, allowance), BOUNDARY).next_field().await.err().unwrap();
    assert_eq!(of_form_error(&error).status(), 400);
    assert!(counted.load(Ordering::Relaxed) <= PART_HEAD_BYTES_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_form_that_stalls_is_timed_out() {
    let silent = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let body = upload::stream(silent, Duration::from_secs(30), u64::MAX);
    let allowance = Arc::new(AtomicU64::new(PART_HEAD_BYTES_MAX));
    let error = Multipart::new(paced(body, allowance), BOUNDARY).next_field().await.err().unwrap();
    assert_eq!(of_form_error(&error).status(), 408);
}

#[tokio::test]
async fn a_part_whose_request_is_dropped_is_not_whole() {
    for (last, expected) in
        [(Some(Ok(None)), Ok(())), (None, Err(400)), (Some(Err(BodyError::Timeout)), Err(408))]
    {
        let (mut sender, pieces) = mpsc::channel(2);
        sender.send(Ok(Some(Bytes::from_static(b"half")))).await.unwrap();
        if let Some(item) = last {
            sender.send(item).await.unwrap();
        }
        drop(sender);
        let (chunks, ended) = whole(pieces)
            .fold((0, Ok(())), async |(chunks, _), item| match item {
                Ok(chunk) => (chunks + chunk.len(), Ok(())),
                Err(BodyError::Timeout) => (chunks, Err(408)),
                Err(BodyError::Broken(_) | BodyError::TooLarge) => (chunks, Err(400)),
            })
            .await;
        assert_eq!((chunks, ended), (4, expected));
    }
}

#[test]
fn a_file_name_is_one_segment() {
    let table = [
        ("icons/", "a.png", Ok("icons/a.png")),
        ("", "a.png", Ok("a.png")),
        ("icons/", "u\u{308}.png", Ok("icons/ü.png")),
        ("icons/", "", Err(400)),
        ("icons/", "b/a.png", Err(400)),
        ("icons/", "..\\a.png", Err(400)),
        ("icons/", "..", Err(400)),
        ("icons/", "a\u{7}", Err(400)),
    ];
    for (folder, file_name, expected) in table {
        let name = file_asset_name(folder, file_name);
        let name = name.as_ref().map(AssetName::as_str).map_err(|problem| problem.status().as_u16());
        assert_eq!(name, expected, "{folder} {file_name}");
    }
}

fn failed(name: &str) -> Stored {
    let problem = Problem::new(ProblemKind::Forbidden, "no");
    Stored { name: name.into(), result: Err(problem) }
}

fn stored(name: &str) -> Stored {
    let record = crate::asset::Record {
        name: name.parse().unwrap(),
        version: "0123456789abcdef-01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
        created: "2026-11-22T11:05:31Z".parse().unwrap(),
        put: Some(crate::asset::PutFields {
            size: 0,
            blake3: crate::asset::Blake3::new([0; 32]),
            sha256: crate::asset::Sha256::new([0; 32]),
            content_type: "image/png".into(),
            content_encoding: None,
            content_disposition: None,
            cache_control: None,
            metadata: std::collections::BTreeMap::new(),
        }),
    };
    let receipt = Receipt { record: Arc::new(record), created: true, copies: Vec::new() };
    Stored { name: name.into(), result: Ok(receipt) }
}

async fn answer(results: Vec<Stored>) -> (u16, serde_json::Value) {
    match respond(results, "http://x", "id") {
        Ok(response) => {
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
            (status, serde_json::from_slice(&body).unwrap())
        }
        Err(problem) => (problem.status().as_u16(), serde_json::Value::Null),
    }
}

#[tokio::test]
async fn the_status_says_whether_all_some_or_the_only_file_failed() {
    let (status, list) = answer(vec![stored("a"), stored("b")]).await;
    assert_eq!((status, list[0]["name"].as_str(), list[1]["name"].as_str()), (201, Some("a"), Some("b")));
    let (status, list) = answer(vec![failed("a"), stored("b"), failed("")]).await;
    assert_eq!(status, 207);
    assert_eq!(list[0]["name"], "a");
    assert_eq!(list[0]["problem"]["status"], 403);
    assert_eq!(list[0]["problem"]["outcome"], "not-committed");
    assert_eq!(list[0]["problem"]["request_id"], "id");
    assert_eq!(list[1]["url"], "http://x/b");
    assert_eq!(list[2]["name"], "", "the form itself broke");
    let (status, list) = answer(vec![stored("a"), failed("")]).await;
    assert_eq!((status, &list[0]["url"], &list[1]["name"]), (207, &"http://x/a".into(), &"".into()));
    assert_eq!(answer(vec![failed("a")]).await.0, 403);
    assert_eq!(answer(vec![failed("a"), failed("b")]).await.0, 207);
    assert_eq!(answer(vec![stored("a")]).await.0, 201);
}
