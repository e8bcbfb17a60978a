//! The audit: compares all copies at all providers, reports what is wrong, mends it when asked to.
//!
//! 1. Each provider's canary is looked at. A foreign provider is neither judged nor written to, one that
//!    does not answer is not judged; both make the audit unsure.
//! 2. Everything at every provider is listed into a [`ledger`]. A provider whose listing fails is not judged.
//! 3. All versions that any provider has a record of are walked in the order of their keys, superseded ones
//!    and tombstones too. A verified record is taken from whoever has one, and each copy is inspected at
//!    the chosen level. A listing is a snapshot while traffic goes on, so whatever it lacks is asked for
//!    again before it is reported, and of a version that is only seconds old a little later.
//! 4. With repair, what is wrong is mended from whoever delivers the right bytes. A forged record is
//!    overwritten by the right one; where nobody has one it is removed, under a brake.
//! 5. What belongs to no version is reported as an orphan: no fault, and never removed.
//!
//! The ledger notes how far the walk came together with the findings, so that an audit that was killed can
//! be resumed. Exit statuses: 0 clean, 1 all faults repaired, 2 faults remain, 3 could not tell, 64 the
//! report or the ledger cannot be opened. An audit trusts no index and needs no running gateway.

pub mod diff;
mod examine;
pub mod finding;
pub mod ledger;
pub mod listing;
mod orphans;
pub mod screen;
pub mod standing;
mod unclaimed;
mod walk;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::future::join_all;

use crate::asset::RecordKey;
use crate::clock::Clock;
use crate::provider::{Fleet, Slot};
pub use crate::replica::inspect::Depth as Level;
use crate::replica::mend::Mender;
use crate::replica::pace::Pace;
use finding::{EXIT_UNSURE, Tally};
use ledger::{Ledger, LedgerError, Phase, Run};
use listing::FeedTail;
use screen::Screen;
use standing::Standing;

/// The exit status for what is wrong before work begins.
const EXIT_USAGE: u8 = 64;
/// How many findings are read from the ledger at once.
const PAGE: usize = 1_000;

/// What an audit is asked for.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// How closely copies are looked at.
    pub level: Level,
    /// Whether what is wrong is mended.
    pub repair: bool,
    /// Only assets whose name begins with this; orphans have no name and are not looked for.
    pub prefix: Option<String>,
    /// Which share of the versions is looked at, from 0 to 1, picked at random.
    pub sample: Option<f64>,
    /// How many bytes may be read in a second.
    pub max_bytes_per_second: Option<u64>,
    /// Whether an interrupted audit with the same options goes on where it was.
    pub resume: bool,
    /// Where findings are written, one JSON object a line.
    pub report: Option<PathBuf>,
    /// Whether findings are shown as JSON.
    pub json: bool,
    /// The folder of the ledger.
    pub state_dir: PathBuf,
}

impl AuditOptions {
    /// Returns what an audit must have in common with the one that it resumes.
    fn text(&self, fleet: &Fleet) -> String {
        let providers: Vec<_> = fleet.iter().map(|(_, provider)| provider.id().as_str()).collect();
        let Self { level, repair, prefix, sample, .. } = self;
        format!("{level:?} repair={repair} prefix={prefix:?} sample={sample:?} providers={providers:?}")
    }
}

/// Audits all providers, shows what it finds, and returns the exit status.
pub async fn run(fleet: Fleet, key: RecordKey, clock: Clock, options: AuditOptions) -> u8 {
    let screen = Screen::standard(options.json, &clock);
    run_on(fleet, key, clock, options, screen).await
}

async fn run_on(fleet: Fleet, key: RecordKey, clock: Clock, options: AuditOptions, screen: Screen) -> u8 {
    if let Some(path) = &options.report
        && let Err(error) = screen.open_report(path)
    {
        screen.note(&format!("the report {} cannot be written: {error}", path.display()));
        return EXIT_USAGE;
    }
    let ledger = match Ledger::open(&options.state_dir) {
        Ok(ledger) => ledger,
        Err(error) => {
            screen.note(&error.to_string());
            return EXIT_USAGE;
        }
    };
    let standings = join_all(fleet.iter().map(|(_, provider)| Standing::of(provider.as_ref(), &key))).await;
    for (provider, standing) in
        fleet.iter().zip(&standings).map(|((_, provider), standing)| (provider, standing))
    {
        standing.note(provider.id().as_str()).iter().for_each(|note| screen.note(note));
    }
    if let Some(why) = standing::hopeless(&standings) {
        screen.note(&format!("nothing can be audited: {why}"));
        screen.summary(&Tally::default(), EXIT_UNSURE, 0);
        return EXIT_UNSURE;
    }
    let mut audit = Audit::new(fleet, key, clock, options, screen, ledger, standings);
    match audit.run().await {
        Ok(exit) => exit,
        Err(error) => {
            audit.screen.note(&error.to_string());
            EXIT_UNSURE
        }
    }
}

/// One audit while it runs.
struct Audit {
    fleet: Fleet,
    key: RecordKey,
    clock: Clock,
    options: AuditOptions,
    screen: Screen,
    ledger: Ledger,
    pace: Pace,
    mender: Mender,
    providers: Vec<Watched>,
    /// How many forged records may still be removed.
    removals_left: AtomicU64,
}

