//! Orders to forget, as they are written in the log, and which of them an image has been through.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::ImageId;
use crate::cache::{PurgeMode, PurgeTarget};

/// A place in the log: a stream's entry id.
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

/// The log holds what this program does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log of orders holds something else")]
pub(super) struct MalformedRecord;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogRecord {
    /// The replica that wrote it.
    pub(super) writer: String,
    pub(super) event: LogEvent,
}

/// What a log entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LogEvent {
    /// The log begins.
    LogStart,
    /// To forget.
    Invalidate(PurgeTarget, PurgeMode),
}

impl LogRecord {
    /// Its fields, as names and values in turn.
    pub(super) fn fields(&self) -> Vec<(&'static str, &str)> {
        let mut fields = vec![("by", self.writer.as_str())];
        let LogEvent::Invalidate(scope, how) = &self.event else {
            fields.push(("forget", "nothing"));
            return fields;
        };
        match scope {
            PurgeTarget::Image(image) => {
                fields.extend([("forget", "image"), ("name", image.as_str())]);
            }
            PurgeTarget::Workspace(id) => fields.extend([("forget", "workspace"), ("name", id)]),
            PurgeTarget::All => fields.push(("forget", "all")),
        }
        if *how == PurgeMode::Soft {
            fields.push(("how", "soft"));
        }
        fields
    }

    /// Reads one again.
    ///
    /// # Errors
    /// [`MalformedRecord`].
    pub(super) fn read(fields: &[(String, String)]) -> Result<Self, MalformedRecord> {
        let field = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let name = || field("name").ok_or(MalformedRecord);
        let scope = match field("forget").ok_or(MalformedRecord)? {
            "nothing" => None,
            "image" => Some(PurgeTarget::Image(
                ImageId::parse(name()?).map_err(|_| MalformedRecord)?,
            )),
            "workspace" => Some(PurgeTarget::Workspace(name()?.to_owned())),
            "all" => Some(PurgeTarget::All),
            _ => return Err(MalformedRecord),
        };
        let how = match field("how") {
            None => PurgeMode::Hard,
            Some("soft") => PurgeMode::Soft,
            Some(_) => return Err(MalformedRecord),
        };
        Ok(Self {
            writer: field("by").ok_or(MalformedRecord)?.to_owned(),
            event: scope.map_or(LogEvent::LogStart, |scope| LogEvent::Invalidate(scope, how)),
        })
    }
}

/// Orders of a workspace or of everything, by when they were given: what a value in the server must
/// be younger than. An order about one image removes its values instead.
#[derive(Debug, Default)]
pub(super) struct Watermarks {
    /// The last entry that was read; nothing before the first.
    pub(super) applied: Option<StreamId>,
    /// The last entry that this replica wrote: a fetch that begins after it has been through all before.
    pub(super) appended: StreamId,
    /// Orders before this are unknown, or were about everything.
    flushed_all: StreamId,
    workspaces: HashMap<String, StreamId>,
}

/// More workspaces than are remembered one by one.
const MAX_WORKSPACES: usize = 1000;

impl Watermarks {
    /// Knows nothing of what was ordered before this place.
    pub(super) fn flush_all_at(&mut self, at: StreamId) {
        self.flushed_all = self.flushed_all.max(at);
    }

    /// Remembers an order.
    pub(super) fn record(&mut self, at: StreamId, event: &LogEvent) {
        match event {
            // What lies there may be from before the log began.
            LogEvent::LogStart | LogEvent::Invalidate(PurgeTarget::All, _) => self.flush_all_at(at),
            LogEvent::Invalidate(PurgeTarget::Workspace(id), _) => {
                if self.workspaces.len() >= MAX_WORKSPACES && !self.workspaces.contains_key(id) {
                    // As if all of them had been ordered: too much is fetched again, never too little.
                    self.workspaces.clear();
                    self.flush_all_at(at);
                }
                let last = self.workspaces.entry(id.clone()).or_default();
                *last = at.max(*last);
            }
            LogEvent::Invalidate(PurgeTarget::Image(_), _) => {}
        }
    }

    /// The log does not go on: where this replica read and wrote says nothing about the one to come.
    pub(super) fn reset(&mut self) {
        self.applied = None;
        self.appended = StreamId::default();
    }

