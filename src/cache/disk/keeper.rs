//! The keeper: the one task that writes and removes files.
//!
//! 1. The folder is opened and looked through. Where that fails the tier is closed: offers are dropped, reads
//!    miss.
//! 2. What is offered is written in the order of its coming, many pieces to one call of the blocking kind.
//!    What a piece drives out is removed before it is written.
//! 3. A folder that is gone is made again at once. Any other failure (a full disk, say) ends step 2: offers
//!    are dropped for [`RETRY_AFTER`], then step 1 is done again, which puts right what the index thinks.
//!    Meanwhile reads go on.
//! 4. At the stop of the gateway what waits is still written, for [`DRAIN_PATIENCE`] at most.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::index::{Index, cost};
use super::piece::Piece;
use super::{Contents, Job, Phase, Shared};
use crate::asset::UploadId;

/// How long a folder that cannot be used is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How many jobs one blocking call takes.
const BATCH_JOBS: usize = 64;
/// How long what waits may still be written at the stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the folder until `stop`, or until nobody is left who could offer anything.
pub(super) async fn run(shared: Arc<Shared>, mut jobs: Receiver<Job>, stop: CancellationToken) {
    let enough = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_PATIENCE).await;
    };
    tokio::select! {
        () = keep(shared, &mut jobs, &stop) => {}
        () = enough => {}
    }
}

async fn keep(shared: Arc<Shared>, jobs: &mut Receiver<Job>, stop: &CancellationToken) {
    loop {
        let opening = shared.clone();
        let ended = match blocking(move || Keeper::open(opening)).await {
            Ok(keeper) => serve(keeper, jobs, stop).await,
            Err(error) => {
                close(&shared);
                Err(error)
            }
        };
        match ended {
            Ok(()) => return,
            Err(error) => shared.tell_unusable(&error),
        }
        let over = tokio::time::timeout(RETRY_AFTER, drop_jobs(jobs, stop)).await;
        if over.is_ok() {
            return;
        }
    }
}

/// Works until all is done that was asked for before the stop.
async fn serve(mut keeper: Keeper, jobs: &mut Receiver<Job>, stop: &CancellationToken) -> io::Result<()> {
    loop {
        let mut batch = Vec::with_capacity(BATCH_JOBS);
        tokio::select! {
            biased;
            () = stop.cancelled(), if !jobs.is_closed() => jobs.close(),
            count = jobs.recv_many(&mut batch, BATCH_JOBS) => if count == 0 {
                return Ok(());
            }
        }
        keeper = blocking(move || keeper.work(batch)).await?;
    }
}

/// Drops all that is offered, until the stop or until nobody is left.
async fn drop_jobs(jobs: &mut Receiver<Job>, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { while jobs.recv().await.is_some() {} } => {}
    }
}

fn close(shared: &Shared) {
    *shared.contents.lock() = Contents { phase: Phase::Closed, index: Index::new(shared.bytes_max) };
}

/// Runs blocking work; the keeper is one, so it takes one thread at most.
#[expect(clippy::disallowed_methods, reason = "a cache on a hanging disk must hold up nobody")]
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// The folder while it is open.
struct Keeper {
    shared: Arc<Shared>,
    /// Held so that no other gateway clears away what this one writes.
    lock: File,
}

impl Keeper {
    /// Opens the folder and learns what lies in it. Where that is too much, the oldest goes.
    fn open(shared: Arc<Shared>) -> io::Result<Self> {
        let lock = shared.folder.open()?;
        let mut kept = shared.folder.scan()?;
        let mut bytes = 0_u64;
        let fits = kept.iter().take_while(|found| {
            bytes = bytes.saturating_add(found.cost);
            bytes <= shared.bytes_max
        });
        let surplus = kept.split_off(fits.count());
        surplus.iter().try_for_each(|found| shared.folder.remove(found.piece))?;
        let mut index = Index::new(shared.bytes_max);
        // The oldest comes first, and so is the first that may be driven out.
        for found in kept.iter().rev() {
            for evicted in index.insert(found.piece, found.cost) {
                shared.folder.remove(evicted)?;
            }
        }
        *shared.contents.lock() = Contents { phase: Phase::Open, index };
        let withdrawn = shared.withdrawn.lock().clone();
        let keeper = Self { shared, lock };
        withdrawn.into_iter().try_for_each(|upload| keeper.remove(upload))?;
        Ok(keeper)
    }

    /// Does all jobs in order, and returns itself for the next ones.
    fn work(mut self, jobs: Vec<Job>) -> io::Result<Self> {
        for job in jobs {
            if let Err(error) = self.handle(&job) {
                if error.kind() != ErrorKind::NotFound {
                    return Err(error);
                }
                // Somebody removed the folder, and the file that is locked with it.
                let Self { shared, lock } = self;
                drop(lock);
                self = Self::open(shared)?;
                self.handle(&job)?;
            }
            if let Job::Settled(done) = job {
                // Who asked may have left.
                let _ = done.send(());
            }
        }
        Ok(self)
    }

    fn handle(&self, job: &Job) -> io::Result<()> {
        match job {
            Job::Put { piece, bytes, .. } => self.put(*piece, bytes),
            Job::Missing(piece) => {
                // It may have been on its way when it was asked for.
                if !self.shared.folder.has(*piece) {
                    self.shared.contents.lock().index.remove(piece);
                }
                Ok(())
            }
            Job::Damaged(piece) => self.forget(*piece),
            Job::Remove(upload) => self.remove(*upload),
            Job::Settled(_) => Ok(()),
        }
    }

    fn put(&self, piece: Piece, bytes: &[u8]) -> io::Result<()> {
        if self.shared.is_withdrawn(piece.upload()) {
            return Ok(());
        }
        let evicted = {
            let index = &mut self.shared.contents.lock().index;
            if index.touch(&piece) {
                return Ok(());
            }
            index.insert(piece, cost(bytes.len() as u64))
        };
        let removed = evicted.iter().try_for_each(|evicted| self.shared.folder.remove(*evicted));
        if evicted.contains(&piece) {
            return removed;
        }
        let written = removed.and_then(|()| self.shared.folder.write(piece, bytes));
        if written.is_err() {
            self.shared.contents.lock().index.remove(&piece);
        }
        written
    }

    fn remove(&self, upload: UploadId) -> io::Result<()> {
        self.shared.folder.pieces(upload)?.into_iter().try_for_each(|piece| self.forget(piece))
    }

    /// Removes a file first: what the index forgets must not take up room.
    fn forget(&self, piece: Piece) -> io::Result<()> {
        self.shared.folder.remove(piece)?;
        self.shared.contents.lock().index.remove(&piece);
        Ok(())
    }
}
