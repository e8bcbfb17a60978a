//! The site of a drill: its providers, each with a wire in front, and a configuration over them.
//!
//! A drill writes, deletes and wipes. It refuses providers that hold anything at the start, and empties them
//! at the end, however it ends, so that it can be played again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use url::Url;

use super::scenario::Load;
use super::wire::{Wire, WireError};
use super::zone::Zone;
use crate::asset::{RecordKey, key};
use crate::clock::{Clock, random_secret};
use crate::config::token::TokenText;
use crate::config::{
    CacheConfig, Config, Limits, ProviderConfig, ProviderSettings, RecordKeySource, Timeouts, Token,
};
use crate::gateway::fleet;
use crate::provider::bunny::BunnySettings;
use crate::provider::disk::DiskSettings;
use crate::provider::{BuildError, Provider, ProviderError, ProviderId};
use crate::task::Tasks;

/// The providers of a drill without a configuration.
const EMBEDDED: [&str; 3] = ["s3-one", "s3-two", "bunny"];
/// How many objects are removed at once.
const REMOVALS: usize = 8;
/// How often a provider is looked at again after everything was removed: deletions may take effect late.
const ROUNDS_MAX: usize = 10;
/// Between two looks.
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// How much longer than its readers need the gateway lets requests queue.
const READS_MARGIN: usize = 64;

/// The drill cannot be played here.
#[derive(Debug, thiserror::Error)]
pub(super) enum SiteError {
    /// A provider holds objects that are none of the drill's.
    #[error(
        "the provider {provider} is not empty (it holds {example}); a drill writes, deletes and wipes: give the \
         drill buckets of its own"
    )]
    NotEmpty {
        /// Its name.
        provider: String,
        /// A key in it.
        example: String,
    },
    /// A provider cannot be built from its settings.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A wire or a zone cannot be laid.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A provider does not answer.
    #[error("a provider does not answer: {0}")]
    Provider(#[from] ProviderError),
    /// There is no room for temporary files.
    #[error("no temporary folder can be made: {0}")]
    Folder(#[from] std::io::Error),
}

/// The providers of a drill.
pub(super) struct Site {
    /// As the gateway is told of them.
    providers: Vec<ProviderConfig>,
    /// One before each provider.
    pub(super) wires: Vec<Arc<Wire>>,
    /// The providers themselves, past the wires.
    stores: Vec<Arc<dyn Provider>>,
    /// Held as long as they serve.
    _zones: Vec<Zone>,
    folder: tempfile::TempDir,
}

impl Site {
    /// Lays a wire before each provider of `config`, or before three folders of its own, once all are empty.
    ///
    /// # Errors
    ///
    /// Says what stands in the way; a provider that is not empty was not touched.
    pub(super) async fn open(config: Option<&Config>, seed: u64, tasks: &Tasks) -> Result<Self, SiteError> {
        let folder = tempfile::Builder::new().prefix("triplicate-drill-").tempdir()?;
        let configured = match config {
            Some(config) => config.providers.clone(),
            None => EMBEDDED.iter().map(|name| embedded(name, folder.path())).collect(),
        };
        let clock = Clock::system();
        let stores = fleet::bare(&configured, &clock)?;
        for store in &stores {
            if let Some(example) = first_key(store.as_ref()).await? {
                return Err(SiteError::NotEmpty { provider: store.id().to_string(), example });
            }
        }
        let mut site = Self { providers: Vec::new(), wires: Vec::new(), stores, _zones: Vec::new(), folder };
        for (slot, provider) in configured.into_iter().enumerate() {
            site.lay(provider, slot, seed, tasks).await?;
        }
        Ok(site)
    }

    async fn lay(
        &mut self,
        provider: ProviderConfig,
        slot: usize,
        seed: u64,
        tasks: &Tasks,
    ) -> Result<(), SiteError> {
        let seed = seed ^ (slot as u64 + 1) << 32;
        let before = async |url: &Url| Wire::before(url, seed, tasks).await;
        let settings = match provider.settings {
            ProviderSettings::S3(mut s3) => {
                let wire = before(&s3.endpoint).await?;
                s3.via = Some(wire.address());
                self.wires.push(Arc::new(wire));
                ProviderSettings::S3(s3)
            }
            ProviderSettings::Bunny(bunny) => self.lay_before_zone(bunny, before).await?,
            ProviderSettings::Disk(_) => {
                let zone = Zone::serve(self.stores[slot].clone(), tasks).await?;
                let settings = self.lay_before_zone(zone.settings(), before).await?;
                self._zones.push(zone);
                settings
            }
        };
        self.providers.push(ProviderConfig { id: provider.id, settings, preferred: provider.preferred });
        Ok(())
    }

    async fn lay_before_zone(
        &mut self,
        mut bunny: BunnySettings,
        before: impl AsyncFn(&Url) -> Result<Wire, WireError>,
    ) -> Result<ProviderSettings, SiteError> {
        let wire = before(&bunny.endpoint).await?;
        bunny.via = Some(wire.address());
        self.wires.push(Arc::new(wire));
        Ok(ProviderSettings::Bunny(bunny))
    }

    /// Returns a configuration over the wires for a load, and the token that it knows.
    pub(super) fn config(&self, config: Option<&Config>, load: &Load) -> (Config, TokenText) {
        let token = TokenText::generate();
        let state = self.folder.path().join("state");
        let base = config.cloned().unwrap_or_else(|| plain(&state));
        let known = Token {
            name: "drill".to_owned(),
            hash: token.hash(),
            write: true,
            delete: true,
            admin: true,
            prefixes: Vec::new(),
        };
        let reads = base.limits.reads.max(load.readers + READS_MARGIN);
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            admin: ([127, 0, 0, 1], 0).into(),
            cache: CacheConfig { memory_bytes: load.cache_bytes, disk_bytes: 0, path: state.join("cache") },
            limits: Limits { reads, ..base.limits.clone() },
            state,
            record_key: RecordKeySource::Key(RecordKey::new(random_secret())),
            public_url: None,
            tokens: vec![known],
            providers: self.providers.clone(),
            hedging: load.hedging,
            ..base
        };
        (config, token)
    }

    /// Returns the names of the providers.
    pub(super) fn names(&self) -> Vec<String> {
        self.stores.iter().map(|store| store.id().to_string()).collect()
    }

    /// Removes everything that the provider at `slot` holds now, while the gateway may be writing more.
    ///
    /// # Errors
    ///
    /// The provider's; some objects may be gone.
    pub(super) async fn wipe(&self, slot: usize) -> Result<(), SiteError> {
        remove_all(self.stores[slot].as_ref()).await.map(|_| ())
    }

    /// Tells whether the provider at `slot` has its canary.
    pub(super) async fn has_canary(&self, slot: usize) -> bool {
        let listing = self.stores[slot].list_dir("canary/").await;
        listing.is_ok_and(|listing| !listing.entries.is_empty())
    }

    /// Removes everything that any provider holds.
    ///
    /// # Errors
    ///
    /// The first provider's; the others were emptied as far as they let themselves.
    pub(super) async fn empty(&self) -> Result<(), SiteError> {
        let emptied = self.stores.iter().map(|store| empty(store.as_ref()));
        futures::future::join_all(emptied).await.into_iter().collect()
    }
}