    /// The log was read to its end, and lacks what this replica wrote last.
    pub(super) fn lacks_own_record(&self) -> bool {
        self.applied.is_some_and(|read| read < self.appended)
    }

    /// Where a fetch is that begins now; `None` before anything was read.
    pub(super) fn current(&self) -> Option<StreamId> {
        self.applied.map(|read| read.max(self.appended))
    }

    /// Whether nothing was ordered that a value is about whose fetch began when the log was here.
    pub(super) fn admits(&self, at: StreamId, workspace: Option<&str>) -> bool {
        let ordered = workspace.and_then(|id| self.workspaces.get(id));
        at >= self.flushed_all && ordered.is_none_or(|ordered| at >= *ordered)
    }
}

/// Orders that the server has not been told yet: bounded, and then one to forget all.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: Vec<Pending>,
    next: u64,
    /// Orders that a server took lately: one that is lost may take them with it.
    delivered: VecDeque<(Instant, PurgeTarget, PurgeMode)>,
}

/// An order, and which: the same order may be given again while it is being told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) scope: PurgeTarget,
    pub(super) how: PurgeMode,
    number: u64,
}

/// More orders than are kept one by one.
const MAX_PENDING: usize = 1000;
/// For so long an order that was taken is kept: longer than a fail-over goes unnoticed.
const RESEND_WINDOW: Duration = Duration::from_secs(60);

impl Outbox {
    /// Keeps an order for later.
    pub(super) fn push(&mut self, scope: PurgeTarget, how: PurgeMode) {
        self.next += 1;
        self.pending
            .retain(|kept| (&kept.scope, kept.how) != (&scope, how));
        let (scope, how) = if self.pending.len() >= MAX_PENDING {
            self.pending.clear();
            (PurgeTarget::All, PurgeMode::Hard)
        } else {
            (scope, how)
        };
        let number = self.next;
        self.pending.push(Pending { scope, how, number });
    }

