use super::*;
use crate::asset::{BLOCK_BYTES, PART_BYTES};
use crate::provider::{ErrorKind, Operation};
use crate::replica::memory::{KEY, Made, Memory, fleet};
use crate::replica::turns::Turns;

const NOW: u64 = 1_795_345_530_000;
const LARGE: usize = 2 * PART_BYTES as usize + 1;
const A: Slot = Slot(0);
const B: Slot = Slot(1);
const C: Slot = Slot(2);

struct Set {
    a: Memory,
    b: Memory,
    c: Memory,
    made: Made,
    mender: Mender,
}

/// Three providers; the first lacks everything of a version that the others have.
async fn set(size: usize) -> Set {
    let [a, b, c] = ["a", "b", "c"].map(Memory::new);
    let clock = Clock::manual(NOW);
    let made = Made::put("icons/gold.png", NOW, size);
    made.store(&b, &clock).await;
    made.store(&c, &clock).await;
    let providers = fleet(&[a.clone(), b.clone(), c.clone()]);
    let mender = Mender::new(providers, KEY, clock, Pace::unlimited());
    Set { a, b, c, made, mender }
}

fn puts(provider: &Memory) -> Vec<String> {
    let calls = provider.take_calls().into_iter();
    calls.filter(|(operation, ..)| *operation == Operation::Put).map(|(_, key, _)| key).collect()
}

#[tokio::test]
async fn a_missing_copy_is_made_in_the_order_of_writing() {
    for size in [0, 1, BLOCK_BYTES + 1, LARGE] {
        let set = set(size).await;
        let mended = set.mender.copy(A, &set.made.copy, &[B, C]).await.unwrap();
        assert_eq!(mended.objects, set.made.copy.objects(), "{size}");
        assert_eq!(set.a.objects(), set.b.objects(), "{size}");
        let order: Vec<_> =
            puts(&set.a).iter().map(|key| key.split_once('/').unwrap().0.to_owned()).collect();
        assert!(order.is_sorted_by_key(|dir| ["blobs", "names", "feed"].iter().position(|at| at == dir)));
    }
}

#[tokio::test(start_paused = true)]
async fn between_two_parts_others_have_their_turn() {
    let set = set(LARGE).await;
    let turns = Turns::new(Clock::manual(NOW));
    turns.client();
    let mender = set.mender.at(Pace::in_turn(turns.enter().await));
    tokio::select! {
        biased;
        turn = turns.enter() => drop(turn),
        _ = mender.copy(A, &set.made.copy, &[B, C]) => panic!("it gave its turn back at its end only"),
    }
}

#[tokio::test]
async fn a_tombstone_is_copied() {
    let set = set(1).await;
    let tombstone = Made::del("icons/old.png", NOW);
    let mended = set.mender.copy(A, &tombstone.copy, &[B, C]).await.unwrap();
    assert_eq!(mended.objects, [Object::Record, Object::Feed]);
}

#[tokio::test]
async fn only_what_is_not_there_is_written() {
    let set = set(LARGE).await;
    set.mender.copy(A, &set.made.copy, &[B]).await.unwrap();
    set.a.remove(set.made.part(1));
    set.a.change(set.made.part(2), Vec::clear);
    puts(&set.a);
    let mended = set.mender.copy(A, &set.made.copy, &[B]).await.unwrap();
    assert_eq!(mended.objects, [Object::Part(1), Object::Part(2), Object::Feed]);
    assert_eq!(set.a.objects(), set.b.objects());
}

#[tokio::test]
async fn a_part_is_put_together_from_whoever_delivers() {
    let set = set(LARGE).await;
    // Each source has one bad block, and the target itself has the only good one of a third.
    set.made.store(&set.a, &Clock::manual(NOW)).await;
    for (provider, block) in [(&set.b, 3), (&set.c, 9), (&set.b, 40), (&set.c, 40), (&set.a, 77)] {
        provider.flip(set.made.part(0), block * BLOCK_BYTES);
    }
    let mended = set.mender.mend(A, &set.made.copy, &[Object::Part(0)].into(), &[B, C]).await;
    assert!(mended.error.is_none(), "{:?}", mended.error);
    assert_eq!(set.a.objects()[set.made.part(0).as_str()], set.made.bytes[..PART_BYTES as usize]);
}

#[tokio::test(start_paused = true)]
async fn sources_that_break_in_the_middle_are_taken_over() {
    let set = set(LARGE).await;
    set.b.script(|script| script.break_after = 5 * BLOCK_BYTES + 7);
    set.c.script(|script| script.failing_gets = 2);
    set.mender.copy(A, &set.made.copy, &[B, C]).await.unwrap();
    assert_eq!(set.a.objects(), set.b.objects());
}

#[tokio::test(start_paused = true)]
async fn no_record_and_no_feed_entry_claim_what_could_not_be_copied() {
    let set = set(LARGE).await;
    set.b.remove(set.made.part(1));
    set.c.flip(set.made.part(1), 0);
    let error = set.mender.copy(A, &set.made.copy, &[B, C]).await.unwrap_err();
    assert!(matches!(error, MendError::NoSource { object: Object::Part(1), .. }), "{error}");
    assert_eq!(set.a.keys("names/"), Vec::<String>::new());
    assert_eq!(set.a.keys("feed/"), Vec::<String>::new());
    assert_eq!(set.a.keys("blobs/").len(), 3, "the other parts and the block list");
}

#[tokio::test(start_paused = true)]
async fn a_failing_target_is_asked_a_few_times_only() {
    let set = set(5).await;
    set.a.script(|script| script.down = Some(ErrorKind::Unavailable));
    let mended = set.mender.mend(A, &set.made.copy, &[Object::Record, Object::Feed].into(), &[B]).await;
    assert!(matches!(mended.error, Some(MendError::Target(_))));
    assert_eq!(puts(&set.a).len(), 3);
}

#[tokio::test]
async fn a_block_list_that_nobody_has_is_rebuilt_from_the_bytes() {
    let set = set(LARGE).await;
    set.b.remove(set.made.blocks());
    set.c.flip(set.made.blocks(), 1);
    set.mender.copy(A, &set.made.copy, &[B, C]).await.unwrap();
    assert_eq!(set.a.objects()[set.made.blocks().as_str()], set.made.list.as_bytes());
}

#[tokio::test]
async fn a_forged_record_is_overwritten_and_an_unknown_format_is_not() {
    let set = set(5).await;
    set.a.insert(set.made.record(), "forged");
    set.mender.copy(A, &set.made.copy, &[B]).await.unwrap();
    assert_eq!(set.a.objects()[set.made.record().as_str()], set.made.copy.sealed);

    let unknown = KEY.seal(r#"{"format":2}"#);
    set.a.insert(set.made.record(), unknown.clone());
    let error = set.mender.copy(A, &set.made.copy, &[B]).await.unwrap_err();
    assert!(matches!(error, MendError::Refused(_)), "{error}");
    assert_eq!(set.a.objects()[set.made.record().as_str()], unknown);
}
