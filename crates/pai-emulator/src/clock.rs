//! The emulator's clock, which a test can set wrong.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// The system's clock, off by a settable number of milliseconds.
#[derive(Debug, Default)]
pub(super) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    pub(super) fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset_ms.load(Ordering::Relaxed));
        // Saturating: an absurd offset ends at the calendar's edge instead of in a panic.
        Timestamp::now()
            .saturating_add(offset)
            .unwrap_or(Timestamp::MAX)
    }

    pub(super) fn set_offset(&self, offset: SignedDuration) {
        let ms = i64::try_from(offset.as_millis()).unwrap_or(i64::MAX);
        self.offset_ms.store(ms, Ordering::Relaxed);
    }
}

/// The API's time form: UTC, to the millisecond.
pub(super) fn to_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_its_offset() {
        let clock = Clock::default();
        clock.set_offset(SignedDuration::from_hours(-2));
        let off = Timestamp::now().duration_since(clock.now());
        assert!((off - SignedDuration::from_hours(2)).abs() < SignedDuration::from_secs(5));
    }

    #[test]
    fn times_are_written_to_the_millisecond() {
        let time: Timestamp = "2021-01-21T17:12:35.2Z".parse().unwrap();
        assert_eq!(to_text(time), "2021-01-21T17:12:35.200Z");
    }
}
