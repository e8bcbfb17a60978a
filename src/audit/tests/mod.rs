//! Whole audits over providers in memory.

mod faults;
mod orphans;
mod runs;
mod trust;

use std::io::{self, Write};
use std::sync::Arc;

use indicatif::ProgressBar;
use parking_lot::Mutex;

use super::finding::{Finding, FindingKind};
use super::*;
use crate::clock::to_utc;
use crate::health::canary;
use crate::replica::memory::{KEY, Made, Memory, fleet};

/// When the audits run.
const NOW: u64 = 1_795_345_530_000;
/// When what they find was stored.
const DAY_BEFORE: u64 = NOW - 24 * 60 * 60 * 1_000;
const LEVELS: [Level; 3] = [Level::List, Level::Checksum, Level::Bytes];

/// Three providers with canaries, and what an audit is asked for.
struct Bench {
    providers: [Memory; 3],
    options: AuditOptions,
    clock: Clock,
    dir: tempfile::TempDir,
}

/// What an audit came to.
#[derive(Debug)]
struct Outcome {
    exit: u8,
    findings: Vec<Finding>,
    summary: serde_json::Value,
    notes: String,
    shown: String,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = AuditOptions {
            level: Level::Checksum,
            repair: false,
            prefix: None,
            sample: None,
            max_bytes_per_second: None,
            resume: false,
            report: Some(dir.path().join("report.jsonl")),
            json: true,
            state_dir: dir.path().join("state"),
        };
        let providers = ["a", "b", "c"].map(Memory::new);
        for provider in &providers {
            canary::write(provider, &KEY, to_utc(DAY_BEFORE)).await.unwrap();
        }
        Self { providers, options, clock: Clock::manual(NOW), dir }
    }

    /// Stores a version at all providers, the day before.
    async fn put(&self, name: &str, size: usize) -> Made {
        self.store(Made::put(name, DAY_BEFORE, size)).await
    }

    async fn store(&self, made: Made) -> Made {
        let then = Clock::manual(made.copy.record.version.order.unix_ms());
        for provider in &self.providers {
            made.store(provider, &then).await;
        }
        made
    }

    async fn audit(&self) -> Outcome {
        self.audit_with(&self.options).await
    }

    async fn repair(&self) -> Outcome {
        self.audit_with(&AuditOptions { repair: true, ..self.options.clone() }).await
    }

    async fn audit_with(&self, options: &AuditOptions) -> Outcome {
        let (out, notes) = (Buffer::default(), Buffer::default());
        let boxed = |buffer: &Buffer| Box::new(buffer.clone());
        let screen =
            Screen::new(options.json, &self.clock, ProgressBar::hidden(), boxed(&out), boxed(&notes));
        let exit = run_on(fleet(&self.providers), KEY, self.clock.clone(), options.clone(), screen).await;
        let report = options.report.as_ref().map(std::fs::read_to_string);
        let report = report.and_then(Result::ok).unwrap_or_default();
        let mut findings: Vec<Finding> = Vec::new();
        let mut summary = serde_json::Value::Null;
        for line in report.lines() {
            match serde_json::from_str(line) {
                Ok(finding) => findings.push(finding),
                Err(_) => summary = serde_json::from_str(line).unwrap(),
            }
        }
        Outcome { exit, findings, summary, notes: notes.text(), shown: out.text() }
    }
}

impl Outcome {
    /// Returns the findings without their assets: provider, kind, detail, repaired.
    fn brief(&self) -> Vec<(&str, FindingKind, &str, bool)> {
        let brief = |finding: &'_ Finding| (finding.kind, finding.repaired);
        self.findings
            .iter()
            .map(|finding| {
                let (kind, repaired) = brief(finding);
                (finding.provider.as_str(), kind, finding.detail.as_str(), repaired)
            })
            .collect()
    }
}
