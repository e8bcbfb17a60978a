//! The ledger: what all providers listed, and how far the audit came, in one SQLite file.
//!
//! It keeps memory bounded however many objects there are, and makes an interrupted audit resumable. It
//! is scratch: a damaged or outdated file is thrown away. It is locked as long as it is open, so that two
//! audits never share one. Calls are short (a page of a listing, a page of the walk) and never wait.

mod id;
mod listings;
mod orphans;

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

pub use id::VersionId;
pub use orphans::{OrphanBlob, OrphanFeed, Stray};

use super::finding::Finding;

/// Changes whenever the tables do.
const SCHEMA: i64 = 1;

const TABLES: &str = "
    CREATE TABLE run (only INTEGER PRIMARY KEY CHECK (only = 1), options TEXT, seed INTEGER,
        started_ms INTEGER, phase INTEGER, cursor BLOB, checked INTEGER, unsure INTEGER);
    CREATE TABLE listings (slot INTEGER PRIMARY KEY);
    CREATE TABLE records (id BLOB, slot INTEGER, bytes INTEGER, sha256 BLOB, upload BLOB,
        PRIMARY KEY (id, slot)) WITHOUT ROWID;
    CREATE INDEX records_upload ON records (upload);
    CREATE TABLE blobs (upload BLOB, number INTEGER, slot INTEGER, bytes INTEGER, sha256 BLOB,
        PRIMARY KEY (upload, number, slot)) WITHOUT ROWID;
    CREATE TABLE feed (id BLOB, slot INTEGER, minute INTEGER, upload BLOB,
        PRIMARY KEY (id, slot, minute)) WITHOUT ROWID;
    CREATE INDEX feed_upload ON feed (upload);
    CREATE TABLE strays (slot INTEGER, key TEXT, bytes INTEGER, PRIMARY KEY (slot, key)) WITHOUT ROWID;
    CREATE TABLE findings (number INTEGER PRIMARY KEY AUTOINCREMENT, phase INTEGER, line TEXT);
";
const SCHEMA_TABLES: [&str; 7] = ["run", "listings", "records", "blobs", "feed", "strays", "findings"];

/// The ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another audit has it open.
    #[error("another audit is running with the same state folder")]
    Busy,
    /// The folder cannot be made or the file cannot be removed.
    #[error("the audit's ledger: {0}")]
    Io(#[from] std::io::Error),
    /// SQLite failed.
    #[error("the audit's ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

type Result<T> = std::result::Result<T, LedgerError>;

/// How far an audit came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The providers are being listed.
    Listing,
    /// The versions are being looked at, one by one.
    Walking,
    /// What belongs to no version is looked for.
    Orphans,
    /// All is done.
    Done,
}

/// One audit, as far as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What was asked for, in one text; a run is resumed only for the same.
    pub options: String,
    /// Decides which versions a sample takes.
    pub seed: u64,
    /// When the listings began, in Unix milliseconds.
    pub started_ms: u64,
    /// How far it came.
    pub phase: Phase,
    /// The last version that was looked at.
    pub cursor: Option<VersionId>,
    /// How many versions were looked at.
    pub checked: u64,
    /// Whether something could not be judged.
    pub unsure: bool,
}

/// The open ledger.
#[derive(Debug)]
pub struct Ledger(Mutex<Connection>);

