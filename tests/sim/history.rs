//! What clients asked, and what they were told.

use parking_lot::Mutex;
use tokio::time::Instant;
use triplicate::asset::Version;

/// One request of a client.
#[derive(Debug, Clone)]
pub struct Op {
    pub id: u64,
    pub gateway: usize,
    /// How often the gateway had lost its local state.
    pub epoch: u64,
    /// When the gateway that was asked had started.
    pub up_since: Instant,
    pub name: usize,
    pub asked: Asked,
    pub began: Instant,
    /// When the answer came, or the gateway crashed.
    pub ended: Option<Instant>,
    pub told: Told,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Put { size: usize },
    Delete,
    Get,
    Revalidate,
    GetVersion(Version),
}

impl Asked {
    pub fn is_write(self) -> bool {
        matches!(self, Self::Put { .. } | Self::Delete)
    }
}

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing: the gateway crashed, or has not answered yet.
    Nothing,
    /// The write is stored as this version.
    Stored(Version),
    /// The name of a DELETE is absent already.
    Absent,
    NotCommitted,
    Unknown,
    /// A read brought what a certain request had put, and its bytes were right.
    Read {
        version: Version,
        by: u64,
    },
    NotFound,
    Unavailable,
}

/// All requests of a run, in the order of their beginning.
#[derive(Debug, Default)]
pub struct History(Mutex<Vec<Op>>);

impl History {
    /// Enters a request; its number is its place.
    pub fn begin(&self, op: impl FnOnce(u64) -> Op) -> u64 {
        let mut ops = self.0.lock();
        let id = ops.len() as u64;
        ops.push(op(id));
        id
    }

    pub fn end(&self, id: u64, told: Told) {
        let mut ops = self.0.lock();
        let op = &mut ops[usize::try_from(id).unwrap()];
        (op.ended, op.told) = (Some(Instant::now()), told);
    }

    pub fn op(&self, id: u64) -> Option<Op> {
        self.0.lock().get(usize::try_from(id).ok()?).cloned()
    }

    pub fn all(&self) -> Vec<Op> {
        self.0.lock().clone()
    }

    /// Returns all versions of a name that were acknowledged.
    pub fn versions(&self, name: usize) -> Vec<Version> {
        let ops = self.0.lock();
        let of_name = ops.iter().filter(|op| op.name == name);
        of_name
            .filter_map(|op| if let Told::Stored(version) = op.told { Some(version) } else { None })
            .collect()
    }
}
