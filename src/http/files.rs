//! Open files: each connection takes one, and as much again for what is asked of providers on its behalf. A process that
//! is out of them reaches no provider any more, so connections wait long before that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// How many clients may be connected to the public listener at once, however many files there may be.
const CONNECTIONS_MAX: usize = 16_384;
/// Files that a process has open besides connections and what is asked on their behalf.
const FILES_BESIDE: u64 = 600;
/// With fewer connections than these a content network in front may have to wait.
const CONNECTIONS_FEW: usize = 1_000;

/// Raises the number of files that this process may have open as far as it can itself, and returns how many
/// connections that leaves room for, at least one.
pub fn room_for_connections() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limits.maximum, maximum: limits.maximum };
    // Where the limit cannot be raised it stays as it is.
    let _ = setrlimit(Resource::Nofile, wanted);
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, room)
}

fn room(files: u64) -> usize {
    usize::try_from(files.saturating_sub(FILES_BESIDE) / 2).unwrap_or(usize::MAX).max(1)
}

/// Returns how many clients may be connected to the public listener at once.
pub fn connections_max() -> usize {
    let room = room_for_connections();
    if room < CONNECTIONS_FEW {
        warn!(
            connections = room,
            "so few clients can be connected at once: raise the number of open files (ulimit -n)"
        );
    }
    room.min(CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_left_is_for_connections() {
        for (files, expected) in [(0, 1), (600, 1), (1_024, 212), (65_536, 32_468)] {
            assert_eq!(room(files), expected, "{files}");
        }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        assert!(connections_max() >= 1);
        let limits = getrlimit(Resource::Nofile);
        assert_eq!(limits.current, limits.maximum);
    }
}
