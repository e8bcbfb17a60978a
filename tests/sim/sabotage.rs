//! Tests of the tests: designs that were refuted, put between gateways and providers, must be caught.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::time::Instant;
use triplicate::asset::key::{self, KeyKind};
use triplicate::asset::{Key, Kind};
use triplicate::provider::{
    Capabilities, DirListing, Download, Entry, Payload, ProbeReport, Provider, ProviderError, ProviderId,
    Result, get_small,
};

use crate::keep::Keep;
use crate::world::Decorate;
use crate::{Faults, Plan, run};

/// So many seeds may pass before a saboteur is caught.
const CAUGHT_WITHIN: u64 = 60;
/// For how long a stale answer is given.
const STALE_FOR: Duration = Duration::from_secs(60);
/// So long after it was confirmed an object is stored.
const COPIED_AFTER: Duration = Duration::from_secs(20);
/// More than a canary has.
const CANARY_BYTES_MAX: u64 = 4_096;
/// How old a tombstone is that is removed by time.
const EXPIRED_AFTER_MS: u64 = 20_000;

/// A refuted design.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    /// Versions are stamped by the clock alone: listings of names and feeds show nothing.
    BlindSurvey,
    /// A provider that does not answer counts as one that proved to have nothing.
    ErrorIsMissing,
    /// Tombstones, and what they hide, are removed after a while, whoever was away.
    TombstonesExpire,
    /// All but the first provider confirm before they have the object, and get it a while later.
    OneCopyIsEnough,
    /// What a provider listed once is believed for a while.
    StaleListing,
    /// Ages are reckoned by the gateway's own clock: every provider seems to have the same time.
    OwnClock,
}

/// A provider under sabotage.
#[derive(Debug)]
struct Sabotaged {
    inner: Arc<dyn Provider>,
    sabotage: Sabotage,
    listings: Mutex<HashMap<String, (Instant, DirListing)>>,
    /// The last canary that was read.
    canary: Mutex<Option<Bytes>>,
    began: Instant,
}

impl Sabotaged {
    fn all(sabotage: Sabotage, providers: Vec<Arc<dyn Provider>>) -> Vec<Arc<dyn Provider>> {
        let wrap = |inner| {
            let (listings, canary, began) = (Mutex::default(), Mutex::default(), Instant::now());
            Arc::new(Self { inner, sabotage, listings, canary, began }) as Arc<dyn Provider>
        };
        providers.into_iter().map(wrap).collect()
    }

    async fn stale(&self, dir: &str) -> Result<DirListing> {
        let known = self.listings.lock().get(dir).filter(|(at, _)| at.elapsed() < STALE_FOR).cloned();
        match known {
            Some((_, listing)) => Ok(listing),
            None => {
                let listing = self.inner.list_dir(dir).await?;
                self.listings.lock().insert(dir.to_owned(), (Instant::now(), listing.clone()));
                Ok(listing)
            }
        }
    }

    /// Removes tombstones that are old enough, with all that they hide.
    async fn expire(&self, listing: DirListing) -> DirListing {
        let parsed = listing.entries.iter().filter_map(|entry| match key::parse(&entry.key)? {
            KeyKind::Record { version, kind, .. } => Some((version, kind, entry)),
            _ => None,
        });
        let parsed: Vec<_> = parsed.collect();
        let now_ms = crate::world::NOW + u64::try_from(self.began.elapsed().as_millis()).unwrap();
        let old = |entry: &Entry| entry.modified_unix_ms.unwrap_or(0) + EXPIRED_AFTER_MS < now_ms;
        let expired = parsed.iter().filter(|(_, kind, entry)| *kind == Kind::Del && old(entry));
        let Some(expired) = expired.map(|(version, ..)| *version).max() else { return listing };
        for (version, _, entry) in &parsed {
            if *version <= expired
                && let Some(kind) = key::parse(&entry.key)
            {
                // What cannot be removed now is removed at the next listing.
                let _ = self.inner.delete(&kind.key()).await;
            }
        }
        listing
    }
}

