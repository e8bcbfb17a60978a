//! Pieces: what one file of the disk cache holds, and the names of the files.

use std::path::{Path, PathBuf};

use crate::asset::UploadId;

/// The index that stands for the block list; no asset has so many blocks.
const LIST: u64 = u64::MAX;
/// The word that stands for the block list in names.
const LIST_WORD: &str = "list";

/// One block of an upload, or its block list.
///
/// The upload is held as bytes: there is one piece in memory for each file, and a number of 128 bits would be
/// padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    upload: [u8; 16],
    index: u64,
}

impl Piece {
    /// Names a block.
    pub(super) fn block(upload: UploadId, index: u64) -> Self {
        Self { upload: upload.to_bytes(), index }
    }

    /// Names the block list.
    pub(super) fn list(upload: UploadId) -> Self {
        Self::block(upload, LIST)
    }

    /// Returns the upload.
    pub(super) fn upload(self) -> UploadId {
        UploadId::from_bytes(self.upload)
    }

    /// Tells whether this is a block list.
    pub(super) fn is_list(self) -> bool {
        self.index == LIST
    }

    /// Returns where the file lies below the folder.
    pub(super) fn path(self) -> PathBuf {
        let index = if self.is_list() { LIST_WORD.to_owned() } else { self.index.to_string() };
        folder_of(self.upload()).join(format!("{}-{index}", self.upload()))
    }

    /// Reads what [`Piece::path`] wrote; other names are none of ours.
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let (upload, index) = path.file_name()?.to_str()?.split_once('-')?;
        let index = if index == LIST_WORD { LIST } else { index.parse().ok()? };
        let piece = Self::block(upload.parse().ok()?, index);
        // One spelling only: a second one would be a file that nobody finds again.
        (piece.path() == path).then_some(piece)
    }
}

/// Returns the folder of an upload: the last byte of the ULID, which is random.
pub(super) fn folder_of(upload: UploadId) -> PathBuf {
    let [.., last] = upload.to_bytes();
    folder(last)
}

/// Returns one of the 256 folders of uploads.
pub(super) fn folder(number: u8) -> PathBuf {
    PathBuf::from(format!("{number:02x}"))
}

/// Tells whether a name is that of a folder of uploads.
pub(super) fn is_folder(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_other_spellings_are_not() {
        let upload = UploadId::new(1, 0x2a);
        for piece in [Piece::block(upload, 0), Piece::block(upload, 81_919), Piece::list(upload)] {
            assert_eq!(Piece::parse(&piece.path()), Some(piece));
        }
        assert_eq!(Piece::block(upload, 7).path().to_str(), Some("2a/0000000001000000000000001A-7"));
        for alien in [
            "2a",
            "2a/x",
            "2a/0000000001000000000000001A",
            "2a/0000000001000000000000001A-",
            "2a/0000000001000000000000001A-07",
            "2a/0000000001000000000000001A-+7",
            "2a/0000000001000000000000001A-18446744073709551615",
            "2a/0000000001000000000000001a-7",
            "2b/0000000001000000000000001A-7",
            "0000000001000000000000001A-7",
        ] {
            assert_eq!(Piece::parse(Path::new(alien)), None, "{alien}");
        }
        assert!(is_folder("0f") && !is_folder("0F") && !is_folder("0") && !is_folder("unfinished"));
    }
}
