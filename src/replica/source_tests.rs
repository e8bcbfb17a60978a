use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::asset::{Order, PART_BYTES, PutFields, Sha256, UploadId, Version};
use crate::clock::to_utc;
use crate::provider::{Capabilities, DirListing, Download, Entry, Payload, ProbeReport, ProviderId};

/// Serves one object for every key, cut into chunks of chosen lengths, as far as it is told to.
#[derive(Debug)]
struct Scripted {
    id: ProviderId,
    objects: BTreeMap<String, Bytes>,
    chunk_bytes: usize,
    /// How many bytes of a body arrive before it ends cleanly.
    cut_after: usize,
    ranges: Mutex<Vec<Option<Range<u64>>>>,
}

#[async_trait]
impl Provider for Scripted {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { stat_sha256: false, list_sha256: false, ranges: true, ordered_listing: true }
    }

    async fn put(&self, _: &Key, _: &Payload, _: &str) -> provider::Result<()> {
        unreachable!("sources only read")
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> provider::Result<Download> {
        self.ranges.lock().push(range.clone());
        let Some(object) = self.objects.get(key.as_str()) else {
            return Err(ProviderError::new(&self.id, Operation::Get, ErrorKind::NotFound));
        };
        let wanted = match range {
            Some(range) => object.slice(range.start as usize..range.end as usize),
            None => object.clone(),
        };
        let arriving = wanted.slice(..wanted.len().min(self.cut_after));
        let chunks: Vec<_> = arriving.chunks(self.chunk_bytes).map(Bytes::copy_from_slice).map(Ok).collect();
        Ok(Download { object_bytes: object.len() as u64, body: stream::iter(chunks).boxed() })
    }

    async fn stat(&self, _: &Key) -> provider::Result<Entry> {
        unreachable!("sources only get")
    }

    async fn delete(&self, _: &Key) -> provider::Result<()> {
        unreachable!("sources only read")
    }

    async fn list_dir(&self, _: &str) -> provider::Result<DirListing> {
        unreachable!("sources only get")
    }

    fn list_tree(&self, _: &str) -> BoxStream<'static, provider::Result<Vec<Entry>>> {
        unreachable!("sources only get")
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        None
    }

    async fn probe(&self) -> provider::Result<ProbeReport> {
        unreachable!("sources only get")
    }
}

struct Stored {
    bytes: Bytes,
    record: Arc<Record>,
    list: Arc<BlockList>,
    provider: Scripted,
}

fn stored(size: usize) -> Stored {
    let bytes: Bytes = (0..size).map(|at| (at * 31 % 251) as u8).collect();
    let mut hasher = BlockHasher::new();
    bytes.chunks(BLOCK_BYTES).for_each(|block| hasher.push(Bytes::copy_from_slice(block)));
    let list = hasher.finish();
    let upload = UploadId::new(1_795_345_530_000, 42);
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
    let record = Record {
        name: "icons/gold.png".parse().unwrap(),
        version: Version { order: Order::from_unix_ms(1), upload },
        created: to_utc(1),
        put: Some(put),
    };
    let mut objects: BTreeMap<_, _> = parts::all(size as u64)
        .map(|part| {
            let span = part.span();
            let part_bytes = bytes.slice(span.start as usize..span.end as usize);
            (Key::part(upload, part.number).as_str().to_owned(), part_bytes)
        })
        .collect();
    objects.insert(Key::blocks(upload).as_str().to_owned(), list.as_bytes().clone());
    let provider = Scripted {
        id: ProviderId::new("scripted"),
        objects,
        chunk_bytes: 10_000,
        cut_after: usize::MAX,
        ranges: Mutex::default(),
    };
    Stored { bytes, record: Arc::new(record), list: Arc::new(list), provider }
}

impl Stored {
    fn flip(&mut self, key: &Key, at: usize) {
        let object = self.provider.objects.get_mut(key.as_str()).unwrap();
        let mut bytes = object.to_vec();
        bytes[at] ^= 1;
        *object = bytes.into();
    }

    fn part(&self, number: u32) -> Key {
        Key::part(self.record.version.upload, number)
    }

    async fn read(self, range: Range<u64>) -> (Vec<Bytes>, Option<SourceError>) {
        let mut stream = blocks(Arc::new(self.provider), self.record, self.list, range);
        let mut read = Vec::new();
        while let Some(block) = stream.next().await {
            match block {
                Ok(block) => read.push(block),
                Err(error) => {
                    assert!(stream.next().await.is_none(), "the stream goes on after an error");
                    return (read, Some(error));
                }
            }
        }
        (read, None)
    }
}

fn is_protocol(error: &SourceError) -> bool {
    matches!(error, SourceError::Provider(error) if error.kind == ErrorKind::Protocol)
}

#[tokio::test]
async fn blocks_come_verified_and_in_order_across_parts() {
    let size = PART_BYTES as usize + BLOCK_BYTES + 9;
    let stored = stored(size);
    let (bytes, count) = (stored.bytes.clone(), blocks::count(size as u64));
    let (read, error) = stored.read(0..count).await;
    assert!(error.is_none());
    assert_eq!(read.concat(), bytes);
}

