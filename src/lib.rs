#![doc = include_str!("../docs/architecture.md")]

pub mod asset;
pub mod clock;
pub mod telemetry;

pub mod provider;
pub mod single;
pub mod task;

pub mod cache;
pub mod catalog;
pub mod health;
pub mod replica;

pub mod audit;
pub mod read;
pub mod repair;
pub mod retention;
pub mod write;

pub mod http;

pub mod config;

pub mod gateway;

pub mod drill;

pub mod cli;
