//! How much a client may ask, as token buckets: requests and misses apart.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};

/// A bucket that fills at a rate and holds one second's worth; without a rate it is never empty.
#[derive(Debug)]
pub struct RateLimiter {
    per_second: Option<NonZeroU32>,
    bucket: Option<DefaultDirectRateLimiter>,
}

impl RateLimiter {
    /// A full bucket.
    #[must_use]
    pub fn new(per_second: Option<NonZeroU32>) -> Self {
        Self {
            per_second,
            bucket: per_second.map(|rate| governor::RateLimiter::direct(Quota::per_second(rate))),
        }
    }

    /// The rate; `None` for no limit.
    #[must_use]
    pub const fn per_second(&self) -> Option<NonZeroU32> {
        self.per_second
    }

    /// Takes one token.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn try_acquire(&self) -> Result<(), Duration> {
        let Some(bucket) = &self.bucket else {
            return Ok(());
        };
        bucket
            .check()
            .map_err(|early| early.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_says_when_to_come_back() {
        let budget = RateLimiter::new(NonZeroU32::new(1));
        assert_eq!(budget.try_acquire(), Ok(()));
        let wait = budget.try_acquire().unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        let endless = RateLimiter::new(None);
        assert!((0..10_000).all(|_| endless.try_acquire().is_ok()));
    }
}
