//! The report: what clients saw, phase by phase, as JSON and as a table.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::figures::{Example, Latency, Sums, milliseconds};
use super::play::{Played, Recovery};
use super::promise::{self, Shown};
use super::scenario::Scenario;
use super::shares::Demotion;
use crate::repair::Toll;

/// Every read was right.
const EXIT_RIGHT: u8 = 0;
/// Some read failed or was wrong.
const EXIT_FLAWED: u8 = 1;
/// The drill could not be played to its end.
pub(super) const EXIT_NOT_PLAYED: u8 = 3;
/// How many examples are shown in all.
const EXAMPLES_MAX: usize = 10;

/// What a drill came to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The scenario.
    scenario: String,
    about: String,
    seed: u64,
    /// When it began, by RFC 3339.
    started: String,
    seconds: f64,
    providers: Vec<String>,
    readers: usize,
    writers: usize,
    /// What was uploaded before the first phase.
    uploaded: Uploaded,
    phases: Vec<PhaseReport>,
    reads: u64,
    errors: u64,
    wrong: u64,
    writes_asked: u64,
    writes_acknowledged: u64,
    examples: Vec<Example>,
    /// Whether it was stopped before its end.
    interrupted: bool,
    /// What was promised and not kept, a sentence each.
    missed: Vec<String>,
    verdict: String,
    exit: u8,
}

/// What was uploaded before the first phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Uploaded {
    /// How many assets.
    pub(super) assets: usize,
    /// How many bytes they are.
    pub(super) bytes: u64,
    /// How long it took.
    pub(super) seconds: f64,
}

#[derive(Debug, Serialize)]
struct PhaseReport {
    name: String,
    seconds: f64,
    #[serde(flatten)]
    sums: Sums,
    /// Reads of providers beyond the first of each, as a part of the first ones; `null` where the gateway does
    /// not tell.
    extra_requests: Option<f64>,
    /// After how many milliseconds the next provider was asked as well, at the slowest of the good ones.
    hedge_ms: Option<f64>,
    /// What repair had cost clients by the end of the phase; `null` before it was felt by enough reads.
    repair_toll: Option<Toll>,
    /// Requests for parts of blobs that passed the wires.
    part_reads: u64,
    /// Requests that a fault happened to.
    struck: u64,
    takeovers: u64,
    hedges_won: u64,
    /// `null` without a fault, or with one at every provider.
    demoted: Option<Demotion>,
    recovered: Recovery,
    #[serde(skip_serializing_if = "Option::is_none")]
    together: Option<Together>,
}

/// What all readers together cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Together {
    /// How many assets were asked for.
    assets: u64,
    /// Requests to providers for each of them.
    part_reads_per_asset: f64,
}

/// What a report begins with.
pub(super) struct Opening<'a> {
    /// What was played.
    pub(super) scenario: &'a Scenario,
    /// The names of the providers.
    pub(super) providers: Vec<String>,
    /// When it began, by RFC 3339.
    pub(super) started: String,
    /// What was uploaded before the first phase.
    pub(super) uploaded: Uploaded,
}

impl Report {
    /// Sums a drill up.
    pub(super) fn new(opening: Opening<'_>, played: &[Played], seconds: f64, interrupted: bool) -> Self {
        let Opening { scenario, providers, started, uploaded } = opening;
        let phases: Vec<_> = played.iter().map(PhaseReport::new).collect();
        let sum = |of: fn(&Sums) -> u64| phases.iter().map(|phase| of(&phase.sums)).sum::<u64>();
        let [reads, errors, wrong] =
            [sum(|sums| sums.reads), sum(|sums| sums.errors), sum(|sums| sums.wrong)];
        let [asked, acknowledged] = [sum(|sums| sums.writes.asked), sum(|sums| sums.writes.acknowledged)];
        let shown = phases.iter().map(PhaseReport::shown);
        let shown: Vec<_> = played.iter().map(|played| &played.phase).zip(shown).collect();
        let missed = promise::missed(&shown, scenario.load.ranged());
        let examples = played.iter().flat_map(|played| played.act.figures.lock().examples().to_vec());
        let exit = match (errors + wrong, interrupted) {
            (1.., _) => EXIT_FLAWED,
            (0, true) => EXIT_NOT_PLAYED,
            (0, false) => EXIT_RIGHT,
        };
        Self {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            seed: scenario.seed,
            started,
            seconds,
            providers,
            readers: scenario.load.readers,
            writers: scenario.load.writers,
            uploaded,
            verdict: verdict([reads, errors, wrong], [asked, acknowledged], interrupted),
            examples: examples.take(EXAMPLES_MAX).collect(),
            phases,
            reads,
            errors,
            wrong,
            writes_asked: asked,
            writes_acknowledged: acknowledged,
            interrupted,
            missed,
            exit,
        }
    }

    /// Returns the exit status.
    pub(super) fn exit(&self) -> u8 {
        self.exit
    }

