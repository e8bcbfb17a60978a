//! Finds the version of a name to serve.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::attempt::entrants;
use super::{Inner, Parts, ReadError, Wanted};
use crate::asset::{AssetName, Kind, NameHash, Record, Version};
use crate::catalog::{KnownVersion, Sighting, known, listing};
use crate::provider::{Slot, Trust};

/// For how long a majority is waited for when an answer is known already.
const SOFT_PATIENCE: Duration = Duration::from_millis(800);
/// For how long providers that are not known to be well are waited for when an answer is known already: they may be
/// back, and know better.
const SHORT_PATIENCE: Duration = Duration::from_millis(100);
/// For how long a majority is waited for when none is.
const HARD_PATIENCE: Duration = Duration::from_secs(8);

/// For how long a request for a certain version waits for its turn.
const TURN_PATIENCE: Duration = Duration::from_secs(1);
/// An answer that others wait for is shared with who comes later for so long: what another gateway wrote
/// meanwhile may be missing in it, and is promised only within some seconds.
const SHARED_FOR: Duration = Duration::from_secs(1);
/// How large a record is, about.
const RECORD_BYTES: u64 = 1_024;

/// What is known of a name, and on whose word.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    known: Arc<Vec<KnownVersion>>,
    /// Whether an absence may be told: by the fresh index, or by a majority that answered and proved itself.
    conclusive: bool,
    /// What the index knew for certain before anybody was asked; a tombstone among it may be told in any case.
    before: Arc<Vec<KnownVersion>>,
    /// Versions that a provider lists now, where any was asked.
    listed: Vec<Version>,
    /// The trusted providers that answered, and since when they would have to have been themselves.
    answered: (Vec<Slot>, Instant),
}

impl Evidence {
    /// What the index knows, where nobody could be asked: nothing may be told to be absent.
    fn of_nobody(known: Arc<Vec<KnownVersion>>, asked: Instant) -> Self {
        let (before, listed) = (Arc::default(), Vec::new());
        Self { known, conclusive: false, before, listed, answered: (Vec::new(), asked) }
    }

    /// Tells whether a tombstone may be told. One that only a minority lists is no proof that there is
    /// nothing newer.
    fn may_tell_deleted(&self, version: Version) -> bool {
        self.conclusive || self.before.iter().any(|known| known.version == version)
    }
}

/// Finds the record to serve.
pub(super) async fn resolve(
    inner: &Inner,
    name: &AssetName,
    wanted: Wanted,
) -> Result<Arc<Record>, ReadError> {
    let (parts, hash) = (&inner.parts, name.hash());
    let known = parts.catalog.known(hash).await;
    // Asked after the look-up: an index that could not be read is not fresh any longer.
    // A certain version may have come a moment ago, and its receipt is here already: nobody polls that fast.
    let unheard_of = wanted.version.is_some_and(|version| known.iter().all(|known| known.version != version));
    // One that is not the newest may have been removed, for good reason: no feed tells of that.
    let superseded =
        wanted.version.is_some_and(|version| known.first().is_some_and(|it| it.version > version));
    let evidence = if parts.catalog.is_fresh() && !wanted.revalidate && !unheard_of && !superseded {
        let answered = (Vec::new(), parts.clock.now());
        Evidence { before: known.clone(), known, conclusive: true, listed: Vec::new(), answered }
    } else {
        ask_together(inner, hash, known, wanted).await
    };
    if let Some(version) = wanted.version.filter(|version| superseded && !evidence.listed.contains(version)) {
        let (answered, began) = &evidence.answered;
        if parts.monitor.is_proved_lacking(answered, *began).await {
            return Err(ReadError::NotFound);
        }
        return Err(ReadError::unavailable(format!("no provider that answers lists {version}")));
    }
    for known in evidence.known.iter() {
        if wanted.version.is_some_and(|version| version != known.version)
            || parts.catalog.is_uncommitted(known.version)
        {
            continue;
        }
        let began = parts.clock.now();
        let order = entrants(&parts.plan(RECORD_BYTES, &known.holders));
        // The record of a tombstone is read too: a forged one must not hide an asset.
        match parts.catalog.record(hash, known, &order).await {
            Ok(record) if record.kind() == Kind::Put => return Ok(record),
            Ok(_) if evidence.may_tell_deleted(known.version) => return Err(ReadError::NotFound),
            Ok(_) => return Err(ReadError::unavailable("only a minority knows of the tombstone")),
            // Passed over by this read alone: its record may be on its way, and be acknowledged in a moment.
            Err(missed)
                if parts.monitor.is_proved_lacking(&missed.lacking, began).await
                    && parts.catalog.may_pass_over(hash, known.version).await => {}
            Err(missed) => return Err(ReadError::unavailable(missed.reasons.join("; "))),
        }
    }
    if evidence.conclusive {
        return Err(ReadError::NotFound);
    }
    Err(ReadError::unavailable("no trusted majority knows whether the name exists"))
}

/// Asks a majority, or waits with the others that ask for the same name.
async fn ask_together(
    inner: &Inner,
    name: NameHash,
    before: Arc<Vec<KnownVersion>>,
    wanted: Wanted,
) -> Evidence {
    let parts = &inner.parts;
    if wanted.revalidate {
        return ask(parts, name, before, wanted).await;
    }
    if wanted.version.is_some() {
        // Anybody may ask for any version, and each question costs listings.
        let turn = tokio::time::timeout(TURN_PATIENCE, inner.version_turns.acquire()).await;
        return match turn {
            Ok(_turn) => ask(parts, name, before, wanted).await,
            Err(_) => Evidence::of_nobody(before, parts.clock.now()),
        };
    }
    let shared = inner.asking.run(&name, SHARED_FOR, || {
        let (parts, before) = (parts.clone(), before.clone());
        async move { ask(&parts, name, before, wanted).await }
    });
    let evidence = shared.await;
    // What this gateway learnt since the question was asked must not be hidden by its answer.
    let covers = |known: &KnownVersion| evidence.known.iter().any(|other| other.version == known.version);
    if before.iter().all(covers) { evidence } else { ask(parts, name, before, wanted).await }
}

