//! Intake: what the header fields of an upload say, checked before a byte of its body is read. Pure.
//!
//! The order is the contract's: length (411, 413), then every other field (400, 417), then what is not
//! implemented (501). Values that come back on reads are visible text of bounded length, so that no upload
//! can break a response or a record.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use super::conditions;
use super::digest;
use super::fields::METADATA_PREFIX;
use super::problem::{Problem, ProblemKind, invalid_header, too_large};
use crate::asset::AssetName;
use crate::write::PutRequest;

/// Whether to answer only at all copies.
const WAIT: HeaderName = HeaderName::from_static("x-triplicate-wait");
/// The longest value of a field that comes back on reads, in bytes.
const VALUE_BYTES_MAX: usize = 1024;
/// The most keys of user metadata.
const METADATA_KEYS_MAX: usize = 32;
/// All user metadata of one asset, keys and values, in bytes.
const METADATA_BYTES_MAX: usize = 4 * 1024;

/// Fields of an upload that hold for the request, and for a form for all of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Common {
    cache_control: Option<String>,
    metadata: BTreeMap<String, String>,
    wait_all: bool,
}

/// Reads the header fields of a PUT.
///
/// # Errors
///
/// 400, 411, 413, 417 or 501.
pub(super) fn of_put(
    headers: &HeaderMap,
    query: Option<&str>,
    name: AssetName,
    bytes_max: u64,
    conditional_writes: bool,
) -> Result<PutRequest, Problem> {
    let content_length = length(headers)?;
    if content_length.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(invalid_header("Content-Range is not taken: an asset is put whole"));
    }
    refuse_version(query)?;
    let common = common(headers)?;
    let request = of_file(headers, headers, name, bytes_max, &common)?;
    let precondition = conditions::of_upload(headers, conditional_writes)?;
    Ok(PutRequest { content_length, precondition, ..request })
}

/// Reads the header fields of a form that hold for all of its files, and its boundary.
///
/// # Errors
///
/// 400, 411, 415, 417 or 501.
pub(super) fn of_form(
    headers: &HeaderMap,
    query: Option<&str>,
    conditional_writes: bool,
) -> Result<(Common, String), Problem> {
    length(headers)?;
    refuse_version(query)?;
    if headers.contains_key(header::CONTENT_RANGE) || digest::declared(headers) {
        return Err(invalid_header("digests and ranges of a form belong into its parts"));
    }
    let common = common(headers)?;
    let boundary = boundary(headers)?;
    conditions::refuse(headers, conditional_writes)?;
    Ok((common, boundary))
}

/// Checks what a DELETE says besides its name.
///
/// # Errors
///
/// 400 or 501.
pub(super) fn of_delete(
    headers: &HeaderMap,
    query: Option<&str>,
    conditional_writes: bool,
) -> Result<(), Problem> {
    refuse_version(query)?;
    conditions::refuse(headers, conditional_writes)
}

/// Reads the header fields that a file has of its own: those of a PUT, or of a part of a form, whose
/// `Content-Disposition` is not the file's but the form's.
///
/// # Errors
///
/// 400.
pub(super) fn of_file(
    headers: &HeaderMap,
    disposition_of: &HeaderMap,
    name: AssetName,
    bytes_max: u64,
    common: &Common,
) -> Result<PutRequest, Problem> {
    Ok(PutRequest {
        content_type: content_type(headers, &name)?,
        content_encoding: joined(headers, header::CONTENT_ENCODING)?,
        content_disposition: single(disposition_of, header::CONTENT_DISPOSITION)?,
        cache_control: common.cache_control.clone(),
        metadata: common.metadata.clone(),
        expected: digest::expected(headers)?,
        content_length: None,
        bytes_max,
        wait_all: common.wait_all,
        precondition: crate::write::Precondition::None,
        name,
    })
}

/// A version is written once and goes with its retention: none can be written or removed by itself.
fn refuse_version(query: Option<&str>) -> Result<(), Problem> {
    let mut parameters = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    if parameters.any(|(name, _)| name == "version") {
        let detail = "a version can only be read: leave `version` out to write or delete the asset";
        return Err(Problem::new(ProblemKind::InvalidQuery, detail));
    }
    Ok(())
}

