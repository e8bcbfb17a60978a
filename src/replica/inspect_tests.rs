use super::*;
use crate::asset::{BLOCK_BYTES, PART_BYTES};
use crate::clock::Clock;
use crate::provider::{ErrorKind, Operation};
use crate::replica::memory::{KEY, Made, Memory};

const NOW: u64 = 1_795_345_530_000;
const LARGE: usize = PART_BYTES as usize + 1;
const DEPTHS: [Depth; 3] = [Depth::List, Depth::Checksum, Depth::Bytes];

async fn stored(size: usize) -> (Memory, Made) {
    let provider = Memory::new("a");
    let made = Made::put("icons/gold.png", NOW, size);
    made.store(&provider, &Clock::manual(NOW)).await;
    (provider, made)
}

async fn inspection(provider: &Memory, made: &Made, depth: Depth) -> Inspection {
    let mut listed = list_blob(provider, &made.copy).await.unwrap_or_default();
    listed.record = provider.stat(&made.record()).await.ok().as_ref().map(Fact::from);
    provider.take_calls();
    Inspection {
        provider: Arc::new(provider.clone()),
        copy: made.copy.clone(),
        key: KEY,
        depth,
        listed,
        record_seen: None,
        list: Some(made.list.clone()),
        list_seen: false,
        pace: Pace::unlimited(),
    }
}

async fn inspect(provider: &Memory, made: &Made, depth: Depth) -> Vec<(Object, FaultKind)> {
    let faults = inspection(provider, made, depth).await.run().await;
    faults.into_iter().map(|fault| (fault.object, fault.kind)).collect()
}

fn reads(provider: &Memory) -> Vec<String> {
    let calls = provider.take_calls().into_iter();
    calls.filter(|(operation, ..)| *operation == Operation::Get).map(|(_, key, _)| key).collect()
}

