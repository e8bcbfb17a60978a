//! What a round came to: for `/api/status`, for operators who asked, and as metrics and events.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Parts;
use super::plan::allowance;
use crate::telemetry::{Event, EventKind, ProviderLabels};

/// What one round came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// When it began.
    pub at: DateTime<Utc>,
    /// Why removals wait, where they do.
    pub waits: Option<String>,
    /// Whether the plan was too large: what is not removed yet stays, and an operator has to decide.
    pub braked: bool,
    /// How many versions the index forgot.
    pub forgotten: u64,
    /// Whether orphans were looked for.
    #[serde(skip)]
    pub sweep_began: bool,
    /// What concerns each provider, in the order of the configuration.
    #[serde(rename = "providers")]
    pub tallies: Vec<Tally>,
}

/// What one round came to at one provider.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    /// The provider.
    pub provider: String,
    /// How many copies it was known to hold.
    pub held: u64,
    /// How many copies, and uploads without a record, were to go; at least, where the brake stopped counting.
    pub planned: u64,
    /// How many of them went.
    pub removed: u64,
    /// What failed, where something did.
    pub failure: Option<String>,
}

impl Tally {
    pub(super) fn is_too_much(&self) -> bool {
        self.planned > allowance(self.held)
    }
}

impl Report {
    pub(super) fn new(parts: &Parts) -> Self {
        let tally = |id: String| Tally { provider: id, ..Tally::default() };
        let tallies = parts.fleet.iter().map(|(_, provider)| tally(provider.id().to_string())).collect();
        Self { at: parts.clock.utc(), waits: None, braked: false, forgotten: 0, sweep_began: false, tallies }
    }

    /// Tells whether all that was planned was done.
    pub fn is_done(&self) -> bool {
        self.waits.is_none() && !self.braked && self.tallies.iter().all(|tally| tally.failure.is_none())
    }

    /// Returns the report in plain words, one line a provider.
    pub fn lines(&self) -> Vec<String> {
        let line = |tally: &Tally| {
            let Tally { provider, held, planned, removed, failure } = tally;
            let failure = failure.as_ref().map_or_else(String::new, |failure| format!("; failed: {failure}"));
            format!("{provider}: {removed} of {planned} planned copies removed, {held} held before{failure}")
        };
        let mut lines: Vec<_> = self.tallies.iter().map(line).collect();
        if self.braked {
            lines.push(
                "BRAKE: the plan takes more than 1 % of all copies from a provider, so what is not removed yet \
                 stays. If all of it is meant, run `triplicate --retention --allow-large-removal`."
                    .to_owned(),
            );
        }
        lines.extend(self.waits.as_ref().map(|why| format!("removals wait: {why}")));
        lines
    }

    /// Returns how many copies of how many went at each provider, in one line.
    pub(super) fn counts(&self) -> String {
        let of = |tally: &Tally| format!("{} {} of {}", tally.provider, tally.removed, tally.planned);
        self.tallies.iter().map(of).collect::<Vec<_>>().join(", ")
    }

    /// Keeps metrics, and raises events; the alarm of the brake once, until it is off again.
    pub(super) fn tell(&self, parts: &Parts, was_braked: bool) {
        let metrics = parts.telemetry.metrics();
        metrics.retention_braked.set(i64::from(self.braked));
        for tally in &self.tallies {
            let labels = ProviderLabels { provider: tally.provider.clone() };
            let planned = i64::try_from(tally.planned).unwrap_or(i64::MAX);
            metrics.retention_planned.get_or_create(&labels).set(planned);
            metrics.retention_removed.get_or_create(&labels).inc_by(tally.removed);
            let event = |kind, detail: String| {
                let provider = Some(tally.provider.clone());
                parts.telemetry.event(Event {
                    at: self.at,
                    kind,
                    provider,
                    asset: None,
                    detail,
                    rescue: None,
                });
            };
            if self.braked && !was_braked && tally.is_too_much() {
                let detail = format!("a plan to remove {} of {} copies stops", tally.planned, tally.held);
                tracing::error!(provider = tally.provider, "{detail}");
                event(EventKind::Brake, detail);
            }
            if tally.removed > 0 || tally.failure.is_some() {
                let failure = tally.failure.as_deref().unwrap_or("nothing failed");
                let detail = format!("{} of {} copies removed; {failure}", tally.removed, tally.planned);
                event(EventKind::Retention, detail);
            }
        }
    }
}
