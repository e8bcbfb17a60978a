//! A provider in memory with faults to order, and versions to store there, for tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;

use super::{SealedRecord, store};
use crate::asset::{
    BLOCK_BYTES, BlockHasher, BlockList, Key, Order, PutFields, Record, RecordKey, Sha256, UploadId, Version,
    parts,
};
use crate::clock::{Clock, to_utc};
use crate::provider::{
    Capabilities, DirListing, Download, Entry, ErrorKind, Fleet, Operation, Payload, ProbeReport, Provider,
    ProviderError, ProviderId, Result,
};

/// The key that tests seal with.
pub const KEY: RecordKey = RecordKey::new([7; 32]);

/// What a provider in memory gets wrong.
#[derive(Debug, Clone)]
pub struct Script {
    /// Every request fails.
    pub down: Option<ErrorKind>,
    /// After how many more requests every request fails with `Unavailable`.
    pub calls_left: usize,
    /// Reading what lies under these keys fails.
    pub unreadable: BTreeMap<String, ErrorKind>,
    /// How many of the next reads fail with `Unavailable`.
    pub failing_gets: usize,
    /// Bodies come in chunks of this length.
    pub chunk_bytes: usize,
    /// Bodies end cleanly after this many bytes.
    pub cut_after: usize,
    /// Bodies end in an error after this many bytes.
    pub break_after: usize,
    /// Stat and listings say this of every object's SHA-256.
    pub lied_sha256: Option<Sha256>,
    /// What stat and listings vouch for.
    pub vouches: bool,
}

/// One call: what was asked, of which key or folder, and which bytes.
pub type Call = (Operation, String, Option<Range<u64>>);

/// A provider in memory; clones are the same provider.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: ProviderId,
    objects: Mutex<BTreeMap<String, Bytes>>,
    script: Mutex<Script>,
    calls: Mutex<Vec<Call>>,
}

impl Memory {
    /// Starts empty and without faults; it vouches for nothing.
    pub fn new(id: &str) -> Self {
        let script = Script {
            down: None,
            calls_left: usize::MAX,
            unreadable: BTreeMap::new(),
            failing_gets: 0,
            chunk_bytes: 10_000,
            cut_after: usize::MAX,
            break_after: usize::MAX,
            lied_sha256: None,
            vouches: false,
        };
        Self(Arc::new(Inner {
            id: ProviderId::new(id),
            objects: Mutex::default(),
            script: Mutex::new(script),
            calls: Mutex::default(),
        }))
    }

    /// Changes what goes wrong from now on.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.script.lock());
    }

    /// Returns the stored objects.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.0.objects.lock().clone()
    }

    /// Stores bytes under any key.
    pub fn insert(&self, key: impl ToString, bytes: impl Into<Bytes>) {
        self.0.objects.lock().insert(key.to_string(), bytes.into());
    }

    /// Removes an object, which must be there.
    pub fn remove(&self, key: impl ToString) {
        assert!(self.0.objects.lock().remove(&key.to_string()).is_some(), "{}", key.to_string());
    }

    /// Removes all objects.
    pub fn wipe(&self) {
        self.0.objects.lock().clear();
    }

    /// Changes the bytes of an object, which must be there.
    pub fn change(&self, key: impl ToString, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.0.objects.lock();
        let object = objects.get_mut(&key.to_string()).unwrap();
        let mut bytes = object.to_vec();
        change(&mut bytes);
        *object = bytes.into();
    }

    /// Flips one bit of an object, which must be there.
    pub fn flip(&self, key: impl ToString, at: usize) {
        self.change(key, |bytes| bytes[at] ^= 1);
    }

    /// Returns the keys of all objects below a folder.
    pub fn keys(&self, dir: &str) -> Vec<String> {
        self.0.objects.lock().keys().filter(|key| key.starts_with(dir)).cloned().collect()
    }

    /// Returns all calls since the last time they were asked for.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.calls.lock())
    }

    fn call(&self, operation: Operation, key: &str, range: Option<Range<u64>>) -> Result<Script> {
        self.0.calls.lock().push((operation, key.to_owned(), range));
        let mut script = self.0.script.lock();
        if script.calls_left == 0 {
            script.down = Some(ErrorKind::Unavailable);
        }
        script.calls_left = script.calls_left.saturating_sub(1);
        let failing = operation == Operation::Get && script.failing_gets > 0;
        script.failing_gets -= usize::from(failing);
        let reading = matches!(operation, Operation::Get | Operation::Stat);
        let kind = script
            .down
            .or(script.unreadable.get(key).copied().filter(|_| reading))
            .or(failing.then_some(ErrorKind::Unavailable));
        match kind {
            Some(kind) => Err(ProviderError::new(&self.0.id, operation, kind)),
            None => Ok(script.clone()),
        }
    }

    fn entry(script: &Script, key: &str, bytes: &Bytes) -> Entry {
        let sha256 = script.lied_sha256.unwrap_or_else(|| Sha256::of(bytes));
        Entry {
            key: key.to_owned(),
            bytes: bytes.len() as u64,
            modified_unix_ms: None,
            sha256: script.vouches.then_some(sha256),
        }
    }

    fn find(&self, operation: Operation, key: &Key) -> Result<Bytes> {
        let found = self.0.objects.lock().get(key.as_str()).cloned();
        found.ok_or_else(|| ProviderError::new(&self.0.id, operation, ErrorKind::NotFound))
    }
}

