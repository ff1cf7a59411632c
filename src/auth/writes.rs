//! Durable record of signed writes, so that each reaches the origin at most once, even across restarts.
//!
//! ```text
//! signature verified ─► image authorized ─► date ─► new in memory? ─► journal, fsync ─► shared cache ─► origin
//! ```
//!
//! Two digests identify a write: of key and nonce, and of the signature itself. The signature is needed because the
//! key's id is not signed, and two keys may share a secret. Both are kept until the signed date has expired, by the
//! wall clock and by the monotonic clock.
//!
//! Without a journal, a restart loses the record. A write is then rejected if its date is earlier than 5 s after the
//! start. A write that is dated more than 5 s ahead is rejected too, because after a restart it would pass that rule.

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
use journal::{WriteJournalContents, WriteRecord};

/// Identity of a signed write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteProof {
    /// Signed date of the request.
    pub date: Timestamp,
    /// SHA-256 of key and nonce, and SHA-256 of the signature.
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

/// Writes of this process and, through the journal, of the processes before it.
#[derive(Debug)]
pub(super) struct WriteLog {
    claimed: Arc<Mutex<ClaimedWrites>>,
    journal: Option<WriteJournal>,
    /// Writes with an earlier date may be missing in the record, so they are rejected.
    earliest: Option<Timestamp>,
}

/// Writes that must not be sent again.
#[derive(Debug, Default)]
struct ClaimedWrites {
    fingerprints: HashSet<[u8; 16]>,
    by_age: VecDeque<(Instant, WriteRecord)>,
}

impl WriteLog {
    /// Reads the journal at `path` and continues it. Without a path, or if it cannot be opened, the record is in memory
    /// alone.
    pub(super) fn open(path: Option<&Path>, metrics: &Metrics, now: Timestamp) -> Self {
        let mut claimed = ClaimedWrites::default();
        let mut earliest = Some(now + CLOCK_SKEW);
        let journal = path.and_then(|path| match WriteJournal::open(path, MAX_WRITES, metrics) {
            Ok((journal, contents)) => {
                earliest = match contents {
                    WriteJournalContents::Whole(_) => None,
                    // No process wrote here before, so only the delay between signing and arrival is left.
                    WriteJournalContents::New => Some(now - SignedDuration::from_secs(1)),
                    WriteJournalContents::Damaged(_) => earliest,
                };
                claimed.load(contents.into_records(), now);
                Some(journal)
            }
            Err(error) => {
                tracing::warn!(journal = %path.display(), %error, "the journal of write nonces cannot be used, so writes dated up to 5 s after this start or more than 5 s ahead are rejected: name a file in a folder of this process alone (auth.write_journal)");
                None
            }
        });
        Self {
            claimed: Arc::new(Mutex::new(claimed)),
            journal,
            earliest,
        }
    }

    /// Claims a write: when this returns, no process with this journal accepts it again. `is_shared` means that the
    /// shared cache records nonces too, so that dates from before the start are valid.
    ///
    /// # Errors
    /// [`AuthError`] if the write is a repetition or cannot be recorded. It must not be sent.
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

    /// Closes the journal, if there is one.
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

/// Returns whether a signed date has expired. One minute is added for a clock that is set back.
fn is_expired(record: WriteRecord, now: Timestamp) -> bool {
    now.as_second().saturating_sub(record.date) > WINDOW_SECONDS + 60
}

/// Largest number of remembered writes: 145 per second for half an hour, more than the vendor's quota of all write
/// operations together. They take at most 32 MiB of memory, and 24 MiB in the journal.
const MAX_WRITES: usize = 1 << 18;
/// Lifetime of a claim: a signed date is valid for 15 minutes before it and after it.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Assumed difference of two clocks where no journal covers the time before the start.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);

#[cfg(test)]
mod tests;
