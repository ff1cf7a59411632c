//! Trust in items: they answer for GetImage once both have agreed, and not where they have differed.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::time::Instant;

use crate::api::ImageKey;

/// Comparisons that must agree, for each Verbose, before items answer.
const ENOUGH: u32 = 3;
/// Mismatches after which items answer no more until the next start.
const TOO_MANY: u32 = 3;
/// Images that may be suspended at once.
const MAX_SUSPENDED: usize = 10_000;

/// Agreements and differences of items and GetImage's answers.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// Agreements, by Verbose.
    agreed: [u32; 2],
    mismatches: u32,
    suspended: HashMap<ImageKey, Suspension>,
}

/// A difference whose cause is open: the image may have changed after the page was made.
#[derive(Debug)]
struct Suspension {
    /// Time of GetImage's answer.
    since: Instant,
    /// The member that differs.
    field: &'static str,
    /// The item at that time.
    item: Bytes,
    /// It was counted as a mismatch.
    is_mismatch: bool,
}

impl Trust {
    /// Records that an item and GetImage's answer agree.
    pub(super) fn agrees(&mut self, key: &ImageKey) {
        let agreed = &mut self.agreed[usize::from(key.verbose)];
        *agreed = agreed.saturating_add(1);
        self.suspended.remove(key);
    }

    /// Records that GetImage's answer of this time differs from an item. Returns whether there was room: otherwise
    /// the item must not be kept.
    pub(super) fn differs(
        &mut self,
        key: &ImageKey,
        field: &'static str,
        item: &Bytes,
        since: Instant,
    ) -> bool {
        if self.suspended.len() >= MAX_SUSPENDED && !self.suspended.contains_key(key) {
            return false;
        }
        let suspension = Suspension {
            since,
            field,
            item: item.clone(),
            is_mismatch: self.is_known(key, item),
        };
        self.suspended.insert(key.clone(), suspension);
        true
    }

