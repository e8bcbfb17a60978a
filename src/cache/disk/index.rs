//! What lies in the folder, by what one remembers of it: which piece, its cost, and how hot it is.
//!
//! Eviction is Clock-PRO: new pieces pass a small probation, and those that are asked for again stay, so a
//! scan does not push out what is hot. Evictions are told at once to whoever inserts, so that the files go
//! before the new one comes.

use quick_cache::unsync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter};

use super::piece::Piece;
use crate::asset::BLOCK_BYTES;

/// What file systems give out at least, in bytes.
const CLUSTER_BYTES: u64 = 4_096;
/// How many pieces a full tier is taken to hold at most when room for evicted names is set aside.
const PIECES_EXPECTED_MAX: u64 = 1 << 20;

/// Returns what a file of `bytes` takes up on a disk.
pub(super) fn cost(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(CLUSTER_BYTES)
}

/// All pieces in the folder, within the bound.
pub(super) struct Index(Cache<Piece, Clusters, Cost, DefaultHashBuilder, Evicted>);

/// The cost of a file in clusters: half the memory of bytes, and 16 TiB are enough.
#[derive(Debug, Clone, Copy)]
struct Clusters(u32);

#[derive(Debug, Clone)]
struct Cost;

impl Weighter<Piece, Clusters> for Cost {
    fn weight(&self, _: &Piece, clusters: &Clusters) -> u64 {
        u64::from(clusters.0) * CLUSTER_BYTES
    }
}

#[derive(Debug, Clone)]
struct Evicted;

impl Lifecycle<Piece, Clusters> for Evicted {
    type RequestState = Vec<Piece>;

    fn on_evict(&self, evicted: &mut Vec<Piece>, piece: Piece, _: Clusters) {
        evicted.push(piece);
    }
}

impl Index {
    /// Starts empty, for at most `bytes_max`.
    pub(super) fn new(bytes_max: u64) -> Self {
        let pieces = (bytes_max / BLOCK_BYTES as u64).min(PIECES_EXPECTED_MAX);
        let pieces = usize::try_from(pieces).unwrap_or(0);
        Self(Cache::with(pieces, bytes_max, Cost, DefaultHashBuilder::default(), Evicted))
    }

    /// Adds a piece, and returns those whose files must go first. The piece itself is among them where it is
    /// not let in.
    #[must_use]
    pub(super) fn insert(&mut self, piece: Piece, cost: u64) -> Vec<Piece> {
        let mut evicted = Vec::new();
        let clusters = u32::try_from(cost / CLUSTER_BYTES).unwrap_or(u32::MAX);
        self.0.insert_with_lifecycle(piece, Clusters(clusters), &mut evicted);
        evicted
    }

    /// Tells whether a piece is there, and makes it hotter.
    pub(super) fn touch(&self, piece: &Piece) -> bool {
        self.0.get(piece).is_some()
    }

    /// Forgets a piece.
    pub(super) fn remove(&mut self, piece: &Piece) {
        self.0.remove(piece);
    }

    /// Returns what all files take up, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.weight()
    }

    /// Returns the number of files.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::UploadId;

    #[test]
    fn what_is_asked_for_outlives_a_scan_and_the_bound_holds_at_every_step() {
        let bytes_max = 100 * 65_536;
        let mut index = Index::new(bytes_max);
        let piece = |number| Piece::block(UploadId::new(1, number), 0);
        let mut there = std::collections::HashSet::new();
        for number in 0..10_000 {
            for evicted in index.insert(piece(number), cost(65_536)) {
                there.remove(&evicted);
            }
            there.insert(piece(number));
            assert!(index.bytes() <= bytes_max, "{number}");
            assert_eq!(index.len(), there.len() as u64, "every eviction is told");
            // Ten of them are asked for all the time.
            (0..10).for_each(|hot| assert!(number < hot || index.touch(&piece(hot)), "{hot} at {number}"));
        }
        assert!(index.len() > 90);
    }

    #[test]
    fn costs_are_whole_clusters() {
        for (bytes, expected) in [(0, 4_096), (1, 4_096), (4_096, 4_096), (4_097, 8_192), (65_536, 65_536)] {
            assert_eq!(cost(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn what_is_larger_than_the_tier_is_not_let_in() {
        let mut index = Index::new(8_192);
        let piece = Piece::block(UploadId::new(1, 1), 0);
        assert_eq!(index.insert(piece, cost(65_536)), [piece]);
        assert_eq!(index.bytes(), 0);
    }
}
