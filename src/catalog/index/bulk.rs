//! The index in bulk: pages out of it for a snapshot, and batches into it from one.
//!
//! Rows come in the order of their keys, which is quick. The list of names is in another order: a few thousand
//! names touch most of its pages. So they are put down as they come, in the same transaction as their rows, and
//! merged into the list many at a time, sorted; what a crash leaves is merged when the index is opened.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Index, IndexedVersion, Result, Sighting, as_u64, ord, version_of};
use crate::asset::{Kind, NameHash, Version};

/// The memory for pages while a snapshot is loaded, in KiB: names come in no order, and their tree should
/// stay in memory.
const LOADING_CACHE_KIB: i64 = 64 * 1024;
/// The memory for pages at other times, in KiB; SQLite's own default.
const CACHE_KIB: i64 = 2_000;
/// How many pages the journal may have before it is worked off: while loading, and at other times.
const JOURNAL_PAGES: [i64; 2] = [16_384, 1_000];
/// How many names are merged at once.
const NAMES_MERGED: i64 = 200_000;
/// What a row takes beside its record, about, in bytes.
const ROW_BYTES: usize = 128;

/// Where the names of new records go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Names {
    /// Into the list at once.
    Listed,
    /// To those that wait to be merged.
    Arrived,
}

impl Names {
    pub(super) const fn insert(self) -> &'static str {
        match self {
            Self::Listed => "INSERT OR IGNORE INTO names (text, hash) VALUES (?1, ?2)",
            Self::Arrived => "INSERT INTO arrived (text, hash) VALUES (?1, ?2)",
        }
    }
}

/// Merges names that wait into the list, in pieces.
pub(super) fn merge_names(db: &Connection) -> Result<()> {
    let first = "SELECT min(number) FROM arrived";
    while let Some(first) = db.query_row(first, [], |row| row.get::<_, Option<i64>>(0))? {
        let piece = [first, first.saturating_add(NAMES_MERGED)];
        let transaction = db.unchecked_transaction()?;
        transaction.execute(
            "INSERT OR IGNORE INTO names (text, hash)
             SELECT text, hash FROM arrived WHERE number >= ?1 AND number < ?2 ORDER BY text",
            piece,
        )?;
        transaction.execute("DELETE FROM arrived WHERE number >= ?1 AND number < ?2", piece)?;
        transaction.commit()?;
    }
    Ok(())
}

impl Index {
    /// Adds what `prepare` returns, in one transaction; new names are listed by [`Index::merge_names`]. While `prepare` runs nobody else changes the index,
    /// so what it looks at outside cannot be overtaken by a change that follows from it.
    ///
    /// # Errors
    ///
    /// Nothing was added.
    pub fn apply_prepared(&self, prepare: impl FnOnce() -> Vec<Sighting>) -> Result<()> {
        self.write(|transaction| {
            prepare().iter().try_for_each(|seen| self.add(transaction, seen, Names::Arrived))
        })
    }

    /// Merges the names of what was added in bulk into the list, if there are many or `all` are wanted.
    ///
    /// # Errors
    ///
    /// Some of it may have been done.
    pub fn merge_names(&self, all: bool) -> Result<()> {
        let db = self.writer.lock();
        let span = "SELECT coalesce(max(number) - min(number), 0) FROM arrived";
        if all || db.query_row(span, [], |row| row.get::<_, i64>(0))? >= NAMES_MERGED {
            merge_names(&db)?;
        }
        Ok(())
    }

    /// Returns the versions behind `after` in the order of their names, until their records have `bytes_max`.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn page(&self, after: Option<(NameHash, Version)>, bytes_max: usize) -> Result<Vec<IndexedVersion>> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT name, ord, upload, kind, missing, record FROM versions
             WHERE (name, ord, upload) > (?1, ?2, ?3) ORDER BY name, ord, upload",
        )?;
        // No name hash is empty, so an empty one is before them all.
        let (name, order, upload) = match &after {
            Some((name, version)) => {
                (name.as_bytes().as_slice(), ord(version.order), version.upload.to_bytes().to_vec())
            }
            None => ([].as_slice(), 0, Vec::new()),
        };
        let mut rows = statement.query(params![name, order, upload])?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let version = version_of(row)?;
            // The next page begins behind a version, whatever kinds there are of it.
            let is_twin = page.last().is_some_and(|last: &IndexedVersion| {
                (last.name, last.version) == (version.name, version.version)
            });
            if bytes >= bytes_max && !is_twin {
                break;
            }
            bytes += ROW_BYTES + version.record.as_ref().map_or(0, Vec::len);
            page.push(version);
        }
        Ok(page)
    }

    /// Returns, for each version, who is not known to hold it; `None` for one that is not known at all.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn missing_of(&self, versions: &[(NameHash, Version, Kind)]) -> Result<Vec<Option<u64>>> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT missing FROM versions WHERE name = ?1 AND ord = ?2 AND upload = ?3 AND kind = ?4",
        )?;
        let missing = versions.iter().map(|(name, version, kind)| {
            let is_put = *kind == Kind::Put;
            let at = params![name.as_bytes(), ord(version.order), version.upload.to_bytes(), is_put];
            Ok(statement.query_row(at, |row| row.get::<_, i64>(0)).optional()?.map(as_u64))
        });
        missing.collect()
    }

    /// Returns the latest minute at which any feed was polled.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn latest_cursor(&self) -> Result<Option<u64>> {
        let db = self.reader().lock();
        let latest = db.query_row("SELECT max(minute) FROM cursors", [], |row| row.get::<_, Option<i64>>(0));
        Ok(latest?.map(as_u64))
    }

    /// Takes more memory for pages while much is added, and gives it back afterwards.
    ///
    /// # Errors
    ///
    /// The file cannot be used.
    pub fn set_loading(&self, loading: bool) -> Result<()> {
        let db = self.writer.lock();
        db.pragma_update(None, "wal_autocheckpoint", JOURNAL_PAGES[usize::from(!loading)])?;
        db.pragma_update(None, "cache_size", if loading { -LOADING_CACHE_KIB } else { -CACHE_KIB })?;
        if !loading {
            db.execute_batch("PRAGMA shrink_memory")?;
        }
        Ok(())
    }
}
