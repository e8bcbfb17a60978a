//! The contract suite: what every provider must do, whatever is behind it.
//!
//! [`all`] runs each clause against a provider that is reachable and empty enough to write to; clauses
//! choose themselves by [`Capabilities`](super::Capabilities). They write below their own uploads only, tidy
//! up behind themselves, and may run beside each other and beside traffic. They say nothing about faults:
//! those need a wire that can be cut.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{ErrorKind, Payload, Provider, ProviderError, get_small};
use crate::asset::key::{blob_dir, parse};
use crate::asset::{Key, KeyKind, PART_BYTES, Sha256, UploadId};
use crate::clock::Clock;

const CONTENT_TYPE: &str = "image/png";
/// More objects than one page of a listing holds.
const TREE_OBJECTS: u32 = 1_050;
/// How many requests a clause has in flight.
const REQUESTS_AT_ONCE: usize = 16;
/// How long a deletion may take to show.
const DELETION_LIMIT: Duration = Duration::from_secs(10);
/// How far the clock of a provider in a test may be away.
const CLOCK_OFFSET_MS_MAX: u64 = 5_000;

/// A clause that does not hold.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{clause}: {detail}")]
pub struct Violation {
    /// The clause, as a sentence.
    pub clause: &'static str,
    /// What was seen instead.
    pub detail: String,
}

type Check = std::result::Result<(), String>;

/// Checks all clauses, and stops at the first that does not hold.
///
/// # Errors
///
/// The clause that does not hold, and what was seen.
pub async fn all(provider: &dyn Provider, clock: &Clock) -> std::result::Result<(), Violation> {
    let told = |clause, held: Check| held.map_err(|detail| Violation { clause, detail });
    told("an object is kept whole, with its size", keeps_objects(provider, clock).await)?;
    told("ranges are served exactly", serves_ranges(provider, clock).await)?;
    told("an object larger than memory pages is kept", keeps_a_full_part(provider, clock).await)?;
    told("what is not there is not found", tells_missing(provider, clock).await)?;
    told("the same bytes can be put again", puts_again(provider, clock).await)?;
    told("deleting is idempotent, and takes nothing else along", deletes(provider, clock).await)?;
    told("a folder shows its objects and sub-folders alone", lists_dirs(provider, clock).await)?;
    told("a tree is listed completely, beyond one page", lists_trees(provider, clock).await)?;
    told("objects put at the same time are all kept", puts_concurrently(provider, clock).await)?;
    told("the provider tells its time", tells_time(provider, clock).await)?;
    told("a probe says how uploads are protected, and leaves nothing", probes(provider, clock).await)
}

/// Puts objects of several sizes and compares what comes back, before and after a probe: how uploads are
/// confirmed may change with it.
pub async fn keeps_objects(provider: &dyn Provider, clock: &Clock) -> Check {
    for probed in [false, true] {
        if probed {
            provider.probe().await.map_err(text)?;
        }
        let upload = clock.upload_id();
        for (number, bytes) in [1, 17, 65_535, 65_536, 65_537].into_iter().enumerate() {
            let key = Key::part(upload, u32::try_from(number).unwrap_or(0));
            let payload = payload(bytes, 10_000);
            provider.put(&key, &payload, CONTENT_TYPE).await.map_err(text)?;
            compare(provider, &key, &payload).await?;
            let entry = provider.stat(&key).await.map_err(text)?;
            same("the key told", entry.key.as_str(), key.as_str())?;
            same("the size told", entry.bytes, payload.len())?;
            if provider.capabilities().stat_sha256 {
                same("the SHA-256 told", entry.sha256, Some(payload.sha256()))?;
            }
        }
        tidy(provider, upload).await?;
    }
    Ok(())
}

/// Reads ranges at both ends, over the borders of chunks, of one byte, and beyond the end.
pub async fn serves_ranges(provider: &dyn Provider, clock: &Clock) -> Check {
    let upload = clock.upload_id();
    let (key, payload) = (Key::part(upload, 0), payload(300_000, 65_536));
    provider.put(&key, &payload, CONTENT_TYPE).await.map_err(text)?;
    let whole = joined(&payload);
    for range in [0..1, 0..65_536, 65_535..65_537, 131_072..196_608, 299_999..300_000, 0..300_000] {
        let (object_bytes, held) = read(provider, &key, Some(range.clone())).await?;
        same("the size of the object told with a range", object_bytes, payload.len())?;
        let expected = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let expected = expected.map(|(start, end)| Sha256::of(&whole[start..end]));
        same("the hash of a range", Some(Sha256::of(&held)), expected)?;
    }
    for range in [299_999..300_001, 300_000..300_001] {
        let told = provider.get(&key, Some(range.clone())).await.map(drop).map_err(|failure| failure.kind);
        same("what is told of a range beyond the end", told, Err(ErrorKind::Corrupt))?;
    }
    tidy(provider, upload).await
}

