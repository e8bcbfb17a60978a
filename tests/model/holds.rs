//! The settings in which everything must hold.

use super::action::Action;
use super::checker::search;
use super::setting::{Design, Setting};
use super::state::Kind::{self, Del, Put};

/// Set to `large`, it adds searches with more writers: tens of minutes instead of seconds, and gigabytes.
const SIZE: &str = "TRIPLICATE_MODEL";

#[track_caller]
fn holds(setting: &Setting) {
    let outcome = search(setting, None);
    assert!(outcome.violation.is_none(), "\n{outcome}");
    assert!(outcome.exhausted || is_large(), "the search was not exhausted");
    // A model in which nothing happens breaks nothing.
    assert_eq!(outcome.acknowledged.count_ones() as usize, setting.writes.len(), "some write never succeeds");
    let happens = |kinds: &[Action], may: bool| {
        for kind in kinds {
            assert_eq!(outcome.steps[kind.kind()] > 0, may, "{kind:?}");
        }
    };
    happens(
        &[Action::Wipe, Action::RefillBegins, Action::Relist { slot: 1 }, Action::WriteCanary],
        setting.wipe,
    );
    happens(&[Action::Repair { slot: 0, version: 0 }], setting.wipe || setting.ages);
    happens(&[Action::Age], setting.ages);
    happens(&[Action::Retire { version: 0 }], setting.retention);
    happens(&[Action::GiveUp { writer: 0 }], setting.gives_up);
    happens(&[Action::Survey { writer: 0, slot: 0 }], !setting.survey_at_once);
    happens(&[Action::ReadList { slot: 0 }], setting.reads_stepwise);
}

#[expect(clippy::disallowed_methods, reason = "the size of a test is no configuration of the product")]
fn is_large() -> bool {
    std::env::var(SIZE).is_ok_and(|size| size == "large")
}

/// Runs a setting with a few writers, and in large runs with more.
#[track_caller]
fn hold(writes: &[&'static [Kind]], large: &[&'static [Kind]], setting: &Setting) {
    let large = if is_large() { large } else { &[] };
    for writes in writes.iter().chain(large) {
        holds(&Setting { writes, ..*setting });
    }
}

#[test]
fn late_and_doubled_puts_harm_nothing() {
    let setting = Setting { hides: true, ..Setting::new("A", &[], Design::SOUND) };
    hold(&[&[Put, Put, Del], &[Put, Put, Put]], &[&[Put, Del, Put, Put]], &setting);
}

#[test]
fn what_is_built_holds_though_a_refill_waits_for_no_write() {
    let setting = Setting::new("B as built", &[], Design::BUILT);
    let setting = Setting { wipe: true, survey_at_once: false, hides: true, ..setting };
    hold(&[&[Put, Put], &[Put, Del]], &[&[Put, Put, Del]], &setting);
    let reads = Setting { reads_stepwise: true, hides: false, ..setting };
    hold(&[&[Put]], &[&[Put, Del], &[Put, Put]], &reads);
}

#[test]
fn a_wiped_provider_is_refilled_without_loss() {
    let setting = Setting::new("B", &[], Design::SOUND);
    let setting = Setting { wipe: true, survey_at_once: false, hides: true, ..setting };
    hold(&[&[Put, Put], &[Put, Del]], &[&[Put, Put, Del]], &setting);
}

#[test]
fn retention_removes_only_what_is_superseded_though_requests_are_late() {
    let setting = Setting::new("C", &[], Design::SOUND);
    let setting = Setting { retention: true, gives_up: true, survey_at_once: false, hides: true, ..setting };
    hold(&[&[Put, Put]], &[&[Put, Put, Put]], &setting);
}

#[test]
fn tombstones_go_when_all_had_them_and_nothing_comes_back() {
    let setting = Setting::new("D", &[], Design::SOUND);
    let setting = Setting { retention: true, ages: true, survey_at_once: false, ..setting };
    hold(&[&[Put, Del]], &[&[Put, Del, Put]], &setting);
    hold(&[&[Del, Put]], &[&[Del, Put, Del]], &Setting { deleted: true, ..setting });
}

#[test]
fn reads_that_take_their_time_see_what_was_acknowledged_before() {
    let setting = Setting::new("E", &[], Design::SOUND);
    let setting = Setting { wipe: true, survey_at_once: false, reads_stepwise: true, ..setting };
    hold(&[&[Put]], &[&[Put, Del], &[Put, Put]], &setting);
    hold(&[&[Del, Put]], &[], &Setting { deleted: true, ..setting });
}
