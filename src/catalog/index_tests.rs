use super::*;

fn name(text: &str) -> NameHash {
    text.parse::<crate::asset::AssetName>().unwrap().hash()
}

fn version(order: u64) -> Version {
    Version { order: Order::new(order), upload: UploadId::from_bytes(u128::from(order).to_be_bytes()) }
}

fn seen(text: &str, order: u64, holders: &[usize]) -> Sighting {
    Sighting {
        name: name(text),
        version: version(order),
        kind: Kind::Put,
        holders: holders.iter().copied().map(Slot).collect(),
        record: Some((text.to_owned(), vec![1, 2, 3])),
    }
}

fn providers() -> Vec<String> {
    ["a", "b", "c"].map(str::to_owned).to_vec()
}

fn open(dir: &tempfile::TempDir) -> (Index, bool) {
    Index::open(&dir.path().join("index.sqlite"), &providers()).unwrap()
}

#[test]
fn versions_come_newest_first_with_their_missing_copies() {
    let dir = tempfile::tempdir().unwrap();
    let (index, _) = open(&dir);
    index.apply(&[seen("x", 5, &[0]), seen("x", u64::MAX, &[1, 2]), seen("y", 7, &[0, 1, 2])]).unwrap();
    index.apply(&[seen("x", 5, &[2])]).unwrap();
    let versions = index.versions(name("x")).unwrap();
    let summary: Vec<_> = versions.iter().map(|v| (v.version.order.get(), v.missing)).collect();
    assert_eq!(summary, [(u64::MAX, 0b001), (5, 0b010)]);
    assert_eq!(index.missing_at(Slot(0)).unwrap(), 1);
    let incomplete: Vec<_> = index.incomplete(0b011, 10, 0).unwrap();
    let orders: Vec<_> = incomplete.iter().map(|version| version.version.order.get()).collect();
    assert_eq!(orders, [u64::MAX, 5], "the newest first");
    assert_eq!(index.incomplete(0b010, 10, 0).unwrap().len(), 1);
    assert_eq!(index.incomplete(0b100, 10, 0).unwrap().len(), 0);
    assert_eq!(index.count_names().unwrap(), 2);
}

#[test]
fn a_forgotten_holder_lacks_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let (index, _) = open(&dir);
    index.apply(&[seen("x", 5, &[0, 1, 2]), seen("y", 6, &[0, 1, 2])]).unwrap();
    index.forget_holder(Slot(1), name("x"), version(5)).unwrap();
    assert_eq!(index.missing_at(Slot(1)).unwrap(), 1);
    let many: Vec<_> = (0..1_000).map(|order| seen(&format!("n{order}"), order, &[0, 1, 2])).collect();
    index.apply(&many).unwrap();
    index.forget_all(Slot(1)).unwrap();
    assert_eq!(index.missing_at(Slot(1)).unwrap(), 1_002);
    assert_eq!(index.missing_at(Slot(0)).unwrap(), 0);
}

#[test]
fn names_are_listed_by_prefix_and_page() {
    let dir = tempfile::tempdir().unwrap();
    let (index, _) = open(&dir);
    for (order, text) in ["a", "icons/a", "icons/b", "icons/é", "icont"].iter().enumerate() {
        index.apply(&[seen(text, order as u64, &[0])]).unwrap();
    }
    let texts = |prefix: &str, after: Option<&str>, limit| {
        index.names(prefix, after, limit).unwrap().into_iter().map(|(text, _)| text).collect::<Vec<_>>()
    };
    assert_eq!(texts("icons/", None, 10), ["icons/a", "icons/b", "icons/é"]);
    assert_eq!(texts("icons/", Some("icons/a"), 1), ["icons/b"]);
    assert_eq!(texts("", Some("icons/é"), 10), ["icont"]);
}

#[test]
fn the_index_survives_reopening_and_remembers_its_cursors() {
    let dir = tempfile::tempdir().unwrap();
    let (index, made) = open(&dir);
    assert!(made);
    index.apply_feed(Slot(2), None, 28_999_999, &[seen("x", 5, &[2])]).unwrap();
    index.apply_feed(Slot(2), Some(28_999_999), 29_000_000, &[]).unwrap();
    // Who polled while the index was emptied leaves no cursor: nothing before it was loaded.
    index.apply_feed(Slot(0), Some(28_999_999), 29_000_000, &[]).unwrap();
    drop(index);
    let (index, made) = open(&dir);
    assert!(!made);
    assert_eq!(index.cursor(Slot(2)).unwrap(), Some(29_000_000));
    assert_eq!(index.cursor(Slot(0)).unwrap(), None);
    assert_eq!(index.versions(name("x")).unwrap().len(), 1);
}

#[test]
fn a_damaged_or_foreign_file_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    let (index, made) = open(&dir);
    assert!(made);
    index.apply(&[seen("x", 5, &[0])]).unwrap();
    drop(index);
    let others = ["a", "c", "b"].map(str::to_owned).to_vec();
    let (index, made) = Index::open(&path, &others).unwrap();
    assert!(made);
    assert!(index.is_empty().unwrap());
}

#[test]
fn a_torn_file_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let (index, _) = open(&dir);
    let many: Vec<_> = (0..2_000).map(|order| seen(&format!("n{order}"), order, &[0])).collect();
    index.apply(&many).unwrap();
    drop(index);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let (index, made) = open(&dir);
    assert!(made);
    assert!(index.is_empty().unwrap());
}

#[test]
fn names_that_came_in_bulk_are_listed_though_a_crash_came_first() {
    let dir = tempfile::tempdir().unwrap();
    let (index, _) = open(&dir);
    let many = |range: std::ops::Range<u64>| {
        range.map(|order| seen(&format!("n{order:04}"), order, &[0])).collect::<Vec<_>>()
    };
    index.apply_prepared(|| many(0..1_000)).unwrap();
    assert_eq!(index.count_names().unwrap(), 0);
    drop(index);
    let (index, _) = open(&dir);
    assert_eq!(index.count_names().unwrap(), 1_000);
    index.apply_prepared(|| many(500..1_500)).unwrap();
    index.merge_names(false).unwrap();
    assert_eq!(index.count_names().unwrap(), 1_000);
    index.merge_names(true).unwrap();
    assert_eq!(index.count_names().unwrap(), 1_500);
    assert_eq!(index.names("n14", None, 2).unwrap()[1].0, "n1401");
}

#[test]
fn pages_hold_every_version_once_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (index, _) = open(&dir);
    for order in [0, 1, u64::MAX >> 1, 1 << 63, u64::MAX] {
        index.apply(&[seen("x", order, &[0]), seen("y", order, &[])]).unwrap();
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = index.page(after, 300).unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 3);
        after = Some((last.name, last.version));
        all.extend(page.iter().map(|row| (row.name, row.version)));
    }
    assert_eq!(all.len(), 10);
    assert!(all.is_sorted());
    all.push((name("z"), version(3)));
    let all: Vec<_> = all.into_iter().map(|(name, version)| (name, version, Kind::Put)).collect();
    let missing = index.missing_of(&all).unwrap();
    assert_eq!(missing.iter().filter(|missing| missing.is_some()).count(), 10);
    assert_eq!(missing.last(), Some(&None));
}
