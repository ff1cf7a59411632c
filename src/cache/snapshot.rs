//! What is held, kept on disk for the next start.
//!
//! A restart loses nothing that a stale answer could still be worth: a snapshot is written every
//! [`snapshot_interval`](super::Config::snapshot_interval) and at the end, whole or not at all, and
//! read at the next start. What came from it is never fresh: its first request is answered with it and
//! fetches it again, and it stands in for an origin that is down.
//!
//! Beside the snapshot `S` lie
//!
//! - `S.journal`: orders to forget since then, each on disk before it is answered (`snapshot/journal.rs`);
//! - `S.lock`: held by the one process that uses them;
//! - `S.draft`, `S.journal.draft`: what is being written.
//!
//! All are mode 0600. A snapshot that this user alone cannot have written, that is damaged, of another
//! version, of another origin, or without the journal of its own generation is refused: a line in the
//! log says so and the gateway starts cold. Nothing here fails a request.

mod format;
mod journal;
mod journal_format;
mod restore;

pub(in crate::cache) use crate::private_file::folder;
pub(in crate::cache) use journal::Journal;

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{Cache, Config};
use crate::observability::logging::Condition;
use crate::private_file::{AtomicFile, beside};
use format::{SnapshotHeader, encode};

/// How long a stop waits for the last snapshot.
const LAST_WRITE: Duration = Duration::from_secs(10);

/// Keeps the snapshot of one cache.
#[derive(Debug)]
pub struct SnapshotWriter<E: Clone + Send + Sync + 'static> {
    cache: Arc<Cache<E>>,
    journal: Arc<Journal>,
    path: PathBuf,
    origin: String,
    interval: Duration,
    /// [`Cache::changes`] as the last snapshot found it; held while one is written.
    written: tokio::sync::Mutex<u64>,
    lock: Mutex<Option<File>>,
}

impl<E: Clone + Send + Sync + 'static> SnapshotWriter<E> {
    /// Fills the cache from the snapshot that the settings name, as far as it can be trusted, and from
    /// then on journals what is purged. `None` where they name none or another process uses it.
    ///
    /// To be called before the cache is used, with whose answers it will hold.
    pub async fn open(config: &Config, origin: &str, cache: &Arc<Cache<E>>) -> Option<Arc<Self>> {
        let path = PathBuf::from(config.snapshot.as_ref()?);
        let (interval, origin) = (config.snapshot_interval.0, origin.to_owned());
        cache.metrics.snapshot.expose();
        let cache = Arc::clone(cache);
        let opened = spawn_blocking(move || Self::open_blocking(path, interval, origin, cache));
        opened.await.ok().flatten()
    }

    fn open_blocking(
        path: PathBuf,
        interval: Duration,
        origin: String,
        cache: Arc<Cache<E>>,
    ) -> Option<Arc<Self>> {
        let lock = match lock(&path) {
            Ok(lock) => lock,
            Err(error) => {
                tracing::warn!(snapshot = %path.display(), %error, "no snapshot is read or written: name a file in a folder that this process alone writes to (cache.snapshot)");
                return None;
            }
        };
        let journal = Arc::new(restore::restore(&path, &origin, &cache));
        let changes = cache.images.changes();
        // A cache is opened once; a second journal would be that of another snapshot.
        cache.journal.set(Arc::clone(&journal)).ok()?;
        Some(Arc::new(Self {
            cache,
            journal,
            path,
            origin,
            interval,
            written: tokio::sync::Mutex::new(changes),
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// Writes a snapshot now and then, until told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once.
        ticks.tick().await;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.write().await;
        }
    }

    /// Writes the last snapshot and lets go of the files.
    pub async fn close(self: Arc<Self>) {
        match timeout(LAST_WRITE, self.write()).await {
            Ok(()) => drop(self.lock.lock().take()),
            // It may still be writing, so nobody else may begin.
            Err(_) => {
                tracing::warn!(snapshot = %self.path.display(), "the last snapshot takes too long to wait for: the one before it may stay");
            }
        }
    }

    /// Writes a snapshot if anything has changed since the last. Never two at once: whoever stops
    /// waiting leaves the lock to the writing itself.
    pub async fn write(self: &Arc<Self>) {
        let keeper = Arc::clone(self);
        let writing = tokio::spawn(async move {
            let mut written = keeper.written.lock().await;
            let changes = keeper.cache.images.changes();
            if *written == changes {
                return;
            }
            let writer = Arc::clone(&keeper);
            let result = spawn_blocking(move || writer.write_blocking()).await;
            let result = result.unwrap_or_else(|error| Err(io::Error::other(error)));
            keeper.cache.metrics.snapshot.wrote(&result);
            match result {
                Ok(images) => {
                    *written = changes;
                    let conditions = &keeper.cache.metrics.conditions;
                    conditions.recovered(Condition::SnapshotFails, "snapshot");
                    tracing::debug!(snapshot = %keeper.path.display(), images, "snapshot written");
                }
                Err(error) => {
                    let conditions = &keeper.cache.metrics.conditions;
                    conditions.occurred(Condition::SnapshotFails, "snapshot", || {
                        format!(
                            "{}: {error}; the one before it, if any, stays",
                            keeper.path.display()
                        )
                    });
                }
            }
        });
        drop(writing.await);
    }

    fn write_blocking(&self) -> io::Result<usize> {
        let checkpoint = self.journal.checkpoint();
        let images: Vec<_> = self.cache.images.iter().collect();
        let head = SnapshotHeader {
            generation: checkpoint.generation,
            journalled: checkpoint.next,
            origin: self.origin.clone(),
        };
        let (now, wall) = (Instant::now(), Timestamp::now());
        let saved = images
            .iter()
            .map(|(key, entry)| restore::to_record(key, entry, now, wall));
        let draft = AtomicFile::write(&self.path, |out| encode(&head, saved, out))?;
        self.journal.commit(&checkpoint, draft)?;
        Ok(images.len())
    }
}

/// Takes the files of a snapshot for this process.
fn lock(snapshot: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(beside(snapshot, ".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another process uses it")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
