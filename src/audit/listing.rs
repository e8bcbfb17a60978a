//! Lists providers into the ledger, and what came into their feeds since.

use futures::TryStreamExt;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ledger::{Ledger, LedgerError, VersionId};
use super::screen::Screen;
use crate::asset::key;
use crate::clock::Clock;
use crate::provider::{Provider, ProviderError, Slot};
use crate::replica::retry::retrying;

/// How often a listing that broke off is begun anew.
const ATTEMPTS_MAX: usize = 3;
/// By how many minutes the minute of a feed entry may differ from the provider's present one.
const MINUTES_SLACK: u64 = 2;

/// From how many minutes on a feed's folders are listed first, rather than asked for one by one.
const MINUTES_ASKED_MAX: u64 = 30;

/// A provider could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Lists everything that one provider holds into the ledger.
///
/// # Errors
///
/// The provider could not be listed to the end; the ledger then holds nothing of it.
pub async fn list(
    ledger: &Ledger,
    slot: Slot,
    provider: &dyn Provider,
    screen: &Screen,
) -> Result<(), ListError> {
    let mut attempt = 1;
    loop {
        ledger.clear_listing(slot)?;
        match list_once(ledger, slot, provider, screen).await {
            Ok(()) => return Ok(ledger.close_listing(slot)?),
            Err(ListError::Provider(error)) if error.kind.is_retryable() && attempt < ATTEMPTS_MAX => {
                attempt += 1;
            }
            Err(error) => {
                ledger.clear_listing(slot)?;
                return Err(error);
            }
        }
    }
}

async fn list_once(
    ledger: &Ledger,
    slot: Slot,
    provider: &dyn Provider,
    screen: &Screen,
) -> Result<(), ListError> {
    let mut pages = provider.list_tree("");
    while let Some(page) = pages.try_next().await? {
        ledger.add_page(slot, provider.id().as_str(), &page)?;
        screen.advance(page.len() as u64);
    }
    Ok(())
}

/// The feed of one provider since it was listed.
#[derive(Debug)]
pub struct FeedTail {
    clock: Clock,
    slot: Slot,
    state: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    /// The first minute that may still have changed since it was listed.
    next: key::FeedMinute,
    listed_at: Option<Instant>,
}

impl FeedTail {
    /// Starts where a listing began that was started at `started_ms`, in Unix milliseconds of our clock.
    pub fn new(slot: Slot, provider: &dyn Provider, clock: &Clock, started_ms: u64) -> Self {
        let next = minute(provider, started_ms).saturating_sub(MINUTES_SLACK);
        Self { clock: clock.clone(), slot, state: Mutex::new(Tail { next, listed_at: None }) }
    }

    /// Lists what came since the last time into the ledger; callers that come together share one listing.
    ///
    /// # Errors
    ///
    /// The provider did not answer.
    pub async fn refresh(&self, ledger: &Ledger, provider: &dyn Provider) -> Result<(), ListError> {
        let asked_at = self.clock.now();
        let mut tail = self.state.lock().await;
        if tail.listed_at.is_some_and(|listed_at| listed_at > asked_at) {
            return Ok(());
        }
        let listed_at = self.clock.now();
        let last = minute(provider, self.clock.unix_ms()).saturating_add(MINUTES_SLACK);
        for minute in minutes(provider, tail.next, last).await? {
            let dir = key::feed_dir(minute);
            let listing = retrying(|| provider.list_dir(&dir)).await?;
            ledger.add_page(self.slot, provider.id().as_str(), &listing.entries)?;
        }
        tail.next = tail.next.max(last.saturating_sub(2 * MINUTES_SLACK));
        tail.listed_at = Some(listed_at);
        Ok(())
    }

    /// Tells whether the provider has a feed entry of a version, looking again before it says no.
    ///
    /// # Errors
    ///
    /// The provider did not answer.
    pub async fn has(
        &self,
        ledger: &Ledger,
        provider: &dyn Provider,
        id: &VersionId,
    ) -> Result<bool, ListError> {
        if ledger.has_feed(self.slot, id)? {
            return Ok(true);
        }
        self.refresh(ledger, provider).await?;
        Ok(ledger.has_feed(self.slot, id)?)
    }
}

/// Returns the minutes from `first` to `last` in which there may be feed entries.
async fn minutes(
    provider: &dyn Provider,
    first: key::FeedMinute,
    last: key::FeedMinute,
) -> Result<Vec<key::FeedMinute>, ProviderError> {
    let all = first..=last;
    if last.saturating_sub(first) < MINUTES_ASKED_MAX {
        return Ok(all.collect());
    }
    let listing = retrying(|| provider.list_dir(key::FEED)).await?;
    let minutes = listing.dirs.iter().filter_map(|dir| key::parse_feed_minute(dir));
    Ok(minutes.filter(|minute| all.contains(minute)).collect())
}

/// Returns the minute that it is at a provider when it is `unix_ms` here.
pub fn minute(provider: &dyn Provider, unix_ms: u64) -> key::FeedMinute {
    unix_ms.saturating_add_signed(provider.clock_offset_ms().unwrap_or(0)) / 60_000
}
