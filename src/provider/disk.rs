//! A local folder as a provider. (seam)

use std::path::PathBuf;

/// Where a disk provider keeps its objects.
#[derive(Debug, Clone)]
pub struct DiskSettings {
    /// The folder, made when it is not there.
    pub path: PathBuf,
}
