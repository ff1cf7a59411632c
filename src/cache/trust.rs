//! Since when what is held has heard of every order to forget.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Costs a look-up one load.
#[derive(Debug)]
pub(super) struct Trust {
    began: Instant,
    /// Milliseconds from `began`, rounded up; 0 trusts everything.
    since: AtomicU64,
}

impl Trust {
    /// Trusts everything.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            since: AtomicU64::new(0),
        }
    }

    pub(super) fn since(&self, since: Option<Instant>) {
        let whole = |since: Instant| {
            let passed = since.saturating_duration_since(self.began).as_millis();
            u64::try_from(passed).unwrap_or(u64::MAX - 1) + 1
        };
        self.since.store(since.map_or(0, whole), Ordering::Relaxed);
    }

    /// Whether what was asked for then is trusted.
    pub(super) fn covers(&self, sent: Instant) -> bool {
        match self.since.load(Ordering::Relaxed) {
            0 => true,
            since => {
                let passed = sent.saturating_duration_since(self.began).as_millis();
                passed >= u128::from(since)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_asked_for_before_is_not_trusted() {
        let trust = Trust::new();
        let at = |milliseconds| trust.began + Duration::from_millis(milliseconds);
        assert!(trust.covers(at(0)));
        trust.since(Some(at(10)));
        assert!(!trust.covers(at(0)) && !trust.covers(at(10)));
        assert!(trust.covers(at(11)));
        trust.since(Some(at(0)));
        assert!(!trust.covers(at(0)) && trust.covers(at(1)));
        trust.since(None);
        assert!(trust.covers(at(0)));
    }
}
