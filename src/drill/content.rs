//! Contents: the bytes of every version of every asset, made from the seed whenever they are needed.
//!
//! A drill compares every byte that a client gets, and keeps none: contents are the output stream of BLAKE3
//! over seed, asset and generation, from any offset on.

use std::pin::Pin;
use std::task::{Context, Poll};

use blake3::OutputReader;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::scenario::SizeClass;
use crate::asset::Blake3;

/// How much is made at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// How much is compared at once, on the stack.
const COMPARED_BYTES: usize = 4 * 1024;

/// The bytes of one version of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    seed: u64,
    asset: usize,
    generation: usize,
    /// How many they are.
    pub(super) bytes: u64,
}

impl Content {
    /// Describes generation `generation` of asset `asset`; its size is drawn from `sizes`.
    pub(super) fn new(seed: u64, asset: usize, generation: usize, sizes: &[SizeClass]) -> Self {
        let mut content = Self { seed, asset, generation, bytes: 0 };
        let mut dice = [0; 16];
        content.stream("size").fill(&mut dice);
        let [class, place] = [&dice[..8], &dice[8..]].map(|bytes| {
            bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte)) as f64 / u64::MAX as f64
        });
        content.bytes = size(sizes, class, place);
        content
    }

    /// Returns the hash of all bytes.
    pub(super) fn blake3(&self) -> Blake3 {
        let (mut stream, mut hasher) = (self.stream("bytes"), blake3::Hasher::new());
        let (mut left, mut piece) = (self.bytes, vec![0; PIECE_BYTES]);
        while left > 0 {
            let bytes = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.fill(&mut piece[..bytes]);
            hasher.update(&piece[..bytes]);
            left -= bytes as u64;
        }
        Blake3::new(*hasher.finalize().as_bytes())
    }

    /// Returns the bytes from `offset` on, to be compared with others.
    pub(super) fn from(&self, offset: u64) -> Expected {
        let mut stream = self.stream("bytes");
        stream.set_position(offset);
        Expected { stream, at: offset }
    }

    /// Returns all bytes, as the body of an upload.
    pub(super) fn body(&self) -> ContentBody {
        ContentBody { stream: self.stream("bytes"), left: self.bytes }
    }

    fn stream(&self, purpose: &str) -> OutputReader {
        let text = format!("triplicate drill {purpose} {} {} {}", self.seed, self.asset, self.generation);
        blake3::Hasher::new().update(text.as_bytes()).finalize_xof()
    }
}

/// Draws a size: `class` and `place`, from 0 to 1, choose the class and the place in it. Each doubling within a
/// class is as likely, so that a class is not mostly its largest sizes.
fn size(sizes: &[SizeClass], class: f64, place: f64) -> u64 {
    let total: usize = sizes.iter().map(|class| class.weight).sum();
    let mut ticket = class * total as f64;
    let chosen = sizes.iter().find(|class| {
        ticket -= class.weight as f64;
        ticket <= 0.0
    });
    let Some(class) = chosen.or(sizes.last()) else { return 1 };
    let (from, to) = (class.from as f64, class.to as f64);
    let bytes = from * (to / from).powf(place);
    (bytes as u64).clamp(class.from, class.to)
}

/// Bytes that are expected, and how far they were compared.
pub(super) struct Expected {
    stream: OutputReader,
    at: u64,
}

impl Expected {
    /// Compares the next bytes.
    ///
    /// # Errors
    ///
    /// The offset of the first byte, in the whole asset, that is another one.
    pub(super) fn compare(&mut self, bytes: &[u8]) -> Result<(), u64> {
        let mut right = [0; COMPARED_BYTES];
        for piece in bytes.chunks(COMPARED_BYTES) {
            let right = &mut right[..piece.len()];
            self.stream.fill(right);
            if piece != right {
                let same = piece.iter().zip(right.iter()).take_while(|(one, other)| one == other).count();
                return Err(self.at + same as u64);
            }
            self.at += piece.len() as u64;
        }
        Ok(())
    }
}

/// The body of an upload, made piece by piece.
#[derive(Debug)]
pub(super) struct ContentBody {
    stream: OutputReader,
    left: u64,
}

impl ContentBody {
    /// Returns a body without bytes.
    pub(super) fn empty() -> Self {
        Self { stream: blake3::Hasher::new().finalize_xof(), left: 0 }
    }
}

impl Body for ContentBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let bytes = PIECE_BYTES.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut piece = vec![0; bytes];
        self.stream.fill(&mut piece);
        self.left -= bytes as u64;
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [SizeClass; 2] =
        [SizeClass { from: 10, to: 20, weight: 3 }, SizeClass { from: 1 << 20, to: 8 << 20, weight: 1 }];

    #[test]
    fn sizes_are_drawn_by_weight_and_stay_within_their_class() {
        let table = [
            (0.0, 0.0, 10),
            (0.5, 1.0, 20),
            (0.74, 0.0, 10),
            (0.76, 0.0, 1 << 20),
            (1.0, 1.0, 8 << 20),
            (1.0, 1.0 / 3.0, 2 << 20),
        ];
        for (class, place, bytes) in table {
            let drawn = size(&SIZES, class, place);
            assert!(drawn.abs_diff(bytes) <= 1, "{class} {place}: {drawn}, not {bytes}");
        }
    }

    #[test]
    fn contents_are_the_same_each_time_and_differ_by_seed_asset_and_generation() {
        let content = Content::new(1, 2, 3, &SIZES);
        assert_eq!(content, Content::new(1, 2, 3, &SIZES));
        for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
            let other = Content::new(other.0, other.1, other.2, &SIZES);
            assert_ne!(content.blake3(), other.blake3());
        }
    }

    #[tokio::test]
    async fn an_upload_is_compared_from_any_offset() {
        use http_body_util::BodyExt;
        let content = Content { bytes: 100_000, ..Content::new(7, 0, 0, &SIZES) };
        let mut bytes = content.body().collect().await.unwrap().to_bytes().to_vec();
        assert_eq!(bytes.len() as u64, content.bytes);
        assert_eq!(blake3::hash(&bytes).as_bytes(), content.blake3().as_bytes());
        for offset in [0, 1, 63, 64, 65_536, 99_999] {
            let mut expected = content.from(offset as u64);
            let (one, other) = bytes[offset..].split_at((bytes.len() - offset) / 3);
            assert_eq!((expected.compare(one), expected.compare(other)), (Ok(()), Ok(())), "{offset}");
        }
        bytes[70_001] ^= 1;
        let mut expected = content.from(1);
        assert_eq!(expected.compare(&bytes[1..50_000]), Ok(()));
        assert_eq!(expected.compare(&bytes[50_000..]), Err(70_001));
    }
}
