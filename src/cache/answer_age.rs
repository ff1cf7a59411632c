//! Age of a cached answer (RFC 9111 §4.2.3): that which it had when its request was sent, and its time here since.

use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::UpstreamFreshness;

/// Time at which an answer was asked for, and the age and bound that it came with.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerAge {
    /// Time at which this gateway sent its request, from which the resident time counts.
    pub(super) sent: Instant,
    pub(super) upstream: UpstreamFreshness,
}

impl AnswerAge {
    /// Returns the age: the initial age and the resident time.
    pub(super) fn age(self, now: Instant) -> Duration {
        self.upstream.initial_age() + self.resident_time(now)
    }

    /// Returns the time since this gateway sent its request, which includes the delay of the answer.
    pub(super) fn resident_time(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sent)
    }

    /// Returns the time at which the origin was asked: that of this gateway's request, less the initial age. It may
    /// lie before the start of this machine, because Linux's clock goes below its zero.
    pub(super) fn origin_asked(self) -> Instant {
        // Each hit asks for this, and nearly every answer is the origin's own.
        if !self.upstream.is_from_cache() {
            return self.sent;
        }
        self.sent
            .checked_sub(self.upstream.initial_age())
            .unwrap_or(self.sent)
    }
}
