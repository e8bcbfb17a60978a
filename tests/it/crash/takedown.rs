//! Every step of a purge: it is killed before and after each request by which it removes, and run again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use triplicate::drill::wire::Moment;

use super::ledger::{End, Shown};
use super::point::{ALL, Class, Point};
use super::post::{FOR_LONG, Post};
use super::world::{Act, World};
use crate::support::copies::copies;
use crate::support::data;

/// How many purges run at the same time.
const LANES: usize = 3;
/// How long a step may be waited for on a busy machine.
const STRUCK_WITHIN: Duration = Duration::from_secs(60);
/// How long a whole purge may take: where one was cut short, it waits two minutes for copies that may be on their way.
const PURGED_WITHIN: Duration = Duration::from_secs(240);
/// More than a block.
const BLOCKS_BYTES: usize = 66_000;

/// One purge, cut short once.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    point: Point,
}

fn cases() -> Vec<Case> {
    let steps = [
        Class::Record,
        Class::Feed,
        Class::ListBytes,
        Class::DropFeed,
        Class::DropRecord,
        Class::DropBlocks,
        Class::DropPart(0),
    ];
    let mut cases = Vec::new();
    for (number, class) in steps.into_iter().enumerate() {
        for moment in [Moment::BeforeEffect, Moment::AfterEffect] {
            let single = 1 << ((number + usize::from(moment == Moment::AfterEffect)) % 3);
            for at in [single, ALL] {
                let name = format!("takedown/{}.bin", cases.len());
                cases.push(Case { name, point: Point { class, moment, at } });
            }
        }
    }
    cases
}

impl Case {
    /// Two versions, both to be taken down.
    async fn write(&self, world: &World, writer: &Post) {
        for number in 0..2 {
            let bytes = data::bytes(&format!("{} {number}", self.name), BLOCKS_BYTES);
            world.act(&writer.door(), &Act::PutEverywhere(self.name.clone(), bytes)).await;
        }
    }

    /// Tells whether the tombstone is at a majority when the purge is killed: nothing goes before it is.
    fn is_deleted(&self) -> bool {
        use Class::{DropBlocks, DropFeed, DropPart, DropRecord};
        matches!(self.point.class, DropFeed | DropRecord | DropBlocks | DropPart(_))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_killed_at_any_step_brings_nothing_back_and_is_finished_by_the_next() {
    let (world, mut posts) = World::with(1).await;
    let (writer, cases) = (Arc::new(posts.remove(0)), cases());
    let mut lanes = vec![Vec::new(); LANES];
    cases.iter().enumerate().for_each(|(number, case)| lanes[number % LANES].push(case.clone()));
    let cut = lanes.into_iter().map(|lane| tokio::spawn(cut(world.clone(), writer.clone(), lane)));
    for lane in join_all(cut).await {
        lane.expect("a lane without a violation");
    }
    for (case, provider) in cases.iter().flat_map(|case| world.trio.all().map(|provider| (case, provider))) {
        let left = copies(provider, &case.name).await;
        assert!(left.iter().all(|copy| copy.kind == "del"), "{} has {left:?} of {case:?}", provider.name());
    }
    for provider in world.trio.all() {
        let bytes = provider.keys_below("blobs/").await;
        assert!(bytes.is_empty(), "{} still has {bytes:?}", provider.name());
    }
    for (case, asks_majority) in cases.iter().flat_map(|case| [false, true].map(|asks| (case, asks))) {
        let shown = world.read(&writer.door(), &case.name, asks_majority).await;
        assert_eq!(shown, Some(Shown::Absent), "{case:?}");
    }
    world.assert_no_violation();
    // A purge that was killed while it wrote a tombstone leaves that to repair.
    let repaired = writer.gateway.audit(&["--audit=bytes", "--repair"]).await.findings;
    assert!(repaired.iter().all(|finding| finding["repaired"] == true), "{repaired:#?}");
    let report = writer.gateway.audit(&["--audit=bytes"]).await;
    assert_eq!(report.outcome.code, 0, "{report:?}");
    println!("{} kills of a purge", cases.len());
}

/// Kills a purge in each case, looks at what is shown then, and purges again.
async fn cut(world: Arc<World>, writer: Arc<Post>, cases: Vec<Case>) {
    let operator = Post::before(&world.trio, FOR_LONG).await;
    // A purge that is run again does so beside the next case, and must not come to its point.
    let successor = Post::before(&world.trio, FOR_LONG).await;
    let mut again = Vec::new();
    for case in cases {
        case.write(&world, &writer).await;
        let id = world.ledger.lock().unwrap().begin_write(&case.name, None, &writer.door());
        let mut armed = operator.arm(case.point);
        let purge = operator.command(&["--purge", &case.name]);
        let struck = tokio::time::timeout(STRUCK_WITHIN, armed.struck()).await;
        assert!(struck.is_ok(), "no such step: {case:?}\n{}", purge.stderr.text());
        operator.kill_command(purge, armed).await;
        world.ledger.lock().unwrap().end_write(id, End::Unknown);
        let shown = world.read(&writer.door(), &case.name, true).await;
        assert!(shown.is_some(), "all providers are up, and nothing is said of {case:?}");
        assert!(!case.is_deleted() || shown == Some(Shown::Absent), "{shown:?} after {case:?}");
        again.push((successor.command(&["--purge", &case.name]), case));
    }
    for (mut purge, case) in again {
        let status = purge.wait(PURGED_WITHIN).await;
        assert!(status.success(), "{status} of {case:?}\n{}", purge.stdout.text());
    }
}
