//! Versions that no feed tells of: a gateway that dies between record and feed entry leaves them.

use std::fs;

use triplicate::catalog::patrol::Patrol;

use crate::{NOW, assert_same_copies, bytes, site};

#[tokio::test(start_paused = true)]
async fn what_only_listings_show_becomes_known_and_is_completed() {
    let (site, stack) = site().await;
    stack.put("old.png", &bytes(1, 10)).await.unwrap();
    let mut other = site.stack(site.clock(NOW + 60_000));
    other.start().await;
    stack.put("new.png", &bytes(2, 100_000)).await.unwrap();
    stack.tasks.shut_down(std::time::Duration::from_secs(1)).await;
    for folder in ["a", "b", "c"] {
        fs::remove_dir_all(site.folder.path().join(folder).join("feed")).unwrap();
    }
    other.poll().await;
    let name = "new.png".parse::<triplicate::asset::AssetName>().unwrap().hash();
    assert!(other.catalog.known(name).await.is_empty(), "no feed tells of it");
    let patrol = Patrol::new(other.catalog.clone());
    patrol.step().await;
    assert_eq!(other.catalog.known(name).await.len(), 1);
    other.repairer.step().await;
    assert_same_copies(&other).await;
    for slot in other.fleet.slots() {
        let entries = other.keys(slot).await.into_iter().filter(|key| key.starts_with("feed/"));
        assert_eq!(entries.filter(|key| key.contains(&name.to_string())).count(), 1, "{slot:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_patrol_goes_on_and_begins_again() {
    let (site, stack) = site().await;
    let patrol = Patrol::new(stack.catalog.clone());
    let other = site.stack(site.clock(NOW));
    other.look().await;
    for round in 0..3 {
        let name = format!("{round}.png");
        other.put(&name, &bytes(round, 10)).await.unwrap();
        // The rest of a listing, its end, and the first page of the next.
        for _ in 0..3 {
            patrol.step().await;
        }
        let name = name.parse::<triplicate::asset::AssetName>().unwrap().hash();
        assert_eq!(stack.catalog.known(name).await.len(), 1, "{round}");
    }
}
