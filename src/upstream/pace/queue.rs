//! Queue of calls that wait for a slot: the most urgent first; among equals clients take turns, each in the order of
//! arrival.
//!
//! - A call that was sent before, and has to be sent again, goes first among its equals.
//! - Every [`TURNS`]th turn goes to the call that has waited longest, whatever its priority. So a call with *n* others
//!   before it in the queue gets its turn within `TURNS × (n + 1)` turns, however many urgent ones arrive after it.
//! - In a full queue a newcomer displaces the last of the least urgent calls, or one of the client with the most.

use std::cmp::Reverse;
use std::collections::HashMap;

use compact_str::CompactString;
use foldhash::fast::RandomState;

use super::SlotRequest;
use crate::upstream::priority::Priority;

/// Number of turns of which the last goes to the call that has waited longest.
pub(super) const TURNS: usize = 10;

/// Identity of a call's place in the queue; later calls have greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::upstream) struct Ticket(u64);

/// The queue; `W` wakes a waiting call.
#[derive(Debug)]
pub(super) struct Queue<W> {
    max: usize,
    waiting: Vec<WaitingCall<W>>,
    last_ticket: u64,
    /// Number of turns since one was given to the call that had waited longest; below [`TURNS`].
    since_longest: usize,
    /// Number of turns given so far; it dates `latest`.
    turns: u64,
    /// Turn at which each client was served last; cleared once the queue is empty.
    latest: HashMap<CompactString, u64, RandomState>,
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct WaitingCall<W> {
    pub(super) ticket: Ticket,
    pub(super) request: SlotRequest,
    pub(super) waiter: W,
}

impl<W> Queue<W> {
    /// Creates an empty queue for at most `max` calls.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            waiting: Vec::new(),
            last_ticket: 0,
            since_longest: 0,
            turns: 0,
            latest: HashMap::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the number of calls that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the number of calls that clients wait for.
    pub(super) fn urgent(&self) -> usize {
        let is_urgent = |call: &&WaitingCall<W>| call.request.priority.now() > Priority::Background;
        self.waiting.iter().filter(is_urgent).count()
    }

    /// Adds a call. The queue must have room.
    pub(super) fn push(&mut self, request: SlotRequest, waiter: W) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.push(WaitingCall {
            ticket,
            request,
            waiter,
        });
        ticket
    }

    /// Removes a call that no longer waits.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.waiting.retain(|call| call.ticket != ticket);
        self.forget_turns_if_empty();
    }

    /// Removes the call whose turn it is.
    pub(super) fn pop(&mut self) -> Option<WaitingCall<W>> {
        let most_urgent = self.most_urgent()?;
        self.since_longest = (self.since_longest + 1) % TURNS;
        // `waiting` is in the order of arrival, so the first has waited longest.
        let place = if self.since_longest == 0 {
            0
        } else {
            most_urgent
        };
        let call = self.waiting.remove(place);
        self.turns += 1;
        self.latest.insert(call.request.client.clone(), self.turns);
        self.forget_turns_if_empty();
        Some(call)
    }

    /// Returns an upper bound of the turns that are given before a new call's, unless more urgent calls or ones that
    /// are sent again arrive.
    pub(super) fn turns_before(&self, request: &SlotRequest) -> usize {
        let priority = request.priority.now();
        let (mut ahead, mut behind) = (0, 0);
        // A fast hash, because a newcomer looks at each of up to `upstream.max_queue` calls.
        let mut by_client: HashMap<&str, usize, RandomState> = HashMap::default();
        for call in &self.waiting {
            let rank = (call.request.priority.now(), call.request.is_again);
            if rank > (priority, request.is_again) {
                ahead += 1;
            } else if rank == (priority, request.is_again) {
                *by_client.entry(&call.request.client).or_default() += 1;
            } else {
                behind += 1;
            }
        }
        let own = by_client.remove(&*request.client).unwrap_or(0);
        // The other clients take turns with this one: one each before each of its own calls and before the new one.
        let others = by_client.values().map(|count| (*count).min(own + 1));
        ahead += own + others.sum::<usize>();
        let to_longest = (ahead + self.since_longest) / (TURNS - 1);
        ahead + to_longest.min(behind)
    }

    /// Makes room in a full queue, and returns the call that it displaces: the last of the least urgent if the newcomer
    /// is more urgent; else the last of the client with the most calls, if the newcomer's has fewer by at least two.
    ///
    /// # Errors
    /// A queue that is full of calls which the newcomer must not displace.
    pub(super) fn make_room(
        &mut self,
        request: &SlotRequest,
    ) -> Result<Option<WaitingCall<W>>, NoRoom> {
        if self.waiting.len() < self.max {
            return Ok(None);
        }
        let place = self.less_urgent(request.priority.now());
        let place = place.or_else(|| self.of_greedier_client(&request.client));
        Ok(Some(self.waiting.remove(place.ok_or(NoRoom)?)))
    }

    fn most_urgent(&self) -> Option<usize> {
        let places = self.waiting.iter().enumerate();
        let next = places.min_by_key(|(place, call)| {
            let request = &call.request;
            let latest = self.latest.get(&request.client).copied().unwrap_or(0);
            let rank = (request.priority.now(), request.is_again);
            (Reverse(rank), latest, *place)
        });
        next.map(|(place, _)| place)
    }

    fn less_urgent(&self, than: Priority) -> Option<usize> {
        let places = self.waiting.iter().enumerate();
        let least =
            places.min_by_key(|(place, call)| (call.request.priority.now(), Reverse(*place)));
        least
            .filter(|(_, call)| call.request.priority.now() < than)
            .map(|(place, _)| place)
    }

    fn of_greedier_client(&self, client: &str) -> Option<usize> {
        let mut counts: HashMap<&str, usize, RandomState> = HashMap::default();
        for call in &self.waiting {
            *counts.entry(&call.request.client).or_default() += 1;
        }
        let mine = counts.get(client).copied().unwrap_or(0);
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let (greedy, _) = most.filter(|(_, count)| *count > mine + 1)?;
        self.waiting
            .iter()
            .rposition(|call| call.request.client == greedy)
    }

    fn forget_turns_if_empty(&mut self) {
        if self.waiting.is_empty() {
            self.latest.clear();
        }
    }
}

/// The queue has no room for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;
