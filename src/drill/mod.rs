//! Drills: the gateway's own promises, put to the test against providers that fail on purpose.
//!
//! `wire` stands between the gateway and one provider and breaks what passes; `zone` is a provider for drills
//! where there is none on the network.

pub mod wire;
pub mod zone;
