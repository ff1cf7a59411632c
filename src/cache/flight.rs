//! One fetch per key, however many ask.
//!
//! A flight is the fetch of one key under way. It runs in a task of its own, so a client that leaves
//! cancels only its own waiting. It is *current* until an invalidation grounds it: then the next
//! request starts another, and what the detached one brings is handed to those who waited for it but
//! never stored.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::priority::{Priority, SharedPriority};

/// The flights under way. Cheap to clone; clones share them.
#[derive(Debug)]
pub struct SingleFlight<K, T> {
    table: Arc<Mutex<FlightTable<K, T>>>,
}

#[derive(Debug)]
struct FlightTable<K, T> {
    current: HashMap<K, Flight<T>>,
    last_id: u64,
}

#[derive(Debug)]
struct Flight<T> {
    id: u64,
    urgency: SharedPriority,
    result: watch::Receiver<Option<T>>,
}

/// Waits for the result of a flight.
#[derive(Debug)]
pub struct Waiter<T>(watch::Receiver<Option<T>>);

/// The flight came to nothing: its task panicked or was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fetch was broken off")]
pub struct Aborted;

/// The right to land a flight. Dropping it unlanded clears the flight away.
#[derive(Debug)]
pub struct LeaderGuard<K: Eq + Hash + Clone, T> {
    flights: SingleFlight<K, T>,
    key: K,
    id: u64,
    publish: watch::Sender<Option<T>>,
}

/// How a request came by its flight.
#[derive(Debug)]
pub enum Join<K: Eq + Hash + Clone, T> {
    /// Somebody else's flight was under way.
    Waiter(Waiter<T>),
    /// A new one; whoever holds the guard must fetch.
    Leader(Waiter<T>, LeaderGuard<K, T>, SharedPriority),
}

impl<K, T> Clone for SingleFlight<K, T> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
        }
    }
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self {
            table: Arc::new(Mutex::new(FlightTable {
                current: HashMap::new(),
                last_id: 0,
            })),
        }
    }
}

impl<K: Eq + Hash + Clone, T: Clone> SingleFlight<K, T> {
    /// Joins the current flight for `key`, or starts one, unless `landed` finds that one has just
    /// landed: it is asked while no flight can land, so no result is missed between look and start.
    /// A flight is as urgent as the most urgent who waits for it.
    pub fn join<L>(
        &self,
        key: &K,
        priority: Priority,
        landed: impl FnOnce() -> Option<L>,
    ) -> Result<Join<K, T>, L> {
        let mut table = self.table.lock();
        if let Some(flight) = table.current.get(key) {
            flight.urgency.raise(priority);
            return Ok(Join::Waiter(Waiter(flight.result.clone())));
        }
        if let Some(landed) = landed() {
            return Err(landed);
        }
        let (publish, result) = watch::channel(None);
        table.last_id += 1;
        let id = table.last_id;
        let urgency = SharedPriority::new(priority);
        let flight = Flight {
            id,
            urgency: urgency.clone(),
            result: result.clone(),
        };
        table.current.insert(key.clone(), flight);
        let leader = LeaderGuard {
            flights: self.clone(),
            key: key.clone(),
            id,
            publish,
        };
        Ok(Join::Leader(Waiter(result), leader, urgency))
    }

    /// Grounds the flights of `keys` and runs `change` while none can land: nothing that departed
    /// before is stored after it.
    pub fn detach<R>(&self, keys: &[K], change: impl FnOnce() -> R) -> R {
        let mut table = self.table.lock();
        for key in keys {
            table.current.remove(key);
        }
        change()
    }

    /// Grounds every flight and runs `change` while none can land.
    pub fn detach_all<R>(&self, change: impl FnOnce() -> R) -> R {
        let mut table = self.table.lock();
        table.current.clear();
        change()
    }

    /// Runs `change` while nothing can land, if the flight that is as urgent as this is still current.
    pub fn while_current(&self, key: &K, urgency: &SharedPriority, change: impl FnOnce()) {
        let table = self.table.lock();
        let current = table.current.get(key);
        if current.is_some_and(|flight| flight.urgency.is(urgency)) {
            change();
        }
    }

    /// Whether a flight for `key` is under way.
    #[must_use]
    pub fn is_in_flight(&self, key: &K) -> bool {
        self.table.lock().current.contains_key(key)
    }
}

