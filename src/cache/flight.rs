//! Single flight: one fetch per key, however many requests want it.
//!
//! A flight is the fetch of one key in progress. It runs within the request that started it, and in a task of its
//! own as soon as another request joins or that request ends (`work`), so a client that disconnects cancels only its
//! own waiting. Its state goes `Pending` → `StaleAvailable` → `Done`, and every waiter
//! watches it:
//!
//! - `Pending`: nothing is known yet;
//! - `StaleAvailable`: the shared cache holds an older copy, which a waiter may prefer to waiting on;
//! - `Done`: the result.
//!
//! A flight is *current* until an invalidation detaches it. From then on the next request starts another
//! flight; the detached one still answers its waiters, and its result is never stored.

mod work;

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::upstream::priority::{Interest, Priority, SharedPriority};
use work::InlineWork;
pub use work::{FlightWork, WorkOwner};

/// The flights in progress: `K` keys, `S` stale values, `T` results. Clones share one table.
#[derive(Debug)]
pub struct SingleFlight<K, S, T> {
    table: Arc<Mutex<FlightTable<K, S, T>>>,
}

#[derive(Debug)]
struct FlightTable<K, S, T> {
    current: HashMap<K, Flight<S, T>>,
    last_id: u64,
}

#[derive(Debug)]
struct Flight<S, T> {
    handle: FlightHandle,
    progress: watch::Sender<Progress<S, T>>,
    work: FlightWork,
}

/// A flight's identity and priority, for the code that fetches.
#[derive(Debug, Clone)]
pub struct FlightHandle {
    /// Unique within the table: a later flight of the same key has another.
    id: u64,
    /// Priority of the fetch: that of its most urgent waiter, and at most `Background` once none is left.
    pub priority: SharedPriority,
}

/// State of a flight, as its waiters see it.
#[derive(Debug)]
enum Progress<S, T> {
    Pending,
    StaleAvailable(S),
    Done(T),
}

/// A request's place at a flight; dropping it leaves the flight to the others.
#[derive(Debug)]
pub struct Waiter<S, T> {
    progress: watch::Receiver<Progress<S, T>>,
    interest: Interest,
    /// The flight's work, while this request runs it.
    inline: Option<InlineWork>,
}

/// Reason why a waiter got no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The waiter's deadline passed first; the flight continues.
    #[error("the fetch took too long")]
    TimedOut,
    /// The waiter's deadline passed while the fetch was waiting for its turn to call the origin.
    #[error("the fetch waits for its turn")]
    StillQueued,
    /// The flight's task panicked or was cancelled, so no result will come.
    #[error("the fetch was broken off")]
    Aborted,
}

/// The right to complete a flight, held by the task that fetches. Dropping it without completing removes
/// the flight and wakes its waiters with [`WaitError::Aborted`].
#[derive(Debug)]
pub struct LeaderGuard<K: Eq + Hash + Clone, S, T> {
    flights: SingleFlight<K, S, T>,
    key: K,
    handle: FlightHandle,
    progress: watch::Sender<Progress<S, T>>,
}

/// A request's part in the flight it got.
#[derive(Debug)]
pub enum Join<K: Eq + Hash + Clone, S, T> {
    /// Another request had started it, and may run its work, which is to be detached.
    Waiter(Waiter<S, T>, FlightWork),
    /// This request started it and has to fetch.
    Leader(Waiter<S, T>, LeaderGuard<K, S, T>, FlightWork),
}

impl<K, S, T> Clone for SingleFlight<K, S, T> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
        }
    }
}

impl<K, S, T> Default for SingleFlight<K, S, T> {
    fn default() -> Self {
        Self {
            table: Arc::new(Mutex::new(FlightTable {
                current: HashMap::new(),
                last_id: 0,
            })),
        }
    }
}

impl<K: Eq + Hash + Clone, S: Clone, T: Clone> SingleFlight<K, S, T> {
    /// Joins the current flight of `key`, which has at least `priority` as long as the waiter lives, or starts one, unless `instead`
    /// returns a value to use in place of a flight.
    ///
    /// # Errors
    /// The value that `instead` returned.
    pub fn join<L>(
        &self,
        key: &K,
        priority: Priority,
        instead: impl FnOnce() -> Option<L>,
    ) -> Result<Join<K, S, T>, L> {
        let mut table = self.table.lock();
        if let Some(flight) = table.current.get(key) {
            let waiter = Waiter {
                progress: flight.progress.subscribe(),
                interest: flight.handle.priority.join(priority),
                inline: None,
            };
            return Ok(Join::Waiter(waiter, flight.work.clone()));
        }
        // Asked under the lock: a flight that completed after the caller's lookup has stored its result by
        // now, and none can complete before the new flight stands in the table.
        if let Some(instead) = instead() {
            return Err(instead);
        }
        let (progress, receiver) = watch::channel(Progress::Pending);
        table.last_id += 1;
        let handle = FlightHandle {
            id: table.last_id,
            priority: SharedPriority::of_fetch(priority),
        };
        let work = FlightWork::default();
        let flight = Flight {
            handle: handle.clone(),
            progress: progress.clone(),
            work: work.clone(),
        };
        table.current.insert(key.clone(), flight);
        let waiter = Waiter {
            progress: receiver,
            interest: handle.priority.join(priority),
            inline: None,
        };
        let leader = LeaderGuard {
            flights: self.clone(),
            key: key.clone(),
            handle,
            progress,
        };
        Ok(Join::Leader(waiter, leader, work))
    }

