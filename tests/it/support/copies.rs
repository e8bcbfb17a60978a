//! What lies on the providers for one asset, read directly and checked from the contract alone.
//!
//! Nothing here uses the product's code: the layout, the seal and the block list are computed anew.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::gateway::RECORD_KEY;
use super::provider::Provider;

const BLOCK_BYTES: usize = 64 * 1024;
const PART_BYTES: usize = 8 * 1024 * 1024;

/// One version of one name, as one provider holds it.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The key of its record.
    pub record_key: String,
    /// The 16 hex digits of its stamp, as the feed spells them.
    pub order: String,
    /// Its upload.
    pub upload: String,
    /// `put` or `del`.
    pub kind: String,
    /// The first line of its record.
    pub record: Value,
    /// The keys of its parts, in order.
    pub parts: Vec<String>,
    /// The key of its block list.
    pub blocks: Option<String>,
    /// The keys of its feed entries; one is usual.
    pub feed: Vec<String>,
}

/// Returns the folder of the records of `name`.
pub fn name_dir(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes()).to_hex();
    format!("names/{}/{hash}/", &hash[..2])
}

/// Returns the versions of `name` at a provider, the newest first; every record's seal is checked.
pub async fn copies(provider: &Provider, name: &str) -> Vec<Copy> {
    let (keys, dir) = (provider.keys().await, name_dir(name));
    let mut copies = Vec::new();
    for record_key in keys.iter().filter(|key| key.starts_with(&dir)) {
        let sealed = provider.get(record_key).await.expect("a listed record");
        let (version, kind) = record_key[dir.len()..].rsplit_once('.').expect("a kind");
        let (inverted, upload) = version.split_once('-').expect("an order and an upload");
        let order = format!("{:016x}", !u64::from_str_radix(inverted, 16).expect("hex"));
        let entry = format!("/{order}-{upload}.{}.{kind}", blake3::hash(name.as_bytes()));
        let folder = format!("/{upload}/");
        let blobs = |key: &&String| key.starts_with("blobs/") && key.contains(&folder);
        copies.push(Copy {
            record: open(&sealed, record_key),
            parts: keys.iter().filter(blobs).filter(|key| !key.ends_with("/blocks")).cloned().collect(),
            blocks: keys.iter().filter(blobs).find(|key| key.ends_with("/blocks")).cloned(),
            feed: keys
                .iter()
                .filter(|key| key.starts_with("feed/") && key.ends_with(&entry))
                .cloned()
                .collect(),
            record_key: record_key.clone(),
            order,
            upload: upload.to_owned(),
            kind: kind.to_owned(),
        });
    }
    copies
}

/// Returns the newest version of `name` at a provider.
pub async fn newest(provider: &Provider, name: &str) -> Copy {
    let found = copies(provider, name).await.into_iter().next();
    found.unwrap_or_else(|| panic!("{} has no record of {name}", provider.name()))
}

/// Fails unless each provider holds a complete copy of `bytes` as the newest version of `name`, the same one.
pub async fn assert_complete(providers: &[&Provider], name: &str, bytes: &[u8]) {
    let mut first: Option<Copy> = None;
    for provider in providers {
        let copy = newest(provider, name).await;
        let fault = fault_of(provider, &copy, name, bytes).await;
        assert_eq!(fault, None, "{name} at {}: {copy:?}", provider.name());
        let first = first.get_or_insert_with(|| copy.clone());
        assert_eq!(
            (&copy.record_key, &copy.record),
            (&first.record_key, &first.record),
            "{}",
            provider.name()
        );
    }
}

/// Tells whether a provider holds a complete copy of `bytes` as the newest version of `name`.
pub async fn is_complete(provider: &Provider, name: &str, bytes: &[u8]) -> bool {
    match copies(provider, name).await.first() {
        Some(copy) => fault_of(provider, copy, name, bytes).await.is_none(),
        None => false,
    }
}

/// Returns the 32-byte chaining values of the 64 KiB blocks of `bytes`; `None` where no list is stored.
pub fn block_list(bytes: &[u8]) -> Option<Vec<u8>> {
    let values: Vec<[u8; 32]> = bytes
        .chunks(BLOCK_BYTES)
        .enumerate()
        .map(|(index, block)| {
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset((index * BLOCK_BYTES) as u64).update(block);
            hasher.finalize_non_root()
        })
        .collect();
    if values.len() < 2 {
        return None;
    }
    let (left, right) = values.split_at(left_half(values.len()));
    assert_eq!(merge_subtrees_root(&merge(left), &merge(right), Mode::Hash), blake3::hash(bytes));
    Some(values.concat())
}

fn merge(values: &[[u8; 32]]) -> [u8; 32] {
    match values {
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(left_half(values.len()));
            merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
        }
    }
}

/// The left subtree holds the largest power of two that leaves something to the right.
fn left_half(count: usize) -> usize {
    count.next_power_of_two() / 2
}

/// Says what is wrong with a copy, if anything is.
async fn fault_of(provider: &Provider, copy: &Copy, name: &str, bytes: &[u8]) -> Option<String> {
    let record = &copy.record;
    let wanted = [
        ("format", Value::from(1)),
        ("name", name.into()),
        ("kind", "put".into()),
        ("version", format!("{}-{}", copy.order, copy.upload).into()),
        ("upload", copy.upload.clone().into()),
        ("size", bytes.len().into()),
        ("blake3", blake3::hash(bytes).to_hex().as_str().into()),
        ("sha256", HEXLOWER.encode(digest(&SHA256, bytes).as_ref()).into()),
        ("parts", bytes.chunks(PART_BYTES).map(<[u8]>::len).collect()),
    ];
    if let Some((field, value)) = wanted.iter().find(|(field, value)| record[field] != *value) {
        return Some(format!("{field} is {} and not {value}", record[field]));
    }
    let numbers: Vec<_> =
        (0..bytes.len().div_ceil(PART_BYTES)).map(|number| format!("{number:05}")).collect();
    if !copy.parts.iter().map(|key| key.rsplit('/').next().unwrap_or_default()).eq(&numbers) {
        return Some(format!("the parts are {:?}", copy.parts));
    }
    for (key, part) in copy.parts.iter().zip(bytes.chunks(PART_BYTES)) {
        if provider.get(key).await.as_deref() != Some(part) {
            return Some(format!("{key} has other bytes"));
        }
    }
    let stored = match &copy.blocks {
        Some(key) => provider.get(key).await.map(|list| list.to_vec()),
        None => None,
    };
    if stored != block_list(bytes) {
        return Some("the block list is wrong".to_owned());
    }
    (copy.feed.is_empty()).then(|| "there is no feed entry".to_owned())
}

/// Reads the line of a sealed record; its MAC has to be right.
pub fn open(sealed: &[u8], key: &str) -> Value {
    let text = std::str::from_utf8(sealed).expect("a record is text");
    let (line, mac) = text.split_once('\n').expect("a record has two lines");
    let secret: [u8; 32] = HEXLOWER.decode(RECORD_KEY.as_bytes()).unwrap().try_into().unwrap();
    let expected = blake3::keyed_hash(&secret, line.as_bytes()).to_hex();
    assert_eq!(mac.strip_suffix('\n'), Some(expected.as_str()), "{key}: the MAC");
    serde_json::from_str(line).expect("a record is a line of JSON")
}
