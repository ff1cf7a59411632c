//! The journal of write nonces: each on disk before its write is sent, read at the next start.
//!
//! ```text
//! journal = magic[8] version:u32 0:u32 record*
//! record  = fingerprint[16] fingerprint[16] date:i64 sum[8]      little-endian; date in seconds
//! ```
//!
//! The sum is the first eight bytes of a SHA-256 over the fields before it. A record that breaks off at the
//! end belongs to a write that was never sent, and is cut off. Once the file is twice as long as what is
//! remembered it is written anew. The file `….lock` beside it is held by the one process that uses it.

use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::WriteProof;
use crate::observability::metrics::{Counters, Metrics, OnFirstUse, Success};
use crate::private_file::{AtomicFile, PrivateFileError, beside, read_private};

/// A write as it is journalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteRecord {
    pub(super) fingerprints: [[u8; 16]; 2],
    /// The signed date, in seconds since 1970.
    pub(super) date: i64,
}

/// What was found in the journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JournalContents {
    /// There was none.
    New,
    /// Every write that was sent by who kept it.
    Whole(Vec<WriteRecord>),
    /// What is left; others may have been in it.
    Damaged(Vec<WriteRecord>),
}

/// An open journal. One append at a time; a disk that hangs holds up one thread alone.
#[derive(Debug)]
pub(in crate::auth) struct WriteJournal {
    state: Arc<tokio::sync::Mutex<JournalFile>>,
    appends: Arc<OnFirstUse<Counters<Success>>>,
}

#[derive(Debug)]
struct JournalFile {
    path: PathBuf,
    /// Positioned behind the last whole record; nothing after a failure that left it in doubt.
    file: Option<File>,
    records: usize,
    /// Nothing once it is closed.
    lock: Option<File>,
}

impl WriteRecord {
    pub(super) fn of(proof: &WriteProof) -> Self {
        Self {
            fingerprints: proof.fingerprints.map(|whole| {
                let mut half = [0; 16];
                half.copy_from_slice(&whole[..16]);
                half
            }),
            date: proof.date.as_second(),
        }
    }

    fn encode(self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend(self.fingerprints.as_flattened());
        bytes.extend(self.date.to_le_bytes());
        let sum = checksum(&bytes[start..]);
        bytes.extend(sum);
    }

    fn decode(bytes: &[u8; RECORD_LEN]) -> Option<Self> {
        let (content, sealed) = bytes.split_last_chunk::<CHECKSUM_LEN>()?;
        let (first, rest) = content.split_first_chunk()?;
        let (second, date) = rest.split_first_chunk()?;
        (checksum(content) == *sealed).then_some(Self {
            fingerprints: [*first, *second],
            date: i64::from_le_bytes(date.try_into().ok()?),
        })
    }
}

impl JournalContents {
    pub(super) fn into_records(self) -> Vec<WriteRecord> {
        match self {
            Self::New => Vec::new(),
            Self::Whole(records) | Self::Damaged(records) => records,
        }
    }
}

/// Reads what a journal holds.
pub(super) fn decode(bytes: &[u8]) -> JournalContents {
    let Some(records) = bytes.strip_prefix(&header()) else {
        // A file that was made and not filled before the process ended is a new one.
        return if bytes.len() < HEADER_LEN && header().starts_with(bytes) {
            JournalContents::New
        } else {
            JournalContents::Damaged(Vec::new())
        };
    };
    let read: Vec<_> = records
        .as_chunks()
        .0
        .iter()
        .map(WriteRecord::decode)
        .collect();
    let good = || read.iter().flatten().copied().collect::<Vec<_>>();
    // What a crash tore is at the end, behind every record whose write was sent.
    let whole = read.iter().take_while(|record| record.is_some()).count();
    if good().len() == whole {
        JournalContents::Whole(good())
    } else {
        JournalContents::Damaged(good())
    }
}

