//! The promise, in figures: how far a fault of one provider may show, and where it showed more.
//!
//! Pure. That no read fails or is wrong is judged elsewhere, and decides how a drill ends; the figures here are those
//! of the machine too, on which everything runs, and are merely told.

use super::fault::Kind;
use super::figures::Latency;
use super::scenario::Phase;
use super::shares::Demotion;

/// How soon reads leave a faulty provider, in milliseconds.
const DEMOTED_MS: u64 = 1_000;
/// How many requests beyond the first of each read are made, as a part of those.
const EXTRA: f64 = 0.1;
/// A fault that happens to fewer requests need not make anybody leave its provider.
const SHARE_MIN: f64 = 0.5;

/// What clients and providers saw of a phase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    /// Of all its reads.
    pub(super) usual: Latency,
    /// Of those that began after its first second.
    pub(super) later: Latency,
    /// After how many milliseconds another provider was asked as well.
    pub(super) hedge_ms: Option<f64>,
    /// How soon reads left the faulty providers.
    pub(super) demoted: Option<Demotion>,
    /// Requests beyond the first of each read.
    pub(super) extra: Option<f64>,
}

/// Returns what was promised and not kept, a sentence each; `ranges` is the part of reads for which
/// providers are asked for ranges.
pub(super) fn missed(played: &[(&Phase, Shown)], ranges: f64) -> Vec<String> {
    let is_quiet = |phase: &Phase| phase.faults.is_empty() && phase.until.is_none();
    let healthy = played.iter().find(|(phase, _)| is_quiet(phase)).map(|(_, shown)| shown.usual);
    // Where every provider is faulty nobody can be left.
    let faulty = played.iter().filter(|(phase, shown)| !phase.faults.is_empty() && shown.demoted.is_some());
    faulty.flat_map(|(phase, shown)| missed_in(phase, shown, healthy, ranges)).collect()
}

fn missed_in(phase: &Phase, shown: &Shown, healthy: Option<Latency>, ranges: f64) -> Vec<String> {
    let mut missed = Vec::new();
    let mut miss = |what: String| missed.push(format!("{}: {what}", phase.name));
    if let Some(Latency { p50, p99, .. }) = healthy {
        let (later, hedge) = (shown.later.p99, shown.hedge_ms.unwrap_or_default());
        let most = p99 + hedge + p50;
        if later > most {
            miss(format!(
                "p99 {later:.1} ms after the first second, more than {most:.1}: the healthy {p99:.1}, the hedge \
                 {hedge:.1}, and a round trip of {p50:.1}"
            ));
        }
    }
    match shown.demoted.filter(|_| is_left(phase, ranges)) {
        Some(Demotion::AfterMs(ms)) if ms > DEMOTED_MS => miss(format!("demoted after {ms} ms")),
        Some(Demotion::Never) => miss("never demoted".to_owned()),
        Some(Demotion::AfterMs(_) | Demotion::NotUsed) | None => {}
    }
    if let Some(extra) = shown.extra.filter(|extra| *extra > EXTRA) {
        miss(format!("{:.1} % extra requests", extra * 100.0));
    }
    missed
}

/// Tells whether every fault of a phase is one that reads fail by, and often.
fn is_left(phase: &Phase, ranges: f64) -> bool {
    let is_met = |kind: Kind| {
        !matches!(kind, Kind::Gzip | Kind::LostAnswer | Kind::NoWrites)
            && (!kind.is_of_ranges() || ranges >= SHARE_MIN)
    };
    phase.faults.iter().all(|fault| fault.share >= SHARE_MIN && is_met(fault.kind))
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Fault;
    use super::*;

    fn phase(name: &str, fault: Option<(Kind, f64)>) -> Phase {
        let fault = fault.map(|(kind, share)| Fault {
            slots: vec![0],
            kind,
            share,
            methods: Vec::new(),
            prefix: None,
            delay: None,
            after: None,
        });
        let faults = fault.into_iter().collect();
        Phase {
            name: name.to_owned(),
            reads: Some(1),
            length: None,
            until: None,
            writers_rest: false,
            faults,
        }
    }

    fn shown(later: f64, demoted: Option<Demotion>, extra: f64) -> Shown {
        let usual = Latency { p50: 5.0, p99: 30.0, ..Latency::default() };
        let later = Latency { p99: later, ..Latency::default() };
        Shown { usual, later, hedge_ms: Some(20.0), demoted, extra: Some(extra) }
    }

    #[test]
    fn what_shows_more_than_was_promised_is_told() {
        use Demotion::{AfterMs, Never, NotUsed};
        let healthy = phase("healthy", None);
        let table: [(Kind, f64, Shown, &[&str]); 9] = [
            (Kind::Stall, 1.0, shown(55.0, Some(AfterMs(1_000)), 0.1), &[]),
            (Kind::Stall, 1.0, shown(55.1, Some(NotUsed), 0.0), &["one: p99 55.1 ms after the first second"]),
            (Kind::Stall, 1.0, shown(1.0, Some(AfterMs(1_001)), 0.0), &["one: demoted after 1001 ms"]),
            (Kind::Stall, 1.0, shown(1.0, Some(Never), 0.0), &["one: never demoted"]),
            (Kind::Stall, 0.1, shown(1.0, Some(Never), 0.0), &[]),
            (Kind::NoWrites, 1.0, shown(1.0, Some(Never), 0.0), &[]),
            (Kind::Stall, 1.0, shown(1.0, Some(NotUsed), 0.101), &["one: 10.1 % extra requests"]),
            (Kind::Stall, 1.0, shown(99.0, None, 0.2), &[]),
            (Kind::Stall, 1.0, shown(99.0, Some(Never), 0.2), &["p99 99.0 ms", "never", "20.0 %"]),
        ];
        for (kind, share, shown_of_it, expected) in table {
            let one = phase("one", Some((kind, share)));
            let told = missed(&[(&healthy, shown(1e9, None, 1.0)), (&one, shown_of_it)], 0.1);
            assert_eq!(told.len(), expected.len(), "{told:?}");
            assert!(told.iter().zip(expected).all(|(told, part)| told.contains(part)), "{told:?}");
        }
    }

    #[test]
    fn a_fault_of_ranges_makes_reads_leave_where_they_ask_for_ranges() {
        let healthy = phase("healthy", None);
        for (ranges, expected) in [(0.1, 0), (0.9, 1)] {
            for kind in [Kind::WrongRange, Kind::RangeIgnored] {
                let one = phase("one", Some((kind, 1.0)));
                let played =
                    [(&healthy, shown(1.0, None, 0.0)), (&one, shown(1.0, Some(Demotion::Never), 0.0))];
                assert_eq!(missed(&played, ranges).len(), expected, "{kind:?}, {ranges}");
            }
        }
    }
}
