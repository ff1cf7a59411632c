//! Pace of one operation's calls: who may leave now, who waits and for how long, and who is refused until when.
//!
//! Values only: every method takes `now`, nothing here waits. [`Pacer`](super::pacer::Pacer) does the waiting.
//!
//! 1. A call takes a [slot](slots); it is free again one window after the call's end. There are as many as the
//!    [rate](rate) permits, so the origin never sees more calls in any window.
//! 2. Without a free slot, the call's wait is computed: from the known releases, from [assumed](call_duration) ends of
//!    the calls in flight, from the calls [before it](queue), from the [reservations] and from the throttle window.
//! 3. If its deadline permits the wait, it joins the queue. Else it is refused, and the moment at which there will be
//!    room for it is reserved; a client that comes back then is not refused again for want of room.
//! 4. A throttle closes the slots for the time that the origin names, and lowers the rate.
//!
//! An operation without a limit has as many slots as it asks for, and only throttle windows make it wait.

mod call_duration;
mod queue;
mod rate;
mod reservations;
mod slots;

use std::time::Duration;

use compact_str::CompactString;
use tokio::time::Instant;

use crate::upstream::priority::SharedPriority;
use call_duration::CallDuration;
use queue::Queue;
use rate::Rate;
use reservations::Reservations;
use slots::{Schedule, Slots};

pub(super) use queue::Ticket;
pub(super) use slots::SlotId;

/// Bound on a throttle window, so that a faulty answer does not stop calls for hours.
const MAX_THROTTLE: Duration = Duration::from_secs(60);

/// Pace of one operation; `W` wakes a waiting call.
#[derive(Debug)]
pub(super) struct Pace<W> {
    /// `None` for an operation without a limit.
    rate: Option<Rate>,
    slots: Slots,
    duration: CallDuration,
    queue: Queue<W>,
    reservations: Reservations,
    throttled_until: Option<Instant>,
}

/// Request for a slot.
#[derive(Debug, Clone)]
pub(super) struct SlotRequest {
    pub(super) priority: SharedPriority,
    /// Client whose turn the call takes.
    pub(super) client: CompactString,
    /// Identity of the client and of what it asks for, under which a refused call keeps its reservation.
    pub(super) key: u64,
    /// The call has been sent before.
    pub(super) is_again: bool,
    /// Latest time for the answer; `None` for a call that is not refused however long it would wait.
    pub(super) deadline: Option<Instant>,
}

/// Wait that a call is promised: until its slot, as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// A slot is free now, and no call waits.
    Now,
    /// The call gets a slot after this time, before its deadline.
    Wait(Duration),
    /// The call would get its slot too late; there will be room for it after this time.
    Refused(Duration),
}

/// Place of a call that joined the queue.
#[derive(Debug)]
pub(super) struct Queued<W> {
    pub(super) ticket: Ticket,
    /// Promised time until its slot.
    pub(super) wait: Duration,
    /// Call that lost its place, and the time after which there will be room for it.
    pub(super) displaced: Option<(W, Duration)>,
}

impl<W> Pace<W> {
    /// Creates the pace for a quota of `per_second` calls, of which this gateway may use `share`; 0 means no limit.
    /// At most `max_queue` calls wait, and as many have reservations.
    pub(super) fn new(per_second: f64, share: f64, max_queue: usize) -> Self {
        Self {
            rate: Rate::new(per_second, share),
            slots: Slots::default(),
            duration: CallDuration::default(),
            queue: Queue::new(max_queue),
            reservations: Reservations::new(max_queue),
            throttled_until: None,
        }
    }

    /// Takes a slot if one is free and no call waits.
    pub(super) fn try_take(&mut self, key: u64, now: Instant) -> Option<SlotId> {
        self.settle(now);
        if !self.queue.is_empty() || !self.has_free_slot(now) {
            return None;
        }
        self.reservations.take(key);
        Some(self.slots.take(now))
    }

    /// Computes the wait of a call, and reserves a moment for it if it would be refused.
    pub(super) fn promise(&mut self, request: &SlotRequest, now: Instant) -> Promise {
        self.settle(now);
        if self.queue.is_empty() && self.has_free_slot(now) {
            self.reservations.take(request.key);
            return Promise::Now;
        }
        let (schedule, turns) = (self.schedule(now), self.queue.turns_before(request));
        let (priority, reserved) = (request.priority.now(), self.reservations.take(request.key));
        let of = (priority, &*request.client);
        let gap = self.reservations.first_gap(&schedule, turns, of);
        // Only calls that wait come before one whose moment has come.
        let is_due = reserved.is_some_and(|moment| moment <= now);
        let turn = if is_due { schedule.turn(turns) } else { gap };
        let is_late = |deadline| turn + self.duration.estimate() > deadline;
        if request.deadline.is_some_and(is_late) {
            self.reservations.insert(request, gap, now);
            return Promise::Refused(gap.saturating_duration_since(now));
        }
        Promise::Wait(turn.saturating_duration_since(now))
    }

