//! Repair: makes the copies that are missing, and mends those under suspicion, without being asked.
//!
//! 1. The index knows, from listings and feeds, which provider holds which version; what a provider lacks
//!    is what the others have and it has not shown. Nothing rests on local state: a new index shows the same.
//! 2. A step takes the incomplete versions, the newest first, and copies each from a verified copy, in the
//!    order parts → blocks → record → feed ([`Mender`]). Versions still being written are left alone.
//! 3. A copy under suspicion, because a read found it missing or damaged, is inspected byte by byte first.
//! 4. A provider without a canary is refilled and only then trusted again ([`establish`]); that runs beside
//!    the steps, so a long refill holds nothing up. Writes that went on meanwhile are looked at (`doubts`).
//!
//! All copies are made in turns with the requests of clients ([`Turns`]): at full speed while there are none, else
//! as fast as clients do not feel it, but never slower than a floor. A copy waits for its turn before anything is
//! asked of a provider, and again between two parts.
//!
//! A step goes round after round, each of some seconds: who is a target, and what is in doubt, is asked anew for
//! each. A failure of the target, or of the local index, ends the round for that provider; it is tried again in
//! the next, the copy that failed not before half a minute has passed. Only what all others say to lack is given
//! up for a while. Two gateways that repair the same copy do no harm. Targets have shown their own canary within
//! the last minute, before a copy is made and after it.

mod doubts;
pub mod establish;
mod losses;
mod postponed;
mod progress;
mod round;

pub use crate::replica::turns::{Pacing, Toll};
use postponed::Postponed;
pub use progress::Progress;
use progress::Rate;
use round::Round;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::asset::{Key, RecordKey, Version};
use crate::catalog::{Catalog, IndexedVersion};
use crate::clock::{Clock, Lately};
use crate::health::monitor::Monitor;
use crate::provider::race::Entrant;
use crate::provider::{ErrorKind, Fleet, Operation, ProviderError, Slot, Trust};
use crate::replica::inspect::{Depth, FaultKind, Inspection, Listed, RecordSeen, see_record};
use crate::replica::lists;
use crate::replica::mend::{MendError, Mended, Mender};
use crate::replica::pace::Pace;
use crate::replica::source::SourceError;
use crate::replica::turns::Turns;
use crate::replica::{Object, SealedRecord};
use crate::telemetry::{Event, EventKind, ProviderLabels, Telemetry};

/// Between two steps.
pub const STEP_EVERY: Duration = Duration::from_secs(5);
/// After so long a round begins no more copies.
const ROUND_TAKES: Duration = Duration::from_secs(10);
/// How many versions are looked at in one go.
const PAGE: usize = 256;
/// A version younger than this may still be on its way from another gateway.
const YOUNG: Duration = Duration::from_secs(35);
/// For how long a copy that nobody has the bytes for is left alone.
const HOPELESS_FOR: Duration = Duration::from_secs(600);
/// How many such copies are remembered.
const HOPELESS_MAX: u64 = 100_000;

/// What repair is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// All providers.
    pub fleet: Fleet,
    /// What is known of names.
    pub catalog: Catalog,
    /// Who is well, and who proves to be itself.
    pub monitor: Monitor,
    /// The key under which records are sealed.
    pub key: RecordKey,
    /// Time.
    pub clock: Clock,
    /// Metrics and events.
    pub telemetry: Telemetry,
    /// Turns with the requests of clients.
    pub turns: Turns,
}

/// Repairs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Repairer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Parts,
    mender: Mender,
    hopeless: Lately<(Version, Slot)>,
    postponed: Postponed,
    refill: Mutex<establish::Refill>,
    /// What was looked at since each provider was made complete.
    looked: Vec<Mutex<doubts::Looked>>,
    /// How fast copies are made at each provider.
    rates: Vec<Mutex<Rate>>,
}

/// How one attempt at a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The copy is complete.
    Made,
    /// It is not this one's turn, or nobody delivers its bytes just now.
    Later,
    /// All other providers say that they lack it, it is on its way out, or it must not be touched.
    Hopeless,
    /// The version was taken down, and the index knows of it no more.
    Gone,
    /// The target, or the local index, failed: nothing more is tried there in this step.
    Failed,
}

impl Repairer {
    /// Builds a repairer.
    pub fn new(parts: Parts) -> Self {
        let mender =
            Mender::new(parts.fleet.clone(), parts.key.clone(), parts.clock.clone(), Pace::unlimited());
        let hopeless = Lately::new(HOPELESS_MAX, HOPELESS_FOR);
        let rates = parts.fleet.slots().map(|_| Mutex::default()).collect();
        let looked = parts.fleet.slots().map(|_| Mutex::default()).collect();
        let (postponed, refill) = (Postponed::default(), Mutex::default());
        Self(Arc::new(Inner { parts, mender, hopeless, postponed, refill, looked, rates }))
    }

