//! Keys that somebody made up who can write to one provider: they hide nothing, and order nothing.

use std::time::Duration;

use triplicate::asset::{AssetName, Key, Kind, Order, Record, Version};
use triplicate::provider::faulty::Fault;
use triplicate::provider::{Operation, Payload, Slot};
use triplicate::read::{ReadError, Wanted};
use triplicate::retention::Brake;

use crate::retention::{later, site};
use crate::stack::{KEY, RETENTION, Stack};
use crate::{NOW, Site, bytes};

const HOSTILE: Slot = Slot(2);

fn name() -> AssetName {
    "a.png".parse().unwrap()
}

/// Lets the hostile provider be among the first majority that is heard.
fn let_it_be_heard(site: &Site) {
    site.faulty[1].set(Operation::List, Fault::Delay(Duration::from_millis(300)));
}

async fn plant(stack: &Stack, at: &Key, content: &[u8]) {
    let payload = Payload::from(bytes::Bytes::copy_from_slice(content));
    stack.fleet.get(HOSTILE).put(at, &payload, "application/json").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_of_the_same_version_hides_no_asset() {
    let (site, mut stack) = site().await;
    let record = stack.put("a.png", &bytes(1, 100)).await.unwrap().record;
    plant(&stack, &Key::record(name().hash(), record.version, Kind::Del), b"not sealed").await;
    let minute = NOW / 60_000;
    plant(&stack, &Key::feed(minute, name().hash(), record.version, Kind::Del), b"not sealed").await;
    let_it_be_heard(&site);
    let cold = site.stack(site.clock.clone());
    assert_eq!(cold.get("a.png").await.unwrap(), bytes(1, 100), "a gateway that knows nothing yet");
    let mut loaded = site.stack(site.clock.clone());
    loaded.start().await;
    let mut last = record.version;
    for stack in [&stack, &loaded] {
        assert_eq!(stack.get("a.png").await.unwrap(), bytes(1, 100));
        let sure = stack.reader.resolve(&name(), Wanted { version: None, revalidate: true }).await;
        assert_eq!(sure.unwrap().version, last);
        let receipt = stack.put("a.png", &bytes(1, 100)).await.unwrap();
        assert!(!receipt.created);
        last = receipt.record.version;
    }
    site.faulty[1].heal();
    // Nor does it make retention take anything of the name.
    let newest = stack.put("a.png", &bytes(2, 100)).await.unwrap().record;
    plant(&stack, &Key::record(name().hash(), newest.version, Kind::Del), b"not sealed").await;
    for _ in 0..3 {
        later(&mut stack, RETENTION * 2).await;
        let report = stack.retention.round(Brake::Released, true).await;
        assert!(report.is_done(), "{report:?}");
        assert_eq!(stack.get("a.png").await.unwrap(), bytes(2, 100));
        assert!(stack.catalog.versions(&name()).await.iter().any(|known| known.version == newest.version));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stamp_above_all_others_leaves_room_for_the_next_one() {
    let (site, stack) = site().await;
    for order in [u64::MAX, u64::MAX - 1] {
        let version = Version { order: Order::new(order), upload: site.clock.upload_id() };
        plant(&stack, &Key::record(name().hash(), version, Kind::Put), b"not sealed").await;
    }
    let_it_be_heard(&site);
    let day = 24 * 3_600_000;
    let mut last = None;
    for seed in 1..4 {
        let version = stack.put("a.png", &bytes(seed, 100)).await.unwrap().record.version;
        assert!(version.order.unix_ms() < NOW + day, "{version}");
        assert!(last.is_none_or(|last| version > last));
        last = Some(version);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_never_committed_is_not_told_of_without_bytes_either() {
    let (site, stack) = site().await;
    let old = stack.put("a.png", &bytes(1, 100_000)).await.unwrap().record;
    // A gateway died between the bytes, which retention took since, and the second record.
    let version = Version {
        order: Order::stamp(old.version.order, Some(old.version.order)),
        upload: site.clock.upload_id(),
    };
    let record = Record { version, ..Record::clone(&old) };
    plant(&stack, &record.key(), &record.seal(&KEY)).await;
    let_it_be_heard(&site);
    let sure = Wanted { version: None, revalidate: true };
    let found = stack.reader.resolve(&name(), sure).await.unwrap();
    assert_eq!(found.version, version);
    assert!(stack.reader.was_never_committed(&found).await);
    let found = stack.reader.resolve(&name(), sure).await.unwrap();
    assert_eq!(found.version, old.version);
    assert!(!stack.reader.was_never_committed(&found).await);
    // Nor does a gateway doubt what it knows nothing of, but is there.
    let cold = site.stack(site.clock.clone());
    assert!(!cold.reader.was_never_committed(&old).await);
    assert!(matches!(cold.get("b.png").await, Err(ReadError::NotFound)));
}
