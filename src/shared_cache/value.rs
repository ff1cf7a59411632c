//! Stored form of an answer, as pure functions. Integers are little-endian.
//!
//! ```text
//! value = sent[16] fresh_until[16] magic[4] version:u8 kind:u8 milliseconds:u64 sequence:u64 content sum[16]
//! kind  = 0: an image, as `cache/record.rs` encodes it  1: a negative answer:
//! neg   = kind:u8 status:u16 took:u64 received:u64 code:text16 message:text16 request_id:text16
//! ```
//!
//! `sent` and `fresh_until` are decimal milliseconds of the server's clock, so that a script can read them
//! and no two replicas' clocks are compared. The two integers are the position of the invalidation log when
//! the fetch began. The sum is the start of a SHA-256 over the key's name and everything before the sum, so
//! that a value copied to another key is refused.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::clock::ClockReading;
use super::log::StreamId;
use crate::api::{ImageKey, OriginError};
use crate::cache::record::{self, ImageRecord, RecordSource};
use crate::cache::{CachedAnswer, Freshness, byte_reader::ByteReader};
use crate::cache::{Entry, Negative, NegativeKind, Policy};

const MAGIC: &[u8; 4] = b"PAIV";
const VERSION: u8 = 1;
const SUM: usize = 16;

/// Reason why a stored value cannot be used; each counts as a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// The bytes are not a gateway's.
    Foreign,
    /// A gateway of another version of the format wrote it.
    Version,
    /// Bytes are missing or changed.
    Corrupt,
    /// An invalidation stands behind the value's position, or it is too old by this replica's settings.
    Outdated,
}

/// Value whose sum is right, not yet judged by this replica's settings.
#[derive(Debug)]
pub(super) struct StoredValue {
    sent: u64,
    /// Position of the invalidation log when the fetch began.
    pub(super) watermark: StreamId,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Image(Box<ImageRecord>),
    No(Box<Negative>),
}

/// Encodes an answer. `None` where a number or text does not fit the form, which no parsed answer reaches.
pub(super) fn encode(
    name: &str,
    key: &ImageKey,
    landed: &CachedAnswer,
    policy: &Policy,
    clock: &ClockReading,
    watermark: StreamId,
) -> Option<Vec<u8>> {
    let (sent, ttl) = match landed {
        CachedAnswer::Image(entry) => (entry.origin_asked(), entry.ttl()),
        CachedAnswer::Negative(no) => (no.sent, no.ttl(policy)),
    };
    let sent = clock.server_time(sent);
    let fresh_until = sent.saturating_add(u64::try_from(ttl.as_millis()).ok()?);
    let mut bytes = format!("{sent:016}{fresh_until:016}").into_bytes();
    bytes.extend(MAGIC);
    bytes.push(VERSION);
    bytes.push(u8::from(matches!(landed, CachedAnswer::Negative(_))));
    bytes.extend(watermark.milliseconds.to_le_bytes());
    bytes.extend(watermark.sequence.to_le_bytes());
    match landed {
        CachedAnswer::Image(entry) => {
            let sent = Timestamp::from_millisecond(i64::try_from(sent).ok()?).ok()?;
            let saved = ImageRecord::of(key, entry, sent);
            saved.encode_head(&mut bytes).ok()?;
            bytes.extend(&saved.body);
        }
        CachedAnswer::Negative(no) => encode_no(no, &mut bytes)?,
    }
    let sum = sum(name, &bytes);
    bytes.extend(sum);
    Some(bytes)
}

