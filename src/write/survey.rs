//! The survey of a name: what a majority of trusted providers lists of it, before a version is stamped.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use futures::stream::{FuturesUnordered, StreamExt};

use super::{Outcome, Parts, WriteError, not_writable};
use crate::asset::{Kind, NameHash, Order, Version};
use crate::catalog::{KnownVersion, Sighting, listing};
use crate::provider::race::Entrant;
use crate::provider::{ProviderError, Slot};

/// How long a majority is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often one provider is asked again.
const RETRIES: usize = 2;

/// A clock that most providers say to be so many milliseconds wrong stamps nothing. Order would hold, since a
/// stamp is larger than all that a majority lists; but a stamp from the far future would stay the largest of
/// its name, whatever clients are told of its time.
pub const CLOCK_OFFSET_MS_MAX: u64 = 30_000;

/// From so far ahead of our clock on, in milliseconds, an order counts only with a record: a year.
const FAR_MS: u64 = 365 * 24 * 60 * 60 * 1_000;
/// For how many such orders a record is looked for, the largest first; more are taken for made up.
const FAR_LOOKS_MAX: usize = 8;

/// What a majority lists of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// The largest order seen, in the listings or the index. Keys of the far future that nothing proves are left out, here
    /// and below.
    pub largest: Option<Order>,
    /// The version that is served now, if there is one.
    pub current: Option<(Version, Kind)>,
    /// The newest version that anybody lists, whether or not its bytes were found wanting lately.
    pub newest: Option<(Version, Kind)>,
    /// How many of the trusted providers list the newest version.
    pub newest_copies: usize,
    /// How many providers are known to hold the newest version with its feed entry, by which other gateways learn of it.
    pub newest_holders: usize,
}

impl Survey {
    /// Tells whether the name holds bytes now.
    pub(super) fn exists(&self) -> bool {
        self.current.is_some_and(|(_, kind)| kind == Kind::Put)
    }
}

/// Lists a name on a majority of trusted providers.
///
/// # Errors
///
/// No majority answered, or our clock is wrong: the write ends, not committed.
pub(super) async fn survey(parts: &Parts, name: NameHash) -> Result<Survey, WriteError> {
    let deadline = parts.clock.now() + PATIENCE;
    let gathered = tokio::time::timeout_at(deadline, gather(parts, name)).await;
    let answers = match gathered {
        Ok(Ok(answers)) => answers,
        Ok(Err(reasons)) => return Err(unlisted(reasons.join("; "))),
        Err(_) => return Err(unlisted("no majority listed the name in time".to_owned())),
    };
    // Looked at last: the listings themselves told the time.
    check_clock(parts)?;
    // The answers count even where the index, a mere cache, could not take them.
    let _ = parts.catalog.apply(sightings(name, &answers)).await;
    let known = parts.catalog.known(name).await;
    let indexed = known.iter().map(|known| (known.version, known.kind));
    let mut seen: BTreeSet<_> =
        answers.iter().flat_map(|(_, versions)| versions.iter().copied()).chain(indexed).collect();
    let judged = tokio::time::timeout_at(deadline, drop_made_up(parts, name, &mut seen)).await;
    judged.map_err(|_| unlisted("orders of the far future cannot be judged in time".to_owned()))?;
    let committed = seen.iter().filter(|(version, _)| !parts.catalog.is_uncommitted(*version));
    let newest = seen.iter().copied().max_by_key(newer);
    let copies = answers.iter().filter(|(_, versions)| newest.is_some_and(|it| versions.contains(&it)));
    let holders = known.iter().find(|known| newest == Some((known.version, known.kind)));
    let holders =
        holders.map_or(0, |known| parts.fleet.slots().filter(|it| known.holders.contains(it)).count());
    Ok(Survey {
        largest: seen.iter().map(|(version, _)| version.order).max(),
        current: committed.copied().max_by_key(newer),
        newest,
        newest_copies: copies.count(),
        newest_holders: holders,
    })
}

/// Compares versions; of two of the same stamp, which only one who makes up keys can cause, the one with bytes counts.
fn newer((version, kind): &(Version, Kind)) -> (Version, bool) {
    (*version, *kind == Kind::Put)
}

