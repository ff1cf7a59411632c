//! A limit of calls at once, and a bounded queue in which the most urgent goes first.
//!
//! Among equally urgent calls the turn goes round by client, so that one client's many calls delay another's one by a
//! single turn. When the queue is full, a client with fewer calls in it takes the place of the one with the most.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::priority::Urgency;

/// The gate. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    max_queue: usize,
    queue: Vec<Waiting>,
    /// Turns given so far.
    turns: u64,
    /// The latest turn of each client in the queue.
    latest: HashMap<CompactString, u64>,
}

#[derive(Debug)]
struct Waiting {
    urgency: Urgency,
    client: CompactString,
    turn: oneshot::Sender<Permit>,
}

/// The right to make one call; given back when dropped, and then to whoever is most urgent.
#[derive(Debug)]
pub(super) struct Permit(Gate);

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls to the origin are waiting")]
pub(super) struct Full;

impl Gate {
    /// Lets `at_once` calls through, and as many as `max_queue` wait.
    #[must_use]
    pub(super) fn new(at_once: usize, max_queue: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: at_once,
            max_queue,
            queue: Vec::new(),
            turns: 0,
            latest: HashMap::new(),
        })))
    }

    /// Waits for a turn, for as long as the caller likes; dropping the wait leaves the queue.
    ///
    /// # Errors
    /// [`Full`], at once.
    pub(super) async fn enter(&self, urgency: &Urgency, client: &str) -> Result<Permit, Full> {
        let turn = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit(self.clone()));
            }
            state.leave();
            if state.queue.len() >= state.max_queue && !state.make_room(client) {
                return Err(Full);
            }
            let (turn, mine) = oneshot::channel();
            state.queue.push(Waiting {
                urgency: urgency.clone(),
                client: client.into(),
                turn,
            });
            mine
        };
        turn.await.map_err(|_| Full)
    }

    /// Takes the next out of the queue; else frees the place.
    fn next(&self) -> Option<oneshot::Sender<Permit>> {
        let mut state = self.0.lock();
        state.leave();
        let Some(place) = state.first() else {
            state.free += 1;
            state.latest.clear();
            return None;
        };
        let waiting = state.queue.remove(place);
        state.turns += 1;
        let turns = state.turns;
        state.latest.insert(waiting.client, turns);
        Some(waiting.turn)
    }
}

impl State {
    /// Forgets those who no longer wait.
    fn leave(&mut self) {
        self.queue.retain(|waiting| !waiting.turn.is_closed());
    }

    /// The place of the most urgent; among equals of the client whose latest turn is the longest ago, the first come.
    fn first(&self) -> Option<usize> {
        let places = self.queue.iter().enumerate();
        let next = places.min_by_key(|(place, waiting)| {
            let latest = self.latest.get(&waiting.client).copied().unwrap_or(0);
            (Reverse(waiting.urgency.now()), latest, *place)
        });
        next.map(|(place, _)| place)
    }

