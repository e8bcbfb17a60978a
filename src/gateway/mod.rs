//! The gateway: builds all parts from a [`Config`], runs them, and shuts down in order.
//!
//! Start: state folder and its lock → record key → tokens → providers → first look at the canaries →
//! index → tasks → listeners. Shutdown: readiness fails → no new connections → requests in flight end by a
//! deadline → loops stop → the current copy ends → everything is joined.

pub mod check;
pub mod fleet;
mod loops;
pub mod purge;
pub mod tools;
pub mod undo;

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::asset::RecordKey;
use crate::cache::BlockCache;
use crate::cache::disk::DiskCache;
use crate::catalog::{self, Catalog};
use crate::clock::Clock;
use crate::config::record_key::{Missing, ResolveError, ResolvedKey};
use crate::config::token::{GeneratedToken, TokenError};
use crate::config::{Config, record_key, token};
use crate::health::Board;
use crate::health::monitor::Monitor;
use crate::http::{self, App, Flows, ServeSettings, Watch};
use crate::provider::error::BuildError;
use crate::provider::{Budget, Fleet, Trust};
use crate::read::{self, Reader};
use crate::repair::{self, Repairer};
use crate::replica::turns::Turns;
use crate::retention::{self, Retention};
use crate::task::Tasks;
use crate::telemetry::Telemetry;
use crate::write::{self, Writer};

/// How many clients may be connected to the admin listener at once.
const ADMIN_CONNECTIONS_MAX: usize = 1_000;
/// How long requests in flight may go on after the stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
/// How long tasks may take to end after that.
const TASKS_GRACE: Duration = Duration::from_secs(15);

