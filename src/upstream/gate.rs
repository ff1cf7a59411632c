//! So many calls at once, and a bounded queue in which the most urgent goes first.

use std::sync::Arc;

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
}

#[derive(Debug)]
struct Waiting {
    urgency: Urgency,
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
        })))
    }

    /// Waits for a turn, for as long as the caller likes; dropping the wait leaves the queue.
    ///
    /// # Errors
    /// [`Full`], at once.
    pub(super) async fn enter(&self, urgency: &Urgency) -> Result<Permit, Full> {
        let turn = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit(self.clone()));
            }
            state.queue.retain(|waiting| !waiting.turn.is_closed());
            if state.queue.len() >= state.max_queue {
                return Err(Full);
            }
            let (turn, mine) = oneshot::channel();
            state.queue.push(Waiting {
                urgency: urgency.clone(),
                turn,
            });
            mine
        };
        turn.await.map_err(|_| Full)
    }

    /// Takes the most urgent out of the queue, the first come among equals; else frees the place.
    fn next(&self) -> Option<oneshot::Sender<Permit>> {
        let mut state = self.0.lock();
        state.queue.retain(|waiting| !waiting.turn.is_closed());
        let best = state
            .queue
            .iter()
            .map(|waiting| waiting.urgency.now())
            .max();
        let first = best.and_then(|best| {
            state
                .queue
                .iter()
                .position(|waiting| waiting.urgency.now() >= best)
        });
        match first {
            Some(place) => Some(state.queue.remove(place).turn),
            None => {
                state.free += 1;
                None
            }
        }
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
        let held = gate.enter(&urgency(Priority::Miss)).await.unwrap();
        let (background, first, second) = (
            urgency(Priority::Background),
            urgency(Priority::Miss),
            urgency(Priority::Miss),
        );
        let mut background = pin!(gate.enter(&background));
        let mut first = pin!(gate.enter(&first));
        let mut second = pin!(gate.enter(&second));
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
        let held = gate.enter(&urgency(Priority::Miss)).await.unwrap();
        let (forced, raised) = (urgency(Priority::Forced), urgency(Priority::Background));
        let (mut first, mut second) = (pin!(gate.enter(&forced)), pin!(gate.enter(&raised)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        raised.raise(Priority::Miss);
        drop(held);
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_those_who_leave_make_room() {
        let gate = Gate::new(1, 1);
        let miss = urgency(Priority::Miss);
        let held = gate.enter(&miss).await.unwrap();
        {
            let mut waiting = pin!(gate.enter(&miss));
            assert!(poll!(&mut waiting).is_pending());
            assert_eq!(gate.enter(&miss).await.err(), Some(Full));
        }
        let mut waiting = pin!(gate.enter(&miss));
        assert!(poll!(&mut waiting).is_pending());
        drop(held);
        assert!(poll!(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn a_turn_given_to_one_who_left_is_not_lost() {
        let gate = Gate::new(1, 2);
        let miss = urgency(Priority::Miss);
        let held = gate.enter(&miss).await.unwrap();
        let mut gone = Box::pin(gate.enter(&miss));
        assert!(poll!(&mut gone).is_pending());
        drop(held);
        drop(gone);
        assert!(gate.enter(&miss).await.is_ok());
    }
}