    /// Detaches the flights of `keys` and runs `change` under the lock that storing a result takes, so that
    /// nothing fetched before the change is stored after it.
    pub fn detach<R>(&self, keys: &[K], change: impl FnOnce() -> R) -> R {
        let mut table = self.table.lock();
        for key in keys {
            if let Some(flight) = table.current.remove(key) {
                flight.withdraw_stale();
            }
        }
        change()
    }

    /// Runs `change` under the lock that storing a result takes.
    pub fn locked<R>(&self, change: impl FnOnce() -> R) -> R {
        let _table = self.table.lock();
        change()
    }

    /// Detaches every flight and runs `change` under the same lock; see [`Self::detach`].
    pub fn detach_all<R>(&self, change: impl FnOnce() -> R) -> R {
        let mut table = self.table.lock();
        for (_, flight) in table.current.drain() {
            flight.withdraw_stale();
        }
        change()
    }

    /// Offers the waiters of `flight` the stale value that `store` returns, if that flight is still
    /// current; `store` runs under the lock, and not at all for a detached flight.
    pub fn offer_stale(&self, key: &K, flight: &FlightHandle, store: impl FnOnce() -> S) {
        let table = self.table.lock();
        if table.is_current(key, flight.id)
            && let Some(current) = table.current.get(key)
        {
            // Published under the lock: `complete` takes it before it publishes, so a stale value never
            // overwrites a result.
            current
                .progress
                .send_replace(Progress::StaleAvailable(store()));
        }
    }

    /// Returns whether `key` has a current flight.
    #[must_use]
    pub fn is_in_flight(&self, key: &K) -> bool {
        self.table.lock().current.contains_key(key)
    }
}

impl<S, T> Flight<S, T> {
    /// Takes back a stale value, which the invalidation that detaches this flight has just forbidden.
    fn withdraw_stale(&self) {
        self.progress.send_if_modified(|progress| {
            let was_offered = matches!(progress, Progress::StaleAvailable(_));
            if was_offered {
                *progress = Progress::Pending;
            }
            was_offered
        });
    }
}

impl<K: Eq + Hash + Clone, S, T> LeaderGuard<K, S, T> {
    /// Returns the flight's identity and priority.
    #[must_use]
    pub fn handle(&self) -> FlightHandle {
        self.handle.clone()
    }

    /// Publishes the result to all waiters. `store` runs first, and only if the flight is still current.
    pub fn complete(self, result: T, store: impl FnOnce(&T)) {
        let mut table = self.flights.table.lock();
        if table.is_current(&self.key, self.handle.id) {
            store(&result);
            table.current.remove(&self.key);
        }
        // Published after the removal, so that a waiter that wakes and asks again starts a flight of its own
        // instead of joining this one; and without the lock, for waking takes time.
        drop(table);
        self.progress.send_replace(Progress::Done(result));
    }
}

impl<K: Eq + Hash + Clone, S, T> Drop for LeaderGuard<K, S, T> {
    fn drop(&mut self) {
        // A completed or detached flight is no longer in the table; a successor of the same key has another
        // id and must stay. Removing the flight drops the table's sender, and with this guard's own the last
        // one: that is how waiters notice.
        let mut table = self.flights.table.lock();
        if table.is_current(&self.key, self.handle.id) {
            table.current.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash, S, T> FlightTable<K, S, T> {
    fn is_current(&self, key: &K, id: u64) -> bool {
        self.current
            .get(key)
            .is_some_and(|flight| flight.handle.id == id)
    }
}

impl<S, T: Clone> Waiter<S, T> {
    /// Waits for the result. `deadline` maps the stale value on offer, if any, to the end of waiting, and is
    /// asked again on each change. Cancel-safe.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] or [`WaitError::StillQueued`] at the deadline, [`WaitError::Aborted`] when no result can come.
    pub async fn wait_until(
        mut self,
        deadline: impl Fn(Option<&S>) -> Instant,
    ) -> Result<T, WaitError> {
        loop {
            let until = match &*self.progress.borrow_and_update() {
                Progress::Done(result) => return Ok(result.clone()),
                Progress::StaleAvailable(stale) => deadline(Some(stale)),
                Progress::Pending => deadline(None),
            };
            tokio::select! {
                // A result that is there wins over a deadline that has passed.
                biased;
                changed = self.progress.changed() => changed.map_err(|_| WaitError::Aborted)?,
                () = run(self.inline.as_ref()) => self.inline = None,
                () = sleep_until(until) => return Err(self.too_late()),
            }
        }
    }
}

/// Runs the work of a flight; for ever pending where a task does.
async fn run(inline: Option<&InlineWork>) {
    match inline {
        Some(work) => poll_fn(|cx| work.poll(cx)).await,
        None => pending().await,
    }
}

impl<S, T> Waiter<S, T> {
    /// Begins the work of the flight that this waiter's request started: within the request, which then must wait for
    /// the result, or in a task if another request has joined.
    #[must_use]
    pub fn begin(
        self,
        work: &FlightWork,
        run: impl Future<Output = ()> + Send + 'static,
        owner: WorkOwner,
    ) -> Self {
        let inline = work.begin(run, owner);
        Self { inline, ..self }
    }

    /// Makes the work a task, for a request that may not be polled for a while.
    pub fn detach(&mut self) {
        self.inline = None;
    }

    fn too_late(&self) -> WaitError {
        if self.interest.is_in_queued_call() {
            WaitError::StillQueued
        } else {
            WaitError::TimedOut
        }
    }
}

#[cfg(test)]
mod tests;
