//! The checker: compares what clients were told with the contract, in time linear in the requests of a name
//! but for the floors, which are few.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use triplicate::asset::Version;

use crate::history::{Asked, Op, Told};
use crate::keep::Keep;
use crate::weather::Weather;

/// So long after a disturbance health, trust and polls are taken to be back.
const RECOVERY: Duration = Duration::from_secs(120);
/// For so long, beside three feed intervals, an index may be called fresh after it lost its providers.
const TRUST_FOR: Duration = Duration::from_secs(60);
/// So far a gateway may be out when it reckons how old its index is: its clock is wrong, and jumps.
const RECKONED: Duration = Duration::from_secs(3 * 3_600);
/// A gateway that has just started may have nobody to ask yet.
const START: Duration = Duration::from_secs(60);

/// A breach of the contract.
#[derive(Debug, Clone)]
pub struct Violation {
    pub name: Option<usize>,
    pub text: String,
}

/// What the checker knows beside the history.
pub struct Checker<'a> {
    pub weather: &'a Weather,
    pub slots: usize,
    pub feed_interval: Duration,
    /// A gateway that followed no feed for longer than this begins with an empty index.
    pub reach: Duration,
    /// When all gateways were frozen.
    pub leaps: Vec<(Instant, Instant)>,
    /// What may be gone.
    pub keep: Keep,
}

/// A version that a read may not fall behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Floor {
    version: Version,
    holds_bytes: bool,
    by: u64,
}

