//! Seals: a line of JSON, then a line with its MAC, so that nobody without the record key can write one.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use subtle::ConstantTimeEq;

/// The secret under which records and canaries are sealed; 32 bytes, never printed.
#[derive(Clone)]
pub struct RecordKey([u8; 32]);

/// A text is not a record key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record key is 32 bytes, written as 64 hex digits")]
pub struct RecordKeyError;

/// Bytes are not a sealed line of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The bytes are not two lines, or the second is not a MAC.
    #[error("not a line and its MAC")]
    Malformed,
    /// The MAC does not belong to the line.
    #[error("the MAC does not belong to the line")]
    Forged,
}

impl RecordKey {
    /// Wraps 32 raw bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the key as 64 hex digits, for the key file alone.
    pub fn expose_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Appends the MAC to `line`, which has no newline.
    pub fn seal(&self, line: &str) -> Bytes {
        let mac = blake3::keyed_hash(&self.0, line.as_bytes());
        Bytes::from(format!("{line}\n{}\n", mac.to_hex()))
    }

    /// Returns the line of a sealed text whose MAC is right.
    ///
    /// # Errors
    ///
    /// The bytes are not a sealed line, or it was not sealed with this key.
    pub fn open<'a>(&self, sealed: &'a [u8]) -> Result<&'a str, SealError> {
        let text = std::str::from_utf8(sealed).map_err(|_| SealError::Malformed)?;
        let (line, mac) =
            text.strip_suffix('\n').and_then(|text| text.split_once('\n')).ok_or(SealError::Malformed)?;
        let mac = HEXLOWER.decode(mac.as_bytes()).map_err(|_| SealError::Malformed)?;
        let expected = blake3::keyed_hash(&self.0, line.as_bytes());
        if bool::from(expected.as_bytes().as_slice().ct_eq(&mac)) { Ok(line) } else { Err(SealError::Forged) }
    }
}

impl FromStr for RecordKey {
    type Err = RecordKeyError;

    fn from_str(text: &str) -> Result<Self, RecordKeyError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map_err(|_| RecordKeyError)?;
        Ok(Self(bytes.try_into().map_err(|_| RecordKeyError)?))
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_same_key_opens_a_seal() {
        let key = RecordKey::new([7; 32]);
        let sealed = key.seal("{}");
        assert_eq!(key.open(&sealed), Ok("{}"));
        assert_eq!(RecordKey::new([8; 32]).open(&sealed), Err(SealError::Forged));
        assert_eq!(format!("{key:?}"), "RecordKey(secret)");
    }

    #[test]
    fn anything_but_two_lines_is_malformed() {
        let key = RecordKey::new([7; 32]);
        let sealed = key.seal("{}");
        let twice = [sealed.as_ref(), b"x\n"].concat();
        for bytes in [b"".as_slice(), b"\n", b"{}\n", &sealed[..sealed.len() - 1], &twice, b"\xff\n\n"] {
            assert_eq!(key.open(bytes), Err(SealError::Malformed));
        }
    }

    proptest! {
        #[test]
        fn no_flipped_bit_opens(at: prop::sample::Index, bit in 0u8..8) {
            let key = RecordKey::new([7; 32]);
            let mut sealed = key.seal(r#"{"format":1}"#).to_vec();
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(key.open(&sealed).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            prop_assert!(RecordKey::new([7; 32]).open(&bytes).is_err());
        }
    }
}
