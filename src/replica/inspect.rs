//! What is wrong with the copy of one version at one provider.
//!
//! Every fault is the provider's own word, given when it is asked: what a listing said before only saves
//! questions whose answer would be "all is well". A provider that does not answer makes an object
//! [`FaultKind::Unreadable`], never damaged, and a checksum that it reports is not believed against the
//! bytes: they are read before a copy is called damaged, and read twice, since bits flip on the way too.
//!
//! Feed entries are not looked for: their keys hold the minute of writing, so that only who has listed the
//! feed knows them. Nothing is written here.

use std::collections::BTreeMap;
use std::sync::Arc;

use backon::BackoffBuilder;

use super::pace::Pace;
use super::retry::{retrying, schedule};
use super::source::{RecordSourceError, SourceError, block_list, blocks_of, drain, record};
use super::{Object, SealedRecord};
use crate::asset::digest::Sha256Hasher;
use crate::asset::record::RECORD_BYTES_MAX;
use crate::asset::{
    BlockList, Key, KeyKind, PART_BYTES, Part, PutFields, RecordError, RecordKey, Sha256, blocks, key, parts,
};
use crate::provider::{Entry, Provider, ProviderError};

/// How closely a copy is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Which objects are there, and how large they are; of the bytes, only the record's are read.
    List,
    /// The checksums that the provider vouches for; what it cannot vouch for is read.
    Checksum,
    /// Everything is read and hashed.
    Bytes,
}

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The object is not there.
    Missing,
    /// The object is there with other bytes.
    Damaged,
    /// The object cannot be judged: the provider failed, or its format is unknown.
    Unreadable,
    /// A record that was not sealed with our key.
    Forged,
}

/// One thing that is wrong with a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The object.
    pub object: Object,
    /// What is wrong with it.
    pub kind: FaultKind,
    /// What was seen, in plain words.
    pub detail: String,
    /// Whether writing the right bytes over it cures it.
    pub mendable: bool,
}

impl Fault {
    /// Builds a fault; all but unreadable objects can be mended.
    pub fn new(object: Object, kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { object, kind, detail: detail.into(), mendable: kind != FaultKind::Unreadable }
    }

    fn unreadable(object: Object, error: &ProviderError) -> Self {
        Self::new(object, FaultKind::Unreadable, error.to_string())
    }

    fn missing(object: Object) -> Self {
        Self::new(object, FaultKind::Missing, "missing")
    }
}

/// What a listing says of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, where the provider vouches for one.
    pub sha256: Option<Sha256>,
}

impl From<&Entry> for Fact {
    fn from(entry: &Entry) -> Self {
        Self { bytes: entry.bytes, sha256: entry.sha256 }
    }
}

/// What listings say of one copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The record.
    pub record: Option<Fact>,
    /// The parts, by number.
    pub parts: BTreeMap<u32, Fact>,
    /// The block list.
    pub blocks: Option<Fact>,
}

/// What lies under the key of a record at one provider.
#[derive(Debug, Clone)]
pub enum RecordSeen {
    /// A record that may be used.
    Valid(SealedRecord),
    /// Bytes that were not sealed with our key, or belong under another one.
    Forged(String),
    /// A sealed record of a format that this program does not know.
    UnknownFormat(String),
    /// Nothing.
    Missing,
    /// The provider failed.
    Unreadable(ProviderError),
}

/// Looks at what lies under the key of a record.
pub async fn see_record(provider: &dyn Provider, at: &Key, key: &RecordKey) -> RecordSeen {
    match retrying(|| record(provider, at, key)).await {
        Ok((record, sealed)) => RecordSeen::Valid(SealedRecord { record, sealed }),
        Err(RecordSourceError::Record(RecordError::Forged(reason))) => RecordSeen::Forged(reason.to_owned()),
        Err(RecordSourceError::Record(error @ RecordError::UnknownFormat(_))) => {
            RecordSeen::UnknownFormat(error.to_string())
        }
        Err(RecordSourceError::Provider(error)) if error.is_not_found() => RecordSeen::Missing,
        Err(RecordSourceError::Provider(error)) => match provider.stat(at).await {
            Ok(entry) if entry.bytes > RECORD_BYTES_MAX => {
                RecordSeen::Forged(format!("{} bytes are more than any record has", entry.bytes))
            }
            Ok(_) | Err(_) => RecordSeen::Unreadable(error),
        },
    }
}

