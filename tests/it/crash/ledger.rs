//! The checker: what was asked, what was acknowledged, and whether each answer may be given.
//!
//! Every upload has bytes of its own, so a read names its write. A write that was acknowledged binds all reads
//! that begin later; where another gateway took it, from three feed intervals on, which is when the index of no
//! gateway is fresh without it. A write that failed as `not-committed` never shows; any other one may.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::post::Door;

/// An index that was not polled for three intervals of 500 ms is not fresh, whatever the load.
const FRESH_FOR: Duration = Duration::from_millis(1_500);

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was acknowledged under this version.
    Acked(String),
    /// It cannot have happened.
    Never,
    /// Nobody knows.
    Unknown,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Write {
    /// The name.
    pub name: String,
    /// The BLAKE3 of the bytes; `None` for a deletion.
    pub hash: Option<String>,
    began: Instant,
    ended: Option<Instant>,
    end: Option<End>,
    url: String,
}

/// What a read showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// There is no such name.
    Absent,
    /// Bytes with this BLAKE3, under this version.
    Bytes { version: String, hash: String },
}

/// A read under way, and the least that it may show.
#[derive(Debug, Clone)]
pub struct Ticket {
    name: String,
    url: String,
    asks_majority: bool,
    born: Instant,
    began: Instant,
    floor: Option<Floor>,
}

/// A version that hides every older one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Floor {
    version: String,
    write: usize,
}

/// All that happened in one world.
#[derive(Debug, Default)]
pub struct Ledger {
    writes: Vec<Write>,
    by_hash: HashMap<String, usize>,
    /// The newest version that each life of a gateway has shown of a name.
    shown: HashMap<(String, String), Floor>,
    /// What went wrong.
    pub violations: Vec<String>,
}

impl Write {
    /// Tells whether it may have a record.
    pub fn may_show(&self) -> bool {
        self.end != Some(End::Never)
    }

    /// Returns the version under which it was acknowledged, or seen.
    pub fn version(&self) -> Option<&str> {
        match &self.end {
            Some(End::Acked(version)) => Some(version),
            Some(End::Never | End::Unknown) | None => None,
        }
    }

    fn is_before(&self, other: &Self) -> bool {
        self.ended.is_some_and(|ended| ended < other.began)
    }
}

impl Ledger {
    /// Notes that a write begins; `hash` is `None` for a deletion.
    pub fn begin_write(&mut self, name: &str, hash: Option<String>, door: &Door) -> usize {
        let id = self.writes.len();
        if let Some(hash) = &hash {
            self.by_hash.insert(hash.clone(), id);
        }
        let (name, url) = (name.to_owned(), door.url.clone());
        self.writes.push(Write { name, hash, began: Instant::now(), ended: None, end: None, url });
        id
    }

    /// Notes how a write ended, and checks that its version is above all that were acknowledged before it began.
    pub fn end_write(&mut self, id: usize, end: End) {
        if let End::Acked(version) = &end {
            let own = &self.writes[id];
            let older = self.acked(&own.name).filter(|(_, other)| other.is_before(own));
            if let Some((_, above)) = older.filter(|(_, other)| other.version() >= Some(version)).last() {
                let text =
                    format!("{version} of {} is not above {:?}, acknowledged before", own.name, above.end);
                self.violations.push(text);
            }
        }
        self.writes[id].ended = Some(Instant::now());
        self.writes[id].end = Some(end);
    }

    /// Notes that a read begins; one that asks a majority sees all that was acknowledged.
    pub fn begin_read(&self, name: &str, door: &Door, asks_majority: bool) -> Ticket {
        let now = Instant::now();
        let binds = |write: &Write| {
            let ended = write.ended.unwrap_or(now);
            let known = asks_majority || write.url == door.url || ended < door.born;
            known || now.duration_since(ended) > FRESH_FOR
        };
        let acked = self.acked(name).filter(|(_, write)| binds(write));
        let acked =
            acked.filter_map(|(id, write)| Some(Floor { version: write.version()?.to_owned(), write: id }));
        let shown = self.shown.get(&(door.url.clone(), name.to_owned())).cloned();
        let floor = acked.chain(shown).max();
        let (name, url) = (name.to_owned(), door.url.clone());
        Ticket { name, url, asks_majority, born: door.born, began: now, floor }
    }

