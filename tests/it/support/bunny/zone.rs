//! What a storage zone holds: files and directories, without any HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use data_encoding::HEXUPPER;
use ring::digest::{SHA256, digest};

/// A stored file.
#[derive(Debug, Clone)]
pub struct File {
    /// The bytes that are served.
    pub bytes: Bytes,
    /// The SHA-256 that was computed at the upload, upper-case hex; silent damage leaves it alone.
    pub checksum: String,
    /// The type given by `Override-Content-Type`.
    pub content_type: Option<String>,
    /// The identity of the row.
    pub guid: String,
    /// When the path was first written.
    pub created: SystemTime,
    /// When the bytes were written.
    pub changed: SystemTime,
}

/// A directory, which exists by itself once it was made.
#[derive(Debug, Clone)]
pub struct Directory {
    /// The identity of the row.
    pub guid: String,
    /// When it was made.
    pub created: SystemTime,
}

/// One thing in a directory.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A file and its name.
    File(&'a str, &'a File),
    /// A directory and its name.
    Directory(&'a str, &'a Directory),
}

/// All files and directories by path, without slashes at either end.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    files: BTreeMap<String, File>,
    directories: BTreeMap<String, Directory>,
    rows: u64,
}

impl Tree {
    /// Returns a file.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// Returns the paths of all files.
    pub fn paths(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// Stores a file and makes the directories above it; refuses a path that crosses a file or a directory.
    pub fn put(
        &mut self,
        path: &str,
        bytes: Bytes,
        content_type: Option<String>,
        now: SystemTime,
    ) -> Result<(), ()> {
        let above = above(path);
        if self.directories.contains_key(path) || above.iter().any(|dir| self.files.contains_key(*dir)) {
            return Err(());
        }
        above.into_iter().for_each(|dir| self.make_directory(dir, now));
        let checksum = HEXUPPER.encode(digest(&SHA256, &bytes).as_ref());
        let guid = self.next_guid();
        let (guid, created) = self.files.get(path).map_or((guid, now), |old| (old.guid.clone(), old.created));
        let file = File { bytes, checksum, content_type, guid, created, changed: now };
        self.files.insert(path.to_owned(), file);
        Ok(())
    }

    /// Makes a directory and those above it; `false` when something is there already.
    pub fn put_directory(&mut self, path: &str, now: SystemTime) -> bool {
        let taken = path.is_empty() || self.directories.contains_key(path) || self.files.contains_key(path);
        if !taken {
            above(path).into_iter().for_each(|dir| self.make_directory(dir, now));
            self.make_directory(path, now);
        }
        !taken
    }

    /// Replaces the bytes of a file and nothing else, as a failing disk would.
    pub fn damage(&mut self, path: &str, bytes: Bytes) {
        self.files.get_mut(path).expect("the file to damage").bytes = bytes;
    }

    /// Removes a file; `false` when there is none.
    pub fn delete(&mut self, path: &str) -> bool {
        self.files.remove(path).is_some()
    }

    /// Removes a directory and all below it; `false` when there is none.
    pub fn delete_directory(&mut self, path: &str) -> bool {
        if !path.is_empty() && !self.directories.contains_key(path) {
            return false;
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        self.files.retain(|file, _| !file.starts_with(&prefix));
        self.directories.retain(|dir, _| dir != path && !dir.starts_with(&prefix));
        true
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.files.clear();
        self.directories.clear();
    }

    /// Returns what lies directly in a directory, in an order that tells nothing; nothing for a missing one.
    pub fn list(&self, path: &str) -> Vec<Entry<'_>> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut entries: Vec<(&str, Entry<'_>)> = Vec::new();
        for (name, file) in children(&self.files, &prefix) {
            entries.push((&file.guid, Entry::File(name, file)));
        }
        for (name, directory) in children(&self.directories, &prefix) {
            entries.push((&directory.guid, Entry::Directory(name, directory)));
        }
        entries.sort_by_key(|(guid, _)| *guid);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    fn make_directory(&mut self, path: &str, now: SystemTime) {
        if !self.directories.contains_key(path) {
            let guid = self.next_guid();
            self.directories.insert(path.to_owned(), Directory { guid, created: now });
        }
    }

    fn next_guid(&mut self) -> String {
        self.rows += 1;
        guid(&self.rows.to_be_bytes())
    }
}

/// Returns 36 characters of the shape of a GUID, drawn from `seed`.
pub fn guid(seed: &[u8]) -> String {
    let hex = blake3::hash(seed).to_hex();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

/// Returns `now` moved by a clock error in seconds.
pub fn skewed(now: SystemTime, seconds: i64) -> SystemTime {
    let skew = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { now - skew } else { now + skew }
}

fn above(path: &str) -> BTreeSet<&str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).collect()
}

fn children<'a, T>(map: &'a BTreeMap<String, T>, prefix: &str) -> impl Iterator<Item = (&'a str, &'a T)> {
    let (prefix, skipped) = (prefix.to_owned(), prefix.len());
    map.range(prefix.clone()..)
        .take_while(move |(path, _)| path.starts_with(&prefix))
        .map(move |(path, value)| (&path[skipped..], value))
        .filter(|(name, _)| !name.is_empty() && !name.contains('/'))
}
