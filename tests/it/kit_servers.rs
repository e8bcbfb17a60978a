//! The kit's S3 servers are real ones: they check signatures, keep data over a kill, and can be swapped.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::support::bucket;
use crate::support::process::Process;
use crate::support::servers::{Make, S3Server};
use crate::support::{data_dir, eventually, http_client};

#[tokio::test]
async fn both_servers_store_list_and_remove_objects() {
    for make in [Make::SeaweedFs, Make::JuiceFs] {
        let bucket = S3Server::shared(make).await.bucket().await;
        assert_eq!(bucket.keys().await, Vec::<String>::new(), "{make:?}");
        let bytes = Bytes::from(vec![7; 100_000]);
        bucket.put("blobs/b/00000", bytes.clone()).await;
        bucket.put("blobs/a/00000", Bytes::from_static(b"a")).await;
        assert_eq!(bucket.keys().await, ["blobs/a/00000", "blobs/b/00000"], "{make:?}");
        assert_eq!(bucket.get("blobs/b/00000").await, Some(bytes), "{make:?}");
        bucket.delete("blobs/a/00000").await;
        assert_eq!(bucket.get("blobs/a/00000").await, None, "{make:?}");
        assert_eq!(bucket.keys().await, ["blobs/b/00000"], "{make:?}");
    }
}

#[tokio::test]
async fn both_servers_refuse_a_wrong_secret_and_no_signature() {
    for make in [Make::SeaweedFs, Make::JuiceFs] {
        let bucket = S3Server::shared(make).await.bucket().await;
        bucket.put("secret", Bytes::from_static(b"secret")).await;
        let endpoint = bucket.server().endpoint();
        let stranger = bucket::client(&endpoint, bucket.name(), "not-the-secret-not-the-secret-not-the-sec");
        assert!(stranger.get(&Path::from("secret")).await.is_err(), "{make:?}");
        assert!(stranger.put(&Path::from("new"), Bytes::from_static(b"x").into()).await.is_err(), "{make:?}");
        let unsigned =
            http_client().get(format!("{endpoint}/{}/secret", bucket.name())).send().await.unwrap();
        assert_eq!(unsigned.status(), 403, "{make:?}");
        assert_eq!(bucket.keys().await, ["secret"], "{make:?}");
    }
}

#[tokio::test]
async fn no_child_and_no_data_outlives_the_test_process() {
    let data = data_dir("orphan-");
    let mut child = Process::spawn(Command::new("sleep").arg("1000"), Some(data.path()));
    assert!(child.exited().is_none());
    child.abandon();
    child.wait(Duration::from_secs(10)).await;
    eventually("the data is removed", Duration::from_secs(10), || async {
        (!data.path().exists()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data_and_a_swapped_one_is_empty() {
    for make in [Make::SeaweedFs, Make::JuiceFs] {
        let server = S3Server::private(make).await;
        let bucket = server.bucket().await;
        bucket.put("kept", Bytes::from_static(b"kept")).await;
        server.stop();
        assert!(http_client().get(server.endpoint()).send().await.is_err(), "{make:?} still answers");
        server.start().await;
        assert_eq!(bucket.get("kept").await, Some(Bytes::from_static(b"kept")), "{make:?}");

        let ports = server.port();
        server.swap_for_empty().await;
        assert_eq!(server.port(), ports);
        let gone = http_client().get(format!("{}/{}/kept", server.endpoint(), bucket.name())).send().await;
        assert!(!gone.unwrap().status().is_success(), "{make:?}");
        bucket.create().await;
        assert_eq!(bucket.keys().await, Vec::<String>::new(), "{make:?}");
    }
}

#[tokio::test]
async fn a_frozen_server_accepts_and_never_answers_until_it_is_thawed() {
    let server = S3Server::private(Make::JuiceFs).await;
    server.freeze();
    let asked = http_client().get(server.endpoint()).timeout(Duration::from_millis(500)).send().await;
    assert!(asked.unwrap_err().is_timeout());
    server.thaw();
    assert_eq!(http_client().get(server.endpoint()).send().await.unwrap().status(), 403);
}
