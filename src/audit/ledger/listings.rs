//! What the providers listed.

use std::collections::BTreeMap;

use rusqlite::{Row, Transaction, params};

use super::{Ledger, Result, VersionId, integer, natural};
use crate::asset::{KeyKind, Sha256, UploadId, key};
use crate::provider::{Entry, Slot};
use crate::replica::inspect::{Fact, Listed};

/// The number under which a block list is kept among the parts of its upload.
pub(super) const BLOCKS_NUMBER: i64 = -1;

impl Ledger {
    /// Forgets what a provider listed.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn clear_listing(&self, slot: Slot) -> Result<()> {
        let connection = self.0.lock();
        for table in ["records", "blobs", "feed", "strays", "listings"] {
            connection.execute(&format!("DELETE FROM {table} WHERE slot = ?"), [slot.0 as i64])?;
        }
        Ok(())
    }

    /// Notes that a provider was listed to the end.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn close_listing(&self, slot: Slot) -> Result<()> {
        self.0.lock().execute("INSERT OR IGNORE INTO listings VALUES (?)", [slot.0 as i64])?;
        Ok(())
    }

    /// Returns the providers that were listed to the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn listed(&self) -> Result<Vec<Slot>> {
        self.rows("SELECT slot FROM listings ORDER BY slot", [], |row| Ok(slot(row.get(0)?)))
    }

    /// Notes a page of what a provider, named `name`, listed.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn add_page(&self, slot: Slot, name: &str, page: &[Entry]) -> Result<()> {
        let mut connection = self.0.lock();
        let transaction = connection.transaction()?;
        for entry in page {
            add_entry(&transaction, slot, name, entry)?;
        }
        Ok(transaction.commit()?)
    }

    /// Counts the versions that any provider has a record of.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn count_versions(&self) -> Result<u64> {
        let count = self.rows("SELECT COUNT(DISTINCT id) FROM records", [], |row| row.get(0))?;
        Ok(natural(count.first().copied().unwrap_or(0)))
    }

    /// Returns the next versions behind `after`, in the order of the walk.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn versions(&self, after: Option<VersionId>, limit: usize) -> Result<Vec<VersionId>> {
        let query = "SELECT DISTINCT id FROM records WHERE id > ? ORDER BY id LIMIT ?";
        let after = after.map_or(Vec::new(), |after| after.to_bytes());
        let ids = self.rows(query, params![after, limit as i64], |row| row.get::<_, Vec<u8>>(0))?;
        Ok(ids.iter().filter_map(|id| VersionId::from_bytes(id)).collect())
    }

    /// Returns what each provider listed of one version; absent who listed nothing of it.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn listings_of(&self, id: &VersionId) -> Result<BTreeMap<Slot, Listed>> {
        let mut listings: BTreeMap<Slot, Listed> = BTreeMap::new();
        let query = "SELECT slot, bytes, sha256 FROM records WHERE id = ?";
        let records = self.rows(query, [id.to_bytes()], |row| Ok((slot(row.get(0)?), fact(row, 1)?)))?;
        for (slot, fact) in records {
            listings.entry(slot).or_default().record = Some(fact);
        }
        let query = "SELECT slot, bytes, sha256, number FROM blobs WHERE upload = ?";
        let upload = id.version.upload.to_bytes();
        let blobs =
            self.rows(query, [upload], |row| Ok((slot(row.get(0)?), fact(row, 1)?, row.get::<_, i64>(3)?)))?;
        for (slot, fact, number) in blobs {
            let listed = listings.entry(slot).or_default();
            match u32::try_from(number) {
                Ok(number) => drop(listed.parts.insert(number, fact)),
                Err(_) => listed.blocks = Some(fact),
            }
        }
        Ok(listings)
    }

    /// Tells whether a provider listed a feed entry of one version.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn has_feed(&self, slot: Slot, id: &VersionId) -> Result<bool> {
        let query = "SELECT 1 FROM feed WHERE id = ? AND slot = ? LIMIT 1";
        let found = self.rows(query, params![id.to_bytes(), slot.0 as i64], |_| Ok(()))?;
        Ok(!found.is_empty())
    }
}

fn add_entry(transaction: &Transaction<'_>, slot: Slot, name: &str, entry: &Entry) -> rusqlite::Result<()> {
    let sha256 = entry.sha256.map(|sha256| sha256.as_bytes().to_vec());
    let (slot, bytes) = (slot.0 as i64, integer(entry.bytes));
    let blob = |upload: UploadId, number: i64| -> rusqlite::Result<()> {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?, ?)")?
            .execute(params![upload.to_bytes(), number, slot, bytes, sha256])?;
        Ok(())
    };
    match key::parse(&entry.key) {
        Some(KeyKind::Part { upload, number }) => blob(upload, i64::from(number))?,
        Some(KeyKind::Blocks { upload }) => blob(upload, BLOCKS_NUMBER)?,
        Some(KeyKind::Record { name, version, kind }) => {
            let id = VersionId { name, version, kind }.to_bytes();
            transaction
                .prepare_cached("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)")?
                .execute(params![id, slot, bytes, sha256, version.upload.to_bytes()])?;
        }
        Some(KeyKind::Feed { minute, name, version, kind }) => {
            let id = VersionId { name, version, kind }.to_bytes();
            transaction
                .prepare_cached("INSERT OR REPLACE INTO feed VALUES (?, ?, ?, ?)")?
                .execute(params![id, slot, integer(minute), version.upload.to_bytes()])?;
        }
        Some(KeyKind::Canary { provider }) if provider == name => {}
        // A snapshot is a cache of the index: gateways check, ignore and remove them by themselves.
        Some(KeyKind::SnapshotChunk { .. } | KeyKind::SnapshotManifest { .. }) => {}
        Some(KeyKind::Canary { .. } | KeyKind::Probe { .. }) | None => {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO strays VALUES (?, ?, ?)")?
                .execute(params![slot, entry.key, bytes])?;
        }
    }
    Ok(())
}

/// Reads a provider's place; only places were written.
pub(super) fn slot(number: i64) -> Slot {
    Slot(usize::try_from(number).unwrap_or(usize::MAX))
}

fn fact(row: &Row<'_>, at: usize) -> rusqlite::Result<Fact> {
    let sha256: Option<Vec<u8>> = row.get(at + 1)?;
    let sha256 = sha256.and_then(|bytes| bytes.try_into().ok()).map(Sha256::new);
    Ok(Fact { bytes: natural(row.get(at)?), sha256 })
}
