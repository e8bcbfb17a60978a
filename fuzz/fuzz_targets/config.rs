//! The configuration file.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    triplicate::config::fuzzing::file(text);
});
