//! State of one replica's invalidations: events in, effects out, without I/O and without a clock.
//!
//! ```text
//!   unknown ──first page──► reading ──last page──► caught up ──Connected──► in use
//!      ▲                       │                       │                      │
//!      └──────── gap ──────────┴───────────────────────┴◄──── Disconnected ───┘
//! ```
//!
//! The state answers three questions: which cached entries may have missed an invalidation
//! ([`Effect::MarkStaleBefore`]), which stored values may be used ([`InvalidationState::admits`]), and which
//! invalidations a server still has to accept ([`InvalidationState::next_pending`]). The caller carries out
//! the effects of each event in their order.
//!
//! **A gap** is a log that does not go on where this replica left it: the server was emptied, an older copy of
//! its data took over, or thousands of records were dropped. An unknown number of invalidations was missed then.
//! Every entry fetched before is stale for good, the log is read from its oldest record, and a new
//! [`LogEvent::LogStart`] makes every replica refuse the values that the older copy brought back.

use tokio::time::Instant;

use super::log::{Invalidation, LogEvent, LogRecord, Page, StreamId};
use super::nonces::Completeness;
use super::outbox::{Outbox, Pending};
use super::walks::WalkName;
use super::watermarks::Watermarks;

/// Everything that happens to the log, the connection and the outbox.
#[derive(Debug)]
pub(super) enum Event {
    /// The log is about to be read to its end.
    CatchUpStarted { now: Instant },
    /// A page was read. It starts with the last applied record, or with the oldest one if none is applied.
    PageRead { page: Page, now: Instant },
    /// The purges of all records up to this one are done in memory.
    Applied(StreamId),
    /// A [`LogEvent::LogStart`] was appended.
    LogStarted,
    /// The log was read to its end for the first time over a new connection.
    Resumed { now: Instant },
    /// The connection is about to be used for lookups.
    Connected,
    /// The connection is lost, or was never made.
    Disconnected { now: Instant },
    /// The server accepted an invalidation of this replica.
    Appended {
        at: StreamId,
        invalidation: Invalidation,
        now: Instant,
    },
    /// No server accepted an invalidation of this replica.
    AppendFailed(Invalidation),
    /// The server accepted an invalidation that waited in the outbox.
    Delivered(Pending),
}

/// One effect that the caller carries out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Counts cached entries requested before this as stale; `None` lifts the mark.
    MarkStaleBefore(Option<Instant>),
    /// Purges matching entries from memory.
    Purge(Invalidation),
    /// Has the pages of another replica's walk applied.
    ApplyWalk(WalkName),
    /// Confirms with [`Event::Applied`] that the purges before this effect are done.
    ConfirmApplied(StreamId),
    /// Writes a purge to the journal, so that a snapshot does not bring its entries back.
    Journal(Invalidation),
    /// Restarts the record of write nonces and then the log, confirms with [`Event::LogStarted`], and reads
    /// the page that follows.
    StartLog(Completeness),
    /// Reads the page that follows. Without this effect or [`StartLog`](Self::StartLog) the log has been read to
    /// its end.
    ReadNextPage,
    /// Reports a gap to the operator.
    ReportGap,
    /// Reports a malformed record to the operator.
    ReportMalformed(StreamId),
}

/// The state machine.
#[derive(Debug)]
pub(super) struct InvalidationState {
    /// Name of this replica; its own records are purged when they are ordered, not when they are read back.
    replica: String,
    watermarks: Watermarks,
    outbox: Outbox,
    /// Entries requested before this may have missed an invalidation for good, whatever the log says later.
    stale_before: Option<Instant>,
    /// Last applied record when the log was found not to go on; cleared by the log's new start.
    gap: Option<StreamId>,
    /// Last record that was ever purged. After a gap the log is read from its oldest record, and records up
    /// to this one are not purged a second time.
    purged: Option<StreamId>,
    /// Last own record that has not been read back yet.
    unread: Option<StreamId>,
    is_connected: bool,
}

impl InvalidationState {
    /// Returns the state before the first connection, when nothing of the log is known.
    pub(super) fn new(replica: &str) -> Self {
        Self {
            replica: replica.to_owned(),
            watermarks: Watermarks::default(),
            outbox: Outbox::default(),
            stale_before: None,
            gap: None,
            purged: None,
            unread: None,
            is_connected: false,
        }
    }

