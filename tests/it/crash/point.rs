//! Crash points: which request, at which providers, and on which side of its effect.

use std::fmt;

use triplicate::drill::wire::{Fault, Hold, Moment, Rule};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The name is listed, before a version is stamped.
    Listing,
    /// A part is stored; the number is that of the part.
    Part(u32),
    /// The block list is stored.
    Blocks,
    /// Bunny is asked what it has stored.
    Describe,
    /// The record is stored.
    Record,
    /// The feed entry is stored.
    Feed,
    /// The feed is polled.
    Poll,
    /// The canary is looked at.
    Look,
    /// The canary is stored.
    Canary,
    /// A record is read.
    ReadRecord,
    /// Bytes are read.
    ReadBytes,
    /// The objects of an upload are listed.
    ListBytes,
    /// A feed entry is removed.
    DropFeed,
    /// A record is removed.
    DropRecord,
    /// A block list is removed.
    DropBlocks,
    /// A part is removed.
    DropPart(u32),
    /// A probe of any kind.
    Probe,
    /// Any request at all, after so many others.
    Any(u32),
}

/// Where a gateway is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The request.
    pub class: Class,
    /// On which side of its effect.
    pub moment: Moment,
    /// Bit n is set where the provider in slot n holds the request.
    pub at: u8,
}

/// All providers of a trio.
pub const ALL: u8 = 0b111;

impl Class {
    /// Returns the rule by which a wire holds such requests.
    pub fn rule(self, hold: Hold) -> Rule {
        let rule = Rule::from(Fault::Hold(hold));
        match self {
            Self::Listing => rule.methods(&["GET"]).prefix("names/").suffix("/"),
            Self::Part(number) => rule.methods(&["PUT"]).prefix("blobs/").suffix(&format!("/{number:05}")),
            Self::Blocks => rule.methods(&["PUT"]).prefix("blobs/").suffix("/blocks"),
            Self::Describe => rule.methods(&["DESCRIBE"]),
            Self::Record => rule.methods(&["PUT"]).prefix("names/"),
            Self::Feed => rule.methods(&["PUT"]).prefix("feed/"),
            Self::Poll => rule.methods(&["GET"]).prefix("feed/"),
            Self::Look => rule.methods(&["GET"]).prefix("canary/"),
            Self::Canary => rule.methods(&["PUT"]).prefix("canary/"),
            Self::ReadRecord => rule.methods(&["GET"]).prefix("names/").suffix(".put"),
            Self::ReadBytes => rule.methods(&["GET"]).prefix("blobs/"),
            Self::ListBytes => rule.methods(&["GET"]).prefix("blobs/").suffix("/"),
            Self::DropFeed => rule.methods(&["DELETE"]).prefix("feed/"),
            Self::DropRecord => rule.methods(&["DELETE"]).prefix("names/"),
            Self::DropBlocks => rule.methods(&["DELETE"]).prefix("blobs/").suffix("/blocks"),
            Self::DropPart(number) => {
                rule.methods(&["DELETE"]).prefix("blobs/").suffix(&format!("/{number:05}"))
            }
            Self::Probe => rule.prefix("probe/"),
            Self::Any(others) => rule.skip(u64::from(others)),
        }
    }

    /// Returns the kind without its number, for counting.
    pub fn kind(self) -> String {
        let text = format!("{self:?}");
        text.split('(').next().unwrap_or_default().to_lowercase()
    }
}

impl Point {
    /// Returns the slots whose wires hold the request.
    pub fn slots(self) -> impl Iterator<Item = usize> {
        (0..3).filter(move |slot| self.at >> slot & 1 == 1)
    }

    /// Tells whether the gateway can make no majority beside the held requests.
    pub fn blocks_majority(self) -> bool {
        self.at.count_ones() >= 2
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} at {:03b}", self.moment, self.class, self.at)
    }
}
