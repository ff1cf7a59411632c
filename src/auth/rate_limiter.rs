//! Rate limits of a client as token buckets, one for requests and one for misses.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};

/// Token bucket that fills at a rate and holds the tokens of one second. Without a rate it never rejects.
#[derive(Debug)]
pub struct RateLimiter {
    per_second: Option<NonZeroU32>,
    bucket: Option<DefaultDirectRateLimiter>,
}

impl RateLimiter {
    /// Makes a full bucket.
    #[must_use]
    pub fn new(per_second: Option<NonZeroU32>) -> Self {
        Self {
            per_second,
            bucket: per_second.map(|rate| governor::RateLimiter::direct(Quota::per_second(rate))),
        }
    }

    /// Returns the rate; `None` without a limit.
    #[must_use]
    pub const fn per_second(&self) -> Option<NonZeroU32> {
        self.per_second
    }

    /// Takes one token, without waiting for one.
    ///
    /// # Errors
    /// Time until the next token.
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
    fn a_bucket_grants_its_tokens_and_then_returns_the_time_to_wait() {
        let limiter = RateLimiter::new(NonZeroU32::new(1));
        assert_eq!(limiter.try_acquire(), Ok(()));
        let wait = limiter.try_acquire().unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        let unlimited = RateLimiter::new(None);
        assert!((0..10_000).all(|_| unlimited.try_acquire().is_ok()));
    }
}
