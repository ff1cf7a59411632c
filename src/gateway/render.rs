//! Rendering of an image: as a GetImage, or as one image of a Resolve.
//!
//! Policy, price and the road to the image are the same in both. What differs is how urgent it is, how
//! long it may take, and what an answer looks like.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::request::Parts;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::fetch::FetchReason;
use super::request_id::RequestId;
use super::{Gateway, host_of};
use crate::auth::{Principal, Visible};
use crate::cache::Negative;
use crate::observability::outcome::Outcome;
use crate::priority::Priority;
use crate::response::{self, Answer, CacheStatus, Error, ResolveResult};

/// What differs.
pub(super) trait Render {
    /// What is told of an image.
    type Output;

    /// Here it is, so old.
    fn image(
        &self,
        seen: Visible<'_>,
        age: Duration,
        outcome: Outcome,
        status: CacheStatus,
    ) -> Self::Output;

    /// The origin's "no".
    fn negative(&self, negative: &Negative, outcome: Outcome, status: CacheStatus) -> Self::Output;

    /// How urgent it is to fetch it.
    fn priority(&self, cause: FetchReason) -> Priority;

    /// Until when to wait for a fetch, which a client alone would until `usual`.
    fn deadline(&self, usual: Instant) -> Instant;

    /// A place among those who wait, where it needs one of its own.
    fn permit<'g>(&self, gateway: &'g Gateway) -> Result<Option<SemaphorePermit<'g>>, Error>;

    /// Takes a token for a call to the origin, or for an answer that must cost what one costs.
    fn charge(&self, principal: &Principal) -> Result<(), Duration>;
}

/// By a GetImage, of which these are the head and the id.
pub(super) struct Single<'a>(pub(super) &'a Parts, pub(super) &'a RequestId);

impl Render for Single<'_> {
    type Output = Answer;

    fn image(
        &self,
        seen: Visible<'_>,
        age: Duration,
        outcome: Outcome,
        status: CacheStatus,
    ) -> Answer {
        let parent = match outcome {
            // What the parent said of it was said when it was fetched.
            Outcome::Hit | Outcome::Stale => None,
            _ => seen.entry().parent().map(Box::new),
        };
        Answer {
            parent,
            ..response::image(seen, age, outcome, status)
        }
    }

    fn negative(&self, negative: &Negative, outcome: Outcome, status: CacheStatus) -> Answer {
        response::negative(negative, self.1.as_str(), host_of(self.0), outcome, status)
    }

    fn priority(&self, cause: FetchReason) -> Priority {
        match cause {
            FetchReason::Miss | FetchReason::MissNoCache => Priority::Miss,
            FetchReason::Refresh => Priority::Forced,
        }
    }

    fn deadline(&self, usual: Instant) -> Instant {
        usual
    }

    fn permit<'g>(&self, gateway: &'g Gateway) -> Result<Option<SemaphorePermit<'g>>, Error> {
        gateway.acquire_slot().map(Some)
    }

    fn charge(&self, principal: &Principal) -> Result<(), Duration> {
        principal.try_acquire_miss()
    }
}

/// By a request that waits for many, until its deadline, in the one place it has. However often the
/// image is tried again, it is paid for once.
pub(super) struct Batch {
    deadline: Instant,
    is_charged: AtomicBool,
}

impl Batch {
    pub(super) const fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            is_charged: AtomicBool::new(false),
        }
    }
}

impl Render for Batch {
    type Output = ResolveResult;

    fn image(&self, seen: Visible<'_>, age: Duration, _: Outcome, _: CacheStatus) -> ResolveResult {
        ResolveResult::found(seen, age, Instant::now())
    }

    fn negative(&self, negative: &Negative, _: Outcome, _: CacheStatus) -> ResolveResult {
        ResolveResult::negative(negative, Instant::now())
    }

    /// Whoever waits for one image alone goes first.
    fn priority(&self, _: FetchReason) -> Priority {
        Priority::Background
    }

    fn deadline(&self, _: Instant) -> Instant {
        self.deadline
    }

    fn permit<'g>(&self, _: &'g Gateway) -> Result<Option<SemaphorePermit<'g>>, Error> {
        Ok(None)
    }

    fn charge(&self, principal: &Principal) -> Result<(), Duration> {
        if !self.is_charged.load(Ordering::Relaxed) {
            principal.try_acquire_miss()?;
            self.is_charged.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
