//! Every step of retention: a gateway is killed before and after each request by which a round removes.
//!
//! Nobody else runs meanwhile, so what lies on the providers after each kill is the work of that gateway alone.

use std::time::Duration;

use futures::future::join_all;
use triplicate::drill::wire::{Moment, Rule};

use super::ledger::Shown;
use super::point::{ALL, Class, Point};
use super::post::{Armed, Post};
use super::settled::{Kept, assert_settled, blobs_without_record};
use super::world::{Act, World};
use crate::support::copies::{Copy, assert_complete, copies, name_dir};
use crate::support::{data, eventually};

/// How long versions are kept: an index that follows no feed for half as long is made anew, on a busy machine too.
const RETENTION: Duration = Duration::from_secs(12);
/// How long a step may be waited for on a busy machine.
const STRUCK_WITHIN: Duration = Duration::from_secs(60);
/// How long the bytes of a version may be there after its last record, on a busy machine.
const BYTES_GO_WITHIN: Duration = Duration::from_secs(60);
/// More than a block.
const BLOCKS_BYTES: usize = 66_000;
/// More than a part.
const PARTS_BYTES: usize = (8 << 20) + 7;

/// A name with a history, all of it superseded but for the end.
#[derive(Debug, Clone)]
struct Past {
    name: String,
    point: Point,
    /// What was written last; `None` for a deletion.
    last: Option<bytes::Bytes>,
    acts: Vec<Act>,
}

/// Where a round can be cut short.
fn points() -> Vec<Point> {
    let steps = [
        Class::Listing,
        Class::ListBytes,
        Class::DropFeed,
        Class::DropRecord,
        Class::DropBlocks,
        Class::DropPart(0),
        Class::DropPart(1),
    ];
    let mut points = Vec::new();
    for (number, class) in steps.into_iter().enumerate() {
        for moment in [Moment::BeforeEffect, Moment::AfterEffect] {
            let single = 1 << ((number + usize::from(moment == Moment::AfterEffect)) % 3);
            // A round lists one provider after the other, and removes at all of them at the same time.
            let lists = matches!(class, Class::Listing | Class::ListBytes);
            let places = if lists { vec![single] } else { vec![single, ALL] };
            points.extend(places.into_iter().map(|at| Point { class, moment, at }));
        }
    }
    points
}

impl Past {
    fn new(number: usize, name: String, point: Point) -> Self {
        let bytes = if point.class == Class::DropPart(1) { PARTS_BYTES } else { BLOCKS_BYTES };
        let put = |what: &str, bytes| {
            Act::PutEverywhere(name.clone(), data::bytes(&format!("{name} {what}"), bytes))
        };
        let last = put("last", 900);
        let acts = match number % 3 {
            0 => vec![put("first", bytes), last],
            1 => vec![put("first", bytes), Act::Delete(name.clone())],
            _ => vec![put("first", bytes), Act::Delete(name.clone()), last],
        };
        let last = match acts.last() {
            Some(Act::PutEverywhere(_, bytes)) => Some(bytes.clone()),
            _ => None,
        };
        Self { name, point, last, acts }
    }

    /// Limits a rule to the oldest version's requests: what an earlier case has left is removed first, and would
    /// be held in its place. The names are listed at the start as well.
    async fn own_requests(&self, world: &World) -> impl Fn(Rule) -> Rule + use<> {
        let held = copies(&world.trio.bunny, &self.name).await;
        let oldest = held.last().unwrap_or_else(|| panic!("nothing is left of {}", self.name));
        let bytes = oldest.parts[0].strip_suffix("00000").expect("a part").to_owned();
        let (dir, hash, class) = (name_dir(&self.name), blake3::hash(self.name.as_bytes()), self.point.class);
        move |rule| match class {
            Class::DropFeed => rule.suffix(&format!(".{hash}.put")),
            Class::Listing | Class::DropRecord => rule.prefix(&dir),
            _ => rule.prefix(&bytes),
        }
    }

    /// The end of the history is complete at every provider, whatever is left of the rest.
    async fn assert_intact(&self, world: &World) {
        let (providers, kind) = (world.trio.all(), if self.last.is_some() { "put" } else { "del" });
        let held = join_all(providers.map(|provider| copies(provider, &self.name))).await;
        let is_last = |copy: &Copy| copy.kind == kind && copy.feed.len() == 1;
        let are_last = held.iter().all(|copies| copies.first().is_some_and(is_last));
        assert!(are_last, "{} after {}: {held:#?}", self.name, self.point);
        if let Some(bytes) = &self.last {
            assert_complete(&providers, &self.name, bytes).await;
        }
    }
}

/// Names in the order in which a round comes to them, each with a point.
fn pasts() -> Vec<Past> {
    let points = points();
    let mut names: Vec<_> = (0..points.len()).map(|number| format!("removal/{number}.bin")).collect();
    names.sort_by_key(|name| name_dir(name));
    let numbered = names.into_iter().zip(points).enumerate();
    numbered.map(|(number, (name, point))| Past::new(number, name, point)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_of_retention_killed_at_any_step_removes_nothing_else_and_is_taken_up_again() {
    let (world, mut posts) = World::with(1).await;
    let (mut writer, pasts) = (posts.remove(0), pasts());
    join_all(pasts.iter().map(async |past| {
        for act in &past.acts {
            world.act(&writer.door(), act).await;
        }
    }))
    .await;
    let written = std::mem::take(&mut *world.ledger.lock().unwrap());
    written.assert_all_acked();
    // A deletion is answered at two copies.
    assert_settled(&world.trio, &written, Kept::All).await;
    writer.kill(Armed::nothing()).await;
    // The first round is to find all of them: the youngest has to be old enough, by clocks that tell whole seconds.
    tokio::time::sleep(RETENTION + Duration::from_secs(2)).await;
    let mut post = Post::before(&world.trio, &format!("{}s", RETENTION.as_secs())).await;
    for past in &pasts {
        let narrowed = past.own_requests(&world).await;
        let mut armed = post.arm_those(past.point, narrowed);
        post.gateway.launch().await;
        let struck = tokio::time::timeout(STRUCK_WITHIN, armed.struck()).await;
        assert!(struck.is_ok(), "no such step: {}\n{}", past.point, post.gateway.log());
        post.kill(armed).await;
        past.assert_intact(&world).await;
    }
    post.start(false).await;
    assert_settled(&world.trio, &written, Kept::Newest).await;
    for provider in world.trio.all() {
        // The bytes go after the record.
        let what = format!("no bytes without a record are left at {}", provider.name());
        eventually(&what, BYTES_GO_WITHIN, || async {
            blobs_without_record(provider).await.is_empty().then_some(())
        })
        .await;
    }
    *world.ledger.lock().unwrap() = written;
    // A new index rests on listings alone.
    post.kill(Armed::nothing()).await;
    post.start(true).await;
    for past in &pasts {
        let shown = world.read(&post.door(), &past.name, false).await;
        let hash = match shown.expect("all providers are up") {
            Shown::Absent => None,
            Shown::Bytes { hash, .. } => Some(hash),
        };
        assert_eq!(hash, past.last.as_ref().map(|bytes| blake3::hash(bytes).to_string()), "{}", past.name);
        past.assert_intact(&world).await;
    }
    world.assert_no_violation();
    let report = post.gateway.audit(&["--audit=bytes"]).await;
    assert!(report.outcome.code == 0 && report.findings.is_empty(), "{report:?}");
    println!("{} kills of a round of retention", pasts.len());
}
