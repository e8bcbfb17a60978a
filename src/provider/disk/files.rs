//! Files below one folder, with blocking calls: written whole and durably, read without following links.
//!
//! Protocol of a write:
//! 1. The bytes go to a new file in `.tmp/`, which is flushed. A crash leaves it there, to be cleared away.
//! 2. The folders on the way are made, and the file is renamed to its place. A folder that another process
//!    removes in between, because it was empty, is made again.
//! 3. The folder and all folders above it are flushed, whoever made them: another process may have made one
//!    a moment ago and not flushed it yet. Only then is the write acknowledged.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::provider::Entry;

/// The folder of unfinished files; nothing in it is an object.
pub(super) const TEMPORARY: &str = ".tmp";
/// How old an unfinished file is when its writer must have crashed.
const CRASHED_AFTER: Duration = Duration::from_secs(3_600);
/// How many calls may be under way at once.
const CALLS_MAX: usize = 64;
/// How often a write goes on when its folder vanishes under it.
const PLACING_ATTEMPTS: usize = 10;

/// The folder that is a provider.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    /// A file system that hangs must not take all blocking threads of the process with it.
    pub(super) slots: Arc<Semaphore>,
}

/// What lies in a folder.
#[derive(Debug)]
pub(super) enum Found {
    /// A file.
    Object(Entry),
    /// The name of a folder.
    Dir(String),
}

