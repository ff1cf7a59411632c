//! A limit of records per second, as a value: a stranger must not fill the disk by being refused.

use std::time::{Duration, Instant};

/// Admits up to a limit of records within each second, and counts the omitted ones for the next record.
#[derive(Debug)]
pub(super) struct RefusalLimit {
    limit: u32,
    left: u32,
    since: Option<Instant>,
    omitted: u64,
}

impl RefusalLimit {
    pub(super) const fn new(limit: u32) -> Self {
        Self {
            limit,
            left: limit,
            since: None,
            omitted: 0,
        }
    }

    /// Admits one more, with the number of those that were not admitted since the last that was.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self
            .since
            .is_none_or(|since| now >= since + Duration::from_secs(1))
        {
            (self.since, self.left) = (Some(now), self.limit);
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.omitted = self.omitted.saturating_add(1);
            return None;
        };
        self.left = left;
        Some(std::mem::take(&mut self.omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_record_counts_the_omitted_ones() {
        let start = Instant::now();
        let mut rate = RefusalLimit::new(2);
        let admitted: Vec<_> = (0..5).map(|_| rate.admit(start)).collect();
        assert_eq!(admitted, [Some(0), Some(0), None, None, None]);
        assert_eq!(rate.admit(start + Duration::from_millis(999)), None);
        let later = start + Duration::from_secs(1);
        assert_eq!(rate.admit(later), Some(4));
        assert_eq!(rate.admit(later), Some(0));
    }
}
