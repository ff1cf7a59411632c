//! Freshness of an answer when it arrived: its initial age (RFC 9111 §4.2.3), and the bound of its ttl at the cache
//! that sent it. An answer of the origin itself has neither.

use std::time::Duration;

use crate::observability::outcome::StaleReason;

/// Greatest age that is believed of an answer.
pub const MAX_AGE: Duration = Duration::from_secs(31 * 24 * 3600);

/// Age and bounds that an answer brings from the caches between the origin and this gateway, in whole seconds. The
/// default is that of an answer of the origin itself: of age zero, and without a bound.
///
/// A cache may hold a million of them, so each takes eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamFreshness {
    /// Age in the lower [`REASON_AT`] bits, which hold any age up to [`MAX_AGE`]; above it the reason's number from 1,
    /// or 0.
    age_and_reason: u32,
    /// [`UNCAPPED`] for none.
    ttl_cap: u32,
}

impl Default for UpstreamFreshness {
    fn default() -> Self {
        Self {
            age_and_reason: 0,
            ttl_cap: UNCAPPED,
        }
    }
}

impl UpstreamFreshness {
    /// Creates the freshness of an answer of this age, which is fresh at its sender for `left` seconds more, if that
    /// is known; negative for a stale one. An answer that is stale for a reason has no time left, whatever its age. An
    /// age beyond [`MAX_AGE`] counts as that, and a ttl beyond twice as much as that.
    #[must_use]
    pub fn new(initial_age: Duration, left: Option<i64>, reason: Option<StaleReason>) -> Self {
        let age = initial_age.min(MAX_AGE).as_secs();
        let cap = left.map(|left| {
            let left = if reason.is_some() { left.min(0) } else { left };
            let ttl = age.saturating_add_signed(left);
            packed(ttl.min(2 * MAX_AGE.as_secs()))
        });
        Self {
            age_and_reason: (reason.map_or(0, |reason| reason as u32 + 1) << REASON_AT)
                | packed(age),
            ttl_cap: cap.unwrap_or(UNCAPPED),
        }
    }

    /// Returns the age of the answer when its request was sent, so that the delay of the answer counts as time that it
    /// spent here.
    #[must_use]
    pub const fn initial_age(self) -> Duration {
        Duration::from_secs((self.age_and_reason & AGE) as u64)
    }

    /// Returns the greatest ttl that the answer may have here, counted from its age of zero: its ttl at its sender.
    #[must_use]
    pub fn ttl_cap(self) -> Option<Duration> {
        (self.ttl_cap != UNCAPPED).then(|| Duration::from_secs(self.ttl_cap.into()))
    }

    /// Returns the reason for which its sender had no newer answer.
    #[must_use]
    pub fn stale_reason(self) -> Option<StaleReason> {
        let number = (self.age_and_reason >> REASON_AT) as usize;
        StaleReason::ALL.get(number.checked_sub(1)?).copied()
    }

    /// Returns the rest of the ttl at its sender, in seconds; negative for a stale answer.
    #[must_use]
    pub fn left(self) -> Option<i64> {
        let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        Some(whole(self.ttl_cap()?) - whole(self.initial_age()))
    }

    /// Returns whether another cache had held the answer before it came here.
    #[must_use]
    pub const fn is_from_cache(self) -> bool {
        self.age_and_reason != 0 || self.ttl_cap != UNCAPPED
    }
}

/// Converts seconds that are bounded by twice [`MAX_AGE`], which 32 bits hold.
fn packed(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

const UNCAPPED: u32 = u32::MAX;
/// 24 bits are 194 days.
const REASON_AT: u32 = 24;
const AGE: u32 = (1 << REASON_AT) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_ttl_is_the_age_and_the_time_left() {
        for (left, reason, cap, left_then) in [
            (None, None, None, None),
            (Some(20), None, Some(120), Some(20)),
            (Some(0), None, Some(100), Some(0)),
            (Some(-30), None, Some(70), Some(-30)),
            (Some(-300), None, Some(0), Some(-100)),
            (
                Some(-5),
                Some(StaleReason::Revalidating),
                Some(95),
                Some(-5),
            ),
            // Stale for another reason than its age.
            (Some(50), Some(StaleReason::OriginError), Some(100), Some(0)),
            (None, Some(StaleReason::OverBudget), None, None),
            (Some(i64::MAX), None, Some(5_356_800), Some(5_356_700)),
            (Some(i64::MIN), None, Some(0), Some(-100)),
        ] {
            let freshness = UpstreamFreshness::new(secs(100), left, reason);
            assert_eq!(freshness.initial_age(), secs(100));
            assert_eq!(freshness.ttl_cap(), cap.map(secs), "{left:?}");
            assert_eq!(freshness.left(), left_then, "{left:?}");
            assert_eq!(freshness.stale_reason(), reason);
            assert!(freshness.is_from_cache());
        }
    }

    #[test]
    fn an_age_is_believed_up_to_its_bound() {
        for (age, believed) in [
            (0, 0),
            (2_678_400, 2_678_400),
            (2_678_401, 2_678_400),
            (u64::MAX, 2_678_400),
        ] {
            let freshness = UpstreamFreshness::new(secs(age), None, Some(StaleReason::OverBudget));
            assert_eq!(freshness.initial_age(), secs(believed));
            assert_eq!(freshness.stale_reason(), Some(StaleReason::OverBudget));
        }
    }

    #[test]
    fn an_answer_of_the_origin_has_no_age_and_no_bound() {
        let origins = UpstreamFreshness::default();
        assert_eq!(origins, UpstreamFreshness::new(Duration::ZERO, None, None));
        assert_eq!(
            (origins.initial_age(), origins.ttl_cap()),
            (Duration::ZERO, None)
        );
        assert!(!origins.is_from_cache());
        assert!(UpstreamFreshness::new(Duration::ZERO, Some(0), None).is_from_cache());
    }

    #[test]
    fn a_reason_is_written_as_rfc_9211_has_it() {
        for (reason, detail) in [
            (StaleReason::Revalidating, "revalidating"),
            (StaleReason::OriginError, "origin-error"),
            (StaleReason::OverBudget, "over-budget"),
        ] {
            assert_eq!(reason.as_str(), detail);
            assert_eq!(detail.parse(), Ok(reason));
        }
        assert!("not-found".parse::<StaleReason>().is_err());
    }
}
