//! Limit on the account's requests per second.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Rate limit that counts requests in windows of one second.
#[derive(Debug)]
pub(super) struct Quota {
    limit: u32,
    window: Mutex<QuotaWindow>,
}

#[derive(Debug)]
struct QuotaWindow {
    begun: Instant,
    taken: u32,
}

/// Result of counting a request against the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuotaGrant {
    /// True if the request is within the limit.
    pub(super) allowed: bool,
    limit: u32,
    remain: u32,
    /// Time until the window ends.
    pub(super) left: Duration,
}

impl Quota {
    const WINDOW: Duration = Duration::from_secs(1);

    pub(super) fn new(limit: u32, now: Instant) -> Self {
        let window = QuotaWindow {
            begun: now,
            taken: 0,
        };
        Self {
            limit,
            window: Mutex::new(window),
        }
    }

    pub(super) fn take(&self, now: Instant) -> QuotaGrant {
        let mut window = self.window.lock();
        if now.duration_since(window.begun) >= Self::WINDOW {
            *window = QuotaWindow {
                begun: now,
                taken: 0,
            };
        }
        let allowed = window.taken < self.limit;
        window.taken += u32::from(allowed);
        QuotaGrant {
            allowed,
            limit: self.limit,
            remain: self.limit - window.taken,
            left: Self::WINDOW.saturating_sub(now.duration_since(window.begun)),
        }
    }
}

impl QuotaGrant {
    /// Returns the value of the header `x-ratelimit-user-api`.
    pub(super) fn header(&self) -> String {
        let left = self.left.as_millis();
        format!(
            "Limit:{},Remain:{},TimeLeft:{left},Reset:1",
            self.limit, self.remain
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_the_whole_limit() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let quota = Quota::new(2, start);
        let grants: Vec<bool> = (0..3).map(|ms| quota.take(after(ms)).allowed).collect();
        assert_eq!(grants, [true, true, false]);
        let refused = quota.take(after(400));
        assert_eq!(refused.left, Duration::from_millis(600));
        assert_eq!(refused.header(), "Limit:2,Remain:0,TimeLeft:600,Reset:1");
        assert!(quota.take(after(1_000)).allowed);
    }
}
