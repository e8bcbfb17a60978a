//! The ledger: what was written to each asset and what the gateway said of it, so that reads can be judged.
//!
//! Each asset has one writer, which waits for an answer before it writes again: its generations are in order.
//! A read is right when it gives the newest generation that was acknowledged before it began, or a newer one.

use parking_lot::Mutex;

use super::content::Content;
use super::scenario::SizeClass;
use crate::asset::Blake3;

/// What a write wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// These bytes.
    Put {
        /// The bytes.
        content: Content,
        /// Their hash.
        blake3: Blake3,
    },
    /// That nothing is there.
    Deleted,
}

/// What the gateway said of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Done: no later read may show anything older.
    Acknowledged,
    /// Nothing was committed: no read may show it.
    Refused,
    /// It may turn up later, or never.
    Unknown,
}

/// What was written to every asset.
#[derive(Debug)]
pub(super) struct Ledger {
    seed: u64,
    sizes: Vec<SizeClass>,
    assets: Vec<Mutex<Asset>>,
}

#[derive(Debug, Default)]
struct Asset {
    /// By generation; `None` for what no read may show.
    written: Vec<Option<Written>>,
    /// The newest generation that was acknowledged.
    acknowledged: usize,
}

impl Ledger {
    /// Starts with assets to which nothing was written.
    pub(super) fn new(seed: u64, sizes: &[SizeClass], assets: usize) -> Self {
        let assets = (0..assets).map(|_| Mutex::default()).collect();
        Self { seed, sizes: sizes.to_vec(), assets }
    }

    /// Returns how many assets there are.
    pub(super) fn assets(&self) -> usize {
        self.assets.len()
    }

    /// Returns the name of an asset.
    pub(super) fn name(asset: usize) -> String {
        format!("drill/{asset:06}.bin")
    }

    /// Begins to write the next generation, and returns its number and its bytes.
    pub(super) fn begin_put(&self, asset: usize) -> (usize, Content) {
        let generation = self.assets[asset].lock().written.len();
        let content = Content::new(self.seed, asset, generation, &self.sizes);
        // The hash takes as long as the bytes are many, so nobody waits for the lock meanwhile: an asset has
        // one writer.
        let written = Written::Put { content, blake3: content.blake3() };
        self.assets[asset].lock().written.push(Some(written));
        (generation, content)
    }

    /// Begins to delete, and returns the number of the generation.
    pub(super) fn begin_delete(&self, asset: usize) -> usize {
        let mut asset = self.assets[asset].lock();
        asset.written.push(Some(Written::Deleted));
        asset.written.len() - 1
    }

    /// Notes what the gateway said of a generation.
    pub(super) fn settle(&self, asset: usize, generation: usize, outcome: Outcome) {
        let mut asset = self.assets[asset].lock();
        match outcome {
            Outcome::Acknowledged => asset.acknowledged = asset.acknowledged.max(generation),
            Outcome::Refused => asset.written[generation] = None,
            Outcome::Unknown => {}
        }
    }

    /// Returns the newest generation that was acknowledged, and what it is.
    pub(super) fn newest(&self, asset: usize) -> (usize, Option<Written>) {
        let asset = self.assets[asset].lock();
        let newest = asset.written.get(asset.acknowledged).copied().flatten();
        (asset.acknowledged, newest)
    }

    /// Returns what a generation is, unless no read may show it.
    pub(super) fn generation(&self, asset: usize, generation: usize) -> Option<Written> {
        self.assets[asset].lock().written.get(generation).copied().flatten()
    }

    /// Tells whether a generation from `floor` on is such.
    pub(super) fn any(&self, asset: usize, floor: usize, is_such: impl Fn(&Written) -> bool) -> bool {
        let asset = self.assets[asset].lock();
        asset.written.iter().skip(floor).flatten().any(is_such)
    }
}
