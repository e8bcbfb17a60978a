//! What was listed and belongs to no record.

use rusqlite::params;

use super::listings::slot;
use super::{Ledger, Result, VersionId, integer, natural};
use crate::asset::key::FeedMinute;
use crate::asset::{Key, UploadId};
use crate::provider::Slot;

/// The objects of one upload at one provider that no record anywhere speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanBlob {
    /// Where it lies.
    pub slot: Slot,
    /// The upload.
    pub upload: UploadId,
    /// How many objects there are.
    pub objects: u64,
    /// One of them.
    pub one: Key,
}

/// A feed entry of a version that has no record anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanFeed {
    /// Where it lies.
    pub slot: Slot,
    /// The version.
    pub id: VersionId,
    /// The minute of writing.
    pub minute: FeedMinute,
}

/// An object that is neither a blob, a record, a feed entry nor the provider's own canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Where it lies.
    pub slot: Slot,
    /// Its key, which may have any form.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Ledger {
    /// Returns the next uploads without a record behind `after`; what shows up in the feed from the minute
    /// `feed_from` on was committed while the listing went on and is left out.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn orphan_blobs(
        &self,
        after: Option<&OrphanBlob>,
        feed_from: FeedMinute,
        limit: usize,
    ) -> Result<Vec<OrphanBlob>> {
        // Numbers count from -1, the block list, so that a part, where there is one, is the greatest.
        let query = "SELECT b.upload, b.slot, COUNT(*), MAX(b.number) FROM blobs b
            WHERE (b.upload, b.slot) > (?, ?)
            AND NOT EXISTS (SELECT 1 FROM records r WHERE r.upload = b.upload)
            AND NOT EXISTS (SELECT 1 FROM feed f WHERE f.upload = b.upload AND f.minute >= ?)
            GROUP BY b.upload, b.slot ORDER BY b.upload, b.slot LIMIT ?";
        let (upload, from) = match after {
            Some(after) => (after.upload.to_bytes().to_vec(), after.slot.0 as i64),
            None => (Vec::new(), -1),
        };
        let parameters = params![upload, from, integer(feed_from), limit as i64];
        let rows = self.rows(query, parameters, |row| {
            let upload = UploadId::from_bytes(row.get::<_, [u8; 16]>(0)?);
            Ok((upload, slot(row.get(1)?), natural(row.get(2)?), row.get::<_, i64>(3)?))
        })?;
        let orphan = |(upload, slot, objects, number): (UploadId, Slot, u64, i64)| {
            let one = u32::try_from(number).map_or(Key::blocks(upload), |number| Key::part(upload, number));
            OrphanBlob { slot, upload, objects, one }
        };
        Ok(rows.into_iter().map(orphan).collect())
    }

    /// Returns the next feed entries without a record behind `after`.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn orphan_feeds(&self, after: Option<&OrphanFeed>, limit: usize) -> Result<Vec<OrphanFeed>> {
        let query = "SELECT id, slot, minute FROM feed f WHERE (id, slot, minute) > (?, ?, ?)
            AND NOT EXISTS (SELECT 1 FROM records r WHERE r.id = f.id)
            ORDER BY id, slot, minute LIMIT ?";
        let (id, from, minute) = match after {
            Some(after) => (after.id.to_bytes(), after.slot.0 as i64, integer(after.minute)),
            None => (Vec::new(), -1, -1),
        };
        let rows = self.rows(query, params![id, from, minute, limit as i64], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, slot(row.get(1)?), natural(row.get(2)?)))
        })?;
        let orphan = |(id, slot, minute): (Vec<u8>, Slot, u64)| {
            Some(OrphanFeed { slot, id: VersionId::from_bytes(&id)?, minute })
        };
        Ok(rows.into_iter().filter_map(orphan).collect())
    }

    /// Returns the next strays behind `after`.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn strays(&self, after: Option<&Stray>, limit: usize) -> Result<Vec<Stray>> {
        let query = "SELECT slot, key, bytes FROM strays WHERE (slot, key) > (?, ?)
            ORDER BY slot, key LIMIT ?";
        let (from, key) = after.map_or((-1, ""), |after| (after.slot.0 as i64, after.key.as_str()));
        self.rows(query, params![from, key, limit as i64], |row| {
            Ok(Stray { slot: slot(row.get(0)?), key: row.get(1)?, bytes: natural(row.get(2)?) })
        })
    }
}
