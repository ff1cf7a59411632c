//! The journal of invalidations since the last snapshot, so that no restart brings a removed image back.
//!
//! An invalidation is carried out in memory first, then written here, then acknowledged; a "not found" of the
//! origin counts as one. A snapshot states the number of invalidations that were journalled before it read
//! memory: it includes those, and the later ones are replayed over it. The journal keeps all of them until that
//! snapshot is in place, and a crash before it is shortened does no harm, for the numbers tell which to skip.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::journal_format::{ReadJournal, decode, encode_head, encode_invalidation};
use crate::cache::purge::{PurgeMode, PurgeTarget};
use crate::observability::logging::Condition;
use crate::observability::metrics::Metrics;
use crate::private_file::{AtomicFile, beside, read_private, remove};

/// The journal of one snapshot. All methods block on the disk.
#[derive(Debug)]
pub(in crate::cache) struct Journal {
    snapshot: PathBuf,
    path: PathBuf,
    state: Mutex<JournalState>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct JournalState {
    /// The file, positioned at `length`; `None` after a failure that left its content in doubt.
    file: Option<File>,
    /// Bytes of whole invalidations, head included.
    length: u64,
    generation: u64,
    /// Number of the next invalidation.
    next: u64,
    /// Number of invalidations that could not be written.
    lost: u64,
}

/// A position in the journal: all invalidations before it have been carried out in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checkpoint {
    pub(super) generation: u64,
    pub(super) next: u64,
    length: u64,
    lost: u64,
}

/// Error of a commit: an invalidation since the checkpoint was written nowhere, so the new snapshot may hold an
/// image that it removes.
const JOURNAL_LOST: &str = "an invalidation could not be journalled while the snapshot was written";

/// Returns the path of a snapshot's journal.
pub(super) fn path(snapshot: &Path) -> PathBuf {
    beside(snapshot, ".journal")
}

impl Journal {
    /// Continues a journal that was read, and truncates an unfinished invalidation at its end.
    pub(super) fn resume(snapshot: &Path, read: &ReadJournal, metrics: Arc<Metrics>) -> Self {
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

    /// Begins an empty journal under a new random generation, which no earlier snapshot has.
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

    /// Writes an invalidation to the disk and syncs it. On failure removes the snapshot: without the
    /// invalidation it must never be read.
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

    /// Returns the position to compare a snapshot with. Taken before memory is read.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let state = self.state.lock();
        Checkpoint {
            generation: state.generation,
            next: state.next,
            length: state.length,
            lost: state.lost,
        }
    }

    /// Puts the snapshot that was begun at `checkpoint` in place, and drops the invalidations before it. Holds
    /// the lock, so that no invalidation comes between the two.
    pub(super) fn commit(&self, checkpoint: &Checkpoint, snapshot: AtomicFile) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.lost != checkpoint.lost {
            return Err(io::Error::other(JOURNAL_LOST));
        }
        snapshot.persist()?;
        if let Err(error) = self.rewrite_from(&mut state, checkpoint) {
            // The numbers of the invalidations that stay say that the snapshot includes them.
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

    /// Replaces the journal by these invalidations, numbered from `first`.
    fn rewrite(
        &self,
        state: &mut JournalState,
        first: u64,
        invalidations: Vec<u8>,
    ) -> io::Result<()> {
        let mut bytes = encode_head(state.generation, first);
        bytes.extend(invalidations);
        let draft = AtomicFile::write(&self.path, |out| out.write_all(&bytes))?;
        // Neither journal may be written to before the new one is known to exist.
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
            .ok_or_else(|| io::Error::other("the invalidation is too long"))?;
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

/// Truncates a file, and positions it at its new end.
fn truncate_at(mut file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    file.sync_data()
}

/// Length in bytes of a journal without invalidations.
const HEAD: u64 = super::journal_format::LENGTH as u64;

/// Reads the journal of a snapshot.
///
/// # Errors
/// The reason in words, for the log.
pub(super) fn read(snapshot: &Path) -> Result<ReadJournal, String> {
    let bytes = read_private(&path(snapshot), LIMIT)
        .map_err(|error| format!("its journal is not read: {error}"))?;
    decode(&bytes).map_err(|error| error.to_string())
}

/// Greatest length of a journal that is read, in bytes; far more than purges between two snapshots fill.
const LIMIT: u64 = 1 << 30;