/// What is known of one provider while the audit runs.
struct Watched {
    standing: Standing,
    tail: Option<FeedTail>,
    /// How many copies in a row could not be read.
    failures: AtomicU64,
    /// Whether it stopped answering.
    lost: AtomicBool,
}

impl Audit {
    fn new(
        fleet: Fleet,
        key: RecordKey,
        clock: Clock,
        options: AuditOptions,
        screen: Screen,
        ledger: Ledger,
        standings: Vec<Standing>,
    ) -> Self {
        let pace = Pace::bytes_per_second(options.max_bytes_per_second.unwrap_or(0));
        let mender = Mender::new(fleet.clone(), key.clone(), clock.clone(), pace.clone());
        let watch = |standing| Watched {
            standing,
            tail: None,
            failures: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        };
        let providers = standings.into_iter().map(watch).collect();
        let removals_left = AtomicU64::new(0);
        Self { fleet, key, clock, options, screen, ledger, pace, mender, providers, removals_left }
    }

    async fn run(&mut self) -> Result<u8, LedgerError> {
        let mut run = self.begin()?;
        let mut tally = Tally { checked: run.checked, ..Tally::default() };
        self.show_earlier(&mut tally)?;
        if run.phase == Phase::Listing {
            self.list().await?;
            run.phase = Phase::Walking;
            self.ledger.advance(&run, &[])?;
        }
        let listed = self.ledger.listed()?;
        for (slot, provider) in self.fleet.iter() {
            let watched = &mut self.providers[slot.0];
            if watched.standing.is_usable() && !listed.contains(&slot) {
                watched.standing = Standing::Silent("it was not listed".to_owned());
            }
            watched.tail = Some(FeedTail::new(slot, provider.as_ref(), &self.clock, run.started_ms));
            run.unsure |= !watched.standing.is_usable();
        }
        if run.phase == Phase::Walking {
            self.walk(&mut run, &mut tally).await?;
        }
        if self.options.prefix.is_none() {
            self.orphans(&run, &mut tally).await?;
        }
        run.phase = Phase::Done;
        self.ledger.advance(&run, &[])?;
        Ok(self.end(&run, &tally))
    }

    /// Resumes the last run, or begins a new one.
    fn begin(&self) -> Result<Run, LedgerError> {
        let options = self.options.text(&self.fleet);
        if self.options.resume {
            match self.ledger.last_run()? {
                Some(run) if run.options != options => {
                    self.screen.note("the interrupted audit had other options; this one starts anew");
                }
                Some(run) if matches!(run.phase, Phase::Walking | Phase::Orphans) => {
                    self.screen.note(&format!("going on behind {} versions", run.checked));
                    self.ledger.forget_findings(Phase::Orphans)?;
                    return Ok(run);
                }
                Some(_) | None => self.screen.note("there is nothing to resume; the audit starts anew"),
            }
        }
        let run = Run {
            options,
            seed: self.clock.random(),
            started_ms: self.clock.unix_ms(),
            phase: Phase::Listing,
            cursor: None,
            checked: 0,
            unsure: false,
        };
        self.ledger.begin(&run)?;
        Ok(run)
    }

    /// Shows and counts the findings that were made before the audit was interrupted.
    fn show_earlier(&self, tally: &mut Tally) -> Result<(), LedgerError> {
        let mut after = 0;
        loop {
            let page = self.ledger.findings(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = *last;
            for (_, finding) in &page {
                self.screen.finding(finding);
                tally.add(finding);
            }
        }
    }

    /// Lists all usable providers at once; one that cannot be listed is not judged.
    async fn list(&mut self) -> Result<(), LedgerError> {
        self.screen.stage("listing objects", None);
        let slots = self.usable();
        let lists = slots
            .iter()
            .map(|slot| listing::list(&self.ledger, *slot, self.fleet.get(*slot).as_ref(), &self.screen));
        for (slot, result) in slots.iter().zip(join_all(lists).await) {
            match result {
                Ok(()) => {}
                Err(listing::ListError::Ledger(error)) => return Err(error),
                Err(listing::ListError::Provider(error)) => {
                    let standing = Standing::Silent(error.to_string());
                    let id = self.fleet.id(*slot).as_str();
                    standing.note(id).iter().for_each(|note| self.screen.note(note));
                    self.providers[slot.0].standing = standing;
                }
            }
        }
        Ok(())
    }

    /// Returns the providers that can be compared now.
    fn usable(&self) -> Vec<Slot> {
        let usable =
            |watched: &Watched| watched.standing.is_usable() && !watched.lost.load(Ordering::Relaxed);
        self.fleet.slots().filter(|slot| usable(&self.providers[slot.0])).collect()
    }

    fn end(&self, run: &Run, tally: &Tally) -> u8 {
        let bare =
            self.fleet.iter().filter(|(slot, _)| self.providers[slot.0].standing == Standing::NoCanary);
        if self.options.repair && tally.remaining == 0 && tally.repaired > 0 {
            for (_, provider) in bare {
                let id = provider.id();
                self.screen
                    .note(&format!("{id} still has no canary; a gateway writes it when it has compared it"));
            }
        }
        let exit = tally.exit(run.unsure);
        let whole = self.screen.summary(tally, exit, self.pace.bytes_taken());
        if whole || exit != 0 { exit } else { EXIT_UNSURE }
    }
}

#[cfg(test)]
mod tests;
