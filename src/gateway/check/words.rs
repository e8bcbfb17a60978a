//! The words of a check: what a provider's answer means, and what to do.

use super::report::Finding;
use crate::health::canary::CanaryState;
use crate::provider::{ErrorKind, Operation, ProviderError};

/// The difference of two clocks that is none, given how coarsely providers tell the time.
const SKEW_NONE_MS: u64 = 1_000;
/// The difference of two clocks that is worth a note.
const SKEW_NOTED_MS: u64 = 5_000;
/// The difference of two clocks that has to be mended; signatures are refused not far beyond.
const SKEW_WRONG_MS: u64 = 30_000;

/// Says that a provider of `kind` answers.
pub(super) fn reached(kind: &str) -> Finding {
    let text = if kind == "disk" { "the folder can be read" } else { "it answers, and accepts the key" };
    Finding::ok("reach", text)
}

/// Says what a canary means beside those of the other providers.
pub(super) fn canary(state: CanaryState, key_known: bool, any_ours: bool, any_used: bool) -> Finding {
    const TOPIC: &str = "canary";
    match state {
        CanaryState::Ours => Finding::ok(TOPIC, "is ours"),
        CanaryState::Foreign if !key_known => {
            Finding::fix(TOPIC, "is there, but without the record key it cannot be told whose it is")
        }
        CanaryState::Foreign => Finding::fix(
            TOPIC,
            "is foreign: the place belongs to another set, to another provider's name, or another record key \
             sealed it. Nothing is written there; check the provider's name, its bucket, zone or path, and \
             the record key",
        ),
        CanaryState::Missing if any_ours => Finding::fix(
            TOPIC,
            "is missing, though other providers have theirs: the place is new, wiped or swapped. A serving \
             gateway refills it by itself; until then what it lacks counts for nothing. If it should be \
             full, check its bucket, zone or path",
        ),
        CanaryState::Missing if any_used => Finding::fix(
            TOPIC,
            "is missing, though there are records: a serving gateway compares and mends all providers first, \
             then writes it",
        ),
        CanaryState::Missing => Finding::ok(TOPIC, "is new: it is written at the first start"),
    }
}

/// Says how far a provider's clock is from ours.
pub(super) fn clock(offset_ms: i64) -> Finding {
    const TOPIC: &str = "clock";
    let side = if offset_ms < 0 { "behind" } else { "ahead of" };
    let apart = offset_ms.unsigned_abs();
    let text = format!("is {}.{:03} s {side} this machine's", apart / 1000, apart % 1000);
    match apart {
        0..SKEW_NONE_MS => Finding::ok(TOPIC, "agrees with this machine's"),
        SKEW_NONE_MS..SKEW_NOTED_MS => Finding::ok(TOPIC, text),
        SKEW_NOTED_MS..SKEW_WRONG_MS => Finding::note(TOPIC, format!("{text}: is NTP running here?")),
        _ => Finding::fix(TOPIC, format!("{text}: set this machine's clock, with NTP")),
    }
}

/// Says what a failure means at a provider of `kind`, and what to do.
pub(super) fn failure(error: &ProviderError, kind: &str) -> Finding {
    let (topic, meaning) = meaning(error.kind, error.operation, kind);
    let text =
        if error.detail.is_empty() { meaning.to_owned() } else { format!("{meaning} ({})", error.detail) };
    Finding::fix(topic, text)
}

fn meaning(error: ErrorKind, operation: Operation, kind: &str) -> (&'static str, &'static str) {
    match error {
        ErrorKind::Denied => ("key", denied(operation, kind)),
        ErrorKind::NoContainer => (
            "reach",
            match kind {
                "s3" => {
                    "the bucket does not exist: create it, or check `bucket`, `region`, `endpoint` and `path_style`"
                }
                "bunny" => {
                    "the storage zone does not exist: create it, or check `zone` and the region in `endpoint`"
                }
                _ => {
                    "the folder does not exist and cannot be made: check `path`, and whether the disk is mounted"
                }
            },
        ),
        ErrorKind::Throttled => ("reach", "it is asked too much of: try again later, or raise its limits"),
        ErrorKind::Unavailable => (
            "reach",
            match kind {
                "disk" => "the folder cannot be used: check `path` and the disk",
                _ => {
                    "it cannot be reached, or is failing: check `endpoint`, the network and the provider's status page"
                }
            },
        ),
        ErrorKind::Timeout => ("reach", "it did not answer in time: check `endpoint` and the network"),
        ErrorKind::Refused => {
            ("reach", "it refuses the request for good: check `endpoint`, and what its message says")
        }
        ErrorKind::Protocol => (
            "reach",
            "its answer is not that of such a provider: check `kind` and `endpoint`, and any proxy on the way",
        ),
        ErrorKind::Corrupt => {
            ("checksum", "it gave back other bytes than were sent: do not trust it with anything")
        }
        ErrorKind::NotFound => {
            ("checksum", "it lost an object that it had just confirmed: do not trust it with anything")
        }
    }
}

fn denied(operation: Operation, kind: &str) -> &'static str {
    let probing = matches!(operation, Operation::Put | Operation::Delete | Operation::Probe);
    match (kind, probing) {
        ("s3", false) => {
            "the key is not accepted (401 or 403): check `access_key_id`, `secret_access_key`, `region` and \
             that the key may read, list, write and delete in this bucket"
        }
        ("s3", true) => "the key may read but not write (401 or 403): let it write and delete in this bucket",
        ("bunny", false) => {
            "the key is not accepted (401): `access_key` is the storage zone's password, not the account's \
             API key; check `zone` and the region in `endpoint`"
        }
        ("bunny", true) => {
            "the key may read but not write (401): use the zone's password, not the read-only one"
        }
        _ => "this user may not use the folder: check its owner and permissions",
    }
}
