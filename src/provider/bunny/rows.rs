//! Listings and descriptions: rows of JSON, read one by one, since a listing has no pages. Pure.

use bytes::{Buf, BytesMut};
use chrono::NaiveDateTime;
use serde::Deserialize;

use crate::asset::Sha256;
use crate::provider::transport::Fault;
use crate::provider::{DirListing, Entry};

/// The longest row of JSON: a path of 6,000 characters and its name, escaped, and the rest.
const ROW_BYTES_MAX: usize = 64 * 1024;
/// The most rows of one folder.
const ROWS_MAX: usize = 1_000_000;
/// How many bytes the names of one folder may have together: its listing is kept in memory.
const NAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a listing or a description says of one object or folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Row {
    object_name: String,
    length: u64,
    is_directory: bool,
    last_changed: Option<String>,
    checksum: Option<String>,
}

impl Row {
    /// Reads the answer to `DESCRIBE`.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Fault> {
        serde_json::from_slice(body).map_err(|error| Fault::protocol(format!("not a description: {error}")))
    }

    /// Tells whether it is a folder, which holds no bytes.
    pub(super) fn is_dir(&self) -> bool {
        self.is_directory
    }

    /// Says of the object under `key` what the row says.
    pub(super) fn into_entry(self, key: String) -> Entry {
        Entry {
            key,
            bytes: self.length,
            modified_unix_ms: self.last_changed.as_deref().and_then(unix_ms),
            // It is null where the servers have not hashed the object, and empty in some reports.
            sha256: self.checksum.and_then(|checksum| checksum.parse::<Sha256>().ok()),
        }
    }

    fn add_to(self, listing: &mut DirListing, dir: &str) -> Result<(), Fault> {
        // Such a name would lead the walk of a tree somewhere else.
        if matches!(self.object_name.as_str(), "" | "." | "..") || self.object_name.contains('/') {
            return Err(Fault::protocol(format!("a listing shows the name {:?}", self.object_name)));
        }
        if self.is_directory {
            listing.dirs.push(self.object_name);
        } else {
            let key = format!("{dir}{}", self.object_name);
            listing.entries.push(self.into_entry(key));
        }
        Ok(())
    }
}

/// Times are UTC without saying so; milliseconds may be left out.
fn unix_ms(text: &str) -> Option<u64> {
    let time = NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    time.and_utc().timestamp_millis().try_into().ok()
}

/// Where in the array a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeArray,
    /// After the opening bracket, where a row or the end may come.
    First,
    /// After a comma.
    Next,
    /// After a row, where a comma or the end may come.
    AfterRow,
    InRow {
        depth: usize,
        in_string: bool,
        escaped: bool,
    },
    AfterArray,
}

/// Reads a listing while it arrives.
#[derive(Debug)]
pub(super) struct RowScanner {
    dir: String,
    listing: DirListing,
    buffer: BytesMut,
    scanned: usize,
    name_bytes: usize,
    place: Place,
}

impl RowScanner {
    /// Starts the listing of `dir`.
    pub(super) fn new(dir: &str) -> Self {
        let listing = DirListing::default();
        let (dir, buffer) = (dir.to_owned(), BytesMut::new());
        Self { dir, listing, buffer, scanned: 0, name_bytes: 0, place: Place::BeforeArray }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.buffer.extend_from_slice(bytes);
        while let Some(byte) = self.buffer.get(self.scanned).copied() {
            self.scanned += 1;
            self.place = self.step(byte)?;
        }
        Ok(())
    }

    /// Ends the listing; it must be whole.
    pub(super) fn finish(self) -> Result<DirListing, Fault> {
        if self.place == Place::AfterArray { Ok(self.listing) } else { Err(broken()) }
    }

    fn step(&mut self, byte: u8) -> Result<Place, Fault> {
        let outside = !matches!(self.place, Place::InRow { .. });
        if outside && byte.is_ascii_whitespace() {
            self.drop_scanned();
            return Ok(self.place);
        }
        let next = match (self.place, byte) {
            (Place::BeforeArray, b'[') => Place::First,
            (Place::First | Place::AfterRow, b']') => Place::AfterArray,
            (Place::AfterRow, b',') => Place::Next,
            (Place::First | Place::Next, b'{') => {
                return Ok(Place::InRow { depth: 1, in_string: false, escaped: false });
            }
            (Place::InRow { depth, in_string, escaped }, _) => {
                return self.step_in_row(byte, depth, in_string, escaped);
            }
            _ => return Err(broken()),
        };
        self.drop_scanned();
        Ok(next)
    }

    fn step_in_row(
        &mut self,
        byte: u8,
        depth: usize,
        in_string: bool,
        escaped: bool,
    ) -> Result<Place, Fault> {
        if self.scanned > ROW_BYTES_MAX {
            return Err(broken());
        }
        let (depth, in_string, escaped) = match (in_string, byte) {
            (true, _) if escaped => (depth, true, false),
            (true, b'\\') => (depth, true, true),
            (true, b'"') => (depth, false, false),
            (true, _) => (depth, true, false),
            (false, b'"') => (depth, true, false),
            (false, b'{' | b'[') => (depth + 1, false, false),
            (false, b'}' | b']') => (depth - 1, false, false),
            (false, _) => (depth, false, false),
        };
        if depth > 0 {
            return Ok(Place::InRow { depth, in_string, escaped });
        }
        if self.listing.entries.len() + self.listing.dirs.len() == ROWS_MAX {
            return Err(Fault::protocol(format!("a folder of more than {ROWS_MAX} rows")));
        }
        let row: Row = serde_json::from_slice(&self.buffer[..self.scanned])
            .map_err(|error| Fault::protocol(format!("not a row of a listing: {error}")))?;
        self.drop_scanned();
        self.name_bytes += self.dir.len() + row.object_name.len();
        if self.name_bytes > NAME_BYTES_MAX {
            return Err(Fault::protocol(format!("a folder of more than {NAME_BYTES_MAX} bytes of names")));
        }
        row.add_to(&mut self.listing, &self.dir)?;
        Ok(Place::AfterRow)
    }

    fn drop_scanned(&mut self) {
        self.buffer.advance(self.scanned);
        self.scanned = 0;
    }
}

fn broken() -> Fault {
    Fault::protocol("a listing that is not an array of rows")
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
