//! Readings of the pace for metrics, the log and `/status`.

use std::time::Duration;

use compact_str::CompactString;
use tokio::time::Instant;

use super::{Pace, SlotRequest};
use crate::upstream::priority::{Priority, SharedPriority};

/// State of an operation's pace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::upstream) struct PaceReading {
    /// Calls a second that this gateway may make now; of its whole fleet, where the fleet's store answers.
    pub(in crate::upstream) per_second: f64,
    /// Calls a second that the settings permit.
    pub(in crate::upstream) configured: f64,
    /// A throttle has lowered the pace.
    pub(in crate::upstream) is_lowered: bool,
    /// The fleet's store is away, so that this replica keeps to its own share of the pace.
    pub(in crate::upstream) is_alone: bool,
}

impl<W> Pace<W> {
    /// Returns the state of the pace; `None` for an operation without a limit.
    pub(in crate::upstream) fn reading(&mut self, now: Instant) -> Option<PaceReading> {
        self.settle(now);
        let rate = self.rate.as_ref()?;
        let share = self.fleet.as_ref().and_then(|fleet| fleet.share(now));
        Some(PaceReading {
            per_second: rate.per_second(share.unwrap_or(1.0)),
            configured: rate.configured(),
            is_lowered: rate.is_lowered(),
            is_alone: share.is_some(),
        })
    }

    /// Computes the wait of a new miss of a client that has no other call.
    pub(in crate::upstream) fn wait_of_newcomer(&mut self, now: Instant) -> Duration {
        self.settle(now);
        if self.queue.is_empty() && self.has_free_slot(now) {
            return Duration::ZERO;
        }
        let newcomer = SlotRequest {
            priority: SharedPriority::new(Priority::Miss),
            client: CompactString::default(),
            key: 0,
            is_again: false,
            deadline: None,
        };
        let (schedule, turns) = (self.schedule(now), self.queue.turns_before(&newcomer));
        let turn = self
            .reservations
            .first_gap(&schedule, turns, (Priority::Miss, ""));
        turn.saturating_duration_since(now)
    }

    /// Returns the number of calls that wait.
    pub(in crate::upstream) fn waiting(&self) -> usize {
        self.queue.len()
    }
}
