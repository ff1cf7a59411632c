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

use super::orders::{Journalled, decode, encode_head, encode_order};
use crate::cache::purge::{Scope, Thoroughness};
use crate::observability::logging::Condition;
use crate::observability::metrics::Metrics;
use crate::private_file::{AtomicFile, beside, read_private, remove};

/// The journal of one snapshot. Everything here blocks.
#[derive(Debug)]
pub(in crate::cache) struct Journal {
    snapshot: PathBuf,
    path: PathBuf,
    books: Mutex<Books>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Books {
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
pub(super) struct Mark {
    pub(super) generation: u64,
    pub(super) next: u64,
    length: u64,
    lost: u64,
}

/// Orders arrived that are written nowhere, so what was about to become the snapshot may hold what
/// they forbid.
const OVERTAKEN: &str = "an order was lost while it was written";

/// Where the journal of a snapshot is.
pub(super) fn path(snapshot: &Path) -> PathBuf {
    beside(snapshot, ".journal")
}

impl Journal {
    /// Goes on with the journal that was read, cutting off an unfinished order.
    pub(super) fn resume(snapshot: &Path, read: &Journalled, metrics: Arc<Metrics>) -> Self {
        let books = Books {
            file: None,
            length: read.length as u64,
            generation: read.generation,
            next: read.next(),
            lost: 0,
        };
        let journal = Self::with(snapshot, books, metrics);
        let mut books = journal.books.lock();
        let file = File::options().write(true).open(&journal.path);
        match file.and_then(|file| cut(&file, books.length).map(|()| file)) {
            Ok(file) => books.file = Some(file),
            Err(error) => journal.complain(&error),
        }
        drop(books);
        journal
    }

    /// Begins a journal that no earlier snapshot goes with.
    pub(super) fn begin(snapshot: &Path, metrics: Arc<Metrics>) -> Self {
        let books = Books {
            file: None,
            length: 0,
            generation: fastrand::u64(..),
            next: 0,
            lost: 0,
        };
        let journal = Self::with(snapshot, books, metrics);
        let mut books = journal.books.lock();
        if let Err(error) = journal.rewrite(&mut books, 0, Vec::new()) {
            journal.complain(&error);
        }
        drop(books);
        journal
    }

    fn with(snapshot: &Path, books: Books, metrics: Arc<Metrics>) -> Self {
        Self {
            snapshot: snapshot.to_owned(),
            path: path(snapshot),
            books: Mutex::new(books),
            metrics,
        }
    }

    /// Writes an order down to the disk. Where that fails, removes the snapshot: without the order
    /// it must never be read.
    pub(in crate::cache) fn append(&self, scope: &Scope, thoroughness: Thoroughness) {
        let mut books = self.books.lock();
        let appended = books.append(scope, thoroughness);
        self.metrics.snapshot.journalled(&appended);
        let conditions = &self.metrics.conditions;
        let Err(error) = appended else {
            return conditions.recovered(Condition::SnapshotFails, "journal");
        };
        books.lost += 1;
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
    pub(super) fn mark(&self) -> Mark {
        let books = self.books.lock();
        Mark {
            generation: books.generation,
            next: books.next,
            length: books.length,
            lost: books.lost,
        }
    }

    /// Puts a snapshot in place that was begun at `mark`, and drops the orders before it. No order
    /// comes between.
    pub(super) fn settle(&self, mark: &Mark, snapshot: AtomicFile) -> io::Result<()> {
        let mut books = self.books.lock();
        if books.lost != mark.lost {
            return Err(io::Error::other(OVERTAKEN));
        }
        snapshot.persist()?;
        if let Err(error) = self.rewrite_from(&mut books, mark) {
            // The orders that stay are known to be in the snapshot, by their numbers.
            tracing::warn!(journal = %self.path.display(), %error, "the journal could not be shortened");
        }
        Ok(())
    }

    fn rewrite_from(&self, books: &mut Books, mark: &Mark) -> io::Result<()> {
        let unchanged = books.file.is_some() && books.length == HEAD && mark.next == books.next;
        if unchanged {
            return Ok(());
        }
        let tail = if books.next == mark.next {
            Vec::new()
        } else {
            let bytes = read_private(&self.path, books.length).map_err(io::Error::other)?;
            let start = usize::try_from(mark.length).ok();
            start
                .and_then(|start| bytes.get(start..))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| io::Error::other("it is shorter than it was"))?
        };
        self.rewrite(books, mark.next, tail)
    }

    /// Makes the journal hold these orders alone, numbered from `first`.
    fn rewrite(&self, books: &mut Books, first: u64, orders: Vec<u8>) -> io::Result<()> {
        let mut bytes = encode_head(books.generation, first);
        bytes.extend(orders);
        let draft = AtomicFile::write(&self.path, |out| out.write_all(&bytes))?;
        // Until the new one is known to be there, neither may be written to.
        books.file = None;
        books.file = Some(draft.persist()?);
        books.length = bytes.len() as u64;
        Ok(())
    }

    fn complain(&self, error: &io::Error) {
        tracing::error!(journal = %self.path.display(), %error, "the journal cannot be written: make its folder writable, or a purge removes the snapshot");
    }
}

impl Books {
    fn append(&mut self, scope: &Scope, thoroughness: Thoroughness) -> io::Result<()> {
        let bytes = encode_order(self.generation, self.next, scope, thoroughness)
            .ok_or_else(|| io::Error::other("the order is too long"))?;
        let file = self
            .file
            .as_mut()
            .ok_or_else(|| io::Error::other("it could not be written before"))?;
        if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            if cut(file, self.length).is_err() {
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
fn cut(mut file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    file.sync_data()
}

/// Bytes of a journal without orders.
const HEAD: u64 = super::orders::LENGTH as u64;

/// Reads the journal of a snapshot.
///
/// # Errors
/// In words, for whoever reads the log.
pub(super) fn read(snapshot: &Path) -> Result<Journalled, String> {
    let bytes = read_private(&path(snapshot), LIMIT)
        .map_err(|error| format!("its journal is not read: {error}"))?;
    decode(&bytes).map_err(|error| error.to_string())
}

/// More orders than anybody gives between two snapshots.
const LIMIT: u64 = 1 << 30;
