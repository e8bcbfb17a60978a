//! Retention of a running gateway: what is superseded goes soon after its time, also where that is short.

use std::time::Duration;

use crate::support::copies::copies;
use crate::support::gateway::Setup;
use crate::support::provider::three_disks;
use crate::support::{data, eventually};

/// Ten times the retention, for a busy machine, and far below the longest time between two rounds.
const GONE_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_version_that_is_kept_for_seconds_is_gone_after_seconds() {
    let disks = three_disks();
    let gateway = Setup::of(&disks.each_ref()).yaml("retention: 2s").start().await;
    let bytes = |number: u32| data::bytes(&format!("retention {number}"), 70_000);
    gateway.put_everywhere("icons/a.png", bytes(1)).await;
    gateway.put_everywhere("icons/a.png", bytes(2)).await;
    for disk in &disks {
        eventually("the superseded version is gone with its bytes", GONE_WITHIN, || async {
            // The record goes first; a part and a block list are left.
            let left = (copies(disk, "icons/a.png").await.len(), disk.keys_below("blobs/").await.len());
            (left == (1, 2)).then_some(())
        })
        .await;
    }
    assert_eq!(gateway.get("icons/a.png").await.body, bytes(2));
}
