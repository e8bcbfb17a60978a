//! The disk cache against real files.
