//! Digests that a client declares: `Repr-Digest` and `Content-Digest` (RFC 9530), Bunny's `Checksum`,
//! `Content-MD5`. Pure; the writer compares them with the bytes before anything is committed.
//!
//! Unknown algorithms are ignored, as the RFC asks; a digest that we would check but cannot read is refused,
//! since its sender counts on the check. So is one that is announced as a trailer: it would come after the bytes
//! were sent on, and nobody here looks at trailers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::problem::{Problem, invalid_header};
use crate::asset::Sha256;
use crate::write::ExpectedDigests;

/// The digest of the whole asset, whatever part of it is sent.
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const CHECKSUM: HeaderName = HeaderName::from_static("checksum");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const SHA_256: &str = "sha-256";

/// Reads all digests that an upload declares.
///
/// # Errors
///
/// 400 for a malformed one.
pub(super) fn expected(headers: &HeaderMap) -> Result<ExpectedDigests, Problem> {
    let mut digests = ExpectedDigests::default();
    for name in [REPR_DIGEST, CONTENT_DIGEST] {
        digests.sha256.extend(structured(headers, &name)?);
    }
    for value in headers.get_all(CHECKSUM) {
        let sha256 = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        digests.sha256.push(sha256.ok_or_else(|| invalid_header("Checksum is not 64 hex digits"))?);
    }
    let mut md5 = headers.get_all(CONTENT_MD5).iter();
    if let Some(value) = md5.next() {
        let bytes = STANDARD.decode(value.as_bytes().trim_ascii()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let md5_again = md5.any(|other| other != value);
        let bytes = bytes.filter(|_| !md5_again);
        digests.md5 = Some(bytes.ok_or_else(|| invalid_header("Content-MD5 is not base64 of 16 bytes"))?);
    }
    Ok(digests)
}

/// Tells whether a request declares any digest of its body.
pub(super) fn declared(headers: &HeaderMap) -> bool {
    [REPR_DIGEST, CONTENT_DIGEST, CHECKSUM, CONTENT_MD5].iter().any(|name| headers.contains_key(name))
}

/// Refuses an upload that announces its digest as a trailer.
///
/// # Errors
///
/// 400: its sender counts on a check that does not take place.
pub(super) fn refuse_trailers(headers: &HeaderMap) -> Result<(), Problem> {
    let lines = headers.get_all(header::TRAILER).iter();
    let mut names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let digests = [REPR_DIGEST, CONTENT_DIGEST, CHECKSUM, CONTENT_MD5];
    if names.any(|name| {
        digests.iter().any(|digest| name.trim_ascii().eq_ignore_ascii_case(digest.as_str().as_bytes()))
    }) {
        return Err(invalid_header("digests in trailers are not verified: send them in the head"));
    }
    Ok(())
}

/// Writes `Repr-Digest` of an asset.
pub(super) fn repr_digest(sha256: Sha256) -> HeaderValue {
    let value = format!("{SHA_256}=:{}:", STANDARD.encode(sha256.as_bytes()));
    // Base64 is always a valid header value.
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn structured(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Sha256>, Problem> {
    // The lines of one dictionary are joined before they are read (RFC 9651, section 4.2).
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let malformed = || invalid_header(format!("{name} is not a dictionary with base64 digests"));
    let joined = lines.join(b", ".as_slice());
    let dictionary: Dictionary = Parser::new(&joined).parse().map_err(|_| malformed())?;
    // Every member is a byte sequence, those that are not known as well (RFC 9530, section 2).
    let is_digest = |entry: &ListEntry| {
        matches!(entry, ListEntry::Item(Item { bare_item: BareItem::ByteSequence(_), .. }))
    };
    if !dictionary.values().all(is_digest) {
        return Err(malformed());
    }
    match dictionary.get(SHA_256) {
        None => Ok(None),
        Some(ListEntry::Item(Item { bare_item: BareItem::ByteSequence(bytes), .. })) => {
            let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| malformed())?;
            Ok(Some(Sha256::new(bytes)))
        }
        Some(_) => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const BASE64: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

    fn read(fields: &[(&str, &str)]) -> Result<ExpectedDigests, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        expected(&headers).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn every_declared_digest_is_read() {
        let sha256: Sha256 = HEX.parse().unwrap();
        let upper = HEX.to_uppercase();
        let both = format!("sha-512=:AAAA:, {BASE64}");
        for fields in [
            [("repr-digest", BASE64)],
            [("content-digest", BASE64)],
            [("repr-digest", both.as_str())],
            [("checksum", HEX)],
            [("checksum", upper.as_str())],
        ] {
            assert_eq!(read(&fields).unwrap().sha256, [sha256], "{fields:?}");
        }
        let two = read(&[("checksum", HEX), ("repr-digest", BASE64)]).unwrap();
        assert_eq!(two.sha256, [sha256, sha256]);
        let lines = read(&[("repr-digest", "sha-512=:AAAA:"), ("repr-digest", BASE64)]).unwrap();
        assert_eq!(lines.sha256, [sha256]);
        let md5 = read(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]).unwrap().md5.unwrap();
        assert_eq!(md5[..2], [0xd4, 0x1d]);
    }

    #[test]
    fn unknown_algorithms_are_ignored_and_malformed_digests_refused() {
        assert_eq!(read(&[("repr-digest", "sha-512=:AAAA:, md5=:AAAA:")]), Ok(ExpectedDigests::default()));
        for fields in [
            [("repr-digest", "sha-256=:AAAA:")],
            [("repr-digest", "sha-256=abc")],
            [("repr-digest", "sha-256=(:AAAA:)")],
            [("repr-digest", "sha-256=:!!!:")],
            [("repr-digest", "=:AAAA:")],
            [("content-digest", "sha-256")],
            [("repr-digest", "nonsense")],
            [("repr-digest", "sha-512=abc")],
            [("repr-digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:, md5=?1")],
            [("checksum", "abc")],
            [("checksum", "")],
            [("content-md5", "AAAA")],
            [("content-md5", "d41d8cd98f00b204e9800998ecf8427e")],
        ] {
            assert_eq!(read(&fields), Err(400), "{fields:?}");
        }
        let two = [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
        assert_eq!(read(&two), Err(400));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let sha256: Sha256 = HEX.parse().unwrap();
        assert_eq!(repr_digest(sha256), BASE64);
    }

    proptest! {
        #[test]
        fn no_header_value_panics(value in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in [REPR_DIGEST, CONTENT_DIGEST, CHECKSUM, CONTENT_MD5] {
                    let mut headers = HeaderMap::new();
                    headers.insert(name, value.clone());
                    let _ = expected(&headers);
                }
            }
        }
    }
}