    /// Takes the latest place away from the client that has the most, if `client` has fewer by two.
    fn make_room(&mut self, client: &str) -> bool {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for waiting in &self.queue {
            *counts.entry(&waiting.client).or_default() += 1;
        }
        let mine = counts.get(client).copied().unwrap_or(0);
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((greedy, _)) = most.filter(|(_, count)| *count > mine + 1) else {
            return false;
        };
        let greedy = CompactString::from(greedy);
        let theirs = self
            .queue
            .iter()
            .rposition(|waiting| waiting.client == greedy);
        // Its sender is dropped with it, which tells who waits that the queue is full.
        theirs.map(|place| self.queue.remove(place)).is_some()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // A permit that its receiver no longer wants comes back here by its own drop.
        if let Some(turn) = self.0.next() {
            drop(turn.send(Self(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use futures_util::poll;

    use super::*;
    use crate::priority::Priority;

    fn urgency(priority: Priority) -> Urgency {
        Urgency::new(priority)
    }

    #[tokio::test]
    async fn the_most_urgent_goes_first_and_equals_in_turn() {
        let gate = Gate::new(1, 10);
        let held = gate.enter(&urgency(Priority::Miss), "a").await.unwrap();
        let (background, first, second) = (
            urgency(Priority::Background),
            urgency(Priority::Miss),
            urgency(Priority::Miss),
        );
        let mut background = pin!(gate.enter(&background, "a"));
        let mut first = pin!(gate.enter(&first, "a"));
        let mut second = pin!(gate.enter(&second, "a"));
        assert!(poll!(&mut background).is_pending());
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut second).is_pending());
        drop(held);
        assert!(poll!(&mut background).is_pending() && poll!(&mut second).is_pending());
        let Poll::Ready(Ok(held)) = poll!(&mut first) else {
            panic!("the first miss waits")
        };
        drop(held);
        assert!(poll!(&mut background).is_pending());
        assert!(poll!(&mut second).is_ready());
        assert!(poll!(&mut background).is_ready());
    }

    #[tokio::test]
    async fn urgency_that_rises_while_waiting_counts() {
        let gate = Gate::new(1, 10);
        let held = gate.enter(&urgency(Priority::Miss), "a").await.unwrap();
        let (forced, raised) = (urgency(Priority::Forced), urgency(Priority::Background));
        let (mut first, mut second) = (
            pin!(gate.enter(&forced, "a")),
            pin!(gate.enter(&raised, "a")),
        );
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        raised.raise(Priority::Miss);
        drop(held);
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_those_who_leave_make_room() {
        let gate = Gate::new(1, 1);
        let miss = urgency(Priority::Miss);
        let held = gate.enter(&miss, "a").await.unwrap();
        {
            let mut waiting = pin!(gate.enter(&miss, "a"));
            assert!(poll!(&mut waiting).is_pending());
            assert_eq!(gate.enter(&miss, "a").await.err(), Some(Full));
        }
        let mut waiting = pin!(gate.enter(&miss, "a"));
        assert!(poll!(&mut waiting).is_pending());
        drop(held);
        assert!(poll!(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn a_turn_given_to_one_who_left_is_not_lost() {
        let gate = Gate::new(1, 2);
        let miss = urgency(Priority::Miss);
        let held = gate.enter(&miss, "a").await.unwrap();
        let mut gone = Box::pin(gate.enter(&miss, "a"));
        assert!(poll!(&mut gone).is_pending());
        drop(held);
        drop(gone);
        assert!(gate.enter(&miss, "a").await.is_ok());
    }

    #[tokio::test]
    async fn turns_go_round_by_client_among_equals() {
        let gate = Gate::new(1, 10);
        let miss = urgency(Priority::Miss);
        let held = gate.enter(&miss, "a").await.unwrap();
        let mut many: Vec<_> = (0..4).map(|_| Box::pin(gate.enter(&miss, "a"))).collect();
        for waiting in &mut many {
            assert!(poll!(waiting).is_pending());
        }
        let mut one = Box::pin(gate.enter(&miss, "b"));
        assert!(poll!(&mut one).is_pending());
        // The first client's turn begins the round: it has had none while anybody waited.
        drop(held);
        let Poll::Ready(Ok(held)) = poll!(&mut many[0]) else {
            panic!("the first come goes first")
        };
        drop(held);
        assert!(poll!(&mut many[1]).is_pending());
        assert!(poll!(&mut one).is_ready(), "the other client's turn");
    }

    #[tokio::test]
    async fn a_full_queue_has_room_for_who_has_fewer_calls_in_it() {
        let gate = Gate::new(1, 3);
        let miss = urgency(Priority::Miss);
        let held = gate.enter(&miss, "a").await.unwrap();
        let mut many: Vec<_> = (0..3).map(|_| Box::pin(gate.enter(&miss, "a"))).collect();
        for waiting in &mut many {
            assert!(poll!(waiting).is_pending());
        }
        assert_eq!(gate.enter(&miss, "a").await.err(), Some(Full));
        let mut one = Box::pin(gate.enter(&miss, "b"));
        assert!(poll!(&mut one).is_pending());
        assert!(matches!(poll!(&mut many[2]), Poll::Ready(Err(Full))));
        assert!(poll!(&mut many[1]).is_pending());
        drop(held);
    }
}
