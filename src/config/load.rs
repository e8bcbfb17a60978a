//! Loading: the text of the file, and what stands in for a file that is not there.

use std::env::VarError;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::interpolate::Lookup;
use super::problem::{ConfigErrors, Lines, Problem};
use super::reader::{Finding, Findings};
use super::tree::{self, Position};
use super::{Config, file};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "providers.yaml";
/// The configuration that is used where that file is missing: three folders below `./data`.
const BUILT_IN: &str = include_str!("../../providers.yaml");
/// The largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration, and what came with it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What an operator should know.
    pub warnings: Vec<Problem>,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// The program itself, since there was no file.
    BuiltIn,
}

impl Config {
    /// Reads a file and the environment; relative paths start at the file's folder.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, together; after a syntax error only that.
    pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
        let name = path.display().to_string();
        let bytes = read(path).map_err(|error| of_file(&name, refuse_read(&error)))?;
        Self::from_bytes(&bytes, path, &name)
    }

    /// Reads `./providers.yaml`, or what is built in where there is none.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load_default() -> Result<Loaded, ConfigErrors> {
        let path = Path::new(DEFAULT_FILE);
        match read(path) {
            Ok(bytes) => Self::from_bytes(&bytes, path, DEFAULT_FILE),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let name = "built-in configuration";
                let (config, warnings) = parse(BUILT_IN, name, Path::new(""), &environment)?;
                Ok(Loaded { config, warnings, origin: Origin::BuiltIn })
            }
            Err(error) => Err(of_file(DEFAULT_FILE, refuse_read(&error))),
        }
    }

    fn from_bytes(bytes: &[u8], path: &Path, name: &str) -> Result<Loaded, ConfigErrors> {
        let text = decode(bytes, name)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let (config, warnings) = parse(text, name, base, &environment)?;
        Ok(Loaded { config, warnings, origin: Origin::File(path.to_owned()) })
    }
}

/// Reads at most one byte more than is allowed.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn refuse_read(error: &std::io::Error) -> String {
    let kind = error.kind();
    if kind == ErrorKind::NotFound {
        return format!(
            "there is no such file; copy the repository's {DEFAULT_FILE} there, or name another with --config FILE"
        );
    }
    if kind == ErrorKind::PermissionDenied {
        return "cannot be read: give this user the right to read it".to_owned();
    }
    if kind == ErrorKind::IsADirectory {
        return format!("is a folder; write --config FOLDER/{DEFAULT_FILE}");
    }
    format!("cannot be read: {error}")
}

fn decode<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, ConfigErrors> {
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

fn of_file(name: &str, message: impl Into<String>) -> ConfigErrors {
    ConfigErrors::new(vec![Problem::of_file(name, message)])
}

#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
fn environment(name: &str) -> Result<String, VarError> {
    // Looking up a name with `=` or NUL could panic; interpolation lets no such name through.
    std::env::var(name)
}

/// Turns a text into a configuration and warnings.
pub(super) fn parse(
    text: &str,
    name: &str,
    base: &Path,
    lookup: Lookup<'_>,
) -> Result<(Config, Vec<Problem>), ConfigErrors> {
    let name: Arc<str> = name.into();
    let problem = |finding: Finding| Problem::at(&name, finding.at, finding.path, finding.message);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut tree = tree::parse(text)
        .map_err(|flaw| ConfigErrors::new(vec![Problem::at(&name, flaw.at, String::new(), flaw.message)]))?;
    let lines = Lines::new(text, &tree);
    let mut findings = Findings::new(lookup, std::mem::take(&mut tree.refused));
    let config = file::read(tree.root.as_ref(), base, &mut findings);
    let show =
        |found: Vec<Finding>| found.into_iter().map(|found| problem(found).with_line(&lines)).collect();
    match config {
        Some(config) => Ok((config, show(findings.warnings))),
        None => Err(ConfigErrors::new(show(findings.errors))),
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "malformed_tests.rs"]
mod malformed_tests;
