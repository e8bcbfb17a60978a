//! Test data: real icons from an npm package, and made assets of the sizes where things change.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;
use data_encoding::BASE64;
use ring::digest::{SHA512, digest};

use super::install::{once, run};
use super::target_dir;

const PACKAGE: &str = "simple-icons";
const VERSION: &str = "16.0.0";
/// The integrity hash of the package in the registry: SHA-512, Base64.
const SHA512_BASE64: &str =
    "FPA/dxEy0dfXplKhPhqFI6KoPKAhe7t75emZ5i1T1vmqCYwboCqVNezRWaMmPkBazpHKmMAnaUYxoYsfRoDnZQ==";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The sizes around empty, one block and one part, and one that has many parts.
pub const SIZES: [usize; 9] =
    [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 100 * MIB];

/// Returns bytes that look random and are the same for the same seed.
pub fn bytes(seed: &str, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// Returns real icons, some thousand SVG files, as file name and bytes, sorted by name.
pub fn icons() -> &'static [(String, Bytes)] {
    static ICONS: OnceLock<Vec<(String, Bytes)>> = OnceLock::new();
    ICONS.get_or_init(|| {
        let folder = once(&target_dir().join("icons"), &format!("{PACKAGE}-{VERSION}"), download)
            .unwrap_or_else(|error| {
                panic!("the tests need the npm package {PACKAGE} {VERSION}; they need npm, tar and a way to its registry: {error}")
            });
        let mut icons: Vec<_> = fs::read_dir(folder.join("package/icons"))
            .expect("the package holds icons")
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, Bytes::from(fs::read(path).unwrap()))
            })
            .collect();
        icons.sort();
        icons
    })
}

fn download(into: &Path) -> Result<(), String> {
    let wanted = format!("{PACKAGE}@{VERSION}");
    run(Command::new("npm")
        .args(["pack", &wanted, "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(into))?;
    let file = into.join(format!("{PACKAGE}-{VERSION}.tgz"));
    let bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    if BASE64.encode(digest(&SHA512, &bytes).as_ref()) != SHA512_BASE64 {
        return Err(format!("{wanted} is not the package whose hash is pinned"));
    }
    run(Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(into)).map(|_| ())
}
