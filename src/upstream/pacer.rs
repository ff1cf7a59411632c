//! Slots of the pace, awaited: a [`Pace`] for each operation, and the task that gives turns when slots are free.
//!
//! A call that must wait leaves a one-shot channel in the queue. One task gives all turns: it sleeps until a slot may
//! be free, and wakes early when a call joins or ends. It begins with the first call that waits, and ends with the
//! [`Pacer`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Config;
use super::pace::{Pace, Promise, SlotId, SlotRequest, Ticket};
use crate::api::Action;

/// The pace of every operation of one gateway.
#[derive(Debug)]
pub(super) struct Pacer {
    paces: Arc<Paces>,
    turns: OnceLock<AbortHandle>,
}

#[derive(Debug)]
struct Paces {
    by_action: Mutex<[Pace<Turn>; Action::ALL.len()]>,
    /// Notified when a call joins a queue, and when one ends.
    changed: Notify,
}

/// Channel for the turn of a waiting call: its slot, or the time to come back after if it is displaced.
type Turn = oneshot::Sender<Result<PaceSlot, Duration>>;

/// PaceSlot of one call. Dropping it frees it: at once if nothing was sent, else one window later.
#[derive(Debug)]
pub(super) struct PaceSlot {
    paces: Arc<Paces>,
    action: Action,
    id: SlotId,
    end: SlotEnd,
}

/// End of a call, as far as its slot is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotEnd {
    /// Nothing was sent.
    Unsent,
    /// The call was sent, and no answer came.
    Unanswered,
    /// The origin answered.
    Answered,
    /// The origin throttled the call, and asks to wait this long.
    Throttled(Duration),
}

/// Place in a queue, which is left when this is dropped.
struct QueuePlace<'a> {
    paces: &'a Paces,
    action: Action,
    ticket: Ticket,
}

impl Pacer {
    /// Creates the paces that the settings ask for.
    pub(super) fn new(config: &Config) -> Self {
        let max_queue = config.max_queue as usize;
        let pace = |action| {
            Pace::new(
                config.calls_per_second(action),
                config.rate_share,
                max_queue,
            )
        };
        Self {
            paces: Arc::new(Paces {
                by_action: Mutex::new(Action::ALL.map(pace)),
                changed: Notify::new(),
            }),
            turns: OnceLock::new(),
        }
    }

    /// Waits for a slot, until `leave_at` at the latest.
    ///
    /// # Errors
    /// The time after which there will be room for the call: at once if the promised wait is too long for its
    /// deadline or the queue is full, later if a more urgent call displaces it or `leave_at` has come.
    pub(super) async fn acquire(
        &self,
        action: Action,
        request: SlotRequest,
        leave_at: Instant,
    ) -> Result<PaceSlot, Duration> {
        let (place, turn) = {
            let mut paces = self.paces.by_action.lock();
            let (pace, now) = (&mut paces[action as usize], Instant::now());
            if let Some(id) = pace.try_take(request.key, now) {
                return Ok(PaceSlot::new(&self.paces, action, id));
            }
            let (waker, turn) = oneshot::channel();
            let queued = pace.join(request.clone(), waker, now)?;
            tracing::debug!(
                operation = action.as_str(),
                wait = ?queued.wait,
                "a call waits for its slot"
            );
            if let Some((displaced, wait)) = queued.displaced {
                drop(displaced.send(Err(wait)));
            }
            let place = QueuePlace {
                paces: &self.paces,
                action,
                ticket: queued.ticket,
            };
            (place, turn)
        };
        self.start_turns();
        self.paces.changed.notify_one();
        let stay = request.priority.enter_queue();
        let turn = timeout_at(leave_at, turn).await;
        drop((stay, place));
        match turn {
            Ok(Ok(turn)) => turn,
            // The channel breaks only with the gateway itself.
            Ok(Err(_)) | Err(_) => Err(self.reserve(action, &request)),
        }
    }

    /// Computes the wait of a call that is not made.
    pub(super) fn promise(&self, action: Action, request: &SlotRequest) -> Promise {
        self.with(action, |pace, now| pace.promise(request, now))
    }

    /// Reserves a moment for a refused call, and returns the time until then.
    pub(super) fn reserve(&self, action: Action, request: &SlotRequest) -> Duration {
        self.with(action, |pace, now| pace.reserve(request, now))
    }

    /// Returns the rest of an operation's throttle window.
    pub(super) fn throttled_for(&self, action: Action) -> Option<Duration> {
        self.with(action, |pace, now| pace.throttled_for(now))
    }

    /// Returns the calls a second that an operation may make now, and whether a throttle has lowered them; `None` for
    /// an operation without a limit.
    pub(super) fn reading(&self, action: Action) -> Option<(f64, bool)> {
        self.with(action, Pace::reading)
    }

    fn with<R>(&self, action: Action, read: impl FnOnce(&mut Pace<Turn>, Instant) -> R) -> R {
        let mut paces = self.paces.by_action.lock();
        read(&mut paces[action as usize], Instant::now())
    }

    fn start_turns(&self) {
        self.turns.get_or_init(|| {
            let turns = give_turns(Arc::clone(&self.paces));
            tokio::spawn(turns).abort_handle()
        });
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.get() {
            turns.abort();
        }
    }
}

/// Gives turns for as long as the task lives.
async fn give_turns(paces: Arc<Paces>) {
    loop {
        let changed = paces.changed.notified();
        match paces.give_free_slots() {
            Some(next) => tokio::select! {
                () = sleep_until(next) => {}
                () = changed => {}
            },
            None => changed.await,
        }
    }
}

impl Paces {
    /// Gives every free slot to the call whose turn it is. Returns when the next slot may be free.
    fn give_free_slots(self: &Arc<Self>) -> Option<Instant> {
        let (mut turns, mut next) = (Vec::new(), None);
        {
            let mut paces = self.by_action.lock();
            let now = Instant::now();
            for (action, pace) in Action::ALL.into_iter().zip(paces.iter_mut()) {
                while let Some((id, turn)) = pace.next(now) {
                    turns.push((turn, PaceSlot::new(self, action, id)));
                }
                next = next.into_iter().chain(pace.next_turn_at(now)).min();
            }
        }
        // Outside the lock: a slot whose call has gone meanwhile takes it to give itself back.
        for (turn, slot) in turns {
            drop(turn.send(Ok(slot)));
        }
        next
    }
}

impl PaceSlot {
    fn new(paces: &Arc<Paces>, action: Action, id: SlotId) -> Self {
        Self {
            paces: Arc::clone(paces),
            action,
            id,
            end: SlotEnd::Unsent,
        }
    }

    /// Sets how the call ended, for when this is dropped; [`SlotEnd::Unanswered`] as soon as it is sent.
    pub(super) const fn set_end(&mut self, end: SlotEnd) {
        self.end = end;
    }
}

impl Drop for PaceSlot {
    fn drop(&mut self) {
        let mut paces = self.paces.by_action.lock();
        let (pace, now) = (&mut paces[self.action as usize], Instant::now());
        if let SlotEnd::Throttled(wait) = self.end {
            pace.throttled(wait, now);
        }
        match self.end {
            SlotEnd::Unsent => pace.cancel(self.id),
            SlotEnd::Unanswered => pace.finish(self.id, false, now),
            SlotEnd::Answered | SlotEnd::Throttled(_) => pace.finish(self.id, true, now),
        }
        drop(paces);
        self.paces.changed.notify_one();
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.paces.by_action.lock()[self.action as usize].leave(self.ticket);
    }
}

#[cfg(test)]
mod tests;
