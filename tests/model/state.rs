//! The state of the modelled world: what lies on the providers, and how far each writer came.
//!
//! Versions are named by the writer that makes them, as bits of a mask. Stamps are not numbers but places in a
//! total order: a new stamp may take any place above what its writer saw. That covers every clock, however far
//! it is off or jumps, and ties, which the upload's identity breaks either way.

/// How many providers there are.
pub(crate) const PROVIDERS: usize = 3;
/// How many of them are a majority.
pub(crate) const MAJORITY: usize = 2;
/// How many writers there may be at most.
pub(crate) const WRITERS: usize = 4;

/// A set of versions: bit `n` is the version of writer `n`.
pub(crate) type Versions = u8;

/// What a version does to the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    Del,
}

/// The objects of a version at a provider, in the order of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    Bytes,
    Record,
    Feed,
}

/// One provider, with all that others know of it. Everything with a provider's index lies here, so that
/// providers can be told apart by nothing else and their order does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Provider {
    pub bytes: Versions,
    pub records: Versions,
    pub feed: Versions,
    pub canary: bool,
    /// How many objects of each version were confirmed, in order; it outlives the objects themselves.
    pub levels: [u8; WRITERS],
    /// Whose survey has its listing.
    pub surveyed: Versions,
    /// Whether the refill has its listing.
    pub relisted: bool,
    /// Whether the reader has its listing.
    pub read: bool,
}

/// How far a writer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// Bytes are on their way, names are listed.
    Begun,
    /// The version is stamped and its record may go out.
    Committed,
    /// It ended without a record: given up, or a delete of nothing.
    Ended,
}

/// One writer. It may stop for good at any point: nothing forces its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Writer {
    pub phase: Phase,
    /// The place of the stamp in the order of all stamps, from 1; 0 before.
    pub rank: u8,
    /// The newest version that the survey saw.
    pub floor: Option<u8>,
    /// How many of the listings show it.
    pub floor_copies: u8,
    /// The newest version that was acknowledged when this write began.
    pub after: Option<u8>,
}

/// The refill of the provider that was wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Refill {
    pub begun: bool,
    /// What was listed anywhere.
    pub known: Versions,
    /// What the provider's own feed claims.
    pub claimed: Versions,
}

/// A reader that lists one provider after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reader {
    pub open: bool,
    pub seen: Versions,
    /// The newest version that was acknowledged when the read began.
    pub after: Option<u8>,
}

/// The whole world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub providers: [Provider; PROVIDERS],
    pub writers: [Writer; WRITERS],
    /// Acknowledged, by whomever.
    pub acknowledged: Versions,
    /// Provider 0 was wiped.
    pub wiped: bool,
    /// Begun before that.
    pub before_wipe: Versions,
    pub refill: Refill,
    /// Their requests are delivered or dead: nothing of them lands any more.
    pub aged: Versions,
    /// DELETEs of their objects are on their way everywhere.
    pub doomed: Versions,
    /// Remembered by a gateway as never committed.
    pub hidden: Versions,
    pub reader: Reader,
    /// What the last step broke.
    pub broken: Option<&'static str>,
}

/// Returns the set of one version.
pub(crate) const fn only(version: usize) -> Versions {
    1 << version
}

/// Tells whether a set has a version.
pub(crate) const fn has(set: Versions, version: usize) -> bool {
    set >> version & 1 == 1
}

impl Provider {
    /// Returns the versions of which one kind of object is here.
    pub(crate) fn objects(&mut self, object: Object) -> &mut Versions {
        match object {
            Object::Bytes => &mut self.bytes,
            Object::Record => &mut self.records,
            Object::Feed => &mut self.feed,
        }
    }

    fn key(&self) -> u64 {
        let levels = self.levels.iter().fold(0, |key, level| key << 2 | u64::from(*level));
        let masks = [self.bytes, self.records, self.feed, self.surveyed];
        let key = masks.iter().fold(levels, |key, mask| key << WRITERS | u64::from(*mask));
        let flags = [self.canary, self.relisted, self.read];
        flags.iter().fold(key, |key, flag| key << 1 | u64::from(*flag))
    }
}

