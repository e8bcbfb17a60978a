//! The walk over all versions, in the order of their keys.

use std::sync::atomic::Ordering;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::examine::{Examined, examine};
use super::finding::Tally;
use super::ledger::{LedgerError, Phase, Run, VersionId};
use super::{Audit, PAGE};

/// How many versions are looked at at once.
const VERSIONS_AT_ONCE: usize = 16;
/// After how many versions without a finding the ledger learns how far the walk came.
const NOTE_EVERY: u64 = 256;
/// How many forged records may always be removed in one run, however few records there are.
const REMOVALS_MIN: u64 = 10;

impl Audit {
    /// Looks at all versions behind the cursor; findings come in the order of the walk.
    pub(super) async fn walk(&self, run: &mut Run, tally: &mut Tally) -> Result<(), LedgerError> {
        let total = self.ledger.count_versions()?;
        self.removals_left.store(REMOVALS_MIN.max(total / 100), Ordering::Relaxed);
        self.screen.stage("checking versions", Some(total));
        self.screen.advance(run.checked);
        if self.options.sample.is_some() {
            self.screen.note(&format!("the sample's seed is {}", run.seed));
        }
        let seed = run.seed;
        let pages = stream::try_unfold(run.cursor, |cursor| async move {
            let page = self.ledger.versions(cursor, PAGE)?;
            Ok::<_, LedgerError>(page.last().copied().map(|last| (page, Some(last))))
        });
        let looks = pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten();
        let mut looks = looks.map_ok(|id| self.look(id, seed)).try_buffered(VERSIONS_AT_ONCE).boxed();
        let mut unnoted = 0;
        while let Some(Examined { id, counted, unsure, findings }) = looks.try_next().await? {
            run.cursor = Some(id);
            run.checked += u64::from(counted);
            run.unsure |= unsure;
            tally.checked = run.checked;
            for finding in &findings {
                self.screen.finding(finding);
                tally.add(finding);
            }
            unnoted += 1;
            if !findings.is_empty() || unnoted >= NOTE_EVERY {
                self.ledger.advance(run, &findings)?;
                unnoted = 0;
            }
            self.screen.advance(1);
        }
        run.phase = Phase::Orphans;
        self.ledger.advance(run, &[])
    }

    fn look(&self, id: VersionId, seed: u64) -> BoxFuture<'_, Result<Examined, LedgerError>> {
        if self.options.sample.is_some_and(|share| !is_sampled(&id, seed, share)) {
            return std::future::ready(Ok(Examined::skipped(id))).boxed();
        }
        examine(self, id).boxed()
    }
}

/// Decides by the seed alone whether a version is in the sample, so that a resumed audit decides the same.
fn is_sampled(id: &VersionId, seed: u64, share: f64) -> bool {
    let hash = blake3::Hasher::new().update(&seed.to_be_bytes()).update(&id.to_bytes()).finalize();
    let die = hash.as_bytes().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    f64::from(die) < share * (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::{Kind, NameHash, Order, UploadId, Version};

    #[test]
    fn a_sample_takes_its_share() {
        let ids: Vec<_> = (0..10_000_u64)
            .map(|number| VersionId {
                name: NameHash::new([3; 32]),
                version: Version { order: Order::new(number), upload: UploadId::new(number, 5) },
                kind: Kind::Put,
            })
            .collect();
        let taken = |share: f64| ids.iter().filter(|id| is_sampled(id, 42, share)).count();
        assert_eq!((taken(0.0), taken(1.0)), (0, 10_000));
        assert!((450..550).contains(&taken(0.05)), "{}", taken(0.05));
        let other_seed = ids.iter().filter(|id| is_sampled(id, 43, 0.05) && is_sampled(id, 42, 0.05)).count();
        assert!(other_seed < 100, "{other_seed}");
    }
}
