//! What retention may do, and nothing more: which versions may be gone at a certain time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use triplicate::asset::key::{self, KeyKind};
use triplicate::asset::{Kind, NameHash, Version};
use triplicate::retention::QUIET;

use crate::checker::Violation;
use crate::history::{Asked, Op, Told};
use crate::server::Log;

/// So far a gateway may be out when it reckons a provider's time: as long as an answer takes that tells it.
const MISJUDGED: Duration = Duration::from_secs(13);

/// For how long versions are kept; for ever where no gateway does rounds.
#[derive(Debug, Clone, Copy)]
pub struct Keep(pub Option<Duration>);

impl Keep {
    /// Tells whether what came about at `since`, or later, may have outlived the retention.
    fn is_over(self, since: Instant, now: Instant) -> bool {
        self.0.is_some_and(|retention| since + retention <= now + MISJUDGED)
    }

    /// Tells whether a version that a client was told of may be gone: superseded for long, or a tombstone that
    /// has long been alone.
    pub fn may_be_gone(self, version: Version, now: Instant, ops: &[&Op]) -> bool {
        ops.iter().filter(|op| op.asked.is_write()).any(|op| match op.told {
            Told::Stored(other) if other == version => {
                op.asked == Asked::Delete && self.is_over(op.began + QUIET, now)
            }
            Told::Stored(other) => other > version && self.is_over(op.began, now),
            // Whatever its stamp is.
            Told::Nothing | Told::Unknown => self.is_over(op.began, now),
            _ => false,
        })
    }

    /// Checks every record that was removed, by what the providers stored until then.
    pub fn check(self, logs: &[Log]) -> Vec<Violation> {
        let mut stored: BTreeMap<NameHash, BTreeMap<Version, Vec<Instant>>> = BTreeMap::new();
        for (text, at) in logs.iter().flat_map(|log| &log.stored) {
            let Some((name, version, _)) = record(text) else { continue };
            stored.entry(name).or_default().entry(version).or_default().push(*at);
        }
        let removed = logs.iter().enumerate().flat_map(|(slot, log)| {
            log.removed.iter().filter_map(move |(at, text)| Some((slot, *at, record(text)?)))
        });
        let wrong = removed.filter(|(_, at, (name, version, kind))| {
            let is_old = |copies: &Vec<Instant>, wait| {
                let old = copies.iter().filter(|since| self.is_over(**since + wait, *at));
                old.count() > logs.len() / 2
            };
            let own = &stored[name][version];
            let lone = *kind == Kind::Del && own.len() == logs.len() && is_old(own, QUIET);
            let mut newer = stored[name].range(version..).skip(1);
            !lone && !newer.any(|(_, copies)| is_old(copies, Duration::ZERO))
        });
        let violation = |(slot, at, (_, version, kind)): (usize, Instant, (NameHash, Version, Kind))| {
            let text = format!("{} {version} was removed too early from {slot}, at {at:?}", kind.as_str());
            Violation { name: None, text }
        };
        wrong.map(violation).collect()
    }
}

fn record(text: &str) -> Option<(NameHash, Version, Kind)> {
    match key::parse(text)? {
        KeyKind::Record { name, version, kind } => Some((name, version, kind)),
        _ => None,
    }
}