    /// Returns the report as one JSON document.
    pub(super) fn json(&self) -> String {
        // Plain numbers and strings always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the report for people.
    pub(super) fn text(&self) -> String {
        let mut text = vec![self.table().to_string()];
        text.push(
            "Times in ms to the end of the body; 1st s, later: of reads that began in the first second of the phase, \
             and after it.\nhedge: after so many ms another provider is asked too, at the slowest good one; extra: \
             requests to providers beyond the first of each read;\ndemoted: until the faulty provider had no more than \
             a tenth of the reads; recovered: from the end of the fault."
                .to_owned(),
        );
        for phase in &self.phases {
            if let Some(Together { assets, part_reads_per_asset }) = phase.together {
                text.push(format!(
                    "{}: {} clients asked for one cold asset at the same moment, {assets} times; providers were \
                     asked {part_reads_per_asset:.2} times for each.",
                    phase.name, self.readers
                ));
            }
        }
        if let Some(Toll { reads, reads_in_rests, p99_ms, p99_in_rests_ms }) =
            self.phases.iter().rev().find_map(|phase| phase.repair_toll)
        {
            text.push(format!(
                "While copies were made the first block of {reads} reads came within {p99_ms:.1} ms (p99); of \
                 {reads_in_rests} of them, that began while that rested, within {p99_in_rests_ms:.1} ms."
            ));
        }
        for Example { phase, asset, began_ms, kind, detail } in &self.examples {
            text.push(format!("  {phase}, {began_ms:.0} ms: {asset}: {kind:?}: {detail}"));
        }
        text.extend(self.missed.iter().map(|missed| format!("MISSED: {missed}")));
        text.push(self.verdict.clone());
        text.join("\n")
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let header = [
            "phase",
            "reads",
            "errors",
            "wrong",
            "p50",
            "p99",
            "p99.9",
            "max",
            "1st s p99",
            "1st s max",
            "later p99",
            "hedge",
            "extra",
            "takeovers",
            "hedges",
            "demoted",
            "recovered",
            "writes",
        ];
        table.set_header(header);
        for phase in &self.phases {
            table.add_row(phase.cells());
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl PhaseReport {
    fn new(played: &Played) -> Self {
        let sums = played.act.figures.lock().sums();
        let rounds = played.rounds;
        let part_reads_per_asset = played.part_reads as f64 / rounds.max(1) as f64;
        Self {
            name: played.phase.name.clone(),
            seconds: milliseconds(played.lasted) / 1_000.0,
            sums,
            extra_requests: played.extra,
            hedge_ms: played.hedge_ms,
            repair_toll: played.toll,
            part_reads: played.part_reads,
            struck: played.struck,
            takeovers: played.takeovers,
            hedges_won: played.hedges,
            demoted: played.demotion,
            recovered: played.recovery,
            together: (rounds > 0).then_some(Together { assets: rounds, part_reads_per_asset }),
        }
    }

    /// Returns what the promise is about.
    fn shown(&self) -> Shown {
        Shown {
            usual: self.sums.whole_ms,
            later: self.sums.later_ms,
            hedge_ms: self.hedge_ms,
            demoted: self.demoted,
            extra: self.extra_requests,
        }
    }

    fn cells(&self) -> Vec<String> {
        let Sums { reads, errors, wrong, whole_ms, first_second_ms, later_ms, writes, .. } = &self.sums;
        let Latency { p50, p99, p999, max } = whole_ms;
        let ms = |value: &f64| if *reads == 0 { "-".to_owned() } else { round(*value) };
        let some = |value: f64| if value > 0.0 { round(value) } else { "-".to_owned() };
        vec![
            self.name.clone(),
            reads.to_string(),
            errors.to_string(),
            wrong.to_string(),
            ms(p50),
            ms(p99),
            ms(p999),
            ms(max),
            some(first_second_ms.p99),
            some(first_second_ms.max),
            some(later_ms.p99),
            some(self.hedge_ms.unwrap_or_default()),
            self.extra_requests.map_or("-".to_owned(), |part| format!("{:.1}%", part * 100.0)),
            self.takeovers.to_string(),
            self.hedges_won.to_string(),
            match self.demoted {
                None | Some(Demotion::NotUsed) => "-".to_owned(),
                Some(Demotion::AfterMs(0)) => "< 0.3 s".to_owned(),
                Some(Demotion::AfterMs(ms)) => seconds(ms),
                Some(Demotion::Never) => "never".to_owned(),
            },
            match self.recovered {
                Recovery::None => "-".to_owned(),
                Recovery::AfterMs(ms) => seconds(ms),
                Recovery::Never => "never".to_owned(),
            },
            match writes.asked {
                0 => "-".to_owned(),
                asked => format!("{}/{asked}", writes.acknowledged),
            },
        ]
    }
}

fn verdict([reads, errors, wrong]: [u64; 3], [asked, acknowledged]: [u64; 2], interrupted: bool) -> String {
    let mut verdict = match (reads, errors + wrong) {
        (0, _) => "NOTHING WAS READ.".to_owned(),
        (_, 0) => format!("All {reads} reads were right."),
        _ => format!("FAILED: of {reads} reads {errors} failed and {wrong} were wrong."),
    };
    if asked > 0 {
        verdict += &format!(" {acknowledged} of {asked} writes were acknowledged.");
    }
    if interrupted {
        verdict += " The drill was stopped before its end.";
    }
    verdict
}

/// Three digits are enough.
fn round(milliseconds: f64) -> String {
    if milliseconds < 10.0 { format!("{milliseconds:.1}") } else { format!("{milliseconds:.0}") }
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.1} s", milliseconds as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_says_what_clients_saw() {
        let table = [
            ([5, 0, 0], [0, 0], false, "All 5 reads were right."),
            ([5, 0, 0], [4, 3], false, "All 5 reads were right. 3 of 4 writes were acknowledged."),
            ([5, 2, 1], [0, 0], false, "FAILED: of 5 reads 2 failed and 1 were wrong."),
            ([5, 0, 0], [0, 0], true, "All 5 reads were right. The drill was stopped before its end."),
            ([0, 0, 0], [0, 0], true, "NOTHING WAS READ. The drill was stopped before its end."),
        ];
        for (reads, writes, interrupted, expected) in table {
            assert_eq!(verdict(reads, writes, interrupted), expected);
        }
    }
}
