//! The record key: read from the configuration or its file, and made at the first start.
//!
//! Whoever loses it can read nothing any more, so a file that is there is never written, whatever it
//! holds, and only serving makes a new one: an audit or a check with a fresh key would call every record
//! forged.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{RecordKeySource, secret_file};
use crate::asset::RecordKey;
use crate::clock::random_secret;

/// Whether a key may be made where its file is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A new key is made, kept in the file, and used.
    Make,
    /// A missing key is an error.
    Refuse,
}

/// A record key, and what an operator should know of it.
#[derive(Debug, Clone)]
pub struct ResolvedKey {
    /// The key.
    pub key: RecordKey,
    /// The file that it was read from, where it was.
    pub file: Option<PathBuf>,
    /// Whether it was made just now.
    pub made_now: bool,
    /// Whether others than the file's owner may read it.
    pub open_to_others: bool,
}

/// The record key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is no file, and none may be made.
    #[error(
        "the record key's file {} does not exist, and without the key nothing can be read: put the key's \
         copy there, or set TRIPLICATE_RECORD_KEY; a new set-up gets its key when it first serves", .0.display()
    )]
    Missing(PathBuf),
    /// The file does not hold a key.
    #[error(
        "the record key's file {} does not hold 64 hex digits; put the key's copy there (it was left as it \
         is: a new key could not read what is stored)", .0.display()
    )]
    Malformed(PathBuf),
    /// The file cannot be read or made.
    #[error("the record key's file {} cannot be read or made: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Reads the record key, or makes it.
///
/// # Errors
///
/// Says what is wrong with the file.
pub fn resolve(source: &RecordKeySource, missing: Missing) -> Result<ResolvedKey, ResolveError> {
    let path = match source {
        RecordKeySource::Key(key) => {
            return Ok(ResolvedKey { key: key.clone(), file: None, made_now: false, open_to_others: false });
        }
        RecordKeySource::File(path) => path,
    };
    if let Some(found) = read(path)? {
        return Ok(found);
    }
    if missing == Missing::Refuse {
        return Err(ResolveError::Missing(path.clone()));
    }
    let text = SecretString::from(RecordKey::new(random_secret()).expose_hex());
    // Two gateways may start at once: what lies in the file afterwards is the key, whoever put it there.
    let made_now = secret_file::create(path, &text, &draft_suffix()).map_err(|error| io(path, error))?;
    let found = read(path)?.ok_or_else(|| ResolveError::Missing(path.clone()))?;
    Ok(ResolvedKey { made_now, ..found })
}

fn read(path: &Path) -> Result<Option<ResolvedKey>, ResolveError> {
    let found = match secret_file::read(path) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(ResolveError::Malformed(path.to_owned()));
        }
        Err(error) => return Err(io(path, error)),
    };
    let key = found.text.expose_secret().parse();
    let key: RecordKey = key.map_err(|_| ResolveError::Malformed(path.to_owned()))?;
    let open_to_others = found.open_to_others;
    Ok(Some(ResolvedKey { key, file: Some(path.to_owned()), made_now: false, open_to_others }))
}

/// Keeps the drafts of processes that start at once apart.
pub(super) fn draft_suffix() -> String {
    format!("{}.draft", data_encoding::HEXLOWER.encode(&random_secret()[..8]))
}

fn io(path: &Path, error: std::io::Error) -> ResolveError {
    ResolveError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
#[path = "record_key_tests.rs"]
mod tests;
