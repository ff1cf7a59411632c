//! Priorities of calls to the origin, for when it cannot take all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Purpose of a call to the origin, the least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// Prewarm of a cache entry that no client has requested yet.
    Prewarm,
    /// Refresh while clients are answered from the cache.
    Background,
    /// Fetch that a client forces although the cache holds an answer.
    Forced,
    /// Fetch that a client waits for because the cache holds no answer.
    Miss,
}

impl Priority {
    const ALL: [Self; 4] = [Self::Prewarm, Self::Background, Self::Forced, Self::Miss];
}

/// Priority of one fetch, which rises to that of its most urgent waiter. Clones share it.
///
/// The ordering of the loads and stores is relaxed: a queue that sees a rise late only serves one other call first.
#[derive(Debug, Clone)]
pub struct SharedPriority(Arc<AtomicU8>);

impl SharedPriority {
    /// Creates the priority of a new fetch.
    #[must_use]
    pub fn new(priority: Priority) -> Self {
        Self(Arc::new(AtomicU8::new(priority as u8)))
    }

    /// Raises the priority to at least this one; it never falls.
    pub fn raise(&self, priority: Priority) {
        self.0.fetch_max(priority as u8, Ordering::Relaxed);
    }

    /// Returns the current priority.
    #[must_use]
    pub fn now(&self) -> Priority {
        let level = usize::from(self.0.load(Ordering::Relaxed));
        Priority::ALL.get(level).copied().unwrap_or(Priority::Miss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_only_rises() {
        let priority = SharedPriority::new(Priority::Background);
        let shared = priority.clone();
        shared.raise(Priority::Miss);
        shared.raise(Priority::Prewarm);
        assert_eq!(priority.now(), Priority::Miss);
    }
}
