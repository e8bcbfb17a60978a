//! The survey of a name: what a majority of trusted providers lists of it, before a version is stamped.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use futures::stream::{FuturesUnordered, StreamExt};

use super::{Outcome, Parts, WriteError, not_writable};
use crate::asset::{Kind, NameHash, Order, Version};
use crate::catalog::{Sighting, listing};
use crate::provider::{ProviderError, Slot};

/// How long a majority is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often one provider is asked again.
const RETRIES: usize = 2;

/// A clock that most providers say to be so many milliseconds wrong stamps nothing. Order would hold, since a
/// stamp is larger than all that a majority lists; but a stamp from the far future would stay the largest of
/// its name, whatever clients are told of its time.
pub const CLOCK_OFFSET_MS_MAX: u64 = 30_000;

/// What a majority lists of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// The largest order seen, in the listings or the index.
    pub largest: Option<Order>,
    /// The version that is served now, if there is one.
    pub current: Option<(Version, Kind)>,
    /// The newest version that anybody lists, whether or not its bytes were found wanting lately.
    pub newest: Option<(Version, Kind)>,
    /// How many of the trusted providers list the newest version.
    pub newest_copies: usize,
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
    let gathered = tokio::time::timeout(PATIENCE, gather(parts, name)).await;
    let answers = match gathered {
        Ok(Ok(answers)) => answers,
        Ok(Err(reasons)) => return Err(unlisted(reasons.join("; "))),
        Err(_) => return Err(unlisted("no majority listed the name in time".to_owned())),
    };
    // Looked at last: the listings themselves told the time.
    if let Some(offset) =
        parts.fleet.clock_offset_ms().filter(|ms| ms.unsigned_abs() >= parts.clock_offset_ms_max)
    {
        tracing::error!(offset_ms = offset, "this machine's clock is wrong: nothing is written");
        return Err(unlisted(format!("this machine's clock is {offset} ms off; set it right")));
    }
    // The answers count even where the index, a mere cache, could not take them.
    let _ = parts.catalog.apply(sightings(name, &answers)).await;
    let known = parts.catalog.known(name).await;
    let known = known.iter().map(|known| (known.version, known.kind));
    let seen: Vec<_> =
        answers.iter().flat_map(|(_, versions)| versions.iter().copied()).chain(known).collect();
    let committed = seen.iter().filter(|(version, _)| !parts.catalog.is_uncommitted(*version));
    let newest = seen.iter().max().copied();
    let copies = answers.iter().filter(|(_, versions)| newest.is_some_and(|it| versions.contains(&it)));
    Ok(Survey {
        largest: seen.iter().map(|(version, _)| version.order).max(),
        current: committed.max().copied(),
        newest,
        newest_copies: copies.count(),
    })
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