fn encode_no(no: &Negative, bytes: &mut Vec<u8>) -> Option<()> {
    let OriginError {
        status,
        code,
        message,
        request_id,
    } = &no.error;
    bytes.push(u8::from(no.kind == NegativeKind::Forbidden));
    bytes.extend(status.to_le_bytes());
    bytes.extend(u64::try_from(no.took.as_millis()).ok()?.to_le_bytes());
    bytes.extend(no.received.as_millisecond().to_le_bytes());
    for text in [code, message, request_id] {
        bytes.extend(u16::try_from(text.len()).ok()?.to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    Some(())
}

/// Decodes a value that is stored under the first name if it is an image, and under the second if it is a
/// negative answer.
///
/// # Errors
/// [`DecodeError`], without a panic whatever the bytes are.
pub(super) fn decode(
    names: [&str; 2],
    bytes: &[u8],
    clock: &ClockReading,
) -> Result<StoredValue, DecodeError> {
    let mut reader = ByteReader(bytes);
    let foreign = |_| DecodeError::Foreign;
    let sent = number(reader.array().map_err(foreign)?)?;
    let _fresh_until = number(reader.array().map_err(foreign)?)?;
    if reader.array().ok() != Some(*MAGIC) {
        return Err(DecodeError::Foreign);
    }
    if reader.array() != Ok([VERSION]) {
        return Err(DecodeError::Version);
    }
    let corrupt = |_| DecodeError::Corrupt;
    let [kind] = reader.array().map_err(corrupt)?;
    let name = names.get(usize::from(kind)).ok_or(DecodeError::Corrupt)?;
    // The sum first: nothing else is parsed unless every byte is as it was written.
    let (summed, stored_sum) = bytes
        .split_last_chunk::<SUM>()
        .ok_or(DecodeError::Corrupt)?;
    if *stored_sum != sum(name, summed) {
        return Err(DecodeError::Corrupt);
    }
    let watermark = StreamId {
        milliseconds: u64::from_le_bytes(reader.array().map_err(corrupt)?),
        sequence: u64::from_le_bytes(reader.array().map_err(corrupt)?),
    };
    let length = reader
        .0
        .len()
        .checked_sub(SUM)
        .ok_or(DecodeError::Corrupt)?;
    let content = reader.take(length).map_err(corrupt)?;
    let content = match kind {
        0 => Content::Image(Box::new(
            ImageRecord::decode(content).map_err(|_| DecodeError::Corrupt)?,
        )),
        _ => {
            let sent = clock.local_time(sent).ok_or(DecodeError::Outdated)?;
            let no = decode_no(content, sent).ok_or(DecodeError::Corrupt)?;
            Content::No(Box::new(no))
        }
    };
    Ok(StoredValue {
        sent,
        watermark,
        content,
    })
}

fn decode_no(content: &[u8], sent: Instant) -> Option<Negative> {
    let mut reader = ByteReader(content);
    let kind = match reader.array().ok()? {
        [0] => NegativeKind::NotFound,
        [1] => NegativeKind::Forbidden,
        _ => return None,
    };
    let status = u16::from_le_bytes(reader.array().ok()?);
    let took = Duration::from_millis(u64::from_le_bytes(reader.array().ok()?));
    let received = i64::from_le_bytes(reader.array().ok()?);
    let mut text = || String::from_utf8(reader.text16().ok()?.to_vec()).ok();
    let error = OriginError {
        status,
        code: text()?,
        message: text()?,
        request_id: text()?,
    };
    Some(Negative {
        error,
        kind,
        sent,
        took,
        received: Timestamp::from_millisecond(received).ok()?,
    })
}

impl StoredValue {
    /// Converts to a cache entry and its freshness by this replica's policy; `None` for a negative answer that
    /// has expired, or a time that the local clock cannot express.
    pub(super) fn into_cached(
        self,
        policy: &Policy,
        clock: &ClockReading,
        now: Instant,
    ) -> Option<(CachedAnswer, Freshness)> {
        match self.content {
            Content::Image(saved) => {
                let sent = clock.local_time(self.sent)?;
                let (_, entry) = saved.into_entry(policy, sent, now, RecordSource::Shared)?;
                let freshness = entry.freshness(policy, now);
                Some((CachedAnswer::Image(Arc::new(entry)), freshness))
            }
            Content::No(no) if no.is_fresh(policy, now) => {
                Some((CachedAnswer::Negative(Arc::new(*no)), Freshness::Fresh))
            }
            Content::No(_) => None,
        }
    }
}

/// Returns the workspace by which an invalidation can match; a negative answer has none.
pub(super) fn workspace(landed: &CachedAnswer) -> Option<&str> {
    match landed {
        CachedAnswer::Image(entry) => workspace_of(entry),
        CachedAnswer::Negative(_) => None,
    }
}

fn workspace_of(entry: &Entry) -> Option<&str> {
    entry.ownership.workspace.as_deref()
}

fn number(digits: [u8; 16]) -> Result<u64, DecodeError> {
    let text = std::str::from_utf8(&digits).map_err(|_| DecodeError::Foreign)?;
    text.parse().map_err(|_| DecodeError::Foreign)
}

fn sum(name: &str, bytes: &[u8]) -> [u8; SUM] {
    record::sum(&[name.as_bytes(), bytes])
}

#[cfg(test)]
mod tests;
