use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn source(folder: &tempfile::TempDir) -> RecordKeySource {
    RecordKeySource::File(folder.path().join("deep/er/record.key"))
}

#[test]
fn a_key_is_made_once_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = resolve(&source(&folder), Missing::Make).unwrap();
    let second = resolve(&source(&folder), Missing::Refuse).unwrap();
    assert!(first.made_now && !second.made_now && !second.open_to_others);
    assert_eq!(first.key.expose_hex(), second.key.expose_hex());
    let file = second.file.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", first.key.expose_hex()));
    let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "no draft is left");
}

#[test]
fn a_check_makes_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let error = resolve(&source(&folder), Missing::Refuse).unwrap_err();
    assert!(matches!(error, ResolveError::Missing(_)), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_with_other_content_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record.key");
    for content in
        [b"".as_slice(), b"\n", b"abc", &[b'0'; 63], &[b'0'; 65], &[b'g'; 64], b"\xff", &[b'0'; 9000]]
    {
        fs::write(&path, content).unwrap();
        let error = resolve(&RecordKeySource::File(path.clone()), Missing::Make).unwrap_err();
        assert!(matches!(error, ResolveError::Malformed(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_key_that_others_may_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record.key");
    fs::write(&path, "AB".repeat(32)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let found = resolve(&RecordKeySource::File(path), Missing::Refuse).unwrap();
    assert!(found.open_to_others);
    assert_eq!(found.key.expose_hex(), "ab".repeat(32));
}

#[test]
fn gateways_that_start_at_once_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(&folder);
    let keys: Vec<ResolvedKey> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..8).map(|_| scope.spawn(|| resolve(&source, Missing::Make).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(keys.iter().filter(|key| key.made_now).count(), 1);
    assert!(keys.iter().all(|key| key.key.expose_hex() == keys[0].key.expose_hex()));
}

#[test]
fn a_key_of_the_configuration_needs_no_file() {
    let source = RecordKeySource::Key(RecordKey::new([7; 32]));
    let found = resolve(&source, Missing::Refuse).unwrap();
    assert!(found.file.is_none() && !found.made_now);
    assert!(!format!("{found:?}{source:?}").contains("0707"));
}