impl Checker<'_> {
    /// Checks all requests for one name.
    pub fn check(&self, name: usize, history: &[Op]) -> Vec<Violation> {
        let ops: Vec<_> = history.iter().filter(|op| op.name == name).collect();
        let mut wrong = Vec::new();
        let stamped = stamped(&ops, &mut wrong);
        for op in &ops {
            let Some(ended) = op.ended else { continue };
            order(op, &ops, &stamped, &mut wrong);
            self.answer(op, ended, &ops, history, &mut wrong);
            self.absence(op, ended, &ops, &mut wrong);
            self.service(op, ended, &ops, &mut wrong);
        }
        wrong.into_iter().map(|text| Violation { name: Some(name), text }).collect()
    }

    fn majority(&self) -> usize {
        self.slots / 2 + 1
    }

    /// Tells whether a gateway was on good terms with a majority for a while, up to now.
    fn is_served(&self, gateway: usize, from: Instant, to: Instant) -> bool {
        let from = from.checked_sub(RECOVERY).unwrap_or(from);
        let calm = (0..self.slots).filter(|slot| !self.weather.was_disturbed(gateway, *slot, from, to));
        calm.count() >= self.majority()
    }

    /// Tells whether a gateway still knows by itself what it knew at `since`.
    fn remembers(&self, since: Instant, op: &Op, ended: Instant) -> bool {
        let lately = since + self.reach > op.began + RECKONED && !self.has_overslept(since);
        lately || self.is_served(op.gateway, since, ended)
    }

    /// Tells whether gateways have just woken from a time so long that their index is outdated: for a moment one may
    /// answer from it before it finds out.
    fn has_overslept(&self, at: Instant) -> bool {
        let too_long = |from: &Instant, to: &Instant| *to - *from + RECKONED >= self.reach;
        self.leaps.iter().any(|(from, to)| too_long(from, to) && *to <= at && at < *to + RECOVERY)
    }

    /// Tells whether a request must know of a write that was acknowledged before it began; in the same moment is
    /// not before.
    fn must_know(&self, write: &Op, op: &Op, ended: Instant) -> bool {
        let Some(acknowledged) = write.ended.filter(|at| *at < op.began) else { return false };
        let at_once = same_place(write, op) && self.remembers(acknowledged, op, ended);
        match op.asked {
            Asked::Put { .. } | Asked::Delete => true,
            Asked::Revalidate => at_once || self.is_served(op.gateway, op.began, ended),
            Asked::Get | Asked::GetVersion(_) => {
                let polled = acknowledged + self.feed_interval * 2 <= op.began;
                at_once || (polled && self.is_served(op.gateway, acknowledged, ended))
            }
        }
    }

    /// Returns the newest version that a request must know of: acknowledged, or read before at the same place.
    fn floor(&self, op: &Op, ended: Instant, ops: &[&Op]) -> Option<Floor> {
        let writes = ops.iter().filter_map(|write| match write.told {
            Told::Stored(version) if self.must_know(write, op, ended) => {
                Some(Floor { version, holds_bytes: write.asked != Asked::Delete, by: write.id })
            }
            _ => None,
        });
        let reads = ops.iter().filter_map(|read| match read.told {
            Told::Read { version, .. }
                if same_place(read, op)
                    && !matches!(read.asked, Asked::GetVersion(_))
                    && read.ended.is_some_and(|since| self.remembers(since, op, ended)) =>
            {
                Some(Floor { version, holds_bytes: true, by: read.id })
            }
            _ => None,
        });
        writes.chain(reads).max()
    }

    /// Compares one answer with what was known.
    fn answer(&self, op: &Op, ended: Instant, ops: &[&Op], history: &[Op], wrong: &mut Vec<String>) {
        let floor = self.floor(op, ended, ops);
        match (op.told, op.asked) {
            (Told::Read { version, .. }, Asked::GetVersion(wanted)) if version != wanted => {
                wrong.push(format!("{} asked for {wanted} and got {version}", op.id));
            }
            (Told::Read { version, by }, asked) => {
                let put = &history[usize::try_from(by).unwrap()];
                if put.told == Told::NotCommitted {
                    wrong.push(format!("{} read {version} of {by}, which was told: not committed", op.id));
                }
                let current = !matches!(asked, Asked::GetVersion(_));
                if let Some(floor) = floor.filter(|floor| current && version < floor.version) {
                    wrong.push(format!(
                        "{} read {version} though {} had made or read {}",
                        op.id, floor.by, floor.version
                    ));
                }
            }
            (Told::NotFound, Asked::GetVersion(version)) => {
                let put = ops.iter().find(|put| put.told == Told::Stored(version));
                let retained = !self.keep.may_be_gone(version, ended, ops);
                if put.is_some_and(|put| self.must_know(put, op, ended) && put.asked != Asked::Delete)
                    && retained
                {
                    wrong.push(format!("{} does not find {version}, which is retained", op.id));
                }
            }
            (Told::NotFound | Told::Absent, _) => {
                let Some(floor) = floor.filter(|floor| floor.holds_bytes) else { return };
                let explains = |delete: &&&Op| {
                    let newer = match delete.told {
                        Told::Stored(version) => version > floor.version,
                        Told::Nothing | Told::Unknown => true,
                        _ => false,
                    };
                    delete.asked == Asked::Delete && delete.id != op.id && delete.began <= ended && newer
                };
                if !ops.iter().any(|delete| explains(&delete)) {
                    wrong.push(format!(
                        "{} is told {:?} though {} had made or read {}",
                        op.id, op.told, floor.by, floor.version
                    ));
                }
            }
            _ => {}
        }
    }

    /// Checks that no read brings back what a client was told to be absent, once that gateway must know. A DELETE of what
    /// is deleted already writes nothing, but its answer is a promise like any other.
    fn absence(&self, op: &Op, ended: Instant, ops: &[&Op], wrong: &mut Vec<String>) {
        let Told::Read { version, by } = op.told else { return };
        if matches!(op.asked, Asked::GetVersion(_)) {
            return;
        }
        let Some(put) = ops.iter().find(|put| put.id == by && matches!(put.told, Told::Stored(_))) else {
            return;
        };
        let before = |delete: &&&Op| put.ended.is_some_and(|ended| ended < delete.began);
        let absent = |delete: &&&Op| delete.told == Told::Absent && self.must_know(delete, op, ended);
        if let Some(delete) = ops.iter().filter(before).find(absent) {
            wrong.push(format!(
                "{} read {version} of {by} though {} was told that it is absent",
                op.id, delete.id
            ));
        }
    }

    /// Counts the reads before which a write was acknowledged, and those of them that must know of the last one.
    pub fn bound(&self, name: usize, history: &[Op]) -> (u64, u64) {
        let ops: Vec<_> = history.iter().filter(|op| op.name == name).collect();
        let mut counts = (0, 0);
        for op in ops.iter().filter(|op| matches!(op.asked, Asked::Get | Asked::Revalidate)) {
            let Some(ended) = op.ended.filter(|_| matches!(op.told, Told::Read { .. } | Told::NotFound))
            else {
                continue;
            };
            let before = ops.iter().filter(|write| {
                matches!(write.told, Told::Stored(_)) && write.ended.is_some_and(|ended| ended < op.began)
            });
            let Some(last) = before.max_by_key(|write| write.ended) else { continue };
            counts.0 += 1;
            counts.1 += u64::from(self.must_know(last, op, ended));
        }
        counts
    }

    /// Compares the status with the number of providers that are down (DESIGN §4).
    fn service(&self, op: &Op, ended: Instant, ops: &[&Op], wrong: &mut Vec<String>) {
        let out = |from| {
            let out =
                (0..self.slots).filter(|slot| self.weather.was_unreachable(op.gateway, *slot, from, ended));
            out.count() > self.slots - self.majority()
        };
        let fresh_for = self.feed_interval * 3 + TRUST_FOR;
        match op.told {
            Told::Stored(_) | Told::Absent if out(op.began) => {
                wrong.push(format!("{} is told {:?} though a majority is down", op.id, op.told));
            }
            Told::NotFound if op.began.checked_sub(fresh_for).is_some_and(out) => {
                let deleted = |delete: &&&Op| delete.asked == Asked::Delete && delete.began <= ended;
                if !ops.iter().any(|delete| deleted(&delete)) {
                    wrong.push(format!("{} is told 404 though a majority is down", op.id));
                }
            }
            Told::Unavailable | Told::NotCommitted | Told::Unknown
                if op.began >= op.up_since + START && self.is_served(op.gateway, op.began, ended) =>
            {
                wrong.push(format!("{} is told {:?} though a majority is well", op.id, op.told));
            }
            _ => {}
        }
    }
}

