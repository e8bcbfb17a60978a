//! Every step of a write: the gateway is killed before and after it, at one provider, at two, and at all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use triplicate::drill::wire::{Moment, Seen};

use super::ledger::Shown;
use super::point::{ALL, Class, Point};
use super::post::{Armed, Post};
use super::settled::{Kept, assert_settled};
use super::world::{Act, World};
use crate::support::copies::name_dir;
use crate::support::data;

const GATEWAYS: usize = 3;
/// How long a step may be waited for, on a busy machine.
const STRUCK_WITHIN: Duration = Duration::from_secs(30);
/// One part, and more than one block.
const SMALL_BYTES: usize = 66_000;
/// Two parts.
const PARTS_BYTES: usize = (8 << 20) + 7;

/// A flow that is cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Put,
    PutParts,
    Overwrite,
    Delete,
}

/// One flow, cut short once.
#[derive(Debug, Clone)]
struct Case {
    flow: Flow,
    point: Point,
    name: String,
    /// What the name shows before and after the flow; `None` for nothing.
    old: Option<String>,
    new: Option<String>,
    acked: bool,
}

impl Flow {
    /// The requests that change something, or decide, in their order.
    fn steps(self) -> Vec<Class> {
        match self {
            Self::Put | Self::Overwrite => {
                vec![Class::Listing, Class::Part(0), Class::Blocks, Class::Record, Class::Feed]
            }
            Self::PutParts => {
                vec![
                    Class::Listing,
                    Class::Part(0),
                    Class::Part(1),
                    Class::Blocks,
                    Class::Record,
                    Class::Feed,
                ]
            }
            Self::Delete => vec![Class::Listing, Class::Record, Class::Feed],
        }
    }

    fn points(self) -> Vec<Point> {
        let mut points = Vec::new();
        for (number, class) in self.steps().into_iter().enumerate() {
            for moment in [Moment::BeforeEffect, Moment::AfterEffect] {
                let single = 1 << ((number + usize::from(moment == Moment::AfterEffect)) % 3);
                let places = match self {
                    Self::Put => vec![0b001, 0b010, 0b100, ALL ^ single, ALL],
                    Self::PutParts => vec![single, ALL],
                    Self::Overwrite | Self::Delete => vec![single, ALL ^ single, ALL],
                };
                let points_here = places.into_iter().map(|at| Point { class, moment, at });
                // A single listing decides nothing: the flow goes on without it, and may have left it already.
                points.extend(points_here.filter(|at| class != Class::Listing || at.blocks_majority()));
            }
        }
        if self == Self::Put {
            let describe = |moment| Point { class: Class::Describe, moment, at: 0b100 };
            points.extend([Moment::BeforeEffect, Moment::AfterEffect].map(describe));
        }
        points
    }

    fn act(self, name: &str) -> Act {
        match self {
            Self::Put => Act::Put(name.to_owned(), data::bytes(name, SMALL_BYTES)),
            Self::PutParts => Act::Put(name.to_owned(), data::bytes(name, PARTS_BYTES)),
            Self::Overwrite => Act::Put(name.to_owned(), data::bytes(&format!("{name} again"), SMALL_BYTES)),
            Self::Delete => Act::Delete(name.to_owned()),
        }
    }
}

impl Case {
    fn new(flow: Flow, point: Point, number: usize) -> Self {
        let name = format!("steps/{flow:?}-{number}.bin");
        let hash = |act: &Act| match act {
            Act::Put(_, bytes) | Act::PutEverywhere(_, bytes) => Some(blake3::hash(bytes).to_string()),
            Act::Delete(_) | Act::Read(..) => None,
        };
        let new = hash(&flow.act(&name));
        let had = matches!(flow, Flow::Overwrite | Flow::Delete);
        let old = had.then(|| hash(&Self::before(&name))).flatten();
        Self { flow, point, name, old, new, acked: false }
    }

    /// What stands under the name when the flow begins, where something does.
    fn before(name: &str) -> Act {
        Act::PutEverywhere(name.to_owned(), data::bytes(&format!("{name} before"), 900))
    }

    /// Tells whether no record can have been sent.
    fn is_before_the_record(&self) -> bool {
        match self.point.class {
            Class::Record => self.point.at == ALL && self.point.moment == Moment::BeforeEffect,
            class => class != Class::Feed,
        }
    }

    /// Tells whether all providers have the record, though the client may not know.
    fn is_behind_the_record(&self) -> bool {
        match self.point.class {
            Class::Record => self.point.moment == Moment::AfterEffect,
            class => class == Class::Feed,
        }
    }

