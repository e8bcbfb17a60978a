//! Watches: a gateway is killed at a step of repair or of retention, whenever it comes to one by itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use triplicate::asset::key::{KeyKind, parse};
use triplicate::drill::wire::Seen;

use super::point::Point;
use super::post::{Armed, Post};

/// A write has ended when its upload is as old, and repair makes no copy of a younger one.
const WRITTEN_WITHIN: Duration = Duration::from_secs(34);

/// Whose steps a gateway is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quarry {
    /// Those of repair: objects that are stored long after their upload began.
    Repairs,
    /// Those of retention: all requests of its kinds.
    Removals,
}

/// A point that waits for requests of repair or retention, and lets others go on.
#[derive(Debug)]
pub struct Watch {
    quarry: Quarry,
    point: Point,
    armed: Armed,
}

impl Watch {
    /// Watches a gateway from now on, and lets the first `others` requests of the point go on.
    pub fn over(post: &Post, quarry: Quarry, point: Point, others: u64) -> Self {
        Self { quarry, point, armed: post.arm_those(point, |rule| rule.skip(others)) }
    }

    /// Waits until such a request is held.
    pub async fn struck(&mut self, post: &Post) -> Point {
        loop {
            let seen = self.armed.next().await;
            if self.quarry == Quarry::Removals || seen.is_some_and(|seen| is_repair(&seen)) {
                return self.point;
            }
            post.disarm(std::mem::replace(&mut self.armed, Armed::nothing()));
            self.armed = post.arm(self.point);
        }
    }

    /// Returns what is held.
    pub fn into_armed(self) -> Armed {
        self.armed
    }
}

/// Tells whether an object that is stored belongs to an upload that ended long ago.
fn is_repair(seen: &Seen) -> bool {
    let upload = match parse(&seen.key) {
        Some(KeyKind::Part { upload, .. } | KeyKind::Blocks { upload }) => upload,
        Some(KeyKind::Record { version, .. } | KeyKind::Feed { version, .. }) => version.upload,
        _ => return false,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    now.saturating_sub(Duration::from_millis(upload.unix_ms())) > WRITTEN_WITHIN
}