/// Drops versions of the far future that a majority proves to have no record for. Whoever can write to a provider can
/// make a key of any order, and one above all others would leave none for the next stamp.
async fn drop_made_up(parts: &Parts, name: NameHash, seen: &mut BTreeSet<(Version, Kind)>) {
    let far = Order::from_unix_ms(parts.clock.unix_ms().saturating_add(FAR_MS));
    for looks in 0.. {
        let Some((version, kind)) = seen.last().copied().filter(|(version, _)| version.order > far) else {
            return;
        };
        if looks < FAR_LOOKS_MAX && !is_made_up(parts, name, version, kind).await {
            return;
        }
        seen.remove(&(version, kind));
    }
}

/// Tells whether a majority proves to have no record that a key could stand for.
async fn is_made_up(parts: &Parts, name: NameHash, version: Version, kind: Kind) -> bool {
    let known = KnownVersion { version, kind, record: None, holders: Vec::new() };
    let order: Vec<_> = parts.monitor.board().order().into_iter().map(Entrant::patient).collect();
    let began = parts.clock.now();
    match parts.catalog.record(name, &known, &order).await {
        Err(missed) => parts.monitor.is_proved_lacking(&missed.lacking, began).await,
        Ok(_) => false,
    }
}

/// Checks that our clock may stamp.
///
/// # Errors
///
/// It is too far from what most providers say: not committed.
pub(super) fn check_clock(parts: &Parts) -> Result<(), WriteError> {
    let offset = parts.fleet.clock_offset_ms().filter(|ms| ms.unsigned_abs() >= parts.clock_offset_ms_max);
    let Some(offset) = offset else { return Ok(()) };
    tracing::error!(offset_ms = offset, "this machine's clock is wrong: nothing is written");
    Err(unlisted(format!("this machine's clock is {offset} ms off; set it right")))
}

type Answer = (Slot, Vec<(Version, Kind)>);

async fn gather(parts: &Parts, name: NameHash) -> Result<Vec<Answer>, Vec<String>> {
    let (writable, others): (Vec<_>, Vec<_>) =
        parts.fleet.slots().partition(|slot| parts.monitor.board().is_writable(*slot));
    let mut asking: FuturesUnordered<_> =
        writable.into_iter().map(|slot| async move { (slot, ask(parts, slot, name).await) }).collect();
    let mut answers = Vec::new();
    let mut reasons: Vec<_> = others.into_iter().map(|slot| not_writable(parts.fleet.id(slot))).collect();
    while answers.len() < parts.fleet.majority() {
        match asking.next().await {
            Some((slot, Ok(Some(versions)))) => answers.push((slot, versions)),
            Some((slot, Ok(None))) => reasons.push(format!("{} did not prove itself", parts.fleet.id(slot))),
            Some((_, Err(failure))) => reasons.push(failure.to_string()),
            None => return Err(reasons),
        }
    }
    Ok(answers)
}

/// Asks one provider; `None` when its word does not count.
async fn ask(
    parts: &Parts,
    slot: Slot,
    name: NameHash,
) -> Result<Option<Vec<(Version, Kind)>>, ProviderError> {
    let provider = parts.fleet.get(slot);
    let asked = parts.clock.now();
    let versions = (|| listing::versions_at(provider.as_ref(), name))
        .retry(
            ExponentialBuilder::default()
                .with_jitter()
                .with_min_delay(Duration::from_millis(100))
                .with_max_times(RETRIES),
        )
        .when(|failure| failure.kind.is_retryable())
        .await?;
    // What is not listed decides the stamp, so every survey is a negative: a provider that was wiped a moment ago
    // would hide a version that it is the only one here to hold. Its canary is read after its answer, and is that
    // of before.
    let proved = parts.monitor.confirm(slot, asked).await;
    Ok(proved.then_some(versions))
}

fn sightings(name: NameHash, answers: &[Answer]) -> Vec<Sighting> {
    let all = answers.iter().flat_map(|(_, versions)| versions);
    all.map(|(version, kind)| Sighting::listed(name, *version, *kind)).collect()
}

fn unlisted(reason: String) -> WriteError {
    WriteError::Unavailable { outcome: Outcome::NotCommitted, reason }
}
