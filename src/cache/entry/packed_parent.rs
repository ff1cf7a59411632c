//! A parent gateway's statements about an entry, in eight bytes: of a million entries, few have a parent.

use std::time::Duration;

use super::saturating;
use crate::cache::parent::{Detail, Parent};

/// A [`Parent`], or none, packed into two words.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackedParent {
    /// Age in seconds, and the detail in the bits above; [`Self::AGE`] holds any age up to the bound.
    age_and_detail: u32,
    /// Ttl in seconds; [`UNSAID`] if the parent stated none.
    ttl: u32,
}

impl PackedParent {
    /// The value for an answer of the API itself.
    pub(super) const NONE: Self = Self {
        age_and_detail: UNSAID,
        ttl: UNSAID,
    };
    const AGE: u32 = (1 << DETAIL_AT) - 1;

    pub(super) fn of(parent: Option<Parent>) -> Self {
        let Some(Parent { age, ttl, detail }) = parent else {
            return Self::NONE;
        };
        let detail = match detail {
            None => 0,
            Some(Detail::Revalidating) => 1,
            Some(Detail::OriginError) => 2,
            Some(Detail::OverBudget) => 3,
        };
        Self {
            age_and_detail: (detail << DETAIL_AT) | saturating(age.as_secs()).min(Self::AGE),
            ttl: ttl.map_or(UNSAID, |ttl| saturating(ttl.as_secs())),
        }
    }

    pub(super) const fn is_some(self) -> bool {
        self.age_and_detail != UNSAID
    }

    /// Returns the age of the parent's copy; zero without a parent.
    pub(super) const fn age(self) -> Duration {
        let seconds = if self.is_some() {
            self.age_and_detail & Self::AGE
        } else {
            0
        };
        Duration::from_secs(seconds as u64)
    }

    pub(super) fn unpacked(self) -> Option<Parent> {
        self.is_some().then(|| Parent {
            age: self.age(),
            ttl: (self.ttl != UNSAID).then(|| Duration::from_secs(self.ttl.into())),
            detail: match self.age_and_detail >> DETAIL_AT {
                1 => Some(Detail::Revalidating),
                2 => Some(Detail::OriginError),
                3 => Some(Detail::OverBudget),
                _ => None,
            },
        })
    }
}

const UNSAID: u32 = u32::MAX;
/// 24 bits are 194 days.
const DETAIL_AT: u32 = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::parent::MAX_AGE;

    #[test]
    fn packing_and_unpacking_keeps_every_value() {
        let details = [
            None,
            Some(Detail::Revalidating),
            Some(Detail::OriginError),
            Some(Detail::OverBudget),
        ];
        for detail in details {
            for ttl in [None, Some(Duration::ZERO), Some(2 * MAX_AGE)] {
                for age in [Duration::ZERO, Duration::from_secs(1), MAX_AGE] {
                    let parent = Some(Parent { age, ttl, detail });
                    assert_eq!(PackedParent::of(parent).unpacked(), parent);
                    assert_eq!(PackedParent::of(parent).age(), age);
                }
            }
        }
        assert_eq!(PackedParent::of(None).unpacked(), None);
        assert_eq!(PackedParent::of(None).age(), Duration::ZERO);
    }
}