impl WriteJournal {
    /// Takes the journal at `path` for this process, reads it, and makes it fit to be appended to.
    pub(super) fn open(
        path: &Path,
        most: usize,
        metrics: &Metrics,
    ) -> io::Result<(Self, JournalContents)> {
        let lock = lock(path)?;
        let limit = (HEADER_LEN + RECORD_LEN * (COMPACTION_FACTOR * most + SLACK + 1)) as u64;
        let contents = match read_private(path, limit) {
            Ok(bytes) => decode(&bytes),
            Err(PrivateFileError::Missing) => JournalContents::New,
            Err(PrivateFileError::Io(error)) => return Err(error),
            Err(error) => return Err(io::Error::other(error.to_string())),
        };
        if let JournalContents::Damaged(left) = &contents {
            tracing::error!(journal = %path.display(), left = left.len(), "the journal of write nonces is damaged: writes dated before this start and 5 s more are refused, for one may have been sent already");
        }
        let mut state = JournalFile {
            path: path.to_owned(),
            file: None,
            records: 0,
            lock: Some(lock),
        };
        let records = match &contents {
            JournalContents::New => &Vec::new(),
            JournalContents::Whole(records) | JournalContents::Damaged(records) => records,
        };
        state.rewrite(records)?;
        let journal = Self {
            state: Arc::new(tokio::sync::Mutex::new(state)),
            appends: Arc::clone(&metrics.write_journal),
        };
        metrics.write_journal.expose();
        Ok((journal, contents))
    }

    /// WriteLog a record down to the disk. `all` are those to keep should the file be written anew, this
    /// one among them.
    ///
    /// # Errors
    /// Where it may not be there: its write must not be sent.
    pub(super) async fn append(
        &self,
        record: WriteRecord,
        all: impl FnOnce() -> Vec<WriteRecord> + Send + 'static,
    ) -> Result<(), ()> {
        let state = Arc::clone(&self.state);
        let appending = async {
            let mut state = state.lock_owned().await;
            let appending = spawn_blocking(move || state.append(record, all));
            appending
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        let appended = timeout(DEADLINE, appending).await;
        let appended = appended.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        self.appends.of((&appended).into()).inc();
        appended.map_err(|error| {
            tracing::error!(%error, "the nonce of a write could not be journalled, so the write was not sent: see that the disk of auth.write_journal has room and answers");
        })
    }

    /// Lets go of the file, for the next process.
    pub(super) async fn close(&self) {
        if let Ok(mut state) = timeout(DEADLINE, self.state.lock()).await {
            state.file = None;
            state.lock = None;
        }
    }
}

impl JournalFile {
    fn append(
        &mut self,
        record: WriteRecord,
        all: impl FnOnce() -> Vec<WriteRecord>,
    ) -> io::Result<()> {
        if self.lock.is_none() {
            return Err(io::Error::other("it is closed"));
        }
        // Taken, so that a failure leaves nothing to append to.
        if let Some(mut file) = self.file.take() {
            let mut bytes = Vec::with_capacity(RECORD_LEN);
            record.encode(&mut bytes);
            file.write_all(&bytes)?;
            file.sync_data()?;
            self.file = Some(file);
            self.records += 1;
            if self.records <= SLACK {
                return Ok(());
            }
        }
        let all = all();
        if self.file.is_none() || self.records > COMPACTION_FACTOR * all.len() + SLACK {
            self.rewrite(&all)?;
        }
        Ok(())
    }

    fn rewrite(&mut self, records: &[WriteRecord]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + RECORD_LEN * records.len());
        bytes.extend(header());
        for record in records {
            record.encode(&mut bytes);
        }
        let draft = AtomicFile::write(&self.path, |out| out.write_all(&bytes))?;
        let mut file = draft.persist()?;
        file.seek(SeekFrom::End(0))?;
        self.file = Some(file);
        self.records = records.len();
        Ok(())
    }
}

/// Takes the journal for this process. One that is being replaced lets go within a moment.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(beside(path, ".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another process uses it")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn header() -> [u8; HEADER_LEN] {
    let mut head = [0; HEADER_LEN];
    head[..8].copy_from_slice(b"PAINONC\n");
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&digest::digest(&digest::SHA256, content).as_ref()[..CHECKSUM_LEN]);
    sum
}

const VERSION: u32 = 1;
const HEADER_LEN: usize = 16;
const CHECKSUM_LEN: usize = 8;
const RECORD_LEN: usize = 16 + 16 + 8 + CHECKSUM_LEN;
/// The file is written anew when it holds so many times what is remembered, and so many records more.
const COMPACTION_FACTOR: usize = 2;
const SLACK: usize = 1024;
/// Time for one record to reach the disk. Clients give up after three seconds.
const DEADLINE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
