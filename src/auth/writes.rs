//! The record of signed writes: each reaches the origin at most once, over restarts too.
//!
//! ```text
//! signature verified ─► image judged ─► date ─► in memory: new? ─► journal, fsync ─► shared tier ─► origin
//! ```
//!
//! A write is claimed by two digests: of key and nonce, and of the signature itself, since the key's id is
//! not part of what is signed and two keys may share a secret. Both are kept until the signed date cannot
//! hold any more, by the wall clock and by the monotonic one.
//!
//! Without a journal a restart forgets. So a write is then refused when it is dated before the start and
//! 5 s more, and, so that none from before a restart is dated after it, when it is dated 5 s ahead.

mod journal;
mod journal_path;

pub(super) use journal::WriteJournal;
pub use journal_path::journal_path;

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::AuthError;
use crate::observability::metrics::Metrics;
use crate::signing::WINDOW_SECONDS;
use journal::{JournalContents, WriteRecord};

/// What makes a signed write the one that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteProof {
    /// The signed date.
    pub date: Timestamp,
    /// Digests of key and nonce, and of the signature.
    pub fingerprints: [[u8; 32]; 2],
}

impl WriteProof {
    pub(super) fn new(access_key_id: &str, nonce: &str, signature: &[u8], date: Timestamp) -> Self {
        let of_nonce = [
            b"nonce\0",
            access_key_id.as_bytes(),
            b"\0",
            nonce.as_bytes(),
        ];
        let of_signature = [b"signature\0", signature];
        Self {
            date,
            fingerprints: [fingerprint(&of_nonce), fingerprint(&of_signature)],
        }
    }
}

fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = digest::Context::new(&digest::SHA256);
    for part in parts {
        digest.update(part);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest.finish().as_ref());
    fingerprint
}

/// The writes of this process and, by the journal, of those before it.
#[derive(Debug)]
pub(super) struct WriteLog {
    claimed: Arc<Mutex<ClaimedWrites>>,
    journal: Option<WriteJournal>,
    /// Earlier writes may have been forgotten.
    earliest: Option<Timestamp>,
}

/// WriteLog that may not come again.
#[derive(Debug, Default)]
struct ClaimedWrites {
    fingerprints: HashSet<[u8; 16]>,
    by_age: VecDeque<(Instant, WriteRecord)>,
}

impl WriteLog {
    /// Reads the journal at `path` and goes on with it, where there may be one.
    pub(super) fn open(path: Option<&Path>, metrics: &Metrics, now: Timestamp) -> Self {
        let mut claimed = ClaimedWrites::default();
        let mut earliest = Some(now + CLOCK_SKEW);
        let journal = path.and_then(|path| match WriteJournal::open(path, MAX_WRITES, metrics) {
            Ok((journal, contents)) => {
                earliest = match contents {
                    JournalContents::Whole(_) => None,
                    // Whoever made a request can have signed it a second before it came.
                    JournalContents::New => Some(now - SignedDuration::from_secs(1)),
                    JournalContents::Damaged(_) => earliest,
                };
                claimed.load(contents.into_records(), now);
                Some(journal)
            }
            Err(error) => {
                tracing::warn!(journal = %path.display(), %error, "write nonces are not journalled, so writes dated before this start and 5 s more are refused, and those dated 5 s ahead: name a file in a folder of this process alone (auth.write_journal)");
                None
            }
        });
        Self {
            claimed: Arc::new(Mutex::new(claimed)),
            journal,
            earliest,
        }
    }

    /// Makes sure that a write goes to the origin once: when this returns, no process that has the
    /// journal lets it in again. `is_shared` says that a shared record decides about dates.
    ///
    /// # Errors
    /// [`AuthError`]: the write must not be sent.
    pub(super) async fn claim(
        &self,
        proof: &WriteProof,
        now: Timestamp,
        is_shared: bool,
    ) -> Result<(), AuthError> {
        let is_early = self.earliest.is_some_and(|earliest| proof.date < earliest);
        let is_ahead = self.journal.is_none() && proof.date > now + CLOCK_SKEW;
        if !is_shared && (is_early || is_ahead) {
            return Err(AuthError::Expired);
        }
        let record = WriteRecord::of(proof);
        self.claimed.lock().note(record, now, Instant::now())?;
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let claimed = Arc::clone(&self.claimed);
        let all = move || claimed.lock().records();
        journal
            .append(record, all)
            .await
            .map_err(|()| AuthError::NotRecorded)
    }

    /// Lets go of the journal.
    pub(super) async fn close(&self) {
        if let Some(journal) = &self.journal {
            journal.close().await;
        }
    }
}

impl ClaimedWrites {
    fn load(&mut self, records: Vec<WriteRecord>, now: Timestamp) {
        for record in records {
            if !is_expired(record, now) {
                self.insert(record, Instant::now());
            }
        }
    }

    fn note(&mut self, record: WriteRecord, now: Timestamp, at: Instant) -> Result<(), AuthError> {
        while let Some((noted, oldest)) = self.by_age.front()
            && at.saturating_duration_since(*noted) > LIFETIME
            && is_expired(*oldest, now)
        {
            for fingerprint in oldest.fingerprints {
                self.fingerprints.remove(&fingerprint);
            }
            self.by_age.pop_front();
        }
        let mut fingerprints = record.fingerprints.iter();
        if fingerprints.any(|fingerprint| self.fingerprints.contains(fingerprint)) {
            return Err(AuthError::NonceUsed);
        }
        if self.by_age.len() >= MAX_WRITES {
            return Err(AuthError::NoncesFull);
        }
        self.insert(record, at);
        Ok(())
    }

    fn insert(&mut self, record: WriteRecord, at: Instant) {
        self.fingerprints.extend(record.fingerprints);
        self.by_age.push_back((at, record));
    }

    fn records(&self) -> Vec<WriteRecord> {
        self.by_age.iter().map(|(_, record)| *record).collect()
    }
}

/// Whether the signed date cannot hold any more; a minute is for a clock that is set back.
fn is_expired(record: WriteRecord, now: Timestamp) -> bool {
    now.as_second().saturating_sub(record.date) > WINDOW_SECONDS + 60
}

/// WriteLog that are remembered at once: 145 a second for half an hour, more than the vendor's quota of all
/// write operations together. They take at most 32 MiB, and 24 MiB in the journal.
const MAX_WRITES: usize = 1 << 18;
/// A signed date holds for 15 minutes before it and after it.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// How far two clocks may be apart where no journal tells what was before.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);

#[cfg(test)]
mod tests;
