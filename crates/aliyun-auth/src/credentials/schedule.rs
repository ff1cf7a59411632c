//! Schedule of the credential's renewal, as pure functions: time and random draws are arguments.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Time of the next load, by both clocks.
#[derive(Debug)]
pub(super) struct RefreshSchedule {
    next: Instant,
    /// The same time by the wall clock, which runs on while the machine sleeps; `None` where no expiration sets it.
    wall: Option<Timestamp>,
    failures: u32,
    /// Time of the last load that a rejection brought forward.
    brought_forward: Option<Instant>,
}

/// Shortest time between two loads that rejections bring forward. A key that the origin refuses for good would
/// otherwise be loaded once a request.
const REJECTION_INTERVAL: Duration = Duration::from_secs(10);
/// Longest sleep before the clocks are compared again.
const CLOCK_CHECK: Duration = Duration::from_secs(60);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Shortest time to a renewal, so that a credential which is always about to expire is not fetched in a tight loop.
const MIN_RENEWAL: SignedDuration = SignedDuration::from_secs(1);

impl RefreshSchedule {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            next: now,
            wall: None,
            failures: 0,
            brought_forward: None,
        }
    }

    /// Sets the next load after a success: at `at`, or after `period` for a credential without an expiration.
    pub(super) fn succeeded(
        &mut self,
        now: (Instant, Timestamp),
        at: Option<Timestamp>,
        period: Duration,
    ) {
        let wait = at.map_or(period, |at| {
            Duration::try_from(at.duration_since(now.1)).unwrap_or(Duration::ZERO)
        });
        self.next = now.0 + wait;
        self.wall = at;
        self.failures = 0;
    }

    /// Sets the next load after a failure, by [`backoff`].
    pub(super) fn failed(&mut self, now: Instant, draw: f64) {
        self.failures = self.failures.saturating_add(1);
        self.next = now + backoff(self.failures, draw);
        self.wall = None;
    }

    /// Brings the next load forward to now, or to ten seconds after one was last brought forward.
    pub(super) fn request_refresh(&mut self, now: Instant) {
        let at = self
            .brought_forward
            .map_or(now, |last| now.max(last + REJECTION_INTERVAL));
        if at < self.next {
            self.next = at;
            self.brought_forward = Some(at);
        }
    }

    /// Returns the time to sleep before looking again, at most a minute; `None` when a load is due by either clock.
    pub(super) fn pause(&self, now: (Instant, Timestamp)) -> Option<Duration> {
        let due = now.0 >= self.next || self.wall.is_some_and(|wall| now.1 >= wall);
        (!due).then(|| (self.next - now.0).min(CLOCK_CHECK))
    }
}

/// Returns the time to renew a credential that was loaded at `loaded_at`: after 70 to 80 % of its lifetime, by
/// `draw`, uniform in 0..1, so that many gateways do not call STS at once. At least a second later.
#[must_use]
pub fn refresh_at(loaded_at: Timestamp, expires: Timestamp, draw: f64) -> Timestamp {
    let lifetime = expires.duration_since(loaded_at);
    let share = 0.8 - 0.1 * draw.clamp(0.0, 1.0);
    let wait = SignedDuration::from_secs_f64(lifetime.as_secs_f64().max(0.0) * share);
    loaded_at
        .checked_add(wait.max(MIN_RENEWAL))
        .unwrap_or(expires)
}

/// Returns the time to wait after a number of failures in a row: 1 s, doubling to 60 s, and of that between a half
/// and the whole, by `draw`, uniform in 0..1.
#[must_use]
pub fn backoff(failures: u32, draw: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    let whole = (FIRST_BACKOFF * (1 << doublings)).min(MAX_BACKOFF);
    whole.mul_f64(0.5 + 0.5 * draw.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn an_hour_is_renewed_between_42_and_48_minutes() {
        assert_eq!(refresh_at(at(0), at(3600), 0.0), at(2880));
        assert_eq!(refresh_at(at(0), at(3600), 1.0), at(2520));
    }

    #[test]
    fn a_credential_about_to_expire_is_not_renewed_in_a_tight_loop() {
        for expires in [-5, 0, 1] {
            assert_eq!(refresh_at(at(0), at(expires), 0.5), at(1));
        }
    }

    #[test]
    fn backoff_doubles_from_one_second_to_sixty() {
        let whole: Vec<u64> = (0..9).map(|n| backoff(n, 1.0).as_secs()).collect();
        assert_eq!(whole, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(u32::MAX, 0.0), Duration::from_secs(30));
    }

    proptest! {
        #[test]
        fn renewal_comes_after_the_load_and_before_expiry(life in 10..100_000_i64, draw in 0.0..1.0_f64) {
            let renewed = refresh_at(at(0), at(life), draw);
            prop_assert!(at(0) < renewed && renewed < at(life));
        }
    }

    #[test]
    fn rejections_bring_one_attempt_forward_in_ten_seconds() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = RefreshSchedule::new(start);
        schedule.succeeded((start, at(0)), Some(at(3000)), Duration::ZERO);
        assert_eq!(schedule.pause((start, at(0))), Some(CLOCK_CHECK));
        schedule.request_refresh(after(100));
        assert_eq!(schedule.pause((after(100), at(100))), None);
        schedule.succeeded((after(100), at(100)), Some(at(3000)), Duration::ZERO);
        schedule.request_refresh(after(101));
        schedule.request_refresh(after(102));
        let left = schedule.pause((after(102), at(102)));
        assert_eq!(left, Some(Duration::from_secs(8)));
        schedule.request_refresh(after(130));
        assert_eq!(schedule.next, after(110));
    }

    #[test]
    fn a_wall_clock_that_jumped_ahead_makes_it_time() {
        let start = Instant::now();
        let mut schedule = RefreshSchedule::new(start);
        schedule.succeeded((start, at(0)), Some(at(3000)), Duration::ZERO);
        assert_eq!(schedule.pause((start, at(3000))), None);
    }
}
