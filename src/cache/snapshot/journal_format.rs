//! The binary form of a journal, as pure functions. Integers are little-endian.
//!
//! ```text
//! journal = magic[8] version:u32 generation:u64 first:u64 sum[8] invalidation*
//! invalidation = length:u32 !length:u32 content sum[8]        content = mode:u8 target:u8 name
//! ```
//!
//! A sum is the start of a SHA-256 over the generation, the invalidation's number and the bytes it protects, so
//! that an invalidation is valid only in its own place. A journal may end within an invalidation, which was
//! never acknowledged. Any other fault makes the whole journal unreadable, because the rest is unknown.

use crate::api::ImageId;
use crate::cache::byte_reader::{ByteReader, UnexpectedEnd};
use crate::cache::purge::{PurgeMode, PurgeTarget};
use crate::cache::record;

const MAGIC: &[u8; 8] = b"PAIJRNL\n";
const VERSION: u32 = 1;
/// Greatest length of a content in bytes, beyond that of the longest name.
const MAX_CONTENT: u32 = 1 << 20;

/// A journal as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadJournal {
    /// Generation of the snapshots that it belongs to.
    pub(super) generation: u64,
    /// Number of its first invalidation; those before it are in the snapshot.
    pub(super) first: u64,
    pub(super) invalidations: Vec<(PurgeTarget, PurgeMode)>,
    /// Length in bytes up to the end of its last whole invalidation.
    pub(super) length: usize,
}

impl ReadJournal {
    /// Returns the number of the invalidation that comes next.
    pub(super) const fn next(&self) -> u64 {
        self.first.saturating_add(self.invalidations.len() as u64)
    }
}

/// Error of a journal with a fault other than an unfinished end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its journal is damaged")]
pub(super) struct JournalDamaged;

impl From<UnexpectedEnd> for JournalDamaged {
    fn from(_: UnexpectedEnd) -> Self {
        Self
    }
}

/// Encodes the start of a journal.
pub(super) fn encode_head(generation: u64, first: u64) -> Vec<u8> {
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(generation.to_le_bytes());
    bytes.extend(first.to_le_bytes());
    let sum = sum(generation, first, &bytes);
    bytes.extend(sum);
    bytes
}

/// Encodes an invalidation as number `number`; `None` for a name that is too long.
pub(super) fn encode_invalidation(
    generation: u64,
    number: u64,
    target: &PurgeTarget,
    mode: PurgeMode,
) -> Option<Vec<u8>> {
    let (kind, name) = match target {
        PurgeTarget::Image(image) => (0, image.as_str()),
        PurgeTarget::Workspace(workspace) => (1, workspace.as_str()),
        PurgeTarget::All => (2, ""),
        PurgeTarget::Lists => (3, ""),
    };
    let mode = match mode {
        PurgeMode::Hard => 0,
        PurgeMode::Soft => 1,
    };
    let content = [&[mode, kind], name.as_bytes()].concat();
    let length = u32::try_from(content.len()).ok()?;
    if length > MAX_CONTENT {
        return None;
    }
    let mut bytes = Vec::from(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(&content);
    bytes.extend(sum(generation, number, &content));
    Some(bytes)
}

/// Parses a journal.
///
/// # Errors
/// [`JournalDamaged`] unless it is whole up to an unfinished last invalidation.
pub(super) fn decode(bytes: &[u8]) -> Result<ReadJournal, JournalDamaged> {
    let mut reader = ByteReader(bytes);
    let head = reader.take(HEAD)?;
    let mut fields = ByteReader(head);
    let sound =
        fields.array() == Ok(*MAGIC) && fields.array().map(u32::from_le_bytes) == Ok(VERSION);
    let generation = u64::from_le_bytes(fields.array()?);
    let first = u64::from_le_bytes(fields.array()?);
    if !sound || reader.array() != Ok(sum(generation, first, head)) {
        return Err(JournalDamaged);
    }
    let mut found = ReadJournal {
        generation,
        first,
        invalidations: Vec::new(),
        length: bytes.len() - reader.0.len(),
    };
    while let Some((content, sealed)) = whole_invalidation(&mut reader)? {
        if *sealed != sum(generation, found.next(), content) {
            return Err(JournalDamaged);
        }
        found.invalidations.push(decode_invalidation(content)?);
        found.length = bytes.len() - reader.0.len();
    }
    Ok(found)
}

/// A content and its sum, not yet compared.
type Sealed<'a> = (&'a [u8], &'a [u8; SUM]);

/// Reads the next content and its sum; `None` at the end of the journal, or within an unfinished invalidation.
fn whole_invalidation<'a>(
    reader: &mut ByteReader<'a>,
) -> Result<Option<Sealed<'a>>, JournalDamaged> {
    let (Ok(length), Ok(inverse)) = (reader.array(), reader.array()) else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(length);
    if length != !u32::from_le_bytes(inverse) || length > MAX_CONTENT {
        return Err(JournalDamaged);
    }
    let Ok(rest) = reader.take(length as usize + SUM) else {
        return Ok(None);
    };
    Ok(rest.split_last_chunk())
}

fn decode_invalidation(content: &[u8]) -> Result<(PurgeTarget, PurgeMode), JournalDamaged> {
    let [mode, kind, name @ ..] = content else {
        return Err(JournalDamaged);
    };
    let name = std::str::from_utf8(name).map_err(|_| JournalDamaged)?;
    let target = match kind {
        0 => PurgeTarget::Image(ImageId::parse(name).map_err(|_| JournalDamaged)?),
        1 => PurgeTarget::Workspace(name.to_owned()),
        2 => PurgeTarget::All,
        3 => PurgeTarget::Lists,
        _ => return Err(JournalDamaged),
    };
    match mode {
        0 => Ok((target, PurgeMode::Hard)),
        1 => Ok((target, PurgeMode::Soft)),
        _ => Err(JournalDamaged),
    }
}

fn sum(generation: u64, number: u64, content: &[u8]) -> [u8; SUM] {
    record::sum(&[&generation.to_le_bytes(), &number.to_le_bytes(), content])
}

const SUM: usize = 8;
const HEAD: usize = 8 + 4 + 8 + 8;
/// Length in bytes of a journal without invalidations.
pub(super) const LENGTH: usize = HEAD + SUM;
