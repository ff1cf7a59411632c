//! The snapshot of the cache on disk, for the next start.
//!
//! A restart loses nothing that a stale answer is worth: a snapshot is written every
//! [`snapshot_interval`](super::Config::snapshot_interval) and at shutdown, whole or not at all, and read at the
//! next start. A restored entry is never fresh: its first request is served from it and refreshes it, and it
//! stands in for an origin that is down.
//!
//! Beside the snapshot `S` lie
//!
//! - `S.journal`: invalidations since then, each on disk before it is acknowledged (`snapshot/journal.rs`);
//! - `S.lock`: locked by the one process that uses these files;
//! - `S.draft`, `S.journal.draft`: files that are being written.
//!
//! All have mode 0600. A snapshot is refused if another user could have written it, if it is damaged, of another
//! version or another origin, or without the journal of its own generation: the log says so and the gateway
//! starts cold. No fault here fails a request.

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

/// Time that a shutdown waits for the last snapshot.
const LAST_WRITE: Duration = Duration::from_secs(10);

/// Writes the snapshots of one cache, and owns their files.
#[derive(Debug)]
pub struct SnapshotWriter<E: Clone + Send + Sync + 'static> {
    cache: Arc<Cache<E>>,
    journal: Arc<Journal>,
    path: PathBuf,
    origin: String,
    interval: Duration,
    /// [`Cache::changes`] at the last snapshot; locked while one is written.
    written: tokio::sync::Mutex<u64>,
    lock: Mutex<Option<File>>,
}

impl<E: Clone + Send + Sync + 'static> SnapshotWriter<E> {
    /// Fills the cache from the configured snapshot, if that can be trusted, and journals purges from then on.
    /// Returns `None` if none is configured or another process uses it.
    ///
    /// Called before the cache is used; `origin` is the host whose answers it will hold.
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

    /// Writes a snapshot every interval, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once.
        ticks.tick().await;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.write().await;
        }
    }

    /// Writes the last snapshot and releases the files.
    pub async fn close(self: Arc<Self>) {
        match timeout(LAST_WRITE, self.write()).await {
            Ok(()) => drop(self.lock.lock().take()),
            // It may still be writing, so no other write may begin.
            Err(_) => {
                tracing::warn!(snapshot = %self.path.display(), "the last snapshot takes too long to wait for: the one before it may stay");
            }
        }
    }

    /// Writes a snapshot if anything has changed since the last. Never writes two at once: a caller that stops
    /// waiting leaves the lock to the task that writes.
    pub async fn write(self: &Arc<Self>) {
        let writer = Arc::clone(self);
        let writing = tokio::spawn(async move {
            let mut written = writer.written.lock().await;
            let changes = writer.cache.images.changes();
            if *written == changes {
                return;
            }
            let blocking = Arc::clone(&writer);
            let result = spawn_blocking(move || blocking.write_blocking()).await;
            let result = result.unwrap_or_else(|error| Err(io::Error::other(error)));
            writer.cache.metrics.snapshot.wrote(&result);
            match result {
                Ok(images) => {
                    *written = changes;
                    let conditions = &writer.cache.metrics.conditions;
                    conditions.recovered(Condition::SnapshotFails, "snapshot");
                    tracing::debug!(snapshot = %writer.path.display(), images, "snapshot written");
                }
                Err(error) => {
                    let conditions = &writer.cache.metrics.conditions;
                    conditions.occurred(Condition::SnapshotFails, "snapshot", || {
                        format!(
                            "{}: {error}; the one before it, if any, stays",
                            writer.path.display()
                        )
                    });
                }
            }
        });
        drop(writing.await);
    }

    fn write_blocking(&self) -> io::Result<usize> {
        let checkpoint = self.journal.checkpoint();
        let images = self.cache.images.iter();
        // The catalogue's next walk brings its items again, and newer.
        let images: Vec<_> = images.filter(|(_, entry)| !entry.is_listed()).collect();
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

/// Locks the files of a snapshot for this process, until the returned file is closed.
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
