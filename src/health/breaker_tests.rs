use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Opens a breaker at once.
fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::default();
    breaker.on_failure(ErrorKind::Denied, now, 1.0);
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

/// Brings an open breaker to HalfOpen, and returns when that was.
fn half_open(breaker: &mut Breaker) -> Instant {
    let (_, until) = breaker.open_since().unwrap();
    breaker.on_probe(until);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    until
}

#[tokio::test(start_paused = true)]
async fn what_opens_and_what_does_not() {
    /// s: success, a: unverified answer, p: progress, n: not found, f: fault, d: denied, c: no container
    fn run(outcomes: &str) -> BreakerState {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for outcome in outcomes.chars() {
            match outcome {
                's' => breaker.on_success(now),
                'a' => breaker.on_answer(now),
                'p' => breaker.on_progress(),
                'n' => breaker.on_failure(ErrorKind::NotFound, now, 0.5),
                'f' => breaker.on_failure(ErrorKind::Timeout, now, 0.5),
                'd' => breaker.on_failure(ErrorKind::Denied, now, 0.5),
                _ => breaker.on_failure(ErrorKind::NoContainer, now, 0.5),
            }
        }
        breaker.state()
    }
    for (outcomes, expected) in [
        ("ffff", BreakerState::Closed),
        ("fffff", BreakerState::Open),
        ("ffffsffff", BreakerState::Closed),
        ("ffffpffff", BreakerState::Closed),
        ("ffffnf", BreakerState::Open),
        ("ffffaf", BreakerState::Open),
        ("d", BreakerState::Open),
        ("c", BreakerState::Open),
        ("ssssssssff", BreakerState::Closed),
        ("sssssssfsff", BreakerState::Open),
        ("ssfssfssf", BreakerState::Closed),
        ("afafafafaf", BreakerState::Open),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaafsfsfsfsf", BreakerState::Closed),
    ] {
        assert_eq!(run(outcomes), expected, "{outcomes}");
    }
    assert_eq!(run(&"n".repeat(1_000)), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_half_failures_opens_after_ten_outcomes() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    let mut outcomes = 0;
    while breaker.state() == BreakerState::Closed {
        let now = start + ms(outcomes * 50);
        if outcomes % 2 == 0 {
            breaker.on_success(now);
        } else {
            breaker.on_failure(ErrorKind::Unavailable, now, 0.5);
        }
        outcomes += 1;
        assert!(outcomes < 100);
    }
    assert_eq!(outcomes, 10);
}

#[tokio::test(start_paused = true)]
async fn failures_long_ago_do_not_count() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    // Every second one fails, but only four within any ten seconds.
    for index in 0..1_000 {
        let now = start + ms(index * 2_500);
        if index % 2 == 0 {
            breaker.on_success(now);
        } else {
            breaker.on_failure(ErrorKind::Unavailable, now, 0.5);
        }
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_opens_within_a_second() {
    let start = Instant::now();
    for per_second in [10, 100, 1_000] {
        let mut breaker = Breaker::default();
        let mut index = 0;
        while breaker.state() == BreakerState::Closed {
            // Each is asked, and lost 200 ms later.
            breaker.on_strike(start + ms(200) + ms(1_000) * index / per_second, 0.5);
            index += 1;
        }
        let took = ms(200) + ms(1_000) * (index - 1) / per_second;
        assert!(took < ms(1_000), "{per_second} a second: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_races_between_successes_never_open() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    for index in 0..100_000_u64 {
        let now = start + ms(index * 10);
        // Every hundredth is slow, and in every tenth second a pause of 200 ms loses all.
        if index % 100 == 0 || index % 1_000 < 20 {
            breaker.on_strike(now, 0.5);
        } else {
            breaker.on_success(now);
        }
        assert_eq!(breaker.state(), BreakerState::Closed, "{index}");
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_and_looks_take_no_lost_race_back() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    for index in 0..5 {
        assert_eq!(breaker.state(), BreakerState::Closed);
        let now = start + ms(index * 100);
        breaker.on_strike(now, 0.5);
        breaker.on_sign(now);
        breaker.on_look(true, now);
        breaker.on_probe(now);
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn each_failed_probe_doubles_the_wait_up_to_a_minute() {
    let mut now = Instant::now();
    let mut breaker = opened(now);
    let mut waits = Vec::new();
    for _ in 0..9 {
        let (_, until) = breaker.open_since().unwrap();
        waits.push((until - now).as_secs());
        breaker.on_failed_probe(false, until - ms(1), 1.0);
        breaker.on_probe(until - ms(1));
        assert!(!breaker.is_probe_due(until - ms(1)));
        assert_eq!(breaker.open_since().unwrap().1, until, "a probe before its time says nothing");
        now = until;
        breaker.on_failed_probe(false, now, 1.0);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    for (die, expected) in [(0.0, 750), (0.5, 875), (1.0, 1_000)] {
        assert_eq!(wait(1, die), ms(expected), "dice spread the waits");
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_look_takes_failed_probes_back_but_not_failed_returns() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let mut now = start;
    for _ in 0..8 {
        now = breaker.open_since().unwrap().1;
        breaker.on_failed_probe(false, now, 1.0);
    }
    breaker.on_look(false, now + ms(5));
    assert!(breaker.is_probe_due(now + ms(5)), "away for long, back now");

    let mut breaker = opened(start);
    for _ in 0..3 {
        now = half_open(&mut breaker);
        breaker.on_failure(ErrorKind::Timeout, now, 1.0);
    }
    breaker.on_look(true, now + ms(5));
    assert_eq!(breaker.open_since(), Some((now, now + ms(8_000))));
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_a_due_probe_and_three_successes_close() {
    let mut breaker = opened(Instant::now());
    for _ in 0..100 {
        breaker.on_success(Instant::now());
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    let now = half_open(&mut breaker);
    breaker.on_answer(now);
    breaker.on_progress();
    breaker.on_success(now);
    breaker.on_success(now);
    breaker.on_failure(ErrorKind::NotFound, now, 1.0);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    breaker.on_success(now);
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.rate(now).outcomes(), 0, "old failures are forgotten");
}

#[tokio::test(start_paused = true)]
async fn any_failure_in_half_open_opens_for_longer() {
    for kind in [ErrorKind::Timeout, ErrorKind::Corrupt, ErrorKind::Denied] {
        let mut breaker = opened(Instant::now());
        let now = half_open(&mut breaker);
        breaker.on_success(now);
        breaker.on_failure(kind, now, 1.0);
        assert_eq!(breaker.open_since(), Some((now, now + ms(2_000))), "{kind:?}");
    }
    let mut breaker = opened(Instant::now());
    let now = half_open(&mut breaker);
    breaker.on_failed_probe(false, now, 1.0);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn probes_open_at_once_when_changed_and_after_three_when_failed() {
    let now = Instant::now();
    let mut breaker = Breaker::default();
    breaker.on_failed_probe(true, now, 1.0);
    assert_eq!(breaker.state(), BreakerState::Open);
    let mut breaker = Breaker::default();
    for expected in [BreakerState::Closed, BreakerState::Closed, BreakerState::Open] {
        // Reads go well: only writing fails.
        breaker.on_success(now);
        breaker.on_failed_probe(false, now, 1.0);
        assert_eq!(breaker.state(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_share_grows_for_ten_seconds_after_closing() {
    assert!((Breaker::default().share(Instant::now()) - 1.0).abs() < 1e-9, "a start is no return");
    let mut breaker = opened(Instant::now());
    let now = half_open(&mut breaker);
    (0..3).for_each(|_| breaker.on_success(now));
    for (after, expected) in [(0, 0.1), (5_000, 0.55), (10_000, 1.0), (60_000, 1.0)] {
        let share = breaker.share(now + ms(after));
        assert!((share - expected).abs() < 1e-9, "{after}: {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_doubling_is_forgotten_after_a_minute_in_closed() {
    for (closed_for, wait) in [(59_999, 2_000), (60_000, 1_000)] {
        let mut breaker = opened(Instant::now());
        let now = half_open(&mut breaker);
        (0..3).for_each(|_| breaker.on_success(now));
        let now = now + ms(closed_for);
        breaker.on_failure(ErrorKind::Denied, now, 1.0);
        assert_eq!(breaker.open_since(), Some((now, now + ms(wait))), "{closed_for}");
    }
}

/// Well in even seconds, failing in odd ones, a hundred requests a second, looks and probes four times a
/// second: about as hard as it can get for a breaker.
#[tokio::test(start_paused = true)]
async fn a_provider_that_flaps_each_second_is_switched_ever_less() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    let mut closings = Vec::new();
    for tick in 0..5 * 60 * 100_u64 {
        let now = start + ms(tick * 10);
        let well = tick / 100 % 2 == 0;
        let before = breaker.state();
        if tick % 25 == 0 {
            if well {
                breaker.on_look(true, now);
            }
            if breaker.is_probe_due(now) {
                if well { breaker.on_probe(now) } else { breaker.on_failed_probe(false, now, 0.5) }
            }
        }
        if well {
            breaker.on_success(now);
        } else {
            breaker.on_failure(ErrorKind::Unavailable, now, 0.5);
        }
        if before != BreakerState::Closed && breaker.state() == BreakerState::Closed {
            closings.push((now - start).as_secs());
        }
    }
    assert!((3..=10).contains(&closings.len()), "{closings:?}");
    let gaps: Vec<_> = closings.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.is_sorted() && gaps.last().is_some_and(|gap| *gap >= 50), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outlier_is_ejected_and_a_common_storm_ejects_nobody() {
    let now = Instant::now();
    let rate = |successes| Rate::new(successes, 100 - successes);
    // (own successes of a hundred, those of others, ejected)
    let table: [(u32, &[u32], bool); 6] = [
        (85, &[100, 100], true),
        (85, &[100, 90], false),
        (91, &[100, 100], false),
        (85, &[86, 84], false),
        (85, &[100], false),
        (100, &[100, 100], false),
    ];
    for (own, others, ejected) in table {
        let mut breaker = Breaker::default();
        for index in 0..100 {
            // Evenly spread, so that no row and no share below 80 % opens it before.
            if (index * (100 - own)) % 100 < 100 - own {
                breaker.on_failure(ErrorKind::Timeout, now, 0.5);
            } else {
                breaker.on_success(now);
            }
            if index == 0 {
                breaker.on_success(now);
            }
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        let others: Vec<_> = others.iter().map(|successes| rate(*successes)).collect();
        breaker.eject_outlier(&others, now, 0.5);
        assert_eq!(breaker.state() == BreakerState::Open, ejected, "{own} {others:?}");
    }
}