    /// Makes the copies that healthy and trusted providers lack.
    pub async fn step(&self) {
        loop {
            let targets = self.parts().fleet.slots();
            let targets: Vec<_> = targets.filter(|slot| self.is_target(*slot)).collect();
            let doubts = futures::future::join_all(targets.iter().map(|slot| self.doubt(*slot)));
            // What one that hangs was not asked is asked with the next round.
            let _ = tokio::time::timeout(ROUND_TAKES, doubts).await;
            let completed = self.complete(&targets, Mode::Routine).await;
            self.progress().await;
            if completed != Completed::InPart {
                return;
            }
        }
    }

    /// Tells whether a provider is well, and certainly itself.
    fn is_target(&self, slot: Slot) -> bool {
        let board = self.parts().monitor.board();
        board.is_healthy(slot) && board.is_trusted(slot) && !self.is_strayed(slot)
    }

    /// Tells whether what was stored at a provider lies where it should.
    fn is_itself(&self, slot: Slot, mode: Mode) -> bool {
        match mode {
            Mode::Routine => self.parts().monitor.board().is_trusted(slot) && !self.is_strayed(slot),
            Mode::Refill => self.parts().monitor.board().is_writable(slot),
        }
    }

    /// Returns how repair of each provider stands, and brings the metrics up to date.
    pub async fn progress(&self) -> Vec<(Slot, Progress)> {
        let (parts, now) = (self.parts(), self.parts().clock.now());
        let debts = parts.catalog.debts().await;
        let progress = debts.into_iter().map(|debt| {
            let age = debt.oldest_unix_ms.map(|since| parts.clock.unix_ms().saturating_sub(since));
            let rate = self.0.rates[debt.slot.0].lock().per_second(now);
            let progress = Progress::new(debt.copies, age.map(Duration::from_millis), rate);
            let labels = ProviderLabels { provider: parts.fleet.id(debt.slot).to_string() };
            parts.telemetry.metrics().repair(&labels, debt.copies, progress.oldest_missing_age_s, rate);
            (debt.slot, progress)
        });
        let progress = progress.collect();
        let (pacing, metrics) = (self.pacing(), parts.telemetry.metrics());
        metrics.repair_pacing(pacing.yielding, pacing.copies_at_once, pacing.rest_factor);
        progress
    }

    /// Tells how repair yields to clients.
    pub fn pacing(&self) -> Pacing {
        self.parts().turns.pacing()
    }

    /// Makes the copies that `targets` lack, in one round.
    async fn complete(&self, targets: &[Slot], mode: Mode) -> Completed {
        let round = Round::new(self, mode);
        let mut passed_over = 0;
        let mut whole = true;
        let mut before = targets.len();
        loop {
            let failed = round.failed();
            let left: Vec<_> = targets.iter().copied().filter(|slot| !failed.contains(slot)).collect();
            whole &= failed.is_empty();
            if left.len() < before {
                // Of those that are left other versions lack copies, so there is another number to pass over.
                (before, passed_over) = (left.len(), 0);
            }
            if left.is_empty() || round.is_over() {
                break;
            }
            let Ok(page) = self.parts().catalog.incomplete(&left, PAGE, passed_over).await else {
                whole = false;
                break;
            };
            if page.is_empty() {
                break;
            }
            let (remaining, later) = round.page(page, &left).await;
            passed_over += remaining;
            whole &= !later;
        }
        let over = round.is_over();
        self.tell(&round.into_made());
        match (over, whole) {
            (true, _) => Completed::InPart,
            (false, true) => Completed::Wholly,
            (false, false) => Completed::AsFarAsMayBe,
        }
    }

    /// Tells why a copy is not even tried now.
    fn is_passed_over(&self, row: &IndexedVersion, slot: Slot, mode: Mode) -> Option<Attempt> {
        let parts = self.parts();
        if mode == Mode::Routine {
            if !self.is_target(slot) {
                return Some(Attempt::Later);
            }
            if self.0.hopeless.contains(&(row.version, slot)) {
                return Some(Attempt::Hopeless);
            }
            let suspect = parts.catalog.is_suspect(row.name, row.version, slot);
            let uploaded = row.version.upload.unix_ms();
            let now = parts.clock.unix_ms();
            // A time in the future is that of a wrong clock, and says nothing of youth.
            let young = uploaded <= now && u128::from(now - uploaded) < YOUNG.as_millis();
            if parts.catalog.is_writing(row.version.upload) || (young && !suspect) {
                return Some(Attempt::Later);
            }
        }
        self.0.postponed.contains(row.version, slot, parts.clock.now()).then_some(Attempt::Later)
    }

