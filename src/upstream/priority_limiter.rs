//! Concurrency limit with a bounded priority queue.
//!
//! Among calls of the same priority, clients take turns, so that one client's many calls delay another's single call
//! by one turn. When the queue is full, a client with fewer queued calls displaces one of the client with the most.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::priority::SharedPriority;

/// Limiter of concurrent calls. Clones share its slots and its queue.
#[derive(Debug, Clone)]
pub(super) struct PriorityLimiter(Arc<Mutex<LimiterState>>);

#[derive(Debug)]
struct LimiterState {
    free: usize,
    max_queue: usize,
    queue: Vec<QueuedCall>,
    /// Number of slots handed to queued calls so far; it dates `latest`.
    turns: u64,
    /// Turn at which each client was served last; cleared once the queue is empty.
    latest: HashMap<CompactString, u64>,
}

#[derive(Debug)]
struct QueuedCall {
    priority: SharedPriority,
    client: CompactString,
    turn: oneshot::Sender<LimiterPermit>,
}

/// Slot of one call. Dropping it hands the slot to the most urgent queued call, or frees it.
#[derive(Debug)]
pub(super) struct LimiterPermit(PriorityLimiter);

/// Rejection because the queue is full, or because a client with fewer calls took this one's place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls to the origin are waiting")]
pub(super) struct QueueFull;

impl PriorityLimiter {
    /// Allows `at_once` concurrent calls and queues up to `max_queue` more.
    #[must_use]
    pub(super) fn new(at_once: usize, max_queue: usize) -> Self {
        Self(Arc::new(Mutex::new(LimiterState {
            free: at_once,
            max_queue,
            queue: Vec::new(),
            turns: 0,
            latest: HashMap::new(),
        })))
    }

    /// Waits for a slot without a time limit of its own; dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`QueueFull`]: at once, or later when another client displaces this call.
    pub(super) async fn acquire(
        &self,
        priority: &SharedPriority,
        client: &str,
    ) -> Result<LimiterPermit, QueueFull> {
        let turn = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(LimiterPermit(self.clone()));
            }
            state.leave();
            if state.queue.len() >= state.max_queue && !state.make_room(client) {
                return Err(QueueFull);
            }
            let (turn, mine) = oneshot::channel();
            state.queue.push(QueuedCall {
                priority: priority.clone(),
                client: client.into(),
                turn,
            });
            mine
        };
        // Outside the lock: `Drop for LimiterPermit` takes it to hand the slot over.
        turn.await.map_err(|_| QueueFull)
    }

    /// Removes the next call from the queue; frees the slot where none waits.
    fn next(&self) -> Option<oneshot::Sender<LimiterPermit>> {
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

impl LimiterState {
    /// Removes the calls whose futures were dropped.
    fn leave(&mut self) {
        self.queue.retain(|waiting| !waiting.turn.is_closed());
    }

    /// Returns the index of the most urgent call; among equals, the first of the client that was served longest ago.
    fn first(&self) -> Option<usize> {
        let places = self.queue.iter().enumerate();
        let next = places.min_by_key(|(place, waiting)| {
            let latest = self.latest.get(&waiting.client).copied().unwrap_or(0);
            (Reverse(waiting.priority.now()), latest, *place)
        });
        next.map(|(place, _)| place)
    }

    /// Removes the latest call of the client that has the most queued, if `client` has fewer by at least two.
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
        // Dropping the sender resolves the displaced call's future with `QueueFull`.
        theirs.map(|place| self.queue.remove(place)).is_some()
    }
}

impl Drop for LimiterPermit {
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
    use crate::upstream::priority::Priority;

    fn priority(priority: Priority) -> SharedPriority {
        SharedPriority::new(priority)
    }

    #[tokio::test]
    async fn the_most_urgent_goes_first_and_equals_in_turn() {
        let limiter = PriorityLimiter::new(1, 10);
        let held = limiter
            .acquire(&priority(Priority::Miss), "a")
            .await
            .unwrap();
        let (background, first, second) = (
            priority(Priority::Background),
            priority(Priority::Miss),
            priority(Priority::Miss),
        );
        let mut background = pin!(limiter.acquire(&background, "a"));
        let mut first = pin!(limiter.acquire(&first, "a"));
        let mut second = pin!(limiter.acquire(&second, "a"));
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
        let limiter = PriorityLimiter::new(1, 10);
        let held = limiter
            .acquire(&priority(Priority::Miss), "a")
            .await
            .unwrap();
        let (forced, raised) = (priority(Priority::Forced), priority(Priority::Background));
        let (mut first, mut second) = (
            pin!(limiter.acquire(&forced, "a")),
            pin!(limiter.acquire(&raised, "a")),
        );
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        let _waiter = raised.join(Priority::Miss);
        drop(held);
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_callers_that_leave_make_room() {
        let limiter = PriorityLimiter::new(1, 1);
        let miss = priority(Priority::Miss);
        let held = limiter.acquire(&miss, "a").await.unwrap();
        {
            let mut waiting = pin!(limiter.acquire(&miss, "a"));
            assert!(poll!(&mut waiting).is_pending());
            assert_eq!(limiter.acquire(&miss, "a").await.err(), Some(QueueFull));
        }
        let mut waiting = pin!(limiter.acquire(&miss, "a"));
        assert!(poll!(&mut waiting).is_pending());
        drop(held);
        assert!(poll!(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn a_permit_for_a_caller_that_left_is_not_lost() {
        let limiter = PriorityLimiter::new(1, 2);
        let miss = priority(Priority::Miss);
        let held = limiter.acquire(&miss, "a").await.unwrap();
        let mut gone = Box::pin(limiter.acquire(&miss, "a"));
        assert!(poll!(&mut gone).is_pending());
        drop(held);
        drop(gone);
        assert!(limiter.acquire(&miss, "a").await.is_ok());
    }

    #[tokio::test]
    async fn turns_go_round_by_client_among_equals() {
        let limiter = PriorityLimiter::new(1, 10);
        let miss = priority(Priority::Miss);
        let held = limiter.acquire(&miss, "a").await.unwrap();
        let mut many: Vec<_> = (0..4)
            .map(|_| Box::pin(limiter.acquire(&miss, "a")))
            .collect();
        for waiting in &mut many {
            assert!(poll!(waiting).is_pending());
        }
        let mut one = Box::pin(limiter.acquire(&miss, "b"));
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
    async fn a_full_queue_has_room_for_a_client_with_fewer_calls_in_it() {
        let limiter = PriorityLimiter::new(1, 3);
        let miss = priority(Priority::Miss);
        let held = limiter.acquire(&miss, "a").await.unwrap();
        let mut many: Vec<_> = (0..3)
            .map(|_| Box::pin(limiter.acquire(&miss, "a")))
            .collect();
        for waiting in &mut many {
            assert!(poll!(waiting).is_pending());
        }
        assert_eq!(limiter.acquire(&miss, "a").await.err(), Some(QueueFull));
        let mut one = Box::pin(limiter.acquire(&miss, "b"));
        assert!(poll!(&mut one).is_pending());
        assert!(matches!(poll!(&mut many[2]), Poll::Ready(Err(QueueFull))));
        assert!(poll!(&mut many[1]).is_pending());
        drop(held);
    }
}
