//! Ports for servers that must be told theirs, and that come back on the same one.
//!
//! They lie below the range from which the system draws ports for outgoing connections, so that nobody
//! takes one while its server is down.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// Returns `N` ports that are free now and that this process gives to nobody else.
pub fn free<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| one())
}

fn one() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Test processes that run side by side start at different places.
    let start = (std::process::id().wrapping_mul(397) % u32::from(COUNT)) as u16;
    let next = NEXT.get_or_init(|| AtomicU16::new(start));
    (0..COUNT)
        .map(|_| FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
