//! The settings in which everything must hold.

use super::checker::search;
use super::setting::{Design, Setting};
use super::state::Kind::{Del, Put};

#[track_caller]
fn holds(setting: &Setting) {
    let outcome = search(setting);
    assert!(outcome.violation.is_none(), "\n{outcome}");
}

#[test]
fn late_and_doubled_puts_harm_nothing() {
    holds(&Setting { hides: true, ..Setting::new("A", &[Put, Put, Del], Design::SOUND) });
}

#[test]
fn a_wiped_provider_is_refilled_without_loss() {
    for (name, writes) in [("B put put", &[Put, Put]), ("B put del", &[Put, Del])] {
        let setting = Setting::new(name, writes, Design::SOUND);
        holds(&Setting { wipe: true, survey_at_once: false, hides: true, ..setting });
    }
}

#[test]
fn retention_removes_only_what_is_superseded_though_requests_are_late() {
    let setting = Setting::new("C", &[Put, Put], Design::SOUND);
    holds(&Setting { retention: true, gives_up: true, survey_at_once: false, hides: true, ..setting });
}

#[test]
fn tombstones_go_when_all_had_them_and_nothing_comes_back() {
    let setting = Setting::new("D", &[Put, Del], Design::SOUND);
    holds(&Setting { retention: true, ages: true, survey_at_once: false, ..setting });
}

#[test]
fn reads_that_take_their_time_see_what_was_acknowledged_before() {
    let setting = Setting::new("E", &[Put, Del], Design::SOUND);
    holds(&Setting { wipe: true, survey_at_once: false, reads_stepwise: true, ..setting });
}
