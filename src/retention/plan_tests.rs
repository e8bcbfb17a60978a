use super::*;
use crate::asset::{Order, UploadId};

const HOUR: u64 = 3_600_000;
const NOW: u64 = 1_000 * HOUR;
const RULES: Rules = Rules { retention_ms: 10 * HOUR, majority: 2, settled_ms: NOW - HOUR };

fn version(number: u64) -> Version {
    Version { order: Order::from_unix_ms(number), upload: UploadId::new(number, 1) }
}

/// One provider's records: number, kind (upper case: complete), hours since it was stored (0: not told).
fn shelf(records: &[(u64, char, u64)]) -> Shelf {
    let copy = |(number, kind, hours): &(u64, char, u64)| {
        let stored_ms = (*hours > 0).then(|| NOW - hours * HOUR);
        let complete = kind.is_ascii_uppercase();
        let kind = if kind.eq_ignore_ascii_case(&'p') { Kind::Put } else { Kind::Del };
        (version(*number), Copy { kind, stored_ms, complete })
    };
    Shelf { now_ms: NOW, copies: records.iter().map(copy).collect() }
}

fn view(shelves: [&[(u64, char, u64)]; 3], unlisted: &[(u64, Kind)]) -> View {
    let shelves = shelves.map(shelf).to_vec();
    let listed = shelves.iter().flat_map(|shelf| shelf.copies.iter().map(|(v, copy)| (*v, copy.kind)));
    let unlisted = unlisted.iter().map(|(number, kind)| (version(*number), *kind));
    View { known: listed.chain(unlisted).collect(), shelves }
}

/// What goes: slot and number of each copy, the lone tombstone, what is forgotten.
fn brief(view: &View) -> (Vec<(usize, u64)>, Option<u64>, Vec<u64>) {
    let number = |version: Version| version.order.unix_ms();
    let plan = plan(view, RULES);
    (
        plan.remove.iter().map(|(slot, version, _)| (slot.0, number(*version))).collect(),
        plan.lone_tombstone.map(number),
        plan.forget.into_iter().map(number).collect(),
    )
}

