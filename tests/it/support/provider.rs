//! Providers as the product sees them, through a fault proxy, and as the tests see them, directly.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;
use triplicate::clock::Clock;
use triplicate::drill::wire::Wire;
use triplicate::provider as product;
use triplicate::provider::bunny::{BunnyProvider, BunnySettings};
use triplicate::provider::disk::{DiskProvider, DiskSettings};
use triplicate::provider::s3::S3Provider;

use super::bucket::Bucket;
use super::bunny::Bunny;
use super::servers::{KEY_ID, Make, REGION, S3Server, SECRET};
use super::{data_dir, wire_before};

/// One provider of a test.
#[derive(Debug)]
pub struct Provider {
    name: String,
    store: Store,
    wire: Option<Wire>,
}

#[derive(Debug)]
enum Store {
    Bucket(Bucket),
    Bunny(Bunny),
    Disk(TempDir),
}

impl Provider {
    /// Makes a provider of a new bucket of `server`.
    pub async fn s3(name: &str, server: &Arc<S3Server>) -> Self {
        let wire = wire_before(&server.endpoint()).await;
        Self { name: name.to_owned(), store: Store::Bucket(server.bucket().await), wire: Some(wire) }
    }

    /// Makes a provider of a new, emulated storage zone.
    pub async fn bunny(name: &str) -> Self {
        let bunny = Bunny::start().await;
        let wire = wire_before(&bunny.endpoint()).await;
        Self { name: name.to_owned(), store: Store::Bunny(bunny), wire: Some(wire) }
    }

    /// Makes a provider of a new folder.
    pub fn disk(name: &str) -> Self {
        Self { name: name.to_owned(), store: Store::Disk(data_dir("disk-")), wire: None }
    }

    /// Returns the name that the product is told.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the wire between the product and the provider; a disk has none.
    pub fn wire(&self) -> &Wire {
        self.wire.as_ref().expect("a provider with a wire")
    }

    /// Returns the bucket of an S3 provider.
    pub fn bucket(&self) -> &Bucket {
        match &self.store {
            Store::Bucket(bucket) => bucket,
            Store::Bunny(_) | Store::Disk(_) => panic!("{} is no S3 provider", self.name),
        }
    }

    /// Returns the zone of a Bunny provider.
    pub fn zone(&self) -> &Bunny {
        match &self.store {
            Store::Bunny(bunny) => bunny,
            Store::Bucket(_) | Store::Disk(_) => panic!("{} is no Bunny provider", self.name),
        }
    }

    /// Lays one more wire before the provider, and returns it with the entry of a gateway that uses it.
    pub async fn wired_again(&self) -> (Wire, String) {
        let upstream = match &self.store {
            Store::Bucket(bucket) => bucket.server().endpoint(),
            Store::Bunny(bunny) => bunny.endpoint(),
            Store::Disk(_) => panic!("{} has no wire", self.name),
        };
        let wire = wire_before(&upstream).await;
        let entry = self.entry(Some(wire.endpoint()));
        (wire, entry)
    }

    /// Returns the provider's entry in providers.yaml; JSON is YAML.
    pub fn yaml(&self) -> String {
        self.entry(self.wire.as_ref().map(Wire::endpoint))
    }

    /// Returns the provider as a part of the product, without a wire between.
    pub fn product(&self) -> Arc<dyn product::Provider> {
        let (id, clock) = (product::ProviderId::new(&self.name), Clock::system());
        match &self.store {
            Store::Bucket(bucket) => Arc::new(S3Provider::new(id, bucket.settings(None), clock).unwrap()),
            Store::Bunny(bunny) => {
                let settings = BunnySettings {
                    endpoint: bunny.endpoint().parse().unwrap(),
                    zone: bunny.zone().to_owned(),
                    access_key: bunny.password().into(),
                    via: None,
                };
                Arc::new(BunnyProvider::new(id, settings, clock).unwrap())
            }
            Store::Disk(dir) => {
                let settings = DiskSettings { path: dir.path().to_owned() };
                Arc::new(DiskProvider::new(id, settings, clock).unwrap())
            }
        }
    }

    /// Returns the provider's entry in providers.yaml without a wire between.
    pub fn direct_yaml(&self) -> String {
        self.entry(match &self.store {
            Store::Bucket(bucket) => Some(bucket.server().endpoint()),
            Store::Bunny(bunny) => Some(bunny.endpoint()),
            Store::Disk(_) => None,
        })
    }

    fn entry(&self, endpoint: Option<String>) -> String {
        match &self.store {
            Store::Bucket(bucket) => json!({
                "name": self.name, "kind": "s3", "endpoint": endpoint, "region": REGION, "bucket": bucket.name(),
                "access_key_id": KEY_ID, "secret_access_key": SECRET, "path_style": true,
            }),
            Store::Bunny(bunny) => json!({
                "name": self.name, "kind": "bunny", "endpoint": endpoint, "zone": bunny.zone(),
                "access_key": bunny.password(),
            }),
            Store::Disk(dir) => json!({"name": self.name, "kind": "disk", "path": dir.path()}),
        }
        .to_string()
    }

