//! The bytes of a snapshot, as functions of values. Integers are little-endian.
//!
//! ```text
//! snapshot = magic[8] version:u32 generation:u64 journalled:u64 origin:text16 count:u32 image* sha256[32]
//! image    = length:u32 id:text8 flags:u8 request_id:text16 sent:time took:u64 ttl:u64
//!            date:time max_age:u64 draw:f64 body
//! time     = seconds:i64 nanoseconds:i32     took, ttl: nanoseconds     max_age: seconds
//! ```
//!
//! The body is the rest of its image. What is read out of it (times, workspace, which object it is)
//! is not kept a second time. The SHA-256 is over everything before it.

use std::io::{self, Write};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};
use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;

use super::reader::{Cut, Reader};
use crate::api::{ImageFields, ImageId, ImageKey};
use crate::cache::freshness::Directives;

const MAGIC: &[u8; 8] = b"PAISNAP\n";
const VERSION: u32 = 1;

/// What a snapshot belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Which journal goes with it.
    pub(super) generation: u64,
    /// How many orders of that journal it has already carried out.
    pub(super) journalled: u64,
    /// Whose answers it holds.
    pub(super) origin: String,
}

/// One image of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Saved {
    pub(super) key: ImageKey,
    pub(super) body: Bytes,
    pub(super) request_id: Option<HeaderValue>,
    /// Wall-clock time its request was sent.
    pub(super) sent: Timestamp,
    pub(super) took: Duration,
    pub(super) ttl: Duration,
    pub(super) purged: bool,
    pub(super) date: Timestamp,
    pub(super) directives: Directives,
    pub(super) draw: f64,
}

/// Why bytes are no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is no snapshot")]
    Magic,
    #[error("it has version {0}, and this program reads version {VERSION} alone")]
    Version(u32),
    #[error("its checksum is wrong: bytes are missing or changed")]
    Checksum,
    #[error("its lengths contradict each other")]
    Length,
    #[error("one of its values is none that this program writes")]
    Value,
    #[error("one of its bodies is no JSON object")]
    Body,
}

impl From<Cut> for Damage {
    fn from(_: Cut) -> Self {
        Self::Length
    }
}

/// Writes a snapshot.
///
/// # Errors
/// What the writer says, or that something is too large for its length field.
pub(super) fn encode(
    head: &Head,
    images: impl ExactSizeIterator<Item = Saved>,
    out: impl Write,
) -> io::Result<()> {
    let mut out = Summed {
        out,
        sum: Context::new(&SHA256),
    };
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(head.generation.to_le_bytes());
    bytes.extend(head.journalled.to_le_bytes());
    bytes.extend(length::<u16>(head.origin.len())?.to_le_bytes());
    bytes.extend(head.origin.as_bytes());
    bytes.extend(length::<u32>(images.len())?.to_le_bytes());
    out.write(&bytes)?;
    for image in images {
        bytes.clear();
        encode_image(&image, &mut bytes)?;
        let whole = length::<u32>(bytes.len() + image.body.len())?;
        out.write(&whole.to_le_bytes())?;
        out.write(&bytes)?;
        out.write(&image.body)?;
    }
    let Summed { mut out, sum } = out;
    out.write_all(sum.finish().as_ref())
}

/// All of an image but its body.
fn encode_image(image: &Saved, bytes: &mut Vec<u8>) -> io::Result<()> {
    let id = image.key.image.as_str();
    let request_id = image.request_id.as_ref();
    let flags = [
        (VERBOSE, image.key.verbose),
        (PURGED, image.purged),
        (NO_STORE, image.directives.no_store),
        (NO_CACHE, image.directives.no_cache),
        (MAX_AGE, image.directives.max_age.is_some()),
        (REQUEST_ID, request_id.is_some()),
    ];
    let set = flags.iter().filter(|(_, holds)| *holds);
    let request_id = request_id.map_or(&b""[..], HeaderValue::as_bytes);
    bytes.push(length::<u8>(id.len())?);
    bytes.extend(id.as_bytes());
    bytes.push(set.map(|(flag, _)| flag).sum());
    bytes.extend(length::<u16>(request_id.len())?.to_le_bytes());
    bytes.extend(request_id);
    encode_time(image.sent, bytes);
    bytes.extend(nanoseconds(image.took).to_le_bytes());
    bytes.extend(nanoseconds(image.ttl).to_le_bytes());
    encode_time(image.date, bytes);
    let max_age = image.directives.max_age.unwrap_or_default();
    bytes.extend(max_age.as_secs().to_le_bytes());
    bytes.extend(image.draw.to_le_bytes());
    Ok(())
}

