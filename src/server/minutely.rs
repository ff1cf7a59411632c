//! Log lines that strangers can cause: at most one a minute, with the number of events since the last.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Counts events of one kind, and tells when a line about them is due.
#[derive(Debug, Default)]
pub(super) struct Minutely(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    since: u64,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Minutely {
    /// Counts one event. Returns the number of events to report, this one included, when the last line
    /// is at least a minute old.
    pub(super) fn count(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock();
        told.since += 1;
        let is_due = told
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= MINUTE);
        is_due.then(|| {
            told.last = Some(now);
            std::mem::take(&mut told.since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute_counts_what_came_since_the_last() {
        let (minutely, start) = (Minutely::default(), Instant::now());
        assert_eq!(minutely.count(start), Some(1));
        for second in 1..60 {
            assert_eq!(minutely.count(start + Duration::from_secs(second)), None);
        }
        assert_eq!(minutely.count(start + MINUTE), Some(60));
        assert_eq!(minutely.count(start + MINUTE), None);
    }
}
