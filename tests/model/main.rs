//! The storage protocol as a model, of which every reachable state is looked at.
//!
//! One name, three providers, up to four writers on gateways whose clocks say anything. See [`action`] for the
//! steps and the code that each stands for, [`property`] for what must hold, [`setting`] for the switches.

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
