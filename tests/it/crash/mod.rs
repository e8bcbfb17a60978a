//! Crash safety: the real binary is killed at every step of its flows, and its index is torn as by power loss.
//!
//! Every step of a flow is a request to a provider, so a crash point is a request that the wire holds before or
//! after it takes effect; the binary itself has no hooks. What has to hold afterwards: an acknowledged write is
//! there with exactly its bytes, another one is there entirely or not at all and hides nothing older, nothing is
//! a false 404, and copies become equal at all providers.

mod horizon;
mod ledger;
mod player;
mod point;
mod post;
mod power;
mod removal;
mod repair;
mod settle;
mod settled;
mod steps;
mod storm;
mod takedown;
mod watch;
mod world;
