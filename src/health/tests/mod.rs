//! The board over imagined outcomes, and the monitor over disks that fail on command.

mod board;
mod monitor;
