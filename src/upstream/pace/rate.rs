//! The rate that an operation may use now: as configured, lower after a throttle, and growing back.

use std::time::Duration;

use tokio::time::Instant;

/// Part of the account's quota that is used: clocks differ a little, and other programs call now and then.
const USED_PART: f64 = 0.95;
/// Factor by which a throttle lowers the rate.
const LOWERED: f64 = 2.0 / 3.0;
/// Part of the configured rate by which it grows back in each interval, and below which it never falls.
const STEP: f64 = 0.1;
/// Time between two steps of growth.
const GROWTH_INTERVAL: Duration = Duration::from_secs(10);
/// Window of a rate of one call a second and above.
const SECOND: Duration = Duration::from_secs(1);
/// Longest window, of the lowest rate that the settings permit.
const LONGEST_WINDOW: Duration = Duration::from_secs(3600);

/// Rate of one operation's calls.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    /// Calls a second that the settings permit, [`USED_PART`] applied.
    configured: f64,
    /// Calls a second now.
    current: f64,
    window: Duration,
    /// Time from which another throttle lowers the rate again.
    lowers_from: Option<Instant>,
    /// Time of the next step of growth; none at the configured rate.
    grows_at: Option<Instant>,
}

impl Rate {
    /// Returns the rate of a quota of `per_second` calls, of which this gateway may use `share`; `None` for a quota of
    /// 0, which means no limit.
    pub(super) fn new(per_second: f64, share: f64) -> Option<Self> {
        let quota = per_second * share;
        if quota.is_nan() || quota <= 0.0 {
            return None;
        }
        let window = if quota < 1.0 {
            SECOND.div_f64(quota.max(1.0 / LONGEST_WINDOW.as_secs_f64()))
        } else {
            SECOND
        };
        let configured = quota * USED_PART;
        Some(Self {
            configured,
            current: configured,
            window,
            lowers_from: None,
            grows_at: None,
        })
    }

    /// Returns the number of calls that may be in flight or finished within the last window, for who has this share
    /// of the rate; at least one.
    pub(super) fn limit(&self, share: f64) -> usize {
        whole(self.current * share)
    }

    /// Returns the time for which a finished call keeps its slot: a second, or longer for less than one call a second.
    pub(super) const fn window(&self) -> Duration {
        self.window
    }

    /// Returns the number of calls a second that the limit of a share amounts to.
    pub(super) fn per_second(&self, share: f64) -> f64 {
        self.limit(share) as f64 / self.window.as_secs_f64()
    }

    /// Returns the number of calls a second that the settings amount to.
    pub(super) fn configured(&self) -> f64 {
        whole(self.configured) as f64 / self.window.as_secs_f64()
    }

    /// Returns whether a throttle has lowered the rate, and it has not grown back yet.
    pub(super) const fn is_lowered(&self) -> bool {
        self.grows_at.is_some()
    }

    /// Returns the time of the next step of growth, if the rate is lowered.
    pub(super) const fn grows_at(&self) -> Option<Instant> {
        self.grows_at
    }

    /// Lowers the rate by a third after a throttle whose window ends at `throttled_until`. Further throttles up to
    /// then, and within the rate's own window, belong to the same calls and lower nothing.
    pub(super) fn lower(&mut self, throttled_until: Instant, now: Instant) {
        if self.lowers_from.is_some_and(|from| now < from) {
            return;
        }
        self.lowers_from = Some(throttled_until.max(now + self.window));
        self.grows_at = Some(now + GROWTH_INTERVAL);
        self.current = (self.current * LOWERED).max(self.lowest());
    }

    /// Lets the rate grow by the steps that are due.
    pub(super) fn grow(&mut self, now: Instant) {
        while let Some(at) = self.grows_at.filter(|at| *at <= now) {
            self.current += self.configured * STEP;
            self.grows_at = Some(at + GROWTH_INTERVAL);
            if self.current >= self.configured {
                (self.current, self.grows_at) = (self.configured, None);
            }
        }
    }

    fn lowest(&self) -> f64 {
        (self.configured * STEP).max(1.0).min(self.configured)
    }
}

/// Rounds a limit down to a whole number of calls; at least one.
fn whole(limit: f64) -> usize {
    // The small addition corrects products such as 0.95 × 20, which may come out just below the whole number.
    ((limit + 1e-9).floor() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: f64, share: f64) -> (usize, Duration) {
        let rate = Rate::new(per_second, share).unwrap();
        (rate.limit(1.0), rate.window())
    }

    #[test]
    fn the_limit_is_95_percent_of_the_share_and_at_least_one() {
        let secs = Duration::from_secs;
        for (per_second, share, expected) in [
            (50.0, 1.0, (47, secs(1))),
            (20.0, 1.0, (19, secs(1))),
            (20.0, 0.5, (9, secs(1))),
            (1.0, 1.0, (1, secs(1))),
            (2.0, 0.25, (1, secs(2))),
            (0.1, 1.0, (1, secs(10))),
            (1e-9, 1.0, (1, secs(3600))),
        ] {
            assert_eq!(limit(per_second, share), expected, "{per_second} {share}");
        }
        assert!(Rate::new(0.0, 1.0).is_none() && Rate::new(50.0, 0.0).is_none());
    }

    #[test]
    fn a_throttle_lowers_by_a_third_once_a_window_and_growth_takes_ten_seconds_a_step() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rate = Rate::new(50.0, 1.0).unwrap();
        rate.lower(at(200), at(0));
        assert_eq!((rate.limit(1.0), rate.is_lowered()), (31, true));
        // The other calls of the same burst, and a throttle within the second.
        rate.lower(at(200), at(1));
        rate.lower(at(1000), at(900));
        assert_eq!(rate.limit(1.0), 31);
        rate.lower(at(5000), at(1000));
        assert_eq!(rate.limit(1.0), 21);
        // The second throttle named a window that lasts longer than a second.
        rate.lower(at(5000), at(4000));
        assert_eq!(rate.limit(1.0), 21);
        rate.grow(at(10_999));
        assert_eq!(rate.limit(1.0), 21);
        let steps = [11_000, 21_000, 31_000, 41_000, 51_000, 61_000].map(|ms| {
            rate.grow(at(ms));
            rate.limit(1.0)
        });
        assert_eq!(steps, [25, 30, 35, 40, 44, 47]);
        assert!(!rate.is_lowered());
    }

    #[test]
    fn the_rate_never_falls_below_a_tenth_nor_below_one_a_second() {
        let start = Instant::now();
        for (per_second, lowest) in [(500.0, 47), (50.0, 4), (5.0, 1), (0.5, 1)] {
            let mut rate = Rate::new(per_second, 1.0).unwrap();
            let window = rate.window();
            for second in 0..60 {
                let now = start + Duration::from_secs(10 * second);
                rate.lower(now, now);
            }
            assert_eq!(
                (rate.limit(1.0), rate.window()),
                (lowest, window),
                "{per_second}"
            );
        }
    }
}
