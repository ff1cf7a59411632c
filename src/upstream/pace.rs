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
//! 5. In a [fleet], a call needs one of the fleet's slots. The pace says when to ask the fleet's store, and for what.
//!
//! An operation without a limit has as many slots as it asks for, and only throttle windows make it wait.

mod call_duration;
mod exchange;
mod fleet;
mod queue;
mod rate;
mod reading;
mod reservations;
mod slots;

use std::time::Duration;

use compact_str::CompactString;
use tokio::time::Instant;

use crate::upstream::priority::SharedPriority;
use call_duration::CallDuration;
use fleet::FleetPart;
use queue::Queue;
use rate::Rate;
use reservations::Reservations;
use slots::{Schedule, Slots};

pub(super) use queue::Ticket;
pub(super) use reading::PaceReading;
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
    /// `None` for a gateway of its own, and without a limit.
    fleet: Option<FleetPart>,
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
            fleet: None,
        }
    }

    /// Makes the pace that of a fleet, of which this replica takes `first_share` until it has seen the others. An
    /// attempt ends within `longest_call`.
    pub(super) fn in_fleet(self, first_share: f64, longest_call: Duration) -> Self {
        let fleet = self.rate.as_ref();
        let fleet = fleet.map(|_| FleetPart::new(first_share, longest_call));
        Self { fleet, ..self }
    }

    /// Takes a slot if one is free and no call waits.
    pub(super) fn try_take(&mut self, key: u64, now: Instant) -> Option<SlotId> {
        self.settle(now);
        if !self.queue.is_empty() || !self.has_free_slot(now) {
            return None;
        }
        self.reservations.take(key);
        Some(self.take(now))
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
        if self.is_late(request, turn) {
            self.reservations.insert(request, gap, now);
            return Promise::Refused(gap.saturating_duration_since(now));
        }
        Promise::Wait(turn.saturating_duration_since(now))
    }

    /// Returns whether a call that leaves at `turn` would be answered after its deadline.
    pub(super) fn is_late(&self, request: &SlotRequest, turn: Instant) -> bool {
        let is_late = |deadline| turn + self.duration.estimate() > deadline;
        request.deadline.is_some_and(is_late)
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
        Some((self.take(now), call.waiter))
    }

    /// Returns when [`next`](Self::next) may give a slot, at the earliest; `None` if no call waits, or if that depends
    /// on the end of a call in flight or on the fleet's store.
    pub(super) fn next_turn_at(&mut self, now: Instant) -> Option<Instant> {
        self.settle(now);
        if self.queue.is_empty() {
            return None;
        }
        let limit = self.own_limit(now);
        let release = if self.slots.taken() < limit {
            Some(now)
        } else {
            self.slots.next_release(limit)
        };
        let grows_at = self.rate.as_ref().and_then(Rate::grows_at);
        let next = release.into_iter().chain(grows_at).min()?;
        let next = self.closed_until(now).map_or(next, |until| until.max(next));
        match self.store() {
            None => Some(next),
            Some(fleet) => match fleet.next_grant() {
                Some(from) => Some(next.max(from)),
                None => (next > now).then_some(next),
            },
        }
    }

    /// Ends a call; `is_answered` says whether its duration is one of the origin's answers.
    pub(super) fn finish(&mut self, slot: SlotId, is_answered: bool, now: Instant) {
        let took = self.slots.finish(slot, self.window(), now);
        if let Some(fleet) = &mut self.fleet {
            fleet.finish(slot, now);
        }
        if is_answered {
            self.duration.record(took);
        }
    }

    /// Gives back the slot of a call that was not sent.
    pub(super) fn cancel(&mut self, slot: SlotId) {
        self.slots.cancel(slot);
        if let Some(fleet) = &mut self.fleet {
            fleet.cancel(slot);
        }
    }

    /// Closes the slots for the time that the origin asks to wait, and lowers the rate.
    pub(super) fn throttled(&mut self, wait: Duration, now: Instant) {
        let until = now + wait.min(MAX_THROTTLE);
        self.close(until, now);
        if let Some(fleet) = &mut self.fleet {
            fleet.throttled(until);
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

    fn settle(&mut self, now: Instant) {
        self.slots.settle(now);
        self.reservations.expire(now);
        if let Some(rate) = &mut self.rate {
            rate.grow(now);
        }
        let usable = self.usable(now);
        if let Some(fleet) = &mut self.fleet {
            fleet.settle(usable, now);
        }
    }

    fn take(&mut self, now: Instant) -> SlotId {
        let slot = self.slots.take(now);
        if let Some(fleet) = &mut self.fleet {
            fleet.take(slot);
        }
        slot
    }

    fn close(&mut self, until: Instant, now: Instant) {
        self.throttled_until = self.throttled_until.max(Some(until));
        if let Some(rate) = &mut self.rate {
            rate.lower(until, now);
        }
    }

    fn has_free_slot(&self, now: Instant) -> bool {
        let is_granted = |fleet: &FleetPart| fleet.next_grant().is_some_and(|from| from <= now);
        self.closed_until(now).is_none()
            && self.slots.taken() < self.own_limit(now)
            && self.store().is_none_or(is_granted)
    }

    /// Returns the end of the throttle window, or of the pause after the loss of the fleet's store.
    fn closed_until(&self, now: Instant) -> Option<Instant> {
        let throttled = self.throttled_until.filter(|until| now < *until);
        let fleet = self.fleet.as_ref();
        throttled.max(fleet.and_then(|fleet| fleet.opens_at(now)))
    }

    fn schedule(&self, now: Instant) -> Schedule {
        let start = self.closed_until(now).unwrap_or(now);
        let Some(rate) = &self.rate else {
            return Schedule::unlimited(start);
        };
        let lasting = self.lasting();
        match self.store() {
            Some(fleet) if fleet.share(now).is_none() => {
                let free_from = fleet.free_from(rate.limit(1.0), now);
                Schedule::new(free_from, lasting.sum(), start)
            }
            _ => {
                let limit = self.own_limit(now);
                self.slots
                    .schedule(limit, (lasting.window, lasting.duration), (now, start))
            }
        }
    }

    /// Returns the number of slots that this gateway may have by its own account.
    fn own_limit(&self, now: Instant) -> usize {
        let share = match &self.fleet {
            None => Some(1.0),
            Some(fleet) => fleet.share(now),
        };
        let limit = self.rate.as_ref().zip(share);
        limit.map_or(usize::MAX, |(rate, share)| rate.limit(share))
    }

    fn window(&self) -> Duration {
        self.rate.as_ref().map_or(Duration::ZERO, Rate::window)
    }
}

#[cfg(test)]
mod tests;
