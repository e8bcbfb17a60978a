//! Builds the providers from their settings, each call counted, timed and observed.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{ProviderConfig, ProviderSettings};
use crate::health::Board;
use crate::provider::bunny::BunnyProvider;
use crate::provider::disk::DiskProvider;
use crate::provider::error::BuildError;
use crate::provider::metered::Metered;
use crate::provider::s3::S3Provider;
use crate::provider::{Fleet, Observer, Provider, Slot};
use crate::telemetry::Telemetry;

/// Builds all providers, and the board that observes them.
///
/// # Errors
///
/// Says which provider cannot be built, and why.
pub fn build(
    configs: &[ProviderConfig],
    clock: &Clock,
    telemetry: &Telemetry,
) -> Result<(Fleet, Board), BuildError> {
    let providers = bare(configs, clock)?;
    let names = providers.iter().map(|provider| (provider.id().clone(), provider.kind())).collect();
    let board = Board::new(names, clock.clone(), telemetry.clone());
    for (slot, _) in configs.iter().enumerate().filter(|(_, config)| config.preferred) {
        board.prefer(Slot(slot));
    }
    let observer: Arc<dyn Observer> = Arc::new(board.clone());
    let metered = providers.into_iter().enumerate().map(|(slot, provider)| {
        let metered = Metered::new(provider, Slot(slot), telemetry.clone(), observer.clone(), clock.clone());
        Arc::new(metered) as Arc<dyn Provider>
    });
    Ok((Fleet::new(metered.collect()), board))
}

/// Builds all providers without observing them, for an audit or a check.
///
/// # Errors
///
/// Says which provider cannot be built, and why.
pub fn bare(configs: &[ProviderConfig], clock: &Clock) -> Result<Vec<Arc<dyn Provider>>, BuildError> {
    configs.iter().map(|config| provider(config, clock)).collect()
}

fn provider(config: &ProviderConfig, clock: &Clock) -> Result<Arc<dyn Provider>, BuildError> {
    let (id, clock) = (config.id.clone(), clock.clone());
    Ok(match config.settings.clone() {
        ProviderSettings::S3(settings) => Arc::new(S3Provider::new(id, settings, clock)?),
        ProviderSettings::Bunny(settings) => Arc::new(BunnyProvider::new(id, settings, clock)?),
        ProviderSettings::Disk(settings) => Arc::new(DiskProvider::new(id, settings, clock)?),
    })
}
