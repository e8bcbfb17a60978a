//! Debts: the copies that each provider lacks, and since when.

use rusqlite::{OptionalExtension, params};

use super::Catalog;
use super::index::{Index, IndexError};
use crate::asset::UploadId;
use crate::provider::Slot;

/// What one provider lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debt {
    /// The provider.
    pub slot: Slot,
    /// How many known versions it is not known to hold.
    pub copies: u64,
    /// When the oldest of them was uploaded, in Unix milliseconds.
    pub oldest_unix_ms: Option<u64>,
}

impl Catalog {
    /// Returns what each provider lacks; nothing while the index cannot be used.
    pub async fn debts(&self) -> Vec<Debt> {
        let inner = self.0.clone();
        let slots: Vec<_> = self.parts().fleet.slots().collect();
        let debts = self.blocking(move || slots.into_iter().map(|slot| debt(&inner.index, slot)).collect());
        debts.await.unwrap_or_default()
    }
}

fn debt(index: &Index, slot: Slot) -> Result<Debt, IndexError> {
    let copies = index.missing_at(slot)?;
    let oldest = if copies > 0 { index.oldest_missing_at(slot)? } else { None };
    Ok(Debt { slot, copies, oldest_unix_ms: oldest.map(|upload| upload.unix_ms()) })
}

impl Index {
    /// Returns the oldest version that the provider in `slot` is not known to hold.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    fn oldest_missing_at(&self, slot: Slot) -> Result<Option<UploadId>, IndexError> {
        let db = self.reader().lock();
        let mut statement = db.prepare_cached(
            "SELECT upload FROM versions WHERE missing <> 0 AND expired = 0 AND (missing & ?1) <> 0 ORDER BY ord LIMIT 1",
        )?;
        let upload = statement.query_row(params![1_i64 << slot.0], |row| row.get(0)).optional()?;
        Ok(upload.map(UploadId::from_bytes))
    }
}
