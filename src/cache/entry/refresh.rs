//! When an entry was last refreshed in the background.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Unit of the times kept here. Two bytes of them keep an entry as small as it was.
const UNIT: Duration = Duration::from_millis(100);
/// Units between two background refreshes of one entry: more than a second, whatever is lost by rounding down.
const INTERVAL: u16 = 11;

/// Start of an entry's latest background refresh, in units since the entry was asked for; 0 before the first, since
/// the entry's own fetch was one. The count starts anew every 109 minutes, when a refresh may wait for a second in vain.
#[derive(Debug, Default)]
pub(super) struct LastRefresh(AtomicU16);

impl Clone for LastRefresh {
    fn clone(&self) -> Self {
        Self(AtomicU16::new(self.0.load(Ordering::Relaxed)))
    }
}

impl LastRefresh {
    /// Begins a refresh of what is held for so long, unless one began less than a second ago. Of two threads that
    /// ask at once, one may.
    pub(super) fn begin(&self, held: Duration) -> bool {
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
        fn refreshes_begin_a_second_apart_and_few_are_kept_back_longer(
            start in 0u64..10_000_000, pauses in prop::collection::vec(0u64..1500, 1..200),
        ) {
            let refresh = LastRefresh::default();
            let begin = |at| refresh.begin(Duration::from_millis(at));
            let (mut now, mut last, mut late) = (start, None, 0);
            for pause in pauses {
                now += pause;
                let since = last.map_or(now, |last| now - last);
                let begins = begin(now);
                prop_assert!(!begins || since > 1000, "{since}");
                late += u32::from(!begins && since >= 1200);
                if begins {
                    last = Some(now);
                }
            }
            prop_assert!(late <= 2, "{late}");
        }

        #[test]
        fn nothing_is_refreshed_within_a_second_of_its_fetch(held in 0u64..=1000) {
            prop_assert!(!LastRefresh::default().begin(Duration::from_millis(held)));
        }
    }
}
