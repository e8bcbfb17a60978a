use super::*;
use crate::clock::Clock;
use crate::provider::disk::{DiskProvider, DiskSettings};
use crate::provider::{contract, get_small};

struct Set {
    _folder: tempfile::TempDir,
    faulty: Faulty,
    key: Key,
    clock: Clock,
}

async fn set() -> Set {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let settings = DiskSettings { path: folder.path().to_owned() };
    let disk = DiskProvider::new(ProviderId::new("disk-a"), settings, clock.clone()).unwrap();
    let (faulty, key) = (Faulty::new(Arc::new(disk)), Key::part(clock.upload_id(), 0));
    faulty.put(&key, &payload(), "text/plain").await.unwrap();
    Set { _folder: folder, faulty, key, clock }
}

fn payload() -> Payload {
    Payload::new(vec![Bytes::from_static(b"0123"), Bytes::from_static(b"456789")])
}

async fn read(set: &Set) -> Result<Bytes> {
    get_small(&set.faulty, &set.key, 100).await
}

#[tokio::test]
async fn without_faults_it_passes_the_contract() {
    let set = set().await;
    contract::all(&set.faulty, &set.clock).await.unwrap();
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let set = set().await;
    for (fault, expected) in [
        (Fault::Error(ErrorKind::Denied), Err(ErrorKind::Denied)),
        (Fault::Forget, Err(ErrorKind::NotFound)),
        (Fault::CorruptByte(5), Ok("0123446789")),
        (Fault::CorruptByte(50), Ok("0123456789")),
        (Fault::TruncateCleanly(5), Err(ErrorKind::Protocol)),
        (Fault::TruncateWithError(5, ErrorKind::Unavailable), Err(ErrorKind::Unavailable)),
        (Fault::LoseAnswer(ErrorKind::Timeout), Err(ErrorKind::Timeout)),
        (Fault::Delay(Duration::from_millis(1)), Ok("0123456789")),
    ] {
        set.faulty.set(Operation::Get, fault);
        let found = read(&set).await.map_err(|error| error.kind);
        assert_eq!(found, expected.map(Bytes::from), "{fault:?}");
    }
    set.faulty.heal();
    assert_eq!(read(&set).await.unwrap(), "0123456789");
    assert_eq!(set.faulty.calls(Operation::Get), 9);
}

#[tokio::test]
async fn a_corrupt_byte_of_a_range_is_the_one_of_the_object() {
    let set = set().await;
    set.faulty.set(Operation::Get, Fault::CorruptByte(5));
    let download = set.faulty.get(&set.key, Some(4..7)).await.unwrap();
    let chunks: Vec<_> = download.body.map(Result::unwrap).collect().await;
    assert_eq!(chunks.concat(), b"446");
}

#[tokio::test]
async fn queued_faults_come_first_and_are_used_up() {
    let set = set().await;
    set.faulty.set(Operation::Get, Fault::Error(ErrorKind::Unavailable));
    set.faulty.queue(Operation::Get, Fault::Error(ErrorKind::Throttled));
    set.faulty.queue(Operation::Get, Fault::Error(ErrorKind::Denied));
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(read(&set).await.unwrap_err().kind);
    }
    assert_eq!(kinds, [ErrorKind::Throttled, ErrorKind::Denied, ErrorKind::Unavailable]);
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_took_effect_and_a_corrupt_one_too() {
    let set = set().await;
    let other = Key::part(set.clock.upload_id(), 0);
    set.faulty.queue(Operation::Put, Fault::LoseAnswer(ErrorKind::Timeout));
    let lost = set.faulty.put(&other, &payload(), "text/plain").await.unwrap_err();
    assert_eq!(lost.kind, ErrorKind::Timeout);
    assert_eq!(get_small(&set.faulty, &other, 100).await.unwrap(), "0123456789");
    set.faulty.queue(Operation::Put, Fault::CorruptByte(0));
    set.faulty.put(&other, &payload(), "text/plain").await.unwrap();
    assert_eq!(get_small(&set.faulty, &other, 100).await.unwrap(), "1123456789");
}

#[tokio::test]
async fn a_provider_that_forgot_everything_lists_nothing() {
    let set = set().await;
    set.faulty.set_all(Fault::Forget);
    assert_eq!(set.faulty.list_dir("").await.unwrap(), DirListing::default());
    assert!(set.faulty.list_tree("").collect::<Vec<_>>().await.is_empty());
    set.faulty.heal();
    assert_eq!(set.faulty.list_tree("").collect::<Vec<_>>().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hanging_and_stalling_have_no_end() {
    let set = set().await;
    let hour = Duration::from_secs(3_600);
    set.faulty.set(Operation::Stat, Fault::Hang);
    assert!(tokio::time::timeout(hour, set.faulty.stat(&set.key)).await.is_err());
    set.faulty.set(Operation::Get, Fault::Stall(3));
    let mut body = set.faulty.get(&set.key, None).await.unwrap().body;
    assert_eq!(body.next().await.unwrap().unwrap(), "012");
    assert!(tokio::time::timeout(hour, body.next()).await.is_err());
    set.faulty.set(Operation::List, Fault::Hang);
    assert!(tokio::time::timeout(hour, set.faulty.list_tree("").next()).await.is_err());
}
