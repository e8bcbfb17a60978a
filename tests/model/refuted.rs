//! Tests of the model: designs that were refuted, each of which must be caught with a counter-example.

use super::checker::search;
use super::property;
use super::setting::{Design, Proof, Setting, TombstoneGoes};
use super::state::Kind::{Del, Put};

const SOUND: Design = Design::SOUND;

/// Searches for a breach of one property, whatever else breaks on the way.
#[track_caller]
pub(crate) fn is_caught(setting: &Setting, broken: &str) {
    let outcome = search(setting, Some(broken));
    let violation = outcome.violation.expect("a counter-example");
    assert_eq!(violation.property, broken);
    assert!(violation.steps.len() == outcome.depth && outcome.depth > 0, "the steps lead elsewhere");
}

#[test]
fn stamping_by_the_clock_alone_breaks_order() {
    let design = Design { stamp_after_survey: false, ..SOUND };
    is_caught(&Setting::new("clock stamps", &[Put, Put], design), property::ORDER);
}

#[test]
fn one_negative_makes_a_false_404() {
    let design = Design { negatives_for_404: 1, ..SOUND };
    is_caught(&Setting::new("one negative", &[Put], design), property::FALSE_404);
}

#[test]
fn tombstones_that_go_by_time_bring_back_what_was_deleted() {
    let design = Design { tombstone_goes: TombstoneGoes::Time, ..SOUND };
    let setting = Setting::new("tombstones by time", &[Put, Del], design);
    let setting = Setting { survey_at_once: false, retention: true, ages: true, ..setting };
    is_caught(&setting, property::RESURRECTED);
}

#[test]
fn tombstones_that_go_before_old_requests_ended_bring_back_what_was_deleted() {
    let design = Design { tombstone_goes: TombstoneGoes::ProofAmidOldRequests, ..SOUND };
    let setting = Setting::new("tombstones amid old requests", &[Put, Del], design);
    is_caught(&Setting { survey_at_once: false, retention: true, ..setting }, property::RESURRECTED);
}

#[test]
fn a_tombstone_that_is_partly_removed_hides_what_a_lagging_clock_stamped() {
    let design = Design { clocks_catch_up: false, ..SOUND };
    let setting = Setting::new("tombstones and lagging clocks", &[Del, Put], design);
    let setting = Setting { deleted: true, survey_at_once: false, retention: true, ages: true, ..setting };
    is_caught(&setting, property::ORDER);
}

#[test]
fn answering_after_one_copy_loses_writes() {
    let design = Design { copies_before_answer: 1, ..SOUND };
    let setting = Setting::new("one copy", &[Put], design);
    is_caught(&setting, property::FALSE_404);
    is_caught(&Setting { wipe: true, survey_at_once: false, ..setting }, property::LOST);
}

#[test]
fn reading_from_one_stale_provider_shows_old_versions() {
    let design = Design { listings_of_read: 1, ..SOUND };
    is_caught(&Setting::new("one listing", &[Put, Put], design), property::STALE);
}

#[test]
fn a_record_before_a_majority_has_the_bytes_is_passed_over_and_acknowledged_later() {
    let design = Design { bytes_before_record: 1, ..SOUND };
    let setting = Setting::new("early record", &[Put, Put], design);
    is_caught(&Setting { hides: true, ..setting }, property::HIDDEN);
}

#[test]
fn keys_that_are_overwritten_lose_acknowledged_writes() {
    let design = Design { write_once: false, ..SOUND };
    is_caught(&Setting::new("mutable keys", &[Put, Put], design), property::STALE);
}

#[test]
fn a_canary_before_the_refill_is_complete_makes_a_false_404() {
    let design = Design { canary_after_refill: false, ..SOUND };
    let setting = Setting::new("early canary", &[Put], design);
    is_caught(&Setting { wipe: true, survey_at_once: false, ..setting }, property::FALSE_404);
}

#[test]
fn reading_without_any_proof_of_identity_makes_a_false_404() {
    let design = Design { read_proof: Proof::Remembered, ..SOUND };
    let setting = Setting::new("no proof", &[Put], design);
    is_caught(&Setting { wipe: true, survey_at_once: false, ..setting }, property::FALSE_404);
}
