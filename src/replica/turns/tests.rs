use futures::FutureExt;

use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(start_paused = true)]
async fn without_clients_pieces_begin_at_once_and_a_client_makes_the_next_ones_wait() {
    let turns = Turns::new(Clock::seeded(1, 1));
    let held: Vec<_> = (0..AT_ONCE_MAX).map(|_| turns.enter().now_or_never().unwrap()).collect();
    assert!(turns.enter().now_or_never().is_none());
    assert!(!turns.pacing().yielding);
    drop(held);
    turns.client();
    assert!(turns.pacing().yielding);
    let alone = turns.enter().now_or_never().unwrap();
    assert!(turns.enter().now_or_never().is_none(), "one at a time beside clients");
    tokio::time::advance(ms(100)).await;
    drop(alone);
    let rested = turns.0.clock.now();
    drop(turns.enter().await);
    // One block a piece: the floor cuts the rest down.
    assert_eq!(rested.elapsed(), ms(25));
    tokio::time::advance(QUIET_AFTER).await;
    assert!(!turns.pacing().yielding);
}

#[tokio::test(start_paused = true)]
async fn a_pause_gives_others_their_turn_and_a_dropped_wait_holds_nothing_up() {
    let turns = Turns::new(Clock::seeded(1, 1));
    turns.client();
    let first = turns.enter().await;
    let second = turns.enter();
    tokio::pin!(second);
    assert!((&mut second).now_or_never().is_none());
    first.did(100 * BLOCK_BYTES as u64);
    tokio::time::advance(ms(100)).await;
    let began = turns.0.clock.now();
    assert!(tokio::time::timeout(ms(99), first.pause()).await.is_err(), "it rests as long as it worked");
    drop(first);
    drop(second.await);
    assert_eq!(began.elapsed(), ms(100));
    assert!(turns.enter().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn reads_count_where_they_began_and_only_while_there_is_work() {
    let turns = Turns::new(Clock::seeded(1, 1));
    let reads = |turns: &Turns| {
        let state = turns.0.state.lock();
        state.regulator.felt.counts()
    };
    turns.begin_read().end();
    assert_eq!(reads(&turns), (0, 0), "nothing is going on");
    let turn = turns.enter().await;
    turn.did(100 * BLOCK_BYTES as u64);
    let read = turns.begin_read();
    tokio::time::advance(ms(100)).await;
    drop(turn);
    read.end();
    assert_eq!(reads(&turns), (1, 0));
    turns.begin_read().end();
    assert_eq!(reads(&turns), (1, 1));
    tokio::time::advance(ms(1_000)).await;
    // The rest is over and nobody came: this read ends it.
    turns.begin_read().end();
    turns.begin_read().end();
    assert_eq!(reads(&turns), (1, 2));
}
