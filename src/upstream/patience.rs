//! Time that a call may wait for its slot.

use std::time::Duration;

use tokio::time::Instant;

/// Longest stay in the queue, whoever waits. The queue's own bound is less for a call with a deadline.
const LONGEST_STAY: Duration = Duration::from_secs(60);

/// Time that a call may wait for its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// A fetch, which outlives the request that started it. It is refused at once if it would be answered after the
    /// deadline, if there is one; else it stays in the queue for up to a minute.
    Fetch(Option<Instant>),
    /// A call for one request, which is refused at once or leaves the queue at this deadline.
    Request(Instant),
}

impl Patience {
    /// Returns the deadline by which the answer must be promised.
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Fetch(deadline) => deadline,
            Self::Request(deadline) => Some(deadline),
        }
    }

    /// Returns when a call that joins the queue now leaves it without a slot.
    pub(super) fn leaves_queue_at(self, now: Instant) -> Instant {
        match self {
            Self::Fetch(_) => now + LONGEST_STAY,
            Self::Request(deadline) => deadline.min(now + LONGEST_STAY),
        }
    }
}
