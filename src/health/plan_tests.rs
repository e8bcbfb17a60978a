use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A healthy provider with a load in milliseconds.
fn healthy(slot: usize, load: f64) -> Standing {
    Standing {
        slot: Slot(slot),
        state: BreakerState::Closed,
        turn: true,
        missing: false,
        share: 1.0,
        load: load / 1_000.0,
        preferred: false,
        expected: ms(load as u64),
        hedge_after: ms(50 + slot as u64),
        stall_after: ms(500),
    }
}

fn order(standings: &[Standing]) -> Vec<usize> {
    rank(standings.to_vec(), None).iter().map(|candidate| candidate.slot.0).collect()
}

/// A seeded die.
fn dice(seed: u64) -> impl Iterator<Item = u64> {
    println!("seed {seed}");
    (1..).map(move |index: u64| {
        let mixed = (seed ^ index).wrapping_mul(0x2545_f491_4f6c_dd1d);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xd6e8_feb8_6659_fd93)
    })
}

#[test]
fn orders_by_table() {
    let open = |standing| Standing { state: BreakerState::Open, ..standing };
    let half = |turn, standing| Standing { state: BreakerState::HalfOpen, turn, ..standing };
    let missing = |standing| Standing { missing: true, ..standing };
    let preferred = |standing| Standing { preferred: true, ..standing };
    let table = [
        ("by load", [healthy(0, 30.0), healthy(1, 10.0), healthy(2, 20.0)], [1, 2, 0]),
        ("equal by slot", [healthy(0, 10.0), healthy(1, 10.0), healthy(2, 10.0)], [0, 1, 2]),
        ("preferred when near", [healthy(0, 10.0), preferred(healthy(1, 12.0)), healthy(2, 11.0)], [1, 0, 2]),
        ("not when far", [healthy(0, 10.0), preferred(healthy(1, 13.0)), healthy(2, 30.0)], [0, 1, 2]),
        (
            "never over health",
            [healthy(0, 90.0), open(preferred(healthy(1, 1.0))), healthy(2, 91.0)],
            [0, 2, 1],
        ),
        ("open last", [open(healthy(0, 1.0)), healthy(1, 10.0), healthy(2, 20.0)], [1, 2, 0]),
        ("missing behind", [missing(healthy(0, 1.0)), healthy(1, 10.0), open(healthy(2, 1.0))], [1, 0, 2]),
        ("half-open in place", [half(true, healthy(0, 1.0)), healthy(1, 10.0), healthy(2, 20.0)], [0, 1, 2]),
        ("half-open by one", [half(false, healthy(0, 1.0)), healthy(1, 10.0), healthy(2, 20.0)], [1, 2, 0]),
        (
            "all open by load",
            [open(healthy(0, 3.0)), open(healthy(1, 2.0)), open(healthy(2, 1.0))],
            [2, 1, 0],
        ),
        (
            "all down by load",
            [open(healthy(0, 3.0)), half(false, healthy(1, 2.0)), open(healthy(2, 1.0))],
            [2, 1, 0],
        ),
    ];
    for (case, standings, expected) in table {
        assert_eq!(order(&standings), expected, "{case}");
    }
    let plan = rank(vec![healthy(0, 1.0), open(healthy(1, 1.0)), missing(healthy(2, 1.0))], None);
    assert_eq!(plan.iter().map(|candidate| candidate.healthy).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn one_plan_in_a_hundred_explores() {
    let standings = [healthy(0, 10.0), healthy(1, 20.0), healthy(2, 30.0)];
    let mut firsts = [0_u32; 3];
    for die in dice(0x7219).take(100_000) {
        let plan = rank(standings.to_vec(), Some(die));
        firsts[plan[0].slot.0] += 1;
        assert!(
            plan[0].hedge_after <= ms(100),
            "whoever is tried out is waited for twice as long as the best at most"
        );
        assert_eq!(plan.len(), 3);
    }
    let explored = firsts[1] + firsts[2];
    assert!((900..=1_100).contains(&explored), "{firsts:?}");
    assert!(firsts[1].abs_diff(firsts[2]) < 150, "all are explored alike: {firsts:?}");
}

#[test]
fn nobody_unhealthy_is_explored() {
    let open = Standing { state: BreakerState::Open, ..healthy(1, 1.0) };
    let missing = Standing { missing: true, ..healthy(2, 1.0) };
    for die in dice(5).take(10_000) {
        assert_eq!(rank(vec![healthy(0, 10.0), open, missing], Some(die))[0].slot, Slot(0));
        // While all are down the load decides.
        assert_eq!(rank(vec![open], Some(die))[0].slot, Slot(1));
    }
    assert!(rank(Vec::new(), Some(0)).is_empty());
}

#[test]
fn a_provider_that_was_closed_a_moment_ago_gets_its_share() {
    for share in [0.1, 0.55] {
        let starting = Standing { share, ..healthy(0, 1.0) };
        let plans = dice(9).take(20_000);
        let first = plans.filter(|die| {
            let plan = rank(vec![starting, healthy(1, 10.0), healthy(2, 20.0)], Some(*die));
            let at = plan.iter().position(|candidate| candidate.slot == Slot(0)).unwrap();
            assert_ne!(plan[at].slot, Slot(1));
            at == 0
        });
        let told = first.count() as f64 / 20_000.0;
        assert!((told - share).abs() < 0.03, "{share}: {told}");
    }
    // Behind the healthy, but before those that are down.
    let starting = Standing { share: 0.0, ..healthy(0, 1.0) };
    let open = Standing { state: BreakerState::Open, ..healthy(1, 1.0) };
    let plan = rank(vec![starting, open, healthy(2, 20.0)], Some(3));
    assert_eq!(plan.iter().map(|candidate| candidate.slot.0).collect::<Vec<_>>(), [2, 0, 1]);
}
