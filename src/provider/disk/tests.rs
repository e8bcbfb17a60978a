use std::fs;

use futures::TryStreamExt;

use super::*;
use crate::provider::{contract, get_small};

fn provider(folder: &Path) -> DiskProvider {
    let settings = DiskSettings { path: folder.to_owned() };
    DiskProvider::new(ProviderId::new("disk-a"), settings, Clock::system()).unwrap()
}

fn key() -> Key {
    Key::part(Clock::system().upload_id(), 0)
}

fn payload() -> Payload {
    Payload::from(Bytes::from_static(b"0123456789"))
}

#[tokio::test]
async fn passes_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(folder.path());
    contract::all(&provider, &Clock::system()).await.unwrap();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|left| left.unwrap().file_name()).collect();
    assert_eq!(left, [".tmp"], "the suite leaves no object and no folder");
    assert_eq!(fs::read_dir(folder.path().join(".tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_object_lies_under_its_key_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let (provider, key) = (provider(folder.path()), key());
    provider.put(&key, &payload(), "text/plain").await.unwrap();
    assert_eq!(fs::read(folder.path().join(key.as_str())).unwrap(), b"0123456789");
    assert_eq!(fs::read_dir(folder.path().join(".tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_root_that_is_gone_is_a_missing_container() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("disk");
    let (provider, key) = (provider(&root), key());
    provider.put(&key, &payload(), "text/plain").await.unwrap();
    fs::rename(&root, folder.path().join("unmounted")).unwrap();
    let kinds = [
        provider.put(&key, &payload(), "text/plain").await.unwrap_err().kind,
        provider.get(&key, None).await.err().unwrap().kind,
        provider.stat(&key).await.unwrap_err().kind,
        provider.delete(&key).await.unwrap_err().kind,
        provider.list_dir("").await.unwrap_err().kind,
        provider.list_dir("names/").await.unwrap_err().kind,
        provider.list_tree("").try_collect::<Vec<_>>().await.unwrap_err().kind,
        provider.probe().await.unwrap_err().kind,
    ];
    assert_eq!(kinds, [ErrorKind::NoContainer; 8]);
    assert!(!root.exists(), "nothing makes the root again");
}

#[tokio::test]
async fn a_root_that_cannot_be_used_fails_call_by_call_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("disk");
    fs::write(&root, "a file where the folder should be").unwrap();
    let (provider, key) = (provider(&root), key());
    let kinds = [
        provider.put(&key, &payload(), "text/plain").await.unwrap_err().kind,
        provider.stat(&key).await.unwrap_err().kind,
        provider.list_dir("").await.unwrap_err().kind,
        provider.list_tree("").try_collect::<Vec<_>>().await.unwrap_err().kind,
    ];
    assert_eq!(kinds, [ErrorKind::NoContainer; 4]);
    fs::remove_file(&root).unwrap();
    fs::create_dir(folder.path().join("mounted")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("mounted"), &root).unwrap();
    provider.put(&key, &payload(), "text/plain").await.unwrap();
    assert_eq!(provider.list_dir("").await.unwrap().dirs, ["blobs"]);
}

#[tokio::test]
async fn alien_files_are_listed_and_links_and_unfinished_files_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(folder.path());
    fs::create_dir_all(folder.path().join("b/.tmp")).unwrap();
    for alien in ["a b.txt", "b/ü?.png", "b/.tmp/c", ".tmp/unfinished"] {
        fs::write(folder.path().join(alien), "x").unwrap();
    }
    std::os::unix::fs::symlink("/etc", folder.path().join("etc")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("b/link")).unwrap();
    let pages: Vec<_> = provider.list_tree("").try_collect().await.unwrap();
    let mut found: Vec<_> = pages.into_iter().flatten().map(|entry| entry.key).collect();
    found.sort();
    assert_eq!(found, ["a b.txt", "b/.tmp/c", "b/ü?.png"]);
    let listing = provider.list_dir("").await.unwrap();
    assert_eq!(listing.dirs, ["b"]);
    assert!(provider.list_dir("etc/").await.unwrap().entries.is_empty());
    assert_eq!(provider.list_dir("../").await.unwrap_err().kind, ErrorKind::Refused);
}

#[tokio::test]
async fn a_folder_or_a_link_under_a_key_is_not_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(folder.path());
    fs::create_dir_all(folder.path().join("canary/dir")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("canary/link")).unwrap();
    for name in ["dir", "link"] {
        assert!(provider.stat(&Key::canary(name)).await.unwrap_err().is_not_found(), "{name}");
        assert!(provider.get(&Key::canary(name), None).await.err().unwrap().is_not_found(), "{name}");
    }
    let error = provider.put(&Key::canary("dir"), &payload(), "text/plain").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
}

#[tokio::test]
async fn a_file_shorter_than_the_range_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (provider, key) = (provider(folder.path()), key());
    provider.put(&key, &payload(), "text/plain").await.unwrap();
    let error = provider.get(&key, Some(5..11)).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    let mut download = provider.get(&key, None).await.unwrap();
    fs::File::options().write(true).open(folder.path().join(key.as_str())).unwrap().set_len(4).unwrap();
    assert_eq!(download.body.try_next().await.unwrap_err().kind, ErrorKind::Protocol);
}

#[tokio::test]
async fn writes_survive_folders_that_vanish_while_empty() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(folder.path());
    let upload = Clock::system().upload_id();
    let (kept, churned) = (Key::part(upload, 0), Key::part(upload, 1));
    let churn = async {
        for _ in 0..50 {
            provider.put(&churned, &payload(), "text/plain").await.unwrap();
            provider.delete(&churned).await.unwrap();
        }
    };
    let keep = async {
        for _ in 0..50 {
            provider.put(&kept, &payload(), "text/plain").await.unwrap();
            assert_eq!(get_small(&provider, &kept, 10).await.unwrap(), "0123456789");
            provider.delete(&kept).await.unwrap();
        }
    };
    tokio::join!(churn, keep);
}

#[test]
fn what_crashed_writers_left_is_cleared_away_once_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(".tmp")).unwrap();
    for (name, age) in [("new", 60), ("old", 7_200)] {
        let path = folder.path().join(".tmp").join(name);
        let now = std::time::UNIX_EPOCH + Duration::from_millis(Clock::system().unix_ms());
        fs::File::create(path).unwrap().set_modified(now - Duration::from_secs(age)).unwrap();
    }
    provider(folder.path());
    assert!(folder.path().join(".tmp/new").exists() && !folder.path().join(".tmp/old").exists());
}

#[test]
fn failures_of_the_system_say_what_to_do_next() {
    use std::io::ErrorKind as Io;
    for (kind, expected) in [
        (Io::NotFound, ErrorKind::NotFound),
        (Io::PermissionDenied, ErrorKind::Denied),
        (Io::StorageFull, ErrorKind::Unavailable),
        (Io::QuotaExceeded, ErrorKind::Unavailable),
        (Io::ReadOnlyFilesystem, ErrorKind::Unavailable),
        (Io::IsADirectory, ErrorKind::Refused),
        (Io::Other, ErrorKind::Unavailable),
    ] {
        assert_eq!(kind_of(&kind.into()), expected, "{kind:?}");
    }
}