    fn check(&self, shown: Option<Shown>, lists_all: bool) {
        let shown = shown.unwrap_or_else(|| panic!("all providers are up, and nothing is said of {self:?}"));
        let shown = match shown {
            Shown::Absent => None,
            Shown::Bytes { hash, .. } => Some(hash),
        };
        let is_new = self.acked || (lists_all && self.is_behind_the_record());
        assert!(shown == self.new || !is_new, "{shown:?} instead of the new state: {self:?}");
        let is_old = !self.acked && self.is_before_the_record();
        assert!(shown == self.old || !is_old, "{shown:?} instead of the old state: {self:?}");
        assert!(shown == self.old || shown == self.new, "{shown:?} is neither old nor new: {self:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_killed_at_any_step_is_there_entirely_or_not_at_all() {
    let (world, mut posts) = World::with(GATEWAYS).await;
    let flows = [Flow::Put, Flow::PutParts, Flow::Overwrite, Flow::Delete];
    for flow in flows {
        assert_steps_are_all(&world, &posts[0], flow).await;
    }
    let mut lanes = vec![Vec::new(); GATEWAYS];
    let points = flows.into_iter().flat_map(|flow| flow.points().into_iter().map(move |point| (flow, point)));
    for (number, (flow, point)) in points.enumerate() {
        lanes[number % GATEWAYS].push(Case::new(flow, point, number));
    }
    let count: usize = lanes.iter().map(Vec::len).sum();
    let killed =
        posts.drain(..).zip(lanes).map(|(post, cases)| tokio::spawn(cut(world.clone(), post, cases)));
    let (mut posts, mut cases) = (Vec::new(), Vec::new());
    for lane in join_all(killed).await {
        let (post, done) = lane.expect("a lane without a violation");
        posts.push(post);
        cases.extend(done);
    }
    // A new index rests on listings alone.
    posts[0].kill(Armed::nothing()).await;
    posts[0].start(true).await;
    for case in &cases {
        let shown = world.read(&posts[0].door(), &case.name, false).await;
        case.check(shown, true);
    }
    world.assert_no_violation();
    let ledger = std::mem::take(&mut *world.ledger.lock().unwrap());
    assert_settled(&world.trio, &ledger, Kept::All).await;
    let report = posts[0].gateway.audit(&["--audit=bytes"]).await;
    assert_eq!(report.outcome.code, 0, "{report:?}");
    println!("{count} crash points; {}", world.tally.lock().unwrap().readiness());
}

/// Kills the gateway in each case, and looks right after it is back.
async fn cut(world: Arc<World>, mut post: Post, mut cases: Vec<Case>) -> (Post, Vec<Case>) {
    for case in &mut cases {
        let door = post.door();
        if case.old.is_some() {
            world.act(&door, &Case::before(&case.name)).await;
        }
        let mut armed = post.arm(case.point);
        let (own, act) = (world.clone(), case.flow.act(&case.name));
        let mut acting = tokio::spawn(async move { own.act(&door, &act).await });
        let struck = tokio::time::timeout(STRUCK_WITHIN, armed.struck()).await;
        assert!(struck.is_ok(), "no such step: {case:?}\n{}", post.gateway.log());
        if case.point.blocks_majority() {
            assert!(!acting.is_finished(), "answered without a majority: {case:?}");
        } else {
            // The others are a majority: the client is answered, and then the gateway dies.
            let answered = tokio::time::timeout(STRUCK_WITHIN, &mut acting).await;
            assert!(answered.is_ok(), "a majority was there: {case:?}\n{}", post.gateway.log());
            case.acked = true;
        }
        post.kill(armed).await;
        if !case.acked {
            acting.await.expect("a cut write ends");
        }
        let began = Instant::now();
        post.start(false).await;
        world.started(began);
        let (door, acked) =
            (post.door(), world.ledger.lock().unwrap().is_acked(&case.name, case.new.as_deref()));
        assert_eq!(acked, case.acked, "{case:?}");
        for asks_majority in [false, true] {
            let shown = world.read(&door, &case.name, asks_majority).await;
            case.check(shown, asks_majority && case.is_behind_the_record());
        }
    }
    (post, cases)
}

/// A flow that is let through makes the requests that are called its steps, at every provider, and no others.
async fn assert_steps_are_all(world: &World, post: &Post, flow: Flow) {
    let (name, door) = (format!("steps/{flow:?}-whole.bin"), post.door());
    if matches!(flow, Flow::Overwrite | Flow::Delete) {
        world.act(&door, &Case::before(&name)).await;
    }
    (0..3).for_each(|slot| post.wire(slot).forget_seen());
    let act = match flow.act(&name) {
        Act::Put(name, bytes) => Act::PutEverywhere(name, bytes),
        other => other,
    };
    world.act(&door, &act).await;
    let dir = name_dir(&name);
    for slot in 0..3 {
        let steps: BTreeSet<_> = flow.steps().into_iter().collect();
        crate::support::eventually("the third copy is made as well", STRUCK_WITHIN, || async {
            let seen: BTreeSet<_> =
                post.wire(slot).seen().iter().filter_map(|seen| step_of(seen, &dir)).collect();
            assert!(seen.is_subset(&steps), "provider {slot}: {seen:?} in {flow:?}");
            // Who lists slowly is left before it begins, once the others are a majority.
            steps.difference(&seen).all(|step| *step == Class::Listing).then_some(())
        })
        .await;
    }
}

/// Returns the step that a request is, if it belongs to a write.
fn step_of(seen: &Seen, dir: &str) -> Option<Class> {
    let put = seen.method == "PUT";
    let (_, last) = seen.key.rsplit_once('/')?;
    match seen.key.split('/').next()? {
        "names" if seen.listing && seen.key == dir => Some(Class::Listing),
        "names" if put => Some(Class::Record),
        "feed" if put => Some(Class::Feed),
        "blobs" if put && last == "blocks" => Some(Class::Blocks),
        "blobs" if put => Some(Class::Part(last.parse().expect("the number of a part"))),
        _ => None,
    }
}
