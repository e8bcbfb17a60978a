//! Versions: the stamp and the upload that together name one state of one asset.
//!
//! A version is written `<order>-<upload>` and the larger one wins. The order is a hybrid logical clock
//! value, 48 bits of milliseconds and 16 of counter; the upload breaks ties between gateways.

use std::fmt;
use std::str::FromStr;

use ulid::Ulid;

/// A text is not a version, an order or an upload id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version is 16 hex digits, a dash and an upper-case ULID")]
pub struct VersionError;

/// What a version does to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The version holds bytes.
    Put,
    /// The version is a tombstone.
    Del,
}

impl Kind {
    /// Returns the word used in keys and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Del => "del",
        }
    }
}

impl FromStr for Kind {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        match text {
            "put" => Ok(Self::Put),
            "del" => Ok(Self::Del),
            _ => Err(VersionError),
        }
    }
}

/// The identity of one upload: a ULID drawn when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Ulid);

impl UploadId {
    /// Builds an identity from the time it was drawn and 80 random bits.
    pub fn new(unix_ms: u64, random: u128) -> Self {
        Self(Ulid::from_parts(unix_ms, random))
    }

    /// Returns the time at which the upload began, in Unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        self.0.timestamp_ms()
    }

    /// Returns the 16 raw bytes, which sort as the text does.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// Wraps 16 raw bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(bytes))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for UploadId {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let ulid: Ulid = text.parse().map_err(|_| VersionError)?;
        // One spelling only: lower case and the look-alikes that a ULID parser forgives are not ours.
        if ulid.to_string() == text { Ok(Self(ulid)) } else { Err(VersionError) }
    }
}

/// A hybrid logical clock value: 48 bits of Unix milliseconds, then 16 bits of counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Order(u64);

impl Order {
    /// Wraps a raw value.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the raw value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the order of a clock reading, with counter 0.
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms << 16)
    }

    /// Returns the milliseconds part.
    pub const fn unix_ms(self) -> u64 {
        self.0 >> 16
    }

    /// Returns the stamp of a new version: the clock, or one more than the largest version seen.
    pub fn stamp(clock: Self, largest_seen: Option<Self>) -> Self {
        largest_seen.map_or(clock, |seen| clock.max(Self(seen.0.saturating_add(1))))
    }

    /// Returns the 16 hex digits that make a listing show the newest first.
    pub fn to_inverted_hex(self) -> String {
        format!("{:016x}", !self.0)
    }

    /// Reads what [`Order::to_inverted_hex`] wrote.
    ///
    /// # Errors
    ///
    /// Refuses anything but 16 lower-case hex digits.
    pub fn from_inverted_hex(text: &str) -> Result<Self, VersionError> {
        Ok(Self(!text.parse::<Self>()?.0))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Order {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let hex = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !hex {
            return Err(VersionError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| VersionError)
    }
}

/// One state of one asset; the larger version wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The stamp, which decides first.
    pub order: Order,
    /// The upload, which breaks ties.
    pub upload: UploadId,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.order, self.upload)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let (order, upload) = text.split_once('-').ok_or(VersionError)?;
        Ok(Self { order: order.parse()?, upload: upload.parse()? })
    }
}

macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(UploadId, Version);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stamp_is_the_clock_unless_a_larger_version_was_seen() {
        let clock = Order::from_unix_ms(1_000);
        assert_eq!(Order::stamp(clock, None), clock);
        assert_eq!(Order::stamp(clock, Some(Order::new(5))), clock);
        assert_eq!(Order::stamp(clock, Some(clock)).get(), clock.get() + 1);
        let future = Order::from_unix_ms(9_000);
        assert_eq!(Order::stamp(clock, Some(future)).get(), future.get() + 1);
        assert_eq!(Order::stamp(clock, Some(Order::new(u64::MAX))).get(), u64::MAX);
    }

    #[test]
    fn other_spellings_are_refused() {
        let good = "0123456789abcdef-01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert!(good.parse::<Version>().is_ok());
        for text in [
            "",
            "-",
            "0123456789abcdef",
            "0123456789ABCDEF-01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "0123456789abcdef-01arz3ndektsv4rrffq69g5fav",
            "+123456789abcdef-01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "0123456789abcdef-81ARZ3NDEKTSV4RRFFQ69G5FAV",
            "0123456789abcdef-01ARZ3NDEKTSV4RRFFQ69G5FA",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn versions_round_trip_and_sort_as_their_text(a: (u64, u128), b: (u64, u128)) {
            let [a, b] = [a, b].map(|(order, bits)| Version {
                order: Order::new(order),
                upload: UploadId::from_bytes(bits.to_be_bytes()),
            });
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn inverted_orders_list_the_newest_first(a: u64, b: u64) {
            let [a, b] = [a, b].map(Order::new);
            prop_assert_eq!(Order::from_inverted_hex(&a.to_inverted_hex()), Ok(a));
            prop_assert_eq!(a.cmp(&b), b.to_inverted_hex().cmp(&a.to_inverted_hex()));
        }
    }
}