    /// Lists all keys, sorted.
    pub async fn keys(&self) -> Vec<String> {
        match &self.store {
            Store::Bucket(bucket) => bucket.keys().await,
            Store::Bunny(bunny) => bunny.keys(),
            Store::Disk(dir) => {
                let mut keys = Vec::new();
                walk(dir.path(), dir.path(), &mut keys);
                keys.sort();
                keys
            }
        }
    }

    /// Lists the keys that begin so, sorted.
    pub async fn keys_below(&self, prefix: &str) -> Vec<String> {
        let mut keys = self.keys().await;
        keys.retain(|key| key.starts_with(prefix));
        keys
    }

    /// Reads an object.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        match &self.store {
            Store::Bucket(bucket) => bucket.get(key).await,
            Store::Bunny(bunny) => bunny.get(key),
            Store::Disk(dir) => fs::read(dir.path().join(key)).ok().map(Bytes::from),
        }
    }

    /// Returns the content type under which an S3 provider or Bunny holds an object.
    pub async fn content_type(&self, key: &str) -> Option<String> {
        match &self.store {
            Store::Bucket(bucket) => bucket.content_type(key).await,
            Store::Bunny(bunny) => bunny.content_type(key),
            Store::Disk(_) => None,
        }
    }

    /// Writes an object.
    pub async fn put(&self, key: &str, bytes: Bytes) {
        match &self.store {
            Store::Bucket(bucket) => bucket.put(key, bytes).await,
            Store::Bunny(bunny) => bunny.put(key, bytes),
            Store::Disk(dir) => {
                let path = dir.path().join(key);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder is made");
                fs::write(path, bytes).expect("the file is written");
            }
        }
    }

    /// Removes an object.
    pub async fn delete(&self, key: &str) {
        match &self.store {
            Store::Bucket(bucket) => bucket.delete(key).await,
            Store::Bunny(bunny) => bunny.delete(key),
            Store::Disk(dir) => fs::remove_file(dir.path().join(key)).expect("the file is removed"),
        }
    }

    /// Flips one bit of an object; the provider's own checksum agrees with the new bytes.
    pub async fn damage(&self, key: &str) {
        let mut bytes = self.get(key).await.expect("the object to damage").to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.put(key, bytes.into()).await;
    }

    /// Removes every object, the canary as well.
    pub async fn wipe(&self) {
        for key in self.keys().await {
            self.delete(&key).await;
        }
    }

    /// Returns every object by its key.
    pub async fn objects(&self) -> Vec<(String, Bytes)> {
        let mut objects = Vec::new();
        for key in self.keys().await {
            // A probe comes and goes while the others are read.
            if let Some(bytes) = self.get(&key).await {
                objects.push((key, bytes));
            }
        }
        objects
    }
}

/// The usual set: two S3 providers and Bunny.
#[derive(Debug)]
pub struct Trio {
    /// The first S3 provider, `s3-one`.
    pub one: Provider,
    /// The second, `s3-two`, of the other make.
    pub two: Provider,
    /// `bunny`.
    pub bunny: Provider,
}

impl Trio {
    /// Makes a set on the shared servers: new buckets, a new zone.
    pub async fn shared() -> Self {
        Self::with_first(Make::SeaweedFs).await
    }

    /// Makes a set on the shared servers, with the first S3 provider of this make.
    pub async fn with_first(make: Make) -> Self {
        let (first, second) = match make {
            Make::SeaweedFs => {
                tokio::join!(S3Server::shared(Make::SeaweedFs), S3Server::shared(Make::JuiceFs))
            }
            Make::JuiceFs => tokio::join!(S3Server::shared(Make::JuiceFs), S3Server::shared(Make::SeaweedFs)),
        };
        Self::of(&first, &second).await
    }

    /// Makes a set of emulated storage zones alone, which cost next to nothing.
    pub async fn emulated() -> Self {
        Self {
            one: Provider::bunny("zone-one").await,
            two: Provider::bunny("zone-two").await,
            bunny: Provider::bunny("bunny").await,
        }
    }

    /// Makes a set on servers that the test may stop.
    pub async fn private() -> Self {
        let (first, second) =
            tokio::join!(S3Server::private(Make::SeaweedFs), S3Server::private(Make::JuiceFs));
        Self::of(&first, &second).await
    }

    /// Returns all three.
    pub fn all(&self) -> [&Provider; 3] {
        [&self.one, &self.two, &self.bunny]
    }

    async fn of(first: &Arc<S3Server>, second: &Arc<S3Server>) -> Self {
        Self {
            one: Provider::s3("s3-one", first).await,
            two: Provider::s3("s3-two", second).await,
            bunny: Provider::bunny("bunny").await,
        }
    }
}

/// Makes three folders, for features that have nothing to do with providers.
pub fn three_disks() -> [Provider; 3] {
    ["disk-a", "disk-b", "disk-c"].map(Provider::disk)
}

fn walk(root: &Path, at: &Path, keys: &mut Vec<String>) {
    let entries: Vec<PathBuf> =
        fs::read_dir(at).expect("a folder").map(|entry| entry.unwrap().path()).collect();
    for path in entries {
        if path.is_dir() {
            walk(root, &path, keys);
        } else {
            keys.push(
                path.strip_prefix(root).expect("below the root").to_str().expect("plain keys").to_owned(),
            );
        }
    }
}
