//! Listings of one name: what a provider itself says of the versions of a name.

use crate::asset::key::{self, KeyKind};
use crate::asset::{Kind, NameHash, Version};
use crate::provider::{Provider, Result};

/// Lists the versions of `name` at one provider, the newest first.
///
/// # Errors
///
/// The provider did not answer.
pub async fn versions_at(provider: &dyn Provider, name: NameHash) -> Result<Vec<(Version, Kind)>> {
    let listing = provider.list_dir(&key::name_dir(name)).await?;
    let mut versions: Vec<_> =
        listing.entries.iter().filter_map(|entry| version_of(&entry.key, name)).collect();
    versions.sort_unstable();
    versions.reverse();
    Ok(versions)
}

fn version_of(text: &str, wanted: NameHash) -> Option<(Version, Kind)> {
    match key::parse(text)? {
        KeyKind::Record { name, version, kind } if name == wanted => Some((version, kind)),
        KeyKind::Record { .. }
        | KeyKind::Part { .. }
        | KeyKind::Blocks { .. }
        | KeyKind::Feed { .. }
        | KeyKind::Canary { .. }
        | KeyKind::Probe { .. }
        | KeyKind::SnapshotChunk { .. }
        | KeyKind::SnapshotManifest { .. } => None,
    }
}