    /// Takes note of the item on a page that was asked for then. Returns the member that differs if that page proves a
    /// mismatch: it was made after GetImage's answer and shows the old value. Another value ends the suspension.
    pub(super) fn shown(
        &mut self,
        key: &ImageKey,
        item: &[u8],
        asked: Instant,
    ) -> Option<&'static str> {
        let suspension = self.suspended.get_mut(key)?;
        if asked <= suspension.since {
            return None;
        }
        if suspension.item != item {
            self.suspended.remove(key);
            return None;
        }
        if suspension.is_mismatch {
            return None;
        }
        suspension.is_mismatch = true;
        self.mismatches = self.mismatches.saturating_add(1);
        Some(suspension.field)
    }

    /// Returns whether this very item is known to differ from GetImage's answer.
    pub(super) fn is_known(&self, key: &ImageKey, item: &[u8]) -> bool {
        let suspension = self.suspended.get(key);
        suspension.is_some_and(|suspension| suspension.is_mismatch && suspension.item == item)
    }

    /// Returns whether items of this Verbose may answer.
    pub(super) const fn is_enough(&self, verbose: bool) -> bool {
        self.agreed[verbose as usize] >= ENOUGH && self.mismatches < TOO_MANY
    }

    /// Returns whether the item of this image may answer.
    pub(super) fn may_answer(&self, key: &ImageKey) -> bool {
        self.is_enough(key.verbose) && !self.suspended.contains_key(key)
    }

    /// Returns the comparisons that a walk makes: as many as are missing, then one.
    pub(super) const fn comparisons_due(&self, verbose: bool) -> u32 {
        if self.mismatches >= TOO_MANY {
            return 0;
        }
        let missing = ENOUGH.saturating_sub(self.agreed[verbose as usize]);
        if missing > 1 { missing } else { 1 }
    }

    /// Returns the number of mismatches.
    pub(super) const fn mismatches(&self) -> u32 {
        self.mismatches
    }

    /// Returns whether mismatches have turned answering off.
    pub(super) const fn is_lost(&self) -> bool {
        self.mismatches >= TOO_MANY
    }

    /// Forgets the suspensions from before `time` of images without an item.
    pub(super) fn expire(&mut self, time: Instant, has_item: impl Fn(&ImageKey) -> bool) {
        self.suspended
            .retain(|key, suspension| suspension.since >= time || has_item(key));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::ImageId;

    fn key(number: usize) -> ImageKey {
        ImageKey {
            image: ImageId::parse(&format!("image-{number}")).unwrap(),
            verbose: false,
        }
    }

    const OLD: Bytes = Bytes::from_static(b"old");

    #[test]
    fn three_agreements_of_one_verbose_are_enough_for_it() {
        let mut trust = Trust::default();
        assert_eq!(trust.comparisons_due(false), 3);
        for due in [2, 1, 1] {
            assert!(!trust.may_answer(&key(0)));
            trust.agrees(&key(1));
            assert_eq!(trust.comparisons_due(false), due);
        }
        assert!(trust.may_answer(&key(0)));
        assert!(!trust.is_enough(true));
    }

    #[test]
    fn a_difference_is_a_mismatch_only_if_a_later_page_still_shows_the_old_value() {
        let (mut trust, now) = (Trust::default(), Instant::now());
        let later = now + Duration::from_millis(1);
        (0..3).for_each(|_| trust.agrees(&key(1)));
        trust.differs(&key(0), "Name", &OLD, now);
        assert!(!trust.may_answer(&key(0)) && trust.may_answer(&key(2)));
        assert_eq!(trust.shown(&key(0), b"old", now), None);
        assert!(!trust.may_answer(&key(0)));
        assert_eq!(trust.shown(&key(0), b"new", later), None);
        assert!(trust.may_answer(&key(0)));
        trust.differs(&key(0), "Name", &OLD, now);
        assert_eq!(trust.shown(&key(0), b"old", later), Some("Name"));
        assert_eq!(trust.shown(&key(0), b"old", later), None);
        assert!(!trust.may_answer(&key(0)) && trust.is_known(&key(0), b"old"));
        assert!(!trust.is_known(&key(0), b"new"));
        // GetImage says so once more: nothing new.
        trust.differs(&key(0), "Name", &OLD, later);
        assert_eq!(
            trust.shown(&key(0), b"old", later + Duration::from_secs(1)),
            None
        );
        assert_eq!(trust.mismatches(), 1);
        trust.agrees(&key(0));
        assert!(trust.may_answer(&key(0)));
    }

    #[test]
    fn three_mismatches_end_all_answers() {
        let (mut trust, now) = (Trust::default(), Instant::now());
        (0..9).for_each(|_| trust.agrees(&key(9)));
        for number in 0..3 {
            assert!(trust.may_answer(&key(9)) && !trust.is_lost());
            trust.differs(&key(number), "Size", &OLD, now);
            trust.shown(&key(number), b"old", now + Duration::from_secs(1));
        }
        assert!(!trust.may_answer(&key(9)) && trust.is_lost());
        (0..9).for_each(|_| trust.agrees(&key(9)));
        assert!(!trust.may_answer(&key(9)));
        assert_eq!(trust.comparisons_due(false), 0);
    }

    #[test]
    fn suspensions_are_bounded_and_end_with_their_images() {
        let (mut trust, now) = (Trust::default(), Instant::now());
        for number in 0..MAX_SUSPENDED {
            assert!(trust.differs(&key(number), "Size", &OLD, now));
        }
        assert!(!trust.differs(&key(MAX_SUSPENDED), "Size", &OLD, now));
        assert!(trust.differs(&key(0), "Size", &OLD, now));
        trust.expire(now, |_| false);
        assert_eq!(trust.suspended.len(), MAX_SUSPENDED);
        trust.expire(now + Duration::from_secs(1), |held| *held == key(7));
        assert_eq!(trust.suspended.len(), 1);
    }
}
