use proptest::prelude::*;

use super::*;
use crate::asset::PART_BYTES;
use crate::replica::memory::{KEY, Made, Memory};

/// A provider that holds one version.
async fn stored(size: usize) -> (Memory, Made) {
    let provider = Memory::new("scripted");
    let made = Made::put("icons/gold.png", 1_795_345_530_000, size);
    made.store(&provider, &crate::clock::Clock::manual(1_795_345_530_000)).await;
    provider.take_calls();
    (provider, made)
}

async fn read(provider: &Memory, made: &Made, range: Range<u64>) -> (Vec<Bytes>, Option<SourceError>) {
    let (record, list) = (made.copy.record.clone(), made.list.clone());
    let mut stream = blocks(Arc::new(provider.clone()), record, list, range);
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

fn is_protocol(error: &SourceError) -> bool {
    matches!(error, SourceError::Provider(error) if error.kind == ErrorKind::Protocol)
}

#[tokio::test]
async fn blocks_come_verified_and_in_order_across_parts() {
    let size = PART_BYTES as usize + BLOCK_BYTES + 9;
    let (provider, made) = stored(size).await;
    let (read, error) = read(&provider, &made, 0..blocks::count(size as u64)).await;
    assert!(error.is_none());
    assert_eq!(read.concat(), made.bytes);
}

#[tokio::test]
async fn only_the_wanted_bytes_of_each_part_are_asked_for() {
    let (provider, made) = stored(2 * PART_BYTES as usize + 5).await;
    let (read, error) = read(&provider, &made, 127..257).await;
    assert_eq!((read.len(), error.is_none()), (130, true));
    let ranges: Vec<_> = provider.take_calls().into_iter().map(|(_, _, range)| range).collect();
    assert_eq!(ranges, [Some(127 * BLOCK_BYTES as u64..PART_BYTES), None, None]);
}

#[tokio::test]
async fn a_block_within_one_chunk_is_not_copied() {
    let (provider, made) = stored(3 * BLOCK_BYTES).await;
    provider.script(|script| script.chunk_bytes = usize::MAX);
    let (read, _) = read(&provider, &made, 0..3).await;
    assert_eq!(read[0].as_ptr() as usize + BLOCK_BYTES, read[1].as_ptr() as usize);
}

#[tokio::test]
async fn a_flipped_byte_is_damage_and_what_came_before_is_delivered() {
    let (provider, made) = stored(3 * BLOCK_BYTES).await;
    provider.flip(made.part(0), BLOCK_BYTES + 7);
    let (read, error) = read(&provider, &made, 0..3).await;
    assert_eq!(read.len(), 1);
    assert!(matches!(error, Some(SourceError::Damaged { key, .. }) if key == made.part(0)));
}

#[tokio::test]
async fn a_body_that_ends_early_is_never_damage() {
    for cut_after in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES - 1] {
        let (provider, made) = stored(2 * BLOCK_BYTES).await;
        provider.script(|script| script.cut_after = cut_after);
        let (read, error) = read(&provider, &made, 0..2).await;
        assert_eq!(read.len(), cut_after / BLOCK_BYTES, "{cut_after}");
        assert!(error.as_ref().is_some_and(is_protocol), "{cut_after}: {error:?}");
    }
}

#[tokio::test]
async fn an_object_of_another_size_is_damage() {
    let (provider, made) = stored(2 * BLOCK_BYTES).await;
    provider.change(made.part(0), |bytes| bytes.truncate(BLOCK_BYTES));
    for range in [0..2, 1..2] {
        let (read, error) = read(&provider, &made, range).await;
        assert!(read.is_empty());
        assert!(matches!(error, Some(SourceError::Damaged { .. })), "{error:?}");
    }
}

#[tokio::test]
async fn a_range_beyond_the_end_is_damage_where_the_size_is_wrong_too() {
    let (provider, made) = stored(4 * BLOCK_BYTES).await;
    provider
        .script(|script| _ = script.unreadable.insert(made.part(0).as_str().to_owned(), ErrorKind::Corrupt));
    let (_, error) = read(&provider, &made, 2..3).await;
    let of_a_proxy = matches!(&error, Some(SourceError::Provider(error)) if error.kind == ErrorKind::Corrupt);
    assert!(of_a_proxy, "the object is whole: {error:?}");
    provider.script(|script| script.unreadable.clear());
    provider.change(made.part(0), |bytes| bytes.truncate(BLOCK_BYTES));
    let (_, error) = read(&provider, &made, 2..3).await;
    assert!(matches!(error, Some(SourceError::Damaged { told: true, .. })), "{error:?}");
}

#[tokio::test]
async fn a_missing_part_is_not_found() {
    let (provider, made) = stored(5).await;
    provider.wipe();
    let (_, error) = read(&provider, &made, 0..1).await;
    assert!(matches!(error, Some(SourceError::Provider(error)) if error.is_not_found()));
}

#[tokio::test]
async fn a_block_list_is_proved_or_refused() {
    let (provider, made) = stored(3 * BLOCK_BYTES).await;
    let list = block_list(&provider, &made.copy.record).await.unwrap();
    assert_eq!(list.as_bytes(), made.list.as_bytes());

    provider.script(|script| script.cut_after = 50);
    let error = block_list(&provider, &made.copy.record).await.unwrap_err();
    assert!(is_protocol(&error), "{error}");

    provider.script(|script| script.cut_after = usize::MAX);
    provider.flip(made.blocks(), 3);
    let error = block_list(&provider, &made.copy.record).await.unwrap_err();
    assert!(matches!(error, SourceError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn nobody_is_asked_for_the_list_of_one_block() {
    for size in [0, 1, BLOCK_BYTES] {
        let (provider, made) = stored(size).await;
        let list = block_list(&provider, &made.copy.record).await.unwrap();
        assert!(list.as_bytes().is_empty());
        assert_eq!(provider.take_calls(), []);
    }
}

#[tokio::test]
async fn a_record_is_opened_with_its_key_alone() {
    let (provider, made) = stored(5).await;
    let read = record(&provider, &made.record(), &KEY).await.unwrap();
    assert_eq!(read, (made.copy.record.clone(), made.copy.sealed.clone()));
    let error = record(&provider, &made.record(), &RecordKey::new([2; 32])).await.unwrap_err();
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
        let (start, end) = (a.min(b), a.max(b));
        let run = async {
            let (provider, made) = stored(size).await;
            provider.script(|script| script.chunk_bytes = chunk_bytes.max(size / 200));
            let read = read(&provider, &made, start..end).await;
            (made.bytes, read)
        };
        let (bytes, (read, error)) = futures::FutureExt::now_or_never(run).unwrap();
        let from = (start as usize * BLOCK_BYTES).min(size);
        let to = (end as usize * BLOCK_BYTES).min(size);
        prop_assert!(error.is_none());
        prop_assert_eq!(read.concat(), bytes[from..to].to_vec());
    }
}
