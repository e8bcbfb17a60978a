//! Time and dice: the only place that asks the machine for either.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::asset::UploadId;

/// Tells the time and throws dice; cheap to clone.
///
/// Monotonic time is tokio's, so that a paused test clock drives every wait. Wall time is the machine's,
/// or in tests a fixed start that moves with the monotonic time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    Manual { start_unix_ms: u64, started: Instant },
}

impl Clock {
    /// Returns the machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// Returns a clock that starts at `start_unix_ms` and moves with tokio's time.
    pub fn manual(start_unix_ms: u64) -> Self {
        Self(Arc::new(Source::Manual { start_unix_ms, started: Instant::now() }))
    }

    /// Returns the wall time in Unix milliseconds.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the machine's clock")]
    pub fn unix_ms(&self) -> u64 {
        match &*self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Source::Manual { start_unix_ms, started } => {
                start_unix_ms + u64::try_from(started.elapsed().as_millis()).unwrap_or(0)
            }
        }
    }

    /// Returns the wall time for people and records.
    pub fn utc(&self) -> DateTime<Utc> {
        to_utc(self.unix_ms())
    }

    /// Returns the monotonic time.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Draws the identity of a new upload.
    pub fn upload_id(&self) -> UploadId {
        UploadId::new(self.unix_ms(), rand::random())
    }

    /// Throws a die with 2^64 sides.
    pub fn random(&self) -> u64 {
        rand::random()
    }
}

/// Converts Unix milliseconds for people and records; beyond the calendar it stays at 1970.
pub fn to_utc(unix_ms: u64) -> DateTime<Utc> {
    i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
}

/// Returns 32 random bytes from the operating system, for keys and tokens.
pub fn random_secret() -> [u8; 32] {
    rand::random()
}
