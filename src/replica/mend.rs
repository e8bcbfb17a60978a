//! Makes or mends the copy of one version at one provider.
//!
//! Objects are written in the order parts → blocks → record → feed entry, the record and the feed entry only
//! when everything before them was written: a feed entry never claims what is not there. Each part is put
//! together from verified blocks of any provider that delivers; a failure in its middle goes on at that
//! block elsewhere. At most one part is held in memory. The right bytes are written over damaged ones,
//! which is the only time that a key is written with other content than lies there.
//!
//! The caller passes as a target only a provider that may be written to: one whose canary is foreign is
//! somebody else's. Nothing is removed here, and two menders of one copy do no harm.

use std::collections::BTreeSet;
use std::sync::Arc;

use backon::BackoffBuilder;
use bytes::Bytes;

use super::inspect::{RecordSeen, list_blob, see_record};
use super::pace::Pace;
use super::retry::{RetryClass, retrying, schedule};
use super::source::{SourceError, blocks_of, drain};
use super::{Object, SealedRecord, lists, store};
use crate::asset::{BlockList, Part, RecordKey, blocks, parts};
use crate::clock::Clock;
use crate::provider::{Fleet, Payload, Provider, ProviderError, Slot};

/// A copy could not be made or mended whole.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MendError {
    /// Nobody delivers the right bytes of an object.
    #[error("no provider delivers the right bytes of the {object}{}", because(.last))]
    NoSource {
        /// The object.
        object: Object,
        /// The last failure, if anybody was asked.
        last: Option<SourceError>,
    },
    /// The provider to be mended failed.
    #[error(transparent)]
    Target(#[from] ProviderError),
    /// What lies under the record's key there must not be overwritten.
    #[error("the record there must not be overwritten: {0}")]
    Refused(String),
}

fn because(last: &Option<SourceError>) -> String {
    last.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Mended {
    /// The objects, in the order of writing.
    pub objects: Vec<Object>,
    /// How many bytes of parts.
    pub bytes: u64,
    /// Why not everything was written.
    pub error: Option<MendError>,
}

/// The weight of a failure that may pass.
const PASSES: u8 = 2;

/// Makes and mends copies.
#[derive(Debug, Clone)]
pub struct Mender {
    fleet: Fleet,
    key: RecordKey,
    clock: Clock,
    pace: Pace,
}

impl Mender {
    /// Builds a mender that reads at a certain pace.
    pub fn new(fleet: Fleet, key: RecordKey, clock: Clock, pace: Pace) -> Self {
        Self { fleet, key, clock, pace }
    }

    /// Returns this mender at another pace.
    pub fn at(&self, pace: Pace) -> Self {
        Self { pace, ..self.clone() }
    }

    /// Writes to `target` what it lacks of a version, and its feed entry; what is there in the right size
    /// is left alone.
    ///
    /// # Errors
    ///
    /// The copy is not complete, and its feed entry was not written.
    pub async fn copy(
        &self,
        target: Slot,
        copy: &SealedRecord,
        sources: &[Slot],
    ) -> Result<Mended, MendError> {
        let provider = self.fleet.get(target).as_ref();
        let listed = list_blob(provider, copy).await?;
        let size = copy.size();
        let mut objects: BTreeSet<_> = parts::all(size)
            .filter(|part| listed.parts.get(&part.number).is_none_or(|fact| fact.bytes != part.bytes))
            .map(|part| Object::Part(part.number))
            .collect();
        if copy.has_block_list() && listed.blocks.is_none_or(|fact| fact.bytes != blocks::list_bytes(size)) {
            objects.insert(Object::Blocks);
        }
        match see_record(provider, &copy.record.key(), &self.key).await {
            RecordSeen::Valid(here) if here == *copy => {}
            RecordSeen::Valid(_) => return Err(MendError::Refused("it is valid, but differs".to_owned())),
            RecordSeen::UnknownFormat(reason) => return Err(MendError::Refused(reason)),
            RecordSeen::Unreadable(error) => return Err(error.into()),
            RecordSeen::Missing | RecordSeen::Forged(_) => drop(objects.insert(Object::Record)),
        }
        objects.insert(Object::Feed);
        let mut mended = self.mend(target, copy, &objects, sources).await;
        match mended.error.take() {
            Some(error) => Err(error),
            None => Ok(mended),
        }
    }

    /// Writes `objects` of a version to `target`, each with the right bytes, whatever lies there now.
    ///
    /// A part that nobody can deliver does not stop the other parts. The target itself is asked for bytes
    /// last: the good blocks of a damaged part are still good.
    pub async fn mend(
        &self,
        target: Slot,
        copy: &SealedRecord,
        objects: &BTreeSet<Object>,
        sources: &[Slot],
    ) -> Mended {
        let mut mended = Mended::default();
        let mut sources: Vec<_> = sources.iter().copied().filter(|source| *source != target).collect();
        sources.push(target);
        let wants_list = objects.iter().any(|object| matches!(object, Object::Part(_) | Object::Blocks));
        let list = match wants_list {
            true => lists::find(&self.fleet, &sources, &copy.record, &self.pace).await,
            false => None,
        };
        let job =
            Job { mender: self, target: self.fleet.get(target), copy, sources, list: list.map(|l| l.list) };
        for &object in objects {
            let claims_what_failed =
                matches!(object, Object::Record | Object::Feed) && mended.error.is_some();
            if claims_what_failed {
                break;
            }
            if matches!(object, Object::Part(_)) && !mended.objects.is_empty() {
                self.pace.pause().await;
            }
            match job.write(object).await {
                Ok(bytes) => {
                    mended.objects.push(object);
                    mended.bytes += bytes;
                }
                Err(error @ MendError::NoSource { .. }) => mended.error = Some(error),
                Err(error @ (MendError::Target(_) | MendError::Refused(_))) => {
                    mended.error = Some(error);
                    break;
                }
            }
        }
        mended
    }
}

/// The mending of one copy.
struct Job<'a> {
    mender: &'a Mender,
    target: &'a Arc<dyn Provider>,
    copy: &'a SealedRecord,
    sources: Vec<Slot>,
    list: Option<Arc<BlockList>>,
}

