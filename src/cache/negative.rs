//! The origin's "no" about one image, as it is held.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::freshness::Policy;
use crate::api::OriginError;

/// An authoritative "no" about one image.
#[derive(Debug, Clone)]
pub struct Negative {
    /// What the origin answered.
    pub error: OriginError,
    /// Which kind of no.
    pub kind: NegativeKind,
    /// When its request was sent.
    pub sent: Instant,
    /// How long the fetch took.
    pub took: Duration,
    /// Wall-clock time it was received.
    pub received: Timestamp,
}

/// Which kind of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NegativeKind {
    /// There is no such image.
    NotFound,
    /// The central credential may not see it.
    Forbidden,
}

impl Negative {
    /// How long it is kept.
    #[must_use]
    pub const fn ttl(&self, policy: &Policy) -> Duration {
        match self.kind {
            NegativeKind::NotFound => policy.not_found.0,
            NegativeKind::Forbidden => policy.forbidden.0,
        }
    }

    /// Whether it still holds.
    #[must_use]
    pub fn is_fresh(&self, policy: &Policy, now: Instant) -> bool {
        now.saturating_duration_since(self.sent) < self.ttl(policy)
    }
}