/// The names that providers will have.
pub(super) fn names(config: Option<&Config>) -> Vec<String> {
    match config {
        Some(config) => config.providers.iter().map(|provider| provider.id.to_string()).collect(),
        None => EMBEDDED.map(str::to_owned).to_vec(),
    }
}

fn embedded(name: &str, folder: &Path) -> ProviderConfig {
    let settings = ProviderSettings::Disk(DiskSettings { path: folder.join(name) });
    ProviderConfig { id: ProviderId::new(name), settings, preferred: false }
}

/// The configuration of a drill without a file.
fn plain(state: &Path) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        admin: ([127, 0, 0, 1], 0).into(),
        state: state.to_owned(),
        record_key: RecordKeySource::Key(RecordKey::new(random_secret())),
        public_url: None,
        tokens: Vec::new(),
        providers: Vec::new(),
        cache: CacheConfig { memory_bytes: 0, disk_bytes: 0, path: state.join("cache") },
        limits: Limits { asset_bytes: 5 << 30, uploads: 64, reads: 4096 },
        cache_control: Vec::new(),
        feed_interval: Duration::from_secs(2),
        retention: Duration::from_hours(7 * 24),
        timeouts: Timeouts::default(),
        conditional_writes: false,
        hedging: true,
    }
}

async fn first_key(store: &dyn Provider) -> Result<Option<String>, SiteError> {
    let mut pages = store.list_tree("");
    while let Some(page) = pages.try_next().await? {
        if let Some(entry) = page.into_iter().next() {
            return Ok(Some(entry.key));
        }
    }
    Ok(None)
}

/// Removes what the gateway wrote, until nothing is listed any more.
async fn empty(store: &dyn Provider) -> Result<(), SiteError> {
    for round in 0..ROUNDS_MAX {
        if round > 0 {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        if remove_all(store).await? == 0 {
            break;
        }
    }
    match first_key(store).await? {
        None => Ok(()),
        Some(example) => Err(SiteError::NotEmpty { provider: store.id().to_string(), example }),
    }
}

/// Removes what is listed, and returns how much that was; alien objects stay.
async fn remove_all(store: &dyn Provider) -> Result<usize, SiteError> {
    let pages: Vec<_> = store.list_tree("").try_collect().await?;
    let keys = pages.iter().flatten().filter_map(|entry| key::parse(&entry.key));
    let keys: Vec<_> = keys.map(|kind| kind.key()).collect();
    let removals = keys.iter().map(|key| store.delete(key));
    stream::iter(removals).buffer_unordered(REMOVALS).try_collect::<Vec<()>>().await?;
    Ok(keys.len())
}
