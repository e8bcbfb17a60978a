use super::*;

const SHIFT: Duration = Duration::from_millis(100);

/// Works for so long at the pace of the regulator; a piece takes `piece`, and reads in shifts take `slowed` for each
/// piece that is under way, the others 5 ms. Returns the blocks made a second in the last half.
fn work(regulator: &mut Regulator, length: Duration, piece: Duration, slowed: Duration, reads: u64) -> f64 {
    let (mut now, mut blocks, mut took) = (Duration::ZERO, 0, Duration::ZERO);
    let mut owed = 0.0;
    while now < length {
        let Pacing { at_once, rest_factor } = regulator.pacing();
        let made = (SHIFT.as_secs_f64() / piece.as_secs_f64() * at_once as f64).ceil() as u64;
        let floor = Duration::from_secs_f64(made as f64 / BEHIND_BELOW).saturating_sub(SHIFT);
        let rest = SHIFT.mul_f64(rest_factor).min(floor).max(SHIFT.mul_f64(REST_MIN));
        for (in_shift, span) in [(true, SHIFT), (false, rest)] {
            owed += reads as f64 * span.as_secs_f64();
            while owed >= 1.0 {
                owed -= 1.0;
                let more = if in_shift { slowed * at_once as u32 } else { Duration::ZERO };
                regulator.felt.note(in_shift, Duration::from_millis(5) + more);
            }
        }
        regulator.shift(SHIFT, rest, made);
        now += SHIFT + rest;
        if now > length / 2 {
            blocks += made;
            took += SHIFT + rest;
        }
    }
    blocks as f64 / took.as_secs_f64()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn the_pace_follows_what_clients_feel_within_its_bounds() {
    // (pace, harm, behind) and the next pace
    for (pace, harm, is_behind, expected) in [
        (0.5, Some(1.0), false, 0.5 / 0.7),
        (0.5, Some(HARM_MAX), false, 0.5 / 0.7),
        (0.5, Some(1.06), false, 0.35),
        (0.5, Some(50.0), false, 0.35),
        (PACE_MIN, Some(2.0), false, PACE_MIN),
        (PACE_MAX, Some(1.0), false, PACE_MAX),
        // Little knowledge leads back to the middle, from both sides.
        (PACE_UNKNOWN, None, false, PACE_UNKNOWN),
        (2.0, None, false, 1.0),
        (0.125, None, false, 0.25),
        // Behind the floor it rises though clients feel it, but only so far.
        (0.5, Some(2.0), true, 0.5 / 0.7),
        (0.5, None, true, 0.5 / 0.7),
        (1.5, Some(2.0), true, 1.6),
        (3.2, Some(2.0), true, 2.24),
        (3.2, Some(1.0), true, 3.2 / 0.7),
    ] {
        let next = next(pace, harm, is_behind);
        assert!((next - expected).abs() < 1e-9, "{pace} {harm:?} {is_behind}: {next}");
    }
}

#[test]
fn a_pace_means_pieces_at_once_and_rests() {
    for (pace, at_once, rest_factor) in [
        (PACE_MIN, 1, 16.0),
        (0.5, 1, 1.0),
        (0.8, 1, 0.25),
        (1.0, 2, 1.0),
        (1.6, 2, 0.25),
        (PACE_MAX, 8, 0.25),
    ] {
        let regulator = Regulator { pace, ..Regulator::new() };
        let told = regulator.pacing();
        assert_eq!(told.at_once, at_once, "{pace}");
        assert!((told.rest_factor - rest_factor).abs() < 1e-9, "{pace}: {told:?}");
    }
}

#[test]
fn work_that_nobody_feels_ends_at_full_pace_and_work_that_hurts_at_the_floor() {
    let mut regulator = Regulator::new();
    let rate = work(&mut regulator, Duration::from_secs(60), ms(100), Duration::ZERO, 300);
    assert!(regulator.pace > 6.0 && rate > 50.0, "{} {rate}", regulator.pace);
    // Clients begin to feel it.
    let rate = work(&mut regulator, Duration::from_secs(120), ms(10), ms(5), 300);
    assert!(regulator.pace < 0.2, "{}", regulator.pace);
    assert!((BEHIND_BELOW..BEHIND_BELOW * 1.2).contains(&rate), "{rate}");
    // And no longer do.
    work(&mut regulator, Duration::from_secs(60), ms(10), Duration::ZERO, 300);
    assert!(regulator.pace > 1.0, "{}", regulator.pace);
}

#[test]
fn slow_pieces_are_made_at_the_floor_by_two_at_once_at_most_while_they_hurt() {
    let mut regulator = Regulator::new();
    work(&mut regulator, Duration::from_secs(120), ms(500), ms(5), 300);
    assert_eq!(regulator.pacing().at_once, 2, "{}", regulator.pace);
}

#[test]
fn few_reads_leave_the_pace_in_the_middle() {
    let mut regulator = Regulator { pace: PACE_MAX, ..Regulator::new() };
    work(&mut regulator, Duration::from_secs(300), ms(10), ms(50), 1);
    assert!((0.45..0.6).contains(&regulator.pace), "{}", regulator.pace);
}