#[tokio::test]
async fn a_right_copy_has_no_faults() {
    for size in [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, LARGE] {
        let (provider, made) = stored(size).await;
        for vouches in [false, true] {
            provider.script(|script| script.vouches = vouches);
            for depth in DEPTHS {
                assert_eq!(inspect(&provider, &made, depth).await, [], "{size} {vouches} {depth:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_provider_vouches_for_is_not_read() {
    let (provider, made) = stored(3 * BLOCK_BYTES).await;
    provider.script(|script| script.vouches = true);
    assert_eq!(inspect(&provider, &made, Depth::Checksum).await, []);
    assert_eq!(reads(&provider), Vec::<String>::new());

    assert_eq!(inspect(&provider, &made, Depth::Bytes).await, []);
    assert!(reads(&provider).contains(&made.part(0).to_string()));

    provider.script(|script| script.vouches = false);
    assert_eq!(inspect(&provider, &made, Depth::Checksum).await, []);
    assert!(reads(&provider).contains(&made.part(0).to_string()));
}

#[tokio::test]
async fn a_listing_without_checksums_is_asked_further_where_that_helps() {
    let (provider, made) = stored(5).await;
    let unvouched = inspection(&provider, &made, Depth::Checksum).await;
    provider.script(|script| script.vouches = true);
    assert_eq!(unvouched.run().await, []);
    assert_eq!(reads(&provider), [made.record().to_string()]);
}

#[tokio::test]
async fn a_checksum_that_differs_is_not_believed_against_the_bytes() {
    let (provider, made) = stored(5).await;
    provider.script(|script| {
        script.vouches = true;
        script.lied_sha256 = Some(Sha256::of(b"something else"));
    });
    assert_eq!(inspect(&provider, &made, Depth::Checksum).await, []);
    assert!(reads(&provider).contains(&made.part(0).to_string()));
}

#[tokio::test]
async fn a_record_that_rots_below_its_checksum_is_found_by_reading_it() {
    let (provider, made) = stored(5).await;
    provider.script(|script| {
        script.vouches = true;
        script.lied_sha256 = Some(Sha256::of(&made.copy.sealed));
    });
    provider.flip(made.record(), 20);
    assert_eq!(inspect(&provider, &made, Depth::Checksum).await, []);
    assert_eq!(inspect(&provider, &made, Depth::Bytes).await, [(Object::Record, FaultKind::Forged)]);
}

#[tokio::test]
async fn flipped_bits_are_found_wherever_they_are() {
    for vouches in [false, true] {
        for depth in [Depth::Checksum, Depth::Bytes] {
            let (provider, made) = stored(LARGE).await;
            provider.script(|script| script.vouches = vouches);
            provider.flip(made.part(1), 0);
            provider.flip(made.part(0), 5 * BLOCK_BYTES);
            provider.flip(made.blocks(), 70);
            let expected = [
                (Object::Part(0), FaultKind::Damaged),
                (Object::Part(1), FaultKind::Damaged),
                (Object::Blocks, FaultKind::Damaged),
            ];
            assert_eq!(inspect(&provider, &made, depth).await, expected, "{vouches} {depth:?}");
        }
    }
}

#[tokio::test]
async fn missing_objects_and_wrong_sizes_are_found_at_every_depth() {
    for depth in DEPTHS {
        let (provider, made) = stored(LARGE).await;
        provider.remove(made.part(0));
        provider.change(made.part(1), Vec::clear);
        provider.remove(made.blocks());
        provider.remove(made.record());
        let expected = [
            (Object::Part(0), FaultKind::Missing),
            (Object::Part(1), FaultKind::Damaged),
            (Object::Blocks, FaultKind::Missing),
            (Object::Record, FaultKind::Missing),
        ];
        assert_eq!(inspect(&provider, &made, depth).await, expected, "{depth:?}");
    }
}

#[tokio::test]
async fn what_a_listing_lacked_is_looked_for_again() {
    let (provider, made) = stored(LARGE).await;
    for depth in DEPTHS {
        let mut stale = inspection(&provider, &made, depth).await;
        stale.listed = Listed::default();
        assert_eq!(stale.run().await, []);
    }
}

#[tokio::test]
async fn records_that_are_not_ours_are_forged_and_unknown_formats_are_not() {
    let (_, made) = stored(5).await;
    let long = vec![b'x'; 100_000];
    let unknown = KEY.seal(r#"{"format":2,"anything":"else"}"#);
    let foreign = made.copy.record.seal(&RecordKey::new([1; 32]));
    let table = [
        (foreign, FaultKind::Forged, true),
        (made.copy.sealed.slice(..20), FaultKind::Forged, true),
        (long.into(), FaultKind::Forged, true),
        (unknown, FaultKind::Unreadable, false),
    ];
    for (bytes, kind, mendable) in table {
        for depth in DEPTHS {
            let (provider, made) = stored(5).await;
            provider.insert(made.record(), bytes.clone());
            let faults = inspection(&provider, &made, depth).await.run().await;
            let faults: Vec<_> =
                faults.iter().map(|fault| (fault.object, fault.kind, fault.mendable)).collect();
            assert_eq!(faults, [(Object::Record, kind, mendable)], "{depth:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_is_never_said_to_be_damaged() {
    for kind in [ErrorKind::Denied, ErrorKind::Unavailable, ErrorKind::Protocol, ErrorKind::NoContainer] {
        let (provider, made) = stored(5).await;
        provider.script(|script| script.down = Some(kind));
        let expected = [(Object::Part(0), FaultKind::Unreadable), (Object::Record, FaultKind::Unreadable)];
        assert_eq!(inspect(&provider, &made, Depth::Checksum).await, expected, "{kind:?}");
    }
    let (provider, made) = stored(3 * BLOCK_BYTES).await;
    provider.script(|script| script.cut_after = BLOCK_BYTES - 1);
    assert_eq!(
        inspect(&provider, &made, Depth::Checksum).await,
        [(Object::Part(0), FaultKind::Unreadable)],
        "a body that ends early"
    );
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_waited_out() {
    let (provider, made) = stored(3 * BLOCK_BYTES).await;
    let inspection = inspection(&provider, &made, Depth::Bytes).await;
    provider.script(|script| script.failing_gets = 2);
    assert_eq!(inspection.run().await, []);
}

#[tokio::test]
async fn without_any_block_list_parts_cannot_be_judged() {
    let (provider, made) = stored(2 * BLOCK_BYTES).await;
    provider.remove(made.blocks());
    let mut inspection = inspection(&provider, &made, Depth::Checksum).await;
    inspection.list = None;
    let faults: Vec<_> = inspection.run().await.into_iter().map(|fault| (fault.object, fault.kind)).collect();
    let expected = [(Object::Part(0), FaultKind::Unreadable), (Object::Blocks, FaultKind::Missing)];
    assert_eq!(faults, expected);
}

#[tokio::test]
async fn a_tombstone_is_its_record() {
    let provider = Memory::new("a");
    let made = Made::del("icons/gold.png", NOW);
    made.store(&provider, &Clock::manual(NOW)).await;
    for depth in DEPTHS {
        assert_eq!(inspect(&provider, &made, depth).await, []);
    }
    provider.wipe();
    assert_eq!(inspect(&provider, &made, Depth::List).await, [(Object::Record, FaultKind::Missing)]);
}
