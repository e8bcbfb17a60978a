//! Findings: what an audit reports, and the exit status that follows from it. Pure.

use serde::{Deserialize, Serialize};

use crate::replica::inspect::FaultKind;

/// Nothing is wrong.
const EXIT_CLEAN: u8 = 0;
/// Faults were found and all of them were repaired.
const EXIT_REPAIRED: u8 = 1;
/// Faults remain.
const EXIT_FAULTS: u8 = 2;
/// Something could not be judged, and no fault remains.
pub const EXIT_UNSURE: u8 = 3;

/// The kind of a finding; the words are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// Objects of a copy are not there.
    Missing,
    /// Objects of a copy are there with other bytes.
    Damaged,
    /// Objects of a copy cannot be judged; never called damaged.
    Unreadable,
    /// Objects that belong to no version, or to nobody; no fault.
    Orphan,
    /// A record that was not sealed with our key.
    Forged,
}

impl FindingKind {
    /// Returns the word used in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
            Self::Orphan => "orphan",
            Self::Forged => "forged",
        }
    }
}

impl From<FaultKind> for FindingKind {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Missing => Self::Missing,
            FaultKind::Damaged => Self::Damaged,
            FaultKind::Unreadable => Self::Unreadable,
            FaultKind::Forged => Self::Forged,
        }
    }
}

/// One line of the report: one kind of fault of one copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The asset's name; the key where there is no name.
    pub asset: String,
    /// The version, where the finding is about one.
    pub version: Option<String>,
    /// The provider's name.
    pub provider: String,
    /// What is wrong.
    pub kind: FindingKind,
    /// The objects and what was seen, in plain words.
    pub detail: String,
    /// Whether it was mended.
    pub repaired: bool,
}

/// How many findings of each kind there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many versions were looked at.
    pub checked: u64,
    /// Findings of kind `missing`.
    pub missing: u64,
    /// Findings of kind `damaged`.
    pub damaged: u64,
    /// Findings of kind `unreadable`.
    pub unreadable: u64,
    /// Findings of kind `orphan`.
    pub orphan: u64,
    /// Findings of kind `forged`.
    pub forged: u64,
    /// Findings that were mended.
    pub repaired: u64,
    /// Faults that were not mended; what is unreadable is no known fault.
    pub remaining: u64,
}

impl Tally {
    /// Counts one finding.
    pub fn add(&mut self, finding: &Finding) {
        let (count, fault) = match finding.kind {
            FindingKind::Missing => (&mut self.missing, true),
            FindingKind::Damaged => (&mut self.damaged, true),
            FindingKind::Unreadable => (&mut self.unreadable, false),
            FindingKind::Orphan => (&mut self.orphan, false),
            FindingKind::Forged => (&mut self.forged, true),
        };
        *count += 1;
        self.repaired += u64::from(finding.repaired);
        self.remaining += u64::from(fault && !finding.repaired);
    }

    /// Returns the exit status; `unsure` says that a provider could not be asked.
    pub fn exit(&self, unsure: bool) -> u8 {
        if self.remaining > 0 {
            EXIT_FAULTS
        } else if unsure || self.unreadable > 0 {
            EXIT_UNSURE
        } else if self.repaired > 0 {
            EXIT_REPAIRED
        } else {
            EXIT_CLEAN
        }
    }

    /// Returns the last line of a report.
    pub fn summary(&self, exit: u8) -> serde_json::Value {
        serde_json::json!({ "summary": {
            "checked": self.checked,
            "missing": self.missing,
            "damaged": self.damaged,
            "unreadable": self.unreadable,
            "orphan": self.orphan,
            "forged": self.forged,
            "repaired": self.repaired,
            "exit": exit,
        } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: FindingKind, repaired: bool) -> Finding {
        Finding {
            asset: "icons/gold.png".to_owned(),
            version: None,
            provider: "s3-one".to_owned(),
            kind,
            detail: "whole copy".to_owned(),
            repaired,
        }
    }

    #[test]
    fn the_exit_status_follows_from_the_findings() {
        use FindingKind::{Damaged, Forged, Missing, Orphan, Unreadable};
        type Row = (&'static [(FindingKind, bool)], bool, u8);
        let table: [Row; 11] = [
            (&[], false, 0),
            (&[(Orphan, false)], false, 0),
            (&[(Missing, true), (Damaged, true), (Forged, true), (Orphan, false)], false, 1),
            (&[(Missing, false)], false, 2),
            (&[(Missing, true), (Damaged, false)], false, 2),
            (&[(Forged, false)], false, 2),
            (&[(Unreadable, false)], false, 3),
            (&[(Unreadable, false), (Missing, true)], false, 3),
            (&[], true, 3),
            (&[(Missing, true)], true, 3),
            (&[(Unreadable, false), (Missing, false)], true, 2),
        ];
        for (findings, unsure, exit) in table {
            let mut tally = Tally::default();
            findings.iter().for_each(|(kind, repaired)| tally.add(&finding(*kind, *repaired)));
            assert_eq!(tally.exit(unsure), exit, "{findings:?} {unsure}");
        }
    }

    #[test]
    fn lines_are_spelled_as_the_contract_says() {
        let line = serde_json::to_string(&finding(FindingKind::Missing, false)).unwrap();
        let expected = r#"{"asset":"icons/gold.png","version":null,"provider":"s3-one","kind":"missing","detail":"whole copy","repaired":false}"#;
        assert_eq!(line, expected);
        let summary = Tally { checked: 3, ..Tally::default() }.summary(2);
        let keys: Vec<_> = summary["summary"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(summary["summary"]["checked"], 3);
        assert_eq!(summary["summary"]["exit"], 2);
        assert_eq!(keys.len(), 8);
    }
}
