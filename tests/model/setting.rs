//! What a run of the checker is given: the design of the protocol, and what may happen.

use super::state::{Kind, Versions, WRITERS, only};

/// On what ground a provider's "missing" counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Its canary was seen some time ago.
    Remembered,
    /// Its canary was there after the answer.
    After,
    /// Its canary was there before the answer and after it, and is the same one.
    Same,
}

/// What proves that a listed version was never committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// A majority lacks its bytes.
    Bytes,
    /// A majority lacks its bytes or its record.
    BytesOrRecord,
}

/// Which confirmed copies of a write count for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// All of them.
    Confirmed,
    /// Those at providers whose canary, read after the last object was confirmed, is the one of the beginning.
    SameCanary,
}

/// When the refill of a wiped provider begins to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefillBegins {
    /// At once.
    AtOnce,
    /// When the writes that were under way at the time of the wipe have ended.
    WhenOldWritesEnded,
}

/// When a tombstone may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TombstoneGoes {
    /// When all providers have it, nothing older lies anywhere, and what was sent before it is delivered or dead.
    UnanimousProof,
    /// The same, but old requests may still be on their way.
    ProofAmidOldRequests,
    /// When it is old.
    Time,
}

/// The switches of the protocol. [`Design::SOUND`] is the one that all properties hold for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Design {
    /// A stamp is larger than all that a majority listed; else it is the clock's alone.
    pub stamp_after_survey: bool,
    /// How many providers must hold the bytes before a record goes out.
    pub bytes_before_record: usize,
    /// How many providers must hold everything before the client is answered.
    pub copies_before_answer: usize,
    /// How many listings a read needs.
    pub listings_of_read: usize,
    /// How many listings that show nothing make a 404.
    pub negatives_for_404: usize,
    /// Each key is written once; else one key a name is overwritten.
    pub write_once: bool,
    pub survey_proof: Proof,
    pub read_proof: Proof,
    pub lacking: Lacking,
    pub refill_begins: RefillBegins,
    /// A provider without a canary is not believed its own feed entries.
    pub refill_looks_at_objects: bool,
    /// Uploads that are older than the canary of a provider are in doubt there: repair does not believe their feed
    /// entries, and that their bytes are lacking proves nothing.
    pub old_uploads_doubted: bool,
    pub counted: Counted,
    /// The canary is written only when the refill is complete.
    pub canary_after_refill: bool,
    pub tombstone_goes: TombstoneGoes,
    /// After the retention time every clock is past the stamps of before.
    pub clocks_catch_up: bool,
}

impl Design {
    /// The design that holds.
    pub(crate) const SOUND: Self = Self {
        stamp_after_survey: true,
        bytes_before_record: 2,
        copies_before_answer: 2,
        listings_of_read: 2,
        negatives_for_404: 2,
        write_once: true,
        survey_proof: Proof::Same,
        read_proof: Proof::Same,
        lacking: Lacking::Bytes,
        refill_begins: RefillBegins::WhenOldWritesEnded,
        refill_looks_at_objects: true,
        old_uploads_doubted: false,
        counted: Counted::Confirmed,
        canary_after_refill: true,
        tombstone_goes: TombstoneGoes::UnanimousProof,
        clocks_catch_up: true,
    };

    /// The design that is built: a refill cannot know of old writes elsewhere, so it waits for none; instead the
    /// writes do not count what they may have lost, and repair looks at it.
    pub(crate) const BUILT: Self = Self {
        refill_begins: RefillBegins::AtOnce,
        old_uploads_doubted: true,
        counted: Counted::SameCanary,
        ..Self::SOUND
    };
}

/// One run: who writes what, and what may happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub name: &'static str,
    /// What each writer does.
    pub writes: &'static [Kind],
    pub design: Design,
    /// The search begins when the tombstone of writer 0 lies everywhere and is acknowledged, and nothing else.
    pub deleted: bool,
    /// Surveys list their majority at one moment, the earliest. Where records only ever come and never go, an
    /// early listing shows the least and binds the stamp the least, so this leaves out no behaviour.
    pub survey_at_once: bool,
    /// Provider 0 may lose everything, once.
    pub wipe: bool,
    /// Superseded versions, and tombstones, may be removed.
    pub retention: bool,
    /// The retention time may pass: what was sent before is delivered or dead.
    pub ages: bool,
    /// A writer may give up before its record went out, and remove what it stored.
    pub gives_up: bool,
    /// A gateway may remember that a version was proved never committed.
    pub hides: bool,
    /// A reader lists one provider after another, while the world goes on.
    pub reads_stepwise: bool,
}

impl Setting {
    /// A setting in which PUTs may be late, lost, doubled or reordered, and nothing else happens.
    pub(crate) const fn new(name: &'static str, writes: &'static [Kind], design: Design) -> Self {
        assert!(writes.len() <= WRITERS, "too many writers");
        Self {
            name,
            writes,
            design,
            deleted: false,
            survey_at_once: true,
            wipe: false,
            retention: false,
            ages: false,
            gives_up: false,
            hides: false,
            reads_stepwise: false,
        }
    }

    /// Returns the versions that hold bytes.
    pub(crate) fn puts(&self) -> Versions {
        let puts = self.writes.iter().enumerate().filter(|(_, kind)| **kind == Kind::Put);
        puts.fold(0, |set, (version, _)| set | only(version))
    }
}
