use std::fs;

use futures::TryStreamExt;
use reqwest::RequestBuilder;

use super::*;
use crate::asset::key::blob_dir;
use crate::clock::Clock;
use crate::drill::wire::Wire;
use crate::provider::bunny::BunnyProvider;
use crate::provider::disk::{DiskProvider, DiskSettings};
use crate::provider::{ProviderId, contract, get_small};

const BODY: &[u8] = b"0123456789";

struct Rig {
    folder: tempfile::TempDir,
    disk: Arc<DiskProvider>,
    zone: Zone,
    tasks: Tasks,
    key: Key,
}

impl Rig {
    async fn new() -> Self {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let settings = DiskSettings { path: folder.path().join("disk") };
        let disk = DiskProvider::new(ProviderId::new("disk"), settings, Clock::system()).unwrap();
        let disk = Arc::new(disk);
        let zone = Zone::serve(disk.clone(), &tasks).await.unwrap();
        Self { folder, disk, zone, tasks, key: Key::part(Clock::system().upload_id(), 0) }
    }

    fn client(&self) -> BunnyProvider {
        bunny(self.zone.settings())
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let settings = self.zone.settings();
        let url = format!("{}{}/{path}", settings.endpoint, settings.zone);
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        http.request(method.parse().unwrap(), url).header("AccessKey", settings.access_key.expose_secret())
    }

    async fn status(&self, method: &str, path: &str) -> u16 {
        self.request(method, path).send().await.unwrap().status().as_u16()
    }
}

fn bunny(settings: BunnySettings) -> BunnyProvider {
    BunnyProvider::new(ProviderId::new("bunny"), settings, Clock::system()).unwrap()
}

fn payload() -> Payload {
    Payload::from(Bytes::from_static(BODY))
}

#[tokio::test]
async fn a_client_of_the_service_passes_the_contract() {
    let rig = Rig::new().await;
    contract::all(&rig.client(), &Clock::system()).await.unwrap();
    let left: Vec<_> = rig.disk.list_tree("").try_collect::<Vec<_>>().await.unwrap().concat();
    assert_eq!(left, []);
}

#[tokio::test]
async fn a_client_passes_the_contract_through_a_wire_of_either_form() {
    let rig = Rig::new().await;
    let wire = Wire::before(&rig.zone.settings().endpoint, 1, &rig.tasks).await.unwrap();
    let as_proxy = BunnySettings { via: Some(wire.address()), ..rig.zone.settings() };
    contract::all(&bunny(as_proxy), &Clock::system()).await.unwrap();
    let requests = wire.counts().requests;
    assert!(requests > 3_000, "{requests} requests came by");
    let as_provider = BunnySettings { endpoint: wire.endpoint().parse().unwrap(), ..rig.zone.settings() };
    contract::keeps_objects(&bunny(as_provider), &Clock::system()).await.unwrap();
    assert!(wire.counts().requests > requests);
}

#[tokio::test]
async fn only_the_password_of_the_zone_opens_it() {
    let rig = Rig::new().await;
    rig.client().put(&rig.key, &payload(), "text/plain").await.unwrap();
    let settings = rig.zone.settings();
    for wrong in [
        BunnySettings { access_key: "guessed".into(), ..settings.clone() },
        BunnySettings { access_key: "".into(), ..settings.clone() },
        BunnySettings { zone: format!("{}x", settings.zone), ..settings.clone() },
    ] {
        let error = bunny(wrong).stat(&rig.key).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
    }
    assert!(rig.client().stat(&rig.key).await.is_ok());
}

#[tokio::test]
async fn an_upload_that_is_not_right_stores_nothing() {
    let rig = Rig::new().await;
    let key = rig.key.as_str();
    let put = |checksum: &str, body: Vec<u8>| rig.request("PUT", key).header("Checksum", checksum).body(body);
    let wrong = Sha256::of(b"other").to_hex();
    let too_many = vec![0; usize::try_from(UPLOAD_BYTES_MAX).unwrap() + 1];
    for (request, status) in [
        (put(&wrong, BODY.to_vec()), 400),
        (put("12", BODY.to_vec()), 400),
        (rig.request("PUT", key), 400),
        (rig.request("PUT", "dir/alien").body("x"), 400),
        (rig.request("PUT", "blobs/20261122/alien/00000").body("x"), 400),
        (put(&wrong, too_many), 413),
    ] {
        assert_eq!(request.send().await.unwrap().status().as_u16(), status);
        assert!(rig.disk.stat(&rig.key).await.unwrap_err().is_not_found());
    }
    let right = Sha256::of(BODY).to_hex().to_ascii_uppercase();
    let answer = put(&right, BODY.to_vec()).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    assert!(answer.headers().contains_key("date"));
    assert_eq!(get_small(&*rig.disk, &rig.key, 100).await.unwrap(), BODY);
}