#[test]
fn copies_go_only_for_the_sake_of_an_old_version_that_a_majority_holds() {
    type Records = &'static [(u64, char, u64)];
    type Case = (&'static str, [Records; 3], Vec<(usize, u64)>);
    let all = vec![(0, 1), (1, 1), (2, 1)];
    let old: Records = &[(1, 'P', 90), (2, 'P', 11)];
    let young: Records = &[(1, 'P', 90), (2, 'P', 9)];
    let untold: Records = &[(1, 'P', 90), (2, 'P', 0)];
    let unfinished: Records = &[(1, 'P', 90), (2, 'p', 11)];
    let lacking: Records = &[(1, 'P', 90)];
    let deleted: Records = &[(1, 'P', 90), (2, 'D', 11)];
    let just_deleted: Records = &[(1, 'P', 90), (2, 'D', 9)];
    let table: &[Case] = &[
        ("superseded everywhere for long", [old; 3], all.clone()),
        ("at the retention exactly it stays", [&[(1, 'P', 90), (2, 'P', 10)]; 3], vec![]),
        ("superseded lately", [young; 3], vec![]),
        ("nobody tells when", [untold; 3], vec![]),
        ("one clock alone says that it is long", [old, young, young], vec![]),
        ("two say so: it goes", [old, old, young], all.clone()),
        ("two say so, and one tells nothing", [old, old, untold], all.clone()),
        ("a majority lacks the newer one", [old, lacking, lacking], vec![]),
        ("a majority has it unfinished", [old, unfinished, unfinished], vec![]),
        ("where the newer one lacks the older stays", [old, old, lacking], vec![(0, 1), (1, 1)]),
        ("a half removed copy goes on going", [old, old, &[(1, 'p', 90), (2, 'P', 11)]], all.clone()),
        ("deleted for long", [deleted; 3], all.clone()),
        ("deleted lately", [just_deleted; 3], vec![]),
        ("the majority's clocks decide on deletions", [deleted, deleted, just_deleted], all),
        ("but the tombstone must be there", [deleted, deleted, lacking], vec![(0, 1), (1, 1)]),
        ("the only version", [&[(1, 'P', 900)]; 3], vec![]),
        (
            "an older one may go for the sake of one that stays",
            [&[(1, 'P', 90), (2, 'P', 50), (3, 'P', 1)]; 3],
            vec![(0, 1), (1, 1), (2, 1)],
        ),
        (
            "a tombstone that was superseded goes like any version",
            [&[(1, 'D', 90), (2, 'P', 50)]; 3],
            vec![(0, 1), (1, 1), (2, 1)],
        ),
        (
            "a newer version of a minority changes nothing",
            [&[(1, 'P', 90), (2, 'P', 50)], lacking, lacking],
            vec![],
        ),
    ];
    for (case, shelves, expected) in table {
        assert_eq!(brief(&view(*shelves, &[])), (expected.clone(), None, vec![]), "{case}");
    }
}

#[test]
fn the_keeper_is_the_newest_that_is_fit() {
    let view = view([&[(1, 'P', 90), (2, 'P', 50), (3, 'P', 11), (4, 'P', 1)]; 3], &[]);
    let plan = plan(&view, RULES);
    assert_eq!(plan.keepers, BTreeSet::from([version(3)]));
    assert_eq!(plan.expired(), [version(1), version(2)]);
}

#[test]
fn a_tombstone_goes_last_and_only_on_the_word_of_all() {
    let alone = &[(2, 'D', 11)][..];
    let table = [
        ("alone everywhere", view([alone; 3], &[]), Some(2)),
        ("one provider misses it", view([alone, alone, &[]], &[]), None),
        ("one has it unfinished", view([alone, alone, &[(2, 'd', 11)]], &[]), None),
        ("an older version is somewhere", view([alone, alone, &[(1, 'p', 90), (2, 'D', 11)]], &[]), None),
        ("a newer version is somewhere", view([alone, alone, &[(2, 'D', 11), (3, 'p', 1)]], &[]), None),
        ("it is young", view([&[(2, 'D', 9)]; 3], &[]), None),
        ("a majority of clocks calls it old", view([alone, alone, &[(2, 'D', 9)]], &[]), Some(2)),
        ("an asset is no tombstone", view([&[(2, 'P', 11)]; 3], &[]), None),
        ("its stamp is still to come", view([&[(NOW + 1, 'D', 11)]; 3], &[]), None),
        ("the index knows of leftovers", view([alone; 3], &[(1, Kind::Put)]), None),
    ];
    for (case, view, expected) in table {
        let (_, tombstone, _) = brief(&view);
        assert_eq!(tombstone, expected, "{case}");
    }
}

#[test]
fn only_what_nobody_lists_is_forgotten_and_for_a_reason() {
    let (put, del) = (Kind::Put, Kind::Del);
    let table = [
        ("below one that expired it", view([&[(2, 'P', 11)]; 3], &[(1, put)]), vec![1]),
        ("below one that is young", view([&[(2, 'P', 9)]; 3], &[(1, put)]), vec![]),
        ("above what is listed", view([&[(2, 'P', 11)]; 3], &[(3, put)]), vec![]),
        ("a deleted name that vanished", view([&[]; 3], &[(1, put), (2, del)]), vec![1, 2]),
        ("an asset that vanished is a loss", view([&[]; 3], &[(1, put)]), vec![]),
        ("deleted a moment ago", view([&[]; 3], &[(NOW, del)]), vec![]),
    ];
    for (case, view, expected) in table {
        assert_eq!(brief(&view).2, expected, "{case}");
    }
}

#[test]
fn the_brake_knows_small_sets_and_large_ones() {
    for (held, expected) in
        [(0, 100), (50, 100), (10_000, 100), (10_099, 100), (10_100, 101), (1_000_000, 10_000)]
    {
        assert_eq!(allowance(held), expected, "{held}");
    }
}
