//! The integration tests: the real binary, real S3 servers, and the test kit that holds them.
//!
//! Features are tested from outside, over HTTP and on the providers themselves. Copies are compared
//! provider by provider, never through the gateway, which hides damage by design.

#![allow(unreachable_pub, reason = "a test binary exports nothing")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]
#![allow(
    clippy::disallowed_methods,
    reason = "the kit stands outside the product, clocks and environment are its own"
)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests name the cases that they are about")]

#[path = "../stack/mod.rs"]
mod stack;
mod support;

mod kit_bunny;
mod kit_data;
mod kit_proxy;
mod kit_servers;

mod admin;
mod audit;
mod crash;
mod delete;
mod drill;
mod http_read;
mod http_refusals;
mod http_write;
mod identity;
mod providers_down;
mod read_faults;
mod restart;
mod retention;
mod upload_and_read;
