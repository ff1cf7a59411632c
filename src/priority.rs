//! Who goes first when the origin cannot take everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a call to the origin is for, the least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// Nobody has asked yet.
    Prewarm,
    /// Clients are being answered from memory meanwhile.
    Background,
    /// A client wants newer than what there is.
    Forced,
    /// A client waits and there is nothing to answer with.
    Miss,
}

impl Priority {
    const ALL: [Self; 4] = [Self::Prewarm, Self::Background, Self::Forced, Self::Miss];
}

/// The priority of one fetch, which rises with the most urgent of those who wait for it. Clones share it.
#[derive(Debug, Clone)]
pub struct SharedPriority(Arc<AtomicU8>);

impl SharedPriority {
    /// As urgent as this.
    #[must_use]
    pub fn new(priority: Priority) -> Self {
        Self(Arc::new(AtomicU8::new(priority as u8)))
    }

    /// Whether it is the very same, of the same fetch.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// At least as urgent as this from now on.
    pub fn raise(&self, priority: Priority) {
        self.0.fetch_max(priority as u8, Ordering::Relaxed);
    }

    /// How urgent it is now.
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
