//! Trust: whose "missing" counts. What floors above the providers need to know of their health.

use std::fmt::Debug;
use std::time::Duration;

use super::{ErrorKind, Operation, Slot};

/// Tells which providers have proved lately to be themselves.
pub trait Trust: Debug + Send + Sync + 'static {
    /// Tells whether the provider's own canary was seen within the last minute.
    fn is_trusted(&self, slot: Slot) -> bool;
    /// Tells whether the last look did not find the provider's own canary: what lies there may be in part, or that of
    /// another one.
    fn lacks_canary(&self, slot: Slot) -> bool;
}

/// Is told of every call to a provider.
pub trait Observer: Debug + Send + Sync + 'static {
    /// One call ended, after `took`, in success (`None`) or in a failure. A download that succeeds has
    /// arrived whole; whether its bytes are the right ones nobody has looked at yet.
    fn observe(
        &self,
        slot: Slot,
        operation: Operation,
        took: Duration,
        failure: Option<&ErrorKind>,
        detail: &str,
    );
}
