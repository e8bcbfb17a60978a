//! Snapshots that may not be used, or not for every provider.

use std::path::PathBuf;
use std::time::Duration;

use triplicate::asset::key::SNAPSHOTS;
use triplicate::health::canary::{self, CanaryState};
use triplicate::provider::faulty::Fault;
use triplicate::provider::{ErrorKind, Operation, Slot};
use triplicate::read::ReadError;
use triplicate::telemetry::EventKind;

use crate::snapshots::{came_with_its_record, snapshots, with_snapshot};
use crate::stack::{KEY, Stack};
use crate::{NOW, Site, assert_same_copies, bytes};

/// The files of the only snapshot at each provider whose names end so.
fn files(site: &Site, end: &str) -> Vec<PathBuf> {
    let folders = ["a", "b", "c"].map(|name| site.folder.path().join(name).join(SNAPSHOTS));
    let dirs = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    dirs.map(|dir| dir.unwrap().path().join(end)).collect()
}

pub(crate) fn alarms(stack: &Stack) -> usize {
    let events = stack.telemetry.recent_events(100);
    events.iter().filter(|event| event.kind == EventKind::BadSnapshot).count()
}

pub(crate) async fn assert_right(stack: &Stack) {
    for number in 0..4 {
        assert_eq!(stack.get(&format!("{number}.png")).await.unwrap(), bytes(number, 100));
    }
    for name in ["4.png", "never.png"] {
        assert!(matches!(stack.get(name).await, Err(ReadError::NotFound)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forged_damaged_unknown_or_unfinished_is_ignored() {
    type Harm = fn(&Site);
    let table: [(&str, Harm, usize); 6] = [
        ("another key's manifest", |site| reseal(site, "manifest", [1; 32], |line| line), 3),
        ("a flipped manifest", |site| rewrite(site, "manifest", |bytes| bytes[30] ^= 1), 3),
        (
            "an unknown format",
            |site| {
                reseal(site, "manifest", [42; 32], |line| line.replacen("\"format\":1", "\"format\":9", 1));
            },
            3,
        ),
        ("a flipped chunk", |site| rewrite(site, "00000", |bytes| bytes[30] ^= 1), 3),
        ("a short chunk", |site| rewrite(site, "00000", |bytes| bytes.truncate(50)), 3),
        (
            "no manifest",
            |site| {
                files(site, "manifest").iter().for_each(|file| std::fs::remove_file(file).unwrap());
            },
            0,
        ),
    ];
    for (what, harm, expected) in table {
        let (site, _one) = with_snapshot().await;
        harm(&site);
        let mut cold = site.stack(site.clock(NOW));
        cold.start().await;
        assert!(cold.catalog.is_ready() && cold.catalog.is_fresh(), "{what}");
        assert!(!came_with_its_record(&cold, "0.png").await, "{what}");
        // Each of three pollers looks for itself, and finds it at three providers.
        assert_eq!(alarms(&cold), 3 * expected, "{what}");
        assert_right(&cold).await;
    }
}

fn rewrite(site: &Site, end: &str, change: impl Fn(&mut Vec<u8>)) {
    for file in files(site, end) {
        let mut bytes = std::fs::read(&file).unwrap();
        change(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
    }
}

fn reseal(site: &Site, end: &str, key: [u8; 32], change: impl Fn(String) -> String) {
    rewrite(site, end, |bytes| {
        let line = change(KEY.open(bytes).unwrap().to_owned());
        *bytes = triplicate::asset::RecordKey::new(key).seal(&line).to_vec();
    });
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_one_provider_lost_or_damaged_comes_from_another() {
    let (site, _one) = with_snapshot().await;
    let chunks = files(&site, "00000");
    std::fs::remove_file(&chunks[0]).unwrap();
    std::fs::write(&chunks[1], b"nonsense").unwrap();
    let mut cold = site.stack(site.clock(NOW));
    cold.start().await;
    assert!(came_with_its_record(&cold, "0.png").await);
    assert_right(&cold).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_wiped_since_the_snapshot_holds_nothing() {
    let (site, one) = with_snapshot().await;
    // Wiped, and refilled by somebody who wrote a new canary and nothing else.
    site.wipe(Slot(2));
    let created = triplicate::clock::to_utc(NOW + 60_000);
    canary::write(one.fleet.get(Slot(2)).as_ref(), &KEY, created).await.unwrap();
    let mut cold = site.stack(site.clock(NOW + 120_000));
    cold.look().await;
    cold.poll().await;
    assert!(came_with_its_record(&cold, "0.png").await);
    let missing = cold.catalog.copies_missing().await;
    assert_eq!(missing, [(Slot(0), 0), (Slot(1), 0), (Slot(2), 6)]);
    cold.heal().await;
    assert_same_copies(&cold).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_without_its_canary_is_refilled_whenever_the_snapshot_is_loaded() {
    for load_first in [true, false] {
        let (site, _one) = with_snapshot().await;
        site.wipe(Slot(2));
        let mut cold = site.stack(site.clock(NOW + 120_000));
        cold.look().await;
        if load_first {
            cold.poll().await;
        }
        cold.heal().await;
        cold.poll().await;
        assert!(came_with_its_record(&cold, "0.png").await);
        assert_eq!(cold.monitor.board().canary(Slot(2)), Some(CanaryState::Ours));
        assert_same_copies(&cold).await;
        assert_right(&cold).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_or_suspected_while_the_load_goes_on_is_not_claimed() {
    let (site, one) = with_snapshot().await;
    let mut cold = site.stack(site.clock(NOW));
    cold.look().await;
    site.faulty.iter().for_each(|faulty| faulty.set(Operation::Get, Fault::Delay(Duration::from_secs(3))));
    let mut pollers = std::mem::take(&mut cold.pollers);
    let name: triplicate::asset::AssetName = "0.png".parse().unwrap();
    let version = one.catalog.versions(&name).await[0].version;
    let harm = async {
        // The canaries are read after three seconds, the manifest after six, the chunk after nine.
        tokio::time::sleep(Duration::from_secs(7)).await;
        cold.catalog.forget_all(Slot(2)).await.unwrap();
        cold.catalog.suspect(name.hash(), version, Slot(1)).await;
    };
    let (loaded, ()) = tokio::join!(pollers[0].step(), harm);
    loaded.unwrap();
    assert!(came_with_its_record(&cold, "1.png").await);
    let missing = cold.catalog.copies_missing().await;
    assert_eq!(missing, [(Slot(0), 0), (Slot(1), 1), (Slot(2), 6)]);
    assert!(cold.catalog.is_loaded(Slot(1)) && !cold.catalog.is_loaded(Slot(2)));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_away_during_the_load_loads_by_itself_later() {
    let (site, _one) = with_snapshot().await;
    site.faulty[2].set_all(Fault::Error(ErrorKind::Unavailable));
    let mut cold = site.stack(site.clock(NOW));
    cold.start().await;
    assert!(cold.catalog.is_ready() && cold.catalog.is_fresh());
    assert!(!cold.catalog.is_loaded(Slot(2)));
    assert_right(&cold).await;
    site.faulty[2].heal();
    tokio::time::advance(Duration::from_secs(120)).await;
    cold.look().await;
    cold.poll().await;
    assert!(cold.catalog.is_loaded(Slot(2)));
    let missing = cold.catalog.copies_missing().await;
    assert!(missing.iter().all(|(_, copies)| *copies == 0), "{missing:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_writes_a_snapshot_of_an_index_that_may_lack_something() {
    let (site, mut one) = with_snapshot().await;
    tokio::time::advance(Duration::from_secs(30)).await;
    one.look().await;
    assert!(!one.catalog.is_fresh());
    assert!(snapshots(&one).write().await.is_err());
    one.poll().await;
    site.faulty[0].set(Operation::Put, Fault::Error(ErrorKind::Denied));
    let before = files(&site, "manifest").len();
    snapshots(&one).write().await.unwrap();
    let after = files(&site, "manifest");
    assert_eq!(after.iter().filter(|file| file.exists()).count(), before + 2);
    assert!(one.catalog.is_fresh());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_is_ready_after_ten_seconds_though_the_load_takes_longer() {
    let (site, _one) = with_snapshot().await;
    let mut cold = site.stack(site.clock(NOW));
    cold.look().await;
    site.faulty.iter().for_each(|faulty| faulty.set(Operation::Get, Fault::Delay(Duration::from_secs(4))));
    let mut poller = cold.pollers.remove(0);
    let watch = async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        cold.catalog.check_ready();
        assert!(!cold.catalog.is_ready());
        tokio::time::sleep(Duration::from_secs(2)).await;
        cold.catalog.check_ready();
        assert!(cold.catalog.is_ready() && !cold.catalog.is_loaded(Slot(0)));
        cold.look().await;
        assert_eq!(cold.get("0.png").await.unwrap(), bytes(0, 100));
    };
    let (loaded, ()) = tokio::join!(poller.step(), watch);
    loaded.unwrap();
}
