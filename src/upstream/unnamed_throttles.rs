//! Windows of throttles that name no time to wait.
//!
//! The first lasts a second, the period of the vendor's quota. If the next call after it is throttled too, somebody
//! else uses the whole quota: windows of a second would cost two calls for each request that waits, for as long as
//! that lasts. So each window lasts four times as long as the one before, until the origin accepts a call.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const FACTOR: u32 = 4;
const LONGEST: Duration = Duration::from_secs(16);

/// Throttles of one operation that named no time, since the origin accepted a call.
#[derive(Debug, Default)]
pub(super) struct UnnamedThrottles {
    /// Duration and end of the latest window.
    window: Option<(Duration, Instant)>,
}

impl UnnamedThrottles {
    /// Records a throttle and returns its window. A throttle within a window answers a call that was in flight when
    /// the window began, and does not prolong it.
    pub(super) fn throttled(&mut self, now: Instant) -> Duration {
        let lasts = match self.window {
            Some((_, end)) if now < end => return end - now,
            Some((lasted, _)) => LONGEST.min(lasted * FACTOR),
            None => FIRST,
        };
        self.window = Some((lasts, now + lasts));
        lasts
    }

    /// Records that the origin accepted a call: the next window is a first one.
    pub(super) const fn accepted(&mut self) {
        self.window = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_quadruple_until_a_call_is_accepted() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut throttles = UnnamedThrottles::default();
        for (now, lasts) in [
            (0, 1000),
            // In flight when the window began.
            (300, 700),
            (1000, 4000),
            (1001, 3999),
            (5000, 16_000),
            (21_000, 16_000),
            (90_000, 16_000),
        ] {
            let window = throttles.throttled(at(now));
            assert_eq!(window, Duration::from_millis(lasts), "{now}");
        }
        throttles.accepted();
        assert_eq!(throttles.throttled(at(90_001)), FIRST);
    }
}
