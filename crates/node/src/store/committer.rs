//! The thread that writes. It takes one batch at a time; what comes meanwhile goes with the next, so
//! the disk is asked to make things durable no oftener than it can, however many wait for it.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Batch, Store, StoreError, StoreFigures};
use crate::lifecycle::Tasks;

/// Between two attempts to write what could not be written.
const RETRY: Duration = Duration::from_secs(1);
/// How often a stop is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// The way to the thread. Batches have numbers, which grow; a number is durable once its batch and
/// all before it are on the disk.
#[derive(Debug)]
pub struct Committer {
    batches: mpsc::Sender<(u64, Batch)>,
    durable: watch::Receiver<u64>,
    handed: u64,
}

impl Committer {
    /// Starts the thread, which ends when this value is dropped. It does `first` before anything is
    /// written.
    ///
    /// # Errors
    /// When the system has no room for another thread.
    pub fn start(
        store: Store,
        figures: StoreFigures,
        first: impl FnOnce(&Store) + Send + 'static,
        tasks: &mut Tasks,
    ) -> io::Result<Self> {
        let (batches, waiting) = mpsc::channel(1);
        let (told, durable) = watch::channel(0);
        let thread = Thread { store: Some(store), figures, stop: tasks.stop_token() };
        tasks.spawn_thread("store", move || {
            if let Some(store) = &thread.store {
                first(store);
            }
            thread.run(waiting, &told);
        })?;
        Ok(Self { batches, durable, handed: 0 })
    }

    /// Whether everything that was handed over is durable. Until then the next batch grows.
    pub fn is_idle(&self) -> bool {
        *self.durable.borrow() == self.handed
    }

    /// Hands a batch over.
    ///
    /// # Errors
    /// The batch, if the last one is not durable yet or the thread has ended.
    pub fn try_commit(&mut self, number: u64, batch: Batch) -> Result<(), Batch> {
        if !self.is_idle() {
            return Err(batch);
        }
        self.batches.try_send((number, batch)).map_err(|error| error.into_inner().1)?;
        self.handed = number;
        Ok(())
    }

    /// The newest number that is durable.
    pub fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Waits until a newer number is durable. Safe to drop and call again.
    pub async fn progress(&mut self) -> u64 {
        if self.durable.changed().await.is_err() {
            // The thread has ended, and the daemon is about to.
            std::future::pending::<()>().await;
        }
        *self.durable.borrow_and_update()
    }

    /// Hands over the last batch, after whatever is under way, and waits until it is durable. Where
    /// the disk refuses, the thread gives up once the daemon is told to stop.
    pub async fn finish(mut self, number: u64, batch: Batch) {
        if self.batches.send((number, batch)).await.is_err() {
            return;
        }
        while *self.durable.borrow_and_update() < number {
            if self.durable.changed().await.is_err() {
                return;
            }
        }
    }
}

struct Thread {
    /// `None` after an error, until the file could be opened again.
    store: Option<Store>,
    figures: StoreFigures,
    stop: CancellationToken,
}

impl Thread {
    fn run(mut self, mut batches: mpsc::Receiver<(u64, Batch)>, told: &watch::Sender<u64>) {
        let Some((path, schema)) = self.store.as_ref().map(|s| (s.path.clone(), s.schema)) else { return };
        while let Some((number, batch)) = batches.blocking_recv() {
            while let Err(error) = self.commit(&batch) {
                self.figures.failures.inc();
                if self.figures.failing.set(1) == 0 {
                    tracing::error!(%error, "the store cannot be written; nothing new is acknowledged until it can");
                }
                if !self.pause() {
                    tracing::error!(writes = batch.len(), "the store was not written before the stop");
                    return;
                }
                if self.store.is_none() {
                    // After an error the database refuses everything until it is opened anew.
                    self.store = Store::open_existing(&path, schema).ok();
                }
            }
            if self.figures.failing.set(0) == 1 {
                tracing::info!("the store can be written again");
            }
            told.send_replace(number);
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let Some(store) = &self.store else { return Err(CommitError::Closed) };
        let begin = Instant::now();
        if let Err(error) = store.commit(batch) {
            self.store = None;
            return Err(error.into());
        }
        self.figures.commits.inc();
        self.figures.writes.observe(batch.len() as f64);
        self.figures.seconds.observe(begin.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits a little; false if the daemon stops meanwhile.
    fn pause(&self) -> bool {
        let end = Instant::now() + RETRY;
        while Instant::now() < end {
            if self.stop.is_cancelled() {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the file could not be opened again")]
    Closed,
}
