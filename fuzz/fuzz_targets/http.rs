//! Heads, header fields and targets: whatever a client sends.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    triplicate::http::fuzzing::head(bytes);
    triplicate::http::fuzzing::target(bytes);
});
