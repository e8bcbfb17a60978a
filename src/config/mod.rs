//! Configuration: the file as it is written, turned into a [`Config`] that is checked and complete.
//!
//! 1. `tree` parses the YAML into raw scalars with positions; a syntax error ends here.
//! 2. `file` and `providers` walk the tree key by key. Each scalar is interpolated (`interpolate`), then
//!    parsed (`scalar`); what is wrong is gathered, and the walk goes on (`reader`).
//! 3. All findings are shown together in the order of the file (`problem`). No message, and no `Debug`,
//!    holds a secret or a value from the environment.
//!
//! This is the only place that reads the environment, and files other than a provider's or the index's:
//! the configuration itself, the record key and the generated token. It opens no listener and calls no
//! provider.

pub(crate) mod document;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
pub(crate) mod interpolate;
mod load;
mod problem;
mod providers;
pub(crate) mod reader;
pub mod record_key;
pub mod scalar;
mod secret_file;
pub mod token;
pub(crate) mod tree;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use load::environment;
pub use load::{DEFAULT_FILE, Loaded, Origin};
pub use problem::{ConfigErrors, Problem};
pub use tree::Position;

use crate::asset::{Blake3, RecordKey};
use crate::provider::ProviderId;
use crate::provider::bunny::BunnySettings;
use crate::provider::disk::DiskSettings;
use crate::provider::s3::S3Settings;

/// Everything that a gateway needs to know, checked, complete, paths resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of the public listener.
    pub listen: SocketAddr,
    /// The address of the admin listener.
    pub admin: SocketAddr,
    /// The folder of local state, which may be deleted while the gateway is stopped.
    pub state: PathBuf,
    /// Where the record key comes from.
    pub record_key: RecordKeySource,
    /// The base of the URLs in receipts, without a closing slash; unset it follows `listen`.
    pub public_url: Option<String>,
    /// The tokens that may write; empty means that one is generated.
    pub tokens: Vec<Token>,
    /// The providers, in the order of the file.
    pub providers: Vec<ProviderConfig>,
    /// The caches.
    pub cache: CacheConfig,
    /// The limits on what comes from outside.
    pub limits: Limits,
    /// `Cache-Control` by prefix, the first that fits.
    pub cache_control: Vec<CacheControlRule>,
    /// How often the feeds are polled.
    pub feed_interval: Duration,
    /// How long superseded and deleted versions are kept; zero means for ever.
    pub retention: Duration,
    /// Time-outs of the listeners and of writes.
    pub timeouts: Timeouts,
    /// Whether `If-Match` and `If-None-Match` on PUT are tried as well as plain stores can.
    pub conditional_writes: bool,
    /// Whether slow providers are raced by others. No file says otherwise; a drill does, to measure what it is worth.
    pub hedging: bool,
}

impl Config {
    /// Puts the addresses of the command line in place of those of the file.
    ///
    /// # Errors
    ///
    /// The two listeners would have one address; the text says so.
    pub fn with_listeners(
        mut self,
        listen: Option<SocketAddr>,
        admin: Option<SocketAddr>,
    ) -> Result<Self, String> {
        self.listen = listen.unwrap_or(self.listen);
        self.admin = admin.unwrap_or(self.admin);
        if file::same_listener(self.listen, self.admin) {
            return Err(format!(
                "the public and the admin listener have one address, {}; choose another port",
                self.listen
            ));
        }
        Ok(self)
    }
}

/// Where the record key comes from.
#[derive(Debug, Clone)]
pub enum RecordKeySource {
    /// The key itself, from the file or the environment.
    Key(RecordKey),
    /// A file with 64 hex digits, made at the first start.
    File(PathBuf),
}

/// A token that a client may present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who it belongs to, for logs.
    pub name: String,
    /// The BLAKE3 of the token's text.
    pub hash: Blake3,
    /// Whether it may PUT and POST.
    pub write: bool,
    /// Whether it may DELETE.
    pub delete: bool,
    /// Whether it may use the admin listener.
    pub admin: bool,
    /// The prefixes of the names that it may write and delete; empty means all names.
    pub prefixes: Vec<String>,
}

/// One configured provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// The name.
    pub id: ProviderId,
    /// Whether reads prefer it where two providers are about equally fast.
    pub preferred: bool,
    /// The vendor and how to reach it.
    pub settings: ProviderSettings,
}

/// A vendor and how to reach it.
#[derive(Debug, Clone)]
pub enum ProviderSettings {
    /// Any S3 vendor.
    S3(S3Settings),
    /// Bunny Edge Storage.
    Bunny(BunnySettings),
    /// A local folder, for trying out.
    Disk(DiskSettings),
}

/// The caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Bytes of verified blocks held in memory; 0 is off.
    pub memory_bytes: u64,
    /// Bytes of verified blocks held on disk; 0 is off.
    pub disk_bytes: u64,
    /// The folder of the disk cache, which makes one of its own below it.
    pub path: PathBuf,
}

/// The limits on what comes from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest asset, in bytes.
    pub asset_bytes: u64,
    /// How many uploads may run at once; 0 is no limit.
    pub uploads: usize,
    /// How many reads may run at once; 0 is no limit.
    pub reads: usize,
}

/// `Cache-Control` for the names below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheControlRule {
    /// The prefix of the names.
    pub prefix: String,
    /// The header's value.
    pub value: String,
}

/// Time-outs of the listeners and of writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For the head of a request.
    pub header: Duration,
    /// For the next request on an idle connection.
    pub idle: Duration,
    /// For progress in the body of a request, or in sending a response.
    pub body: Duration,
    /// For the whole write, from the last body byte.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
        }
    }
}
