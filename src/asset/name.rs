//! Asset names: what a client may call an asset, in the one spelling that everything else uses.
//!
//! The same canonical name decides the right to write, the cache key and the record, so two spellings can
//! never mean two different things in two places. User bytes never reach a provider: keys carry the
//! name's hash.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The longest canonical name, in bytes.
pub const NAME_BYTES_MAX: usize = 900;
/// The longest segment of a name, in bytes.
pub const SEGMENT_BYTES_MAX: usize = 255;
/// Names below this prefix are the gateway's own.
const RESERVED_PREFIX: &str = "-/";

/// What has to be escaped in the path of a URL (RFC 3986, section 3.3), `/` left alone.
const PATH_ESCAPES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A text cannot be the name of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than [`NAME_BYTES_MAX`].
    #[error("the name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// A segment is empty: a leading, trailing or doubled slash.
    #[error("the name has an empty segment: a leading, trailing or doubled slash")]
    EmptySegment,
    /// A segment is longer than [`SEGMENT_BYTES_MAX`].
    #[error("a segment of the name is longer than {SEGMENT_BYTES_MAX} bytes")]
    SegmentTooLong,
    /// A segment is `.` or `..`.
    #[error("the name has a segment `.` or `..`")]
    DotSegment,
    /// The name has a control character.
    #[error("the name has a control character")]
    Control,
    /// The name has a backslash.
    #[error("the name has a backslash")]
    Backslash,
    /// A percent escape is not `%` and two hex digits.
    #[error("the path has an invalid percent escape")]
    Escape,
    /// The decoded bytes are not UTF-8.
    #[error("the path is not UTF-8 once decoded")]
    Utf8,
    /// The name begins with `-/`.
    #[error("names that begin with `-/` belong to the gateway")]
    Reserved,
}

/// The canonical name of an asset: NFC, 1-900 bytes, no odd segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetName(String);

impl AssetName {
    /// Decodes and canonicalises the path of a request target, with its first `/`.
    ///
    /// # Errors
    ///
    /// Says which rule the path breaks.
    pub fn from_url_path(path: &str) -> Result<Self, NameError> {
        let encoded = path.strip_prefix('/').unwrap_or(path);
        Self::from_str(&decode(encoded)?)
    }

    /// Returns the canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name percent-encoded for use behind `https://host/`.
    pub fn to_url_path(&self) -> String {
        utf8_percent_encode(&self.0, PATH_ESCAPES).to_string()
    }

    /// Returns the hash under which providers know the name.
    pub fn hash(&self) -> NameHash {
        NameHash(*blake3::hash(self.0.as_bytes()).as_bytes())
    }

    /// Returns the text behind the last dot of the last segment, if there is one.
    pub fn extension(&self) -> Option<&str> {
        let file = self.0.rsplit('/').next()?;
        file.rsplit_once('.').map(|(_, extension)| extension).filter(|extension| !extension.is_empty())
    }
}

impl FromStr for AssetName {
    type Err = NameError;

    /// Canonicalises a decoded name.
    fn from_str(text: &str) -> Result<Self, NameError> {
        // Control characters are looked for first: normalisation neither adds nor removes any.
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        let canonical: String = match is_nfc_quick(text.chars()) {
            IsNormalized::Yes => text.to_owned(),
            IsNormalized::No | IsNormalized::Maybe => text.nfc().collect(),
        };
        check(&canonical)?;
        Ok(Self(canonical))
    }
}

impl fmt::Display for AssetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for AssetName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for AssetName {
    /// Refuses a text that is not canonical already: a stored name has one spelling.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name: Self = text.parse().map_err(serde::de::Error::custom)?;
        if name.0 == text { Ok(name) } else { Err(serde::de::Error::custom("the name is not in NFC")) }
    }
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    if name.contains('\\') {
        return Err(NameError::Backslash);
    }
    if name.starts_with(RESERVED_PREFIX) {
        return Err(NameError::Reserved);
    }
    name.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), NameError> {
    match segment {
        "" => Err(NameError::EmptySegment),
        "." | ".." => Err(NameError::DotSegment),
        long if long.len() > SEGMENT_BYTES_MAX => Err(NameError::SegmentTooLong),
        _ => Ok(()),
    }
}

/// Decodes once; `percent_decode_str` lets broken escapes through, so they are looked for first.
fn decode(encoded: &str) -> Result<String, NameError> {
    let bytes = encoded.as_bytes();
    let broken = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').any(|(at, _)| {
        !bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if broken {
        return Err(NameError::Escape);
    }
    Ok(percent_decode_str(encoded).decode_utf8().map_err(|_| NameError::Utf8)?.into_owned())
}

/// The BLAKE3 hash of a canonical name: 64 hex digits in keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameHash([u8; 32]);

impl NameHash {
    /// Wraps 32 raw bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameHash({self})")
    }
}

impl FromStr for NameHash {
    type Err = super::digest::DigestError;

    /// Reads 64 lower-case hex digits; a key has one spelling.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes =
            data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| super::digest::DigestError)?;
        Ok(Self(bytes.try_into().map_err(|_| super::digest::DigestError)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_become_names() {
        let table = [
            ("/icons/gold.png", "icons/gold.png"),
            ("/a%20b", "a b"),
            ("/a+b", "a+b"),
            ("/a%2Fb", "a/b"),
            ("/%C3%BC", "ü"),
            ("/u%CC%88", "ü"),
            ("/%2525", "%25"),
            ("/-", "-"),
            ("/-x/y", "-x/y"),
            ("/...", "..."),
            ("/Icons/GOLD.png", "Icons/GOLD.png"),
        ];
        for (path, name) in table {
            assert_eq!(AssetName::from_url_path(path).map(|name| name.0), Ok(name.to_owned()), "{path}");
        }
    }

    #[test]
    fn odd_paths_are_refused_with_their_reason() {
        let long_segment = format!("/{}", "a".repeat(256));
        let long_name = format!("/{}", vec!["a".repeat(99); 10].join("/"));
        let table = [
            ("/", NameError::Empty),
            ("//a", NameError::EmptySegment),
            ("/a//b", NameError::EmptySegment),
            ("/a/", NameError::EmptySegment),
            ("/a/../b", NameError::DotSegment),
            ("/%2e%2e/b", NameError::DotSegment),
            ("/a/.", NameError::DotSegment),
            ("/a%00b", NameError::Control),
            ("/a%0Ab", NameError::Control),
            ("/a%C2%85b", NameError::Control),
            ("/a%5Cb", NameError::Backslash),
            ("/a\\b", NameError::Backslash),
            ("/%", NameError::Escape),
            ("/%4", NameError::Escape),
            ("/%zz", NameError::Escape),
            ("/%FF", NameError::Utf8),
            ("/%C3", NameError::Utf8),
            ("/-/x", NameError::Reserved),
            ("/%2D/x", NameError::Reserved),
            (long_segment.as_str(), NameError::SegmentTooLong),
            (long_name.as_str(), NameError::TooLong),
        ];
        for (path, error) in table {
            assert_eq!(AssetName::from_url_path(path), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn canonical_names_round_trip(text in "\\PC{1,60}(/\\PC{1,20}){0,3}") {
            if let Ok(name) = text.parse::<AssetName>() {
                prop_assert_eq!(name.as_str().parse::<AssetName>(), Ok(name.clone()));
                prop_assert_eq!(AssetName::from_url_path(&format!("/{}", name.to_url_path())), Ok(name));
            }
        }

        #[test]
        fn no_path_panics(path in "\\PC{0,80}") {
            let _ = AssetName::from_url_path(&path);
        }
    }
}
