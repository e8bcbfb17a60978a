//! Repair: makes the copies that are missing, and mends those under suspicion, without being asked.
//!
//! 1. The index knows, from listings and feeds, which provider holds which version; what a provider lacks
//!    is what the others have and it has not shown. Nothing rests on local state: a new index shows the same.
//! 2. A step takes the incomplete versions, the newest first, and copies each from a verified copy, in the
//!    order parts → blocks → record → feed ([`Mender`]). Versions still being written are left alone.
//! 3. A copy under suspicion, because a read found it missing or damaged, is inspected byte by byte first.
//! 4. A provider without a canary is refilled and only then trusted again ([`establish`]).
//!
//! A failure of the target ends the step for that provider; it is tried again at the next. Two gateways
//! that repair the same copy do no harm. A foreign provider is never written to.

pub mod establish;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use moka::sync::Cache;
use parking_lot::Mutex;

use crate::asset::{Key, RecordKey, Version};
use crate::catalog::{Catalog, IndexedVersion};
use crate::clock::Clock;
use crate::health::canary::CanaryState;
use crate::health::monitor::Monitor;
use crate::provider::{ErrorKind, Fleet, Operation, ProviderError, Slot};
use crate::replica::inspect::{Depth, FaultKind, Inspection, Listed};
use crate::replica::lists;
use crate::replica::mend::{MendError, Mended, Mender};
use crate::replica::pace::Pace;
use crate::replica::source::SourceError;
use crate::replica::{Object, SealedRecord};
use crate::telemetry::{Event, EventKind, ProviderLabels, Telemetry};

/// Between two steps.
pub const STEP_EVERY: Duration = Duration::from_secs(5);
/// How many versions are looked at in one go.
const PAGE: usize = 256;
/// How many copies are made at the same time.
const COPIES_AT_ONCE: usize = 4;
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
}

/// Repairs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Repairer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Parts,
    mender: Mender,
    hopeless: Cache<(Version, Slot), ()>,
    refill: Mutex<establish::Refill>,
}

/// How one attempt at a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The copy is complete.
    Made,
    /// It is not this one's turn.
    Skipped,
    /// Nobody has the bytes, for now.
    Hopeless,
    /// The target, or everybody, failed.
    Failed,
}

/// Tells whether trying again soon is useless: nobody has the bytes, or they must not be touched. A source
/// that merely does not answer may have them.
fn is_hopeless(failure: &MendError) -> bool {
    match failure {
        MendError::Refused(_) => true,
        MendError::Target(_) => false,
        MendError::NoSource { last, .. } => match last {
            Some(SourceError::Provider(failure)) => failure.is_not_found(),
            Some(SourceError::Damaged { .. }) | None => true,
        },
    }
}

impl Repairer {
    /// Builds a repairer.
    pub fn new(parts: Parts) -> Self {
        let mender =
            Mender::new(parts.fleet.clone(), parts.key.clone(), parts.clock.clone(), Pace::unlimited());
        let hopeless = Cache::builder().max_capacity(HOPELESS_MAX).time_to_live(HOPELESS_FOR).build();
        Self(Arc::new(Inner { parts, mender, hopeless, refill: Mutex::default() }))
    }

    /// Refills providers without a canary, and makes the copies that the others lack.
    pub async fn step(&self) {
        self.establish().await;
        let board = self.parts().monitor.board();
        let targets: Vec<_> = self
            .parts()
            .fleet
            .slots()
            .filter(|slot| board.is_healthy(*slot) && board.canary(*slot) == Some(CanaryState::Ours))
            .collect();
        self.complete(&targets, false).await;
        for (slot, missing) in self.parts().catalog.copies_missing().await {
            let labels = ProviderLabels { provider: self.parts().fleet.id(slot).to_string() };
            let missing = i64::try_from(missing).unwrap_or(i64::MAX);
            self.parts().telemetry.metrics().copies_missing.get_or_create(&labels).set(missing);
        }
    }

    /// Makes every copy that `targets` lack, on request even of versions that may still be on their way;
    /// tells whether none is left that could be made.
    async fn complete(&self, targets: &[Slot], even_young: bool) -> bool {
        let mut targets = targets.to_vec();
        let mut made: BTreeMap<Slot, u64> = BTreeMap::new();
        let mut passed_over = 0;
        let mut whole = true;
        while !targets.is_empty() {
            let page = self.parts().catalog.incomplete(&targets, PAGE, passed_over).await;
            if page.is_empty() {
                break;
            }
            let lacking = |row: &IndexedVersion| {
                let lacks = |slot: &Slot| row.missing >> slot.0 & 1 == 1;
                targets.iter().copied().filter(lacks).collect::<Vec<_>>()
            };
            let jobs: Vec<_> = page
                .into_iter()
                .flat_map(|row| lacking(&row).into_iter().map(move |slot| (row.clone(), slot)))
                .collect();
            let attempts = jobs.into_iter().map(|(row, slot)| async move {
                (row.version, slot, self.attempt(&row, slot, even_young).await)
            });
            let attempts: Vec<_> = stream::iter(attempts).buffer_unordered(COPIES_AT_ONCE).collect().await;
            let mut left = HashSet::new();
            for (version, slot, attempt) in attempts {
                match attempt {
                    Attempt::Made => *made.entry(slot).or_default() += 1,
                    Attempt::Hopeless => _ = left.insert(version),
                    Attempt::Skipped => {
                        left.insert(version);
                        whole = false;
                    }
                    Attempt::Failed => {
                        left.insert(version);
                        whole = false;
                        targets.retain(|target| *target != slot);
                    }
                }
            }
            passed_over += left.len();
        }
        self.tell(&made);
        whole
    }