/// Asks all providers for the versions of a name, and joins what they say with what the index knows.
async fn ask(parts: &Parts, name: NameHash, before: Arc<Vec<KnownVersion>>, wanted: Wanted) -> Evidence {
    parts.monitor.first_looks().await;
    let majority = parts.fleet.majority();
    let (evidence, trusted) = weigh(parts, name, &before, wanted, majority).await;
    let enough = serves(parts, &evidence.known) && !wanted.revalidate;
    if evidence.conclusive || enough || trusted < majority {
        return evidence;
    }
    // Of the first majority one could not prove itself: all are asked.
    weigh(parts, name, &before, wanted, parts.fleet.len()).await.0
}

/// Gathers the word of `enough` trusted providers, and tells whether an absence may be told on it, and how
/// many trusted ones answered.
async fn weigh(
    parts: &Parts,
    name: NameHash,
    before: &Arc<Vec<KnownVersion>>,
    wanted: Wanted,
    enough: usize,
) -> (Evidence, usize) {
    // Before the index was ever fresh, it may be no more than a part of an old snapshot: a newer version is
    // waited for, and its tombstones may be out of date.
    // Who wants to be sure is told nothing on the word of the index.
    let told = match parts.catalog.was_fresh() && !wanted.revalidate {
        true => before.clone(),
        false => Arc::default(),
    };
    let asked = parts.clock.now();
    let answers = gather(parts, name, &told, wanted, enough).await;
    let board = parts.monitor.board();
    let answered = answers.iter().map(|(slot, _)| *slot);
    let trusted: Vec<Slot> = answered.filter(|slot| board.is_trusted(*slot)).collect();
    let seen = sightings(name, &answers);
    let known = Arc::new(known::join(before, &seen));
    // Where the index cannot take it, the answer stands all the same.
    let _ = parts.catalog.apply(seen).await;
    // Only where there are no bytes to serve, or the client asked to be sure, does the majority have to prove itself
    // once more: one of them may have been wiped, and have held what is newer.
    let conclusive = if serves(parts, &known) && !wanted.revalidate {
        trusted.len() >= parts.fleet.majority()
    } else {
        parts.monitor.is_proved_lacking(&trusted, asked).await
    };
    let listed = answers.iter().flat_map(|(_, versions)| versions.iter().map(|(version, _)| *version));
    let (listed, count) = (listed.collect(), trusted.len());
    (Evidence { known, conclusive, before: told, listed, answered: (trusted, asked) }, count)
}

/// Tells whether the newest version that counts holds bytes.
fn serves(parts: &Parts, known: &[KnownVersion]) -> bool {
    let newest = known.iter().find(|known| !parts.catalog.is_uncommitted(known.version));
    newest.is_some_and(|newest| newest.kind == Kind::Put)
}

type Answer = (Slot, Vec<(Version, Kind)>);

/// Waits for `enough` trusted providers; only for a moment when there is something to serve already.
async fn gather(
    parts: &Parts,
    name: NameHash,
    before: &[KnownVersion],
    wanted: Wanted,
    enough: usize,
) -> Vec<Answer> {
    let mut asking: FuturesUnordered<_> = parts
        .monitor
        .board()
        .order()
        .into_iter()
        .map(|slot| {
            let provider = parts.fleet.get(slot).clone();
            async move { (slot, listing::versions_at(provider.as_ref(), name).await) }
        })
        .collect();
    let mut answers: Vec<Answer> = Vec::new();
    let short = tokio::time::sleep(SHORT_PATIENCE);
    let soft = tokio::time::sleep(SOFT_PATIENCE);
    let hard = tokio::time::sleep(HARD_PATIENCE);
    tokio::pin!(short, soft, hard);
    let (mut very_patient, mut patient) = (true, true);
    loop {
        let something = !before.is_empty() || answers.iter().any(|(_, versions)| !versions.is_empty());
        let board = parts.monitor.board();
        let trusted = answers.iter().filter(|(slot, _)| board.is_trusted(*slot)).count();
        let asked = |slot: &Slot| !answers.iter().any(|(answered, _)| answered == slot);
        let hopeless = !parts.fleet.slots().filter(asked).any(|slot| board.is_healthy(slot));
        // Only providers that are down are still waited for: a moment is enough, and a longer one for who wants to be sure.
        let settled = hopeless && (!patient || (something && !very_patient && !wanted.revalidate));
        if trusted >= enough || settled || (!patient && something && !wanted.revalidate) {
            return answers;
        }
        tokio::select! {
            biased;
            answer = asking.next() => match answer {
                Some((slot, Ok(versions))) => answers.push((slot, versions)),
                Some((_, Err(_))) => {}
                None => return answers,
            },
            () = &mut short, if very_patient => very_patient = false,
            () = &mut soft, if patient => patient = false,
            () = &mut hard => return answers,
        }
    }
}

fn sightings(name: NameHash, answers: &[Answer]) -> Vec<Sighting> {
    let all = answers.iter().flat_map(|(_, versions)| versions);
    all.map(|(version, kind)| Sighting::listed(name, *version, *kind)).collect()
}
