//! The Bunny emulator is strict: what a sloppy client does fails here as it fails at the service.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::{HEXLOWER, HEXUPPER};
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::support::bunny::{Bunny, BunnyFault, BunnyRule, DELETES_MAX, LISTINGS_MAX, Op, REQUESTS_MAX};
use crate::support::http_client;

struct Client<'a> {
    bunny: &'a Bunny,
    http: reqwest::Client,
}

impl<'a> Client<'a> {
    fn of(bunny: &'a Bunny) -> Self {
        Self { bunny, http: http_client() }
    }

    fn raw(&self, method: &str, path: &str) -> RequestBuilder {
        let url = format!("{}/{}/{path}", self.bunny.endpoint(), self.bunny.zone());
        self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), url)
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.raw(method, path).header("AccessKey", self.bunny.password())
    }

    async fn answer(&self, method: &str, path: &str) -> (u16, Value) {
        read(self.request(method, path)).await
    }
}

async fn read(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
}

fn message(status: u16, text: &str) -> (u16, Value) {
    (status, json!({"HttpCode": status, "Message": text}))
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn keys_are_checked_and_head_is_never_answered() {
    let bunny = Bunny::start().await;
    let client = Client::of(&bunny);
    bunny.put("a.txt", Bytes::from_static(b"a"));
    let unauthorized = message(401, "Unauthorized");
    assert_eq!(read(client.raw("GET", "a.txt")).await, unauthorized);
    assert_eq!(read(client.raw("GET", "a.txt").header("AccessKey", "wrong")).await, unauthorized);
    assert_eq!(client.request("HEAD", "a.txt").send().await.unwrap().status(), 401);
    let reader = |method, path| client.raw(method, path).header("AccessKey", bunny.read_only_password());
    assert_eq!(reader("GET", "a.txt").send().await.unwrap().status(), 200);
    assert_eq!(read(reader("PUT", "b.txt").body("b")).await, unauthorized);
    assert_eq!(read(reader("DELETE", "a.txt")).await, unauthorized);
    let other = client.http.get(format!("{}/other-zone/a.txt", bunny.endpoint()));
    assert_eq!(read(other.header("AccessKey", bunny.password())).await, unauthorized);
    assert_eq!(bunny.keys(), ["a.txt"]);
}

#[tokio::test]
async fn uploads_are_checked_against_their_checksum() {
    let bunny = Bunny::start().await;
    let client = Client::of(&bunny);
    let sha = digest(&SHA256, b"bytes");
    for checksum in [HEXUPPER.encode(sha.as_ref()), HEXLOWER.encode(sha.as_ref())] {
        let put = client.request("PUT", "d/e/f.bin").header("Checksum", checksum).body("bytes");
        assert_eq!(read(put).await, message(201, "File uploaded."));
    }
    for wrong in ["12".to_owned(), HEXUPPER.encode(digest(&SHA256, b"other").as_ref())] {
        let put = client.request("PUT", "g.bin").header("Checksum", wrong).body("bytes");
        assert_eq!(read(put).await.0, 400);
    }
    let below_a_file = client.request("PUT", "d/e/f.bin/x").body("bytes");
    assert_eq!(read(below_a_file).await.0, 400);
    assert_eq!(bunny.keys(), ["d/e/f.bin"]);
    let (status, row) = client.answer("DESCRIBE", "d/e/f.bin").await;
    assert_eq!((status, &row["Checksum"]), (200, &json!(HEXUPPER.encode(sha.as_ref()))));
}

#[tokio::test]
async fn rows_have_exactly_the_fields_of_the_service() {
    let bunny = Bunny::start().await;
    let client = Client::of(&bunny);
    bunny.put("dir/sub/x.png", Bytes::from_static(b"x"));
    bunny.put("dir/a.txt", Bytes::from_static(b"abc"));
    let (status, rows) = client.answer("GET", "dir/").await;
    let rows = rows.as_array().unwrap();
    assert_eq!((status, rows.len()), (200, 2));
    let (_, described) = client.answer("DESCRIBE", "dir/a.txt").await;
    let file = rows.iter().find(|row| row["ObjectName"] == "a.txt").unwrap();
    let sub = rows.iter().find(|row| row["ObjectName"] == "sub").unwrap();
    assert_eq!(file, &described);
    for row in [file, sub] {
        let mut names: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = [
            "ArrayNumber",
            "Checksum",
            "ContentType",
            "DateCreated",
            "Guid",
            "IsDirectory",
            "LastChanged",
            "Length",
            "ObjectName",
            "Path",
            "ReplicatedZones",
            "ServerId",
            "StorageZoneId",
            "StorageZoneName",
            "UserId",
        ];
        assert_eq!(names, expected);
        assert_eq!(row["Guid"].as_str().unwrap().len(), 36);
        assert_eq!(row["Path"], json!(format!("/{}/dir/", bunny.zone())));
        let date = row["LastChanged"].as_str().unwrap();
        assert!(chrono::NaiveDateTime::parse_from_str(date, "%Y-%m-%dT%H:%M:%S%.f").is_ok(), "{date}");
    }
    assert_eq!((&file["Length"], &file["IsDirectory"]), (&json!(3), &json!(false)));
    assert_eq!(
        (&sub["IsDirectory"], &sub["Checksum"], &sub["ReplicatedZones"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn missing_files_and_directories_differ() {
    let bunny = Bunny::start().await;
    let client = Client::of(&bunny);
    bunny.put("dir/a", Bytes::from_static(b"a"));
    let missing = message(404, "Object Not Found");
    assert_eq!(client.answer("GET", "nothing").await, missing);
    assert_eq!(client.answer("GET", "dir").await, missing, "a directory without its slash is a file");
    assert_eq!(client.answer("DESCRIBE", "nothing").await, missing);
    assert_eq!(client.answer("DESCRIBE", "dir/").await, missing);
    assert_eq!(client.answer("DELETE", "nothing").await, missing);
    assert_eq!(client.answer("DELETE", "dir").await, missing);
    assert_eq!(client.answer("GET", "nothing/").await, (200, json!([])));
    assert_eq!(client.answer("PUT", "empty/").await, message(201, "Directory created."));
    assert_eq!(client.answer("PUT", "empty/").await.0, 400);
    assert_eq!(client.answer("DELETE", "").await.0, 400, "the root is guarded");
    let deleted = message(200, "File deleted successfuly.");
    assert_eq!(client.answer("DELETE", "dir/a").await, deleted);
    let (_, rows) = client.answer("GET", "").await;
    assert_eq!(rows.as_array().unwrap().len(), 2, "an emptied directory stays");
    assert_eq!(client.answer("DELETE", "dir/").await, deleted);
    assert_eq!(client.answer("DELETE", "?allowRootDelete=true").await, deleted);
    assert_eq!(client.answer("GET", "").await, (200, json!([])));
}

#[tokio::test]
async fn files_are_served_with_single_ranges_and_conditions() {
    let bunny = Bunny::start().await;
    let client = Client::of(&bunny);
    let put =
        client.request("PUT", "a.svg").header("Override-Content-Type", "image/x-own").body("0123456789");
    assert_eq!(read(put).await.0, 201);
    let whole = client.request("GET", "a.svg?download").send().await.unwrap();
    assert_eq!((header(&whole, "content-type"), header(&whole, "accept-ranges")), ("image/x-own", "bytes"));
    assert!(whole.headers().get("checksum").is_none());
    let (etag, modified) = (header(&whole, "etag").to_owned(), header(&whole, "last-modified").to_owned());
    assert!(etag.ends_with("-a\"") && etag.len() < 24, "{etag}");
    for (range, status, content_range, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("bytes=10-", 416, "bytes */10", ""),
        ("bytes=0-1,4-5", 200, "", "0123456789"),
        ("lines=1-2", 200, "", "0123456789"),
    ] {
        let answer = client.request("GET", "a.svg").header("Range", range).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "content-range")),
            (status, content_range),
            "{range}"
        );
        assert_eq!(answer.text().await.unwrap(), body, "{range}");
    }
    let status = async |name: &str, value: &str| {
        client.request("GET", "a.svg").header(name, value).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("If-None-Match", &etag).await, 304);
    assert_eq!(status("If-None-Match", "\"other\"").await, 200);
    assert_eq!(status("If-Modified-Since", &modified).await, 304);
    let stale = client.request("GET", "a.svg").header("Range", "bytes=0-1").header("If-Range", "\"other\"");
    assert_eq!(stale.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn odd_paths_are_refused() {
    let bunny = Bunny::start().await;
    let client = Client::of(&bunny);
    let climbing = client.request("GET", "a%2F..%2Fb").send().await.unwrap();
    assert_eq!(climbing.status(), 400);
    assert!(
        climbing.text().await.unwrap().contains("<center>nginx</center>"),
        "a page of the web server, no JSON"
    );
    assert_eq!(client.answer("GET", &"x".repeat(6_001)).await.0, 400);
    assert_eq!(client.answer("PUT", "%20a").await.0, 400);
    bunny.put("a/b", Bytes::from_static(b"x"));
    assert_eq!(client.request("GET", "/a//b").send().await.unwrap().status(), 200);
    bunny.refuse_double_slashes();
    assert_eq!(client.answer("GET", "/a//b").await.0, 400);
}

#[tokio::test]
async fn too_many_in_flight_are_turned_away() {
    let bunny = Bunny::start().await;
    let client = Client::of(&bunny);
    bunny.inject(BunnyFault::Delay(Duration::from_secs(1)));
    let statuses = async |method: &str, path: &str, count: usize| {
        let answers = futures::future::join_all((0..count).map(|_| client.answer(method, path))).await;
        let of = |status: u16| answers.iter().filter(|answer| answer.0 == status).count();
        let busy = answers.iter().filter(|answer| answer.1["Message"] == "Unable to process request").count();
        (of(200) + of(404), of(400).min(busy), of(429))
    };
    assert_eq!(statuses("GET", "x/", LISTINGS_MAX + 3).await, (LISTINGS_MAX, 3, 0));
    assert_eq!(statuses("DELETE", "x", DELETES_MAX + 3).await, (DELETES_MAX, 3, 0));
    assert_eq!(statuses("GET", "x", REQUESTS_MAX + 3).await, (REQUESTS_MAX, 0, 3));
    bunny.clear_faults();
    assert_eq!(statuses("GET", "x/", 1).await, (1, 0, 0), "one alone is served");
}

#[tokio::test]
async fn faults_do_what_they_say_and_are_counted() {
    let bunny = Bunny::start().await;
    let client = Client::of(&bunny);
    bunny.inject(BunnyRule::from(BunnyFault::Forget).ops(&[Op::Put]).times(1));
    for expected in [None, Some(Bytes::from_static(b"a"))] {
        assert_eq!(read(client.request("PUT", "a").body("a")).await, message(201, "File uploaded."));
        assert_eq!(bunny.get("a"), expected);
    }
    bunny.inject(BunnyFault::StaleListing);
    bunny.put("b", Bytes::from_static(b"b"));
    assert_eq!(client.answer("GET", "").await.1.as_array().unwrap().len(), 1);
    bunny.clear_faults();
    assert_eq!(client.answer("GET", "").await.1.as_array().unwrap().len(), 2);
    for (fault, status) in
        [(BunnyFault::Unauthorized, 401), (BunnyFault::NotFound, 404), (BunnyFault::Status(503), 503)]
    {
        bunny.inject(BunnyRule::from(fault).prefix("a").times(1));
        assert_eq!(client.answer("GET", "b").await.0, 200);
        assert_eq!(client.answer("GET", "a").await.0, status);
        assert_eq!(client.request("GET", "a").send().await.unwrap().status(), 200);
    }
    bunny.inject(BunnyRule::from(BunnyFault::HtmlPage).times(1));
    let page = client.request("GET", "a").send().await.unwrap();
    assert_eq!((page.status(), header(&page, "content-type")), (StatusCode::OK, "text/html"));
    bunny.inject(BunnyRule::from(BunnyFault::IgnoreDelete).times(1));
    assert_eq!(client.answer("DELETE", "a").await.0, 200);
    assert!(bunny.get("a").is_some());
    bunny.inject(BunnyRule::from(BunnyFault::Overload).times(1));
    assert_eq!(client.answer("DELETE", "a").await, message(400, "Unable to process request"));
    let before = bunny.struck(Op::Get);
    bunny.inject(BunnyRule::from(BunnyFault::Status(500)).percent(30));
    for _ in 0..100 {
        client.answer("GET", "a").await;
    }
    assert!((15..45).contains(&(bunny.struck(Op::Get) - before)));
    assert!(bunny.count(Op::Get) >= 100);
}

#[tokio::test]
async fn damage_is_silent_and_a_stopped_zone_comes_back_with_its_files() {
    let bunny = Bunny::start().await;
    let client = Client::of(&bunny);
    bunny.put("a", Bytes::from_static(b"aaaa"));
    let before = client.answer("DESCRIBE", "a").await;
    bunny.damage("a", Bytes::from_static(b"aXaa"));
    assert_eq!(client.answer("DESCRIBE", "a").await, before);
    assert_eq!(client.request("GET", "a").send().await.unwrap().text().await.unwrap(), "aXaa");
    bunny.stop().await;
    assert!(client.request("GET", "a").send().await.is_err(), "it still answers");
    bunny.restart().await;
    assert_eq!(client.request("GET", "a").send().await.unwrap().status(), 200);
    bunny.skew_clock(-86_400);
    let answer = client.request("GET", "a").send().await.unwrap();
    let date = httpdate::parse_http_date(header(&answer, "date")).unwrap();
    assert!(date < std::time::SystemTime::now() - Duration::from_secs(86_000));
    bunny.wipe();
    assert_eq!(client.answer("GET", "").await, (200, json!([])));
}
