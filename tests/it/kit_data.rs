//! The test data is what it is taken for.

use crate::support::copies::block_list;
use crate::support::data::{self, SIZES};
use crate::support::provider::Provider;

#[test]
fn icons_are_real_and_many() {
    let icons = data::icons();
    assert!(icons.len() > 3_000, "{}", icons.len());
    assert!(icons.iter().all(|(name, bytes)| name.ends_with(".svg") && bytes.starts_with(b"<svg")));
}

#[test]
fn made_assets_are_the_same_for_the_same_seed_only() {
    assert_eq!(data::bytes("a", 100_000), data::bytes("a", 100_000));
    assert_ne!(data::bytes("a", 100), data::bytes("b", 100));
    assert_eq!(SIZES.map(|size| data::bytes("size", size).len()), SIZES);
}

#[test]
fn block_lists_have_one_value_a_block_and_merge_to_the_hash() {
    for (bytes, values) in [
        (0, None),
        (1, None),
        (65_536, None),
        (65_537, Some(2)),
        (8 << 20, Some(128)),
        ((8 << 20) + 1, Some(129)),
    ] {
        // Merging to the hash is asserted inside.
        let list = block_list(&data::bytes("list", bytes));
        assert_eq!(list.map(|list| list.len() / 32), values, "{bytes}");
    }
}

#[tokio::test]
async fn a_folder_is_a_provider_too() {
    let disk = Provider::disk("disk-a");
    disk.put("blobs/x/00000", data::bytes("x", 1_000)).await;
    disk.put("canary/disk-a", data::bytes("c", 10)).await;
    disk.damage("blobs/x/00000").await;
    let damaged = disk.get("blobs/x/00000").await.unwrap();
    let original = data::bytes("x", 1_000);
    assert_eq!(damaged.iter().zip(&original).filter(|(is, was)| is != was).count(), 1);
    assert_eq!(disk.keys().await, ["blobs/x/00000", "canary/disk-a"]);
    disk.wipe().await;
    assert_eq!(disk.objects().await, []);
    assert!(disk.yaml().contains("\"kind\":\"disk\""));
}
