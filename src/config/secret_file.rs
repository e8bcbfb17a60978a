//! Secret files: one line that only this user may read, made whole or not at all, never written twice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

/// The largest secret file, in bytes.
const FILE_BYTES_MAX: u64 = 4096;
/// The permissions of a secret file: for its owner alone.
const FILE_MODE: u32 = 0o600;
/// The permissions of everybody else.
const OTHERS: u32 = 0o077;

/// What was read from a secret file.
pub(super) struct SecretFile {
    /// Its text, without the line's end.
    pub(super) text: SecretString,
    /// Whether others than its owner have any right to it.
    pub(super) open_to_others: bool,
}

/// Reads a secret file; `None` when there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<SecretFile>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let open_to_others = file.metadata()?.permissions().mode() & OTHERS != 0;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(SecretFile { text: SecretString::from(text.trim_end()), open_to_others }))
}

/// Makes a secret file with its folders, unless somebody else just did: `false` then, and theirs stays.
///
/// The text is written and synced beside it first and then linked to its name, so that neither a crash nor
/// another process ever sees a part of it.
pub(super) fn create(path: &Path, text: &SecretString, draft_suffix: &str) -> io::Result<bool> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let draft = path.with_added_extension(draft_suffix);
    let written = write(&draft, text).and_then(|()| match fs::hard_link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        // Some file systems have no links; there a crash may leave a part, which is refused when read.
        Err(_) => match write(path, text) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
    });
    let removed = fs::remove_file(&draft);
    let created = written?;
    removed?;
    File::open(folder)?.sync_all()?;
    Ok(created)
}

fn write(path: &Path, text: &SecretString) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(text.expose_secret().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