    /// Takes an event and returns its effects, to be carried out in this order.
    pub(super) fn apply(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::CatchUpStarted { now } => {
                // Entries fetched before the first page may be older than any record of the log.
                if self.watermarks.applied.is_none() {
                    self.stale_before = Some(now);
                }
            }
            Event::PageRead { page, now } => return self.on_page(page, now),
            Event::Applied(at) => self.watermarks.applied = Some(at),
            Event::LogStarted => self.gap = None,
            Event::Resumed { now } => {
                // An older copy may have taken over that still has the last applied record, so that no gap
                // shows, and yet lacks what this replica appended behind it.
                if self.unread.take().is_some() {
                    self.watermarks.appended = StreamId::default();
                    self.outbox.resend_recent(now);
                }
            }
            Event::Connected => {
                self.is_connected = true;
                return vec![Effect::MarkStaleBefore(self.stale_before)];
            }
            Event::Disconnected { now } => {
                // Only the first loss counts: entries fetched since then are no older than they seem.
                if std::mem::take(&mut self.is_connected) {
                    return vec![Effect::MarkStaleBefore(Some(now))];
                }
            }
            Event::Appended {
                at,
                invalidation,
                now,
            } => {
                self.outbox.record_delivered(invalidation.clone(), now);
                let event = LogEvent::Invalidate(invalidation);
                self.watermarks.record(at, &event);
                self.watermarks.appended = at;
                // The log reader may have met the record before the reply to its writer came.
                if self.purged.is_none_or(|purged| at > purged) {
                    self.unread = Some(at);
                }
            }
            Event::AppendFailed(invalidation) => self.outbox.push(invalidation),
            Event::Delivered(pending) => self.outbox.acknowledge(&pending),
        }
        Vec::new()
    }

    /// Returns the last applied record, from which the next page is read, that record included.
    pub(super) const fn applied(&self) -> Option<StreamId> {
        self.watermarks.applied
    }

    /// Returns the position that a fetch beginning now is stored with. `None` while nothing of the log is known,
    /// or while an own invalidation waits: the values that it is about are still stored.
    pub(super) fn position(&self) -> Option<StreamId> {
        match self.outbox.len() {
            0 => self.watermarks.current(),
            _ => None,
        }
    }

    /// Returns whether a stored value may be used, by the position at which its fetch began and its workspace.
    pub(super) fn admits(&self, at: StreamId, workspace: Option<&str>) -> bool {
        self.watermarks.admits(at, workspace)
    }

    /// Returns the oldest invalidation that no server has accepted yet.
    pub(super) fn next_pending(&self) -> Option<Pending> {
        self.outbox.first().cloned()
    }

    /// Returns the number of invalidations that no server has accepted yet.
    pub(super) const fn pending(&self) -> usize {
        self.outbox.len()
    }

    fn on_page(&mut self, page: Page, now: Instant) -> Vec<Effect> {
        let applied = self.watermarks.applied;
        let first = page.records.first().map(|(at, _)| *at);
        let (Some(first), true) = (first, applied.is_none() || applied == first) else {
            return self.on_missing(applied, now);
        };
        if applied.is_none() {
            // Invalidations before the oldest record are not known.
            self.watermarks.flush_all(first);
        }
        let (mut effects, mut purges, mut last) = (Vec::new(), Vec::new(), first);
        for (at, record) in page.records {
            last = at;
            if Some(at) == applied {
                continue;
            }
            let record = record.unwrap_or_else(|_| {
                self.stale_before = Some(now);
                effects.push(Effect::ReportMalformed(at));
                effects.push(Effect::MarkStaleBefore(self.stale_before));
                // It may have invalidated anything, so it counts as a new start.
                LogRecord {
                    writer: self.replica.clone(),
                    event: LogEvent::LogStart,
                }
            });
            if let LogEvent::Walk(name) = &record.event
                && record.writer != self.replica
            {
                effects.push(Effect::ApplyWalk(name.clone()));
            }
            purges.extend(self.on_record(at, record));
        }
        effects.extend(purges.iter().cloned().map(Effect::Purge));
        // Only behind the purges: a fetch that begins at this position must not see an entry from before them.
        effects.push(Effect::ConfirmApplied(last));
        // The history is read again at the next start, so the journal does not need it.
        if applied.is_some() {
            effects.extend(purges.into_iter().map(Effect::Journal));
        }
        if !page.is_last {
            effects.push(Effect::ReadNextPage);
        } else if self.gap.is_some() {
            // An older copy of the data may have brought values back, so all replicas start from scratch.
            effects.push(Effect::StartLog(Completeness::Lost));
        } else {
            // If the server's clock was set back, the next record may have a lower id than those before.
            self.purged = Some(last);
        }
        effects
    }

    /// Reacts to a log without the record that was applied last, or without any record.
    fn on_missing(&mut self, applied: Option<StreamId>, now: Instant) -> Vec<Effect> {
        let Some(applied) = applied else {
            let nonces = match self.gap {
                Some(_) => Completeness::Lost,
                None => Completeness::New,
            };
            return vec![Effect::StartLog(nonces)];
        };
        self.gap = Some(applied);
        self.stale_before = Some(now);
        self.watermarks.reset();
        self.unread = None;
        self.outbox.resend_recent(now);
        vec![
            Effect::ReportGap,
            Effect::MarkStaleBefore(self.stale_before),
            Effect::ReadNextPage,
        ]
    }

    /// Notes a record, and returns what it purges from this replica's memory.
    fn on_record(&mut self, at: StreamId, record: LogRecord) -> Option<Invalidation> {
        self.watermarks.record(at, &record.event);
        let is_new = self.purged.is_none_or(|purged| at > purged);
        self.purged = self.purged.max(Some(at));
        if self.unread == Some(at) {
            self.unread = None;
        }
        match record.event {
            LogEvent::LogStart => {
                // Another replica found the same gap before, and restarted the log.
                if self.gap.is_some_and(|gap| at > gap) {
                    self.gap = None;
                }
                None
            }
            LogEvent::Invalidate(invalidation) => {
                (is_new && record.writer != self.replica).then_some(invalidation)
            }
            LogEvent::Walk(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
