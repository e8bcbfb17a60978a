//! Replicas: the copy of one version at one provider.
//!
//! Per provider the order is parts → blocks → record → feed entry, so a record at a provider means complete
//! bytes there, and a feed entry a complete copy.

pub mod inspect;
pub mod mend;
pub mod source;
pub mod store;
