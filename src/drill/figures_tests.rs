use super::*;

fn read(began: u64, end: u64, flaw: Option<FlawKind>) -> ReadFigures {
    ReadFigures {
        began: Duration::from_millis(began),
        first: Some(Duration::from_millis(end / 2)),
        end: Duration::from_millis(end),
        bytes: 10,
        asset: 3,
        flaw: flaw.map(|kind| Flaw::new(kind, "because")),
    }
}

#[test]
fn reads_are_counted_by_what_was_wrong_with_them() {
    let mut figures = Figures::new("a phase");
    for kind in FlawKind::ALL {
        figures.add(read(1, 1, Some(kind)));
        figures.add(read(1, 1, None));
    }
    let sums = figures.sums();
    assert_eq!((sums.reads, sums.bytes, sums.errors, sums.wrong), (12, 120, 3, 3));
    assert_eq!(figures.flawed(), 6);
    let names: Vec<_> = sums.flaws.keys().copied().collect();
    assert_eq!(names, ["header", "stale", "status", "truncated", "unanswered", "wrong_bytes"]);
    // The names in the sums are those of the examples.
    for example in figures.examples() {
        let name = serde_json::to_value(example.kind).unwrap();
        assert_eq!(sums.flaws[name.as_str().unwrap()], 1);
    }
}

#[test]
fn latencies_are_of_the_whole_phase_and_of_its_first_second() {
    let mut figures = Figures::new("a phase");
    for number in 0..1_000 {
        figures.add(read(number * 10, if number < 100 { 800 } else { 20 }, None));
    }
    let sums = figures.sums();
    let near = |value: f64, expected: f64| assert!((value - expected).abs() <= expected * 0.01, "{value}");
    near(sums.whole_ms.p50, 20.0);
    near(sums.whole_ms.p99, 800.0);
    near(sums.whole_ms.max, 800.0);
    near(sums.first_byte_ms.p50, 10.0);
    near(sums.first_second_ms.p50, 800.0);
    near(sums.later_ms.max, 20.0);
    assert_eq!(Figures::new("none").sums().whole_ms, Latency::default());
}

#[test]
fn only_so_many_examples_are_kept() {
    let mut figures = Figures::new("a phase");
    (0..100).for_each(|_| figures.add(read(5, 1, Some(FlawKind::Stale))));
    assert_eq!((figures.examples().len(), figures.flawed()), (EXAMPLES_MAX, 100));
    let example = &figures.examples()[0];
    assert_eq!((example.phase.as_str(), example.asset.as_str()), ("a phase", "drill/000003.bin"));
}
