//! The files of the disk cache, with blocking calls.
//!
//! There is one writer, so one unfinished file is enough; whatever a crash leaves in it is written over.
//! Nothing is flushed: what a power cut tears does not verify and is removed then.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::index::cost;
use super::piece::{self, Piece};
use crate::asset::{BLOCK_BYTES, UploadId};

/// The folder below that of the configuration. All in it is removed but what is ours, hence the full name.
const NAME: &str = "triplicate-blocks";
/// The file that is being written.
const UNFINISHED: &str = "unfinished";
/// The file by which one gateway keeps others out.
const LOCK: &str = "lock";
/// Permissions of files and folders: assets may be nobody else's business.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// The folder of all pieces.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// A piece that was found in the folder.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) piece: Piece,
    pub(super) cost: u64,
    written: SystemTime,
}

impl Folder {
    /// Names the folder below `path`; nothing is looked at.
    pub(super) fn new(path: &Path) -> Self {
        Self(path.join(NAME))
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder where it is missing, and takes its lock.
    pub(super) fn open(&self) -> io::Result<File> {
        make(&self.0)?;
        if !fs::symlink_metadata(&self.0)?.is_dir() {
            // What lies behind a link is not known to be ours to clear.
            return Err(io::Error::new(ErrorKind::NotADirectory, "it is a link, not a folder"));
        }
        let lock = options().create(true).truncate(false).open(self.0.join(LOCK))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(ErrorKind::ResourceBusy, "another gateway uses it"))
            }
            // Some file systems have no locks; the state folder has one too.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(lock),
        }
    }

    /// Finds all pieces, the newest first, and removes whatever else lies in the folder.
    pub(super) fn scan(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == LOCK {
                continue;
            }
            if name.to_str().is_some_and(piece::is_folder) && entry.file_type()?.is_dir() {
                self.scan_folder(Path::new(&name), &mut found)?;
            } else {
                // What cannot be removed is in nobody's way.
                let _ = discard(&entry.path());
            }
        }
        found.sort_unstable_by_key(|found| std::cmp::Reverse(found.written));
        Ok(found)
    }

    fn scan_folder(&self, folder: &Path, found: &mut Vec<Found>) -> io::Result<()> {
        for entry in fs::read_dir(self.0.join(folder))? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            let (bytes, is_file) = (metadata.len(), metadata.is_file());
            match Piece::parse(&folder.join(entry.file_name())) {
                Some(piece) if is_file && is_plausible(piece, bytes) => {
                    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    found.push(Found { piece, cost: cost(bytes), written });
                }
                Some(_) | None => {
                    let _ = discard(&entry.path());
                }
            }
        }
        Ok(())
    }

    /// Reads a piece; one that is longer than `bytes_max` is cut one byte after that.
    pub(super) fn read(&self, piece: Piece, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.0.join(piece.path()))?;
        let mut bytes = Vec::with_capacity(usize::try_from(bytes_max).unwrap_or(0).saturating_add(1));
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a piece: beside its place first, so that no reader sees a part.
    pub(super) fn write(&self, piece: Piece, bytes: &[u8]) -> io::Result<()> {
        let (unfinished, place) = (self.0.join(UNFINISHED), self.0.join(piece.path()));
        let written = options()
            .create(true)
            .truncate(true)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| self.put_in_place(&unfinished, &place));
        if written.is_err() {
            // A part must not take up a full disk.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    fn put_in_place(&self, unfinished: &Path, place: &Path) -> io::Result<()> {
        match fs::rename(unfinished, place) {
            // The folder of the upload is made when something comes to lie in it.
            Err(error) if error.kind() == ErrorKind::NotFound && self.0.is_dir() => {
                place.parent().map_or(Ok(()), make)?;
                fs::rename(unfinished, place)
            }
            result => result,
        }
    }

    /// Tells whether the file of a piece is there.
    pub(super) fn has(&self, piece: Piece) -> bool {
        fs::symlink_metadata(self.0.join(piece.path())).is_ok()
    }

    /// Removes a piece; one that is not there is fine.
    pub(super) fn remove(&self, piece: Piece) -> io::Result<()> {
        discard(&self.0.join(piece.path()))
    }

    /// Finds the pieces of one upload.
    pub(super) fn pieces(&self, upload: UploadId) -> io::Result<Vec<Piece>> {
        let mut pieces = self.pieces_in(&piece::folder_of(upload))?;
        pieces.retain(|piece| piece.upload() == upload);
        Ok(pieces)
    }

    /// Finds the uploads that have pieces in the folder of this number.
    pub(super) fn uploads(&self, number: u8) -> io::Result<Vec<UploadId>> {
        let pieces = self.pieces_in(&piece::folder(number))?;
        let uploads: BTreeSet<_> = pieces.into_iter().map(Piece::upload).collect();
        Ok(uploads.into_iter().collect())
    }

    fn pieces_in(&self, folder: &Path) -> io::Result<Vec<Piece>> {
        let entries = match fs::read_dir(self.0.join(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(Piece::parse(&folder.join(entry?.file_name()))));
        names.filter_map(io::Result::transpose).collect()
    }
}

/// Tells whether a file can be what its name says: an empty one is what a power cut leaves.
fn is_plausible(piece: Piece, bytes: u64) -> bool {
    bytes > 0 && (piece.is_list() || bytes <= BLOCK_BYTES as u64)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(FILE_MODE);
    options
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

/// Removes whatever lies at a path, links not followed.
fn discard(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
