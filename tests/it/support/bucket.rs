//! One bucket of a real S3 server, seen directly: what the tests compare copies with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{Attribute, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use triplicate::provider::s3::S3Settings;

use super::servers::{KEY_ID, REGION, S3Server, SECRET};
use super::{http_client, install_crypto};

/// How long a signed URL may be used.
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// A bucket and a client of its own, which no other runtime shares.
#[derive(Debug)]
pub struct Bucket {
    server: Arc<S3Server>,
    name: String,
    store: AmazonS3,
}

impl Bucket {
    /// Names a bucket, which need not exist.
    pub fn of(server: Arc<S3Server>, name: &str) -> Self {
        let store = client(&server.endpoint(), name, SECRET);
        Self { server, name: name.to_owned(), store }
    }

    /// Returns the server that holds the bucket.
    pub fn server(&self) -> &Arc<S3Server> {
        &self.server
    }

    /// Returns the bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how the product reaches the bucket, through a proxy or not.
    pub fn settings(&self, via: Option<SocketAddr>) -> S3Settings {
        S3Settings {
            endpoint: self.server.endpoint().parse().expect("an address"),
            region: REGION.to_owned(),
            bucket: self.name.clone(),
            access_key_id: KEY_ID.into(),
            secret_access_key: SECRET.into(),
            path_style: true,
            via,
        }
    }

    /// Makes the bucket.
    pub async fn create(&self) {
        let status = self.try_create().await.expect("the server answers");
        assert!(status.is_success(), "bucket {}: {status}", self.name);
    }

    /// Tells whether the server stores and returns an object; makes the bucket first if need be.
    pub async fn answers(&self) -> bool {
        // An existing bucket is refused with 409, which is an answer as well.
        if self.try_create().await.is_none() {
            return false;
        }
        let (key, bytes) = (Path::from("ready"), Bytes::from_static(b"ready"));
        self.store.put(&key, bytes.clone().into()).await.is_ok()
            && self.try_get("ready").await == Ok(Some(bytes))
    }

    /// Lists all keys, sorted.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .store
            .list(None)
            .map_ok(|meta| meta.location.to_string())
            .try_collect()
            .await
            .expect("the bucket is listed");
        keys.sort();
        keys
    }

    /// Reads an object.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        self.try_get(key).await.unwrap_or_else(|error| panic!("{key}: {error}"))
    }

    /// Returns the content type of an object.
    pub async fn content_type(&self, key: &str) -> Option<String> {
        let got = self.store.get(&Path::from(key)).await.expect("the object is there");
        got.attributes.get(&Attribute::ContentType).map(|value| value.as_ref().to_owned())
    }

    /// Writes an object.
    pub async fn put(&self, key: &str, bytes: Bytes) {
        self.store.put(&Path::from(key), bytes.into()).await.expect("the object is written");
    }

    /// Removes an object.
    pub async fn delete(&self, key: &str) {
        // By hand: the client's own delete is the bulk request, which JuiceFS refuses.
        let url = self.store.signed_url(Method::DELETE, &Path::from(key), SIGNED_FOR).await;
        let answer =
            http_client().delete(url.expect("a signed URL")).send().await.expect("the server answers");
        assert!(answer.status().is_success(), "{key}: {}", answer.status());
    }

    async fn try_get(&self, key: &str) -> Result<Option<Bytes>, String> {
        let got = match self.store.get(&Path::from(key)).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(format!("{error:?}")),
        };
        got.bytes().await.map(Some).map_err(|error| error.to_string())
    }

    async fn try_create(&self) -> Option<http::StatusCode> {
        let url = self.store.signed_url(Method::PUT, &Path::default(), SIGNED_FOR).await;
        let answer = http_client().put(url.expect("a signed URL")).send().await.ok()?;
        Some(answer.status())
    }
}

/// Builds an S3 client of the kit's own; it looks on, so a broken connection is not its subject.
pub fn client(endpoint: &str, bucket: &str, secret: &str) -> AmazonS3 {
    install_crypto();
    AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_bucket_name(bucket)
        .with_region(REGION)
        .with_access_key_id(KEY_ID)
        .with_secret_access_key(secret)
        .with_virtual_hosted_style_request(false)
        .with_retry(RetryConfig { max_retries: 2, ..RetryConfig::default() })
        .with_client_options(ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_secs(60)))
        .build()
        .expect("an S3 client")
}
