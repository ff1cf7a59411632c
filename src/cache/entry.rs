//! An image as it is held.

mod packed_parent;
mod packed_text;
mod refresh;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use tokio::time::Instant;

use self::packed_parent::PackedParent;
use self::packed_text::PackedText;
use self::refresh::LastRefresh;
use super::freshness::{Decision, Directives, Evidence, Freshness, Policy};
use super::parent::{GRACE, Parent};
use crate::api::{ImageFields, Ownership, parse_timestamp};

/// An answer as it arrived, with what its worth is measured on.
#[derive(Debug, Clone)]
pub struct FetchedImage {
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
    /// What the parent gateway that sent it says of its copy, where one did.
    pub parent: Option<Parent>,
}

/// A stored image: its body byte for byte, and why it is kept for how long.
///
/// A million of them may be held, so each is packed: its texts share one allocation of their exact
/// length, times are whole milliseconds, and what only an explanation needs is read out of the body
/// again.
#[derive(Debug, Clone)]
pub struct Entry {
    texts: PackedText,
    /// Whose it is.
    pub ownership: Ownership,
    /// When its request was sent; where it came from a parent, that much earlier as it was old there.
    pub sent: Instant,
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
    parent: PackedParent,
    no_store: bool,
    no_cache: bool,
    verbose: bool,
    /// Purged softly: kept only for when the origin fails.
    pub purged: bool,
    /// Came from a snapshot: it was not there to hear of changes, so it is never fresh.
    pub restored: bool,
    /// Whether the policy of its time let it be kept.
    pub storable: bool,
}

impl Entry {
    /// Makes an entry of an answer. `draw` is uniform in `0.0..1.0`, and kept to 32 bits.
    #[must_use]
    pub fn new(arrival: FetchedImage, verbose: bool, policy: &Policy, draw: f64) -> Self {
        let answered = Evidence::date(arrival.date, arrival.received);
        let age = arrival.parent.unwrap_or_default().age;
        let date = answered.checked_sub(age).unwrap_or(answered);
        let (directives, draw) = (
            Directives::parse(&arrival.cache_control),
            JitterDraw::of(draw),
        );
        let evidence = Evidence {
            parent: arrival.parent,
            ..evidence(&arrival.fields, verbose, date, directives, draw)
        };
        Self::decided(arrival, &evidence, policy)
    }

    /// The same answer, read again from where it was saved, never with a longer ttl than it had. What was decided on are
    /// its own date, directives and draw; the date and `Cache-Control` of `arrival` count for nothing.
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
        let parent = PackedParent::of(evidence.parent);
        Self {
            texts: PackedText::of(&arrival.body, arrival.request_id.as_ref()),
            ownership: fields.ownership,
            // Earlier than this machine started, if need be: Linux's clock goes below its zero.
            sent: arrival
                .sent
                .checked_sub(parent.age())
                .unwrap_or(arrival.sent),
            incarnation: incarnation.finish(),
            date: evidence.date.as_millisecond(),
            draw: JitterDraw::of(evidence.draw),
            max_age: max_age.map_or(u32::MAX, |most| saturating(most.as_secs())),
            ttl: saturating(ttl.as_millis()),
            took: saturating(arrival.took.as_micros()),
            last_refresh: LastRefresh::default(),
            parent,
            no_store: evidence.directives.no_store,
            no_cache: evidence.directives.no_cache,
            verbose: evidence.verbose,
            purged: false,
            restored: false,
            storable,
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.texts.body()
    }

    /// The origin's id of this answer.
    #[must_use]
    pub fn request_id(&self) -> Option<HeaderValue> {
        self.texts.request_id()
    }

    /// How long it is fresh from `sent`, in whole milliseconds; 49 days at most.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl as u64)
    }

    /// How long the fetch took, in whole microseconds; 71 minutes at most.
    #[must_use]
    pub const fn took(&self) -> Duration {
        Duration::from_micros(self.took as u64)
    }

    /// The origin's own directives.
    #[must_use]
    pub fn directives(&self) -> Directives {
        Directives {
            max_age: (self.max_age != u32::MAX).then(|| Duration::from_secs(self.max_age.into())),
            no_store: self.no_store,
            no_cache: self.no_cache,
        }
    }

    /// The time of the answer, in whole milliseconds.
    pub(super) fn date(&self) -> Timestamp {
        Timestamp::from_millisecond(self.date).unwrap_or_default()
    }

    /// What its jitter was drawn from.
    pub(super) fn draw(&self) -> f64 {
        self.draw.share()
    }

    /// What the parent said of it that handed it on.
    #[must_use]
    pub fn parent(&self) -> Option<Parent> {
        self.parent.unpacked()
    }

    /// What the ttl was decided on. Reads the body.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        // It was an object when it was stored.
        let fields = ImageFields::parse(&self.body()).unwrap_or_default();
        let (date, directives) = (self.date(), self.directives());
        Evidence {
            parent: self.parent(),
            ..evidence(&fields, self.verbose, date, directives, self.draw)
        }
    }

    /// Time since its request was sent, to the parent's origin where it came from a parent.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sent)
    }

    /// Time since this gateway asked for it.
    #[must_use]
    pub fn resident_time(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.parent.age())
    }

    /// Takes the right to refresh this in the background. It is given once a second at most, counted from when the
    /// entry itself was asked for, so that neither a ttl of zero nor refreshes that fail ask the origin more often.
    #[must_use]
    pub fn begin_refresh(&self, now: Instant) -> bool {
        self.last_refresh.begin(self.resident_time(now))
    }

    /// How long it is fresh, of the time that this gateway holds it: what was left of its ttl, but where it came from
    /// a parent at least [`GRACE`] from its arrival.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        let left = self.ttl().saturating_sub(self.parent.age());
        if self.parent.is_some() {
            left.max(self.took() + GRACE)
        } else {
            left
        }
    }

    /// What it is worth now. The grace of what a parent had only stale lengthens no window.
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
            ttl: self.ttl.min(saturating(ttl.as_millis())),
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

    /// The bytes it costs to hold: its texts and what lies around them.
    #[must_use]
    pub fn weight(&self) -> u32 {
        saturating(allocated(self.texts.len()).saturating_add(OVERHEAD))
    }
}

/// What was decided about an answer before it was saved.
#[derive(Debug, Clone, Copy)]
pub(super) struct EarlierDecision {
    /// Whether the answer carries labels.
    pub(super) verbose: bool,
    /// Its ttl.
    pub(super) ttl: Duration,
    /// Whether it was purged softly.
    pub(super) purged: bool,
    /// Whether it missed what was said of it since.
    pub(super) restored: bool,
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
    draw: JitterDraw,
) -> Evidence {
    Evidence {
        modified: fields.modified.as_deref().and_then(parse_timestamp),
        created: fields.created.as_deref().and_then(parse_timestamp),
        date,
        verbose,
        directives,
        draw: draw.share(),
        parent: None,
    }
}

/// A draw from `0.0..1.0`, to 32 bits.
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

/// As much of a figure as 32 bits hold.
fn saturating(figure: impl TryInto<u32>) -> u32 {
    figure.try_into().unwrap_or(u32::MAX)
}

/// What the allocator takes for so many bytes: it has four sizes between a power of two and the next.
const fn allocated(bytes: usize) -> usize {
    let step = bytes.next_power_of_two() / 8;
    if step < 16 {
        bytes
    } else {
        bytes.next_multiple_of(step)
    }
}

/// What an entry costs beside its texts: itself, its key, and the cache's books; `tests/memory.rs`
/// measures it.
const OVERHEAD: usize = 566;

#[cfg(test)]
mod tests;
