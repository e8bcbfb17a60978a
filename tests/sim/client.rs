//! Clients: they ask a gateway for something, look at every byte of the answer, and enter it into the history.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use parking_lot::Mutex;
use tokio::time::Instant;
use triplicate::asset::{AssetName, Record};
use triplicate::read::{ReadError, Wanted};
use triplicate::write::{Outcome, Receipt, WriteError};

use crate::history::{Asked, History, Op, Told};
use crate::stack::{Stack, noise, request};
use crate::world::{Gateway, Life, World};

/// Under this key of the metadata a put says which request it is.
const OP: &str = "op";
/// So often is a version resolved again that turned out never to have been committed.
const RESOLVES_MAX: usize = 8;

/// All that clients need.
#[derive(Debug)]
pub struct Clients {
    pub world: Arc<World>,
    pub history: History,
    /// What was wrong with an answer in itself.
    pub wrong: Mutex<Vec<(usize, String)>>,
    seed: u64,
}

impl Clients {
    pub fn new(world: Arc<World>, seed: u64) -> Self {
        Self { world, history: History::default(), wrong: Mutex::default(), seed }
    }

    /// Asks a gateway, if it takes traffic, and waits for its answer or its end.
    pub async fn ask(&self, gateway: &Gateway, name: usize, asked: Asked, wait_all: bool) -> Option<Told> {
        let life = gateway.life()?;
        let (began, up_since) = (Instant::now(), life.began);
        let id = self.history.begin(|id| Op {
            id,
            gateway: gateway.id,
            epoch: life.epoch,
            up_since,
            name,
            asked,
            began,
            ended: None,
            told: Told::Nothing,
        });
        self.world.trace.tell(&format!("{id} gateway {} {} {asked:?}", gateway.id, text(name)));
        let Life { stack, killed, .. } = life;
        let answer = async {
            match asked {
                Asked::Put { size } => self.put(&stack, id, name, size, wait_all).await,
                Asked::Delete => written(stack.writer.delete(parsed(name)).await),
                Asked::Get => self.get(&stack, name, Wanted::default()).await,
                Asked::Revalidate => self.get(&stack, name, Wanted { version: None, revalidate: true }).await,
                Asked::GetVersion(version) => {
                    self.get(&stack, name, Wanted { version: Some(version), revalidate: false }).await
                }
            }
        };
        let told = tokio::select! {
            biased;
            () = killed.cancelled() => Told::Nothing,
            told = answer => told,
        };
        self.history.end(id, told);
        self.world.trace.tell(&format!("{id} {} {asked:?} is told {told:?}", text(name)));
        Some(told)
    }

    async fn put(&self, stack: &Stack, id: u64, name: usize, size: usize, wait_all: bool) -> Told {
        let mut request = request(&text(name));
        request.wait_all = wait_all;
        request.metadata.insert(OP.to_owned(), id.to_string());
        written(stack.put_request(request, &self.bytes(id, size)).await.map(Some))
    }

    async fn get(&self, stack: &Stack, name: usize, wanted: Wanted) -> Told {
        for _ in 0..RESOLVES_MAX {
            let record = match stack.reader.resolve(&parsed(name), wanted).await {
                Ok(record) => record,
                Err(ReadError::NotFound) => return Told::NotFound,
                Err(ReadError::Unavailable { .. } | ReadError::NeverCommitted) => return Told::Unavailable,
            };
            let range = self.range(record.put.as_ref().unwrap().size);
            let body = match stack.reader.open(record.clone(), range.clone()).await {
                Ok(body) => body.stream.try_collect::<Vec<Bytes>>().await,
                Err(error) => Err(error),
            };
            match body {
                Ok(chunks) => return self.look(name, &record, range, &chunks.concat()),
                Err(ReadError::NeverCommitted) => {}
                Err(ReadError::NotFound | ReadError::Unavailable { .. }) => return Told::Unavailable,
            }
        }
        Told::Unavailable
    }

    /// Compares the bytes of an answer with what was put.
    fn look(&self, name: usize, record: &Record, range: Range<u64>, bytes: &[u8]) -> Told {
        let wrong = |text: String| self.wrong.lock().push((name, text));
        let put = record.put.as_ref().unwrap();
        let by = put.metadata.get(OP).and_then(|id| id.parse().ok()).unwrap_or(u64::MAX);
        let version = record.version;
        match self.history.op(by) {
            Some(Op { asked: Asked::Put { size }, name: of, .. })
                if of == name && size as u64 == put.size =>
            {
                let within = |at: u64| usize::try_from(at).unwrap();
                if self.bytes(by, size)[within(range.start)..within(range.end)] != *bytes {
                    wrong(format!("wrong bytes of {version}, {range:?}"));
                }
            }
            Some(_) | None => wrong(format!("{version} was never put under this name")),
        }
        Told::Read { version, by }
    }

    /// The whole, or a range of it.
    fn range(&self, size: u64) -> Range<u64> {
        if size == 0 || !self.world.chance(30) {
            return 0..size;
        }
        let start = self.world.roll(size);
        start..start + 1 + self.world.roll(size - start)
    }

    /// The bytes that a request puts: no two put the same.
    fn bytes(&self, id: u64, size: usize) -> Bytes {
        noise(self.seed.wrapping_mul(1 << 20) ^ id, size)
    }
}

fn written(result: Result<Option<Receipt>, WriteError>) -> Told {
    match result {
        Ok(Some(receipt)) => Told::Stored(receipt.record.version),
        Ok(None) => Told::Absent,
        Err(WriteError::Unavailable { outcome: Outcome::Unknown, .. }) => Told::Unknown,
        Err(_) => Told::NotCommitted,
    }
}

/// Returns the name with a number.
pub fn text(name: usize) -> String {
    format!("name-{name}.png")
}

pub fn parsed(name: usize) -> AssetName {
    text(name).parse().unwrap()
}
