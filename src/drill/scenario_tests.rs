use super::*;

fn names() -> Vec<String> {
    ["s3-one", "s3-two", "bunny"].map(str::to_owned).to_vec()
}

fn read(text: &str) -> Result<Scenario, crate::config::ConfigErrors> {
    parse(text, "test.yaml", Providers(&names()), &|_| Err(std::env::VarError::NotPresent))
}

#[test]
fn a_scenario_is_read_with_its_defaults() {
    let scenario = read("name: a\nphases: [{ name: b, reads: 7 }]").unwrap();
    assert_eq!((scenario.name.as_str(), scenario.seed, scenario.about.as_str()), ("a", 1, ""));
    let Load { readers, assets, ranges, writers, cache_bytes, together, hedging, .. } = scenario.load;
    assert_eq!((readers, assets, ranges, writers, cache_bytes), (16, 200, 0.1, 0, 0));
    assert_eq!((together, hedging), (false, true));
    assert_eq!(scenario.load.sizes.iter().map(|class| class.weight).collect::<Vec<_>>(), [90, 9, 1]);
    assert_eq!((scenario.load.reads_per_second, scenario.load.writes_per_second), (None, None));
    let phase = &scenario.phases[0];
    assert_eq!((phase.reads, phase.length, phase.until), (Some(7), None, None));
}

