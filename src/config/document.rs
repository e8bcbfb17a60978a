//! Documents: any YAML text that is read by the rules of the configuration.
//!
//! A drill's scenario is written in the same language: positions, unknown keys refused, all errors together.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use super::interpolate::Lookup;
use super::problem::{ConfigErrors, Lines, Problem};
use super::reader::{Finding, Findings};
use super::tree::{self, Node, Position};

/// The largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Whether lines of a text may be shown with what is wrong in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Those of keys that never hold a secret.
    Open,
    /// All: the text holds no secret.
    All,
}

/// Parses a text and walks it with `read`, which returns `None` only after it found an error.
///
/// # Errors
///
/// Everything that is wrong, together; after a syntax error only that.
pub(crate) fn parse<T>(
    text: &str,
    name: &str,
    lookup: Lookup<'_>,
    shown: Shown,
    read: impl FnOnce(Option<&Node>, &mut Findings<'_>) -> Option<T>,
) -> Result<(T, Vec<Problem>), ConfigErrors> {
    let name: Arc<str> = name.into();
    let problem = |finding: Finding| Problem::at(&name, finding.at, finding.path, finding.message);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut tree = tree::parse(text)
        .map_err(|flaw| ConfigErrors::new(vec![Problem::at(&name, flaw.at, String::new(), flaw.message)]))?;
    let lines = match shown {
        Shown::Open => Lines::new(text, &tree),
        Shown::All => Lines::all(text),
    };
    let mut findings = Findings::new(lookup, std::mem::take(&mut tree.refused));
    let value = read(tree.root.as_ref(), &mut findings);
    let show =
        |found: Vec<Finding>| found.into_iter().map(|found| problem(found).with_line(&lines)).collect();
    match value.filter(|_| findings.errors.is_empty()) {
        Some(value) => Ok((value, show(findings.warnings))),
        None => Err(ConfigErrors::new(show(findings.errors))),
    }
}

/// Reads a file, at most one byte more than is allowed.
///
/// # Errors
///
/// What the system said.
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the bytes of a file as text.
///
/// # Errors
///
/// It is too large, or not UTF-8.
pub(crate) fn decode<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, ConfigErrors> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(of_file(name, "is larger than 1MiB, which is no configuration"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        // What comes before the error is valid.
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.rsplit('\n').next().unwrap_or_default();
        let at = Position { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 };
        let message = "is not UTF-8 here; save the file as UTF-8".to_owned();
        ConfigErrors::new(vec![Problem::at(&Arc::from(name), at, String::new(), message)])
    })
}

/// Says what is wrong with a whole file.
pub(crate) fn of_file(name: &str, message: impl Into<String>) -> ConfigErrors {
    ConfigErrors::new(vec![Problem::of_file(name, message)])
}

/// Says why a file cannot be read; `missing` is what to do where there is none.
pub(crate) fn refuse_read(error: &std::io::Error, missing: String, folder: String) -> String {
    let kind = error.kind();
    if kind == ErrorKind::NotFound {
        return missing;
    }
    if kind == ErrorKind::PermissionDenied {
        return "cannot be read: give this user the right to read it".to_owned();
    }
    if kind == ErrorKind::IsADirectory {
        return folder;
    }
    format!("cannot be read: {error}")
}
