//! Every step of repair: a provider is refilled from nothing, and the gateway killed before and after each step.

use std::time::Duration;

use triplicate::drill::wire::Moment;

use super::point::{ALL, Class, Point};
use super::post::{Armed, Door, Post};
use super::settled::{Kept, assert_settled};
use super::world::{Act, World};
use crate::support::provider::Provider;
use crate::support::{data, eventually};

/// How long a step, or a refill, may be waited for on a busy machine.
const WITHIN: Duration = Duration::from_secs(90);

/// A tombstone, an asset with a block list, and one of two parts.
fn acts() -> Vec<Act> {
    let put = |name: &str, bytes| Act::PutEverywhere(name.to_owned(), data::bytes(name, bytes));
    vec![
        put("repair/gone.bin", 900),
        Act::Delete("repair/gone.bin".to_owned()),
        put("repair/small.bin", 66_000),
        put("repair/parts.bin", (8 << 20) + 7),
    ]
}

/// Where the refill of the provider in `slot` can be cut short.
fn points(slot: usize) -> Vec<Point> {
    let (own, others) = (1 << slot, ALL ^ 1 << slot);
    let mut steps = vec![
        (Class::ReadRecord, others),
        (Class::ReadBytes, others),
        (Class::Part(0), own),
        (Class::Part(1), own),
        (Class::Blocks, own),
        (Class::Record, own),
        (Class::Feed, own),
        (Class::Canary, own),
    ];
    if slot == 2 {
        steps.push((Class::Describe, own));
    }
    let both =
        |(class, at)| [Moment::BeforeEffect, Moment::AfterEffect].map(|moment| Point { class, moment, at });
    steps.into_iter().flat_map(both).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refill_killed_at_any_step_is_taken_up_again() {
    let (world, mut posts) = World::with(1).await;
    let mut post = posts.remove(0);
    for act in acts() {
        world.act(&post.door(), &act).await;
    }
    let ledger = || std::mem::take(&mut *world.ledger.lock().unwrap());
    let written = ledger();
    assert_settled(&world.trio, &written, Kept::All).await;
    *world.ledger.lock().unwrap() = written;
    post.kill(Armed::nothing()).await;
    let mut killed = 0;
    // Each step at one provider: two makes of S3 server and Bunny take turns.
    for (number, point) in (0..3).flat_map(|slot| points(slot).into_iter().map(move |point| (slot, point))) {
        let turn = point.class.kind().len() + usize::from(point.moment == Moment::AfterEffect);
        if turn % 3 != number && point.class != Class::Describe {
            continue;
        }
        let wiped = world.trio.all()[number];
        wiped.wipe().await;
        if killed % 4 == 3 {
            post.gateway.delete_state();
        }
        let mut armed = post.arm(point);
        post.gateway.launch().await;
        let struck = tokio::time::timeout(WITHIN, armed.struck()).await;
        assert!(struck.is_ok(), "no such step: {point}\n{}", post.gateway.log());
        post.kill(armed).await;
        killed += 1;
        post.start(killed % 2 == 0).await;
        assert_all_read(&world, &post.door(), point).await;
        assert_refilled(&world, wiped, &post, point).await;
        assert_all_read(&world, &post.door(), point).await;
        post.kill(Armed::nothing()).await;
    }
    world.assert_no_violation();
    post.start(false).await;
    let report = post.gateway.audit(&["--audit=bytes"]).await;
    assert_eq!(report.outcome.code, 0, "{report:?}");
    println!("{killed} kills of a refill");
}

async fn assert_all_read(world: &World, door: &Door, point: Point) {
    for name in ["repair/gone.bin", "repair/small.bin", "repair/parts.bin"] {
        let shown = world.read(door, name, false).await;
        assert!(shown.is_some(), "nothing is said of {name} after {point}");
    }
}

/// The canary comes last, once all copies are there.
async fn assert_refilled(world: &World, wiped: &Provider, post: &Post, point: Point) {
    let canary = format!("canary/{}", wiped.name());
    eventually(&format!("the refill after {point} ends"), WITHIN, || async {
        wiped.get(&canary).await.map(drop)
    })
    .await;
    let ledger = std::mem::take(&mut *world.ledger.lock().unwrap());
    assert_settled(&world.trio, &ledger, Kept::All).await;
    *world.ledger.lock().unwrap() = ledger;
    assert!(post.gateway.log().contains("canar") || point.class == Class::Canary);
}
