//! A parent gateway's statements about its copy: its age, and the time it stays fresh there.
//!
//! `Age` (RFC 9111 §5.1) moves the request time of an answer back to the parent's own request, so that its age
//! here is its true one. `Cache-Status` (RFC 9211) bounds its ttl: nothing is fresh here for longer than at the
//! parent.

use std::time::Duration;

/// Greatest age that is believed of an answer.
pub const MAX_AGE: Duration = Duration::from_secs(31 * 24 * 3600);
/// Shortest time that a parent's answer is fresh here from its arrival, so that a parent that has only a stale
/// copy does not get every request.
pub const GRACE: Duration = Duration::from_secs(1);
/// Name of this program in a member of `Cache-Status`.
const NAME: &str = "pai-image-gateway";

/// A parent's statements about its copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parent {
    /// Age of the copy when the parent sent it, in whole seconds; at most [`MAX_AGE`].
    pub age: Duration,
    /// Ttl of the copy at the parent, in whole seconds, if the parent answered from memory. Equal to its age if
    /// it is stale for another reason than its age.
    pub ttl: Option<Duration>,
    /// Reason why the parent sent no newer copy.
    pub detail: Option<Detail>,
}

/// Reason why a parent serves a stale copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// It refreshes the copy in the background.
    Revalidating,
    /// Its origin failed.
    OriginError,
    /// This gateway has used up its miss limit there.
    OverBudget,
}

impl Detail {
    const ALL: [Self; 3] = [Self::Revalidating, Self::OriginError, Self::OverBudget];

    /// Returns the value of `detail` in `Cache-Status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revalidating => "revalidating",
            Self::OriginError => "origin-error",
            Self::OverBudget => "over-budget",
        }
    }
}

impl Parent {
    /// Parses both headers of an answer. Unreadable values count as absent, and an absent `Age` as zero.
    #[must_use]
    pub fn read(age: &str, cache_status: &str) -> Self {
        let age = read_age(age).min(MAX_AGE);
        let Some(parameters) = own_member(cache_status) else {
            return Self {
                age,
                ..Self::default()
            };
        };
        let value = |name: &str| {
            let pairs = parameters.iter().filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value)
                .next_back()
        };
        let says = |word: &str| {
            Detail::ALL
                .into_iter()
                .find(|detail| detail.as_str() == word)
        };
        let detail = value("detail").and_then(says);
        let left = value("ttl").and_then(|ttl| ttl.parse::<i64>().ok());
        let left = left.map(|left| if detail.is_some() { left.min(0) } else { left });
        Self {
            age,
            ttl: left.map(|left| ttl(age, left)),
            detail,
        }
    }

    /// Returns the rest of the copy's ttl when the parent sent it, in seconds; negative for a stale one.
    #[must_use]
    pub fn left(&self) -> Option<i64> {
        let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        Some(whole(self.ttl?).saturating_sub(whole(self.age)))
    }
}

/// Returns the ttl of a copy of this age that has so many seconds left.
fn ttl(age: Duration, left: i64) -> Duration {
    let span = Duration::from_secs(left.unsigned_abs());
    if left < 0 {
        age.saturating_sub(span)
    } else {
        age.saturating_add(span).min(2 * MAX_AGE)
    }
}

/// Parses the first age of a list, as RFC 9111 §5.1 asks.
fn read_age(text: &str) -> Duration {
    let first = text.split(',').next().unwrap_or("").trim();
    let is_number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    // All digits and no number that fits: very old.
    let seconds = if is_number {
        first.parse().unwrap_or(u64::MAX)
    } else {
        0
    };
    Duration::from_secs(seconds)
}

/// Returns the parameters of the last member that a gateway of this kind wrote: that of the nearest one.
fn own_member(cache_status: &str) -> Option<Vec<&str>> {
    let members = cache_status.split(',').map(|member| {
        let mut parts = member.split(';').map(str::trim);
        (parts.next().unwrap_or(""), parts.collect())
    });
    members
        .filter(|(name, _)| *name == NAME)
        .map(|(_, parameters)| parameters)
        .next_back()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_age_that_cannot_be_read_counts_as_none() {
        for (text, expected) in [
            ("", 0),
            ("0", 0),
            ("17", 17),
            (" 17 , 99", 17),
            ("-1", 0),
            ("+5", 0),
            ("1.5", 0),
            ("soon", 0),
            ("2678400", 2_678_400),
            ("2678401", 2_678_400),
            ("99999999999999999999999999", 2_678_400),
        ] {
            assert_eq!(Parent::read(text, "").age, secs(expected), "{text}");
        }
    }

    #[test]
    fn the_parents_ttl_is_its_copys_age_and_what_is_left() {
        let read = |status: &str| {
            let parent = Parent::read("100", status);
            (
                parent.ttl.map(|ttl| ttl.as_secs()),
                parent.left(),
                parent.detail,
            )
        };
        for (status, expected) in [
            ("", (None, None, None)),
            (
                "pai-image-gateway; hit; ttl=20",
                (Some(120), Some(20), None),
            ),
            ("pai-image-gateway;hit;ttl=0", (Some(100), Some(0), None)),
            (
                "pai-image-gateway; hit; ttl=-30",
                (Some(70), Some(-30), None),
            ),
            (
                "pai-image-gateway; hit; ttl=-300",
                (Some(0), Some(-100), None),
            ),
            (
                "pai-image-gateway; hit; ttl=-5; detail=revalidating",
                (Some(95), Some(-5), Some(Detail::Revalidating)),
            ),
            (
                "pai-image-gateway; hit; ttl=50; detail=origin-error",
                (Some(100), Some(0), Some(Detail::OriginError)),
            ),
            (
                "pai-image-gateway; fwd=uri-miss; stored",
                (None, None, None),
            ),
            ("nginx; hit; ttl=9", (None, None, None)),
            (
                "pai-image-gateway; hit; ttl=1, nginx; hit; ttl=9",
                (Some(101), Some(1), None),
            ),
            (
                "pai-image-gateway; hit; ttl=1, pai-image-gateway; fwd=uri-miss; stored",
                (None, None, None),
            ),
            (
                "pai-image-gateway; hit; ttl=x; detail=y",
                (None, None, None),
            ),
            (
                "pai-image-gateway; hit; ttl=99999999999",
                (Some(2 * 2_678_400), Some(2 * 2_678_400 - 100), None),
            ),
        ] {
            assert_eq!(read(status), expected, "{status}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_read_within_bounds(age in ".{0,30}", status in ".{0,60}", left: i64) {
            let parent = Parent::read(&age, &status);
            prop_assert!(parent.age <= MAX_AGE && parent.ttl.is_none_or(|ttl| ttl <= 2 * MAX_AGE));
            let parent = Parent::read("60", &format!("pai-image-gateway; hit; ttl={left}"));
            prop_assert!(parent.ttl.is_some_and(|ttl| ttl <= 2 * MAX_AGE));
            prop_assert_eq!(parent.left(), Some(left.clamp(-60, 2 * 2_678_400 - 60)));
        }
    }
}