    /// Remembers an order that a server has just taken.
    pub(super) fn record_delivered(&mut self, scope: PurgeTarget, how: PurgeMode, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) > RESEND_WINDOW;
        self.delivered
            .retain(|(at, told, manner)| !is_old(*at) && (told, *manner) != (&scope, how));
        // One more than are kept one by one, which then become an order to forget all.
        if self.delivered.len() > MAX_PENDING {
            self.delivered.pop_front();
        }
        self.delivered.push_back((now, scope, how));
    }

    /// Orders that were taken lately are to be told once more: the server that took them is lost.
    pub(super) fn resend_recent(&mut self, now: Instant) {
        for (at, scope, how) in std::mem::take(&mut self.delivered) {
            if now.saturating_duration_since(at) <= RESEND_WINDOW {
                self.push(scope, how);
            }
        }
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<Pending> {
        self.pending.first().cloned()
    }

    /// Drops one that has been heard.
    pub(super) fn acknowledge(&mut self, order: &Pending) {
        self.pending.retain(|kept| kept != order);
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> StreamId {
        StreamId {
            milliseconds,
            sequence: 0,
        }
    }

    fn workspace(id: &str) -> LogEvent {
        LogEvent::Invalidate(PurgeTarget::Workspace(id.to_owned()), PurgeMode::Hard)
    }

    #[test]
    fn an_entry_reads_as_it_was_written() {
        let image = ImageId::parse("image-1").unwrap();
        for event in [
            LogEvent::LogStart,
            workspace("15945"),
            LogEvent::Invalidate(PurgeTarget::Image(image), PurgeMode::Soft),
            LogEvent::Invalidate(PurgeTarget::All, PurgeMode::Hard),
        ] {
            let writer = "replica".to_owned();
            let entry = LogRecord { writer, event };
            let fields = entry.fields().into_iter();
            let fields: Vec<_> = fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(LogRecord::read(&fields), Ok(entry));
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for fields in [
            &[][..],
            &[("by", "a")],
            &[("by", "a"), ("forget", "image")],
            &[("by", "a"), ("forget", "image"), ("name", "a/b")],
            &[("by", "a"), ("forget", "world")],
            &[("by", "a"), ("forget", "all"), ("how", "perhaps")],
            &[("forget", "all")],
        ] {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(LogRecord::read(&fields), Err(MalformedRecord));
        }
    }

    #[test]
    fn positions_are_ordered_as_the_server_orders_them() {
        let place = |text: &str| text.parse::<StreamId>();
        assert!(place("9-5").unwrap() < place("10-0").unwrap());
        assert!(place("9-5").unwrap() < place("9-10").unwrap());
        assert_eq!(place("9-5").unwrap().to_string(), "9-5");
        assert_eq!(place("9"), Err(MalformedRecord));
    }

    #[test]
    fn a_value_from_before_an_order_is_not_taken() {
        let mut watermarks = Watermarks::default();
        watermarks.flush_all_at(at(10));
        watermarks.record(at(20), &workspace("a"));
        assert!(!watermarks.admits(at(9), None));
        assert!(watermarks.admits(at(15), Some("b")) && !watermarks.admits(at(15), Some("a")));
        assert!(watermarks.admits(at(20), Some("a")));
        watermarks.record(
            at(30),
            &LogEvent::Invalidate(PurgeTarget::All, PurgeMode::Soft),
        );
        assert!(!watermarks.admits(at(29), Some("b")) && watermarks.admits(at(30), Some("b")));
    }

    #[test]
    fn too_many_workspaces_count_as_all_of_them() {
        let mut watermarks = Watermarks::default();
        for number in 0..=MAX_WORKSPACES as u64 {
            watermarks.record(at(number), &workspace(&number.to_string()));
        }
        assert!(!watermarks.admits(at(999), Some("0")));
        assert!(watermarks.admits(at(1000), Some("0")));
    }

    #[test]
    fn too_many_orders_become_one_about_everything() {
        let mut outbox = Outbox::default();
        for number in 0..=MAX_PENDING {
            outbox.push(PurgeTarget::Workspace(number.to_string()), PurgeMode::Hard);
        }
        let first = outbox.first().unwrap();
        assert_eq!(
            (&first.scope, first.how),
            (&PurgeTarget::All, PurgeMode::Hard)
        );
        outbox.acknowledge(&first);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn an_order_that_is_given_again_while_it_is_told_is_told_again() {
        let mut outbox = Outbox::default();
        let image = || PurgeTarget::Image(ImageId::parse("image-1").unwrap());
        outbox.push(image(), PurgeMode::Hard);
        let told = outbox.first().unwrap();
        outbox.push(image(), PurgeMode::Hard);
        outbox.acknowledge(&told);
        assert_eq!(outbox.len(), 1);
        let again = outbox.first().unwrap();
        outbox.acknowledge(&again);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn what_a_lost_server_took_lately_is_told_again_once() {
        let mut outbox = Outbox::default();
        let begun = Instant::now();
        let later = |seconds| begun + Duration::from_secs(seconds);
        let workspace = |id: &str| PurgeTarget::Workspace(id.to_owned());
        outbox.record_delivered(workspace("old"), PurgeMode::Hard, begun);
        outbox.record_delivered(workspace("new"), PurgeMode::Soft, later(30));
        outbox.resend_recent(later(61));
        let told = outbox.first().unwrap();
        assert_eq!(
            (&told.scope, told.how),
            (&workspace("new"), PurgeMode::Soft)
        );
        assert_eq!(outbox.len(), 1);
        outbox.acknowledge(&told);
        outbox.resend_recent(later(61));
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn more_than_can_be_remembered_is_told_again_as_everything() {
        let mut outbox = Outbox::default();
        let now = Instant::now();
        for number in 0..3 * MAX_PENDING {
            outbox.record_delivered(
                PurgeTarget::Workspace(number.to_string()),
                PurgeMode::Hard,
                now,
            );
        }
        assert!(outbox.delivered.len() <= MAX_PENDING + 1);
        outbox.resend_recent(now);
        assert_eq!(outbox.first().unwrap().scope, PurgeTarget::All);
    }

    #[test]
    fn an_own_order_that_is_not_in_the_log_is_missed() {
        let mut watermarks = Watermarks::default();
        assert!(!watermarks.lacks_own_record());
        (watermarks.applied, watermarks.appended) = (Some(at(20)), at(20));
        assert!(!watermarks.lacks_own_record());
        watermarks.applied = Some(at(19));
        assert!(watermarks.lacks_own_record());
        watermarks.reset();
        assert_eq!(
            (watermarks.current(), watermarks.lacks_own_record()),
            (None, false)
        );
    }
}