/// Puts an object as large as they come.
pub async fn keeps_a_full_part(provider: &dyn Provider, clock: &Clock) -> Check {
    let upload = clock.upload_id();
    let bytes = usize::try_from(PART_BYTES).unwrap_or(0);
    let (key, payload) = (Key::part(upload, 0), payload(bytes, 65_536));
    provider.put(&key, &payload, CONTENT_TYPE).await.map_err(text)?;
    compare(provider, &key, &payload).await?;
    tidy(provider, upload).await
}

/// Asks for objects and folders that are not there.
pub async fn tells_missing(provider: &dyn Provider, clock: &Clock) -> Check {
    let upload = clock.upload_id();
    let key = Key::part(upload, 0);
    for range in [None, Some(0..10)] {
        not_found("get", provider.get(&key, range).await.map(drop))?;
    }
    not_found("stat", provider.stat(&key).await.map(drop))?;
    provider.delete(&key).await.map_err(text)?;
    let listing = provider.list_dir(&blob_dir(upload)).await.map_err(text)?;
    same("the entries of a missing folder", (listing.entries.len(), listing.dirs.len()), (0, 0))?;
    same("the objects below a missing folder", tree(provider, &blob_dir(upload)).await?.len(), 0)
}

/// Puts the same object twice.
pub async fn puts_again(provider: &dyn Provider, clock: &Clock) -> Check {
    let upload = clock.upload_id();
    let (key, payload) = (Key::part(upload, 0), payload(100_000, 65_536));
    for _ in 0..2 {
        provider.put(&key, &payload, CONTENT_TYPE).await.map_err(text)?;
    }
    compare(provider, &key, &payload).await?;
    tidy(provider, upload).await
}

/// Removes an object beside another one, twice.
pub async fn deletes(provider: &dyn Provider, clock: &Clock) -> Check {
    let upload = clock.upload_id();
    let payload = payload(1_000, 1_000);
    let (gone, stays) = (Key::part(upload, 0), Key::part(upload, 1));
    for key in [&gone, &stays] {
        provider.put(key, &payload, CONTENT_TYPE).await.map_err(text)?;
    }
    remove(provider, &gone).await?;
    provider.delete(&gone).await.map_err(text)?;
    not_found("get after delete", provider.get(&gone, None).await.map(drop))?;
    compare(provider, &stays, &payload).await?;
    tidy(provider, upload).await
}

/// Lists the folders around one object.
pub async fn lists_dirs(provider: &dyn Provider, clock: &Clock) -> Check {
    let upload = clock.upload_id();
    let payload = payload(1_234, 1_000);
    let keys = [Key::part(upload, 0), Key::blocks(upload)];
    for key in &keys {
        provider.put(key, &payload, CONTENT_TYPE).await.map_err(text)?;
    }
    let dir = blob_dir(upload);
    let listing = provider.list_dir(&dir).await.map_err(text)?;
    let found: BTreeSet<_> = listing.entries.iter().map(|entry| (entry.key.as_str(), entry.bytes)).collect();
    same("the objects", found, keys.iter().map(|key| (key.as_str(), payload.len())).collect())?;
    same("the sub-folders", listing.dirs, Vec::new())?;
    if provider.capabilities().list_sha256 {
        let told = listing.entries.iter().all(|entry| entry.sha256 == Some(payload.sha256()));
        same("every SHA-256 is told", told, true)?;
    }
    let (day, name) = dir.trim_end_matches('/').rsplit_once('/').unwrap_or_default();
    let listing = provider.list_dir(&format!("{day}/")).await.map_err(text)?;
    same("the folder above shows the folder", listing.dirs.iter().any(|dir| dir == name), true)?;
    let deep = listing.entries.iter().any(|entry| entry.key.starts_with(&dir));
    same("the folder above shows what lies deeper", deep, false)?;
    let listing = provider.list_dir("").await.map_err(text)?;
    same("the root shows the folder", listing.dirs.iter().any(|dir| dir == "blobs"), true)?;
    tidy(provider, upload).await
}

/// Lists more objects than fit into a page, and one folder of two whose names begin alike.
pub async fn lists_trees(provider: &dyn Provider, clock: &Clock) -> Check {
    let upload = clock.upload_id();
    let payload = payload(1, 1);
    let keys: Vec<_> = (0..TREE_OBJECTS).map(|number| Key::part(upload, number)).collect();
    put_all(provider, &keys, &payload).await?;
    let found = tree(provider, &blob_dir(upload)).await?;
    let expected: BTreeSet<_> = keys.iter().map(|key| key.as_str().to_owned()).collect();
    same("the number of objects listed", found.len(), expected.len())?;
    same("the objects are those that were put", found == expected, true)?;
    let day = blob_dir(upload)
        .rsplit_once('/')
        .and_then(|(dir, _)| dir.rsplit_once('/'))
        .map(|(day, _)| format!("{day}/"));
    let above = tree(provider, &day.unwrap_or_default()).await?;
    same("the folder above shows them all", above.is_superset(&expected), true)?;
    tidy(provider, upload).await
}

/// Puts objects at the same time, the same one among them.
pub async fn puts_concurrently(provider: &dyn Provider, clock: &Clock) -> Check {
    let upload = clock.upload_id();
    let payload = payload(50_000, 8_192);
    let keys: Vec<_> = (0..32).map(|number| Key::part(upload, number % 24)).collect();
    put_all(provider, &keys, &payload).await?;
    for key in &keys {
        compare(provider, key, &payload).await?;
    }
    tidy(provider, upload).await
}

