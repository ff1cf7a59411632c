//! This machine's wall clock, corrected by the clocks of the origin and of STS.
//!
//! The vendor rejects a request whose timestamp is more than 15 minutes off the server's clock, and a credential's
//! expiration is a moment on the server's clock too. One offset serves all of it: the dates of signatures for the
//! origin and for STS, and the decision whether a credential has expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

use crate::credentials::{Observer, Unobserved};

/// Difference up to which the `Date` of an accepted response is ignored: it is in whole seconds, and the response
/// itself takes a while to arrive.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(30);

/// Wall clock with an offset that responses of the vendor's servers correct.
#[derive(Debug)]
pub struct Clock {
    offset_ms: AtomicI64,
    observer: Arc<dyn Observer>,
}

/// Response that a server's date comes from, which decides how far the date is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateSource {
    /// The server rejected a request's timestamp: its date counts, however small the difference.
    TimestampRejected,
    /// The server accepted a request: its date counts only beyond 30 seconds of difference.
    Response,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Arc::new(Unobserved))
    }
}

impl Clock {
    /// Creates a clock without an offset, which reports its corrections.
    #[must_use]
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            offset_ms: AtomicI64::new(0),
            observer,
        }
    }

    /// Returns the time of the corrected clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.corrected(Timestamp::now())
    }

    /// Compares a server's date with `received`, this machine's uncorrected time of the response, and stores the
    /// difference as the new offset where `source` allows it. Reports the change.
    pub fn learn(&self, date: Timestamp, received: Timestamp, source: DateSource, server: &str) {
        let Some(offset) = correction(self.offset(), date.duration_since(received), source) else {
            return;
        };
        let milliseconds = i64::try_from(offset.as_millis()).unwrap_or(0);
        self.offset_ms.store(milliseconds, Ordering::Relaxed);
        self.observer.clock_corrected(server, offset);
    }

    fn offset(&self) -> SignedDuration {
        SignedDuration::from_millis(self.offset_ms.load(Ordering::Relaxed))
    }

    fn corrected(&self, time: Timestamp) -> Timestamp {
        time.checked_add(self.offset()).unwrap_or(time)
    }
}

/// Returns the new offset, or `None` to keep the current one.
fn correction(
    current: SignedDuration,
    measured: SignedDuration,
    source: DateSource,
) -> Option<SignedDuration> {
    match source {
        DateSource::TimestampRejected => Some(measured),
        DateSource::Response => ((measured - current).abs() > TOLERANCE).then_some(measured),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset_after(seconds: &[(i64, DateSource)]) -> i64 {
        let clock = Clock::default();
        let received = Timestamp::from_second(1_800_000_000).unwrap();
        for (ahead, source) in seconds {
            let date = received + SignedDuration::from_secs(*ahead);
            clock.learn(date, received, *source, "STS");
        }
        clock.corrected(received).duration_since(received).as_secs()
    }

    #[test]
    fn a_refusal_corrects_the_clock_by_any_difference() {
        assert_eq!(offset_after(&[]), 0);
        for ahead in [-1200, -1, 0, 2, 4200] {
            assert_eq!(
                offset_after(&[(ahead, DateSource::TimestampRejected)]),
                ahead
            );
        }
    }

    #[test]
    fn an_answer_corrects_the_clock_only_where_the_difference_matters() {
        for (ahead, expected) in [(29, 0), (-30, 0), (31, 31), (-4200, -4200)] {
            assert_eq!(offset_after(&[(ahead, DateSource::Response)]), expected);
        }
        let mended = [(1200, DateSource::Response), (1190, DateSource::Response)];
        assert_eq!(offset_after(&mended), 1200);
        let back = [(1200, DateSource::Response), (0, DateSource::Response)];
        assert_eq!(offset_after(&back), 0);
    }
}