    async fn attempt(&self, row: &IndexedVersion, slot: Slot, mode: Mode, pace: &Pace) -> Attempt {
        let parts = self.parts();
        match self.restore(row, slot, mode, pace).await {
            // It may lie in a bucket that took the provider's place meanwhile.
            Ok(_) if !self.is_itself(slot, mode) => Attempt::Later,
            Ok(copy) => {
                parts.catalog.clear_suspicion(row.name, row.version, slot);
                let kept = parts.catalog.apply_record(&copy.record, &copy.sealed, vec![slot]).await;
                if kept.is_ok() { Attempt::Made } else { Attempt::Failed }
            }
            Err(failure) => {
                let provider = parts.fleet.id(slot);
                tracing::debug!(%provider, version = %row.version, %failure, "a copy cannot be made");
                match failure {
                    MendError::Target(_) => {
                        self.0.postponed.add(row.version, slot, parts.clock.now());
                        Attempt::Failed
                    }
                    MendError::Refused(_) => self.give_up(row, slot),
                    // In a refill everybody was asked, else those that are well.
                    MendError::NoSource { last: Some(SourceError::Damaged { .. }), .. }
                        if mode == Mode::Refill || self.others_are_well(slot) =>
                    {
                        self.give_up(row, slot)
                    }
                    MendError::NoSource { .. } if self.is_lost(row, slot).await => self.lose(row, slot).await,
                    MendError::NoSource { .. } => {
                        if mode == Mode::Routine {
                            self.0.postponed.add(row.version, slot, parts.clock.now());
                        }
                        Attempt::Later
                    }
                }
            }
        }
    }

    async fn restore(
        &self,
        row: &IndexedVersion,
        slot: Slot,
        mode: Mode,
        pace: &Pace,
    ) -> Result<SealedRecord, MendError> {
        let parts = self.parts();
        let suspect = parts.catalog.is_suspect(row.name, row.version, slot);
        let holders = |slot: &Slot| row.missing >> slot.0 & 1 == 0;
        let board = parts.monitor.board();
        let mut sources = board.order();
        // One that hangs would keep others from their turn for as long as it is waited for. A refill must know.
        let is_well = |source: &Slot| board.is_healthy(*source);
        if mode == Mode::Routine && sources.iter().any(|source| *source != slot && is_well(source)) {
            sources.retain(is_well);
        }
        sources.sort_by_key(|source| !holders(source));
        let at = Key::record(row.name, row.version, row.kind);
        let order: Vec<_> = sources.iter().copied().map(Entrant::patient).collect();
        let (record, sealed) = parts
            .catalog
            .fetch_record(&at, &order)
            .await
            .map_err(|_| MendError::NoSource { object: Object::Record, last: None })?;
        let copy = SealedRecord { record, sealed };
        // A copy that seems to be there though the index misses it was under suspicion once, in an earlier
        // life of this gateway perhaps.
        let seen = see_record(parts.fleet.get(slot).as_ref(), &at, &parts.key).await;
        if suspect || matches!(seen, RecordSeen::Valid(_)) {
            self.mend(&copy, slot, &sources, mode, pace).await?;
        }
        self.0.mender.at(pace.clone()).copy(slot, &copy, &sources).await?;
        Ok(copy)
    }

    /// Inspects a copy and writes the right bytes over what is damaged.
    async fn mend(
        &self,
        copy: &SealedRecord,
        slot: Slot,
        sources: &[Slot],
        mode: Mode,
        pace: &Pace,
    ) -> Result<(), MendError> {
        let parts = self.parts();
        let found = lists::find(&parts.fleet, sources, &copy.record, pace).await;
        let inspection = Inspection {
            provider: parts.fleet.get(slot).clone(),
            copy: copy.clone(),
            key: parts.key.clone(),
            depth: mode.depth(),
            listed: Listed::default(),
            record_seen: None,
            list: found.map(|found| found.list),
            list_seen: false,
            pace: pace.clone(),
        };
        let faults = inspection.run().await;
        if let Some(fault) = faults.iter().find(|fault| fault.kind == FaultKind::Unreadable) {
            let failure = ProviderError::new(parts.fleet.id(slot), Operation::Get, ErrorKind::Unavailable);
            return Err(failure.with_detail(format!("{}: {}", fault.object, fault.detail)).into());
        }
        let objects = faults.iter().filter(|fault| fault.mendable).map(|fault| fault.object).collect();
        let Mended { error, .. } = self.0.mender.at(pace.clone()).mend(slot, copy, &objects, sources).await;
        error.map_or(Ok(()), Err)
    }

    fn parts(&self) -> &Parts {
        &self.0.parts
    }

    fn tell(&self, made: &BTreeMap<Slot, u64>) {
        for (slot, copies) in made {
            let provider = self.parts().fleet.id(*slot).to_string();
            tracing::info!(provider, copies, "copies were made");
            self.event(*slot, EventKind::Repair, format!("{copies} copies were made"));
        }
    }

    fn event(&self, slot: Slot, kind: EventKind, detail: String) {
        let provider = Some(self.parts().fleet.id(slot).to_string());
        let at = self.parts().clock.utc();
        self.parts().telemetry.event(Event { at, kind, provider, asset: None, detail, rescue: None });
    }
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completed {
    /// None is left that could be made.
    Wholly,
    /// What is left cannot be made just now.
    AsFarAsMayBe,
    /// Its time was up.
    InPart,
}

/// Why copies are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All the time, for providers that are trusted: what may still be on its way is left alone.
    Routine,
    /// Before a provider is trusted: everything at once, and nothing is hopeless that was so before.
    Refill,
}

impl Mode {
    /// How closely a copy that seems to be there is looked at.
    fn depth(self) -> Depth {
        match self {
            Self::Routine => Depth::Bytes,
            Self::Refill => Depth::Checksum,
        }
    }
}
