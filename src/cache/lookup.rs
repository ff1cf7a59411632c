//! Lookups, and the results of lookups and fetches.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::flight::Waiter;
use super::{Cache, Entry, Freshness, Negative};
use crate::api::ImageKey;

/// Result of a fetch; `E` is the caller's error.
pub type FetchResult<E> = Result<CachedAnswer, E>;

/// A request's place at the fetch of an image; the stale value on offer is an older copy of it.
pub type FetchWaiter<E> = Waiter<Arc<Entry>, FetchResult<E>>;

/// An authoritative answer of the origin, in the form in which it is stored.
#[derive(Debug, Clone)]
pub enum CachedAnswer {
    /// An image.
    Image(Arc<Entry>),
    /// The origin's statement that there is no such image, or none for its credential.
    Negative(Arc<Negative>),
}

impl CachedAnswer {
    /// Returns the time that its fetch took, which a denial of it takes, too.
    #[must_use]
    pub fn took(&self) -> Duration {
        match self {
            Self::Image(entry) => entry.took(),
            Self::Negative(negative) => negative.took,
        }
    }
}

/// Result of a lookup.
#[derive(Debug, Clone)]
pub enum LookupResult {
    /// An image and its freshness at the time of the lookup; never [`Freshness::Expired`].
    Image(Arc<Entry>, Freshness),
    /// A negative answer within its ttl.
    Negative(Arc<Negative>),
    /// Nothing that may be served.
    Miss,
}

impl LookupResult {
    /// Returns the age of the answer.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Image(entry, _) => Some(entry.age(now)),
            Self::Negative(negative) => Some(negative.age(now)),
            Self::Miss => None,
        }
    }

    /// Returns whether both lookups found the same allocation. Times do not distinguish two answers: a
    /// cache between may pass on one copy twice, with the same age.
    fn is(&self, seen: &Self) -> bool {
        match (self, seen) {
            (Self::Image(entry, _), Self::Image(seen, _)) => Arc::ptr_eq(entry, seen),
            (Self::Negative(negative), Self::Negative(seen)) => Arc::ptr_eq(negative, seen),
            (Self::Miss, Self::Miss) => true,
            (Self::Image(..) | Self::Negative(_) | Self::Miss, _) => false,
        }
    }

    /// Returns the answer if it is fresh and was stored after the lookup `seen`.
    pub(super) fn if_newer_than(self, seen: &Self) -> Option<CachedAnswer> {
        match self {
            known if known.is(seen) => None,
            Self::Image(entry, Freshness::Fresh) => Some(CachedAnswer::Image(entry)),
            Self::Negative(negative) => Some(CachedAnswer::Negative(negative)),
            Self::Image(..) | Self::Miss => None,
        }
    }
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Looks up a key. An image takes precedence over a negative answer, because storing a later negative
    /// answer removes the image; where there is neither, an item of the catalogue may answer.
    #[must_use]
    pub fn look_up(&self, key: &ImageKey, now: Instant) -> LookupResult {
        match self.look_up_stored(key, now) {
            LookupResult::Miss => self.look_up_item(key, now),
            found => found,
        }
    }

    /// Looks up a key among images and negative answers.
    pub(super) fn look_up_stored(&self, key: &ImageKey, now: Instant) -> LookupResult {
        if let Some(entry) = self.images.get(key) {
            match self.freshness(&entry, now) {
                Freshness::Expired => {}
                freshness => return LookupResult::Image(entry, freshness),
            }
        }
        match self.negatives.get(&key.image) {
            Some(negative)
                if negative.is_fresh(&self.policy.load(), now)
                    && self.stale_before.is_current(negative.sent) =>
            {
                LookupResult::Negative(negative)
            }
            Some(_) | None => LookupResult::Miss,
        }
    }

    /// Returns the freshness of an entry, which is not fresh if it may have missed an invalidation.
    pub(super) fn freshness(&self, entry: &Entry, now: Instant) -> Freshness {
        // Within its ttl an entry needs no policy, whose load costs as much as the rest of a lookup.
        let is_within_ttl = !entry.purged && !entry.restored && entry.age(now) < entry.ttl();
        let freshness = if is_within_ttl {
            Freshness::Fresh
        } else {
            entry.freshness(&self.policy.load(), now)
        };
        match freshness {
            Freshness::Fresh if !self.stale_before.is_current(entry.origin_asked()) => {
                Freshness::StaleWhileRevalidate
            }
            freshness => freshness,
        }
    }
}

/// A request's part in a fetch.
///
/// `S` is the stale value on offer meanwhile and `A` the answer; by default those of an image.
#[derive(Debug)]
pub enum Fetch<E, S = Arc<Entry>, A = CachedAnswer> {
    /// The request started it.
    Started(Waiter<S, Result<A, E>>),
    /// Another request had started it.
    Joined(Waiter<S, Result<A, E>>),
    /// No fetch is needed: an answer was stored since the request's lookup.
    AlreadyCached(A),
    /// It would have to be started, and this request may not; how long to wait until it may.
    RateLimited(Duration),
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::{ImageFields, OriginError};
    use crate::cache::{FetchedImage, NegativeKind, Policy};
    use crate::upstream::UpstreamFreshness;

    const TOOK: Duration = Duration::from_millis(250);

    fn image(sent: Instant) -> Arc<Entry> {
        let fetched = FetchedImage {
            body: "{}".into(),
            fields: ImageFields::default(),
            request_id: None,
            sent,
            took: TOOK,
            received: Timestamp::UNIX_EPOCH,
            date: None,
            cache_control: String::new(),
            upstream: UpstreamFreshness::default(),
        };
        Arc::new(Entry::new(fetched, false, &Policy::default(), 0.0))
    }

    fn negative(sent: Instant) -> Arc<Negative> {
        Arc::new(Negative {
            error: OriginError::default(),
            kind: NegativeKind::NotFound,
            sent,
            took: TOOK,
            received: Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn an_answer_has_its_age_and_the_duration_of_its_fetch() {
        let sent = Instant::now();
        let (image, negative) = (image(sent), negative(sent));
        assert_eq!(CachedAnswer::Image(Arc::clone(&image)).took(), TOOK);
        assert_eq!(CachedAnswer::Negative(Arc::clone(&negative)).took(), TOOK);
        let found = LookupResult::Image(image, Freshness::Fresh);
        let age = Duration::from_secs(2);
        let now = sent + age;
        assert_eq!(found.age(now), Some(age));
        assert_eq!(LookupResult::Negative(negative).age(now), Some(age));
        assert_eq!(LookupResult::Miss.age(now), None);
    }

    #[test]
    fn only_a_fresh_answer_that_came_since_is_newer() {
        let now = Instant::now();
        let (one, other, denial) = (image(now), image(now), negative(now));
        let found =
            |entry: &Arc<Entry>, freshness| LookupResult::Image(Arc::clone(entry), freshness);
        let seen = found(&one, Freshness::StaleWhileRevalidate);
        let denied = || LookupResult::Negative(Arc::clone(&denial));
        for (known, seen, is_newer) in [
            (found(&other, Freshness::Fresh), &seen, true),
            (found(&other, Freshness::Fresh), &LookupResult::Miss, true),
            (found(&one, Freshness::Fresh), &seen, false),
            (found(&other, Freshness::StaleWhileRevalidate), &seen, false),
            (denied(), &seen, true),
            (denied(), &denied(), false),
            (LookupResult::Miss, &seen, false),
        ] {
            let newer = known.clone().if_newer_than(seen);
            assert_eq!(newer.is_some(), is_newer, "{known:?}");
        }
    }
}