impl<K: Eq + Hash + Clone, T: Clone> LeaderGuard<K, T> {
    /// Lands: `store` runs only if the flight is still current, and before anyone hears of the result.
    pub fn complete(self, result: T, store: impl FnOnce(&T)) {
        let mut table = self.flights.table.lock();
        if table
            .current
            .get(&self.key)
            .is_some_and(|flight| flight.id == self.id)
        {
            store(&result);
            table.current.remove(&self.key);
        }
        drop(table);
        self.publish.send_replace(Some(result));
    }
}

impl<K: Eq + Hash + Clone, T> Drop for LeaderGuard<K, T> {
    fn drop(&mut self) {
        let mut table = self.flights.table.lock();
        if table
            .current
            .get(&self.key)
            .is_some_and(|flight| flight.id == self.id)
        {
            table.current.remove(&self.key);
        }
    }
}

impl<T: Clone> Waiter<T> {
    /// Waits for the result, without a deadline of its own. Safe to drop at any time.
    ///
    /// # Errors
    /// [`Aborted`] when the flight will never land.
    pub async fn wait(mut self) -> Result<T, Aborted> {
        let landed = self
            .0
            .wait_for(Option::is_some)
            .await
            .map_err(|_| Aborted)?;
        landed.clone().ok_or(Aborted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(flights: &SingleFlight<u8, u32>) -> (Waiter<u32>, LeaderGuard<u8, u32>) {
        match flights.join(&1, Priority::Miss, || None::<()>) {
            Ok(Join::Leader(waiter, leader, _)) => (waiter, leader),
            other => panic!("{other:?}"),
        }
    }

    fn join(flights: &SingleFlight<u8, u32>) -> Waiter<u32> {
        match flights.join(&1, Priority::Miss, || None::<()>) {
            Ok(Join::Waiter(waiter)) => waiter,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn all_who_ask_share_one_flight() {
        let flights = SingleFlight::default();
        let (first, leader) = start(&flights);
        let second = join(&flights);
        let mut stored = 0;
        leader.complete(7, |value| stored = *value);
        assert_eq!(
            (first.wait().await, second.wait().await, stored),
            (Ok(7), Ok(7), 7)
        );
        assert!(!flights.is_in_flight(&1));
    }

    #[tokio::test]
    async fn a_grounded_flight_is_heard_but_never_stored() {
        let flights = SingleFlight::default();
        let (old, detached) = start(&flights);
        flights.detach(&[1], || ());
        let (new, leader) = start(&flights);
        detached.complete(1, |_| panic!("stored after the invalidation"));
        assert!(flights.is_in_flight(&1));
        let mut stored = 0;
        leader.complete(2, |value| stored = *value);
        assert_eq!(
            (old.wait().await, new.wait().await, stored),
            (Ok(1), Ok(2), 2)
        );
    }

    #[tokio::test]
    async fn a_lost_flight_is_cleared_away() {
        let flights = SingleFlight::default();
        let (waiter, leader) = start(&flights);
        drop(leader);
        assert_eq!(waiter.wait().await, Err(Aborted));
        assert!(!flights.is_in_flight(&1));
    }

    #[test]
    fn a_landing_between_look_and_start_is_noticed() {
        let flights: SingleFlight<u8, u32> = SingleFlight::default();
        assert_eq!(
            flights.join(&1, Priority::Miss, || Some("landed")).err(),
            Some("landed")
        );
        assert!(!flights.is_in_flight(&1));
    }

    #[test]
    fn a_change_is_made_while_its_own_flight_is_current_and_never_later() {
        let flights: SingleFlight<u8, u32> = SingleFlight::default();
        let lead = || match flights.join(&1, Priority::Miss, || None::<()>) {
            Ok(Join::Leader(_, leader, urgency)) => (leader, urgency),
            other => panic!("{other:?}"),
        };
        let is_made = |key, urgency: &SharedPriority| {
            let mut made = false;
            flights.while_current(key, urgency, || made = true);
            made
        };
        let (detached, first) = lead();
        assert!(is_made(&1, &first));
        assert!(!is_made(&2, &first), "another key's flight");
        flights.detach_all(|| ());
        assert!(!is_made(&1, &first));
        let (leader, second) = lead();
        assert!(!is_made(&1, &first) && is_made(&1, &second));
        drop(detached);
        assert!(
            is_made(&1, &second),
            "a detached flight clears no other away"
        );
        leader.complete(1, |_| ());
        assert!(!is_made(&1, &second));
    }
}
