//! `--check`: the configuration, then each provider, in plain words on what to fix.
//!
//! All providers are asked at once, each within one deadline:
//!
//! 1. Its canary is read. A provider that cannot answer gets no further, and the reason is told.
//! 2. A foreign canary ends it: nothing is ever written there, probes included.
//! 3. A missing canary is judged by whether there are records, here or at the others.
//! 4. It is probed with a short-lived object, which tells how uploads are protected and what time it has.
//!
//! It runs beside a serving gateway. It makes no record key, writes no canary and mends nothing.

mod report;
mod words;

use std::io::Write;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use self::report::{Finding, ProviderReport, Report};
use crate::asset::{RecordKey, key};
use crate::clock::random_secret;
use crate::config::record_key::{self, Missing, ResolveError, ResolvedKey};
use crate::config::{Loaded, RecordKeySource};
use crate::health::canary::{self, CanaryState};
use crate::provider::{ErrorKind, Fleet, Operation, ProbeReport, Provider, ProviderError, Result};

/// Nothing to fix.
pub const EXIT_FINE: u8 = 0;
/// Something to fix.
pub const EXIT_FIX: u8 = 2;
/// The configuration is wrong.
pub const EXIT_CONFIGURATION: u8 = 64;
/// How long one provider may take.
const PROVIDER_DEADLINE: Duration = Duration::from_secs(20);

/// Checks everything, prints what was found to the standard output, and returns the exit status.
pub async fn run(loaded: &Loaded, fleet: &Fleet, json: bool) -> u8 {
    let key = match record_key::resolve(&loaded.config.record_key, Missing::Refuse) {
        Ok(key) => Some(key),
        Err(ResolveError::Missing(_)) => None,
        Err(error @ (ResolveError::Malformed(_) | ResolveError::Io { .. })) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            return EXIT_CONFIGURATION;
        }
    };
    let report = check(loaded, fleet, key.as_ref()).await;
    let text = if json { serde_json::to_string(&report).unwrap_or_default() } else { report.to_string() };
    // A reader that went away has what it wanted.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    report.exit
}

/// Checks everything, in the order of the configuration.
async fn check(loaded: &Loaded, fleet: &Fleet, key: Option<&ResolvedKey>) -> Report {
    let deadline = Instant::now() + PROVIDER_DEADLINE;
    // Without a key no canary can be ours; a throw-away key tells a missing one from one that is there.
    let sealing = key.map_or_else(|| RecordKey::new(random_secret()), |key| key.key.clone());
    let seen = join_all(fleet.iter().map(|(_, provider)| examine(&**provider, &sealing, deadline))).await;
    let set = Set {
        key_known: key.is_some(),
        ours: seen.iter().any(|seen| seen.canary == Some(CanaryState::Ours)),
        // Without a key every canary looks foreign; with one, a foreign place says nothing of our set.
        used: seen
            .iter()
            .any(|seen| seen.holds_records || (key.is_none() && seen.canary == Some(CanaryState::Foreign))),
    };
    let providers = fleet.iter().zip(seen);
    let providers = providers.map(|((_, provider), seen)| describe(&**provider, seen, set)).collect();
    Report::new(loaded, record_key_findings(&loaded.config.record_key, key, set), providers)
}

/// What one provider answered.
struct Seen {
    canary: Option<CanaryState>,
    holds_records: bool,
    probe: Option<ProbeReport>,
    clock_offset_ms: Option<i64>,
    error: Option<ProviderError>,
}

/// What the providers are together.
#[derive(Clone, Copy)]
struct Set {
    /// Whether there is a record key.
    key_known: bool,
    /// Whether any provider has our canary.
    ours: bool,
    /// Whether any provider that may be ours is not empty.
    used: bool,
}

async fn examine(provider: &dyn Provider, key: &RecordKey, deadline: Instant) -> Seen {
    let mut seen =
        Seen { canary: None, holds_records: false, probe: None, clock_offset_ms: None, error: None };
    seen.error = fill(&mut seen, provider, key, deadline).await.err();
    let probed = seen.probe.as_ref().and_then(|probe| probe.clock_offset_ms);
    seen.clock_offset_ms = probed.or_else(|| provider.clock_offset_ms());
    seen
}

/// Asks one question after the other, and ends with the first that is not answered.
async fn fill(seen: &mut Seen, provider: &dyn Provider, key: &RecordKey, deadline: Instant) -> Result<()> {
    let late = |operation| move |_| ProviderError::new(provider.id(), operation, ErrorKind::Timeout);
    let canary =
        timeout_at(deadline, canary::look(provider, key)).await.map_err(late(Operation::Get))??.state;
    seen.canary = Some(canary);
    match canary {
        CanaryState::Foreign => return Ok(()),
        CanaryState::Missing => {
            let names = timeout_at(deadline, provider.list_dir(key::NAMES)).await;
            let names = names.map_err(late(Operation::List))??;
            seen.holds_records = !names.dirs.is_empty() || !names.entries.is_empty();
        }
        CanaryState::Ours => {}
    }
    let probe = timeout_at(deadline, provider.probe()).await.map_err(late(Operation::Probe))??;
    seen.probe = Some(probe);
    Ok(())
}

fn describe(provider: &dyn Provider, seen: Seen, set: Set) -> ProviderReport {
    let mut findings = Vec::new();
    if seen.canary.is_some() {
        findings.push(words::reached(provider.kind()));
    }
    if let Some(state) = seen.canary {
        findings.push(words::canary(state, set.key_known, set.ours, set.used));
    }
    if let Some(probe) = &seen.probe {
        findings.push(Finding::ok("checksum", probe.checksum.clone()));
    }
    if let Some(offset_ms) = seen.clock_offset_ms {
        findings.push(words::clock(offset_ms));
    }
    if let Some(error) = &seen.error {
        findings.push(words::failure(error, provider.kind()));
    }
    ProviderReport { name: provider.id().to_string(), kind: provider.kind(), findings }
}

fn record_key_findings(source: &RecordKeySource, key: Option<&ResolvedKey>, set: Set) -> Vec<Finding> {
    let RecordKeySource::File(path) = source else {
        return vec![Finding::ok("record key", "comes from the configuration or the environment")];
    };
    let path = path.display();
    let Some(key) = key else {
        let missing = if set.ours || set.used {
            Finding::fix(
                "record key",
                format!("{path} does not exist, yet there are providers in use: put the key's copy there"),
            )
        } else {
            Finding::ok("record key", format!("{path} is made at the first start; keep a copy then"))
        };
        return vec![missing];
    };
    let mut findings = vec![Finding::note(
        "record key",
        format!(
            "lies only on this machine, in {path}: without it nothing can be read, so keep a copy elsewhere \
             (several gateways share one, by TRIPLICATE_RECORD_KEY or a shared file)"
        ),
    )];
    if key.open_to_others {
        findings.push(Finding::note("record key", format!("can be read by others: chmod 600 {path}")));
    }
    findings
}

#[cfg(test)]
mod tests;