impl Ledger {
    /// Opens the ledger in `dir` and locks it; a file that cannot be read is made anew.
    ///
    /// # Errors
    ///
    /// Another audit has it open, or the folder cannot be written.
    pub fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("audit.sqlite");
        match Self::open_file(&path) {
            Err(LedgerError::Sqlite(error)) if is_useless(&error) => {
                for suffix in ["", "-wal", "-shm"] {
                    let path = dir.join(format!("audit.sqlite{suffix}"));
                    if path.exists() {
                        std::fs::remove_file(path)?;
                    }
                }
                Self::open_file(&path)
            }
            opened => opened,
        }
    }

    fn open_file(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        let locked = || -> rusqlite::Result<i64> {
            connection.busy_timeout(Duration::ZERO)?;
            connection.pragma_update(None, "locking_mode", "exclusive")?;
            connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
            connection.pragma_update(None, "synchronous", "normal")?;
            // In this mode the lock of the first write is kept until the file is closed.
            connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
            connection.pragma_query_value(None, "user_version", |row| row.get(0))
        };
        let schema = locked().map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LedgerError::Busy,
            Some(_) | None => error.into(),
        })?;
        let ledger = Self(Mutex::new(connection));
        if schema != SCHEMA {
            ledger.make_tables()?;
        }
        Ok(ledger)
    }

    fn make_tables(&self) -> Result<()> {
        let connection = self.0.lock();
        for table in SCHEMA_TABLES {
            connection.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
        }
        connection.execute_batch(TABLES)?;
        Ok(connection.pragma_update(None, "user_version", SCHEMA)?)
    }

    /// Forgets everything and begins a new run.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn begin(&self, run: &Run) -> Result<()> {
        self.make_tables()?;
        self.0.lock().execute(
            "INSERT INTO run VALUES (1, ?, ?, ?, 0, NULL, 0, 0)",
            params![run.options, run.seed.cast_signed(), integer(run.started_ms)],
        )?;
        Ok(())
    }

    /// Returns the last run, if there was one.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn last_run(&self) -> Result<Option<Run>> {
        let query = "SELECT options, seed, started_ms, phase, cursor, checked, unsure FROM run";
        let row = |row: &Row<'_>| {
            Ok(Run {
                options: row.get(0)?,
                seed: row.get::<_, i64>(1)?.cast_unsigned(),
                started_ms: natural(row.get(2)?),
                phase: Phase::from_number(row.get(3)?),
                cursor: row.get::<_, Option<Vec<u8>>>(4)?.and_then(|id| VersionId::from_bytes(&id)),
                checked: natural(row.get(5)?),
                unsure: row.get(6)?,
            })
        };
        Ok(self.0.lock().query_row(query, [], row).optional()?)
    }

    /// Notes how far the run came, with the findings that were made on the way.
    ///
    /// # Errors
    ///
    /// The file cannot be written; then nothing is noted.
    pub fn advance(&self, run: &Run, findings: &[Finding]) -> Result<()> {
        let mut connection = self.0.lock();
        let transaction = connection.transaction()?;
        let cursor = run.cursor.map(|cursor| cursor.to_bytes());
        transaction.execute(
            "UPDATE run SET phase = ?, cursor = ?, checked = ?, unsure = ?",
            params![run.phase.number(), cursor, integer(run.checked), run.unsure],
        )?;
        for finding in findings {
            // Plain strings always have a JSON form.
            let line = serde_json::to_string(finding).unwrap_or_default();
            transaction.execute(
                "INSERT INTO findings (phase, line) VALUES (?, ?)",
                params![run.phase.number(), line],
            )?;
        }
        Ok(transaction.commit()?)
    }

    /// Forgets the findings of one phase, which is about to be done again.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn forget_findings(&self, phase: Phase) -> Result<()> {
        self.0.lock().execute("DELETE FROM findings WHERE phase = ?", [phase.number()])?;
        Ok(())
    }

    /// Returns a page of the findings so far, behind `after`, with the number to go on from.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn findings(&self, after: i64, limit: usize) -> Result<Vec<(i64, Finding)>> {
        let query = "SELECT number, line FROM findings WHERE number > ? ORDER BY number LIMIT ?";
        let lines = self.rows(query, params![after, limit as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?;
        let parse = |(number, line): (i64, String)| Some((number, serde_json::from_str(&line).ok()?));
        Ok(lines.into_iter().filter_map(parse).collect())
    }

    /// Runs a query and gathers its rows.
    pub(super) fn rows<T>(
        &self,
        query: &str,
        parameters: impl rusqlite::Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let connection = self.0.lock();
        let mut statement = connection.prepare_cached(query)?;
        let rows = statement.query_map(parameters, row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Phase {
    fn number(self) -> i64 {
        match self {
            Self::Listing => 0,
            Self::Walking => 1,
            Self::Orphans => 2,
            Self::Done => 3,
        }
    }

    fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Walking,
            2 => Self::Orphans,
            3 => Self::Done,
            _ => Self::Listing,
        }
    }
}

/// Tells whether an error means that the file is not a ledger, rather than that it cannot be used now.
fn is_useless(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::SchemaChanged)
    )
}

/// SQLite has signed integers only; nothing counted here comes near their end.
fn integer(natural: u64) -> i64 {
    i64::try_from(natural).unwrap_or(i64::MAX)
}

fn natural(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or(0)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
