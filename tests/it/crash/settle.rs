//! The end of a storm: what is missing is made, what is left over goes, and all copies and answers are compared.

use std::time::{Duration, Instant};

use super::horizon::assert_orphans_go;
use super::ledger::Shown;
use super::player::{NAMES, name};
use super::post::{Armed, Post};
use super::settled::{Kept, assert_settled};
use super::world::World;
use crate::support::eventually;

/// A copy that was cut short is left alone while it is young, and made in a later step of repair; a round of
/// retention sends 100 requests a second at most, which is minutes where the brake has held it for long.
const REPAIRED_WITHIN: Duration = Duration::from_secs(900);
/// How long an audit may find that a provider does not answer in time.
const JUDGED_WITHIN: Duration = Duration::from_secs(300);
/// How long a read may show an older state on a busy machine.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);

/// Lets repair and retention finish, compares all copies, audits, and reads everything through every gateway.
pub async fn settle(world: &World, mut posts: Vec<Post>, kept: Kept) {
    // A crash between a record and its feed entry shows in listings alone, which a new index makes.
    let began = Instant::now();
    world.close(0);
    posts[0].kill(Armed::nothing()).await;
    posts[0].start(true).await;
    world.open(0, posts[0].door());
    // Asking the gateway what is missing is cheaper than listing everything again and again.
    eventually("no copy is missing", REPAIRED_WITHIN, || async {
        if is_done(&posts[0]).await {
            return Some(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        None
    })
    .await;
    let repaired = began.elapsed();
    let newest = {
        let ledger = std::mem::take(&mut *world.ledger.lock().unwrap());
        let newest = assert_settled(&world.trio, &ledger, kept).await;
        *world.ledger.lock().unwrap() = ledger;
        newest
    };
    let compared = began.elapsed();
    eventually("everything is judged and found right", JUDGED_WITHIN, || async {
        let report = posts[0].gateway.audit(&["--audit=bytes"]).await;
        assert!(matches!(report.outcome.code, 0 | 3) && report.findings.is_empty(), "{report:?}");
        // On a busy machine a provider may not answer in time, which says nothing of what it holds.
        (report.outcome.code == 0).then_some(())
    })
    .await;
    let audited = began.elapsed();
    let orphans = assert_orphans_go(&world.trio).await;
    let swept = began.elapsed();
    println!(
        "complete after {repaired:?}, compared after {compared:?}, audited after {audited:?}, {orphans} orphans gone after {swept:?}"
    );
    let doors = world.doors.lock().unwrap().clone();
    for (door, name) in
        doors.iter().flatten().flat_map(|door| (0..NAMES).map(move |number| (door, name(number))))
    {
        let hash = blake3::hash(name.as_bytes()).to_string();
        let last = newest.get(&hash).filter(|version| version.kind == "put").map(|version| &version.version);
        eventually(&format!("{name} is {last:?}"), SHOWN_WITHIN, || async {
            let shown = world.read(door, &name, false).await?;
            let version = match &shown {
                Shown::Absent => None,
                Shown::Bytes { version, .. } => Some(version),
            };
            (version == last).then_some(())
        })
        .await;
    }
    world.assert_no_violation();
}

/// Tells whether a gateway misses no copy and has nothing to remove; frees its retention where the brake holds it.
async fn is_done(post: &Post) -> bool {
    let status = post.gateway.admin("api/status").await.json();
    let retention = &status["retention"];
    if retention["braked"] == true {
        println!("the brake holds, and is let go: {retention}");
        post.command(&["--retention", "--allow-large-removal"]).wait(REPAIRED_WITHIN).await;
        return false;
    }
    let none = |list: &serde_json::Value, key: &str| {
        list.as_array().is_some_and(|list| list.iter().all(|provider| provider[key] == 0))
    };
    retention["waits"].is_null()
        && none(&status["providers"], "copies_missing")
        && none(&retention["providers"], "planned")
}