fn same_place(before: &Op, op: &Op) -> bool {
    let earlier = before.ended.is_some_and(|ended| ended < op.began);
    earlier && before.gateway == op.gateway && before.epoch == op.epoch
}

/// Returns the version of each write that is known to have one.
fn stamped(ops: &[&Op], wrong: &mut Vec<String>) -> BTreeMap<u64, Version> {
    let mut stamped = BTreeMap::new();
    for op in ops {
        let known = match op.told {
            Told::Stored(version) => Some((op.id, version)),
            Told::Read { version, by } => Some((by, version)),
            _ => None,
        };
        let Some((by, version)) = known else { continue };
        let before = stamped.insert(by, version);
        if before.is_some_and(|before| before != version) {
            wrong.push(format!("{by} has two versions, {version} and {before:?}"));
        }
    }
    stamped
}

/// A write that began after another one was acknowledged, anywhere, has the larger version.
fn order(op: &Op, ops: &[&Op], stamped: &BTreeMap<u64, Version>, wrong: &mut Vec<String>) {
    let Some(version) = stamped.get(&op.id).filter(|_| op.asked.is_write()) else { return };
    let before = ops.iter().filter_map(|write| match (write.told, write.ended) {
        (Told::Stored(version), Some(ended)) if ended < op.began && write.id != op.id => {
            Some((version, write.id))
        }
        _ => None,
    });
    if let Some((larger, by)) = before.max().filter(|(before, _)| before >= version) {
        wrong.push(format!("{} is stamped {version}, not after {by}, which had {larger}", op.id));
    }
}
