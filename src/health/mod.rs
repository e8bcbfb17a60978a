//! Health: what this gateway thinks of each provider, and why.
//!
//! Passive: every call to a provider is observed ([`Board`] is the fleet's observer), and reads tell of each
//! verified first block ([`Asked`]) and each later one. Active: a monitor a provider reads its canary
//! ([`canary`]), writes, reads back and removes an object, and finds out once how uploads are protected
//! ([`monitor`]). Each gateway decides by itself, and health is never part of readiness. The order of
//! [`Board::plan`] is advice: an open or foreign provider is last, never forbidden.

mod asked;
mod board;
pub mod breaker;
pub mod canary;
mod figures;
mod gauges;
mod identity;
pub mod latency;
pub mod monitor;
mod plan;
mod probe;
pub mod quantiles;
mod status;
pub mod window;

pub use asked::Asked;
pub use board::Board;
pub use identity::Doubts;
pub use plan::{Candidate, SizeClass};
pub use status::ProviderHealth;

use crate::provider::{Fleet, ProviderId};

/// Returns the names and kinds that a board starts with.
pub fn names_of(fleet: &Fleet) -> Vec<(ProviderId, &'static str)> {
    fleet.iter().map(|(_, provider)| (provider.id().clone(), provider.kind())).collect()
}

#[cfg(test)]
mod tests;