    async fn attempt(&self, row: &IndexedVersion, slot: Slot, even_young: bool) -> Attempt {
        let parts = self.parts();
        if self.0.hopeless.contains_key(&(row.version, slot)) {
            return Attempt::Hopeless;
        }
        let suspect = parts.catalog.is_suspect(row.name, row.version, slot);
        let age = parts.clock.unix_ms().saturating_sub(row.version.upload.unix_ms());
        let young = u128::from(age) < YOUNG.as_millis();
        let on_its_way = parts.catalog.is_writing(row.version.upload) || (young && !suspect);
        if on_its_way && !even_young {
            return Attempt::Skipped;
        }
        match self.restore(row, slot, suspect).await {
            Ok(copy) => {
                parts.catalog.clear_suspicion(row.name, row.version, slot);
                parts.catalog.apply_record(&copy.record, &copy.sealed, vec![slot]).await;
                Attempt::Made
            }
            Err(failure) => {
                self.alarm(row, slot, &failure);
                if is_hopeless(&failure) {
                    self.0.hopeless.insert((row.version, slot), ());
                    Attempt::Hopeless
                } else {
                    Attempt::Failed
                }
            }
        }
    }

    async fn restore(
        &self,
        row: &IndexedVersion,
        slot: Slot,
        suspect: bool,
    ) -> Result<SealedRecord, MendError> {
        let parts = self.parts();
        let holders = |slot: &Slot| row.missing >> slot.0 & 1 == 0;
        let mut sources = parts.monitor.board().order();
        sources.sort_by_key(|source| !holders(source));
        let at = Key::record(row.name, row.version, row.kind);
        let (record, sealed) = parts.catalog.fetch_record(&at, &sources).await.map_err(|missed| {
            let detail = format!("no record: {}", missed.reasons.join("; "));
            let nobody = missed.lacking.len() == parts.fleet.len();
            let kind = if nobody { ErrorKind::NotFound } else { ErrorKind::Unavailable };
            let failure = ProviderError::new(parts.fleet.id(slot), Operation::Get, kind).with_detail(detail);
            MendError::NoSource { object: Object::Record, last: Some(failure.into()) }
        })?;
        let copy = SealedRecord { record, sealed };
        if suspect {
            self.mend(&copy, slot, &sources).await?;
        }
        self.0.mender.copy(slot, &copy, &sources).await?;
        Ok(copy)
    }

    /// Inspects a copy byte by byte and writes the right bytes over what is damaged.
    async fn mend(&self, copy: &SealedRecord, slot: Slot, sources: &[Slot]) -> Result<(), MendError> {
        let parts = self.parts();
        let pace = Pace::unlimited();
        let found = lists::find(&parts.fleet, sources, &copy.record, &pace).await;
        let inspection = Inspection {
            provider: parts.fleet.get(slot).clone(),
            copy: copy.clone(),
            key: parts.key.clone(),
            depth: Depth::Bytes,
            listed: Listed::default(),
            record_seen: None,
            list: found.map(|found| found.list),
            list_seen: false,
            pace,
        };
        let faults = inspection.run().await;
        if let Some(fault) = faults.iter().find(|fault| fault.kind == FaultKind::Unreadable) {
            let failure = ProviderError::new(parts.fleet.id(slot), Operation::Get, ErrorKind::Unavailable);
            return Err(failure.with_detail(format!("{}: {}", fault.object, fault.detail)).into());
        }
        let objects = faults.iter().filter(|fault| fault.mendable).map(|fault| fault.object).collect();
        let Mended { error, .. } = self.0.mender.mend(slot, copy, &objects, sources).await;
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

    fn alarm(&self, row: &IndexedVersion, slot: Slot, failure: &MendError) {
        let provider = self.parts().fleet.id(slot);
        tracing::warn!(%provider, version = %row.version, name = %row.name, %failure, "a copy cannot be made");
        self.event(slot, EventKind::RepairFailed, format!("{}: {failure}", row.version));
    }

    fn event(&self, slot: Slot, kind: EventKind, detail: String) {
        let provider = Some(self.parts().fleet.id(slot).to_string());
        let at = self.parts().clock.utc();
        self.parts().telemetry.event(Event { at, kind, provider, asset: None, detail });
    }
}
