//! Keys: where things lie on a provider. Every key is written once and uses only `[A-Za-z0-9/.-]`.
//!
//! ```text
//! blobs/<yyyymmdd>/<upload>/<part>
//! blobs/<yyyymmdd>/<upload>/blocks
//! names/<hh>/<namehash>/<inverted order>-<upload>.<kind>
//! feed/<yyyymmddThhmm>/<order>-<upload>.<namehash>.<kind>
//! canary/<provider name>
//! probe/<ulid>
//! snapshots/<yyyymmddThhmm>-<ulid>/<chunk>
//! snapshots/<yyyymmddThhmm>-<ulid>/manifest
//! ```

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime};

use super::name::NameHash;
use super::version::{Kind, Order, UploadId, Version};

/// The folder of all records.
pub const NAMES: &str = "names/";
/// The folder of all bytes.
pub const BLOBS: &str = "blobs/";
/// The folder of all feed entries.
pub const FEED: &str = "feed/";
/// The folder of the canary.
pub const CANARY: &str = "canary/";
/// The folder of health probes.
pub const PROBE: &str = "probe/";
/// The folder of all snapshots of the index.
pub const SNAPSHOTS: &str = "snapshots/";

/// How many minutes since 1970 a feed folder stands for.
pub type FeedMinute = u64;

/// The key of one object of ours.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// The bytes of one part.
    Part {
        /// The upload that the part belongs to.
        upload: UploadId,
        /// The number of the part, from 0.
        number: u32,
    },
    /// The block list of an asset of more than one block.
    Blocks {
        /// The upload that the list belongs to.
        upload: UploadId,
    },
    /// The record of one version.
    Record {
        /// The name that the record is about.
        name: NameHash,
        /// The version that it describes.
        version: Version,
        /// Whether it holds bytes or is a tombstone.
        kind: Kind,
    },
    /// "This provider holds this version completely."
    Feed {
        /// The minute of writing, by the provider's clock.
        minute: FeedMinute,
        /// The name that the entry is about.
        name: NameHash,
        /// The version that is complete.
        version: Version,
        /// Whether it holds bytes or is a tombstone.
        kind: Kind,
    },
    /// The identity of a provider.
    Canary {
        /// The provider's name.
        provider: String,
    },
    /// A short-lived health probe.
    Probe {
        /// The identity of the probe.
        id: UploadId,
    },
    /// One piece of a snapshot of the index.
    SnapshotChunk {
        /// The snapshot that it belongs to.
        snapshot: UploadId,
        /// The number of the chunk, from 0.
        number: u32,
    },
    /// What a snapshot of the index consists of; it is written last.
    SnapshotManifest {
        /// The snapshot.
        snapshot: UploadId,
    },
}

impl Key {
    /// Returns the key of part `number` of `upload`.
    pub fn part(upload: UploadId, number: u32) -> Self {
        Self::of(format!("{}{number:05}", blob_dir(upload)))
    }

    /// Returns the key of the block list of `upload`.
    pub fn blocks(upload: UploadId) -> Self {
        Self::of(format!("{}blocks", blob_dir(upload)))
    }

    /// Returns the key of the record of `version` of `name`.
    pub fn record(name: NameHash, version: Version, kind: Kind) -> Self {
        let order = version.order.to_inverted_hex();
        Self::of(format!("{}{order}-{}.{}", name_dir(name), version.upload, kind.as_str()))
    }

    /// Returns the key of the feed entry of `version` of `name`, written in `minute`.
    pub fn feed(minute: FeedMinute, name: NameHash, version: Version, kind: Kind) -> Self {
        Self::of(format!("{}{version}.{name}.{}", feed_dir(minute), kind.as_str()))
    }

    /// Returns the key of the canary of `provider`, a name that configuration has checked.
    pub fn canary(provider: &str) -> Self {
        Self::of(format!("{CANARY}{provider}"))
    }

    /// Returns the key of a health probe.
    pub fn probe(id: UploadId) -> Self {
        Self::of(format!("{PROBE}{id}"))
    }

    /// Returns the key of chunk `number` of `snapshot`.
    pub fn snapshot_chunk(snapshot: UploadId, number: u32) -> Self {
        Self::of(format!("{}{number:05}", snapshot_dir(snapshot)))
    }

