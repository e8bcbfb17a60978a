//! Writes the objects of one copy to one provider; the order of the calls is up to the caller.

use bytes::Bytes;

use crate::asset::{BlockList, Key, Kind, NameHash, UploadId, Version};
use crate::clock::Clock;
use crate::provider::{Payload, Provider, Result};

/// Stores one part of a blob.
pub async fn part(
    provider: &dyn Provider,
    upload: UploadId,
    number: u32,
    payload: &Payload,
    content_type: &str,
) -> Result<()> {
    provider.put(&Key::part(upload, number), payload, content_type).await
}

/// Stores the block list of a blob; does nothing where none is needed.
pub async fn blocks(provider: &dyn Provider, upload: UploadId, list: &BlockList) -> Result<()> {
    if list.as_bytes().is_empty() {
        return Ok(());
    }
    let payload = Payload::from(list.as_bytes().clone());
    provider.put(&Key::blocks(upload), &payload, "application/octet-stream").await
}

/// Stores a sealed record under `at`.
pub async fn record(provider: &dyn Provider, at: &Key, sealed: &Bytes) -> Result<()> {
    provider.put(at, &Payload::from(sealed.clone()), crate::asset::record::RECORD_CONTENT_TYPE).await
}

/// Stores the feed entry "this provider holds this version completely", in the minute of the provider's clock.
pub async fn feed(
    provider: &dyn Provider,
    clock: &Clock,
    name: NameHash,
    version: Version,
    kind: Kind,
) -> Result<()> {
    let now = clock.unix_ms().saturating_add_signed(provider.clock_offset_ms().unwrap_or(0));
    let at = Key::feed(now / 60_000, name, version, kind);
    let line = Bytes::from(format!("{version} {name} {}\n", kind.as_str()));
    provider.put(&at, &Payload::from(line), "text/plain; charset=utf-8").await
}
