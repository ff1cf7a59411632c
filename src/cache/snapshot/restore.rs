//! Conversion between entries and records of a snapshot, and the restoring of a cache.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::format::{SnapshotHeader, decode};
use super::journal::{self, Journal};
use super::journal_format::ReadJournal;
use crate::api::ImageKey;
use crate::cache::entry::Entry;
use crate::cache::record::{ImageRecord, RecordSource};
use crate::cache::{Cache, Policy};
use crate::private_file::{PrivateFileError, read_private};

/// Greatest difference by which an image may lie in the future, for clocks that were corrected meanwhile.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Creates the record of an entry. Its request time is derived from its age now, so that a correction of the
/// wall clock since then makes no image older or younger.
pub(super) fn to_record(
    key: &ImageKey,
    entry: &Entry,
    now: Instant,
    wall: Timestamp,
) -> ImageRecord {
    let age = SignedDuration::try_from(entry.age(now)).unwrap_or(SignedDuration::MAX);
    ImageRecord::of(key, entry, wall.checked_sub(age).unwrap_or(Timestamp::MIN))
}

/// Turns a record into an entry. Returns `None` if it is expired, further in the future than a corrected clock
/// explains (a little ahead counts as just sent), or not stored by the policy in force.
pub(super) fn restore_entry(
    record: ImageRecord,
    policy: &Policy,
    now: Instant,
    wall: Timestamp,
) -> Option<(ImageKey, Entry)> {
    let age = wall.duration_since(record.sent);
    if age < -CLOCK_TOLERANCE {
        return None;
    }
    let sent = now.checked_sub(Duration::try_from(age).unwrap_or_default())?;
    record.into_entry(policy, sent, now, RecordSource::Snapshot)
}

/// Fills an empty cache from a snapshot and its journal, logs the result, and returns the journal to continue. A
/// snapshot that cannot be trusted leaves the cache empty.
pub(super) fn restore<E: Clone + Send + Sync + 'static>(
    path: &Path,
    origin: &str,
    cache: &Cache<E>,
) -> Journal {
    // Bodies weigh most; the rest of an image takes less in the file than around its entry.
    let limit = cache.max_bytes.saturating_mul(2).saturating_add(16 << 20);
    let metrics = Arc::clone(&cache.metrics);
    match read(path, origin, limit) {
        Ok((head, images, journalled)) => {
            let saved = images.len();
            fill(cache, images);
            let done = head.journalled.saturating_sub(journalled.first);
            let due = usize::try_from(done).unwrap_or(usize::MAX);
            for (target, mode) in journalled.invalidations.iter().skip(due) {
                cache.purge(target, *mode);
            }
            let restored = cache.images.iter().count();
            cache.metrics.snapshot.loaded(restored);
            tracing::info!(snapshot = %path.display(), restored, saved, "restored from the snapshot, as stale");
            Journal::resume(path, &journalled, metrics)
        }
        Err(None) => {
            tracing::info!(snapshot = %path.display(), "there is no snapshot yet: starting cold");
            Journal::begin(path, metrics)
        }
        Err(Some(reason)) => {
            tracing::warn!(snapshot = %path.display(), %reason, "the snapshot is refused: starting cold; nothing needs doing, the next snapshot replaces it");
            Journal::begin(path, metrics)
        }
    }
}

fn fill<E: Clone + Send + Sync + 'static>(cache: &Cache<E>, images: Vec<ImageRecord>) {
    let (now, wall, policy) = (Instant::now(), Timestamp::now(), cache.policy());
    for saved in images {
        if let Some((key, entry)) = restore_entry(saved, &policy, now, wall) {
            cache.images.insert(key, Arc::new(entry));
        }
    }
}

type Read = (SnapshotHeader, Vec<ImageRecord>, ReadJournal);

/// Reads both files. The error is the reason for a refusal; `None` if there is no snapshot.
fn read(path: &Path, origin: &str, limit: u64) -> Result<Read, Option<String>> {
    let bytes = read_private(path, limit).map_err(|error| match error {
        PrivateFileError::Missing => None,
        other => Some(other.to_string()),
    })?;
    let (head, images) = decode(&bytes).map_err(|error| Some(error.to_string()))?;
    drop(bytes);
    if head.origin != origin {
        return Err(Some(format!(
            "it holds answers of {}, not of {origin}",
            head.origin
        )));
    }
    let journalled = journal::read(path).map_err(Some)?;
    let continues = (journalled.first..=journalled.next()).contains(&head.journalled);
    if journalled.generation == head.generation && continues {
        Ok((head, images, journalled))
    } else {
        Err(Some(
            "the journal beside it belongs to another snapshot".to_owned(),
        ))
    }
}
