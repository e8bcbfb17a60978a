//! What the gateway says of itself while it is drilled: its metrics and its status.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::load::client::Client;
use crate::repair::Toll;

/// How long the admin listener may take to answer.
const ADMIN_LIMIT: Duration = Duration::from_secs(10);

/// Counters of the gateway at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counters {
    /// Events by kind.
    pub(super) events: BTreeMap<String, f64>,
    /// Reads of providers by reason (`first`, `hedge`, `retry`), where the gateway tells them.
    pub(super) upstream_reads: BTreeMap<String, f64>,
    /// The same by provider: what reads asked each for, and no look at a canary.
    pub(super) asked: BTreeMap<String, f64>,
}

/// A provider as the gateway's status shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct ProviderStatus {
    name: String,
    health: String,
    canary: String,
    copies_missing: u64,
    hedge_ms: Option<f64>,
}

/// The gateway as its status shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Status {
    /// Every provider by name.
    pub(super) providers: BTreeMap<String, ProviderStatus>,
    /// What repair has cost clients so far.
    pub(super) toll: Option<Toll>,
}

#[derive(Deserialize)]
struct StatusText {
    fresh: bool,
    providers: Vec<ProviderStatus>,
    repair: RepairText,
}

#[derive(Deserialize)]
struct RepairText {
    toll: Option<Toll>,
}

impl ProviderStatus {
    /// Tells whether the gateway counts on the provider again.
    pub(super) fn is_well(&self) -> bool {
        self.health == "healthy" && self.canary == "ours"
    }

    /// Returns after how many milliseconds another provider is asked as well.
    pub(super) fn hedge_ms(&self) -> Option<f64> {
        self.hedge_ms
    }

    /// Tells whether the provider has all that it should.
    pub(super) fn is_complete(&self) -> bool {
        self.is_well() && self.copies_missing == 0
    }
}

impl Counters {
    /// Reads the gateway's metrics.
    ///
    /// # Errors
    ///
    /// The admin listener does not answer; the text says how.
    pub(super) async fn read(admin: &mut Client) -> Result<Self, String> {
        let text = admin.fetch("/metrics", ADMIN_LIMIT).await?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    fn parse(text: &str) -> Self {
        let mut counters = Self::default();
        for (name, labels, value) in text.lines().filter_map(sample) {
            let by = |key| label(labels, key).to_owned();
            match name {
                "triplicate_events_total" => *counters.events.entry(by("kind")).or_default() += value,
                "triplicate_upstream_reads_total" => {
                    *counters.upstream_reads.entry(by("reason")).or_default() += value;
                    *counters.asked.entry(by("provider")).or_default() += value;
                }
                _ => {}
            }
        }
        counters
    }

    /// Returns how many events of a kind there were since `before`.
    pub(super) fn events_since(&self, before: &Self, kind: &str) -> u64 {
        grown(&self.events, &before.events, kind) as u64
    }

    /// Returns reads of providers beyond the first of each, as a part of the first ones, since `before`.
    pub(super) fn extra_since(&self, before: &Self) -> Option<f64> {
        let grown = |kind| grown(&self.upstream_reads, &before.upstream_reads, kind);
        let first = grown("first");
        (first > 0.0).then(|| (grown("hedge") + grown("retry")) / first)
    }
}

fn grown(after: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>, kind: &str) -> f64 {
    let at = |counters: &BTreeMap<String, f64>| counters.get(kind).copied().unwrap_or(0.0);
    at(after) - at(before)
}

/// Splits a line of OpenMetrics into name, labels and value.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some((name, labels.trim_end_matches('}'), value.parse().ok()?))
}

/// Returns the value of a label; the values that are asked for hold no quotes.
fn label<'a>(labels: &'a str, key: &str) -> &'a str {
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value.trim_matches('"'))
}

/// Reads the status; `None` while the index is not fresh.
///
/// # Errors
///
/// The admin listener does not answer; the text says how.
pub(super) async fn status(admin: &mut Client) -> Result<Option<Status>, String> {
    let text = admin.fetch("/api/status", ADMIN_LIMIT).await?;
    let text: StatusText = serde_json::from_slice(&text).map_err(|error| format!("/api/status: {error}"))?;
    let providers = text.providers.into_iter().map(|provider| (provider.name.clone(), provider)).collect();
    Ok(text.fresh.then_some(Status { providers, toll: text.repair.toll }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_the_label_that_matters() {
        let before = Counters::parse("triplicate_events_total{kind=\"takeover\",provider=\"a\"} 1\n");
        let after = Counters::parse(
            "# TYPE triplicate_events counter\n\
             triplicate_events_total{kind=\"takeover\",provider=\"a\"} 3\n\
             triplicate_events_total{kind=\"takeover\",provider=\"b\"} 2\n\
             triplicate_events_total{provider=\"b\",kind=\"hedge_won\"} 7\n\
             triplicate_upstream_reads_total{provider=\"a\",reason=\"first\"} 200\n\
             triplicate_upstream_reads_total{provider=\"a\",reason=\"hedge\"} 6\n\
             triplicate_upstream_reads_total{provider=\"a\",reason=\"retry\"} 4\n\
             triplicate_provider_calls_total{provider=\"a\",operation=\"get\",outcome=\"ok\"} 5\n# EOF\n",
        );
        assert_eq!(after.events_since(&before, "takeover"), 4);
        assert_eq!(after.events_since(&before, "hedge_won"), 7);
        assert_eq!(after.events_since(&before, "repair"), 0);
        assert_eq!(after.extra_since(&before), Some(0.05));
        assert_eq!(after.asked["a"], 210.0);
        assert_eq!(before.extra_since(&Counters::default()), None);
    }
}
