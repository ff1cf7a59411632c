//! Slots of calls: taken when a call leaves, and free again one window after its answer or failure came.
//!
//! A call reaches the origin after it left and before its answer comes. So of any calls that arrive within one window,
//! each still has its slot when the last of them leaves: they are never more than there are slots.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// Identity of a slot that a call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::upstream) struct SlotId(u64);

/// The slots of one operation that are taken; there are at most as many as the limit, and more only just after the
/// limit was lowered.
#[derive(Debug, Default)]
pub(super) struct Slots {
    last_id: u64,
    /// Calls in flight, with the time that each left. The ids are in the order of these times.
    in_flight: BTreeMap<SlotId, Instant>,
    /// Times at which the slots of finished calls are free, the earliest first.
    releases: VecDeque<Instant>,
}

/// Times from which slots are free, as far as they are known or assumed at one moment.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Time from which each slot is free, the earliest first. Empty without a limit.
    free_from: Vec<Instant>,
    /// Time that a call keeps a slot: its duration and the window.
    period: Duration,
    /// Beginning of the schedule: now, or the end of a throttle window.
    start: Instant,
}

impl Slots {
    /// Takes a slot for a call that leaves now.
    pub(super) fn take(&mut self, now: Instant) -> SlotId {
        self.last_id += 1;
        self.in_flight.insert(SlotId(self.last_id), now);
        SlotId(self.last_id)
    }

    /// Ends a call: its slot is free after the window. Returns the call's duration.
    pub(super) fn finish(&mut self, slot: SlotId, window: Duration, now: Instant) -> Duration {
        let Some(left) = self.in_flight.remove(&slot) else {
            return Duration::ZERO;
        };
        self.releases.push_back(now + window);
        now.saturating_duration_since(left)
    }

    /// Gives back the slot of a call that never left.
    pub(super) fn cancel(&mut self, slot: SlotId) {
        self.in_flight.remove(&slot);
    }

    /// Frees the slots whose window is over.
    pub(super) fn settle(&mut self, now: Instant) {
        while self.releases.front().is_some_and(|at| *at <= now) {
            self.releases.pop_front();
        }
    }

    /// Returns the number of slots that are taken, as of the last [`settle`](Self::settle).
    pub(super) fn taken(&self) -> usize {
        self.in_flight.len() + self.releases.len()
    }

    /// Returns when a slot will be free of those taken up to a limit; `None` if that depends on a call in flight.
    pub(super) fn next_release(&self, limit: usize) -> Option<Instant> {
        let excess = self.taken().saturating_sub(limit);
        self.releases.get(excess).copied()
    }

    /// Returns the times from which `limit` slots are free. A call in flight is assumed to last as long as `duration`,
    /// or until now if it has lasted longer.
    pub(super) fn schedule(
        &self,
        limit: usize,
        (window, duration): (Duration, Duration),
        (now, start): (Instant, Instant),
    ) -> Schedule {
        let free = limit.saturating_sub(self.taken());
        let assumed = self
            .in_flight
            .values()
            .map(|left| (*left + duration).max(now) + window);
        let known = self.releases.iter().copied();
        let excess = self.taken().saturating_sub(limit);
        let taken = known.chain(assumed).skip(excess);
        let free_from = std::iter::repeat_n(now, free).chain(taken).collect();
        Schedule::new(free_from, window + duration, start)
    }
}

impl Schedule {
    /// Creates the schedule of slots that are free from these times, the earliest first.
    pub(super) const fn new(free_from: Vec<Instant>, period: Duration, start: Instant) -> Self {
        Self {
            free_from,
            period,
            start,
        }
    }

    /// Returns the schedule of an operation without a limit.
    pub(super) const fn unlimited(start: Instant) -> Self {
        Self {
            free_from: Vec::new(),
            period: Duration::ZERO,
            start,
        }
    }

    /// Returns when the call at this position of the queue gets a slot, from 0 for the first.
    pub(super) fn turn(&self, position: usize) -> Instant {
        let slots = self.free_from.len().max(1);
        let first = self.free_from.get(position % slots).copied();
        let rounds = u32::try_from(position / slots).unwrap_or(u32::MAX);
        let first = first.map_or(self.start, |at| at.max(self.start));
        first + self.period.saturating_mul(rounds)
    }

    /// Returns a slot's part of the period: the time between two calls that go one by one. It is at least a
    /// millisecond, the unit in which clients are told to wait.
    pub(super) fn spacing(&self) -> Duration {
        let slots = u32::try_from(self.free_from.len()).unwrap_or(u32::MAX);
        (self.period / slots.max(1)).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    #[test]
    fn a_slot_is_free_a_window_after_its_calls_end() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut slots = Slots::default();
        let (one, two, three) = (slots.take(at(0)), slots.take(at(10)), slots.take(at(20)));
        slots.cancel(three);
        assert_eq!((slots.taken(), slots.next_release(2)), (2, None));
        assert_eq!(slots.finish(one, WINDOW, at(40)), Duration::from_millis(40));
        assert_eq!(slots.next_release(2), Some(at(1040)));
        slots.settle(at(1039));
        assert_eq!(slots.taken(), 2);
        slots.settle(at(1040));
        assert_eq!(slots.taken(), 1);
        // Lowered to a limit below what is taken: the first release frees nothing.
        let more = slots.take(at(1050));
        slots.finish(two, WINDOW, at(1060));
        slots.finish(more, WINDOW, at(1070));
        assert_eq!(slots.next_release(1), Some(at(2070)));
    }

    #[test]
    fn turns_follow_from_known_and_assumed_releases() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let mut slots = Slots::default();
        let one = slots.take(at(0));
        slots.take(at(10));
        slots.finish(one, WINDOW, at(40));
        let schedule = |limit, now, start| {
            let schedule = slots.schedule(limit, (WINDOW, ms(50)), (at(now), at(start)));
            [0, 1, 2, 3].map(|position| (schedule.turn(position) - at(0)).as_millis())
        };
        assert_eq!(schedule(3, 50, 50), [50, 1040, 1060, 1100]);
        assert_eq!(schedule(2, 50, 50), [1040, 1060, 2090, 2110]);
        // The call in flight takes longer than assumed.
        assert_eq!(schedule(2, 100, 100), [1040, 1100, 2090, 2150]);
        // The limit was lowered to one.
        assert_eq!(schedule(1, 50, 50), [1060, 2110, 3160, 4210]);
        // A throttle window.
        assert_eq!(schedule(3, 50, 1050), [1050, 1050, 1060, 2100]);
        let unlimited = Schedule::unlimited(at(7));
        assert_eq!((unlimited.turn(0), unlimited.turn(9)), (at(7), at(7)));
    }
}