impl Job<'_> {
    /// Writes one object and returns how many bytes of a part that were.
    async fn write(&self, object: Object) -> Result<u64, MendError> {
        let target = self.target.as_ref();
        let record = &self.copy.record;
        let upload = record.version.upload;
        match object {
            Object::Part(number) => {
                let part = parts::all(self.copy.size()).nth(number as usize);
                let part = part.ok_or(MendError::NoSource { object, last: None })?;
                let payload = self.gather(part).await?;
                let content_type = record.put.as_ref().map_or("", |put| put.content_type.as_str());
                retrying(|| store::part(target, upload, number, &payload, content_type)).await?;
                return Ok(part.bytes);
            }
            Object::Blocks => {
                let list = self.list.as_ref().ok_or(MendError::NoSource { object, last: None })?;
                retrying(|| store::blocks(target, upload, list)).await?;
            }
            Object::Record => {
                let at = record.key();
                retrying(|| store::record(target, &at, &self.copy.sealed)).await?;
            }
            Object::Feed => {
                let (name, clock) = (record.name.hash(), &self.mender.clock);
                retrying(|| store::feed(target, clock, name, record.version, record.kind())).await?;
            }
        }
        Ok(0)
    }

    /// Puts one part together from whoever delivers its blocks.
    async fn gather(&self, part: Part) -> Result<Payload, MendError> {
        let object = Object::Part(part.number);
        let list = self.list.as_ref().ok_or(MendError::NoSource { object, last: None })?;
        let mut left = blocks_of(part);
        let mut blocks: Vec<Bytes> = Vec::new();
        let mut waits = schedule().build();
        loop {
            let (before, mut telling) = (left.start, Telling::default());
            for &source in &self.sources {
                let provider = self.mender.fleet.get(source);
                let sink = |block| blocks.push(block);
                let pace = &self.mender.pace;
                match drain(provider, &self.copy.record, list, &mut left, pace, sink).await {
                    Ok(()) => return Ok(self.payload(part, blocks)),
                    Err(error) => telling.hear(error, provider.id() == self.target.id()),
                }
            }
            if left.start > before {
                // A round that brought blocks is not counted: a part has few, so the rounds are bounded.
                continue;
            }
            match waits.next() {
                Some(wait) if telling.may_pass() => tokio::time::sleep(wait).await,
                Some(_) | None => return Err(MendError::NoSource { object, last: telling.error }),
            }
        }
    }

    fn payload(&self, part: Part, blocks: Vec<Bytes>) -> Payload {
        match &self.copy.record.put {
            Some(put) if put.size == part.bytes => Payload::with_sha256(blocks, put.sha256),
            Some(_) | None => Payload::new(blocks),
        }
    }
}

/// Of the failures of all sources the one that tells most: what may pass, then damage, then that there is nothing.
/// That the target's own bytes are damaged says nothing of what the others have.
#[derive(Debug, Default)]
struct Telling {
    error: Option<SourceError>,
    weight: u8,
}

impl Telling {
    fn hear(&mut self, error: SourceError, is_target: bool) {
        let weight = match &error {
            error if error.provider_error().is_some_and(|error| error.kind.is_retryable()) => PASSES,
            SourceError::Damaged { .. } if !is_target => PASSES - 1,
            SourceError::Provider(_) | SourceError::Damaged { .. } => 0,
        };
        if self.error.is_none() || weight > self.weight {
            (self.error, self.weight) = (Some(error), weight);
        }
    }

    fn may_pass(&self) -> bool {
        self.weight == PASSES
    }
}

#[cfg(test)]
#[path = "mend_tests.rs"]
mod tests;
