//! The fleet: all configured providers, in the order of the configuration, and its majority.

use std::sync::Arc;

use super::{Provider, ProviderId};

/// The place of a provider in its fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// All configured providers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet(Arc<[Arc<dyn Provider>]>);

impl Fleet {
    /// Gathers the providers, at least one, with names that differ.
    pub fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        Self(providers.into())
    }

    /// Returns how many providers there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there are no providers, which the configuration forbids.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many providers make a majority.
    pub fn majority(&self) -> usize {
        self.len() / 2 + 1
    }

    /// Returns how many of the *other* providers must be compared before one provider can be called
    /// complete: every majority that the provider was part of then has a member among them.
    pub fn witnesses(&self) -> usize {
        self.len() - self.majority() + 1
    }

    /// Returns the provider in `slot`.
    ///
    /// # Panics
    ///
    /// For a slot of another fleet.
    pub fn get(&self, slot: Slot) -> &Arc<dyn Provider> {
        &self.0[slot.0]
    }

    /// Returns all slots with their providers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Slot, &Arc<dyn Provider>)> {
        self.0.iter().enumerate().map(|(slot, provider)| (Slot(slot), provider))
    }

    /// Returns all slots.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = Slot> + use<> {
        (0..self.len()).map(Slot)
    }

    /// Finds a provider by its name.
    pub fn find(&self, id: &str) -> Option<Slot> {
        self.iter().find(|(_, provider)| provider.id().as_str() == id).map(|(slot, _)| slot)
    }

    /// Returns by how many milliseconds the providers' clocks differ from ours, as most of them say: the middle
    /// one of the differences by size, so that a few wrong clocks among them decide nothing. `None` while
    /// nobody tells the time.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        let mut offsets: Vec<_> =
            self.iter().filter_map(|(_, provider)| provider.clock_offset_ms()).collect();
        offsets.sort_by_key(|offset| offset.unsigned_abs());
        offsets.get(offsets.len().saturating_sub(1) / 2).copied()
    }

    /// Returns the name of the provider in `slot`.
    pub fn id(&self, slot: Slot) -> &ProviderId {
        self.get(slot).id()
    }
}
