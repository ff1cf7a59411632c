//! Negative caching: the origin's authoritative refusals of one image.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::freshness::Policy;
use crate::api::OriginError;

/// The origin's statement that an image does not exist, or not for the central credential.
#[derive(Debug, Clone)]
pub struct Negative {
    /// The origin's error, passed on to anonymous clients.
    pub error: OriginError,
    /// Decides the ttl.
    pub kind: NegativeKind,
    /// Time at which its request was sent; age counts from here.
    pub sent: Instant,
    /// Time that the fetch took, which a denial from memory takes, too.
    pub took: Duration,
    /// Wall-clock time of arrival.
    pub received: Timestamp,
}

/// Kind of a negative answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NegativeKind {
    /// The origin knows no such image.
    NotFound,
    /// The central credential may not view it.
    Forbidden,
}

impl Negative {
    /// Returns its time to live: `freshness.not_found` or `freshness.forbidden`.
    #[must_use]
    pub const fn ttl(&self, policy: &Policy) -> Duration {
        match self.kind {
            NegativeKind::NotFound => policy.not_found.0,
            NegativeKind::Forbidden => policy.forbidden.0,
        }
    }

    /// Returns the time of the answer.
    #[must_use]
    pub fn answered(&self) -> Instant {
        self.sent + self.took
    }

    /// Returns the time since its request was sent.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sent)
    }

    /// Returns whether it is younger than its ttl.
    #[must_use]
    pub fn is_fresh(&self, policy: &Policy, now: Instant) -> bool {
        self.age(now) < self.ttl(policy)
    }
}
