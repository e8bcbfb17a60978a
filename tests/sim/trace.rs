//! The trace of a run: a hash over everything that happened, and its lines when somebody wants to read them.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;
use triplicate::provider::{ErrorKind, Operation};

/// The start of an FNV-1a hash, and its factor.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// What happened in a run, in order.
#[derive(Debug)]
pub struct Trace {
    began: Instant,
    hash: Mutex<u64>,
    lines: Option<Mutex<Vec<String>>>,
    requests: AtomicU64,
    faults: AtomicU64,
}

impl Trace {
    /// Starts a trace that keeps its lines if they are wanted.
    pub fn new(keeps_lines: bool) -> Self {
        Self {
            began: Instant::now(),
            hash: Mutex::new(FNV_START),
            lines: keeps_lines.then(Mutex::default),
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// A request of a gateway ended.
    pub fn request(
        &self,
        gateway: usize,
        slot: usize,
        operation: Operation,
        key: &str,
        failure: Option<ErrorKind>,
    ) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if failure.is_some_and(|kind| kind.is_fault()) {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        let outcome = failure.map_or("ok", ErrorKind::as_str);
        self.mix(&[
            &[gateway as u8, slot as u8],
            operation.as_str().as_bytes(),
            key.as_bytes(),
            outcome.as_bytes(),
        ]);
        self.line(|| format!("  gateway {gateway} {} {slot} {key}: {outcome}", operation.as_str()));
    }

    /// A request took effect at a provider.
    pub fn effect(&self, gateway: usize, slot: usize, operation: Operation, key: &str) {
        self.mix(&[&[gateway as u8, slot as u8, 1], operation.as_str().as_bytes(), key.as_bytes()]);
        self.line(|| format!("  provider {slot} takes {} of {gateway} {key}", operation.as_str()));
    }

    /// Something happened that is worth a sentence.
    pub fn tell(&self, text: &str) {
        self.mix(&[text.as_bytes()]);
        self.line(|| text.to_owned());
    }

    /// A fault was put in.
    pub fn fault(&self, text: &str) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.tell(text);
    }

    pub fn hash(&self) -> u64 {
        *self.hash.lock()
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Returns the lines; none if they were not wanted.
    pub fn lines(&self) -> Vec<String> {
        self.lines.as_ref().map(|lines| lines.lock().clone()).unwrap_or_default()
    }

    fn mix(&self, texts: &[&[u8]]) {
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap();
        let mut hash = self.hash.lock();
        let mut value = (*hash ^ now).wrapping_mul(FNV_PRIME);
        for text in texts {
            for byte in *text {
                value = (value ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
            }
        }
        *hash = value;
    }

    fn line(&self, text: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let now = self.began.elapsed().as_secs_f64();
            lines.lock().push(format!("{now:11.3} {}", text()));
        }
    }
}
