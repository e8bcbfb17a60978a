//! What an audit shows: findings on standard output and in the report, progress and notes beside them.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::finding::{Finding, Tally};
use crate::clock::Clock;

/// How often progress is told where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where everything is shown; lines are whole, whoever writes them.
pub struct Screen {
    json: bool,
    bar: ProgressBar,
    clock: Clock,
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    notes: Box<dyn Write + Send>,
    report: Option<File>,
    report_failed: bool,
    last_line: Instant,
}

impl Screen {
    /// Shows findings on standard output, the rest on standard error.
    pub fn standard(json: bool, clock: &Clock) -> Self {
        let bar = if io::stderr().is_terminal() {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        Self::new(json, clock, bar, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// Shows everything elsewhere.
    pub fn new(
        json: bool,
        clock: &Clock,
        bar: ProgressBar,
        out: Box<dyn Write + Send>,
        notes: Box<dyn Write + Send>,
    ) -> Self {
        let inner = Inner { out, notes, report: None, report_failed: false, last_line: clock.now() };
        Self { json, bar, clock: clock.clone(), inner: Mutex::new(inner) }
    }

    /// Opens the report; what it held before is gone.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn open_report(&self, path: &Path) -> io::Result<()> {
        self.inner.lock().report = Some(File::create(path)?);
        Ok(())
    }

    /// Shows a line for the operator that is no finding.
    pub fn note(&self, text: &str) {
        // Nobody is left to be told when the terminal is gone.
        self.bar.suspend(|| {
            let _ = writeln!(self.inner.lock().notes, "{text}");
        });
    }

    /// Shows a finding and adds it to the report.
    pub fn finding(&self, finding: &Finding) {
        // Plain strings always have a JSON form.
        let line = serde_json::to_string(finding).unwrap_or_default();
        let shown = if self.json { line.clone() } else { words(finding) };
        self.bar.suspend(|| self.inner.lock().show(&shown, &line));
    }

    /// Says what is going on; `total` is unknown while providers are listed.
    pub fn stage(&self, text: &'static str, total: Option<u64>) {
        let template = match total {
            Some(total) => {
                self.bar.set_length(total);
                "{msg} {wide_bar} {human_pos}/{human_len} {eta}"
            }
            None => "{spinner} {msg} {human_pos}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_message(text);
        self.bar.set_position(0);
        if self.bar.is_hidden() {
            self.note(&total.map_or_else(|| format!("{text} …"), |total| format!("{text}: {total} …")));
        }
    }

    /// Moves the progress on by `delta`.
    pub fn advance(&self, delta: u64) {
        self.bar.inc(delta);
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        if self.bar.is_hidden() && now.duration_since(inner.last_line) >= LINE_EVERY {
            inner.last_line = now;
            let (done, text) = (self.bar.position(), self.bar.message());
            let _ = match self.bar.length() {
                Some(total) => writeln!(inner.notes, "{text}: {done} of {total}"),
                None => writeln!(inner.notes, "{text}: {done}"),
            };
        }
    }

    /// Shows the closing summary, and ends the report with its line. Returns whether the report is whole.
    pub fn summary(&self, tally: &Tally, exit: u8, read_bytes: u64) -> bool {
        self.bar.finish_and_clear();
        let line = tally.summary(exit).to_string();
        let mut inner = self.inner.lock();
        if self.json {
            inner.show(&line, &line);
        } else {
            inner.show(&table(tally, exit, read_bytes), &line);
        }
        if inner.report_failed {
            let _ = writeln!(inner.notes, "the report could not be written to its end");
        }
        !inner.report_failed
    }
}

impl Inner {
    fn show(&mut self, shown: &str, line: &str) {
        let _ = writeln!(self.out, "{shown}").and_then(|()| self.out.flush());
        if let Some(report) = &mut self.report {
            self.report_failed |= writeln!(report, "{line}").is_err();
        }
    }
}

fn words(finding: &Finding) -> String {
    let version = finding.version.as_deref().map(|version| format!(" version {version}")).unwrap_or_default();
    let repaired = if finding.repaired { " (repaired)" } else { "" };
    let Finding { asset, provider, detail, kind, .. } = finding;
    format!("{:<10} {asset}{version} at {provider}: {detail}{repaired}", kind.as_str())
}

fn table(tally: &Tally, exit: u8, read_bytes: u64) -> String {
    let verdict = match exit {
        0 => "clean: every copy is as it should be",
        1 => "faults were found and all of them were repaired",
        2 => "faults remain",
        _ => "not everything could be judged",
    };
    let rows = [
        ("checked", tally.checked, "versions"),
        ("missing", tally.missing, ""),
        ("damaged", tally.damaged, ""),
        ("unreadable", tally.unreadable, "could not be judged"),
        ("forged", tally.forged, ""),
        ("orphan", tally.orphan, "belong to no version; reported only"),
        ("repaired", tally.repaired, ""),
    ];
    let rows =
        rows.map(|(word, count, meaning)| format!("{word:<10} {count:>8}  {meaning}").trim_end().to_owned());
    format!("{}\n{verdict} (exit status {exit}, {} read)", rows.join("\n"), HumanBytes(read_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::FindingKind;

    #[test]
    fn findings_are_told_in_plain_words() {
        let finding = Finding {
            asset: "icons/gold.png".to_owned(),
            version: Some("0-A".to_owned()),
            provider: "s3-one".to_owned(),
            kind: FindingKind::Damaged,
            detail: "part 00000: 3 bytes instead of 5".to_owned(),
            repaired: true,
        };
        let expected =
            "damaged    icons/gold.png version 0-A at s3-one: part 00000: 3 bytes instead of 5 (repaired)";
        assert_eq!(words(&finding), expected);
    }

    #[test]
    fn the_summary_tells_the_verdict() {
        let tally = Tally { checked: 12, missing: 1, remaining: 1, ..Tally::default() };
        let text = table(&tally, 2, 0);
        assert!(text.starts_with("checked          12  versions\nmissing           1\n"), "{text}");
        assert!(text.ends_with("faults remain (exit status 2, 0 B read)"), "{text}");
    }
}