/// Lists the parts and the block list that a provider has of one upload.
///
/// # Errors
///
/// The provider did not answer.
pub async fn list_blob(provider: &dyn Provider, copy: &SealedRecord) -> Result<Listed, ProviderError> {
    let dir = key::blob_dir(copy.record.version.upload);
    let listing = retrying(|| provider.list_dir(&dir)).await?;
    let mut listed = Listed::default();
    for entry in &listing.entries {
        match key::parse(&entry.key) {
            Some(KeyKind::Part { number, .. }) => drop(listed.parts.insert(number, entry.into())),
            Some(KeyKind::Blocks { .. }) => listed.blocks = Some(entry.into()),
            Some(
                KeyKind::Record { .. }
                | KeyKind::Feed { .. }
                | KeyKind::Canary { .. }
                | KeyKind::Probe { .. }
                | KeyKind::SnapshotChunk { .. }
                | KeyKind::SnapshotManifest { .. },
            )
            | None => {}
        }
    }
    Ok(listed)
}

/// One look at the copy of one version at one provider.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Where the copy lies.
    pub provider: Arc<dyn Provider>,
    /// The verified record, from any provider.
    pub copy: SealedRecord,
    /// The key that the record is sealed with.
    pub key: RecordKey,
    /// How closely the copy is looked at.
    pub depth: Depth,
    /// What listings said of it; nothing when it was not listed.
    pub listed: Listed,
    /// What lies here under the record's key, where it was just read.
    pub record_seen: Option<RecordSeen>,
    /// A proven block list, from any provider.
    pub list: Option<Arc<BlockList>>,
    /// Whether that list was just read here.
    pub list_seen: bool,
    /// How fast bytes may be read.
    pub pace: Pace,
}

impl Inspection {
    /// Returns all faults of the copy, in the order of writing; the feed entry is left out.
    pub async fn run(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(put) = &self.copy.record.put {
            let mut whole = (self.depth == Depth::Bytes).then(Sha256Hasher::new);
            for part in parts::all(put.size) {
                if part.number > 0 {
                    self.pace.pause().await;
                }
                if let Some(fault) = self.part(part, put, &mut whole).await {
                    faults.push(fault);
                    whole = None;
                }
            }
            if put.has_block_list() {
                faults.extend(self.block_list(put).await);
            }
            if whole.is_some_and(|whole| whole.finish() != put.sha256) {
                let detail = "the bytes are right but the record has another SHA-256 for them";
                let fault = Fault::new(Object::Record, FaultKind::Damaged, detail);
                faults.push(Fault { mendable: false, ..fault });
            }
        }
        faults.extend(self.record().await);
        faults
    }

    async fn record(&self) -> Option<Fault> {
        let sealed = &self.copy.sealed;
        let right = Fact { bytes: sealed.len() as u64, sha256: Some(Sha256::of(sealed)) };
        let seen = match &self.record_seen {
            Some(seen) => seen.clone(),
            None if self.depth != Depth::Bytes && self.listed.record == Some(right) => return None,
            None => see_record(self.provider.as_ref(), &self.copy.record.key(), &self.key).await,
        };
        match seen {
            RecordSeen::Valid(here) if here == self.copy => None,
            RecordSeen::Valid(_) => {
                // Keys are written once, so this cannot be; if it is, nobody can say which one is right.
                let detail = "it is valid, but differs from the record elsewhere";
                Some(Fault::new(Object::Record, FaultKind::Unreadable, detail))
            }
            RecordSeen::Forged(reason) => Some(Fault::new(Object::Record, FaultKind::Forged, reason)),
            RecordSeen::UnknownFormat(reason) => {
                Some(Fault::new(Object::Record, FaultKind::Unreadable, reason))
            }
            RecordSeen::Missing => Some(Fault::missing(Object::Record)),
            RecordSeen::Unreadable(error) => Some(Fault::unreadable(Object::Record, &error)),
        }
    }