#[async_trait]
impl Provider for Sabotaged {
    fn id(&self) -> &ProviderId {
        self.inner.id()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, key: &Key, payload: &Payload, content_type: &str) -> Result<()> {
        if self.sabotage != Sabotage::OneCopyIsEnough || self.id().as_str() == "s3-one" {
            return self.inner.put(key, payload, content_type).await;
        }
        let (inner, key, payload) = (self.inner.clone(), key.clone(), payload.clone());
        let content_type = content_type.to_owned();
        let later = async move {
            tokio::time::sleep(COPIED_AFTER).await;
            // Nobody is told whether it worked: that is the sabotage.
            let _ = inner.put(&key, &payload, &content_type).await;
        };
        #[expect(clippy::disallowed_methods, reason = "no gateway knows of it")]
        drop(tokio::spawn(later));
        Ok(())
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Download> {
        if self.sabotage != Sabotage::ErrorIsMissing || !key.as_str().starts_with(key::CANARY) {
            return self.inner.get(key, range).await;
        }
        let sealed = match get_small(self.inner.as_ref(), key, CANARY_BYTES_MAX).await {
            Err(failure) if failure.is_not_found() => return Err(failure),
            Err(_) => self.canary.lock().clone().unwrap_or_else(|| made_up(self.id())),
            Ok(sealed) => sealed,
        };
        *self.canary.lock() = Some(sealed.clone());
        let object_bytes = sealed.len() as u64;
        Ok(Download { object_bytes, body: Box::pin(futures::stream::iter([Ok(sealed)])) })
    }

    async fn stat(&self, key: &Key) -> Result<Entry> {
        self.inner.stat(key).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn list_dir(&self, dir: &str) -> Result<DirListing> {
        let (names, feed) = (dir.starts_with(key::NAMES), dir.starts_with(key::FEED));
        match self.sabotage {
            Sabotage::BlindSurvey if names || feed => Ok(DirListing::default()),
            Sabotage::StaleListing if names || feed => self.stale(dir).await,
            Sabotage::ErrorIsMissing if names => {
                let listed: std::result::Result<_, ProviderError> = self.inner.list_dir(dir).await;
                Ok(listed.unwrap_or_default())
            }
            Sabotage::TombstonesExpire if names => Ok(self.expire(self.inner.list_dir(dir).await?).await),
            _ => self.inner.list_dir(dir).await,
        }
    }

    fn list_tree(&self, dir: &str) -> BoxStream<'static, Result<Vec<Entry>>> {
        self.inner.list_tree(dir)
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        if self.sabotage == Sabotage::OwnClock { Some(0) } else { self.inner.clock_offset_ms() }
    }

    async fn probe(&self) -> Result<ProbeReport> {
        self.inner.probe().await
    }
}

/// The canary of a provider, made up.
fn made_up(id: &ProviderId) -> Bytes {
    let line = format!(r#"{{"format":1,"provider":"{id}","created":"2026-11-22T11:05:31Z"}}"#);
    crate::stack::KEY.seal(&line)
}

/// Runs seeds until one of them has a violation with one of `words` in it.
fn caught(decorate: Decorate, words: &[&str]) {
    caught_keeping(decorate, words, crate::keep);
}

/// The same, with another retention.
fn caught_keeping(decorate: Decorate, words: &[&str], keep: fn(u64) -> Keep) {
    let mut others = Vec::new();
    for seed in 0..CAUGHT_WITHIN {
        let plan = Plan { seed, keeps_lines: false, decorate, faults: Faults::All, keep: keep(seed) };
        let told = run(plan).violations.into_iter().map(|violation| violation.text);
        for text in told {
            if words.iter().any(|word| text.contains(word)) {
                println!("caught by seed {seed}: {text}");
                return;
            }
            others.push(text);
        }
    }
    panic!("not caught: {others:?}");
}

#[test]
fn stamps_by_the_clock_alone_are_caught() {
    caught(|_, all| Sabotaged::all(Sabotage::BlindSurvey, all), &["is stamped"]);
}

#[test]
fn a_provider_that_fails_and_counts_as_empty_is_caught() {
    let words = ["NotFound", "404", "Absent", "does not find"];
    caught(|_, all| Sabotaged::all(Sabotage::ErrorIsMissing, all), &words);
}

#[test]
fn tombstones_that_expire_are_caught() {
    caught(|_, all| Sabotaged::all(Sabotage::TombstonesExpire, all), &["read", "is lost"]);
}

#[test]
fn an_answer_after_one_copy_is_caught() {
    caught(
        |_, all| Sabotaged::all(Sabotage::OneCopyIsEnough, all),
        &["is lost", "NotFound", "Absent", "though", "is stamped"],
    );
}

#[test]
fn a_stale_listing_is_caught() {
    caught(|_, all| Sabotaged::all(Sabotage::StaleListing, all), &["though"]);
}

#[test]
fn a_retention_that_goes_by_the_gateways_own_clock_is_caught() {
    let words = ["too early", "which is retained"];
    let keep = |_| Keep(Some(Duration::from_secs(120)));
    caught_keeping(|_, all| Sabotaged::all(Sabotage::OwnClock, all), &words, keep);
}

#[tokio::test(start_paused = true)]
async fn made_up_canaries_pass_for_real_ones() {
    let world = crate::world::World::new(1, false);
    let clock = triplicate::clock::Clock::seeded(crate::world::NOW, 1);
    let link = Arc::new(crate::link::Link::new(world.clone(), 0, 0, clock));
    let sabotaged = Sabotaged::all(Sabotage::ErrorIsMissing, vec![link]).remove(0);
    let error = crate::weather::Condition::Refuse(triplicate::provider::ErrorKind::Denied);
    world.weather.begin(None, None, error);
    let canary = get_small(sabotaged.as_ref(), &Key::canary("s3-one"), 4_096).await.unwrap();
    assert!(crate::stack::KEY.open(&canary).is_ok());
}
