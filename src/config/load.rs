//! Loading: the text of the file, and what stands in for a file that is not there.

use std::env::VarError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::document::{Shown, decode, of_file, read};
use super::interpolate::Lookup;
use super::problem::{ConfigErrors, Problem};
use super::{Config, document, file};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "providers.yaml";
/// The configuration that is used where that file is missing: three folders below `./data`.
const BUILT_IN: &str = include_str!("../../providers.yaml");

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

fn refuse_read(error: &std::io::Error) -> String {
    let missing = format!(
        "there is no such file; copy the repository's {DEFAULT_FILE} there, or name another with --config FILE"
    );
    document::refuse_read(error, missing, format!("is a folder; write --config FOLDER/{DEFAULT_FILE}"))
}

#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub(crate) fn environment(name: &str) -> Result<String, VarError> {
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
    document::parse(text, name, lookup, Shown::Open, |root, findings| file::read(root, base, findings))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "malformed_tests.rs"]
mod malformed_tests;
