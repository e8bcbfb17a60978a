//! The storage protocol as a model, of which every reachable state is looked at.
//!
//! One name, three providers, up to four writers on gateways whose clocks say anything. See [`action`] for the
//! steps and the code that each stands for, [`property`] for what must hold, [`setting`] for the switches,
//! [`holds`] for the runs in which everything holds, [`refuted`] for designs that the model must catch, and
//! [`limits`] for where the code stops short of the design that holds.
//!
//! PUTs and DELETEs take effect at any later time, any number of times, in any order, or never, so that a
//! writer that crashes is one that takes no further step. Surveys and reads are cold: the local index, which
//! knows more than the listings as a rule, is left out. So are parts and blocks, damaged bytes, foreign
//! canaries and other names. Nothing here says that something happens in the end, only that nothing wrong does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod action;
mod checker;
mod holds;
mod limits;
mod next;
mod property;
mod read;
mod refuted;
mod setting;
mod state;
