//! Versions as the ledger keys them.

use crate::asset::{Key, Kind, NameHash, Order, UploadId, Version};

/// One version of one name, as records and feed entries are keyed; its bytes sort as the walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionId {
    /// The name's hash.
    pub name: NameHash,
    /// The version.
    pub version: Version,
    /// Whether it holds bytes or is a tombstone.
    pub kind: Kind,
}

impl VersionId {
    /// Returns the key of the record.
    pub fn record_key(&self) -> Key {
        Key::record(self.name, self.version, self.kind)
    }

    /// Returns bytes that sort as the versions do.
    pub fn to_bytes(self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Put => 0,
            Kind::Del => 1,
        };
        let order = self.version.order.get().to_be_bytes();
        [self.name.as_bytes().as_slice(), &order, &self.version.upload.to_bytes(), &[kind]].concat()
    }

    /// Reads what [`VersionId::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (name, rest) = bytes.split_first_chunk::<32>()?;
        let (order, rest) = rest.split_first_chunk::<8>()?;
        let (upload, rest) = rest.split_first_chunk::<16>()?;
        let kind = match rest {
            [0] => Kind::Put,
            [1] => Kind::Del,
            _ => return None,
        };
        let order = Order::new(u64::from_be_bytes(*order));
        let version = Version { order, upload: UploadId::from_bytes(*upload) };
        Some(Self { name: NameHash::new(*name), version, kind })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_round_trip_and_sort_as_their_bytes(
            a: ([u8; 32], u64, [u8; 16], bool),
            b: ([u8; 32], u64, [u8; 16], bool),
        ) {
            let [a, b] = [a, b].map(|(name, order, upload, put)| VersionId {
                name: NameHash::new(name),
                version: Version { order: Order::new(order), upload: UploadId::from_bytes(upload) },
                kind: if put { Kind::Put } else { Kind::Del },
            });
            prop_assert_eq!(VersionId::from_bytes(&a.to_bytes()), Some(a));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }

        #[test]
        fn other_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..56)) {
            prop_assert_eq!(VersionId::from_bytes(&bytes), None);
        }
    }
}
