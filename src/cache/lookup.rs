//! Results of lookups and fetches.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::flight::Waiter;
use super::{Entry, Freshness, Negative};

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

/// A request's part in a fetch.
#[derive(Debug)]
pub enum Fetch<E> {
    /// The request started it.
    Started(FetchWaiter<E>),
    /// Another request had started it.
    Joined(FetchWaiter<E>),
    /// No fetch is needed: an answer was stored since the request's lookup.
    AlreadyCached(CachedAnswer),
    /// It would have to be started, and this request may not; how long to wait until it may.
    RateLimited(Duration),
}