impl State {
    /// Returns the beginning: empty providers that have their canaries.
    pub(crate) fn new() -> Self {
        let provider = Provider { canary: true, ..Provider::default() };
        Self {
            providers: [provider; PROVIDERS],
            writers: [Writer::default(); WRITERS],
            acknowledged: 0,
            wiped: false,
            before_wipe: 0,
            refill: Refill::default(),
            aged: 0,
            doomed: 0,
            hidden: 0,
            reader: Reader::default(),
            broken: None,
        }
    }

    /// Returns another beginning: the tombstone of writer 0 lies everywhere and is acknowledged.
    pub(crate) fn deleted() -> Self {
        let mut state = Self::new();
        state.writers[0] = Writer { phase: Phase::Committed, rank: 1, ..Writer::default() };
        state.acknowledged = only(0);
        for provider in &mut state.providers {
            (provider.records, provider.feed, provider.levels[0]) = (only(0), only(0), 3);
        }
        state
    }

    /// Returns the rank of a version, or 0 for none.
    pub(crate) fn rank(&self, version: Option<u8>) -> u8 {
        version.map_or(0, |version| self.writers[usize::from(version)].rank)
    }

    /// Returns the newest of some versions.
    pub(crate) fn newest(&self, set: Versions) -> Option<u8> {
        let mut newest = None;
        for version in 0..WRITERS {
            if has(set, version) && self.writers[version].rank > self.rank(newest) {
                newest = u8::try_from(version).ok();
            }
        }
        newest
    }

    /// Returns the versions whose records lie anywhere.
    pub(crate) fn records(&self) -> Versions {
        self.providers.iter().fold(0, |all, provider| all | provider.records)
    }

    /// Returns the versions whose bytes lie anywhere.
    pub(crate) fn bytes(&self) -> Versions {
        self.providers.iter().fold(0, |all, provider| all | provider.bytes)
    }

    /// Counts the providers for which something holds.
    pub(crate) fn count(&self, holds: impl Fn(&Provider) -> bool) -> usize {
        let mut count = 0;
        for provider in &self.providers {
            count += usize::from(holds(provider));
        }
        count
    }

    /// Returns 64 bits for the state, the same for states that differ in the order of providers alone.
    ///
    /// Nothing in the model prefers a provider to another but the wipe, which is always of the first: where it
    /// may happen, only the other two are interchangeable.
    pub(crate) fn fingerprint(&self, wipe_may_happen: bool) -> u64 {
        let mut keys = [self.providers[0].key(), self.providers[1].key(), self.providers[2].key()];
        if wipe_may_happen {
            keys[1..].sort_unstable();
        } else {
            keys.sort_unstable();
        }
        let writers = self.writers.iter().fold(0, |key: u64, writer| {
            let small = |version: Option<u8>| version.map_or(0, |version| u64::from(version) + 1);
            let key = key << 3 | writer.phase as u64;
            let key = key << 3 | u64::from(writer.rank);
            let key = key << 3 | small(writer.floor);
            let key = key << 2 | u64::from(writer.floor_copies);
            key << 3 | small(writer.after)
        });
        let sets = [
            self.acknowledged,
            self.before_wipe,
            self.refill.known,
            self.refill.claimed,
            self.aged,
            self.doomed,
            self.hidden,
            self.reader.seen,
            self.reader.after.map_or(0, |version| version + 1),
        ];
        let rest = sets.iter().fold(0, |key: u64, set| key << WRITERS | u64::from(*set));
        let flags = [self.wiped, self.refill.begun, self.reader.open, self.broken.is_some()];
        let rest = flags.iter().fold(rest, |key, flag| key << 1 | u64::from(*flag));
        let mut print = 0;
        for word in [keys[0], keys[1], keys[2], writers, rest] {
            print = mix(print ^ word);
        }
        print
    }
}

/// The finaliser of SplitMix64, with its increment: a bijection that spreads each bit over all.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
