//! The local index: which versions of which names exist, and who holds them. A cache, never the truth.
//!
//! SQLite in WAL mode with `synchronous=NORMAL`: a crash may lose the last commits but never tears the
//! file, and the feed cursors are in the same transactions as what they led to, so a lost commit is simply
//! polled again. A file that cannot be opened, or was made for other providers, is thrown away.
//!
//! All calls block on local disk; the catalog runs them off the async workers.

mod bulk;

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use self::bulk::Names;
use crate::asset::{Kind, NameHash, Order, UploadId, Version};
use crate::provider::Slot;

/// The layout of the tables; another number means that the file is rebuilt.
const SCHEMA: i64 = 5;
/// How many connections read at the same time.
const READERS: usize = 2;

/// The local index could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the local index: {0}")]
pub struct IndexError(#[from] rusqlite::Error);

type Result<T> = std::result::Result<T, IndexError>;

/// "This provider holds this version", from a listing or a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The name.
    pub name: NameHash,
    /// The version.
    pub version: Version,
    /// Whether it holds bytes or is a tombstone. No version is both, but whoever can write to a provider can make a key
    /// of the other kind, which must hide nothing.
    pub kind: Kind,
    /// The providers that hold it; empty for a version that is merely known.
    pub holders: Vec<Slot>,
    /// The name and sealed record, where they were read.
    pub record: Option<(String, Vec<u8>)>,
}

impl Sighting {
    /// A record was listed, which says nothing of who holds the version completely.
    pub fn listed(name: NameHash, version: Version, kind: Kind) -> Self {
        Self { name, version, kind, holders: Vec::new(), record: None }
    }
}

/// One version as the index keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedVersion {
    /// The name.
    pub name: NameHash,
    /// The version.
    pub version: Version,
    /// Whether it holds bytes or is a tombstone.
    pub kind: Kind,
    /// Bit n is set where the provider in slot n is not known to hold the version.
    pub missing: u64,
    /// The sealed record, where it was read.
    pub record: Option<Vec<u8>>,
}

/// The open index.
#[derive(Debug)]
pub struct Index {
    writer: Mutex<Connection>,
    readers: Vec<Mutex<Connection>>,
    all: u64,
}

impl Index {
    /// Opens the index at `path` for the providers named `providers`, or makes an empty one.
    ///
    /// Returns it with whether it was made anew.
    ///
    /// # Errors
    ///
    /// Not even an empty index could be made.
    pub fn open(path: &Path, providers: &[String]) -> Result<(Self, bool)> {
        let fingerprint = format!("{SCHEMA}\n{}", providers.join("\n"));
        let usable = path.exists() && Self::connect(path).is_ok_and(|db| is_usable(&db, &fingerprint));
        if !usable {
            remove(path);
        }
        let writer = Self::connect(path)?;
        if !usable {
            create(&writer, &fingerprint)?;
        }
        let readers = (0..READERS).map(|_| Ok(Mutex::new(Self::connect(path)?))).collect::<Result<_>>()?;
        // What a load left behind that did not end.
        bulk::merge_names(&writer)?;
        let all = if providers.len() >= 63 { u64::MAX >> 1 } else { (1 << providers.len()) - 1 };
        Ok((Self { writer: Mutex::new(writer), readers, all }, !usable))
    }

    /// Adds what was seen, in one transaction.
    ///
    /// # Errors
    ///
    /// Nothing was added.
    pub fn apply(&self, sightings: &[Sighting]) -> Result<()> {
        self.write(|transaction| {
            sightings.iter().try_for_each(|seen| self.add(transaction, seen, Names::Listed))
        })
    }

    /// Adds what a feed showed, and moves the place where its polling goes on from `before` to `cursor`; where
    /// it is no longer there, because the index was emptied, it stays unknown.
    ///
    /// # Errors
    ///
    /// Nothing was added.
    pub fn apply_feed(
        &self,
        slot: Slot,
        before: Option<u64>,
        cursor: u64,
        sightings: &[Sighting],
    ) -> Result<()> {
        self.write(|transaction| {
            sightings.iter().try_for_each(|seen| self.add(transaction, seen, Names::Listed))?;
            let text = "INSERT OR REPLACE INTO cursors (slot, minute) SELECT ?1, ?2
                WHERE ?3 IS NULL OR EXISTS (SELECT 1 FROM cursors WHERE slot = ?1 AND minute = ?3)";
            let values = params![as_i64(slot.0 as u64), as_i64(cursor), before.map(as_i64)];
            transaction.prepare_cached(text)?.execute(values).map(drop)
        })
    }