fn boundary(headers: &HeaderMap) -> Result<String, Problem> {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    multer::parse_boundary(text).map_err(|error| {
        if error == multer::Error::NoBoundary {
            Problem::new(ProblemKind::InvalidForm, "the form has no boundary")
        } else {
            Problem::new(ProblemKind::UnsupportedMediaType, "a folder takes multipart/form-data")
        }
    })
}

fn common(headers: &HeaderMap) -> Result<Common, Problem> {
    digest::refuse_trailers(headers)?;
    if let Some(expect) = headers.get(header::EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Problem::new(ProblemKind::ExpectationFailed, "the only expectation is 100-continue"));
    }
    let wait_all = match single(headers, WAIT)?.as_deref() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("all") => true,
        Some(_) => return Err(invalid_header("X-Triplicate-Wait can only be `all`")),
    };
    let cache_control = joined(headers, header::CACHE_CONTROL)?;
    Ok(Common { cache_control, metadata: metadata(headers)?, wait_all })
}

/// Returns the declared length; a chunked body has none.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(None);
    }
    let missing = || Problem::new(ProblemKind::LengthRequired, "send Content-Length, or the body in chunks");
    let text = headers.get(header::CONTENT_LENGTH).ok_or_else(missing)?;
    let length = text.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| invalid_header("Content-Length is not a length"))
}

/// Returns the declared content type, else that of the extension; else the writer looks at the bytes.
fn content_type(headers: &HeaderMap, name: &AssetName) -> Result<Option<String>, Problem> {
    let Some(declared) = single(headers, header::CONTENT_TYPE)? else {
        let guess = name.extension().map(mime_guess::from_ext);
        return Ok(guess.and_then(|guess| guess.first_raw()).map(str::to_owned));
    };
    match simplified(&declared).parse::<headers::ContentType>() {
        Ok(_) if declared.is_ascii() => Ok(Some(declared)),
        Ok(_) | Err(_) => Err(invalid_header("Content-Type is not a media type")),
    }
}

/// Spells a media type as its parser takes it: RFC 9110, section 5.6.6, allows blanks before a semicolon, empty
/// parameters and escapes in quotes as well.
fn simplified(media_type: &str) -> String {
    let mut simple = String::with_capacity(media_type.len());
    let (mut quoted, mut escaped) = (false, false);
    for char in media_type.chars() {
        match char {
            _ if escaped => simple.push('_'),
            '\\' if quoted => {}
            ';' if !quoted => {
                simple.truncate(simple.trim_end_matches([' ', ';']).len());
                simple.push(';');
            }
            _ => simple.push(char),
        }
        quoted ^= char == '"' && !escaped;
        escaped = quoted && char == '\\' && !escaped;
    }
    if !quoted {
        simple.truncate(simple.trim_end_matches([' ', ';']).len());
    }
    simple
}

fn metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let mut metadata = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(METADATA_PREFIX) else { continue };
        if key.is_empty() {
            return Err(invalid_header("X-Triplicate-Meta- needs a key"));
        }
        let value = visible(value).ok_or_else(|| invalid_header("user metadata is not visible text"))?;
        bytes += key.len() + value.len();
        if metadata.insert(key.to_owned(), value).is_some() {
            return Err(invalid_header("a key of user metadata is given twice"));
        }
    }
    if metadata.len() > METADATA_KEYS_MAX || bytes > METADATA_BYTES_MAX {
        return Err(invalid_header("user metadata is limited to 32 keys and 4 KiB"));
    }
    Ok(metadata)
}

/// Reads a field that may be given once.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => bounded(visible(value), &name).map(Some),
        (Some(_), Some(_)) => Err(invalid_header(format!("{name} is given twice"))),
    }
}

/// Reads a field whose lines are parts of one list.
fn joined(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, Problem> {
    let values: Option<Vec<String>> = headers.get_all(&name).iter().map(visible).collect();
    if values.as_ref().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    bounded(values.map(|values| values.join(", ")), &name).map(Some)
}

fn bounded(value: Option<String>, name: &impl std::fmt::Display) -> Result<String, Problem> {
    value
        .filter(|value| !value.is_empty() && value.len() <= VALUE_BYTES_MAX)
        .ok_or_else(|| invalid_header(format!("{name} is empty, too long or not visible text")))
}

/// Returns the text of a value that a response can carry: UTF-8 without control characters.
fn visible(value: &HeaderValue) -> Option<String> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.trim().to_owned())
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