#[tokio::test]
async fn only_the_wanted_bytes_of_each_part_are_asked_for() {
    let size = 2 * PART_BYTES as usize + 5;
    let Stored { record, list, provider, .. } = stored(size);
    let provider = Arc::new(provider);
    let read: Vec<_> = blocks(provider.clone(), record, list, 127..257).collect().await;
    assert_eq!(read.len(), 130);
    assert!(read.iter().all(Result::is_ok));
    let block = BLOCK_BYTES as u64;
    assert_eq!(*provider.ranges.lock(), [Some(127 * block..PART_BYTES), None, None]);
}

#[tokio::test]
async fn a_block_within_one_chunk_is_not_copied() {
    let mut stored = stored(3 * BLOCK_BYTES);
    stored.provider.chunk_bytes = usize::MAX;
    let (read, _) = stored.read(0..3).await;
    assert_eq!(read[0].as_ptr() as usize + BLOCK_BYTES, read[1].as_ptr() as usize);
}

#[tokio::test]
async fn a_flipped_byte_is_damage_and_what_came_before_is_delivered() {
    let mut stored = stored(3 * BLOCK_BYTES);
    let key = stored.part(0);
    stored.flip(&key, BLOCK_BYTES + 7);
    let (read, error) = stored.read(0..3).await;
    assert_eq!(read.len(), 1);
    assert!(matches!(error, Some(SourceError::Damaged { key: at, .. }) if at == key));
}

#[tokio::test]
async fn a_body_that_ends_early_is_never_damage() {
    for cut_after in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES - 1] {
        let mut stored = stored(2 * BLOCK_BYTES);
        stored.provider.cut_after = cut_after;
        let (read, error) = stored.read(0..2).await;
        assert_eq!(read.len(), cut_after / BLOCK_BYTES, "{cut_after}");
        assert!(error.as_ref().is_some_and(is_protocol), "{cut_after}: {error:?}");
    }
}

#[tokio::test]
async fn an_object_of_another_size_is_damage() {
    let mut stored = stored(2 * BLOCK_BYTES);
    let key = stored.part(0);
    let object = stored.provider.objects.get_mut(key.as_str()).unwrap();
    *object = object.slice(..BLOCK_BYTES);
    let (read, error) = stored.read(0..2).await;
    assert!(read.is_empty());
    assert!(matches!(error, Some(SourceError::Damaged { .. })), "{error:?}");
}

#[tokio::test]
async fn a_missing_part_is_not_found() {
    let mut stored = stored(5);
    stored.provider.objects.clear();
    let (_, error) = stored.read(0..1).await;
    assert!(matches!(error, Some(SourceError::Provider(error)) if error.is_not_found()));
}

#[tokio::test]
async fn a_block_list_is_proved_or_refused() {
    let size = 3 * BLOCK_BYTES;
    let good = stored(size);
    let list = block_list(&good.provider, &good.record).await.unwrap();
    assert_eq!(list.as_bytes(), good.list.as_bytes());

    let mut flipped = stored(size);
    flipped.flip(&Key::blocks(flipped.record.version.upload), 3);
    let error = block_list(&flipped.provider, &flipped.record).await.unwrap_err();
    assert!(matches!(error, SourceError::Damaged { .. }), "{error}");

    let mut short = stored(size);
    short.provider.cut_after = 50;
    let error = block_list(&short.provider, &short.record).await.unwrap_err();
    assert!(is_protocol(&error), "{error}");
}

#[tokio::test]
async fn nobody_is_asked_for_the_list_of_one_block() {
    for size in [0, 1, BLOCK_BYTES] {
        let stored = stored(size);
        let list = block_list(&stored.provider, &stored.record).await.unwrap();
        assert!(list.as_bytes().is_empty());
        assert!(stored.provider.ranges.lock().is_empty());
    }
}

#[tokio::test]
async fn a_record_is_opened_with_its_key_alone() {
    let key = RecordKey::new([1; 32]);
    let mut stored = stored(5);
    let at = stored.record.key();
    stored.provider.objects.insert(at.as_str().to_owned(), stored.record.seal(&key));
    let (read, sealed) = record(&stored.provider, &at, &key).await.unwrap();
    assert_eq!((read, sealed), (stored.record.clone(), stored.record.seal(&key)));
    let error = record(&stored.provider, &at, &RecordKey::new([2; 32])).await.unwrap_err();
    assert!(matches!(error, RecordSourceError::Record(RecordError::Forged(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_chunking_gives_the_same_blocks(
        size in 1usize..5 * BLOCK_BYTES,
        chunk_bytes in 1usize..3 * BLOCK_BYTES,
        a in 0u64..6,
        b in 0u64..6,
    ) {
        let mut stored = stored(size);
        stored.provider.chunk_bytes = chunk_bytes.max(size / 200);
        let bytes = stored.bytes.clone();
        let (start, end) = (a.min(b), a.max(b));
        let from = (start as usize * BLOCK_BYTES).min(size);
        let to = (end as usize * BLOCK_BYTES).min(size);
        let (read, error) = futures::FutureExt::now_or_never(stored.read(start..end)).unwrap();
        prop_assert!(error.is_none());
        prop_assert_eq!(read.concat(), bytes[from..to].to_vec());
    }
}
