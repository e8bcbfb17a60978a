//! Events: what happened lately, for operators. Rescues of reads have a ring of their own, since a provider
//! that is down makes ever so many, and they must not push out the alarms.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

/// How many events of each ring are kept.
const EVENTS_MAX: usize = 1_000;

/// What happened; the words are those of `/api/events` and of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Another provider took over before the first byte of a read.
    Takeover,
    /// Another provider took over in the middle of a body.
    TakeoverMidBody,
    /// A slow read was raced by another provider, which won.
    HedgeWon,
    /// A read was answered from the local cache while all providers were down.
    CacheRescue,
    /// A block at a provider did not match its hash.
    BadBlock,
    /// A copy was made or mended.
    Repair,
    /// A copy could not be made or mended.
    RepairFailed,
    /// A provider changed between healthy and not.
    Health,
    /// A canary is missing, foreign, or was written.
    Canary,
    /// A record is forged or has an unknown format.
    BadRecord,
    /// A snapshot of the index is forged, damaged or of an unknown format, and is ignored.
    BadSnapshot,
    /// The local index was rebuilt.
    IndexRebuilt,
    /// A provider's clock and ours differ too much.
    ClockSkew,
    /// Old versions and orphans were removed, or could not be.
    Retention,
    /// A plan to remove too much stopped, and waits for an operator.
    Brake,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::Takeover,
        Self::TakeoverMidBody,
        Self::HedgeWon,
        Self::CacheRescue,
        Self::BadBlock,
        Self::Repair,
        Self::RepairFailed,
        Self::Health,
        Self::Canary,
        Self::BadRecord,
        Self::BadSnapshot,
        Self::IndexRebuilt,
        Self::ClockSkew,
        Self::Retention,
        Self::Brake,
    ];

    /// Returns the word used in metrics and queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Takeover => "takeover",
            Self::TakeoverMidBody => "takeover_mid_body",
            Self::HedgeWon => "hedge_won",
            Self::CacheRescue => "cache_rescue",
            Self::BadBlock => "bad_block",
            Self::Repair => "repair",
            Self::RepairFailed => "repair_failed",
            Self::Health => "health",
            Self::Canary => "canary",
            Self::BadRecord => "bad_record",
            Self::BadSnapshot => "bad_snapshot",
            Self::IndexRebuilt => "index_rebuilt",
            Self::ClockSkew => "clock_skew",
            Self::Retention => "retention",
            Self::Brake => "brake",
        }
    }

    /// Finds a kind by its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Tells whether it is the rescue of a read.
    pub const fn is_rescue(self) -> bool {
        matches!(self, Self::Takeover | Self::TakeoverMidBody | Self::HedgeWon | Self::CacheRescue)
    }
}

/// How a read was rescued.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rescue {
    /// The provider that did not deliver; the rescuing one is that of the event. None where all are down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What was wrong with it: the kind of its failure, `slow`, `stalled` or `damaged`.
    pub cause: &'static str,
    /// For how long the client waited, in milliseconds, from the last good byte to the next.
    #[serde(rename = "delay_ms", serialize_with = "milliseconds")]
    pub delay: Duration,
}

fn milliseconds<S: Serializer>(delay: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((delay.as_secs_f64() * 1e6).round() / 1e3)
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are those of /api/events")]
pub struct Event {
    pub at: DateTime<Utc>,
    pub kind: EventKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    pub detail: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Rescue>,
}

/// Which events are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those of this kind.
    pub kind: Option<EventKind>,
    /// Only those that concern this provider, as the one that failed or the one that rescued.
    pub provider: Option<String>,
}

impl EventFilter {
    fn fits(&self, event: &Event) -> bool {
        let from = event.rescue.as_ref().and_then(|rescue| rescue.from.as_ref());
        self.kind.is_none_or(|kind| kind == event.kind)
            && self
                .provider
                .as_ref()
                .is_none_or(|provider| event.provider.as_ref() == Some(provider) || from == Some(provider))
    }
}

