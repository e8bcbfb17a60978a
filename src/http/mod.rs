//! HTTP: the edge that translates requests into flows and their results into responses.
//!
//! `router` is the whole URL surface. Each handler refuses in the contract's order (malformed URL → method →
//! token → scope → length → other fields → not implemented) before it reads a byte of the body or asks a flow
//! for anything. What can be decided from values alone is in pure modules: `target`, `auth`, `conditions`,
//! `range`, `digest`, `intake`, `query`, `fields`, `framing`, `problem`. Below them `listener` and `guard` keep
//! connections in order.
//!
//! Nothing of HTTP goes below this module, and nothing of a provider goes out of it.

mod admin;
mod assets;
mod auth;
mod conditions;
mod digest;
mod fields;
mod files;
mod form;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod intake;
mod layers;
mod limits;
mod listener;
mod problem;
mod query;
mod range;
mod router;
mod status;
mod target;
mod upload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use auth::{Token, Tokens};
pub use files::{connections_max, room_for_connections};
pub use layers::Watch;
pub use listener::{ServeSettings, serve};
pub use router::{admin_router, public_router};

use crate::catalog::Catalog;
use crate::health::Board;
use crate::provider::Fleet;
use crate::read::Reader;
use crate::repair::Repairer;
use crate::retention::Retention;
use crate::write::Writer;
use limits::Gate;

/// How requests are treated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The base of the URLs in receipts, without a closing slash.
    pub public_url: String,
    /// The tokens that clients may present.
    pub tokens: Tokens,
    /// `Cache-Control` by prefix, the first that fits.
    pub cache_control: Vec<CacheControlRule>,
    /// The limits on what comes from outside.
    pub limits: Limits,
    /// For progress in the body of a request.
    pub body_timeout: Duration,
    /// Whether `If-Match` and `If-None-Match` on PUT are tried as well as plain stores can.
    pub conditional_writes: bool,
    /// Whether the admin listener asks for an admin token: off the loopback it does.
    pub admin_needs_token: bool,
}

/// `Cache-Control` for the names below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheControlRule {
    /// The prefix of the names.
    pub prefix: String,
    /// The header's value.
    pub value: String,
}

/// The limits on what comes from outside; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest asset, in bytes.
    pub asset_bytes: u64,
    /// How many uploads may run at once.
    pub uploads: usize,
    /// How many reads may run at once.
    pub reads: usize,
}

/// The flows that requests are translated into.
#[derive(Debug)]
pub struct Flows {
    /// Answers reads.
    pub reader: Reader,
    /// Takes writes.
    pub writer: Writer,
    /// Knows the names.
    pub catalog: Catalog,
    /// Knows the health of the providers.
    pub board: Board,
    /// The providers, for their names.
    pub fleet: Fleet,
    /// Knows what is still to be copied.
    pub repairer: Repairer,
    /// Removes what is no longer needed, and says why it does not.
    pub retention: Retention,
    /// Telemetry and clock.
    pub watch: Watch,
}

/// What all handlers share.
#[derive(Debug)]
pub struct App {
    flows: Flows,
    settings: Settings,
    uploads: Gate,
    reads: Gate,
    shutting_down: AtomicBool,
}

impl App {
    /// Puts the flows and the settings together.
    pub fn new(flows: Flows, mut settings: Settings) -> Self {
        if settings.limits.asset_bytes == 0 {
            settings.limits.asset_bytes = u64::MAX;
        }
        let Limits { uploads, reads, .. } = settings.limits;
        Self {
            flows,
            settings,
            uploads: Gate::new(uploads),
            reads: Gate::new(reads),
            shutting_down: AtomicBool::new(false),
        }
    }

    /// Makes `/-/ready` fail from now on, so that balancers look elsewhere; requests are still served.
    pub fn begin_shutdown(&self) {
        self.shutting_down.store(true, Ordering::Release);
    }

    /// Tells whether the gateway may take traffic: the index is loaded and it is not shutting down.
    pub fn is_ready(&self) -> bool {
        !self.shutting_down.load(Ordering::Acquire) && self.flows.catalog.is_ready()
    }
}
