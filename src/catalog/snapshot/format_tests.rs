use proptest::prelude::*;

use super::*;

const KEY: RecordKey = RecordKey::new([7; 32]);

fn row(number: u64) -> Row {
    let name: crate::asset::AssetName = format!("icons/{number}.png").parse().unwrap();
    Row {
        name: name.hash(),
        version: Version { order: Order::new(number << 16), upload: UploadId::new(number, 9) },
        kind: if number.is_multiple_of(3) { Kind::Del } else { Kind::Put },
        holders: number % 8,
        record: (!number.is_multiple_of(5)).then(|| (name.to_string(), vec![b'x'; 500])),
    }
}

fn rows() -> Vec<Row> {
    (0..500).map(row).collect()
}

fn manifest() -> (Manifest, Bytes) {
    let (packed, chunk) = pack(&rows());
    let cover = Cover { provider: "a".to_owned(), bit: 0, canary: Blake3::new([1; 32]), minute: 29_922_425 };
    (Manifest::new(UploadId::new(5, 6), DateTime::default(), vec![cover], vec![chunk]), packed)
}

#[test]
fn rows_and_manifests_come_back_as_they_were() {
    let (manifest, packed) = manifest();
    assert_eq!(manifest.versions, 500);
    assert_eq!(Manifest::open(&manifest.seal(&KEY), &KEY, manifest.snapshot), Ok(manifest.clone()));
    assert_eq!(unpack(&packed, &manifest.chunks[0]), Ok(rows()));
    assert!(packed.len() < 500 * 150, "{} bytes", packed.len());
}

#[test]
fn a_manifest_of_another_key_folder_or_format_is_refused() {
    let (manifest, _) = manifest();
    let sealed = manifest.seal(&KEY);
    let open = |sealed: &[u8], key: &RecordKey, id| Manifest::open(sealed, key, id).unwrap_err();
    let id = manifest.snapshot;
    assert!(matches!(open(&sealed, &RecordKey::new([8; 32]), id), SnapshotError::Forged(_)));
    assert!(matches!(open(&sealed, &KEY, UploadId::new(5, 7)), SnapshotError::Forged(_)));
    assert!(matches!(open(&sealed[..sealed.len() - 9], &KEY, id), SnapshotError::Forged(_)));
    let newer = KEY.seal(r#"{"format":2,"anything":"else"}"#);
    assert_eq!(open(&newer, &KEY, id), SnapshotError::UnknownFormat(2));
    // A canary and a record are sealed with the same key.
    let canary = KEY.seal(r#"{"format":1,"provider":"a","created":"2026-11-22T11:05:31Z"}"#);
    assert!(matches!(open(&canary, &KEY, id), SnapshotError::Forged(_)));
    let mut large = manifest.clone();
    large.chunks[0].inflated = CHUNK_BYTES_MAX + 1;
    assert!(matches!(open(&large.seal(&KEY), &KEY, id), SnapshotError::Forged(_)));
}

#[test]
fn a_chunk_that_is_not_what_it_should_be_is_refused() {
    let (manifest, packed) = manifest();
    let chunk = &manifest.chunks[0];
    assert!(unpack(&packed[..packed.len() - 1], chunk).is_err());
    let hashed = |bytes: &[u8]| Chunk {
        bytes: bytes.len() as u64,
        blake3: Blake3::new(*blake3::hash(bytes).as_bytes()),
        ..chunk.clone()
    };
    // Even under a hash that fits: sizes and rows are checked by themselves.
    assert!(unpack(b"nonsense", &hashed(b"nonsense")).is_err());
    assert!(unpack(&packed, &Chunk { inflated: chunk.inflated - 1, ..chunk.clone() }).is_err());
    assert!(unpack(&packed, &Chunk { inflated: chunk.inflated + 1, ..chunk.clone() }).is_err());
    assert!(unpack(&packed, &Chunk { versions: chunk.versions - 1, ..chunk.clone() }).is_err());
}

proptest! {
    #[test]
    fn no_rows_panic(bytes: Vec<u8>) {
        let mut left = bytes.as_slice();
        while !left.is_empty() && take_row(&mut left).is_some() {}
    }

    #[test]
    fn no_flipped_bit_gets_through(at: prop::sample::Index, bit in 0u8..8) {
        let (manifest, packed) = manifest();
        let mut packed = packed.to_vec();
        let at = at.index(packed.len());
        packed[at] ^= 1 << bit;
        prop_assert!(unpack(&packed, &manifest.chunks[0]).is_err());
    }
}