/// Reads a snapshot. Allocates no more than a few times what it is given.
///
/// # Errors
/// [`Damage`], the first that is found.
pub(super) fn decode(bytes: &[u8]) -> Result<(Head, Vec<Saved>), Damage> {
    let mut reader = Reader(bytes);
    if reader.array().ok() != Some(*MAGIC) {
        return Err(Damage::Magic);
    }
    match u32::from_le_bytes(reader.array()?) {
        VERSION => {}
        other => return Err(Damage::Version(other)),
    }
    let (summed, sum) = bytes
        .split_last_chunk::<SHA256_OUTPUT_LEN>()
        .ok_or(Damage::Checksum)?;
    if digest(&SHA256, summed).as_ref() != sum {
        return Err(Damage::Checksum);
    }
    let inner = reader.0.len().checked_sub(SHA256_OUTPUT_LEN);
    let mut reader = Reader(reader.take(inner.ok_or(Damage::Checksum)?)?);
    let head = Head {
        generation: u64::from_le_bytes(reader.array()?),
        journalled: u64::from_le_bytes(reader.array()?),
        origin: text(reader.text16()?)?.to_owned(),
    };
    let count = u32::from_le_bytes(reader.array()?);
    let mut images = Vec::new();
    for _ in 0..count {
        let length = u32::from_le_bytes(reader.array()?);
        images.push(decode_image(Reader(reader.take(length as usize)?))?);
    }
    if reader.0.is_empty() {
        Ok((head, images))
    } else {
        Err(Damage::Length)
    }
}

fn decode_image(mut reader: Reader<'_>) -> Result<Saved, Damage> {
    let image = ImageId::parse(text(reader.text8()?)?).map_err(|_| Damage::Value)?;
    let [flags] = reader.array()?;
    let has = |flag: u8| flags & flag != 0;
    let request_id = HeaderValue::from_bytes(reader.text16()?).map_err(|_| Damage::Value)?;
    let sent = decode_time(&mut reader)?;
    let took = Duration::from_nanos(u64::from_le_bytes(reader.array()?));
    let ttl = Duration::from_nanos(u64::from_le_bytes(reader.array()?));
    let date = decode_time(&mut reader)?;
    let max_age = u64::from_le_bytes(reader.array()?);
    let draw = f64::from_le_bytes(reader.array()?);
    let known = flags < ALL_FLAGS && (0.0..1.0).contains(&draw);
    if !known {
        return Err(Damage::Value);
    }
    ImageFields::parse(reader.0).map_err(|_| Damage::Body)?;
    Ok(Saved {
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

fn decode_time(reader: &mut Reader<'_>) -> Result<Timestamp, Damage> {
    let seconds = i64::from_le_bytes(reader.array()?);
    let nanoseconds = i32::from_le_bytes(reader.array()?);
    Timestamp::new(seconds, nanoseconds).map_err(|_| Damage::Value)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn text(bytes: &[u8]) -> Result<&str, Damage> {
    std::str::from_utf8(bytes).map_err(|_| Damage::Value)
}

fn length<T: TryFrom<usize>>(length: usize) -> io::Result<T> {
    T::try_from(length).map_err(|_| io::Error::other("too long for a snapshot"))
}

/// Writes, and sums what it wrote.
struct Summed<W> {
    out: W,
    sum: Context,
}

impl<W: Write> Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.out.write_all(bytes)
    }
}

const VERBOSE: u8 = 1;
const PURGED: u8 = 2;
const NO_STORE: u8 = 4;
const NO_CACHE: u8 = 8;
const MAX_AGE: u8 = 16;
const REQUEST_ID: u8 = 32;
const ALL_FLAGS: u8 = 64;
