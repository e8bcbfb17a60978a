//! Undo: the version before the current one comes back as a new version, with all that was said of it.

use triplicate::gateway::undo::{Parts, UndoError, Undone, undo};
use triplicate::provider::ErrorKind;
use triplicate::provider::faulty::Fault;
use triplicate::read::Wanted;
use triplicate::retention::Brake;

use crate::retention::{HOUR, delete, later, name, site};
use crate::stack::{RETENTION, Stack, request};
use crate::{assert_same_copies, bytes};

async fn undone(stack: &Stack, text: &str) -> Result<Undone, UndoError> {
    let parts = Parts {
        fleet: stack.fleet.clone(),
        catalog: stack.catalog.clone(),
        monitor: stack.monitor.clone(),
        reader: stack.reader.clone(),
        writer: stack.writer.clone(),
        clock: stack.clock.clone(),
    };
    undo(&parts, &name(text)).await
}

#[tokio::test(start_paused = true)]
async fn an_overwrite_is_undone_with_its_metadata_and_so_is_the_undo() {
    let (site, stack) = site().await;
    let content = bytes(1, 8 * 1024 * 1024 + 100_000);
    let mut first = request("a.png");
    first.content_type = Some("image/x-gold".to_owned());
    first.cache_control = Some("no-cache".to_owned());
    first.metadata = [("author".to_owned(), "me".to_owned())].into();
    let first = stack.put_request(first, &content).await.unwrap().record;
    let second = stack.put("a.png", &bytes(2, 10)).await.unwrap().record;
    // The tool has an index of its own.
    let tool = site.stack(site.clock.clone());
    let done = undone(&tool, "a.png").await.unwrap();
    assert_eq!((done.current, done.restored), (second.version, first.version));
    let new = &done.receipt.record;
    assert!(new.version > second.version);
    assert_eq!(new.put, first.put);
    assert_eq!(tool.get("a.png").await.unwrap(), content);
    assert_same_copies(&tool).await;
    assert_eq!(undone(&tool, "a.png").await.unwrap().restored, second.version);
    assert_eq!(tool.get("a.png").await.unwrap(), bytes(2, 10));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_undone_while_its_version_is_retained() {
    let (_site, mut stack) = site().await;
    for size in [0, 100_000] {
        let content = bytes(size as u64, size);
        stack.put("a.png", &content).await.unwrap();
        stack.writer.delete(name("a.png")).await.unwrap();
        undone(&stack, "a.png").await.unwrap();
        assert_eq!(stack.get("a.png").await.unwrap(), content);
    }
    delete(&stack, "a.png").await;
    later(&mut stack, RETENTION + HOUR).await;
    assert!(stack.retention.round(Brake::Stop, false).await.is_done());
    assert_eq!(undone(&stack, "a.png").await.unwrap_err(), UndoError::NothingToRestore);
}

#[tokio::test(start_paused = true)]
async fn where_there_is_nothing_to_restore_nothing_is_written() {
    let (site, stack) = site().await;
    stack.put("a.png", &bytes(1, 10)).await.unwrap();
    assert_eq!(undone(&stack, "a.png").await.unwrap_err(), UndoError::NothingToRestore);
    assert_eq!(undone(&stack, "never.png").await.unwrap_err(), UndoError::UnknownName);
    stack.put("a.png", &bytes(2, 10)).await.unwrap();
    for down in [0, 1] {
        site.faulty[down].set_all(Fault::Error(ErrorKind::Unavailable));
    }
    tokio::time::advance(HOUR).await;
    assert!(matches!(undone(&stack, "a.png").await.unwrap_err(), UndoError::Unavailable(_)));
    site.faulty.iter().for_each(|faulty| faulty.heal());
    assert_eq!(stack.catalog.versions(&name("a.png")).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_copy_is_never_what_comes_back() {
    let (site, stack) = site().await;
    let first = stack.put("a.png", &bytes(1, 100_000)).await.unwrap().record;
    stack.put("a.png", &bytes(2, 10)).await.unwrap();
    let part = triplicate::asset::Key::part(first.version.upload, 0);
    for slot in [0, 1] {
        site.flip(triplicate::provider::Slot(slot), part.as_str(), 70_000);
    }
    undone(&stack, "a.png").await.unwrap();
    assert_eq!(stack.get("a.png").await.unwrap(), bytes(1, 100_000));
    let wanted = Wanted { version: Some(first.version), revalidate: false };
    assert_eq!(stack.reader.resolve(&first.name, wanted).await.unwrap().version, first.version);
}
