//! What each part of the design around a wiped provider is for: without it something is lost.
//!
//! Each needs a provider that loses everything at a bad moment, or one that lists and does not deliver.

use super::property;
use super::refuted::is_caught;
use super::setting::{Counted, Design, Lacking, Proof, Setting};
use super::state::Kind::{Del, Put};

const SOUND: Design = Design::SOUND;
const BUILT: Design = Design::BUILT;

const fn wiped(name: &'static str, writes: &'static [super::state::Kind], design: Design) -> Setting {
    Setting { wipe: true, survey_at_once: false, ..Setting::new(name, writes, design) }
}

#[test]
fn a_survey_that_remembers_trust_breaks_order_after_a_wipe() {
    let design = Design { survey_proof: Proof::Remembered, ..SOUND };
    is_caught(&wiped("survey by remembered trust", &[Put, Put], design), property::ORDER);
}

#[test]
fn a_delete_by_remembered_trust_leaves_what_it_should_delete() {
    let design = Design { survey_proof: Proof::Remembered, ..SOUND };
    is_caught(&wiped("delete by remembered trust", &[Put, Del], design), property::GONE);
}

#[test]
fn a_read_that_finds_something_by_remembered_trust_may_be_stale_after_a_wipe() {
    let design = Design { read_proof: Proof::Remembered, ..SOUND };
    let setting = wiped("read by remembered trust", &[Put, Put], design);
    is_caught(&setting, property::STALE);
}

#[test]
fn a_proof_after_the_answer_alone_is_undone_by_a_refill_in_between() {
    let design = Design { read_proof: Proof::After, ..SOUND };
    let setting = wiped("proof after the answer", &[Put], design);
    is_caught(&Setting { reads_stepwise: true, ..setting }, property::FALSE_404);
    let design = Design { survey_proof: Proof::After, ..SOUND };
    is_caught(&wiped("survey, proof after the answer", &[Put, Del], design), property::GONE);
}

#[test]
fn a_version_passed_over_for_want_of_its_record_may_be_acknowledged_later() {
    let design = Design { lacking: Lacking::BytesOrRecord, ..SOUND };
    let setting = Setting::new("passed over by record", &[Put], design);
    is_caught(&Setting { hides: true, ..setting }, property::HIDDEN);
}

#[test]
fn a_write_that_does_not_look_at_canaries_again_counts_lost_copies() {
    let design = Design { counted: Counted::Confirmed, ..BUILT };
    is_caught(&wiped("copies confirmed", &[Put], design), property::FALSE_404);
}

#[test]
fn a_repair_that_believes_entries_of_uploads_older_than_the_canary_leaves_holes() {
    let design = Design { old_uploads_doubted: false, ..BUILT };
    is_caught(&wiped("old uploads believed", &[Put], design), property::UNEQUAL);
}

#[test]
fn a_refill_that_believes_feed_entries_leaves_holes() {
    let design = Design { refill_looks_at_objects: false, ..SOUND };
    is_caught(&wiped("refill by feed entries", &[Put], design), property::UNEQUAL);
}