    /// Returns where polling of a provider's feed goes on.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn cursor(&self, slot: Slot) -> Result<Option<u64>> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached("SELECT minute FROM cursors WHERE slot = ?1")?;
        let minute = statement.query_row([as_i64(slot.0 as u64)], |row| row.get::<_, i64>(0)).optional()?;
        Ok(minute.map(as_u64))
    }

    /// Marks a provider as not holding one version.
    ///
    /// # Errors
    ///
    /// Nothing was changed.
    pub fn forget_holder(&self, slot: Slot, name: NameHash, version: Version) -> Result<()> {
        self.write(|transaction| {
            let values =
                params![as_i64(bit(slot)), name.as_bytes(), ord(version.order), version.upload.to_bytes()];
            let text =
                "UPDATE versions SET missing = missing | ?1 WHERE name = ?2 AND ord = ?3 AND upload = ?4";
            transaction.execute(text, values).map(drop)
        })
    }

    /// Marks a provider as holding nothing, in pieces, so that writes get their turn in between.
    ///
    /// # Errors
    ///
    /// Some of it may have been done.
    pub fn forget_all(&self, slot: Slot) -> Result<()> {
        let text = "UPDATE versions SET missing = missing | ?1 WHERE name >= ?2 AND name < ?3";
        (0..=255_u8).try_for_each(|first| {
            // A name hash is 32 bytes long, so no hash is above 33 bytes of 0xff.
            let end = first.checked_add(1).map_or_else(|| vec![0xff; 33], |next| vec![next]);
            let values = params![as_i64(bit(slot)), [first], end];
            self.write(|transaction| transaction.prepare_cached(text)?.execute(values).map(drop))
        })
    }

    /// Returns all known versions of a name, the newest first.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn versions(&self, name: NameHash) -> Result<Vec<IndexedVersion>> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT name, ord, upload, kind, missing, record FROM versions WHERE name = ?1
             ORDER BY ord DESC, upload DESC, kind DESC",
        )?;
        let rows = statement.query_map([name.as_bytes()], version_of)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Returns up to `limit` names from the sorted list: those with `prefix`, after `after`.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, NameHash)>> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT text, hash FROM names WHERE text >= ?1 AND text <> ?2 ORDER BY text LIMIT ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = after.unwrap_or_default();
        let rows = statement.query_map(params![prefix.max(after), after, limit], |row| {
            Ok((row.get::<_, String>(0)?, NameHash::new(row.get(1)?)))
        })?;
        let mut names = rows.collect::<std::result::Result<Vec<_>, _>>()?;
        // Names below the prefix are one run of the sorted list.
        names.truncate(names.partition_point(|(text, _)| text.starts_with(prefix)));
        Ok(names)
    }

    /// Returns versions that lack a copy at any of the slots in `mask`, the newest first.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn incomplete(&self, mask: u64, limit: usize, offset: usize) -> Result<Vec<IndexedVersion>> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT name, ord, upload, kind, missing, record FROM versions
             WHERE missing <> 0 AND expired = 0 AND (missing & ?1) <> 0 ORDER BY ord DESC LIMIT ?2 OFFSET ?3",
        )?;
        let bounds = [limit, offset].map(|bound| i64::try_from(bound).unwrap_or(i64::MAX));
        let rows = statement.query_map(params![as_i64(mask), bounds[0], bounds[1]], version_of)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Returns up to `limit` versions whose record was not read yet, the newest first but for `offset`.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn without_record(&self, limit: usize, offset: usize) -> Result<Vec<IndexedVersion>> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT name, ord, upload, kind, missing, record FROM versions
             WHERE record IS NULL ORDER BY ord DESC LIMIT ?1 OFFSET ?2",
        )?;
        let bounds = [limit, offset].map(|bound| i64::try_from(bound).unwrap_or(i64::MAX));
        let rows = statement.query_map(bounds, version_of)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Returns how many names are known.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn count_names(&self) -> Result<u64> {
        let db = self.reader().lock();
        Ok(as_u64(db.query_row("SELECT count(*) FROM names", [], |row| row.get(0))?))
    }

    /// Returns how many versions the provider in `slot` is not known to hold.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn missing_at(&self, slot: Slot) -> Result<u64> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT count(*) FROM versions WHERE missing <> 0 AND expired = 0 AND (missing & ?1) <> 0",
        )?;
        Ok(as_u64(statement.query_row([as_i64(bit(slot))], |row| row.get(0))?))
    }

    /// Tells whether any version is known.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn is_empty(&self) -> Result<bool> {
        let db = self.reader().lock();
        let any = db.query_row("SELECT 1 FROM versions LIMIT 1", [], |_| Ok(())).optional()?;
        Ok(any.is_none())
    }

    fn add(&self, transaction: &Transaction<'_>, seen: &Sighting, names: Names) -> rusqlite::Result<()> {
        let held = seen.holders.iter().fold(0, |mask, slot| mask | bit(*slot));
        let record = seen.record.as_ref().map(|(_, sealed)| sealed);
        let mut statement = transaction.prepare_cached(
            "INSERT INTO versions (name, ord, upload, kind, missing, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (name, ord, upload, kind) DO UPDATE
             SET missing = missing & excluded.missing, record = coalesce(record, excluded.record)",
        )?;
        statement.execute(params![
            seen.name.as_bytes(),
            ord(seen.version.order),
            seen.version.upload.to_bytes(),
            seen.kind == Kind::Put,
            as_i64(self.all & !held),
            record,
        ])?;
        if let Some((text, _)) = &seen.record {
            let mut statement = transaction.prepare_cached(names.insert())?;
            statement.execute(params![text, seen.name.as_bytes()])?;
        }
        Ok(())
    }

    pub(super) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut db = self.writer.lock();
        let transaction = db.transaction()?;
        let output = work(&transaction)?;
        transaction.commit()?;
        Ok(output)
    }

    /// Takes a free reader, or the first one and waits.
    pub(super) fn reader(&self) -> &Mutex<Connection> {
        self.readers.iter().find(|reader| !reader.is_locked()).unwrap_or(&self.readers[0])
    }

    fn connect(path: &Path) -> Result<Connection> {
        let db = Connection::open(path)?;
        db.busy_timeout(std::time::Duration::from_secs(1))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        // Else a statement is planned anew whenever it is given other values.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(db)
    }
}