impl Root {
    /// Names the folder; see [`Root::prepare`].
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        // Relative paths would move with the working directory.
        Ok(Self { path: std::path::absolute(path)?, slots: Arc::new(Semaphore::new(CALLS_MAX)) })
    }

    /// Makes the folder where it is missing, and removes what crashed writers left behind.
    pub(super) fn prepare(&self, now_unix_ms: u64) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        self.make(&self.path.join(TEMPORARY))?;
        for left in fs::read_dir(self.path.join(TEMPORARY))? {
            let left = left?;
            let changed = left.metadata().and_then(|metadata| metadata.modified());
            let now = UNIX_EPOCH + Duration::from_millis(now_unix_ms);
            if changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age > CRASHED_AFTER)) {
                // Another process may be doing the same.
                let _ = fs::remove_file(left.path());
            }
        }
        Ok(())
    }

    /// Returns the folder's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes an object; see the protocol above.
    pub(super) fn write(&self, key: &str, chunks: &[Bytes], random: u64) -> io::Result<()> {
        let place = self.place(key)?;
        let folder = self.path.join(TEMPORARY);
        self.make(&folder)?;
        let unfinished = Unfinished(folder.join(format!("{random:016x}")));
        let mut file = File::options().write(true).create_new(true).open(&unfinished.0)?;
        for chunk in chunks {
            file.write_all(chunk)?;
        }
        file.sync_all()?;
        drop(file);
        self.put_in_place(&unfinished.0, &place)?;
        self.flush_folders_above(&place)
    }

    /// Opens an object at an offset, and tells its size.
    pub(super) fn open_at(&self, key: &str, offset: u64) -> io::Result<(File, u64)> {
        let place = self.place(key)?;
        object(&place)?;
        let mut file = File::open(&place)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(offset))?;
        Ok((file, bytes))
    }

    /// Tells what is known of an object.
    pub(super) fn stat(&self, key: &str) -> io::Result<Entry> {
        Ok(entry(key.to_owned(), &object(&self.place(key)?)?))
    }

    /// Removes an object, and the folders that it leaves empty; one that is not there is fine.
    pub(super) fn remove(&self, key: &str) -> io::Result<()> {
        let place = self.place(key)?;
        match fs::remove_file(&place) {
            Err(error) if super::is_missing(&error) && self.path.is_dir() => return Ok(()),
            result => result?,
        }
        for folder in self.folders_above(&place) {
            // The system refuses to remove a folder that is not empty, so this takes nothing along.
            if folder == self.path || fs::remove_dir(folder).is_err() {
                self.flush(folder)?;
            }
        }
        Ok(())
    }

    /// Reads one folder, `""` or ending in a slash; a missing one is empty unless all is missing.
    pub(super) fn read_dir<'a>(
        &self,
        dir: &'a str,
    ) -> io::Result<impl Iterator<Item = io::Result<Found>> + use<'a>> {
        let place = self.place(dir)?;
        let is_root = place == self.path;
        // The root itself may be reached through a link, nothing below it.
        let metadata = if is_root { fs::metadata(&place) } else { fs::symlink_metadata(&place) };
        let read = match metadata.and_then(|at| {
            if at.is_dir() { fs::read_dir(&place) } else { Err(io::ErrorKind::NotADirectory.into()) }
        }) {
            Ok(read) => Some(read),
            Err(error) if super::is_missing(&error) && self.path.is_dir() => None,
            Err(error) => return Err(error),
        };
        Ok(read.into_iter().flatten().filter_map(move |item| found(item, dir, is_root).transpose()))
    }

    /// Joins a key to the folder. Names that lead elsewhere are none of ours.
    fn place(&self, key: &str) -> io::Result<PathBuf> {
        // Rebuilt from its parts the path has no closing slash, by which links would be followed.
        let path: PathBuf = Path::new(key).components().collect();
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if plain && !key.contains("//") {
            Ok(self.path.join(path))
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    fn put_in_place(&self, unfinished: &Path, place: &Path) -> io::Result<()> {
        let mut attempts = PLACING_ATTEMPTS;
        loop {
            attempts -= 1;
            let folders: Vec<_> = self.folders_above(place).collect();
            let made = folders.into_iter().rev().skip(1).try_for_each(|folder| self.make(folder));
            match made.and_then(|()| fs::rename(unfinished, place)) {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && attempts > 0 && self.path.is_dir() => {}
                result => return result,
            }
        }
    }

    /// Makes one folder below one that must be there.
    fn make(&self, folder: &Path) -> io::Result<()> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    /// The folders from the one around `place` up to the root.
    fn folders_above<'a>(&self, place: &'a Path) -> impl Iterator<Item = &'a Path> + use<'a> {
        let root = self.path.components().count();
        place.ancestors().skip(1).take_while(move |folder| folder.components().count() >= root)
    }

    fn flush_folders_above(&self, place: &Path) -> io::Result<()> {
        self.folders_above(place).try_for_each(|folder| self.flush(folder))
    }

    /// Flushes a folder. One that is gone holds nothing to keep: another process removed the last object
    /// in it.
    fn flush(&self, folder: &Path) -> io::Result<()> {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            Err(error) if super::is_missing(&error) && folder != self.path => Ok(()),
            result => result,
        }
    }
}

/// An unfinished file is removed when its writing fails; once it was renamed there is nothing to remove.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Only plain files are objects; a folder or a link under a key is nothing.
fn object(place: &Path) -> io::Result<fs::Metadata> {
    let metadata = fs::symlink_metadata(place)?;
    if metadata.is_file() { Ok(metadata) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn found(item: io::Result<fs::DirEntry>, dir: &str, is_root: bool) -> io::Result<Option<Found>> {
    let item = item?;
    let name = item.file_name().to_string_lossy().into_owned();
    let read = item.file_type().and_then(|kind| {
        if kind.is_dir() {
            let hidden = is_root && name == TEMPORARY;
            Ok((!hidden).then(|| Found::Dir(name.clone())))
        } else if kind.is_file() {
            let metadata = item.metadata()?;
            Ok(Some(Found::Object(entry(format!("{dir}{name}"), &metadata))))
        } else {
            Ok(None)
        }
    });
    match read {
        // It was removed while the folder was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read,
    }
}

fn entry(key: String, metadata: &fs::Metadata) -> Entry {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Entry {
        key,
        bytes: metadata.len(),
        modified_unix_ms: modified.and_then(|since| u64::try_from(since.as_millis()).ok()),
        sha256: None,
    }
}
