//! What was ordered to be forgotten since the last snapshot, so that no restart brings it back.
//!
//! An order is carried out in memory first, then written here, then answered. The origin's word that
//! an image is gone counts as an order. A snapshot notes how many orders were here before it looked at
//! memory; those it has carried out, those after it are replayed over it. The journal keeps them all
//! until that snapshot is in place, and a crash before it is shortened does no harm: the number tells
//! which to pass over.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::journal_format::{JournalContents, decode, encode_head, encode_invalidation};
use crate::cache::purge::{PurgeMode, PurgeTarget};
use crate::observability::logging::Condition;
use crate::observability::metrics::Metrics;
use crate::private_file::{AtomicFile, beside, read_private, remove};

/// The journal of one snapshot. Everything here blocks.
#[derive(Debug)]
pub(in crate::cache) struct Journal {
    snapshot: PathBuf,
    path: PathBuf,
    state: Mutex<JournalState>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct JournalState {
    /// Positioned at `length`; nothing after a failure that left the file in doubt.
    file: Option<File>,
    /// Bytes of whole orders, head included.
    length: u64,
    generation: u64,
    /// Number of the next order.
    next: u64,
    /// Orders that could not be written.
    lost: u64,
}

/// A place in the journal: all orders before it have been carried out in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checkpoint {
    pub(super) generation: u64,
    pub(super) next: u64,
    length: u64,
    lost: u64,
}

/// Orders arrived that are written nowhere, so what was about to become the snapshot may hold what
/// they forbid.
const JOURNAL_LOST: &str = "an order was lost while it was written";

/// Where the journal of a snapshot is.
pub(super) fn path(snapshot: &Path) -> PathBuf {
    beside(snapshot, ".journal")
}

impl Journal {
    /// Goes on with the journal that was read, cutting off an unfinished order.
    pub(super) fn resume(snapshot: &Path, read: &JournalContents, metrics: Arc<Metrics>) -> Self {
        let state = JournalState {
            file: None,
            length: read.length as u64,
            generation: read.generation,
            next: read.next(),
            lost: 0,
        };
        let journal = Self::with(snapshot, state, metrics);
        let mut state = journal.state.lock();
        let file = File::options().write(true).open(&journal.path);
        match file.and_then(|file| truncate_at(&file, state.length).map(|()| file)) {
            Ok(file) => state.file = Some(file),
            Err(error) => journal.log_failure(&error),
        }
        drop(state);
        journal
    }

    /// Begins a journal that no earlier snapshot goes with.
    pub(super) fn begin(snapshot: &Path, metrics: Arc<Metrics>) -> Self {
        let state = JournalState {
            file: None,
            length: 0,
            generation: fastrand::u64(..),
            next: 0,
            lost: 0,
        };
        let journal = Self::with(snapshot, state, metrics);
        let mut state = journal.state.lock();
        if let Err(error) = journal.rewrite(&mut state, 0, Vec::new()) {
            journal.log_failure(&error);
        }
        drop(state);
        journal
    }

    fn with(snapshot: &Path, state: JournalState, metrics: Arc<Metrics>) -> Self {
        Self {
            snapshot: snapshot.to_owned(),
            path: path(snapshot),
            state: Mutex::new(state),
            metrics,
        }
    }

    /// Writes an order down to the disk. Where that fails, removes the snapshot: without the order
    /// it must never be read.
    pub(in crate::cache) fn append(&self, target: &PurgeTarget, mode: PurgeMode) {
        let mut state = self.state.lock();
        let appended = state.append(target, mode);
        self.metrics.snapshot.journalled(&appended);
        let conditions = &self.metrics.conditions;
        let Err(error) = appended else {
            return conditions.recovered(Condition::SnapshotFails, "journal");
        };
        state.lost += 1;
        match remove(&self.snapshot) {
            Ok(()) => {
                conditions.occurred(Condition::SnapshotFails, "journal", || {
                    let journal = self.path.display();
                    format!("{journal}: {error}; the snapshot was removed, so that it cannot bring back what was purged")
                });
            }
            Err(stuck) => {
                conditions.occurred(Condition::SnapshotFails, "journal", || {
                    let snapshot = self.snapshot.display();
                    format!("{error}; {snapshot} could not be removed either ({stuck}): remove it by hand, or a restart brings back what was purged")
                });
            }
        }
    }