/// The gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder cannot be made or locked.
    #[error("the state folder {folder} cannot be used: {reason}")]
    State {
        /// The folder.
        folder: String,
        /// What is wrong.
        reason: String,
    },
    /// The record key cannot be had.
    #[error(transparent)]
    Key(#[from] ResolveError),
    /// The generated token cannot be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A provider cannot be built from its settings.
    #[error(transparent)]
    Provider(#[from] BuildError),
    /// Not even an empty index can be made.
    #[error(transparent)]
    Index(#[from] catalog::IndexError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}; is another gateway running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
}

/// A gateway that is built and listens, but does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    parts: Parts,
    app: Arc<App>,
    public: TcpListener,
    admin: TcpListener,
    /// Held while the gateway runs: two in one state folder would share an index.
    _lock: File,
}

#[derive(Debug)]
struct Parts {
    config: Config,
    fleet: Fleet,
    clock: Clock,
    telemetry: Telemetry,
    budget: Budget,
    tasks: Tasks,
    monitor: Monitor,
    catalog: Catalog,
    cache: BlockCache,
    disk: DiskCache,
    repairer: Repairer,
    retention: Retention,
    turns: Turns,
}

/// What the operator is told at the start.
#[derive(Debug)]
pub struct Greeting {
    /// Where the public listener is.
    pub listen: SocketAddr,
    /// Where the admin listener is.
    pub admin: SocketAddr,
    /// The token that was generated because none is configured.
    pub token: Option<GeneratedToken>,
    /// The record key and its file.
    pub key: ResolvedKey,
}

impl Gateway {
    /// Builds everything and binds both listeners.
    ///
    /// # Errors
    ///
    /// Says what stands in the way; nothing was started.
    pub async fn build(config: Config) -> Result<(Self, Greeting), StartError> {
        let lock = lock_state(&config.state)?;
        let key = record_key::resolve(&config.record_key, Missing::Make)?;
        let generated =
            config.tokens.is_empty().then(|| token::load_or_generate(&config.state)).transpose()?;
        let (clock, telemetry, tasks) = (Clock::system(), Telemetry::new(), Tasks::new());
        let (fleet, board) = fleet::build(&config.providers, &clock, &telemetry)?;
        let parts = Parts::assemble(config, fleet, board, key.key.clone(), clock, telemetry, tasks)?;
        let public = bind(parts.config.listen).await?;
        let admin = bind(parts.config.admin).await?;
        let address = |listener: &TcpListener, fallback| listener.local_addr().unwrap_or(fallback);
        let greeting = Greeting {
            listen: address(&public, parts.config.listen),
            admin: address(&admin, parts.config.admin),
            token: generated,
            key,
        };
        let app = Arc::new(App::new(parts.flows(&greeting.key.key), parts.settings(&greeting)));
        Ok((Self { parts, app, public, admin, _lock: lock }, greeting))
    }

    /// Serves until `stop`, then ends in order.
    pub async fn run(self, stop: CancellationToken) {
        let Self { parts, app, public, admin, _lock } = self;
        let listeners = CancellationToken::new();
        let most = http::connections_max();
        let serve = |name, connections_max, listener, router| {
            let settings = parts.serving(name, connections_max);
            let (tasks, stop) = (parts.tasks.clone(), listeners.clone());
            async move { http::serve(listener, router, &tasks, settings, stop).await }
        };
        let public = serve("public", most, public, http::public_router(app.clone()));
        let admin = serve("admin", most.min(ADMIN_CONNECTIONS_MAX), admin, http::admin_router(app.clone()));
        let order = async {
            tokio::select! {
                () = parts.start() => stop.cancelled().await,
                () = stop.cancelled() => {}
            }
            info!("shutting down");
            app.begin_shutdown();
            listeners.cancel();
        };
        tokio::join!(order, public, admin);
        parts.tasks.shut_down(TASKS_GRACE).await;
        info!("stopped");
    }
}

impl Parts {
    fn assemble(
        config: Config,
        fleet: Fleet,
        board: Board,
        key: RecordKey,
        clock: Clock,
        telemetry: Telemetry,
        tasks: Tasks,
    ) -> Result<Self, StartError> {
        let monitor = Monitor::new(fleet.clone(), board.clone(), key.clone());
        let budget = if config.hedging { Budget::new() } else { Budget::without_hedges() };
        let catalog = Catalog::open(
            &config.state,
            catalog::Parts {
                fleet: fleet.clone(),
                trust: Arc::new(board) as Arc<dyn Trust>,
                key: key.clone(),
                clock: clock.clone(),
                telemetry: telemetry.clone(),
                budget: budget.clone(),
                feed_interval: config.feed_interval,
                retention: config.retention,
            },
        )?;
        let turns = Turns::new(clock.clone());
        let repairer = Repairer::new(repair::Parts {
            fleet: fleet.clone(),
            catalog: catalog.clone(),
            monitor: monitor.clone(),
            key,
            clock: clock.clone(),
            telemetry: telemetry.clone(),
            turns: turns.clone(),
        });
        let retention = Retention::new(retention::Parts {
            fleet: fleet.clone(),
            catalog: catalog.clone(),
            monitor: monitor.clone(),
            clock: clock.clone(),
            telemetry: telemetry.clone(),
            retention: config.retention,
            requests_per_second: retention::REQUESTS_PER_SECOND,
        });
        let cache = BlockCache::new(config.cache.memory_bytes);
        let (path, bytes) = (&config.cache.path, config.cache.disk_bytes);
        let disk = DiskCache::open(path, bytes, &tasks, telemetry.clone(), clock.clone());
        Ok(Self {
            config,
            fleet,
            clock,
            telemetry,
            budget,
            tasks,
            monitor,
            catalog,
            cache,
            disk,
            repairer,
            retention,
            turns,
        })
    }

    fn flows(&self, key: &RecordKey) -> Flows {
        let reader = Reader::new(read::Parts {
            fleet: self.fleet.clone(),
            catalog: self.catalog.clone(),
            monitor: self.monitor.clone(),
            cache: self.cache.clone(),
            disk: self.disk.clone(),
            clock: self.clock.clone(),
            telemetry: self.telemetry.clone(),
            budget: self.budget.clone(),
            tasks: self.tasks.clone(),
            turns: self.turns.clone(),
        });
        let writer = Writer::new(write::Parts {
            fleet: self.fleet.clone(),
            catalog: self.catalog.clone(),
            monitor: self.monitor.clone(),
            key: key.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            patience: self.config.timeouts.write,
            clock_offset_ms_max: write::CLOCK_OFFSET_MS_MAX,
            turns: self.turns.clone(),
        });
        Flows {
            reader,
            writer,
            catalog: self.catalog.clone(),
            board: self.monitor.board().clone(),
            fleet: self.fleet.clone(),
            repairer: self.repairer.clone(),
            retention: self.retention.clone(),
            watch: self.watch(),
        }
    }

    fn settings(&self, greeting: &Greeting) -> http::Settings {
        let config = &self.config;
        let tokens = config.tokens.iter().chain(greeting.token.as_ref().map(|generated| &generated.token));
        let tokens = tokens.cloned().map(|token| http::Token {
            name: token.name,
            hash: token.hash,
            write: token.write,
            delete: token.delete,
            admin: token.admin,
            prefixes: token.prefixes,
        });
        let rules = config.cache_control.iter().cloned();
        let public_url = config.public_url.clone();
        http::Settings {
            public_url: public_url.unwrap_or_else(|| format!("http://{}", greeting.listen)),
            tokens: http::Tokens::new(tokens.collect()),
            cache_control: rules
                .map(|rule| http::CacheControlRule { prefix: rule.prefix, value: rule.value })
                .collect(),
            limits: http::Limits {
                asset_bytes: config.limits.asset_bytes,
                uploads: config.limits.uploads,
                reads: config.limits.reads,
            },
            body_timeout: config.timeouts.body,
            conditional_writes: config.conditional_writes,
            admin_needs_token: !greeting.admin.ip().is_loopback(),
        }
    }

    fn serving(&self, name: &'static str, connections_max: usize) -> ServeSettings {
        ServeSettings {
            name,
            connections_max,
            header_timeout: self.config.timeouts.header,
            idle_timeout: self.config.timeouts.idle,
            write_timeout: self.config.timeouts.body,
            shutdown_grace: SHUTDOWN_GRACE,
            watch: self.watch(),
        }
    }

    fn watch(&self) -> Watch {
        Watch { telemetry: self.telemetry.clone(), clock: self.clock.clone() }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen { address, error })
}

/// Makes the state folder and takes its lock, which the system gives back when the process ends.
fn lock_state(folder: &Path) -> Result<File, StartError> {
    let unusable = |reason: String| StartError::State { folder: folder.display().to_string(), reason };
    std::fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
    let lock = File::create(folder.join("lock")).map_err(|error| unusable(error.to_string()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(unusable("another gateway uses it".to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(unusable(error.to_string())),
    }
}
