//! Recent: the versions whose upload began within a span of time.

use rusqlite::params;

use super::index::{Index, IndexError, IndexedVersion, version_of};
use super::{Catalog, IndexUnusable};
use crate::asset::UploadId;

impl Catalog {
    /// Returns up to `limit` versions whose upload began from `from_ms` to `to_ms`, in Unix milliseconds of the
    /// gateway that took it, the newest upload first.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub async fn uploaded_between(
        &self,
        from_ms: u64,
        to_ms: u64,
        limit: usize,
    ) -> Result<Vec<IndexedVersion>, IndexUnusable> {
        let inner = self.0.clone();
        self.blocking(move || inner.index.uploaded_between(from_ms, to_ms, limit)).await
    }
}

impl Index {
    fn uploaded_between(
        &self,
        from_ms: u64,
        to_ms: u64,
        limit: usize,
    ) -> Result<Vec<IndexedVersion>, IndexError> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT name, ord, upload, kind, missing, record FROM versions
             WHERE upload >= ?1 AND upload < ?2 AND expired = 0 ORDER BY upload DESC LIMIT ?3",
        )?;
        let edge = |ms: u64| UploadId::new(ms, 0).to_bytes();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![edge(from_ms), edge(to_ms.saturating_add(1)), limit];
        let rows = statement.query_map(values, version_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