    /// A place to measure a snapshot against, to be taken before memory is looked at.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let state = self.state.lock();
        Checkpoint {
            generation: state.generation,
            next: state.next,
            length: state.length,
            lost: state.lost,
        }
    }

    /// Puts a snapshot in place that was begun at `checkpoint`, and drops the orders before it. No order
    /// comes between.
    pub(super) fn commit(&self, checkpoint: &Checkpoint, snapshot: AtomicFile) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.lost != checkpoint.lost {
            return Err(io::Error::other(JOURNAL_LOST));
        }
        snapshot.persist()?;
        if let Err(error) = self.rewrite_from(&mut state, checkpoint) {
            // The orders that stay are known to be in the snapshot, by their numbers.
            tracing::warn!(journal = %self.path.display(), %error, "the journal could not be shortened");
        }
        Ok(())
    }

    fn rewrite_from(&self, state: &mut JournalState, checkpoint: &Checkpoint) -> io::Result<()> {
        let unchanged =
            state.file.is_some() && state.length == HEAD && checkpoint.next == state.next;
        if unchanged {
            return Ok(());
        }
        let tail = if state.next == checkpoint.next {
            Vec::new()
        } else {
            let bytes = read_private(&self.path, state.length).map_err(io::Error::other)?;
            let start = usize::try_from(checkpoint.length).ok();
            start
                .and_then(|start| bytes.get(start..))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| io::Error::other("it is shorter than it was"))?
        };
        self.rewrite(state, checkpoint.next, tail)
    }

    /// Makes the journal hold these orders alone, numbered from `first`.
    fn rewrite(
        &self,
        state: &mut JournalState,
        first: u64,
        invalidations: Vec<u8>,
    ) -> io::Result<()> {
        let mut bytes = encode_head(state.generation, first);
        bytes.extend(invalidations);
        let draft = AtomicFile::write(&self.path, |out| out.write_all(&bytes))?;
        // Until the new one is known to be there, neither may be written to.
        state.file = None;
        state.file = Some(draft.persist()?);
        state.length = bytes.len() as u64;
        Ok(())
    }

    fn log_failure(&self, error: &io::Error) {
        tracing::error!(journal = %self.path.display(), %error, "the journal cannot be written: make its folder writable, or a purge removes the snapshot");
    }
}

impl JournalState {
    fn append(&mut self, target: &PurgeTarget, mode: PurgeMode) -> io::Result<()> {
        let bytes = encode_invalidation(self.generation, self.next, target, mode)
            .ok_or_else(|| io::Error::other("the order is too long"))?;
        let file = self
            .file
            .as_mut()
            .ok_or_else(|| io::Error::other("it could not be written before"))?;
        if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            if truncate_at(file, self.length).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.next += 1;
        Ok(())
    }
}

/// Ends a file here, and goes on writing here.
fn truncate_at(mut file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    file.sync_data()
}

/// Bytes of a journal without orders.
const HEAD: u64 = super::journal_format::LENGTH as u64;

/// Reads the journal of a snapshot.
///
/// # Errors
/// In words, for whoever reads the log.
pub(super) fn read(snapshot: &Path) -> Result<JournalContents, String> {
    let bytes = read_private(&path(snapshot), LIMIT)
        .map_err(|error| format!("its journal is not read: {error}"))?;
    decode(&bytes).map_err(|error| error.to_string())
}

/// More orders than anybody gives between two snapshots.
const LIMIT: u64 = 1 << 30;
