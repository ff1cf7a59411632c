//! The binary form of an image, for the places where it outlives this process: the snapshot and the shared
//! cache. Pure functions; integers are little-endian.
//!
//! ```text
//! image = id:text8 flags:u8 request_id:text16 sent:time took:u64 ttl:u64 date:time max_age:u64 draw:f64 body
//! time  = seconds:i64 nanoseconds:i32     took, ttl: nanoseconds     max_age: seconds
//! ```
//!
//! The body is the rest. Values that can be parsed from it (times, workspace, identity) are not written a second
//! time.

use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use tokio::time::Instant;

use super::byte_reader::{ByteReader, UnexpectedEnd};
use super::entry::{EarlierDecision, Entry, FetchedImage};
use super::freshness::{Directives, Freshness, Policy};
use crate::api::{ImageFields, ImageId, ImageKey};
use crate::upstream::UpstreamFreshness;

/// An image in the form in which it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImageRecord {
    pub(crate) key: ImageKey,
    pub(crate) body: Bytes,
    pub(crate) request_id: Option<HeaderValue>,
    /// Time at which its request was sent, by a clock that the reader shares with the writer.
    pub(crate) sent: Timestamp,
    pub(crate) took: Duration,
    pub(crate) ttl: Duration,
    pub(crate) purged: bool,
    pub(crate) date: Timestamp,
    pub(crate) directives: Directives,
    pub(crate) draw: f64,
}

/// Reason why bytes are not an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRecord {
    #[error("lengths contradict each other")]
    Length,
    #[error("a value is none that this program writes")]
    Value,
    #[error("the body is no JSON object")]
    Body,
}

impl From<UnexpectedEnd> for InvalidRecord {
    fn from(_: UnexpectedEnd) -> Self {
        Self::Length
    }
}

/// Place that a record was read from, which decides whether it can be fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordSource {
    /// A file of an earlier run: invalidations since then are unknown, so the entry is never fresh.
    Snapshot,
    /// The shared cache, which keeps up with invalidations: the entry is as fresh as when it was written.
    Shared,
}

impl ImageRecord {
    /// Creates the record of an entry, whose request was sent when the shared clock showed `sent`.
    pub(crate) fn of(key: &ImageKey, entry: &Entry, sent: Timestamp) -> Self {
        Self {
            key: key.clone(),
            body: entry.body(),
            request_id: entry.request_id(),
            sent,
            took: entry.took(),
            ttl: entry.ttl(),
            purged: entry.purged,
            date: entry.date(),
            directives: entry.directives(),
            draw: entry.draw(),
        }
    }

    /// Appends everything but the body to `bytes`.
    ///
    /// # Errors
    /// A text that is too long for its length field.
    pub(crate) fn encode_head(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let id = self.key.image.as_str();
        let request_id = self.request_id.as_ref();
        let flags = [
            (VERBOSE, self.key.verbose),
            (PURGED, self.purged),
            (NO_STORE, self.directives.no_store),
            (NO_CACHE, self.directives.no_cache),
            (MAX_AGE, self.directives.max_age.is_some()),
            (REQUEST_ID, request_id.is_some()),
        ];
        let set = flags.iter().filter(|(_, holds)| *holds);
        let request_id = request_id.map_or(&b""[..], HeaderValue::as_bytes);
        bytes.push(length::<u8>(id.len())?);
        bytes.extend(id.as_bytes());
        bytes.push(set.map(|(flag, _)| flag).sum());
        bytes.extend(length::<u16>(request_id.len())?.to_le_bytes());
        bytes.extend(request_id);
        encode_time(self.sent, bytes);
        bytes.extend(nanoseconds(self.took).to_le_bytes());
        bytes.extend(nanoseconds(self.ttl).to_le_bytes());
        encode_time(self.date, bytes);
        let max_age = self.directives.max_age.unwrap_or_default();
        bytes.extend(max_age.as_secs().to_le_bytes());
        bytes.extend(self.draw.to_le_bytes());
        Ok(())
    }

