//! Priorities of calls to the origin, for when it cannot take all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

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

/// Priority of one call, which is that of its most urgent waiter. Clones share it.
///
/// The loads and stores are relaxed: a queue that sees a change late only serves one other call first.
#[derive(Debug, Clone)]
pub struct SharedPriority(Arc<CallState>);

#[derive(Debug)]
struct CallState {
    /// Priority without any waiter.
    base: Priority,
    /// Number of waiters of each priority.
    waiters: [AtomicU32; Priority::ALL.len()],
    is_queued: AtomicBool,
}

/// Interest of one waiter in a call, which has at least the waiter's priority until this is dropped.
#[derive(Debug)]
pub struct Interest {
    call: SharedPriority,
    priority: Priority,
}

/// Stay of a call in the queue; ends with this value.
#[derive(Debug)]
pub struct QueueStay {
    call: SharedPriority,
    ends_late: bool,
}

impl SharedPriority {
    /// Creates the priority of a call that one request makes for itself.
    #[must_use]
    pub fn new(priority: Priority) -> Self {
        Self(Arc::new(CallState {
            base: priority,
            waiters: Default::default(),
            is_queued: AtomicBool::new(false),
        }))
    }

    /// Creates the priority of a fetch that outlives its waiters: without any, it is at most a background refresh.
    #[must_use]
    pub fn of_fetch(priority: Priority) -> Self {
        Self::new(priority.min(Priority::Background))
    }

    /// Adds a waiter of this priority.
    #[must_use]
    pub fn join(&self, priority: Priority) -> Interest {
        self.0.waiters[priority as usize].fetch_add(1, Ordering::Relaxed);
        Interest {
            call: self.clone(),
            priority,
        }
    }

    /// Returns the current priority.
    #[must_use]
    pub fn now(&self) -> Priority {
        let has_waiter = |priority: &&Priority| {
            let waiters = &self.0.waiters[**priority as usize];
            waiters.load(Ordering::Relaxed) > 0
        };
        let urgent = Priority::ALL.iter().rev().find(has_waiter);
        urgent.copied().unwrap_or(self.0.base).max(self.0.base)
    }

    /// Marks the call as queued, until the result is dropped.
    #[must_use]
    pub fn enter_queue(&self) -> QueueStay {
        self.0.is_queued.store(true, Ordering::Relaxed);
        QueueStay {
            call: self.clone(),
            ends_late: false,
        }
    }
}

impl QueueStay {
    /// Ends the stay of a call that leaves too late to be answered in time: its waiters are told to come back, as if it
    /// were still queued.
    pub fn end_late(mut self) {
        self.ends_late = true;
    }
}

impl Interest {
    /// Returns whether it is the queue that makes the waiter wait: the call has not been sent, or too late.
    #[must_use]
    pub fn is_in_queued_call(&self) -> bool {
        self.call.0.is_queued.load(Ordering::Relaxed)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let waiters = &self.call.0.waiters[self.priority as usize];
        waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for QueueStay {
    fn drop(&mut self) {
        if !self.ends_late {
            self.call.0.is_queued.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_as_urgent_as_its_most_urgent_waiter() {
        let priority = SharedPriority::of_fetch(Priority::Miss);
        let shared = priority.clone();
        assert_eq!(priority.now(), Priority::Background);
        let miss = shared.join(Priority::Miss);
        let prewarm = shared.join(Priority::Prewarm);
        let another = shared.join(Priority::Miss);
        assert_eq!(priority.now(), Priority::Miss);
        drop(miss);
        assert_eq!(priority.now(), Priority::Miss);
        drop(another);
        assert_eq!(priority.now(), Priority::Background);
        drop(prewarm);
        let prewarm = SharedPriority::of_fetch(Priority::Prewarm);
        assert_eq!(prewarm.now(), Priority::Prewarm);
        assert_eq!(SharedPriority::new(Priority::Miss).now(), Priority::Miss);
    }

    #[test]
    fn a_waiter_sees_whether_its_call_is_queued() {
        let priority = SharedPriority::new(Priority::Miss);
        let waiter = priority.join(Priority::Miss);
        assert!(!waiter.is_in_queued_call());
        let stay = priority.enter_queue();
        assert!(waiter.is_in_queued_call());
        drop(stay);
        assert!(!waiter.is_in_queued_call());
        priority.enter_queue().end_late();
        assert!(waiter.is_in_queued_call());
    }
}
