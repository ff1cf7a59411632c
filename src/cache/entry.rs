//! A stored image: its body, and the values that decide how long it is kept.

mod fetched;
mod listed;
mod packed_text;
mod refresh;
mod refusals;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use tokio::time::Instant;

pub(super) use self::fetched::EarlierDecision;
pub use self::fetched::FetchedImage;
use self::listed::Listing;
use self::packed_text::PackedText;
pub(super) use self::refresh::LastRefresh;
use self::refusals::Refusals;
use super::answer_age::AnswerAge;
use super::freshness::{Decision, Directives, Evidence, Freshness, Policy};
use crate::api::{ImageFields, Ownership, parse_timestamp};
use crate::upstream::UpstreamFreshness;

/// Shortest time that an answer which another cache had held is fresh from its arrival, so that a cache which has only
/// a stale one does not get every request.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// A stored image: its body byte for byte, and the reasons for its ttl.
///
/// A cache may hold a million of them, so each is packed: body and request id share one allocation of their
/// exact length, times are whole milliseconds, and values that only an explanation needs are parsed from the
/// body again.
#[derive(Debug, Clone)]
pub struct Entry {
    texts: PackedText,
    /// The owner, by which every response is authorized.
    pub ownership: Ownership,
    timing: AnswerAge,
    incarnation: u64,
    /// In milliseconds since 1970.
    date: i64,
    draw: JitterDraw,
    /// In seconds; [`u32::MAX`] for none.
    max_age: u32,
    /// In milliseconds.
    ttl: u32,
    /// In microseconds.
    took: u32,
    last_refresh: LastRefresh,
    refusals: Refusals,
    verbose: bool,
    listing: Listing,
    /// Purged softly: served only while the origin fails.
    pub purged: bool,
    /// Restored from a snapshot: it may have missed an invalidation, so it is never fresh.
    pub restored: bool,
    /// The policy in force when it was fetched allowed storing it.
    pub storable: bool,
}

impl Entry {
    /// Creates an entry from a fetched answer. `draw` is uniform in `0.0..1.0`, and kept to 32 bits.
    #[must_use]
    pub fn new(arrival: FetchedImage, verbose: bool, policy: &Policy, draw: f64) -> Self {
        let answered = Evidence::date(arrival.date, arrival.received);
        let age = arrival.upstream.initial_age();
        let date = answered.checked_sub(age).unwrap_or(answered);
        let (directives, draw) = (
            Directives::parse(&arrival.cache_control),
            JitterDraw::of(draw),
        );
        let evidence = Evidence {
            upstream: arrival.upstream,
            ..evidence(&arrival.fields, verbose, date, directives, draw)
        };
        Self::decided(arrival, &evidence, policy)
    }

    /// Creates an entry from a stored record, never with a longer ttl than it had. The record's own date,
    /// directives and draw decide; `date` and `cache_control` of `arrival` are ignored.
    #[must_use]
    pub(super) fn restored(
        arrival: FetchedImage,
        earlier: &EarlierDecision,
        policy: &Policy,
    ) -> Self {
        let EarlierDecision {
            verbose,
            ttl,
            purged,
            restored,
            date,
            directives,
            draw,
        } = *earlier;
        let evidence = evidence(
            &arrival.fields,
            verbose,
            date,
            directives,
            JitterDraw::of(draw),
        );
        let entry = Self::decided(arrival, &evidence, policy);
        Self {
            purged,
            restored,
            ..entry.shortened(ttl)
        }
    }

    fn decided(arrival: FetchedImage, evidence: &Evidence, policy: &Policy) -> Self {
        let fields = arrival.fields;
        let Decision { ttl, storable, .. } = policy.decide(evidence);
        let mut incarnation = DefaultHasher::new();
        (&fields.created, &fields.uri).hash(&mut incarnation);
        let max_age = evidence.directives.max_age;
        Self {
            texts: PackedText::of(&arrival.body, arrival.request_id.as_ref()),
            ownership: fields.ownership,
            timing: AnswerAge {
                sent: arrival.sent,
                upstream: evidence.upstream,
            },
            incarnation: incarnation.finish(),
            date: evidence.date.as_millisecond(),
            draw: JitterDraw::of(evidence.draw),
            max_age: max_age.map_or(u32::MAX, |most| saturating(most.as_secs())),
            ttl: saturating(ttl.as_millis()),
            took: saturating(arrival.took.as_micros()),
            last_refresh: LastRefresh::default(),
            refusals: Refusals::of(evidence.directives),
            verbose: evidence.verbose,
            listing: Listing::None,
            purged: false,
            restored: false,
            storable,
        }
    }