/// Compares the provider's clock with ours.
pub async fn tells_time(provider: &dyn Provider, clock: &Clock) -> Check {
    not_found("stat", provider.stat(&Key::part(clock.upload_id(), 0)).await.map(drop))?;
    let offset = provider.clock_offset_ms();
    let near = offset.is_some_and(|offset| offset.unsigned_abs() <= CLOCK_OFFSET_MS_MAX);
    if near { Ok(()) } else { Err(format!("the clock offset is {offset:?} ms")) }
}

/// Probes, and looks for what the probe may have left.
pub async fn probes(provider: &dyn Provider, clock: &Clock) -> Check {
    let began_unix_ms = clock.unix_ms();
    let report = provider.probe().await.map_err(text)?;
    same("the report has words", report.checksum.is_empty(), false)?;
    for key in tree(provider, crate::asset::key::PROBE).await? {
        // Others may be probing too, and crashed probes may have left theirs.
        if let Some(KeyKind::Probe { id }) = parse(&key)
            && id.unix_ms() >= began_unix_ms
        {
            remove(provider, &Key::probe(id)).await?;
        }
    }
    Ok(())
}

async fn put_all(provider: &dyn Provider, keys: &[Key], payload: &Payload) -> Check {
    let puts = stream::iter(keys).map(|key| provider.put(key, payload, CONTENT_TYPE));
    puts.buffer_unordered(REQUESTS_AT_ONCE).try_collect::<()>().await.map_err(text)
}

async fn compare(provider: &dyn Provider, key: &Key, payload: &Payload) -> Check {
    let (object_bytes, held) = read(provider, key, None).await?;
    same("the size of the object", object_bytes, payload.len())?;
    same("the hash of the object", Sha256::of(&held), payload.sha256())
}

async fn read(
    provider: &dyn Provider,
    key: &Key,
    range: Option<Range<u64>>,
) -> std::result::Result<(u64, Bytes), String> {
    if range.is_none() && provider.capabilities().ranges {
        let bytes = get_small(provider, key, PART_BYTES).await.map_err(text)?;
        return Ok((bytes.len() as u64, bytes));
    }
    let download = provider.get(key, range).await.map_err(text)?;
    let chunks: Vec<Bytes> = download.body.try_collect().await.map_err(text)?;
    Ok((download.object_bytes, chunks.concat().into()))
}

async fn tree(provider: &dyn Provider, dir: &str) -> std::result::Result<BTreeSet<String>, String> {
    let pages: Vec<_> = provider.list_tree(dir).try_collect().await.map_err(text)?;
    let keys: Vec<_> = pages.into_iter().flatten().map(|entry| entry.key).collect();
    let set: BTreeSet<_> = keys.iter().cloned().collect();
    same("no object is listed twice", set.len(), keys.len())?;
    Ok(set)
}

/// Removes an object and waits until it is gone; a deletion right after the upload may need a second one.
async fn remove(provider: &dyn Provider, key: &Key) -> Check {
    let gone = async {
        loop {
            provider.delete(key).await.map_err(text)?;
            match provider.stat(key).await {
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(text(error)),
                Ok(_) => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    };
    let gone = tokio::time::timeout(DELETION_LIMIT, gone).await;
    gone.unwrap_or_else(|_| Err(format!("{key} is still there {DELETION_LIMIT:?} after its deletion")))
}

async fn tidy(provider: &dyn Provider, upload: UploadId) -> Check {
    let keys = tree(provider, &blob_dir(upload)).await?;
    let keys = keys.iter().filter_map(|key| parse(key)).map(|kind| kind.key());
    let removals = stream::iter(keys).map(|key| async move { remove(provider, &key).await });
    removals.buffer_unordered(REQUESTS_AT_ONCE).try_collect::<()>().await?;
    same("what is left", tree(provider, &blob_dir(upload)).await?.len(), 0)
}

/// Bytes of which no two chunks are alike, so that chunks in the wrong order are noticed.
fn payload(bytes: usize, chunk_bytes: usize) -> Payload {
    let mut state = 0x9e37_79b9_u32;
    let pattern = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let pattern: Vec<u8> = pattern.take(chunk_bytes).collect();
    let chunks = (0..bytes).step_by(chunk_bytes).map(|start| {
        let mut chunk = start.to_be_bytes().to_vec();
        chunk.extend_from_slice(&pattern);
        chunk.truncate(chunk_bytes.min(bytes - start));
        chunk.into()
    });
    Payload::new(chunks.collect())
}

fn joined(payload: &Payload) -> Bytes {
    payload.chunks().concat().into()
}

fn not_found(what: &str, result: super::Result<()>) -> Check {
    match result {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{what}: {error}")),
        Ok(()) => Err(format!("{what}: it is there")),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Check {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} instead of {expected:?}")) }
}

fn text(error: ProviderError) -> String {
    error.to_string()
}