    async fn part(&self, part: Part, put: &PutFields, whole: &mut Option<Sha256Hasher>) -> Option<Fault> {
        let object = Object::Part(part.number);
        let key = Key::part(self.copy.record.version.upload, part.number);
        let listed = self.listed.parts.get(&part.number).copied();
        // The record has the SHA-256 of the whole, which is that of a part only where there is just one.
        let sha256 = (put.size <= PART_BYTES).then_some(put.sha256);
        match self.existence(object, &key, listed, Fact { bytes: part.bytes, sha256 }).await {
            Ok(vouched) if self.depth == Depth::List || (vouched && self.depth == Depth::Checksum) => None,
            Ok(_) => self.read(part, whole).await,
            Err(fault) => Some(fault),
        }
    }

    async fn block_list(&self, put: &PutFields) -> Option<Fault> {
        if self.list_seen {
            return None;
        }
        let key = Key::blocks(self.copy.record.version.upload);
        let sha256 = self.list.as_ref().map(|list| Sha256::of(list.as_bytes()));
        let right = Fact { bytes: blocks::list_bytes(put.size), sha256 };
        match self.existence(Object::Blocks, &key, self.listed.blocks, right).await {
            Ok(vouched) if self.depth == Depth::List || (vouched && self.depth == Depth::Checksum) => {
                return None;
            }
            Ok(_) => {}
            Err(fault) => return Some(fault),
        }
        let read = || block_list(self.provider.as_ref(), &self.copy.record);
        match retrying(read).await {
            Ok(_) => None,
            Err(SourceError::Damaged { .. }) => match retrying(read).await {
                Ok(_) => None,
                Err(error) => Some(fault_of(Object::Blocks, &error)),
            },
            Err(error) => Some(fault_of(Object::Blocks, &error)),
        }
    }

    /// Tells whether the provider vouches for the right bytes of an object that is there in the right size.
    async fn existence(
        &self,
        object: Object,
        key: &Key,
        listed: Option<Fact>,
        right: Fact,
    ) -> Result<bool, Fault> {
        let wants_sum = self.depth == Depth::Checksum && right.sha256.is_some();
        let stat_tells_more = wants_sum && self.provider.capabilities().stat_sha256;
        let fact = match listed {
            Some(fact) if fact.bytes == right.bytes && (fact.sha256.is_some() || !stat_tells_more) => fact,
            Some(_) | None => match retrying(|| self.provider.stat(key)).await {
                Ok(entry) => Fact::from(&entry),
                Err(error) if error.is_not_found() => return Err(Fault::missing(object)),
                Err(error) => return Err(Fault::unreadable(object, &error)),
            },
        };
        if fact.bytes != right.bytes {
            let detail = format!("{} bytes instead of {}", fact.bytes, right.bytes);
            return Err(Fault::new(object, FaultKind::Damaged, detail));
        }
        Ok(right.sha256.is_some() && fact.sha256 == right.sha256)
    }

    /// Reads a part block by block; goes on after a failure where it stopped, reads a bad block twice.
    async fn read(&self, part: Part, whole: &mut Option<Sha256Hasher>) -> Option<Fault> {
        let object = Object::Part(part.number);
        let Some(list) = &self.list else {
            let detail = "no provider has a block list to verify it against";
            return Some(Fault::new(object, FaultKind::Unreadable, detail));
        };
        let mut left = blocks_of(part);
        let mut waits = schedule().build();
        let mut suspect = None;
        loop {
            let sink = |block: bytes::Bytes| {
                if let Some(whole) = whole {
                    whole.update(&block);
                }
            };
            let record = &self.copy.record;
            let Err(error) = drain(&self.provider, record, list, &mut left, &self.pace, sink).await else {
                return None;
            };
            match &error {
                SourceError::Damaged { .. } if suspect == Some(left.start) => {
                    return Some(fault_of(object, &error));
                }
                SourceError::Damaged { .. } => suspect = Some(left.start),
                SourceError::Provider(failure) => match waits.next() {
                    Some(wait) if failure.kind.is_retryable() => tokio::time::sleep(wait).await,
                    Some(_) | None => return Some(fault_of(object, &error)),
                },
            }
        }
    }
}

fn fault_of(object: Object, error: &SourceError) -> Fault {
    match error {
        SourceError::Provider(error) if error.is_not_found() => Fault::missing(object),
        SourceError::Provider(error) => Fault::unreadable(object, error),
        SourceError::Damaged { reason, .. } => Fault::new(object, FaultKind::Damaged, reason.clone()),
    }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