    /// Adds a call to the queue.
    ///
    /// # Errors
    /// The time after which there will be room for the call, if its deadline is earlier or the queue is full.
    pub(super) fn join(
        &mut self,
        request: SlotRequest,
        waiter: W,
        now: Instant,
    ) -> Result<Queued<W>, Duration> {
        let wait = match self.promise(&request, now) {
            Promise::Now => Duration::ZERO,
            Promise::Wait(wait) => wait,
            Promise::Refused(wait) => return Err(wait),
        };
        let displaced = self.queue.make_room(&request);
        let displaced = displaced.map_err(|_| self.reserve(&request, now))?;
        let displaced = displaced.map(|call| {
            let wait = self.reserve(&call.request, now);
            (call.waiter, wait)
        });
        let ticket = self.queue.push(request, waiter);
        Ok(Queued {
            ticket,
            wait,
            displaced,
        })
    }

    /// Removes a call from the queue whose caller no longer waits.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.queue.remove(ticket);
    }

    /// Gives the next free slot to the call whose turn it is.
    pub(super) fn next(&mut self, now: Instant) -> Option<(SlotId, W)> {
        self.settle(now);
        if !self.has_free_slot(now) {
            return None;
        }
        let call = self.queue.pop()?;
        Some((self.slots.take(now), call.waiter))
    }

    /// Returns when [`next`](Self::next) may give a slot, at the earliest; `None` if no call waits, or if that depends
    /// on the end of a call in flight.
    pub(super) fn next_turn_at(&mut self, now: Instant) -> Option<Instant> {
        self.settle(now);
        if self.queue.is_empty() {
            return None;
        }
        let is_free = self.slots.taken() < self.limit();
        let release = if is_free {
            Some(now)
        } else {
            self.slots.next_release(self.limit())
        };
        let grows_at = self.rate.as_ref().and_then(Rate::grows_at);
        let next = release.into_iter().chain(grows_at).min()?;
        self.throttled_until.max(Some(next))
    }

    /// Ends a call; `is_answered` says whether its duration is one of the origin's answers.
    pub(super) fn finish(&mut self, slot: SlotId, is_answered: bool, now: Instant) {
        let took = self.slots.finish(slot, self.window(), now);
        if is_answered {
            self.duration.record(took);
        }
    }

    /// Gives back the slot of a call that was not sent.
    pub(super) fn cancel(&mut self, slot: SlotId) {
        self.slots.cancel(slot);
    }

    /// Closes the slots for the time that the origin asks to wait, and lowers the rate.
    pub(super) fn throttled(&mut self, wait: Duration, now: Instant) {
        let until = now + wait.min(MAX_THROTTLE);
        self.throttled_until = self.throttled_until.max(Some(until));
        if let Some(rate) = &mut self.rate {
            rate.lower(until, now);
        }
    }

    /// Reserves a moment for a call that is refused for another reason than its deadline, and returns the time until
    /// then.
    pub(super) fn reserve(&mut self, request: &SlotRequest, now: Instant) -> Duration {
        self.settle(now);
        let (schedule, turns) = (self.schedule(now), self.queue.turns_before(request));
        let priority = request.priority.now();
        self.reservations.take(request.key);
        let of = (priority, &*request.client);
        let gap = self.reservations.first_gap(&schedule, turns, of);
        self.reservations.insert(request, gap, now);
        gap.saturating_duration_since(now)
    }

    /// Returns the rest of the origin's throttle window, if it is not over.
    pub(super) fn throttled_for(&self, now: Instant) -> Option<Duration> {
        let until = self.throttled_until.filter(|until| now < *until)?;
        Some(until - now)
    }

    /// Returns the calls a second that the pace permits now, and whether a throttle has lowered them; `None` for an
    /// operation without a limit.
    pub(super) fn reading(&mut self, now: Instant) -> Option<(f64, bool)> {
        self.settle(now);
        let rate = self.rate.as_ref()?;
        Some((rate.per_second(), rate.is_lowered()))
    }

    /// Returns the number of calls that wait.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn settle(&mut self, now: Instant) {
        self.slots.settle(now);
        self.reservations.expire(now);
        if let Some(rate) = &mut self.rate {
            rate.grow(now);
        }
    }

    fn has_free_slot(&self, now: Instant) -> bool {
        self.throttled_for(now).is_none() && self.slots.taken() < self.limit()
    }

    fn schedule(&self, now: Instant) -> Schedule {
        let start = self.throttled_until.map_or(now, |until| until.max(now));
        let lasting = (self.window(), self.duration.estimate());
        match &self.rate {
            Some(rate) => self.slots.schedule(rate.limit(), lasting, (now, start)),
            None => Schedule::unlimited(start),
        }
    }

    fn limit(&self) -> usize {
        self.rate.as_ref().map_or(usize::MAX, Rate::limit)
    }

    fn window(&self) -> Duration {
        self.rate.as_ref().map_or(Duration::ZERO, Rate::window)
    }
}

#[cfg(test)]
mod tests;
