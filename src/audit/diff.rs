//! From the faults of one copy to its findings: one a kind, with the objects in words. Pure.

use super::finding::{Finding, FindingKind};
use crate::replica::inspect::{Fault, FaultKind};
use crate::replica::{Object, SealedRecord};

/// How many objects of one finding are named one by one.
const NAMED_MAX: usize = 5;

/// What an attempt to mend a copy came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The objects that were written.
    pub mended: Vec<Object>,
    /// Why not all of them were, in plain words.
    pub failure: Option<String>,
}

/// Returns the findings for the copy of one version at one provider.
///
/// `faults` are in the order of writing; `attempt` is what mending came to, where it was tried.
pub fn findings(
    copy: &SealedRecord,
    provider: &str,
    faults: &[Fault],
    attempt: Option<&Attempt>,
) -> Vec<Finding> {
    [FaultKind::Missing, FaultKind::Damaged, FaultKind::Unreadable, FaultKind::Forged]
        .into_iter()
        .map(|kind| faults.iter().filter(|fault| fault.kind == kind).collect::<Vec<_>>())
        .filter(|faults| !faults.is_empty())
        .map(|faults| finding(copy, provider, &faults, attempt))
        .collect()
}

fn finding(copy: &SealedRecord, provider: &str, faults: &[&Fault], attempt: Option<&Attempt>) -> Finding {
    let kind = FindingKind::from(faults[0].kind);
    let is_mended = |fault: &&Fault| {
        fault.mendable && attempt.is_some_and(|attempt| attempt.mended.contains(&fault.object))
    };
    let repaired = faults.iter().all(is_mended);
    let mut detail = if kind == FindingKind::Missing { missing(copy, faults) } else { seen(faults) };
    if let Some(failure) = attempt.filter(|_| !repaired).and_then(|attempt| attempt.failure.as_deref()) {
        detail = format!("{detail}; not mended: {failure}");
    }
    Finding {
        asset: copy.record.name.to_string(),
        version: Some(copy.record.version.to_string()),
        provider: provider.to_owned(),
        kind,
        detail,
        repaired,
    }
}

fn missing(copy: &SealedRecord, faults: &[&Fault]) -> String {
    if faults.len() == copy.objects().len() {
        return "whole copy".to_owned();
    }
    enumerate(faults, |fault| fault.object.to_string(), ", ")
}

fn seen(faults: &[&Fault]) -> String {
    enumerate(faults, |fault| format!("{}: {}", fault.object, fault.detail), "; ")
}

fn enumerate(faults: &[&Fault], text: impl Fn(&Fault) -> String, between: &str) -> String {
    let mut texts: Vec<_> = faults.iter().take(NAMED_MAX).map(|fault| text(fault)).collect();
    if faults.len() > NAMED_MAX {
        texts.push(format!("and {} more", faults.len() - NAMED_MAX));
    }
    texts.join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::PART_BYTES;
    use crate::replica::memory::Made;

    fn fault(object: Object, kind: FaultKind) -> Fault {
        Fault::new(object, kind, "seen")
    }

    fn table(size: usize, faults: &[Fault], attempt: Option<&Attempt>) -> Vec<(FindingKind, String, bool)> {
        let copy = Made::put("icons/gold.png", 1_795_345_530_000, size).copy;
        let findings = findings(&copy, "s3-one", faults, attempt).into_iter();
        findings.map(|finding| (finding.kind, finding.detail, finding.repaired)).collect()
    }

    #[test]
    fn a_copy_without_faults_has_no_findings() {
        assert_eq!(table(1, &[], None), []);
    }

    #[test]
    fn faults_of_one_kind_are_one_finding() {
        use FaultKind::{Damaged, Missing, Unreadable};
        let size = 2 * PART_BYTES as usize;
        let faults = [
            fault(Object::Part(0), Damaged),
            fault(Object::Part(1), Unreadable),
            fault(Object::Blocks, Missing),
            fault(Object::Feed, Missing),
        ];
        let expected = [
            (FindingKind::Missing, "block list, feed entry".to_owned(), false),
            (FindingKind::Damaged, "part 00000: seen".to_owned(), false),
            (FindingKind::Unreadable, "part 00001: seen".to_owned(), false),
        ];
        assert_eq!(table(size, &faults, None), expected);
    }

    #[test]
    fn a_copy_that_lacks_everything_is_called_whole() {
        for size in [0, 1, 100_000] {
            let copy = Made::put("icons/gold.png", 1_795_345_530_000, size).copy;
            let all: Vec<_> =
                copy.objects().into_iter().map(|object| fault(object, FaultKind::Missing)).collect();
            assert_eq!(table(size, &all, None), [(FindingKind::Missing, "whole copy".to_owned(), false)]);
            assert_ne!(table(size, &all[1..], None)[0].1, "whole copy");
        }
    }

    #[test]
    fn a_finding_is_repaired_when_all_its_objects_were_written() {
        let faults = [fault(Object::Part(0), FaultKind::Damaged), fault(Object::Feed, FaultKind::Missing)];
        let failure = Some("the provider failed".to_owned());
        let half = Attempt { mended: vec![Object::Part(0)], failure };
        let expected = [
            (FindingKind::Missing, "feed entry; not mended: the provider failed".to_owned(), false),
            (FindingKind::Damaged, "part 00000: seen".to_owned(), true),
        ];
        assert_eq!(table(1, &faults, Some(&half)), expected);
    }

    #[test]
    fn what_writing_does_not_cure_is_never_repaired() {
        let fault = Fault { mendable: false, ..fault(Object::Record, FaultKind::Damaged) };
        let attempt = Attempt { mended: vec![Object::Record], failure: None };
        assert!(!table(1, &[fault], Some(&attempt))[0].2);
    }

    #[test]
    fn many_objects_are_not_all_named() {
        let size = 8 * PART_BYTES as usize;
        let faults: Vec<_> = (0..7).map(|number| fault(Object::Part(number), FaultKind::Missing)).collect();
        let expected = "part 00000, part 00001, part 00002, part 00003, part 00004, and 2 more";
        assert_eq!(table(size, &faults, None)[0].1, expected);
    }
}