    /// Returns the body, without copying it.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.texts.body()
    }

    /// Returns the origin's id of this answer.
    #[must_use]
    pub fn request_id(&self) -> Option<HeaderValue> {
        self.texts.request_id()
    }

    /// Returns the ttl, which the age is measured against, in whole milliseconds; at most 49 days.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl as u64)
    }

    /// Returns the time that the fetch took, in whole microseconds; at most 71 minutes.
    #[must_use]
    pub const fn took(&self) -> Duration {
        Duration::from_micros(self.took as u64)
    }

    /// Returns the origin's own directives, with `max-age` in whole seconds.
    #[must_use]
    pub fn directives(&self) -> Directives {
        Directives {
            max_age: (self.max_age != u32::MAX).then(|| Duration::from_secs(self.max_age.into())),
            no_store: self.refusals.no_store(),
            no_cache: self.refusals.no_cache(),
        }
    }

    /// Returns the time of the answer, in whole milliseconds.
    pub(super) fn date(&self) -> Timestamp {
        Timestamp::from_millisecond(self.date).unwrap_or_default()
    }

    /// Returns the random number that the ttl's jitter came from.
    pub(super) fn draw(&self) -> f64 {
        self.draw.share()
    }

    /// Returns the age and bound that the answer had when it arrived.
    #[must_use]
    pub const fn upstream(&self) -> UpstreamFreshness {
        self.timing.upstream
    }

    /// Returns the evidence for the ttl. Parses the body again, so it is not for the hit path.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        // It was an object when it was stored.
        let fields = ImageFields::parse(&self.body()).unwrap_or_default();
        let (date, directives) = (self.date(), self.directives());
        Evidence {
            upstream: self.upstream(),
            ..evidence(&fields, self.verbose, date, directives, self.draw)
        }
    }

    /// Returns the age (RFC 9111 §4.2.3): the initial age and the resident time.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        self.timing.age(now)
    }

    /// Returns the time since this gateway sent its request, which includes the delay of the answer.
    #[must_use]
    pub fn resident_time(&self, now: Instant) -> Duration {
        self.timing.resident_time(now)
    }

    /// Returns the time at which the origin was asked: that of this gateway's request, less the initial age.
    #[must_use]
    pub fn origin_asked(&self) -> Instant {
        self.timing.origin_asked()
    }

    /// Takes the right to refresh this entry in the background. It is granted at most once a second, counted
    /// from the entry's own request, so that neither a ttl of zero nor failing refreshes send the origin more
    /// requests.
    #[must_use]
    pub fn begin_refresh(&self, now: Instant) -> bool {
        self.last_refresh.begin(self.resident_time(now))
    }

    /// Returns the part of the resident time in which the entry is fresh: the rest of its ttl, and for an answer
    /// that another cache had held at least a second from its arrival.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        let left = self.ttl().saturating_sub(self.upstream().initial_age());
        if self.upstream().is_from_cache() {
            left.max(self.took() + GRACE)
        } else {
            left
        }
    }

    /// Returns the freshness at `now`. That second extends no other window.
    #[must_use]
    pub fn freshness(&self, policy: &Policy, now: Instant) -> Freshness {
        match policy.judge(self.age(now), self.ttl()) {
            Freshness::Fresh | Freshness::StaleWhileRevalidate if self.purged => {
                Freshness::StaleIfError
            }
            Freshness::Fresh if self.restored => Freshness::StaleWhileRevalidate,
            Freshness::StaleWhileRevalidate | Freshness::StaleIfError
                if !self.purged && self.resident_time(now) < self.fresh_for() =>
            {
                Freshness::Fresh
            }
            judged => judged,
        }
    }

    /// Returns whether both entries describe the same object: same GmtCreateTime, same ImageUri. An id that
    /// names another object was removed and created again.
    #[must_use]
    pub const fn is_same_object(&self, other: &Self) -> bool {
        self.incarnation == other.incarnation
    }

    /// Returns a copy that is fresh for at most `ttl`.
    #[must_use]
    pub fn shortened(&self, ttl: Duration) -> Self {
        Self {
            ttl: self.ttl.min(saturating(ttl.as_millis())),
            ..self.clone()
        }
    }

    /// Returns a copy that is served only while the origin fails.
    #[must_use]
    pub fn softly_purged(&self) -> Self {
        Self {
            purged: true,
            ..self.clone()
        }
    }

    /// Returns the memory that the entry takes, in bytes: its texts and the structures around them.
    #[must_use]
    pub fn weight(&self) -> u32 {
        saturating(allocated(self.texts.len()).saturating_add(OVERHEAD))
    }
}

fn evidence(
    fields: &ImageFields,
    verbose: bool,
    date: Timestamp,
    directives: Directives,
    draw: JitterDraw,
) -> Evidence {
    Evidence {
        modified: fields.modified.as_deref().and_then(parse_timestamp),
        created: fields.created.as_deref().and_then(parse_timestamp),
        date,
        verbose,
        directives,
        draw: draw.share(),
        upstream: UpstreamFreshness::default(),
    }
}

/// A random share of `0.0..1.0`, to 32 bits.
#[derive(Debug, Clone, Copy)]
struct JitterDraw(u32);

impl JitterDraw {
    const WHOLE: f64 = (1u64 << 32) as f64;

    fn of(share: f64) -> Self {
        Self((share * Self::WHOLE) as u32)
    }

    fn share(self) -> f64 {
        f64::from(self.0) / Self::WHOLE
    }
}

/// Converts a number to 32 bits, at most `u32::MAX`.
fn saturating(figure: impl TryInto<u32>) -> u32 {
    figure.try_into().unwrap_or(u32::MAX)
}

/// Returns the size class of an allocation: the allocator has four between a power of two and the next.
pub(super) const fn allocated(bytes: usize) -> usize {
    let step = bytes.next_power_of_two() / 8;
    if step < 16 {
        bytes
    } else {
        bytes.next_multiple_of(step)
    }
}

/// Memory of an entry besides its texts: itself, its key and moka's structures; `tests/memory.rs` measures it.
const OVERHEAD: usize = 566;

#[cfg(test)]
mod tests;
