//! The binary form of a snapshot, as pure functions. Integers are little-endian.
//!
//! ```text
//! snapshot = magic[8] version:u32 generation:u64 journalled:u64 origin:text16 count:u32 image* sha256[32]
//! image    = length:u32 record (`cache/record.rs`)
//! ```
//!
//! The SHA-256 is over everything before it.

use std::io::{self, Write};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};

use crate::cache::byte_reader::{ByteReader, UnexpectedEnd};
use crate::cache::record::{ImageRecord, InvalidRecord};

const MAGIC: &[u8; 8] = b"PAISNAP\n";
const VERSION: u32 = 1;

/// Identity of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SnapshotHeader {
    /// Generation of the journal that belongs to it.
    pub(super) generation: u64,
    /// Number of the journal's invalidations that it includes already.
    pub(super) journalled: u64,
    /// Host of the origin whose answers it holds.
    pub(super) origin: String,
}

/// Reason why bytes are not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("it is no snapshot")]
    Magic,
    #[error("it has version {0}, and this program reads version {VERSION} alone")]
    Version(u32),
    #[error("its checksum is wrong: bytes are missing or changed")]
    Checksum,
    #[error("its lengths contradict each other")]
    Length,
    #[error("in one of its images, {0}")]
    Image(#[from] InvalidRecord),
    #[error("its origin is no text")]
    Origin,
}

impl From<UnexpectedEnd> for SnapshotError {
    fn from(_: UnexpectedEnd) -> Self {
        Self::Length
    }
}

/// Writes a snapshot.
///
/// # Errors
/// The writer's, or a value that is too long for its length field.
pub(super) fn encode(
    head: &SnapshotHeader,
    images: impl ExactSizeIterator<Item = ImageRecord>,
    out: impl Write,
) -> io::Result<()> {
    let mut out = HashingWriter {
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
        image.encode_head(&mut bytes)?;
        let whole = length::<u32>(bytes.len() + image.body.len())?;
        out.write(&whole.to_le_bytes())?;
        out.write(&bytes)?;
        out.write(&image.body)?;
    }
    let HashingWriter { mut out, sum } = out;
    out.write_all(sum.finish().as_ref())
}

/// Parses a snapshot. Allocates no more than a few times the length of `bytes`.
///
/// # Errors
/// [`SnapshotError`], for the first fault.
pub(super) fn decode(bytes: &[u8]) -> Result<(SnapshotHeader, Vec<ImageRecord>), SnapshotError> {
    let mut reader = ByteReader(bytes);
    if reader.array().ok() != Some(*MAGIC) {
        return Err(SnapshotError::Magic);
    }
    match u32::from_le_bytes(reader.array()?) {
        VERSION => {}
        other => return Err(SnapshotError::Version(other)),
    }
    let (summed, sum) = bytes
        .split_last_chunk::<SHA256_OUTPUT_LEN>()
        .ok_or(SnapshotError::Checksum)?;
    if digest(&SHA256, summed).as_ref() != sum {
        return Err(SnapshotError::Checksum);
    }
    let inner = reader.0.len().checked_sub(SHA256_OUTPUT_LEN);
    let mut reader = ByteReader(reader.take(inner.ok_or(SnapshotError::Checksum)?)?);
    let head = SnapshotHeader {
        generation: u64::from_le_bytes(reader.array()?),
        journalled: u64::from_le_bytes(reader.array()?),
        origin: text(reader.text16()?)?,
    };
    let count = u32::from_le_bytes(reader.array()?);
    let mut images = Vec::new();
    for _ in 0..count {
        let length = u32::from_le_bytes(reader.array()?);
        images.push(ImageRecord::decode(reader.take(length as usize)?)?);
    }
    if reader.0.is_empty() {
        Ok((head, images))
    } else {
        Err(SnapshotError::Length)
    }
}

fn text(bytes: &[u8]) -> Result<String, SnapshotError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| SnapshotError::Origin)
}

fn length<T: TryFrom<usize>>(length: usize) -> io::Result<T> {
    T::try_from(length).map_err(|_| io::Error::other("too long for a snapshot"))
}

/// A writer that hashes its output.
struct HashingWriter<W> {
    out: W,
    sum: Context,
}

impl<W: Write> HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.out.write_all(bytes)
    }
}