    /// Returns the key of the manifest of `snapshot`.
    pub fn snapshot_manifest(snapshot: UploadId) -> Self {
        Self::of(format!("{}manifest", snapshot_dir(snapshot)))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(text: String) -> Self {
        Self(text.into())
    }
}

/// Returns the folder of the parts and blocks of `upload`, with its closing slash.
pub fn blob_dir(upload: UploadId) -> String {
    format!("{BLOBS}{}/{upload}/", day(upload))
}

/// Returns the folder of the records of `name`, with its closing slash.
pub fn name_dir(name: NameHash) -> String {
    let hex = name.to_string();
    format!("{NAMES}{}/{hex}/", &hex[..2])
}

/// Returns the folder of the feed entries written in `minute`, with its closing slash.
pub fn feed_dir(minute: FeedMinute) -> String {
    format!("{FEED}{}/", minute_text(minute))
}

/// Returns the folder of the chunks and the manifest of `snapshot`, with its closing slash.
pub fn snapshot_dir(snapshot: UploadId) -> String {
    format!("{SNAPSHOTS}{}-{snapshot}/", minute_text(snapshot.unix_ms() / 60_000))
}

/// Returns the snapshot that a folder below `snapshots/` stands for.
pub fn parse_snapshot_dir(text: &str) -> Option<UploadId> {
    let (_, snapshot) = text.split_once('-')?;
    let snapshot: UploadId = snapshot.parse().ok()?;
    (snapshot_dir(snapshot).strip_prefix(SNAPSHOTS)?.strip_suffix('/')? == text).then_some(snapshot)
}

/// Returns the minute that a feed folder's name (`20261122T1105`) stands for.
pub fn parse_feed_minute(text: &str) -> Option<FeedMinute> {
    let time = NaiveDateTime::parse_from_str(&format!("{text}00"), "%Y%m%dT%H%M%S").ok()?;
    let minute = u64::try_from(time.and_utc().timestamp()).ok()? / 60;
    (minute_text(minute) == text).then_some(minute)
}

/// Reads a listed key; `None` for an alien object that is not of this layout.
pub fn parse(text: &str) -> Option<KeyKind> {
    let kind = parse_kind(text)?;
    // One spelling only: an object that merely resembles ours is not ours.
    (kind.key().as_str() == text).then_some(kind)
}

impl KeyKind {
    /// Returns the key that stands for this.
    pub fn key(&self) -> Key {
        match self {
            Self::Part { upload, number } => Key::part(*upload, *number),
            Self::Blocks { upload } => Key::blocks(*upload),
            Self::Record { name, version, kind } => Key::record(*name, *version, *kind),
            Self::Feed { minute, name, version, kind } => Key::feed(*minute, *name, *version, *kind),
            Self::Canary { provider } => Key::canary(provider),
            Self::Probe { id } => Key::probe(*id),
            Self::SnapshotChunk { snapshot, number } => Key::snapshot_chunk(*snapshot, *number),
            Self::SnapshotManifest { snapshot } => Key::snapshot_manifest(*snapshot),
        }
    }
}

fn parse_kind(text: &str) -> Option<KeyKind> {
    let mut segments = text.split('/');
    let kind = match (segments.next()?, segments.next()?, segments.next(), segments.next()) {
        ("blobs", _, Some(upload), Some("blocks")) => KeyKind::Blocks { upload: upload.parse().ok()? },
        ("blobs", _, Some(upload), Some(part)) => {
            KeyKind::Part { upload: upload.parse().ok()?, number: part.parse().ok()? }
        }
        ("names", _, Some(name), Some(file)) => {
            let (version, kind) = file.split_once('.')?;
            let (order, upload) = version.split_once('-')?;
            let version =
                Version { order: Order::from_inverted_hex(order).ok()?, upload: upload.parse().ok()? };
            KeyKind::Record { name: name.parse().ok()?, version, kind: kind.parse().ok()? }
        }
        ("feed", minute, Some(file), None) => {
            let mut fields = file.split('.');
            KeyKind::Feed {
                minute: parse_feed_minute(minute)?,
                version: fields.next()?.parse().ok()?,
                name: fields.next()?.parse().ok()?,
                kind: fields.next()?.parse().ok()?,
            }
        }
        ("canary", provider, None, None) => KeyKind::Canary { provider: provider.to_owned() },
        ("probe", id, None, None) => KeyKind::Probe { id: id.parse().ok()? },
        ("snapshots", dir, Some("manifest"), None) => {
            KeyKind::SnapshotManifest { snapshot: parse_snapshot_dir(dir)? }
        }
        ("snapshots", dir, Some(number), None) => {
            KeyKind::SnapshotChunk { snapshot: parse_snapshot_dir(dir)?, number: number.parse().ok()? }
        }
        _ => return None,
    };
    segments.next().is_none().then_some(kind)
}

/// The UTC day of the upload's time. A ULID holds 48 bits of milliseconds, more than a calendar does; what
/// lies beyond it is filed under its last day, so that no ULID from outside can make a panic.
fn day(upload: UploadId) -> String {
    date(upload.unix_ms() / 1_000).format("%Y%m%d").to_string()
}

fn minute_text(minute: FeedMinute) -> String {
    date(minute.saturating_mul(60)).format("%Y%m%dT%H%M").to_string()
}

fn date(unix_seconds: u64) -> DateTime<chrono::Utc> {
    const LAST: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z
    let seconds = i64::try_from(unix_seconds).unwrap_or(LAST).min(LAST);
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version() -> Version {
        Version { order: Order::new(0x0123_4567_89ab_cdef), upload: upload() }
    }

    fn upload() -> UploadId {
        // 2026-11-22T11:05:30Z
        UploadId::new(1_795_345_530_000, 42)
    }

    #[test]
    fn keys_are_spelled_as_the_contract_says() {
        let name = "icons/gold.png".parse::<super::super::AssetName>().unwrap().hash();
        let ulid = upload().to_string();
        let hex = name.to_string();
        let minute = upload().unix_ms() / 60_000;
        assert_eq!(Key::part(upload(), 7).as_str(), format!("blobs/20261122/{ulid}/00007"));
        assert_eq!(Key::blocks(upload()).as_str(), format!("blobs/20261122/{ulid}/blocks"));
        assert_eq!(
            Key::record(name, version(), Kind::Put).as_str(),
            format!("names/{}/{hex}/fedcba9876543210-{ulid}.put", &hex[..2])
        );
        assert_eq!(
            Key::feed(minute, name, version(), Kind::Del).as_str(),
            format!("feed/20261122T1105/0123456789abcdef-{ulid}.{hex}.del")
        );
        assert_eq!(Key::canary("s3-one").as_str(), "canary/s3-one");
        assert_eq!(Key::probe(upload()).as_str(), format!("probe/{ulid}"));
        let snapshot = format!("snapshots/20261122T1105-{ulid}");
        assert_eq!(Key::snapshot_chunk(upload(), 12).as_str(), format!("{snapshot}/00012"));
        assert_eq!(Key::snapshot_manifest(upload()).as_str(), format!("{snapshot}/manifest"));
    }

    #[test]
    fn alien_keys_are_not_ours() {
        let ulid = upload().to_string();
        for text in [
            "".to_owned(),
            "hello.txt".to_owned(),
            "blobs/20261122".to_owned(),
            format!("blobs/20261121/{ulid}/00000"),
            format!("blobs/20261122/{ulid}/0"),
            format!("blobs/20261122/{ulid}/+0000"),
            format!("blobs/20261122/{ulid}/00000/x"),
            format!("blobs/20261122/{}/00000", ulid.to_lowercase()),
            format!("names/00/{}/x", "0".repeat(64)),
            format!("names/11/{}/fedcba9876543210-{ulid}.put", "0".repeat(64)),
            format!("feed/20261122T1160/0123456789abcdef-{ulid}.{}.put", "0".repeat(64)),
            "canary/a/b".to_owned(),
            "probe/x".to_owned(),
            format!("snapshots/20261122T1106-{ulid}/00000"),
            format!("snapshots/20261122T1105-{ulid}/0"),
            format!("snapshots/20261122T1105-{ulid}/manifest/x"),
            format!("snapshots/20261122T1105-{ulid}"),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn keys_round_trip(order: u64, bits: u128, hash: [u8; 32], minute in 0u64..4_000_000_000, number in 0u32..100_000, put: bool) {
            let upload = UploadId::from_bytes(bits.to_be_bytes());
            let version = Version { order: Order::new(order), upload };
            let name = NameHash::new(hash);
            let kind = if put { Kind::Put } else { Kind::Del };
            for key in [
                KeyKind::Part { upload, number },
                KeyKind::Blocks { upload },
                KeyKind::Record { name, version, kind },
                KeyKind::Feed { minute: minute % 100_000_000, name, version, kind },
                KeyKind::Probe { id: upload },
                KeyKind::SnapshotChunk { snapshot: upload, number },
                KeyKind::SnapshotManifest { snapshot: upload },
            ] {
                prop_assert_eq!(parse(key.key().as_str()), Some(key));
            }
        }

        #[test]
        fn no_listed_key_panics(text in "\\PC{0,100}") {
            let _ = parse(&text);
        }
    }
}
