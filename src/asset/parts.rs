//! Parts: how the bytes of an asset are cut into objects.

use std::ops::Range;

/// The size of every part but the last, in bytes.
pub const PART_BYTES: u64 = 8 * 1024 * 1024;

/// The place of one part in its asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The number of the part, from 0.
    pub number: u32,
    /// The offset of its first byte in the asset.
    pub start: u64,
    /// Its length in bytes, never 0.
    pub bytes: u64,
}

impl Part {
    /// Returns the part's bytes as offsets in the asset.
    pub fn span(&self) -> Range<u64> {
        self.start..self.start + self.bytes
    }
}

/// Returns the sizes of the parts of an asset of `size` bytes; an empty asset has none.
pub fn sizes(size: u64) -> Vec<u64> {
    let full = usize::try_from(size / PART_BYTES).unwrap_or(usize::MAX);
    let mut sizes = vec![PART_BYTES; full];
    if !size.is_multiple_of(PART_BYTES) {
        sizes.push(size % PART_BYTES);
    }
    sizes
}

/// Returns the part that holds byte `offset` of an asset of `size` bytes.
///
/// `None` beyond the end.
pub fn at(offset: u64, size: u64) -> Option<Part> {
    if offset >= size {
        return None;
    }
    let number = offset / PART_BYTES;
    let start = number * PART_BYTES;
    Some(Part { number: u32::try_from(number).ok()?, start, bytes: PART_BYTES.min(size - start) })
}

/// Returns all parts of an asset of `size` bytes, in order.
pub fn all(size: u64) -> impl Iterator<Item = Part> {
    (0..).map(|number| number * PART_BYTES).map_while(move |start| at(start, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_asset_exactly() {
        let table = [
            (0, vec![]),
            (1, vec![1]),
            (PART_BYTES - 1, vec![PART_BYTES - 1]),
            (PART_BYTES, vec![PART_BYTES]),
            (PART_BYTES + 1, vec![PART_BYTES, 1]),
            (3 * PART_BYTES, vec![PART_BYTES; 3]),
        ];
        for (size, expected) in table {
            assert_eq!(sizes(size), expected, "{size}");
            assert_eq!(all(size).map(|part| part.bytes).collect::<Vec<_>>(), expected, "{size}");
            assert!(all(size).map(|part| part.start).is_sorted());
            assert_eq!(all(size).last().map_or(0, |part| part.span().end), size);
        }
    }

    #[test]
    fn an_offset_finds_its_part() {
        assert_eq!(at(0, 0), None);
        assert_eq!(at(PART_BYTES, PART_BYTES), None);
        assert_eq!(at(PART_BYTES, PART_BYTES + 5), Some(Part { number: 1, start: PART_BYTES, bytes: 5 }));
    }
}
