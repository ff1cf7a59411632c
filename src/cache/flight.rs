//! One fetch per key, however many ask.
//!
//! A flight is the fetch of one key under way. It runs in a task of its own, so a client that leaves
//! cancels only its own waiting. It is *current* until an invalidation grounds it: then the next
//! request starts another, and what the grounded one brings is handed to those who waited for it but
//! never stored.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::priority::{Priority, Urgency};

/// The flights under way. Cheap to clone; clones share them.
#[derive(Debug)]
pub struct Flights<K, T> {
    board: Arc<Mutex<Board<K, T>>>,
}

#[derive(Debug)]
struct Board<K, T> {
    current: HashMap<K, Flight<T>>,
    departures: u64,
}

#[derive(Debug)]
struct Flight<T> {
    number: u64,
    urgency: Urgency,
    arrival: watch::Receiver<Option<T>>,
}

/// A seat to wait in for what a flight brings.
#[derive(Debug)]
pub struct Seat<T>(watch::Receiver<Option<T>>);

/// The flight came to nothing: its task panicked or was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fetch was broken off")]
pub struct Lost;

/// The right to land a flight. Dropping it unlanded clears the flight away.
#[derive(Debug)]
pub struct Ticket<K: Eq + Hash + Clone, T> {
    flights: Flights<K, T>,
    key: K,
    number: u64,
    announce: watch::Sender<Option<T>>,
}

/// How a request came by its flight.
#[derive(Debug)]
pub enum Boarding<K: Eq + Hash + Clone, T> {
    /// Somebody else's flight was under way.
    Joined(Seat<T>),
    /// A new one; whoever holds the ticket must fly it.
    Started(Seat<T>, Ticket<K, T>, Urgency),
}

