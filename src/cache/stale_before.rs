//! The time before which cached entries may have missed an invalidation.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// The oldest request time whose answer counts as fresh, read on every lookup: one relaxed load and no lock.
///
/// The shared tier sets it when it lost its place in the invalidation log and lifts it once it has caught up.
#[derive(Debug)]
pub(super) struct StaleBefore {
    /// The zero of `threshold`, since an [`Instant`] does not fit an atomic.
    epoch: Instant,
    /// Milliseconds from `epoch`, rounded up; 0 while every entry is current.
    threshold: AtomicU64,
}

impl Default for StaleBefore {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            threshold: AtomicU64::new(0),
        }
    }
}

impl StaleBefore {
    /// Marks answers to requests sent up to `time` as stale; `None` makes every entry current again.
    pub(super) fn set(&self, time: Option<Instant>) {
        let whole = |time: Instant| {
            let passed = time.saturating_duration_since(self.epoch).as_millis();
            u64::try_from(passed).unwrap_or(u64::MAX - 1) + 1
        };
        self.threshold
            .store(time.map_or(0, whole), Ordering::Relaxed);
    }

    /// Returns whether an answer to a request sent then has seen every invalidation.
    pub(super) fn is_current(&self, sent: Instant) -> bool {
        match self.threshold.load(Ordering::Relaxed) {
            0 => true,
            threshold => {
                let passed = sent.saturating_duration_since(self.epoch).as_millis();
                passed >= u128::from(threshold)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_to_earlier_requests_are_not_current() {
        let stale_before = StaleBefore::default();
        let at = |milliseconds| stale_before.epoch + Duration::from_millis(milliseconds);
        let is_current = |milliseconds| stale_before.is_current(at(milliseconds));
        assert!(is_current(0));
        stale_before.set(Some(at(10)));
        assert!(!is_current(0) && !is_current(10));
        assert!(is_current(11));
        stale_before.set(Some(at(0)));
        assert!(!is_current(0) && is_current(1));
        stale_before.set(None);
        assert!(is_current(0));
    }
}
