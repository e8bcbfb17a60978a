//! Expiry: what retention asks of the index, and what it makes the index forget.
//!
//! A version marked as expired is on its way out at every provider: it counts as missing nowhere, so that
//! repair does not bring back what was just removed. The mark is a hint like the whole index. It is set
//! again by each look at the name, and a lost one costs a needless copy.

use rusqlite::{OptionalExtension, params};

use super::index::{self, Index, IndexError};
use super::{Catalog, IndexUnusable, KnownVersion};
use crate::asset::{Kind, NameHash, Order, UploadId, Version};
use crate::provider::Slot;

/// How many pieces the names are walked in, by the first byte of their hashes.
pub const SHARDS: u16 = 256;

/// Which names are worth a look.
#[derive(Debug, Clone, Copy)]
pub struct Cutoff {
    /// A name whose versions are all stamped after this, in Unix milliseconds, is passed over.
    pub before_ms: u64,
    /// Unless one is stamped after this: a stamp in the future says nothing.
    pub now_ms: u64,
}

impl Index {
    /// Returns the next names of a shard that have an old version, or are deleted.
    fn outlived(
        &self,
        shard: u8,
        after: Option<NameHash>,
        cutoff: Cutoff,
        limit: usize,
    ) -> Result<Vec<NameHash>, IndexError> {
        let first = after.map_or_else(|| vec![shard], |after| [after.as_bytes().as_slice(), &[0]].concat());
        let end = shard.checked_add(1).map_or_else(|| vec![0xff; 33], |next| vec![next]);
        let [before, now] = [cutoff.before_ms, cutoff.now_ms].map(|ms| index::ord(Order::from_unix_ms(ms)));
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT name FROM versions WHERE name >= ?1 AND name < ?2 GROUP BY name
             HAVING (count(*) > 1 OR min(kind) = 0) AND (min(ord) < ?3 OR max(ord) > ?4)
             ORDER BY name LIMIT ?5",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![first, end, before, now, limit], |row| row.get(0))?;
        Ok(rows.map(|name| name.map(NameHash::new)).collect::<Result<_, _>>()?)
    }

    fn expire(&self, name: NameHash, expired: &[Version]) -> Result<(), IndexError> {
        self.write(|transaction| {
            transaction.execute("UPDATE versions SET expired = 0 WHERE name = ?1", [name.as_bytes()])?;
            let mut statement = transaction.prepare_cached(
                "UPDATE versions SET expired = 1 WHERE name = ?1 AND ord = ?2 AND upload = ?3",
            )?;
            expired.iter().try_for_each(|version| {
                let values = params![name.as_bytes(), index::ord(version.order), version.upload.to_bytes()];
                statement.execute(values).map(drop)
            })
        })
    }

    fn forget(
        &self,
        name: NameHash,
        version: Version,
        kind: Kind,
        text: Option<&str>,
    ) -> Result<(), IndexError> {
        self.write(|transaction| {
            let (order, upload) = (index::ord(version.order), version.upload.to_bytes());
            transaction.execute(
                "DELETE FROM versions WHERE name = ?1 AND ord = ?2 AND upload = ?3 AND kind = ?4",
                params![name.as_bytes(), order, upload, kind == Kind::Put],
            )?;
            transaction
                .execute(
                    "DELETE FROM names WHERE text = ?1 AND hash = ?2
                     AND NOT EXISTS (SELECT 1 FROM versions WHERE name = ?2)",
                    params![text, name.as_bytes()],
                )
                .map(drop)
        })
    }

    /// Counts the copies at a provider; of expired versions none is taken off, which spares a whole scan.
    fn held(&self, slot: Slot) -> Result<u64, IndexError> {
        let missing = self.missing_at(slot)?;
        let db = self.reader().lock();
        let all: i64 = db.query_row("SELECT count(*) FROM versions", [], |row| row.get(0))?;
        Ok(index::as_u64(all).saturating_sub(missing))
    }

    /// Counts the copies at a provider that are there to stay: on their way out they may be gone already.
    fn kept(&self, slot: Slot) -> Result<u64, IndexError> {
        let db = self.reader().lock();
        let kept: i64 = db.query_row(
            "SELECT count(*) FROM versions WHERE expired = 0 AND (missing & ?1) = 0",
            [index::as_i64(index::bit(slot))],
            |row| row.get(0),
        )?;
        Ok(index::as_u64(kept))
    }

