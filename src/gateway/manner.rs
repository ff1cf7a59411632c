//! In what manner an image is asked for: alone, or as one of many.
//!
//! Policy, price and the road to the image are the same in both. What differs is how urgent it is, how
//! long it may take, and what an answer looks like.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::request::Parts;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::fetch::Cause;
use super::request_id::RequestId;
use super::{Gateway, host_of};
use crate::auth::{Principal, Visible};
use crate::cache::Negative;
use crate::observability::outcome::Outcome;
use crate::priority::Priority;
use crate::response::{self, Answer, CacheStatus, Error, Resolved};

/// What differs.
pub(super) trait Manner {
    /// What is told of an image.
    type Told;

    /// Here it is, so old.
    fn image(
        &self,
        seen: Visible<'_>,
        age: Duration,
        outcome: Outcome,
        status: CacheStatus,
    ) -> Self::Told;

    /// The origin's "no".
    fn negative(&self, negative: &Negative, outcome: Outcome, status: CacheStatus) -> Self::Told;

    /// How urgent it is to fetch it.
    fn priority(&self, cause: Cause) -> Priority;

    /// Until when to wait for a fetch, which a client alone would until `usual`.
    fn patience(&self, usual: Instant) -> Instant;

    /// A place among those who wait, where it needs one of its own.
    fn place<'g>(&self, gateway: &'g Gateway) -> Result<Option<SemaphorePermit<'g>>, Error>;

    /// Takes a token for a call to the origin, or for an answer that must cost what one costs.
    fn pay(&self, principal: &Principal) -> Result<(), Duration>;
}

/// By a GetImage, of which these are the head and the id.
pub(super) struct Alone<'a>(pub(super) &'a Parts, pub(super) &'a RequestId);

impl Manner for Alone<'_> {
    type Told = Answer;

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

    fn priority(&self, cause: Cause) -> Priority {
        match cause {
            Cause::Miss | Cause::MissAnew => Priority::Miss,
            Cause::Demand => Priority::Forced,
        }
    }

    fn patience(&self, usual: Instant) -> Instant {
        usual
    }

    fn place<'g>(&self, gateway: &'g Gateway) -> Result<Option<SemaphorePermit<'g>>, Error> {
        gateway.wait_in_line().map(Some)
    }

    fn pay(&self, principal: &Principal) -> Result<(), Duration> {
        principal.try_acquire_miss()
    }
}

/// By a request that waits for many, until its deadline, in the one place it has. However often the
/// image is tried again, it is paid for once.
pub(super) struct OneOfMany {
    deadline: Instant,
    is_paid: AtomicBool,
}

impl OneOfMany {
    pub(super) const fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            is_paid: AtomicBool::new(false),
        }
    }
}

impl Manner for OneOfMany {
    type Told = Resolved;

    fn image(&self, seen: Visible<'_>, age: Duration, _: Outcome, _: CacheStatus) -> Resolved {
        Resolved::found(seen, age, Instant::now())
    }

    fn negative(&self, negative: &Negative, _: Outcome, _: CacheStatus) -> Resolved {
        Resolved::negative(negative, Instant::now())
    }

    /// Whoever waits for one image alone goes first.
    fn priority(&self, _: Cause) -> Priority {
        Priority::Background
    }

    fn patience(&self, _: Instant) -> Instant {
        self.deadline
    }

    fn place<'g>(&self, _: &'g Gateway) -> Result<Option<SemaphorePermit<'g>>, Error> {
        Ok(None)
    }

    fn pay(&self, principal: &Principal) -> Result<(), Duration> {
        if !self.is_paid.load(Ordering::Relaxed) {
            principal.try_acquire_miss()?;
            self.is_paid.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
