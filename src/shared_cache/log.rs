//! Records of the invalidation log: a Redis stream that every replica appends to and reads.
//!
//! The field names `by`, `forget`, `name`, `how` and `walk` are the stored format. Replicas of two releases read
//! one log, so they stay as they are.

use std::fmt;
use std::str::FromStr;

use super::walks::WalkName;
use crate::api::ImageId;
use crate::cache::{PurgeMode, PurgeTarget};

/// Identifier of a record: the server's clock in milliseconds and a sequence number within it.
///
/// A later record has a greater id, unless the server's clock was set back or its data was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId {
    pub(super) milliseconds: u64,
    pub(super) sequence: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.sequence)
    }
}

impl FromStr for StreamId {
    type Err = MalformedRecord;

    fn from_str(text: &str) -> Result<Self, MalformedRecord> {
        let (milliseconds, sequence) = text.split_once('-').ok_or(MalformedRecord)?;
        Ok(Self {
            milliseconds: milliseconds.parse().map_err(|_| MalformedRecord)?,
            sequence: sequence.parse().map_err(|_| MalformedRecord)?,
        })
    }
}

/// Failure to read a record or its id, which no gateway of this version wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the invalidation log holds a record that no gateway of this version writes")]
pub(super) struct MalformedRecord;

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogRecord {
    /// Random name of the replica that appended the record.
    pub(super) writer: String,
    pub(super) event: LogEvent,
}

/// Content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LogEvent {
    /// The log starts here: earlier invalidations are unknown, so no replica uses a value stored before.
    LogStart,
    /// Every replica drops the matching entries.
    Invalidate(Invalidation),
    /// The pages of a walk of the catalogue are stored: replicas of its group apply them.
    Walk(WalkName),
}

/// Entries to invalidate on every replica, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invalidation {
    pub(super) target: PurgeTarget,
    pub(super) mode: PurgeMode,
}

/// Bound on the records of one page.
pub(super) const PAGE_SIZE: usize = 500;

/// Records as the server replies with them: an id, then pairs of field name and value.
pub(super) type RawPage = Vec<(String, Vec<(String, String)>)>;

/// Consecutive records of the log, oldest first.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) records: Vec<(StreamId, Result<LogRecord, MalformedRecord>)>,
    /// No record stood behind these when the page was read.
    pub(super) is_last: bool,
}

impl Page {
    /// Parses a reply. A malformed record stays in its place, for the state to react to it.
    ///
    /// # Errors
    /// [`MalformedRecord`] where an id is none, so that the order of the records is unknown.
    pub(super) fn parse(raw: &RawPage) -> Result<Self, MalformedRecord> {
        let records = raw.iter();
        let records = records.map(|(id, fields)| Ok((id.parse()?, LogRecord::parse(fields))));
        Ok(Self {
            records: records.collect::<Result<_, _>>()?,
            is_last: raw.len() < PAGE_SIZE,
        })
    }
}

impl LogRecord {
    /// Returns the record as the stream stores it: pairs of field name and value.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("by", self.writer.clone())];
        let mut add = |name, value: &str| fields.push((name, value.to_owned()));
        match &self.event {
            LogEvent::LogStart => add("forget", "nothing"),
            LogEvent::Invalidate(Invalidation { target, mode }) => {
                let (what, name) = named(target);
                add("forget", what);
                name.into_iter().for_each(|name| add("name", name));
                if *mode == PurgeMode::Soft {
                    add("how", "soft");
                }
            }
            LogEvent::Walk(name) => {
                // A gateway that does not know walks reads it as the least invalidation that there is.
                add("forget", "lists");
                add("how", "soft");
                add("walk", &name.to_string());
            }
        }
        fields
    }

    /// Parses the fields of a stored record.
    ///
    /// # Errors
    /// [`MalformedRecord`] where a field is missing or has a value that this version does not write.
    pub(super) fn parse(fields: &[(String, String)]) -> Result<Self, MalformedRecord> {
        let field = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let writer = field("by").ok_or(MalformedRecord)?.to_owned();
        if let Some(walk) = field("walk") {
            let event = LogEvent::Walk(WalkName::parse(walk).ok_or(MalformedRecord)?);
            return Ok(Self { writer, event });
        }
        let name = || field("name").ok_or(MalformedRecord);
        let target = match field("forget").ok_or(MalformedRecord)? {
            "nothing" => None,
            "image" => {
                let image = ImageId::parse(name()?).map_err(|_| MalformedRecord)?;
                Some(PurgeTarget::Image(image))
            }
            "workspace" => Some(PurgeTarget::Workspace(name()?.to_owned())),
            "lists" => Some(PurgeTarget::Lists),
            "all" => Some(PurgeTarget::All),
            _ => return Err(MalformedRecord),
        };
        let mode = match field("how") {
            None => PurgeMode::Hard,
            Some("soft") => PurgeMode::Soft,
            Some(_) => return Err(MalformedRecord),
        };
        Ok(Self {
            writer,
            event: target.map_or(LogEvent::LogStart, |target| {
                LogEvent::Invalidate(Invalidation { target, mode })
            }),
        })
    }
}

/// Returns the word for a target, and its name if it has one.
fn named(target: &PurgeTarget) -> (&'static str, Option<&str>) {
    match target {
        PurgeTarget::Image(image) => ("image", Some(image.as_str())),
        PurgeTarget::Workspace(id) => ("workspace", Some(id)),
        PurgeTarget::Lists => ("lists", None),
        PurgeTarget::All => ("all", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let fields = fields.iter();
        fields
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let image = PurgeTarget::Image(ImageId::parse("image-1").unwrap());
        let workspace = PurgeTarget::Workspace("15945".to_owned());
        let invalidate = |target, mode| LogEvent::Invalidate(Invalidation { target, mode });
        for event in [
            LogEvent::LogStart,
            invalidate(workspace, PurgeMode::Hard),
            invalidate(image, PurgeMode::Soft),
            invalidate(PurgeTarget::All, PurgeMode::Hard),
            invalidate(PurgeTarget::Lists, PurgeMode::Hard),
            LogEvent::Walk(WalkName::parse("0123456789abcdef-true-7").unwrap()),
        ] {
            let writer = "replica".to_owned();
            let record = LogRecord { writer, event };
            let fields = record.fields();
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            assert_eq!(LogRecord::parse(&owned(&fields)), Ok(record));
        }
    }

    #[test]
    fn a_malformed_record_is_refused() {
        for fields in [
            &[][..],
            &[("by", "a")],
            &[("by", "a"), ("forget", "image")],
            &[("by", "a"), ("forget", "image"), ("name", "a/b")],
            &[("by", "a"), ("forget", "world")],
            &[("by", "a"), ("forget", "all"), ("how", "perhaps")],
            &[("forget", "all")],
            &[("by", "a"), ("forget", "lists"), ("walk", "0-true")],
        ] {
            assert_eq!(LogRecord::parse(&owned(fields)), Err(MalformedRecord));
        }
    }

    #[test]
    fn stream_ids_are_ordered_as_the_server_orders_them() {
        let id = |text: &str| text.parse::<StreamId>();
        assert!(id("9-5").unwrap() < id("10-0").unwrap());
        assert!(id("9-5").unwrap() < id("9-10").unwrap());
        assert_eq!(id("9-5").unwrap().to_string(), "9-5");
        assert_eq!(id("9"), Err(MalformedRecord));
    }
}