#[async_trait]
impl Provider for Memory {
    fn id(&self) -> &ProviderId {
        &self.0.id
    }

    fn kind(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        let vouches = self.0.script.lock().vouches;
        Capabilities { stat_sha256: vouches, list_sha256: vouches, ranges: true, ordered_listing: true }
    }

    async fn put(&self, key: &Key, payload: &Payload, _: &str) -> Result<()> {
        self.call(Operation::Put, key.as_str(), None)?;
        assert!(!payload.is_empty(), "{key} is empty");
        self.insert(key, payload.chunks().concat());
        Ok(())
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        let script = self.call(Operation::Get, key.as_str(), range.clone())?;
        let object = self.find(Operation::Get, key)?;
        let wanted = match range {
            Some(range) if range.end > object.len() as u64 => {
                return Err(ProviderError::new(&self.0.id, Operation::Get, ErrorKind::Corrupt));
            }
            Some(range) => object.slice(range.start as usize..range.end as usize),
            None => object.clone(),
        };
        let broken = (wanted.len() > script.break_after)
            .then(|| Err(ProviderError::new(&self.0.id, Operation::Get, ErrorKind::Unavailable)));
        let arriving = wanted.slice(..wanted.len().min(script.cut_after).min(script.break_after));
        let chunks: Vec<_> = arriving
            .chunks(script.chunk_bytes)
            .map(|chunk| Ok(arriving.slice_ref(chunk)))
            .chain(broken)
            .collect();
        Ok(Download { object_bytes: object.len() as u64, body: stream::iter(chunks).boxed() })
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        let script = self.call(Operation::Stat, key.as_str(), None)?;
        Ok(Self::entry(&script, key.as_str(), &self.find(Operation::Stat, key)?))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.call(Operation::Delete, key.as_str(), None)?;
        self.0.objects.lock().remove(key.as_str());
        Ok(())
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        let script = self.call(Operation::List, dir, None)?;
        let mut listing = DirListing::default();
        for (key, bytes) in self.objects() {
            match key.strip_prefix(dir).map(|rest| rest.split_once('/')) {
                Some(None) => listing.entries.push(Self::entry(&script, &key, &bytes)),
                Some(Some((dir, _))) if listing.dirs.last().is_none_or(|last| last != dir) => {
                    listing.dirs.push(dir.to_owned());
                }
                Some(Some(_)) | None => {}
            }
        }
        Ok(listing)
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        let script = match self.call(Operation::List, dir, None) {
            Ok(script) => script,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let objects = self.objects();
        let entries: Vec<_> = objects
            .iter()
            .filter(|(key, _)| key.starts_with(dir))
            .map(|(key, bytes)| Self::entry(&script, key, bytes))
            .collect();
        let pages: Vec<_> = entries.chunks(7).map(|page| Ok(page.to_vec())).collect();
        stream::iter(pages).boxed()
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        None
    }

    async fn probe(&self) -> Result<ProbeReport> {
        Ok(ProbeReport { checksum: "none".to_owned(), clock_offset_ms: None })
    }
}

/// A version with its bytes, for tests to store.
#[derive(Debug, Clone)]
pub struct Made {
    /// The record.
    pub copy: SealedRecord,
    /// The block list.
    pub list: Arc<BlockList>,
    /// The bytes.
    pub bytes: Bytes,
}

impl Made {
    /// Makes a version of `size` bytes whose stamp and upload are of the time `unix_ms`.
    pub fn put(name: &str, unix_ms: u64, size: usize) -> Self {
        let seed = unix_ms as usize + name.len();
        let bytes: Bytes = (0..size).map(|at| ((at + seed) * 31 % 251) as u8).collect();
        let mut hasher = BlockHasher::new();
        bytes.chunks(BLOCK_BYTES).for_each(|block| hasher.push(bytes.slice_ref(block)));
        let list = hasher.finish();
        let put = PutFields {
            size: size as u64,
            blake3: list.hash(),
            sha256: Sha256::of(&bytes),
            content_type: "image/png".to_owned(),
            content_encoding: None,
            content_disposition: None,
            cache_control: None,
            metadata: BTreeMap::new(),
        };
        Self::new(name, unix_ms, Some(put), list, bytes)
    }

