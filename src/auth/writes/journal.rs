//! Journal of write nonces: each is on disk before its write is sent, and the next start reads them.
//!
//! ```text
//! journal = magic[8] version:u32 0:u32 record*
//! record  = fingerprint[16] fingerprint[16] date:i64 sum[8]      little-endian; date in seconds
//! ```
//!
//! `sum` is the first eight bytes of the SHA-256 of the fields before it. An incomplete record at the end belongs to a
//! write that was never sent, and is dropped. The file is rewritten once it has twice as many records as are
//! remembered. The one process that uses the journal locks the file `….lock` beside it.

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

/// Record of one write in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteRecord {
    pub(super) fingerprints: [[u8; 16]; 2],
    /// Signed date, in seconds since 1970.
    pub(super) date: i64,
}

/// Contents of a journal at the start of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriteJournalContents {
    /// There was no journal.
    New,
    /// Every write that earlier processes sent.
    Whole(Vec<WriteRecord>),
    /// Readable records of a damaged file; others are lost.
    Damaged(Vec<WriteRecord>),
}

/// Open journal. Appends are serialized, so a disk that hangs blocks one thread of the blocking pool and no more.
#[derive(Debug)]
pub(in crate::auth) struct WriteJournal {
    state: Arc<tokio::sync::Mutex<JournalFile>>,
    appends: Arc<OnFirstUse<Counters<Success>>>,
}

#[derive(Debug)]
struct JournalFile {
    path: PathBuf,
    /// File, positioned after the last complete record; `None` after a failed write, which may have left half a record.
    file: Option<File>,
    records: usize,
    /// Lock of this process; `None` once the journal is closed.
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

impl WriteJournalContents {
    pub(super) fn into_records(self) -> Vec<WriteRecord> {
        match self {
            Self::New => Vec::new(),
            Self::Whole(records) | Self::Damaged(records) => records,
        }
    }
}

/// Decodes a journal and judges whether any record is lost.
pub(super) fn decode(bytes: &[u8]) -> WriteJournalContents {
    let Some(records) = bytes.strip_prefix(&header()) else {
        // A process may have ended after it created the file and before it wrote the header.
        return if bytes.len() < HEADER_LEN && header().starts_with(bytes) {
            WriteJournalContents::New
        } else {
            WriteJournalContents::Damaged(Vec::new())
        };
    };
    let read: Vec<_> = records
        .as_chunks()
        .0
        .iter()
        .map(WriteRecord::decode)
        .collect();
    let good = || read.iter().flatten().copied().collect::<Vec<_>>();
    // A crash tears the last record alone, and its write was not sent. A bad record before a good one is damage.
    let whole = read.iter().take_while(|record| record.is_some()).count();
    if good().len() == whole {
        WriteJournalContents::Whole(good())
    } else {
        WriteJournalContents::Damaged(good())
    }
}

impl WriteJournal {
    /// Locks the journal at `path` for this process, reads it, and rewrites it without damaged records. `most` is the
    /// largest number of writes that are remembered, which bounds the size of the file.
    pub(super) fn open(
        path: &Path,
        most: usize,
        metrics: &Metrics,
    ) -> io::Result<(Self, WriteJournalContents)> {
        let lock = lock(path)?;
        let limit = (HEADER_LEN + RECORD_LEN * (COMPACTION_FACTOR * most + SLACK + 1)) as u64;
        let contents = match read_private(path, limit) {
            Ok(bytes) => decode(&bytes),
            Err(PrivateFileError::Missing) => WriteJournalContents::New,
            Err(PrivateFileError::Io(error)) => return Err(error),
            Err(error) => return Err(io::Error::other(error.to_string())),
        };
        if let WriteJournalContents::Damaged(left) = &contents {
            tracing::error!(journal = %path.display(), left = left.len(), "the journal of write nonces is damaged, so writes dated up to 5 s after this start are rejected: they may have been sent already");
        }
        let mut state = JournalFile {
            path: path.to_owned(),
            file: None,
            records: 0,
            lock: Some(lock),
        };
        let records = match &contents {
            WriteJournalContents::New => &Vec::new(),
            WriteJournalContents::Whole(records) | WriteJournalContents::Damaged(records) => {
                records
            }
        };
        state.rewrite(records)?;
        let journal = Self {
            state: Arc::new(tokio::sync::Mutex::new(state)),
            appends: Arc::clone(&metrics.write_journal),
        };
        metrics.write_journal.expose();
        Ok((journal, contents))
    }

    /// Appends a record and syncs it to disk within [`DEADLINE`]. `all` returns the records to keep if the file is
    /// rewritten, this one included.
    ///
    /// # Errors
    /// If the record may be missing on disk, which is logged. Its write must not be sent.
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
            tracing::error!(%error, "the nonce of a write could not be journalled, so the write was not sent: check that the disk of auth.write_journal has space and responds");
        })
    }

    /// Closes file and lock for the next process.
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
        // Taken out of the state: on a failure it is not put back, and the next append rewrites the file.
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

/// Locks the journal for this process; an error if another process has it.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(beside(path, ".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another process has locked it")),
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
/// Factor between the records in the file and those remembered at which the file is rewritten.
const COMPACTION_FACTOR: usize = 2;
const SLACK: usize = 1024;
/// Time for one record to reach the disk. Clients of the SDKs give up after three seconds.
const DEADLINE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
