//! Limit on the account's requests per second, of each operation by itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pai_api::Action;
use parking_lot::Mutex;

/// Rate limit that counts each operation's requests of the last second, wherever that second begins.
#[derive(Debug)]
pub(super) struct Quota {
    limit: u32,
    /// Arrival of the requests within the limit, by operation, the earliest first.
    arrivals: Mutex<[VecDeque<Instant>; Action::ALL.len()]>,
}

/// Result of counting a request against the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuotaGrant {
    /// True if the request is within the limit.
    pub(super) allowed: bool,
    limit: u32,
    remain: u32,
    /// Time until the earliest counted request is a second old.
    pub(super) left: Duration,
}

impl Quota {
    const WINDOW: Duration = Duration::from_secs(1);

    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            arrivals: Mutex::default(),
        }
    }

    pub(super) fn take(&self, action: Action, now: Instant) -> QuotaGrant {
        let mut arrivals = self.arrivals.lock();
        let arrivals = &mut arrivals[action as usize];
        let is_over = |at: &Instant| now.duration_since(*at) >= Self::WINDOW;
        while arrivals.front().is_some_and(is_over) {
            arrivals.pop_front();
        }
        let allowed = arrivals.len() < self.limit as usize;
        if allowed {
            arrivals.push_back(now);
        }
        let earliest = arrivals.front().copied().unwrap_or(now);
        let taken = u32::try_from(arrivals.len()).unwrap_or(u32::MAX);
        QuotaGrant {
            allowed,
            limit: self.limit,
            remain: self.limit.saturating_sub(taken),
            left: Self::WINDOW.saturating_sub(now.duration_since(earliest)),
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

    const GET: Action = Action::GetImage;

    #[test]
    fn any_second_has_at_most_the_limit() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let quota = Quota::new(2);
        let allowed = |ms| quota.take(GET, after(ms)).allowed;
        assert_eq!([0, 900, 950].map(allowed), [true, true, false]);
        let refused = quota.take(GET, after(960));
        assert_eq!(refused.left, Duration::from_millis(40));
        assert_eq!(refused.header(), "Limit:2,Remain:0,TimeLeft:40,Reset:1");
        // A window that began anew at 1,000 ms would allow both.
        assert_eq!(
            [1_000, 1_001, 1_899, 1_900].map(allowed),
            [true, false, false, true]
        );
    }

    #[test]
    fn each_operation_has_a_quota_of_its_own() {
        let (quota, now) = (Quota::new(1), Instant::now());
        assert!(quota.take(GET, now).allowed);
        assert!(quota.take(Action::ListImages, now).allowed);
        assert!(!quota.take(GET, now).allowed);
    }
}
