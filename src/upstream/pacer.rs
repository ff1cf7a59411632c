//! Slots of the pace, awaited: a [`Pace`] for each operation, and the task that gives turns when slots are free.
//!
//! A call that must wait leaves a one-shot channel in the queue. One task gives all turns: it sleeps until a slot may
//! be free, and wakes early when a call joins or ends. It begins with the first call that waits, and ends with the
//! [`Pacer`]. In a fleet, it also asks the fleet's store, with at most one request under way for each operation.

use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::fleet_pace::{FleetAway, FleetPace, FleetReply};
use super::pace::{Pace, PaceReading, Promise, SlotId, SlotRequest, Ticket};
use super::{Config, PaceStatus};
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
    fleet: Option<Arc<dyn FleetPace>>,
}

/// Reply of the fleet's store about one operation.
type Exchange = (Action, Result<FleetReply, FleetAway>);

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
    /// Creates the paces that the settings ask for: those of a fleet, if there is one.
    pub(super) fn new(config: &Config, fleet: Option<Arc<dyn FleetPace>>) -> Self {
        let (share, max_queue) = (config.rate_share, config.max_queue as usize);
        let pace = |action| {
            let per_second = config.calls_per_second(action);
            if fleet.is_none() {
                return Pace::new(per_second, share, max_queue);
            }
            Pace::new(per_second, 1.0, max_queue).in_fleet(share, config.attempt_timeout.0)
        };
        Self {
            paces: Arc::new(Paces {
                by_action: Mutex::new(Action::ALL.map(pace)),
                changed: Notify::new(),
                fleet,
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
                self.start_turns_of_fleet();
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
        drop(place);
        match turn {
            Ok(Ok(turn)) => {
                if turn.is_ok() && self.is_late(action, &request) {
                    stay.end_late();
                }
                turn
            }
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

    /// Returns the state of an operation's pace; `None` for an operation without a limit.
    pub(super) fn reading(&self, action: Action) -> Option<PaceReading> {
        self.with(action, Pace::reading)
    }

    /// Returns the state of an operation's pace for `/status`; `None` for an operation without a limit.
    pub(super) fn status(&self, action: Action) -> Option<PaceStatus> {
        self.with(action, |pace, now| {
            let reading = pace.reading(now)?;
            Some(PaceStatus {
                per_second: reading.per_second,
                configured: reading.configured,
                lowered: reading.is_lowered,
                alone: reading.is_alone,
                waiting: pace.waiting(),
                wait_seconds: pace.wait_of_newcomer(now).as_secs_f64(),
            })
        })
    }

    /// Returns the time after which a call of another replica that has left late should be over, if its slot may have
    /// made it wait.
    pub(super) fn late_elsewhere(&self, action: Action) -> Option<Duration> {
        self.with(action, |pace, now| pace.late_elsewhere(now))
    }

    /// Returns whether a call that is sent now would be answered after its deadline. In a fleet the promised wait is an
    /// estimate.
    fn is_late(&self, action: Action, request: &SlotRequest) -> bool {
        self.with(action, |pace, now| pace.is_late(request, now))
    }

    fn with<R>(&self, action: Action, read: impl FnOnce(&mut Pace<Turn>, Instant) -> R) -> R {
        let mut paces = self.paces.by_action.lock();
        read(&mut paces[action as usize], Instant::now())
    }

    /// Starts the task for a call that need not wait, because the fleet's store is away: it asks for it.
    fn start_turns_of_fleet(&self) {
        if self.paces.fleet.is_some() {
            self.start_turns();
        }
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
    let mut exchanges = FuturesUnordered::new();
    loop {
        let changed = paces.changed.notified();
        let turn = paces.give_free_slots();
        exchanges.extend(paces.exchanges());
        let next = turn.into_iter().chain(paces.next_exchange()).min();
        let wait = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            () = changed => {}
            Some((action, reply)) = exchanges.next() => paces.replied(action, reply),
        }
    }
}

impl Paces {
    /// Gives every free slot to the call whose turn it is. Returns when the next slot may be free.
    fn give_free_slots(self: &Arc<Self>) -> Option<Instant> {
        let (mut turns, mut next) = (Vec::new(), None);
        let away = self.fleet.as_ref().and_then(|fleet| fleet.away());
        {
            let mut paces = self.by_action.lock();
            let now = Instant::now();
            if let Some(away) = away {
                paces.iter_mut().for_each(|pace| pace.lose(away));
            }
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

    /// Begins the exchanges with the fleet's store that are due.
    fn exchanges(self: &Arc<Self>) -> Vec<BoxFuture<'static, Exchange>> {
        let Some(fleet) = &self.fleet else {
            return Vec::new();
        };
        let (mut paces, now) = (self.by_action.lock(), Instant::now());
        let paces = Action::ALL.into_iter().zip(paces.iter_mut());
        let due = paces.filter_map(|(action, pace)| {
            let (request, fleet) = (pace.request(now)?, Arc::clone(fleet));
            let exchange = async move { (action, fleet.exchange(action, request).await) };
            Some(Box::pin(exchange) as BoxFuture<'static, Exchange>)
        });
        due.collect()
    }

    fn next_exchange(&self) -> Option<Instant> {
        let (mut paces, now) = (self.by_action.lock(), Instant::now());
        paces.iter_mut().filter_map(|pace| pace.asks_at(now)).min()
    }

    fn replied(&self, action: Action, reply: Result<FleetReply, FleetAway>) {
        let (mut paces, now) = (self.by_action.lock(), Instant::now());
        let pace = &mut paces[action as usize];
        match reply {
            Ok(reply) => pace.answered(reply, now),
            Err(away) => pace.away(away, now),
        }
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