fn is_usable(db: &Connection, fingerprint: &str) -> bool {
    let stored = db.query_row("SELECT fingerprint FROM meta", [], |row| row.get::<_, String>(0));
    let sound = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    stored.is_ok_and(|stored| stored == fingerprint) && sound.is_ok_and(|sound| sound == "ok")
}

fn create(db: &Connection, fingerprint: &str) -> Result<()> {
    db.execute_batch(
        "CREATE TABLE meta (fingerprint TEXT NOT NULL) STRICT;
         CREATE TABLE versions (
             name BLOB NOT NULL, ord INTEGER NOT NULL, upload BLOB NOT NULL, kind INTEGER NOT NULL,
             missing INTEGER NOT NULL, record BLOB, expired INTEGER NOT NULL DEFAULT 0,
             PRIMARY KEY (name, ord, upload, kind)
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX versions_incomplete ON versions (ord) WHERE missing <> 0 AND expired = 0;
         CREATE INDEX versions_upload ON versions (upload);
         CREATE INDEX versions_unread ON versions (ord) WHERE record IS NULL;
         CREATE TABLE names (text TEXT PRIMARY KEY, hash BLOB NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE arrived (number INTEGER PRIMARY KEY, text TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
         CREATE TABLE cursors (slot INTEGER PRIMARY KEY, minute INTEGER NOT NULL) STRICT;",
    )?;
    db.execute("INSERT INTO meta (fingerprint) VALUES (?1)", [fingerprint])?;
    Ok(())
}

/// Removes a database with its journals; what cannot be removed fails when it is opened.
pub(super) fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let _ = std::fs::remove_file(PathBuf::from(file));
    }
}

pub(super) fn version_of(row: &Row<'_>) -> rusqlite::Result<IndexedVersion> {
    Ok(IndexedVersion {
        name: NameHash::new(row.get(0)?),
        version: Version {
            order: Order::new(as_u64(row.get(1)?) ^ SIGN),
            upload: UploadId::from_bytes(row.get(2)?),
        },
        kind: if row.get::<_, bool>(3)? { Kind::Put } else { Kind::Del },
        missing: as_u64(row.get(4)?),
        record: match row.get(5)? {
            Value::Blob(sealed) => Some(sealed),
            Value::Null | Value::Integer(_) | Value::Real(_) | Value::Text(_) => None,
        },
    })
}

/// SQLite compares signed integers: flipping the top bit keeps the order of unsigned ones.
pub(super) const SIGN: u64 = 1 << 63;

pub(super) fn ord(order: Order) -> i64 {
    as_i64(order.get() ^ SIGN)
}

pub(super) fn bit(slot: Slot) -> u64 {
    1 << slot.0
}

pub(super) const fn as_i64(value: u64) -> i64 {
    i64::from_ne_bytes(value.to_ne_bytes())
}

pub(super) const fn as_u64(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
