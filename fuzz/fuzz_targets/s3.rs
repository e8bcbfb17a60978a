//! Answers of S3 vendors.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    triplicate::provider::s3::fuzzing::body(bytes);
});