#[test]
fn every_key_is_read() {
    let scenario = read(
        "name: a\nabout: b\nseed: 9\n\
         load: { readers: 2, assets: 3, sizes: [{ from: 1KiB, to: 2KiB }], ranges: 0%, pace: 5/s, writers: 1,\n\
         \x20 writes: 2.5/s, deletes: 5%, cache: 1MiB, together: false, hedging: false }\n\
         phases:\n\
         \x20 - { name: one, for: 10s, reads: 5, faults: [\n\
         \x20     { at: second, fault: slow-first-byte, share: 1%, methods: [GET], prefix: blobs/, delay: 3s },\n\
         \x20     { at: all, fault: reset, after: 12KiB }, { at: bunny, fault: 401 }, { at: bunny, fault: throttled }] }\n\
         \x20 - { name: two, until: recovered, for: 1m }\n\
         \x20 - { name: three, writers: rest, for: 1m }\n",
    )
    .unwrap();
    let load = &scenario.load;
    assert_eq!(load.sizes, [SizeClass { from: 1024, to: 2048, weight: 1 }]);
    assert_eq!((load.reads_per_second, load.writes_per_second), (Some(5.0), Some(2.5)));
    assert_eq!((load.ranges, load.deletes, load.cache_bytes, load.hedging), (0.0, 0.05, 1 << 20, false));
    let [slow, reset, key, throttled] = &scenario.phases[0].faults[..] else { panic!("four faults") };
    assert_eq!((slow.slots.as_slice(), slow.kind, slow.share), (&[1][..], Kind::SlowFirstByte, 0.01));
    assert_eq!((slow.methods.as_slice(), slow.prefix.as_deref()), (&[Method::GET][..], Some("blobs/")));
    assert_eq!(slow.delay, Some(Duration::from_secs(3)));
    assert_eq!((reset.slots.as_slice(), reset.after), (&[0, 1, 2][..], Some(12 << 10)));
    assert_eq!((key.slots.as_slice(), key.kind, key.share), (&[2][..], Kind::Unauthorised, 1.0));
    assert_eq!((throttled.share, scenario.phases[0].faulty()), (0.5, vec![0, 1, 2]));
    let two = &scenario.phases[1];
    assert_eq!((two.length, two.until), (Some(Duration::from_mins(1)), Some(Until::Recovered)));
    let rests = scenario.phases.iter().map(|phase| phase.writers_rest);
    assert_eq!(rests.collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn the_documented_scenario_can_be_played() {
    let text = include_str!("../../docs/scenario.yaml");
    let scenario = read(text).unwrap();
    assert_eq!((scenario.load.writers, scenario.load.reads_per_second), (2, Some(500.0)));
    assert_eq!(scenario.phases.len(), 3);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    const START: &str = "name: a\n";
    const PHASES: &str = "phases: [{ name: b, reads: 1 }]\n";
    let fault = |fault: &str| format!("{START}phases:\n  - {{ name: b, reads: 1, faults: [{{ {fault} }}] }}");
    let load = |load: &str| format!("{START}{PHASES}load: {{ {load} }}");
    let table = [
        (String::new(), "test.yaml:1:1: the scenario is empty"),
        (PHASES.to_owned(), "name: is missing"),
        (START.to_owned(), "phases: is missing"),
        (format!("{START}phases: []"), "has no phase"),
        (format!("{START}phases: 7"), "must be a list"),
        (format!("{START}{PHASES}phase: 1"), "test.yaml:3:1: phase: unknown key; did you mean `phases`?"),
        (format!("{START}{PHASES}seed: -1"), "is not a whole number"),
        (format!("{START}phases: [{{ name: b }}]"), "has no end: add `reads: 2000` or `for: 10s`"),
        (format!("{START}phases: [{{ name: b, reads: 0 }}]"), "is not a whole number from 1"),
        (format!("{START}phases: [{{ name: b, for: 2 }}]"), "is not a duration"),
        (format!("{START}phases: [{{ name: b, for: 25h }}]"), "is out of range"),
        (format!("{START}phases: [{{ name: b, reads: 1, until: recovered }}]"), "needs `for`"),
        (format!("{START}phases: [{{ name: b, reads: 1, until: healthy }}]"), "needs `for`"),
        (format!("{START}phases: [{{ name: b, for: 1s, until: noon }}]"), "is nothing to wait for"),
        (format!("{START}phases: [{{ name: b, for: 1s, writers: run }}]"), "is nothing that writers do"),
        (fault("fault: reset"), "at: is missing"),
        (fault("at: first"), "fault: is missing"),
        (
            fault("at: fourth, fault: reset"),
            "`fourth` is not a provider of this drill: s3-one, s3-two, bunny, first",
        ),
        (fault("at: first, fault: resett"), "did you mean `reset`?"),
        (fault("at: first, fault: tsunami"), "is not a fault: refused, black-hole"),
        (fault("at: first, fault: reset, share: 2"), "is not a share"),
        (fault("at: first, fault: reset, share: 101%"), "is not a share"),
        (fault("at: first, fault: refused, share: 50%"), "share: has no meaning for `refused`"),
        (fault("at: first, fault: wiped, prefix: blobs/"), "prefix: has no meaning for `wiped`"),
        (fault("at: first, fault: reset, delay: 1s"), "delay: has no meaning for `reset`"),
        (fault("at: first, fault: gzip, after: 1KiB"), "after: has no meaning for `gzip`"),
        (fault("at: first, fault: reset, methods: [FETCH]"), "is not a method"),
        (load("readers: 0"), "is not a whole number from 1"),
        (load("sizes: []"), "has no class"),
        (load("sizes: [{ from: 2KiB, to: 1KiB }]"), "from the larger size to the smaller"),
        (load("sizes: [{ from: 0, to: 1KiB }]"), "is empty"),
        (load("sizes: [{ from: 1KiB, to: 2GiB }]"), "is more than 1GiB"),
        (load("pace: 500"), "is not a rate"),
        (load("pace: 5/s, together: true"), "pace: has no meaning"),
        (load("writes: 5/s"), "writes: needs `writers`"),
        (load("assets: 1, writers: 2"), "is more than there are assets"),
    ];
    for (text, fragment) in table {
        let told = read(&text).map(|scenario| format!("{scenario:?}")).unwrap_err().to_string();
        assert!(told.contains(fragment), "{text}\n{told}\nlacks: {fragment}");
    }
}

#[test]
fn all_errors_of_a_scenario_are_told_together() {
    let errors = read("name: a\nsed: 1\nload: { readers: x }\nphases: [{ name: b }, { name: c, reads: y }]")
        .unwrap_err();
    let places: Vec<_> = errors.problems().iter().map(|problem| problem.at.map(|at| at.line)).collect();
    assert_eq!(places, [Some(2), Some(3), Some(4), Some(4)]);
}

#[test]
fn every_built_in_drill_can_be_played() {
    let names = names();
    let all = builtin::all();
    assert_eq!(all.len(), Kind::ALL.len() + 9);
    for (name, about) in all {
        let scenario = builtin::find(&name, Providers(&names)).unwrap().unwrap();
        assert_eq!(scenario.name, name);
        assert!(!about.is_empty() && !scenario.phases.is_empty(), "{name}");
        for phase in &scenario.phases {
            assert!(phase.reads.is_some() || phase.length.is_some(), "{name}: {} has no end", phase.name);
            assert!(phase.faulty().iter().all(|slot| *slot < names.len()), "{name}");
        }
    }
    assert!(builtin::find("nope", Providers(&names)).is_none());
}

#[test]
fn a_drill_of_one_fault_plays_it_at_each_provider_with_a_recovery_after_it() {
    let names = names();
    for kind in Kind::ALL {
        let scenario = builtin::find(kind.name(), Providers(&names)).unwrap().unwrap();
        let mut faulty = Vec::new();
        for (number, phase) in
            scenario.phases.iter().enumerate().filter(|(_, phase)| !phase.faults.is_empty())
        {
            assert_eq!(phase.faults[0].kind, kind);
            assert!(scenario.phases[number + 1].until.is_some(), "{kind:?}");
            faulty.extend(phase.faulty());
        }
        assert_eq!(faulty, [0, 1, 2], "{kind:?}");
        let expected = if kind.is_of_ranges() { 0.9 } else { 0.001 };
        assert!((scenario.load.ranged() - expected).abs() < 1e-9, "{kind:?}: {}", scenario.load.ranged());
    }
}

#[test]
fn the_matrix_plays_every_fault_at_every_provider() {
    let matrix = builtin::find("matrix", Providers(&names())).unwrap().unwrap();
    let played: Vec<_> =
        matrix.phases.iter().flat_map(|phase| &phase.faults).map(|fault| fault.kind).collect();
    assert_eq!(played, Kind::ALL.into_iter().flat_map(|kind| [kind; 3]).collect::<Vec<_>>());
    assert_eq!(matrix.phases[0].name, "healthy");
}

#[test]
fn scaling_leaves_phases_alone_that_end_by_time() {
    let mut scenario = read("name: a\nphases: [{ name: b, reads: 7 }, { name: c, for: 1s }]").unwrap();
    scenario.scale(100_000);
    let reads: Vec<_> = scenario.phases.iter().map(|phase| phase.reads).collect();
    assert_eq!(reads, [Some(100_000), None]);
}
