//! Calls of a plan against a pace, in steps of a millisecond, with the origin's view of them.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{Pace, SlotId, SlotRequest, Ticket};
use crate::upstream::priority::{Priority, SharedPriority};

/// One call to come; times in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) at: u64,
    pub(super) priority: Priority,
    pub(super) client: u8,
    /// Time before a byte is sent: a cold connection.
    pub(super) connect: u64,
    pub(super) latency: u64,
    /// Time within the latency at which the origin counts the call.
    pub(super) arrives_after: u64,
    pub(super) patience: Option<u64>,
    /// Time after which its caller goes away, if it still waits.
    pub(super) leaves_after: Option<u64>,
    pub(super) ends: Behaviour,
    /// The caller comes back once, at the moment that it is told.
    pub(super) comes_back: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Behaviour {
    Answers,
    Fails,
    Throttles(u64),
}

/// A call that waited and got a slot.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) at: u64,
    pub(super) promised: u64,
    /// Turns that were given since it joined, its own included.
    pub(super) turns: usize,
    /// Calls that were in the queue when it joined.
    pub(super) ahead: usize,
}

struct Waiting {
    call: usize,
    ticket: Ticket,
    priority: Priority,
    promised: u64,
    joined_at: u64,
    turn: usize,
    ahead: usize,
}

pub(super) struct Simulation {
    pace: Pace<usize>,
    start: Instant,
    plans: Vec<Plan>,
    waiting: Vec<Waiting>,
    in_flight: Vec<(usize, SlotId, u64)>,
    arrivals: Vec<u64>,
    turns: usize,
    /// Time at which the pace must be asked for a turn, and whether something happened since it named that time.
    next_turn_at: Option<Instant>,
    is_woken: bool,
    pub(super) served: Vec<Served>,
    pub(super) at_once: usize,
    pub(super) refusals: Vec<usize>,
    pub(super) told: Vec<u64>,
}

impl Plan {
    pub(super) const fn miss() -> Self {
        Self {
            at: 0,
            priority: Priority::Miss,
            client: 0,
            connect: 0,
            latency: 40,
            arrives_after: 0,
            patience: None,
            leaves_after: None,
            ends: Behaviour::Answers,
            comes_back: false,
        }
    }
}

impl Simulation {
    pub(super) fn new(quota: f64, plans: Vec<Plan>) -> Self {
        Self {
            pace: Pace::new(quota, 1.0, 1000),
            start: Instant::now(),
            waiting: Vec::new(),
            in_flight: Vec::new(),
            arrivals: Vec::new(),
            turns: 0,
            next_turn_at: None,
            is_woken: false,
            served: Vec::new(),
            at_once: 0,
            refusals: vec![0; plans.len()],
            told: Vec::new(),
            plans,
        }
    }

    /// Runs until so many milliseconds have passed, or every call is over.
    pub(super) fn run(&mut self, until: u64) {
        for now in 0..until {
            self.end_calls(now);
            self.begin_calls(now);
            self.give_turns(now);
            if now % 100 == 0 && self.is_over(now) {
                return;
            }
        }
    }

    /// Times at which the origin counted calls.
    pub(super) fn arrivals(&self) -> Vec<u64> {
        let mut arrivals = self.arrivals.clone();
        arrivals.sort_unstable();
        arrivals
    }

    pub(super) fn unserved(&self) -> usize {
        self.waiting.len()
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn end_calls(&mut self, now: u64) {
        let at = self.at(now);
        let (over, rest) = std::mem::take(&mut self.in_flight)
            .into_iter()
            .partition(|(_, _, end)| *end == now);
        self.in_flight = rest;
        for (call, slot, _) in over {
            self.is_woken = true;
            if let Behaviour::Throttles(wait) = self.plans[call].ends {
                self.pace.throttled(Duration::from_millis(wait), at);
            }
            let is_answered = !matches!(self.plans[call].ends, Behaviour::Fails);
            self.pace.finish(slot, is_answered, at);
        }
        let left: Vec<_> = self
            .waiting
            .iter()
            .filter(|waiting| {
                let after = self.plans[waiting.call].leaves_after;
                after.is_some_and(|after| waiting.joined_at + after == now)
            })
            .map(|waiting| waiting.ticket)
            .collect();
        for ticket in left {
            self.pace.leave(ticket);
            self.waiting.retain(|waiting| waiting.ticket != ticket);
        }
    }

    fn begin_calls(&mut self, now: u64) {
        for call in 0..self.plans.len() {
            if self.plans[call].at == now {
                self.begin(call, now);
            }
        }
    }

    fn begin(&mut self, call: usize, now: u64) {
        let at = self.at(now);
        if let Some(slot) = self.pace.try_take(call as u64, at) {
            self.at_once += 1;
            return self.depart(call, slot, now);
        }
        let plan = &self.plans[call];
        let request = SlotRequest {
            priority: SharedPriority::new(plan.priority),
            client: plan.client.to_string().into(),
            key: call as u64,
            is_again: false,
            deadline: plan.patience.map(|patience| self.at(now + patience)),
        };
        let ahead = self.waiting.len();
        match self.pace.join(request, call, at) {
            Ok(queued) => self.queue(Waiting {
                call,
                ticket: queued.ticket,
                priority: self.plans[call].priority,
                promised: now + in_ms(queued.wait),
                joined_at: now,
                turn: self.turns,
                ahead,
            }),
            Err(wait) => self.refuse(call, now + in_ms(wait)),
        }
    }

    fn queue(&mut self, waiting: Waiting) {
        self.is_woken = true;
        self.waiting.push(waiting);
    }

    fn refuse(&mut self, call: usize, until: u64) {
        self.refusals[call] += 1;
        if self.plans[call].comes_back {
            self.told.push(until);
            self.plans[call].at = until;
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let is_begun = |plan: &Plan| plan.at < now;
        self.waiting.is_empty() && self.in_flight.is_empty() && self.plans.iter().all(is_begun)
    }

    /// Gives turns only when the pace said that there may be one; at all other times there must be none.
    fn give_turns(&mut self, now: u64) {
        let at = self.at(now);
        let may_be_one = self.next_turn_at.is_some_and(|next| next <= at) || self.is_woken;
        let mut given = 0;
        while let Some((slot, call)) = self.pace.next(at) {
            given += 1;
            self.turn(call, now);
            self.depart(call, slot, now);
        }
        assert!(given == 0 || may_be_one, "a slot was idle at {now}");
        (self.next_turn_at, self.is_woken) = (self.pace.next_turn_at(at), false);
    }

    fn turn(&mut self, call: usize, now: u64) {
        self.turns += 1;
        let place = self.waiting.iter().position(|waiting| waiting.call == call);
        let place = place.expect("it waits");
        let most_urgent = self.waiting.iter().map(|waiting| waiting.priority).max();
        let waiting = self.waiting.remove(place);
        assert!(
            Some(waiting.priority) == most_urgent || place == 0,
            "neither the most urgent nor the longest waiting"
        );
        self.served.push(Served {
            at: now,
            promised: waiting.promised,
            turns: self.turns - waiting.turn,
            ahead: waiting.ahead,
        });
    }

    fn depart(&mut self, call: usize, slot: SlotId, now: u64) {
        let plan = &self.plans[call];
        self.arrivals.push(now + plan.connect + plan.arrives_after);
        let end = now + plan.connect + plan.latency;
        self.in_flight.push((call, slot, end.max(now + 1)));
    }
}

/// Rounds up, as the answer to a client does.
fn in_ms(wait: Duration) -> u64 {
    wait.as_nanos().div_ceil(1_000_000) as u64
}
