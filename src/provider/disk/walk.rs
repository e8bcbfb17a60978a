//! The walk of a tree of folders, in pages.

use std::io;

use super::files::{Found, Root};
use crate::provider::Entry;

/// A page is given out once it has this many entries.
const PAGE_ENTRIES: usize = 1_000;
/// How many folders are read for one page, so that its deadline holds among empty folders too.
const PAGE_DIRS: usize = 1_000;

/// A walk that can rest between pages.
#[derive(Debug)]
pub(super) struct Walk {
    /// Folders that are still to be read, the last one next.
    waiting: Vec<String>,
    /// Entries of folders that were read, which no page has taken yet.
    found: Vec<Entry>,
}

impl Walk {
    /// Starts above everything below `dir`.
    pub(super) fn new(dir: String) -> Self {
        Self { waiting: vec![dir], found: Vec::new() }
    }

    /// Reads on for one page, which may be empty.
    pub(super) fn page(&mut self, root: &Root) -> io::Result<Vec<Entry>> {
        for _ in 0..PAGE_DIRS {
            if self.found.len() >= PAGE_ENTRIES {
                break;
            }
            let Some(dir) = self.waiting.pop() else {
                break;
            };
            for found in root.read_dir(&dir)? {
                match found? {
                    Found::Object(entry) => self.found.push(entry),
                    Found::Dir(name) => self.waiting.push(format!("{dir}{name}/")),
                }
            }
        }
        Ok(self.found.split_off(self.found.len().saturating_sub(PAGE_ENTRIES)))
    }

    /// Tells whether there is nothing left.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.found.is_empty()
    }
}
