//! The time of an entry's latest background refresh, in two bytes.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Unit of the stored times. Sixteen bits of it keep an entry at its size.
const UNIT: Duration = Duration::from_millis(100);
/// Units between two background refreshes of one entry: more than a second, even after rounding down.
const INTERVAL: u16 = 11;

/// Start of an entry's latest background refresh, in units since the entry's request; 0 before the first, for
/// the entry's own fetch was one. The count wraps every 109 minutes, when one refresh may be put off by a
/// second.
#[derive(Debug, Default)]
pub(in crate::cache) struct LastRefresh(AtomicU16);

impl Clone for LastRefresh {
    fn clone(&self) -> Self {
        Self(AtomicU16::new(self.0.load(Ordering::Relaxed)))
    }
}

impl LastRefresh {
    /// Begins a refresh of an entry of this resident time, unless one began less than a second ago. Of two
    /// threads that call at once, one gets `true`.
    pub(in crate::cache) fn begin(&self, held: Duration) -> bool {
        let units = held.as_millis() / UNIT.as_millis();
        let now = (units % (1 << u16::BITS)) as u16;
        let last = self.0.load(Ordering::Relaxed);
        now.wrapping_sub(last) >= INTERVAL
            && self
                .0
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn refreshes_begin_a_second_apart_and_one_at_most_is_put_off(
            start in 0u64..10_000_000, pauses in prop::collection::vec(0u64..1500, 1..200),
        ) {
            let refresh = LastRefresh::default();
            let begin = |at| refresh.begin(Duration::from_millis(at));
            let (mut now, mut last, mut put_off, mut is_late) = (start, None, 0, false);
            for pause in pauses {
                now += pause;
                let since = last.map_or(now, |last| now - last);
                let begins = begin(now);
                prop_assert!(!begins || since > 1000, "{since}");
                let was_late = std::mem::replace(&mut is_late, !begins && since >= 1200);
                put_off += u32::from(is_late && !was_late);
                if begins {
                    last = Some(now);
                }
            }
            prop_assert!(put_off <= 1, "{put_off}");
        }

        #[test]
        fn nothing_is_refreshed_within_a_second_of_its_fetch(held in 0u64..=1000) {
            prop_assert!(!LastRefresh::default().begin(Duration::from_millis(held)));
        }
    }
}
