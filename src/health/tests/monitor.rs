//! The monitor over a disk that fails on command, with paused time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::asset::{Key, RecordKey, UploadId};
use crate::clock::Clock;
use crate::health::breaker::BreakerState;
use crate::health::canary::{self, CanaryState};
use crate::health::monitor::Monitor;
use crate::health::{Board, names_of, probe};
use crate::provider::disk::{DiskProvider, DiskSettings};
use crate::provider::faulty::{Fault, Faulty};
use crate::provider::metered::Metered;
use crate::provider::{ErrorKind, Fleet, Operation, Payload, Provider, ProviderId, Slot};
use crate::telemetry::{EventFilter, EventKind, Telemetry};

/// 2026-11-22T11:05:30Z
const NOW: u64 = 1_795_345_530_000;
const KEY: RecordKey = RecordKey::new([42; 32]);
const ONE: Slot = Slot(0);

struct Watch {
    _folder: tempfile::TempDir,
    faulty: Arc<Faulty>,
    board: Board,
    monitor: Monitor,
    clock: Clock,
    telemetry: Telemetry,
}

impl Watch {
    /// One provider with its canary and a fault switch.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::seeded(NOW, 1);
        let settings = DiskSettings { path: folder.path().to_owned() };
        let disk = DiskProvider::new(ProviderId::new("disk-a"), settings, clock.clone()).unwrap();
        let faulty = Arc::new(Faulty::new(Arc::new(disk)));
        let bare = Fleet::new(vec![faulty.clone() as Arc<dyn Provider>]);
        canary::write(bare.get(ONE).as_ref(), &KEY, clock.utc()).await.unwrap();
        let telemetry = Telemetry::new();
        let board = Board::new(names_of(&bare), clock.clone(), telemetry.clone());
        let inner = bare.get(ONE).clone();
        let metered = Metered::new(inner, ONE, telemetry.clone(), Arc::new(board.clone()), clock.clone());
        let monitor = Monitor::new(Fleet::new(vec![Arc::new(metered)]), board.clone(), KEY);
        Self { _folder: folder, faulty, board, monitor, clock, telemetry }
    }

    /// Runs the monitor while `scene` goes on.
    async fn run<T>(&self, scene: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            outcome = scene => outcome,
            () = self.monitor.clone().run(ONE, CancellationToken::new()) => panic!("the monitor ended"),
        }
    }

    /// Waits for a state of the breaker, and tells how long that took.
    async fn until(&self, state: BreakerState) -> Duration {
        let began = Instant::now();
        while self.board.breaker(ONE) != state {
            sleep(Duration::from_millis(10)).await;
            assert!(began.elapsed() < Duration::from_secs(600), "{:?}", self.board.snapshot());
        }
        began.elapsed()
    }

    async fn probes(&self) -> Vec<String> {
        let listing = self.faulty.list_dir("probe/").await.unwrap();
        listing.entries.into_iter().map(|entry| entry.key).collect()
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_well_is_probed_every_twenty_seconds_and_keeps_nothing() {
    let watch = Watch::new().await;
    watch
        .run(async {
            sleep(seconds(10)).await;
            let before = watch.faulty.calls(Operation::Put);
            sleep(seconds(200)).await;
            assert_eq!(watch.faulty.calls(Operation::Put) - before, 10);
        })
        .await;
    assert_eq!(watch.probes().await, [""; 0]);
    assert!(watch.board.is_healthy(ONE));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_give_back_what_was_written_is_corrupt_at_once() {
    let watch = Watch::new().await;
    assert!(watch.monitor.step(ONE).await, "well before");
    watch.faulty.set(Operation::Put, Fault::CorruptByte(3));
    assert!(!watch.monitor.step(ONE).await);
    assert_eq!(watch.board.breaker(ONE), BreakerState::Open);
    let health = watch.board.snapshot().remove(0);
    assert_eq!(health.last_error.unwrap(), "corrupt (probe: what was written comes back changed)");
    watch.faulty.heal();
    watch.run(watch.until(BreakerState::Closed)).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_lags_is_waited_for_and_one_that_never_comes_is_corrupt() {
    let watch = Watch::new().await;
    for _ in 0..3 {
        watch.faulty.queue(Operation::Get, Fault::Forget);
    }
    probe::run(watch.faulty.as_ref(), &watch.clock).await.unwrap();
    watch.faulty.set(Operation::Get, Fault::Forget);
    let failure = probe::run(watch.faulty.as_ref(), &watch.clock).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.detail.as_str()),
        (ErrorKind::Corrupt, "what was written is not there")
    );
    for stuck in [Fault::Hang, Fault::Stall(3)] {
        watch.faulty.set(Operation::Get, stuck);
        let failure = probe::run(watch.faulty.as_ref(), &watch.clock).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Timeout);
    }
    assert_eq!(watch.probes().await, [""; 0], "it is removed all the same");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_seen_without_traffic_and_its_end_within_seconds() {
    // (fault, how long it lasts, how soon its end is seen)
    for (fault, lasts, soon) in [
        (Fault::Error(ErrorKind::Denied), 5, 8),
        (Fault::Error(ErrorKind::Denied), 600, 8),
        (Fault::Error(ErrorKind::Unavailable), 600, 8),
        (Fault::Hang, 600, 12),
    ] {
        let watch = Watch::new().await;
        watch
            .run(async {
                sleep(seconds(1)).await;
                watch.faulty.set_all(fault);
                watch.until(BreakerState::Open).await;
                sleep(seconds(lasts)).await;
                assert_eq!(watch.board.breaker(ONE), BreakerState::Open);
                watch.faulty.heal();
                let took = watch.until(BreakerState::Closed).await;
                println!("{fault:?} for {lasts} s: back after {took:?}");
                assert!(took <= seconds(soon), "{fault:?} for {lasts} s: {took:?}");
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_that_opens_wakes_the_monitor() {
    let watch = Watch::new().await;
    watch
        .run(async {
            sleep(seconds(5)).await;
            // Traffic alone finds out; the monitor would sleep for fifteen seconds more.
            for _ in 0..5 {
                watch.board.failed(ONE, ErrorKind::Timeout, "");
            }
            let took = watch.until(BreakerState::Closed).await;
            assert!(took <= seconds(4), "{took:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn writes_that_fail_open_though_reads_go_well() {
    let watch = Watch::new().await;
    watch
        .run(async {
            sleep(seconds(1)).await;
            watch.faulty.set(Operation::Put, Fault::Error(ErrorKind::Refused));
            let took = watch.until(BreakerState::Open).await;
            assert!(took <= seconds(25), "{took:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_suspect_is_looked_at_at_once_and_at_most_once_a_second() {
    let watch = Watch::new().await;
    watch
        .run(async {
            sleep(seconds(5)).await;
            watch.faulty.set(Operation::Get, Fault::Forget);
            watch.faulty.set(Operation::List, Fault::Forget);
            watch.monitor.suspect(ONE);
            sleep(Duration::from_millis(50)).await;
            assert_eq!(watch.board.canary(ONE), Some(CanaryState::Missing));
            watch.faulty.heal();
            sleep(seconds(30)).await;
            assert_eq!(watch.board.canary(ONE), Some(CanaryState::Ours));
            let before = watch.faulty.calls(Operation::Get);
            for _ in 0..3_000 {
                watch.monitor.suspect(ONE);
                sleep(Duration::from_millis(1)).await;
            }
            // Each look has a probe, and each of them one download.
            let looks = (watch.faulty.calls(Operation::Get) - before) / 2;
            assert!((2..=4).contains(&looks), "{looks}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_crashed_probe_left_is_removed_after_an_hour() {
    let watch = Watch::new().await;
    let old = Key::probe(UploadId::new(NOW - 2 * 60 * 60 * 1_000, 7));
    let recent = Key::probe(UploadId::new(NOW - 60 * 1_000, 7));
    for key in [&old, &recent] {
        let payload = Payload::from(Bytes::from_static(b"left"));
        watch.faulty.put(key, &payload, "text/plain").await.unwrap();
    }
    watch.monitor.step(ONE).await;
    assert_eq!(watch.probes().await, [recent.as_str()]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_provider_is_never_probed() {
    let watch = Watch::new().await;
    canary::write(watch.faulty.as_ref(), &RecordKey::new([7; 32]), watch.clock.utc()).await.unwrap();
    let before = (watch.faulty.calls(Operation::Put), watch.faulty.calls(Operation::Probe));
    watch.run(sleep(seconds(300))).await;
    assert_eq!(watch.board.canary(ONE), Some(CanaryState::Foreign));
    assert_eq!((watch.faulty.calls(Operation::Put), watch.faulty.calls(Operation::Probe)), before);
    // Its own canary back, that is seen within seconds.
    watch
        .run(async {
            sleep(seconds(60)).await;
            canary::write(watch.faulty.as_ref(), &KEY, watch.clock.utc()).await.unwrap();
            sleep(Duration::from_millis(4_100)).await;
        })
        .await;
    assert_eq!(watch.board.canary(ONE), Some(CanaryState::Ours));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_still_under_way_is_no_proof_against_a_provider() {
    let watch = Watch::new().await;
    watch.monitor.look(ONE).await.unwrap();
    watch.faulty.set(Operation::Get, Fault::Delay(Duration::from_millis(100)));
    let later = async |after, confirms: bool| {
        sleep(Duration::from_millis(after)).await;
        if confirms {
            return watch.monitor.confirm(ONE, watch.clock.now()).await;
        }
        watch.monitor.look(ONE).await.is_ok()
    };
    // The second waits for the first, whose look is too old for it; meanwhile the monitor looks by itself.
    let told = tokio::join!(later(0, true), later(10, true), later(50, false));
    assert_eq!(told, (true, true, true));
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_a_look_fails_does_not_wait_for_another_one() {
    let watch = Watch::new().await;
    watch.faulty.set(Operation::Get, Fault::Hang);
    let (began, since) = (Instant::now(), watch.clock.now());
    sleep(Duration::from_millis(1)).await;
    let confirms = (0..10).map(|_| watch.monitor.confirm(ONE, since));
    assert_eq!(futures::future::join_all(confirms).await, [false; 10]);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn clocks_that_differ_by_five_seconds_are_told_of_once() {
    let watch = Watch::new().await;
    let skewed = EventFilter { kind: Some(EventKind::ClockSkew), provider: None };
    for (offset_ms, told) in [(0, 0), (4_999, 0), (-4_999, 0), (5_000, 1), (9_000, 1), (0, 1), (-5_000, 2)] {
        watch.faulty.skew(offset_ms);
        watch.monitor.step(ONE).await;
        assert_eq!(watch.telemetry.find_events(&skewed, 10).len(), told, "{offset_ms} ms");
    }
}