/// The recent events.
#[derive(Debug, Default)]
pub(super) struct Rings {
    rescues: VecDeque<Event>,
    others: VecDeque<Event>,
}

impl Rings {
    /// Keeps an event, and drops the oldest one of its ring where there are too many.
    pub(super) fn push(&mut self, event: Event) {
        let ring = if event.kind.is_rescue() { &mut self.rescues } else { &mut self.others };
        if ring.len() == EVENTS_MAX {
            ring.pop_front();
        }
        ring.push_back(event);
    }

    /// Returns up to `limit` events that fit, the newest first.
    pub(super) fn recent(&self, filter: &EventFilter, limit: usize) -> Vec<Event> {
        let (mut rescues, mut others) = (self.rescues.iter().rev(), self.others.iter().rev());
        let mut found = Vec::new();
        let (mut rescue, mut other) = (rescues.next(), others.next());
        while found.len() < limit {
            let newest = match (rescue, other) {
                (None, None) => break,
                (Some(event), Some(than)) if event.at < than.at => {
                    std::mem::replace(&mut other, others.next())
                }
                (None, Some(_)) => std::mem::replace(&mut other, others.next()),
                (Some(_), _) => std::mem::replace(&mut rescue, rescues.next()),
            };
            found.extend(newest.filter(|event| filter.fits(event)).cloned());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: i64, kind: EventKind, provider: &str, from: Option<&str>) -> Event {
        let rescue = from.map(|from| Rescue {
            from: Some(from.to_owned()),
            cause: "slow",
            delay: Duration::from_micros(1_234_567),
        });
        Event {
            at: DateTime::from_timestamp(second, 0).unwrap(),
            kind,
            provider: Some(provider.to_owned()),
            asset: None,
            detail: String::new(),
            rescue,
        }
    }

    #[test]
    fn a_storm_of_rescues_leaves_the_alarms_and_both_come_in_order() {
        let mut rings = Rings::default();
        rings.push(event(0, EventKind::Health, "a", None));
        for second in 1..=2_000 {
            rings.push(event(second, EventKind::HedgeWon, "b", Some("a")));
        }
        rings.push(event(2_001, EventKind::Repair, "a", None));
        let all = rings.recent(&EventFilter::default(), 5_000);
        assert_eq!(all.len(), 1_002);
        assert!(all.is_sorted_by(|newer, older| newer.at >= older.at));
        assert_eq!(all.first().unwrap().kind, EventKind::Repair);
        assert_eq!(all.last().unwrap().kind, EventKind::Health);
        assert_eq!(rings.recent(&EventFilter::default(), 2)[1].kind, EventKind::HedgeWon);
    }

    #[test]
    fn events_are_found_by_kind_and_by_provider_that_failed_or_rescued() {
        let mut rings = Rings::default();
        rings.push(event(1, EventKind::HedgeWon, "b", Some("a")));
        rings.push(event(2, EventKind::Takeover, "c", Some("b")));
        rings.push(event(3, EventKind::Repair, "c", None));
        let count = |kind: Option<&str>, provider: Option<&str>| {
            let kind = kind.map(|word| EventKind::parse(word).unwrap());
            let filter = EventFilter { kind, provider: provider.map(str::to_owned) };
            rings.recent(&filter, 10).len()
        };
        assert_eq!(count(None, None), 3);
        assert_eq!(count(Some("takeover"), None), 1);
        assert_eq!(count(None, Some("b")), 2);
        assert_eq!(count(Some("repair"), Some("b")), 0);
    }

    #[test]
    fn words_of_kinds_are_those_of_json_and_can_be_read_again() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EventKind::parse("nonsense"), None);
    }

    #[test]
    fn a_rescue_says_who_why_and_how_long() {
        let json = serde_json::to_value(event(1, EventKind::HedgeWon, "b", Some("a"))).unwrap();
        assert_eq!(json["provider"], "b");
        assert_eq!(json["from"], "a");
        assert_eq!(json["cause"], "slow");
        assert_eq!(json["delay_ms"], 1234.567);
    }
}