    /// Parses a record.
    ///
    /// # Errors
    /// [`InvalidRecord`], for the first fault.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        let mut reader = ByteReader(bytes);
        let image = ImageId::parse(text(reader.text8()?)?).map_err(|_| InvalidRecord::Value)?;
        let [flags] = reader.array()?;
        let has = |flag: u8| flags & flag != 0;
        let request_id =
            HeaderValue::from_bytes(reader.text16()?).map_err(|_| InvalidRecord::Value)?;
        let sent = decode_time(&mut reader)?;
        let took = Duration::from_nanos(u64::from_le_bytes(reader.array()?));
        let ttl = Duration::from_nanos(u64::from_le_bytes(reader.array()?));
        let date = decode_time(&mut reader)?;
        let max_age = u64::from_le_bytes(reader.array()?);
        let draw = f64::from_le_bytes(reader.array()?);
        let known = flags < ALL_FLAGS && (0.0..1.0).contains(&draw);
        if !known {
            return Err(InvalidRecord::Value);
        }
        ImageFields::parse(reader.0).map_err(|_| InvalidRecord::Body)?;
        Ok(Self {
            key: ImageKey {
                image,
                verbose: has(VERBOSE),
            },
            // A copy, so that one image in memory does not keep the whole file there.
            body: Bytes::copy_from_slice(reader.0),
            request_id: has(REQUEST_ID).then_some(request_id),
            sent,
            took,
            ttl,
            purged: has(PURGED),
            date,
            directives: directives(flags, max_age),
            draw,
        })
    }

    /// Turns the record into an entry whose request was sent at `sent` by this process's clock. Returns `None`
    /// for one that is expired or that the policy in force does not store. The ttl never grows.
    pub(crate) fn into_entry(
        self,
        policy: &Policy,
        sent: Instant,
        now: Instant,
        source: RecordSource,
    ) -> Option<(ImageKey, Entry)> {
        let arrival = FetchedImage {
            fields: ImageFields::parse(&self.body).ok()?,
            body: self.body,
            request_id: self.request_id,
            sent,
            took: self.took,
            received: self.sent.checked_add(self.took).ok()?,
            date: None,
            cache_control: String::new(),
            upstream: UpstreamFreshness::default(),
        };
        let earlier = EarlierDecision {
            verbose: self.key.verbose,
            ttl: self.ttl,
            purged: self.purged,
            restored: source == RecordSource::Snapshot,
            date: self.date,
            directives: self.directives,
            draw: self.draw,
        };
        let entry = Entry::restored(arrival, &earlier, policy);
        let useful = entry.storable && entry.freshness(policy, now) != Freshness::Expired;
        useful.then_some((self.key, entry))
    }
}

/// Returns the first `N` bytes of the SHA-256 over the concatenated parts.
pub(crate) fn sum<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut start = [0; N];
    for (to, from) in start.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    start
}

fn directives(flags: u8, max_age: u64) -> Directives {
    Directives {
        max_age: (flags & MAX_AGE != 0).then_some(Duration::from_secs(max_age)),
        no_store: flags & NO_STORE != 0,
        no_cache: flags & NO_CACHE != 0,
    }
}

fn encode_time(time: Timestamp, bytes: &mut Vec<u8>) {
    bytes.extend(time.as_second().to_le_bytes());
    bytes.extend(time.subsec_nanosecond().to_le_bytes());
}

fn decode_time(reader: &mut ByteReader<'_>) -> Result<Timestamp, InvalidRecord> {
    let seconds = i64::from_le_bytes(reader.array()?);
    let nanoseconds = i32::from_le_bytes(reader.array()?);
    Timestamp::new(seconds, nanoseconds).map_err(|_| InvalidRecord::Value)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn text(bytes: &[u8]) -> Result<&str, InvalidRecord> {
    std::str::from_utf8(bytes).map_err(|_| InvalidRecord::Value)
}

fn length<T: TryFrom<usize>>(length: usize) -> io::Result<T> {
    T::try_from(length).map_err(|_| io::Error::other("too long to be saved"))
}

const VERBOSE: u8 = 1;
const PURGED: u8 = 2;
const NO_STORE: u8 = 4;
const NO_CACHE: u8 = 8;
const MAX_AGE: u8 = 16;
const REQUEST_ID: u8 = 32;
const ALL_FLAGS: u8 = 64;
