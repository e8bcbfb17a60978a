use super::*;

const V: [&str; 3] = ["0000000000000001-A", "0000000000000002-B", "0000000000000003-C"];

fn door(url: &str) -> Door {
    Door::to(url)
}

fn acked(ledger: &mut Ledger, hash: Option<&str>, version: &str, door: &Door) {
    let id = ledger.begin_write("a.bin", hash.map(str::to_owned), door);
    ledger.end_write(id, End::Acked(version.to_owned()));
}

fn ended(ledger: &mut Ledger, hash: Option<&str>, end: End, door: &Door) {
    let id = ledger.begin_write("a.bin", hash.map(str::to_owned), door);
    ledger.end_write(id, end);
}

fn bytes(version: &str, hash: &str) -> Shown {
    Shown::Bytes { version: version.to_owned(), hash: hash.to_owned() }
}

/// Reads once after `before`, and returns how many violations there are.
fn violations(before: impl FnOnce(&mut Ledger, &Door), shown: &Shown) -> usize {
    let (mut ledger, own) = (Ledger::default(), door("own"));
    before(&mut ledger, &own);
    let ticket = ledger.begin_read("a.bin", &own, false);
    ledger.end_read(&ticket, shown);
    ledger.violations.len()
}

#[test]
fn what_breaks_a_promise_is_a_violation() {
    let two = |ledger: &mut Ledger, own: &Door| {
        acked(ledger, Some("one"), V[0], own);
        acked(ledger, Some("two"), V[1], own);
    };
    let deleted = |ledger: &mut Ledger, own: &Door| {
        acked(ledger, Some("one"), V[0], own);
        acked(ledger, None, V[1], own);
    };
    assert_eq!(violations(two, &bytes(V[0], "one")), 1, "an older version");
    assert_eq!(violations(two, &Shown::Absent), 1, "a false 404");
    assert_eq!(violations(two, &bytes(V[2], "two")), 1, "another version than the receipt said");
    assert_eq!(violations(two, &bytes(V[2], "three")), 1, "bytes that nobody wrote");
    assert_eq!(violations(deleted, &bytes(V[0], "one")), 1, "a resurrection");
    assert_eq!(violations(deleted, &Shown::Absent), 0);
    assert_eq!(violations(two, &bytes(V[1], "two")), 0);
    let never = |ledger: &mut Ledger, own: &Door| ended(ledger, Some("one"), End::Never, own);
    assert_eq!(violations(never, &bytes(V[0], "one")), 1, "what was not committed");
    let reordered = |ledger: &mut Ledger, own: &Door| {
        acked(ledger, Some("two"), V[1], own);
        std::thread::sleep(Duration::from_millis(1));
        acked(ledger, Some("one"), V[0], own);
    };
    assert_eq!(violations(reordered, &bytes(V[1], "two")), 1, "a later write below an earlier one");
}

#[test]
fn an_unknown_write_may_show_or_not_and_hides_nothing_that_began_after_its_end() {
    let before = |ledger: &mut Ledger, own: &Door| {
        acked(ledger, Some("one"), V[0], own);
        ended(ledger, Some("two"), End::Unknown, own);
    };
    assert_eq!(violations(before, &bytes(V[0], "one")), 0);
    assert_eq!(violations(before, &bytes(V[1], "two")), 0);
    assert_eq!(violations(before, &Shown::Absent), 1);
    let deleted = |ledger: &mut Ledger, own: &Door| {
        acked(ledger, Some("one"), V[0], own);
        ended(ledger, None, End::Unknown, own);
    };
    assert_eq!(violations(deleted, &Shown::Absent), 0);
    let written_again = |ledger: &mut Ledger, own: &Door| {
        ended(ledger, None, End::Unknown, own);
        std::thread::sleep(Duration::from_millis(1));
        acked(ledger, Some("one"), V[0], own);
    };
    assert_eq!(violations(written_again, &Shown::Absent), 1, "an old deletion hides nothing newer");
}

#[test]
fn reads_of_one_life_never_go_backwards() {
    let (mut ledger, own, other) = (Ledger::default(), door("own"), door("other"));
    acked(&mut ledger, Some("one"), V[0], &own);
    ended(&mut ledger, Some("two"), End::Unknown, &own);
    for (hash, version, at, expected) in
        [("two", V[1], &own, 0), ("one", V[0], &other, 0), ("one", V[0], &own, 1)]
    {
        let ticket = ledger.begin_read("a.bin", at, false);
        ledger.end_read(&ticket, &bytes(version, hash));
        assert_eq!(ledger.violations.len(), expected, "{hash} at {}", at.url);
    }
}
