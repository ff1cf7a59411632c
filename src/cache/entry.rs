//! What the cache holds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use tokio::time::Instant;

use super::freshness::{Decision, Directives, Evidence, Freshness, Policy};
use crate::api::{ImageFields, OriginError, Ownership, parse_timestamp};

/// An answer as it arrived, with what its worth is measured on.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The body.
    pub body: Bytes,
    /// What it says.
    pub fields: ImageFields,
    /// The origin's id of the answer, for `x-acs-request-id`, where it gave one.
    pub request_id: Option<HeaderValue>,
    /// When its request was sent; age counts from here.
    pub sent: Instant,
    /// How long it took to come.
    pub took: Duration,
    /// Our clock when it came.
    pub received: Timestamp,
    /// The origin's `Date`.
    pub date: Option<Timestamp>,
    /// The origin's `Cache-Control`, empty for none.
    pub cache_control: String,
}

/// A stored image: its body byte for byte, and why it is kept for how long.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The body.
    pub body: Bytes,
    /// The origin's id of this answer.
    pub request_id: Option<HeaderValue>,
    /// When its request was sent.
    pub sent: Instant,
    /// How long the fetch took.
    pub took: Duration,
    /// Wall-clock time it was received.
    pub received: Timestamp,
    /// What the ttl was decided on.
    pub evidence: Evidence,
    /// How long it is fresh from `sent`.
    pub ttl: Duration,
    /// Purged softly: kept only for when the origin fails.
    pub purged: bool,
    /// Came from a snapshot: it was not there to hear of changes, so it is never fresh.
    pub restored: bool,
    /// Whether the policy of its time let it be kept.
    pub storable: bool,
    /// Whose it is.
    pub ownership: Ownership,
    incarnation: u64,
}

impl Entry {
    /// Makes an entry of an answer. `draw` is uniform in `0.0..1.0`.
    #[must_use]
    pub fn new(arrival: Arrival, verbose: bool, policy: &Policy, draw: f64) -> Self {
        let date = Evidence::date(arrival.date, arrival.received);
        let directives = Directives::parse(&arrival.cache_control);
        let evidence = evidence(&arrival.fields, verbose, date, directives, draw);
        Self::decided(arrival, evidence, policy)
    }

    /// The same answer after a restart, never with a longer ttl than it had. What was decided on are
    /// its own date, directives and draw; the date and `Cache-Control` of `arrival` count for nothing.
    #[must_use]
    pub(super) fn restored(arrival: Arrival, earlier: &Earlier, policy: &Policy) -> Self {
        let Earlier {
            verbose,
            ttl,
            purged,
            date,
            directives,
            draw,
        } = *earlier;
        let evidence = evidence(&arrival.fields, verbose, date, directives, draw);
        let entry = Self::decided(arrival, evidence, policy);
        Self {
            ttl: entry.ttl.min(ttl),
            purged,
            restored: true,
            ..entry
        }
    }

    fn decided(arrival: Arrival, evidence: Evidence, policy: &Policy) -> Self {
        let fields = arrival.fields;
        let Decision { ttl, storable, .. } = policy.decide(&evidence);
        let mut incarnation = DefaultHasher::new();
        (&fields.created, &fields.uri).hash(&mut incarnation);
        Self {
            body: arrival.body,
            request_id: arrival.request_id,
            sent: arrival.sent,
            took: arrival.took,
            received: arrival.received,
            evidence,
            ttl,
            purged: false,
            restored: false,
            storable,
            ownership: fields.ownership,
            incarnation: incarnation.finish(),
        }
    }

    /// Time since its request was sent.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sent)
    }

    /// What it is worth now.
    #[must_use]
    pub fn freshness(&self, policy: &Policy, now: Instant) -> Freshness {
        match policy.judge(self.age(now), self.ttl) {
            Freshness::Fresh | Freshness::StaleWhileRevalidate if self.purged => {
                Freshness::StaleIfError
            }
            Freshness::Fresh if self.restored => Freshness::StaleWhileRevalidate,
            judged => judged,
        }
    }

    /// Whether the other answer is about the same object: same GmtCreateTime, same ImageUri. An id
    /// that names another object has been removed and made again.
    #[must_use]
    pub const fn is_same_object(&self, other: &Self) -> bool {
        self.incarnation == other.incarnation
    }

    /// The same, fresh for at most `ttl`.
    #[must_use]
    pub fn shortened(&self, ttl: Duration) -> Self {
        Self {
            ttl: self.ttl.min(ttl),
            ..self.clone()
        }
    }

    /// The same, kept only for when the origin fails.
    #[must_use]
    pub fn softly_purged(&self) -> Self {
        Self {
            purged: true,
            ..self.clone()
        }
    }

    /// The bytes it costs to hold: its body and what lies around it.
    #[must_use]
    pub fn weight(&self) -> u32 {
        u32::try_from(self.body.len().saturating_add(OVERHEAD)).unwrap_or(u32::MAX)
    }
}

/// What was decided about an answer before a restart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Earlier {
    /// Whether the answer carries labels.
    pub(super) verbose: bool,
    /// Its ttl.
    pub(super) ttl: Duration,
    /// Whether it was purged softly.
    pub(super) purged: bool,
    /// See [`Evidence`], as are the next two.
    pub(super) date: Timestamp,
    pub(super) directives: Directives,
    pub(super) draw: f64,
}

fn evidence(
    fields: &ImageFields,
    verbose: bool,
    date: Timestamp,
    directives: Directives,
    draw: f64,
) -> Evidence {
    Evidence {
        modified: fields.modified.as_deref().and_then(parse_timestamp),
        created: fields.created.as_deref().and_then(parse_timestamp),
        date,
        verbose,
        directives,
        draw,
    }
}

/// What an entry costs beside its body: itself, its key, its headers and the cache's books.
const OVERHEAD: usize = 640;

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