#[tokio::test]
async fn single_ranges_are_served() {
    let rig = Rig::new().await;
    rig.client().put(&rig.key, &payload(), "text/plain").await.unwrap();
    for (range, status, body, told) in [
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=2-5", 206, "2345", "bytes 2-5/10"),
        ("bytes=7-99", 206, "789", "bytes 7-9/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-4", 206, "6789", "bytes 6-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=5-2", 200, "0123456789", ""),
        ("bytes=0-1,3-4", 200, "0123456789", ""),
        ("bytes=+1-2", 200, "0123456789", ""),
        ("items=0-1", 200, "0123456789", ""),
    ] {
        let answer = rig.request("GET", rig.key.as_str()).header("Range", range).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{range}");
        let header = answer.headers().get("content-range").map_or("", |told| told.to_str().unwrap());
        assert_eq!(header, told, "{range}");
        assert_eq!(answer.text().await.unwrap(), body, "{range}");
    }
    for range in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
        let answer = rig.request("GET", rig.key.as_str()).header("Range", range).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-range"]),
            (416, &"bytes */10".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn a_checksum_is_that_of_the_stored_bytes() {
    let rig = Rig::new().await;
    let (client, dir) = (rig.client(), rig.key.as_str().trim_end_matches("00000").to_owned());
    client.put(&rig.key, &payload(), "text/plain").await.unwrap();
    let listed = async || client.list_dir(&dir).await.unwrap().entries[0].sha256;
    assert_eq!(listed().await, Some(Sha256::of(BODY)), "remembered from the upload");
    let path = rig.folder.path().join("disk").join(rig.key.as_str());
    fs::write(&path, b"damaged bytes").unwrap();
    assert_eq!(listed().await, None, "nobody vouches for what came from elsewhere");
    assert_eq!(client.stat(&rig.key).await.unwrap().sha256, Some(Sha256::of(b"damaged bytes")));
    assert_eq!(listed().await, Some(Sha256::of(b"damaged bytes")), "remembered from the description");
    assert_eq!(
        dir,
        blob_dir(match parse(rig.key.as_str()) {
            Some(crate::asset::KeyKind::Part { upload, .. }) => upload,
            other => panic!("{other:?}"),
        })
    );
}

#[tokio::test]
async fn folders_are_never_deleted_and_unknown_methods_do_nothing() {
    let rig = Rig::new().await;
    rig.client().put(&rig.key, &payload(), "text/plain").await.unwrap();
    assert_eq!(rig.status("DELETE", "").await, 400);
    assert_eq!(rig.status("DELETE", "blobs/").await, 400);
    assert_eq!(rig.status("POST", rig.key.as_str()).await, 405);
    assert_eq!(rig.status("HEAD", rig.key.as_str()).await, 405);
    assert_eq!(rig.status("GET", "alien").await, 404);
    assert!(rig.disk.stat(&rig.key).await.is_ok());
    assert_eq!(rig.status("DELETE", rig.key.as_str()).await, 200);
    assert!(rig.disk.stat(&rig.key).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_store_that_is_gone_is_a_fault_and_never_a_missing_object() {
    let rig = Rig::new().await;
    let client = rig.client();
    client.put(&rig.key, &payload(), "text/plain").await.unwrap();
    fs::rename(rig.folder.path().join("disk"), rig.folder.path().join("unmounted")).unwrap();
    let kinds = [
        client.put(&rig.key, &payload(), "text/plain").await.unwrap_err().kind,
        client.get(&rig.key, None).await.err().unwrap().kind,
        client.stat(&rig.key).await.unwrap_err().kind,
        client.delete(&rig.key).await.unwrap_err().kind,
        client.list_dir("names/").await.unwrap_err().kind,
    ];
    assert_eq!(kinds, [ErrorKind::Denied; 5]);
}

#[tokio::test]
async fn dropping_a_zone_stops_its_server() {
    let rig = Rig::new().await;
    let client = rig.client();
    client.put(&rig.key, &payload(), "text/plain").await.unwrap();
    drop(rig.zone);
    rig.tasks.shut_down(Duration::from_secs(5)).await;
    assert_eq!(client.stat(&rig.key).await.unwrap_err().kind, ErrorKind::Unavailable);
}
