//! The two XML documents of S3 that are read: errors and listings. Pure.
//!
//! Listings are parsed here rather than by `object_store`, whose paths refuse keys such as `a//b`: one alien
//! object would hide a whole page.

use bytes::Bytes;
use chrono::DateTime;
use quick_xml::events::{BytesRef, Event};
use quick_xml::reader::Reader;

use crate::provider::Entry;
use crate::provider::transport::Fault;

/// No document that is read here nests deeper.
const DEPTH_MAX: usize = 8;
/// The longest vendor's word and message that are kept, in characters.
const CODE_CHARS_MAX: usize = 64;
const MESSAGE_CHARS_MAX: usize = 200;

/// What an error document says. Everything else in it, such as the string to sign, is left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ErrorDocument {
    /// The vendor's word, such as `NoSuchKey`.
    pub(super) code: Option<String>,
    /// The vendor's sentence.
    pub(super) message: String,
}

/// One page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// The objects of this page.
    pub(super) entries: Vec<Entry>,
    /// The folders of this page, with their full names and closing slashes.
    pub(super) prefixes: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub(super) next: Option<String>,
}

/// Reads an error document; `None` when `body` is something else.
pub(super) fn error_document(body: &[u8]) -> Option<ErrorDocument> {
    let mut document = ErrorDocument::default();
    let read = walk(body, "Error", |path, text| {
        match path {
            ["Error", "Code"] => document.code = Some(text.trim().chars().take(CODE_CHARS_MAX).collect()),
            ["Error", "Message"] => document.message = text.chars().take(MESSAGE_CHARS_MAX).collect(),
            _ => {}
        }
        Ok(())
    });
    read.is_ok().then_some(document)
}

/// Reads one page of a listing of version 2.
///
/// # Errors
///
/// `Protocol` for everything that is not a whole and consistent page, so that a broken answer is never
/// taken for an empty folder.
pub(super) fn page(body: &[u8]) -> Result<Page, Fault> {
    let mut page = Page::default();
    let mut row = Row::default();
    let mut truncated = None;
    walk(body, "ListBucketResult", |path, text| {
        match path {
            [_, "Contents", "Key"] => row.key = Some(text.to_owned()),
            [_, "Contents", "Size"] => row.bytes = text.trim().parse().ok(),
            [_, "Contents", "LastModified"] => row.modified_unix_ms = unix_ms(text),
            [_, "Contents"] => page.entries.push(std::mem::take(&mut row).entry()?),
            [_, "CommonPrefixes", "Prefix"] => page.prefixes.push(text.to_owned()),
            [_, "IsTruncated"] => truncated = Some(text.trim() == "true"),
            [_, "NextContinuationToken"] => {
                page.next = Some(text.to_owned()).filter(|token| !token.is_empty())
            }
            _ => {}
        }
        Ok(())
    })?;
    match (truncated, &page.next) {
        (Some(true), None) => Err(Fault::protocol("a cut listing without a token to go on")),
        (Some(false), _) => Ok(Page { next: None, ..page }),
        (Some(true) | None, _) => Ok(page),
    }
}

#[derive(Default)]
struct Row {
    key: Option<String>,
    bytes: Option<u64>,
    modified_unix_ms: Option<u64>,
}

impl Row {
    fn entry(self) -> Result<Entry, Fault> {
        let (Some(key), Some(bytes)) = (self.key, self.bytes) else {
            return Err(Fault::protocol("a listed object without key or size"));
        };
        Ok(Entry { key, bytes, modified_unix_ms: self.modified_unix_ms, sha256: None })
    }
}

fn unix_ms(text: &str) -> Option<u64> {
    DateTime::parse_from_rfc3339(text.trim()).ok()?.timestamp_millis().try_into().ok()
}

/// Walks a document whose root is `root`, and shows each element at its end with its path and its text.
fn walk(
    body: &[u8],
    root: &str,
    mut visit: impl FnMut(&[&str], &str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let xml = std::str::from_utf8(body).map_err(|_| Fault::protocol("XML that is not UTF-8"))?;
    let mut reader = Reader::from_str(xml.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut seen_root = false;
    loop {
        match reader.read_event().map_err(|error| Fault::protocol(format!("bad XML: {error}")))? {
            Event::Start(tag) => {
                let name = String::from_utf8_lossy(tag.local_name().as_ref()).into_owned();
                if path.is_empty() && (seen_root || name != root) || path.len() == DEPTH_MAX {
                    return Err(Fault::protocol(format!("<{name}> where <{root}> was expected")));
                }
                seen_root = true;
                path.push(name);
                text.clear();
            }
            Event::End(_) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                visit(&names, &text)?;
                path.pop();
                text.clear();
            }
            Event::Text(part) => text.push_str(&part.xml10_content().map_err(|_| unreadable())?),
            Event::CData(part) => text.push_str(&part.xml10_content().map_err(|_| unreadable())?),
            Event::GeneralRef(reference) => text.push(character(&reference)?),
            // Entities of its own are nothing that S3 sends, and a way to make a small page huge.
            Event::DocType(_) => return Err(Fault::protocol("XML with a document type")),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if seen_root && path.is_empty() { Ok(()) } else { Err(Fault::protocol("XML that ends early")) }
}

fn character(reference: &BytesRef<'_>) -> Result<char, Fault> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| unreadable())? {
        return Ok(character);
    }
    match reference.decode().map_err(|_| unreadable())?.as_ref() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(unreadable()),
    }
}

fn unreadable() -> Fault {
    Fault::protocol("XML with unreadable text")
}

/// What `object_store` is given instead of a page that was parsed here: a listing of nothing.
pub(super) const EMPTY_PAGE: Bytes = Bytes::from_static(b"<ListBucketResult></ListBucketResult>");

#[cfg(test)]
#[path = "xml_tests.rs"]
mod tests;
