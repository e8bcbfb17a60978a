//! Answers of Bunny.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    triplicate::provider::bunny::fuzzing::body(bytes);
    triplicate::provider::bunny::fuzzing::listing(bytes);
});