    /// Notes what a read showed, and checks that it may.
    pub fn end_read(&mut self, ticket: &Ticket, shown: &Shown) {
        let fault = match shown {
            Shown::Absent => self.fault_of_absence(ticket),
            Shown::Bytes { version, hash } => self.fault_of_bytes(ticket, version, hash),
        };
        let Some(fault) = fault else { return };
        let (took, life) = (ticket.began.elapsed(), ticket.began.duration_since(ticket.born));
        let how = if ticket.asks_majority { "asking a majority" } else { "by its index" };
        self.violations.push(format!(
            "{} at {} showed {shown:?}: {fault}; {how}, {life:?} after its start, in {took:?}",
            ticket.name, ticket.url
        ));
    }

    /// Returns the write of these bytes.
    pub fn write_of(&self, hash: &str) -> Option<&Write> {
        self.by_hash.get(hash).map(|id| &self.writes[*id])
    }

    /// Returns all writes.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Tells whether the write of these bytes to `name`, or a deletion of it, was acknowledged.
    pub fn is_acked(&self, name: &str, hash: Option<&str>) -> bool {
        self.acked(name).any(|(_, write)| write.hash.as_deref() == hash)
    }

    /// Returns how many writes were acknowledged.
    pub fn acked_count(&self) -> usize {
        self.writes.iter().filter(|write| write.version().is_some()).count()
    }

    /// Fails unless every write was acknowledged, as where nothing is wrong.
    pub fn assert_all_acked(&self) {
        let others: Vec<_> = self.writes.iter().filter(|write| write.version().is_none()).collect();
        assert!(others.is_empty(), "not acknowledged: {others:#?}");
    }

    fn acked<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, &'a Write)> {
        let of_name = self.writes.iter().enumerate().filter(move |(_, write)| write.name == name);
        of_name.filter(|(_, write)| write.version().is_some())
    }

    fn fault_of_absence(&self, ticket: &Ticket) -> Option<String> {
        let floor = ticket.floor.as_ref()?;
        let hidden = &self.writes[floor.write];
        hidden.hash.as_ref()?;
        // A deletion that did not end before that write began may be the newer one.
        let may_hide = |write: &Write| {
            write.name == ticket.name
                && write.hash.is_none()
                && write.may_show()
                && !write.is_before(hidden)
                && write.version().is_none_or(|version| version > floor.version.as_str())
        };
        let hides = self.writes.iter().any(may_hide);
        (!hides).then(|| format!("it hides {}", floor.version))
    }

    fn fault_of_bytes(&mut self, ticket: &Ticket, version: &str, hash: &str) -> Option<String> {
        let Some(&id) = self.by_hash.get(hash) else { return Some("nobody wrote that".to_owned()) };
        let write = &self.writes[id];
        let fault = if write.name != ticket.name {
            Some(format!("that was written to {}", write.name))
        } else if !write.may_show() {
            Some("that was not committed".to_owned())
        } else if write.version().is_some_and(|acked| acked != version) {
            Some(format!("that was acknowledged as {:?}", write.version()))
        } else {
            let floor = ticket.floor.as_ref().filter(|floor| floor.version.as_str() > version);
            floor.map(|floor| format!("it hides {}", floor.version))
        };
        let seen = Floor { version: version.to_owned(), write: id };
        let shown =
            self.shown.entry((ticket.url.clone(), ticket.name.clone())).or_insert_with(|| seen.clone());
        *shown = seen.max(shown.clone());
        fault
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