impl<K, T> Clone for Flights<K, T> {
    fn clone(&self) -> Self {
        Self {
            board: Arc::clone(&self.board),
        }
    }
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self {
            board: Arc::new(Mutex::new(Board {
                current: HashMap::new(),
                departures: 0,
            })),
        }
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Flights<K, T> {
    /// Joins the current flight for `key`, or starts one, unless `landed` finds that one has just
    /// landed: it is asked while no flight can land, so no arrival is missed between look and start.
    /// A flight is as urgent as the most urgent who is on board.
    pub fn board<L>(
        &self,
        key: &K,
        priority: Priority,
        landed: impl FnOnce() -> Option<L>,
    ) -> Result<Boarding<K, T>, L> {
        let mut board = self.board.lock();
        if let Some(flight) = board.current.get(key) {
            flight.urgency.raise(priority);
            return Ok(Boarding::Joined(Seat(flight.arrival.clone())));
        }
        if let Some(landed) = landed() {
            return Err(landed);
        }
        let (announce, arrival) = watch::channel(None);
        board.departures += 1;
        let number = board.departures;
        let urgency = Urgency::new(priority);
        let flight = Flight {
            number,
            urgency: urgency.clone(),
            arrival: arrival.clone(),
        };
        board.current.insert(key.clone(), flight);
        let ticket = Ticket {
            flights: self.clone(),
            key: key.clone(),
            number,
            announce,
        };
        Ok(Boarding::Started(Seat(arrival), ticket, urgency))
    }

    /// Grounds the flights of `keys` and runs `change` while none can land: nothing that departed
    /// before is stored after it.
    pub fn ground<R>(&self, keys: &[K], change: impl FnOnce() -> R) -> R {
        let mut board = self.board.lock();
        for key in keys {
            board.current.remove(key);
        }
        change()
    }

    /// Grounds every flight and runs `change` while none can land.
    pub fn ground_all<R>(&self, change: impl FnOnce() -> R) -> R {
        let mut board = self.board.lock();
        board.current.clear();
        change()
    }

    /// Runs `change` while nothing can land, if the flight that is as urgent as this is still current.
    pub fn while_current(&self, key: &K, urgency: &Urgency, change: impl FnOnce()) {
        let board = self.board.lock();
        let current = board.current.get(key);
        if current.is_some_and(|flight| flight.urgency.is(urgency)) {
            change();
        }
    }

    /// Whether a flight for `key` is under way.
    #[must_use]
    pub fn is_flying(&self, key: &K) -> bool {
        self.board.lock().current.contains_key(key)
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Ticket<K, T> {
    /// Lands: `store` runs only if the flight is still current, and before anyone hears of the result.
    pub fn land(self, result: T, store: impl FnOnce(&T)) {
        let mut board = self.flights.board.lock();
        if board
            .current
            .get(&self.key)
            .is_some_and(|flight| flight.number == self.number)
        {
            store(&result);
            board.current.remove(&self.key);
        }
        drop(board);
        self.announce.send_replace(Some(result));
    }
}

impl<K: Eq + Hash + Clone, T> Drop for Ticket<K, T> {
    fn drop(&mut self) {
        let mut board = self.flights.board.lock();
        if board
            .current
            .get(&self.key)
            .is_some_and(|flight| flight.number == self.number)
        {
            board.current.remove(&self.key);
        }
    }
}

impl<T: Clone> Seat<T> {
    /// Waits for the arrival, without a deadline of its own. Safe to drop at any time.
    ///
    /// # Errors
    /// [`Lost`] when the flight will never land.
    pub async fn arrival(mut self) -> Result<T, Lost> {
        let landed = self.0.wait_for(Option::is_some).await.map_err(|_| Lost)?;
        landed.clone().ok_or(Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(flights: &Flights<u8, u32>) -> (Seat<u32>, Ticket<u8, u32>) {
        match flights.board(&1, Priority::Miss, || None::<()>) {
            Ok(Boarding::Started(seat, ticket, _)) => (seat, ticket),
            other => panic!("{other:?}"),
        }
    }

    fn join(flights: &Flights<u8, u32>) -> Seat<u32> {
        match flights.board(&1, Priority::Miss, || None::<()>) {
            Ok(Boarding::Joined(seat)) => seat,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn all_who_ask_share_one_flight() {
        let flights = Flights::default();
        let (first, ticket) = start(&flights);
        let second = join(&flights);
        let mut stored = 0;
        ticket.land(7, |value| stored = *value);
        assert_eq!(
            (first.arrival().await, second.arrival().await, stored),
            (Ok(7), Ok(7), 7)
        );
        assert!(!flights.is_flying(&1));
    }

    #[tokio::test]
    async fn a_grounded_flight_is_heard_but_never_stored() {
        let flights = Flights::default();
        let (old, grounded) = start(&flights);
        flights.ground(&[1], || ());
        let (new, ticket) = start(&flights);
        grounded.land(1, |_| panic!("stored after the invalidation"));
        assert!(flights.is_flying(&1));
        let mut stored = 0;
        ticket.land(2, |value| stored = *value);
        assert_eq!(
            (old.arrival().await, new.arrival().await, stored),
            (Ok(1), Ok(2), 2)
        );
    }

    #[tokio::test]
    async fn a_lost_flight_is_cleared_away() {
        let flights = Flights::default();
        let (seat, ticket) = start(&flights);
        drop(ticket);
        assert_eq!(seat.arrival().await, Err(Lost));
        assert!(!flights.is_flying(&1));
    }

    #[test]
    fn a_landing_between_look_and_start_is_noticed() {
        let flights: Flights<u8, u32> = Flights::default();
        assert_eq!(
            flights.board(&1, Priority::Miss, || Some("landed")).err(),
            Some("landed")
        );
        assert!(!flights.is_flying(&1));
    }

    #[test]
    fn a_change_is_made_while_its_own_flight_is_current_and_never_later() {
        let flights: Flights<u8, u32> = Flights::default();
        let board = || match flights.board(&1, Priority::Miss, || None::<()>) {
            Ok(Boarding::Started(_, ticket, urgency)) => (ticket, urgency),
            other => panic!("{other:?}"),
        };
        let is_made = |key, urgency: &Urgency| {
            let mut made = false;
            flights.while_current(key, urgency, || made = true);
            made
        };
        let (grounded, first) = board();
        assert!(is_made(&1, &first));
        assert!(!is_made(&2, &first), "another key's flight");
        flights.ground_all(|| ());
        assert!(!is_made(&1, &first));
        let (ticket, second) = board();
        assert!(!is_made(&1, &first) && is_made(&1, &second));
        drop(grounded);
        assert!(
            is_made(&1, &second),
            "a grounded flight clears no other away"
        );
        ticket.land(1, |_| ());
        assert!(!is_made(&1, &second));
    }
}