    fn knows_upload(&self, upload: UploadId) -> Result<bool, IndexError> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached("SELECT 1 FROM versions WHERE upload = ?1 LIMIT 1")?;
        Ok(statement.query_row([upload.to_bytes()], |_| Ok(())).optional()?.is_some())
    }

    fn is_deleted(&self, upload: UploadId) -> Result<bool, IndexError> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM versions AS it JOIN versions AS tombstone
                 ON tombstone.name = it.name AND tombstone.kind = 0
                 AND (tombstone.ord, tombstone.upload) > (it.ord, it.upload)
             WHERE it.upload = ?1)",
        )?;
        Ok(statement.query_row([upload.to_bytes()], |row| row.get(0))?)
    }

    fn has_record(&self, name: NameHash, version: Version) -> Result<bool, IndexError> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT coalesce(max(record IS NOT NULL), 0) FROM versions
             WHERE name = ?1 AND ord = ?2 AND upload = ?3",
        )?;
        let values = params![name.as_bytes(), index::ord(version.order), version.upload.to_bytes()];
        Ok(statement.query_row(values, |row| row.get(0))?)
    }
}

impl Catalog {
    /// Returns up to `limit` names of a shard, behind `after`, that have more than one version or are
    /// deleted, and are old enough to be worth a look.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub async fn outlived(
        &self,
        shard: u8,
        after: Option<NameHash>,
        cutoff: Cutoff,
        limit: usize,
    ) -> Result<Vec<NameHash>, IndexUnusable> {
        let inner = self.0.clone();
        self.blocking(move || inner.index.outlived(shard, after, cutoff, limit)).await
    }

    /// Marks exactly these versions of a name as expired.
    ///
    /// # Errors
    ///
    /// Nothing was changed.
    pub async fn expire(&self, name: NameHash, expired: Vec<Version>) -> Result<(), IndexUnusable> {
        self.change(vec![name], move |index| index.expire(name, &expired)).await
    }

    /// Notes that a provider no longer holds a version, which is nothing to repair.
    ///
    /// # Errors
    ///
    /// Nothing was changed.
    pub async fn removed(&self, slot: Slot, name: NameHash, version: Version) -> Result<(), IndexUnusable> {
        self.clear_suspicion(name, version, slot);
        self.change(vec![name], move |index| index.forget_holder(slot, name, version)).await
    }

    /// Forgets a version that no provider has any more, and its name with the last one.
    ///
    /// # Errors
    ///
    /// Nothing was changed.
    pub async fn forget(&self, name: NameHash, gone: &KnownVersion) -> Result<(), IndexUnusable> {
        self.parts().fleet.slots().for_each(|slot| self.clear_suspicion(name, gone.version, slot));
        let (version, kind, record) = (gone.version, gone.kind, gone.record.clone());
        let forget = move |index: &Index| {
            index.forget(name, version, kind, record.as_ref().map(|record| record.name.as_str()))
        };
        self.change(vec![name], forget).await
    }

    /// Returns how many copies a provider is known to hold, but for those that expire.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub async fn copies_kept(&self, slot: Slot) -> Result<u64, IndexUnusable> {
        let inner = self.0.clone();
        self.blocking(move || inner.index.kept(slot)).await
    }

    /// Returns how many copies each provider is known to hold, those that expire included.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub async fn copies_held(&self) -> Result<Vec<u64>, IndexUnusable> {
        let inner = self.0.clone();
        let slots = self.parts().fleet.slots();
        self.blocking(move || slots.map(|slot| inner.index.held(slot)).collect()).await
    }

    /// Keeps, of these uploads, those that belong to no known version.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub async fn unknown_uploads(&self, uploads: Vec<UploadId>) -> Result<Vec<UploadId>, IndexUnusable> {
        self.uploads_that(uploads, |index, upload| Ok(!index.knows_upload(upload)?)).await
    }

    /// Keeps, of these uploads, those of versions below a tombstone, and those that a fresh index does not know.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub async fn deleted_uploads(&self, uploads: Vec<UploadId>) -> Result<Vec<UploadId>, IndexUnusable> {
        let is_fresh = self.is_fresh();
        let is_deleted = move |index: &Index, upload| {
            Ok(index.is_deleted(upload)? || (is_fresh && !index.knows_upload(upload)?))
        };
        self.uploads_that(uploads, is_deleted).await
    }

    async fn uploads_that(
        &self,
        uploads: Vec<UploadId>,
        test: impl Fn(&Index, UploadId) -> Result<bool, IndexError> + Send + 'static,
    ) -> Result<Vec<UploadId>, IndexUnusable> {
        let inner = self.0.clone();
        self.blocking(move || {
            let judged = uploads.into_iter().map(|upload| Ok((upload, test(&inner.index, upload)?)));
            let judged = judged.collect::<Result<Vec<_>, IndexError>>()?;
            Ok(judged.into_iter().filter(|(_, passes)| *passes).map(|(upload, _)| upload).collect())
        })
        .await
    }

    /// Tells of each of these versions whether its record was read.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub async fn have_record(&self, versions: Vec<(NameHash, Version)>) -> Result<Vec<bool>, IndexUnusable> {
        let inner = self.0.clone();
        self.blocking(move || {
            versions.into_iter().map(|(name, version)| inner.index.has_record(name, version)).collect()
        })
        .await
    }
}

#[cfg(test)]
#[path = "expiry_tests.rs"]
mod tests;