    /// Makes a tombstone of the time `unix_ms`.
    pub fn del(name: &str, unix_ms: u64) -> Self {
        Self::new(name, unix_ms, None, BlockHasher::new().finish(), Bytes::new())
    }

    fn new(name: &str, unix_ms: u64, put: Option<PutFields>, list: BlockList, bytes: Bytes) -> Self {
        let hash = blake3::hash(name.as_bytes());
        let random = hash.as_bytes().first_chunk().map_or(0, |bytes| u128::from(u64::from_be_bytes(*bytes)));
        let upload = UploadId::new(unix_ms, random);
        let version = Version { order: Order::from_unix_ms(unix_ms), upload };
        let record = Record { name: name.parse().unwrap(), version, created: to_utc(unix_ms), put };
        let sealed = record.seal(&KEY);
        Self { copy: SealedRecord { record: Arc::new(record), sealed }, list: Arc::new(list), bytes }
    }

    /// Returns the key of part `number`.
    pub fn part(&self, number: u32) -> Key {
        Key::part(self.copy.record.version.upload, number)
    }

    /// Returns the key of the block list.
    pub fn blocks(&self) -> Key {
        Key::blocks(self.copy.record.version.upload)
    }

    /// Returns the key of the record.
    pub fn record(&self) -> Key {
        self.copy.record.key()
    }

    /// Stores a complete copy, as the write flow does.
    pub async fn store(&self, provider: &dyn Provider, clock: &Clock) {
        let record = &self.copy.record;
        let upload = record.version.upload;
        for part in parts::all(self.bytes.len() as u64) {
            let span = part.span();
            let payload = Payload::from(self.bytes.slice(span.start as usize..span.end as usize));
            store::part(provider, upload, part.number, &payload, "image/png").await.unwrap();
        }
        store::blocks(provider, upload, &self.list).await.unwrap();
        store::record(provider, &record.key(), &self.copy.sealed).await.unwrap();
        store::feed(provider, clock, record.name.hash(), record.version, record.kind()).await.unwrap();
    }
}

/// Gathers providers in memory.
pub fn fleet(providers: &[Memory]) -> Fleet {
    Fleet::new(providers.iter().map(|provider| Arc::new(provider.clone()) as Arc<dyn Provider>).collect())
}
