//! Names, keys, versions, records and block lists: whatever lies on a provider or comes in a URL.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use triplicate::asset::{AssetName, BlockList, Blake3, Key, Kind, NameHash, Record, RecordKey, Version, key};

fuzz_target!(|bytes: &[u8]| {
    let seal = RecordKey::new([7; 32]);
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(name) = AssetName::from_url_path(text) {
            assert_eq!(AssetName::from_url_path(&format!("/{}", name.to_url_path())), Ok(name));
        }
        if let Some(kind) = key::parse(text) {
            assert_eq!(kind.key().as_str(), text);
        }
        if let Ok(version) = text.parse::<Version>() {
            assert_eq!(version.to_string(), text);
            let at = Key::record(NameHash::new([7; 32]), version, Kind::Put);
            let _ = Record::open(&seal.seal(text), &seal, &at);
        }
        let version: Version = "0000000000000000-00000000000000000000000000".parse().expect("a version");
        let at = Key::record(NameHash::new([7; 32]), version, Kind::Put);
        let _ = Record::open(&seal.seal(text), &seal, &at);
        assert!(Record::open(bytes, &seal, &at).is_err());
    }
    let size = bytes.len() as u64 * 2_048;
    assert!(BlockList::prove(Bytes::copy_from_slice(bytes), Blake3::new([7; 32]), size).is_err() || size <= 65_536);
});
