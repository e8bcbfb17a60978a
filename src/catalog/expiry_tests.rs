use super::*;
use crate::asset::Kind;
use crate::catalog::Sighting;

fn name(text: &str) -> NameHash {
    text.parse::<crate::asset::AssetName>().unwrap().hash()
}

fn version(unix_ms: u64) -> Version {
    Version { order: Order::from_unix_ms(unix_ms), upload: UploadId::new(unix_ms, 1) }
}

fn seen(text: &str, unix_ms: u64, kind: Kind, holders: &[usize]) -> Sighting {
    let holders = holders.iter().copied().map(Slot).collect();
    let record = Some((text.to_owned(), vec![1]));
    Sighting { name: name(text), version: version(unix_ms), kind, holders, record }
}

fn index(sightings: &[Sighting]) -> (tempfile::TempDir, Index) {
    let dir = tempfile::tempdir().unwrap();
    let providers = ["a", "b"].map(str::to_owned);
    let (index, _) = Index::open(&dir.path().join("index.sqlite"), &providers).unwrap();
    index.apply(sightings).unwrap();
    (dir, index)
}

#[test]
fn names_with_old_versions_are_found_page_by_page() {
    let mut sightings = vec![
        seen("one", 5, Kind::Put, &[0]),
        seen("deleted", 5, Kind::Del, &[0]),
        seen("young", 60, Kind::Put, &[0]),
        seen("young", 70, Kind::Del, &[0]),
        seen("ahead", 60, Kind::Put, &[0]),
        seen("ahead", 900, Kind::Put, &[0]),
    ];
    for number in 0..50 {
        sightings.extend([5, 6].map(|at| seen(&format!("{number}"), at, Kind::Put, &[0])));
    }
    let (_dir, index) = index(&sightings);
    let cutoff = Cutoff { before_ms: 50, now_ms: 100 };
    let mut found = Vec::new();
    for shard in 0..=255 {
        let mut after = None;
        while let Some(one) = index.outlived(shard, after, cutoff, 1).unwrap().pop() {
            found.push(one);
            after = Some(one);
        }
    }
    let mut expected: Vec<_> = (0..50).map(|number| name(&format!("{number}"))).collect();
    expected.extend(["deleted", "ahead"].map(name));
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn what_is_expired_is_missing_nowhere_until_it_is_so_no_more() {
    let (_dir, index) = index(&[seen("a", 5, Kind::Put, &[0]), seen("a", 6, Kind::Put, &[0, 1])]);
    assert_eq!((index.missing_at(Slot(1)).unwrap(), index.held(Slot(0)).unwrap()), (1, 2));
    index.expire(name("a"), &[version(5)]).unwrap();
    index.apply(&[seen("a", 5, Kind::Put, &[])]).unwrap();
    assert_eq!(index.missing_at(Slot(1)).unwrap(), 0);
    assert!(index.incomplete(0b11, 10, 0).unwrap().is_empty());
    index.expire(name("a"), &[]).unwrap();
    assert_eq!(index.incomplete(0b11, 10, 0).unwrap().len(), 1);
}

#[test]
fn the_last_version_takes_its_name_along() {
    let (_dir, index) = index(&[seen("a", 5, Kind::Put, &[0]), seen("a", 6, Kind::Del, &[0])]);
    assert!(index.has_record(name("a"), version(5)).unwrap());
    index.forget(name("a"), version(5), Kind::Put, Some("a")).unwrap();
    assert_eq!(index.count_names().unwrap(), 1);
    assert!(!index.knows_upload(version(5).upload).unwrap());
    assert!(!index.has_record(name("a"), version(5)).unwrap());
    index.forget(name("a"), version(6), Kind::Del, Some("a")).unwrap();
    assert_eq!((index.count_names().unwrap(), index.is_empty().unwrap()), (0, true));
}
