//! A fleet of paces with a store of slots, in steps of a millisecond: exchanges take time, the store dies and is back
//! without its data, and each replica notices and returns at its own time.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::super::{Pace, SlotId};
use super::{LIMIT, QUOTA, any_priority, request};
use crate::upstream::fleet_pace::{FleetAway, FleetReply, FleetRequest, GrantId};
use crate::upstream::priority::Priority;

const REPLICAS: usize = 3;
/// Window of a slot, in milliseconds.
const WINDOW: u64 = 1000;
/// Time of a call, less than a pace assumes at first.
const LATENCY: u64 = 60;
/// Longest time of a call: a replica that dies keeps its slots for longer.
const LONGEST_CALL: Duration = Duration::from_secs(5);

/// Loss of the store: its time, and the times after it at which each replica is connected again.
#[derive(Debug, Clone)]
struct Outage {
    at: u64,
    back: [u64; REPLICAS],
}

/// Events of one run, times in milliseconds.
#[derive(Debug, Clone)]
struct Plan {
    /// Time, replica and priority of each call, in the order of time.
    calls: Vec<(u64, usize, Priority)>,
    outages: Vec<Outage>,
    /// Time of an exchange, there and back.
    trip: u64,
}

/// Store with the rules of `scripts/pace.lua`, except that it grants no slot ahead of its time to calls that nobody
/// waits for.
#[derive(Debug, Default)]
struct Store {
    /// Time from which each slot is free.
    slots: BTreeMap<(usize, u64), u64>,
    waiting: BTreeMap<usize, u64>,
}

impl Store {
    fn exchange(
        &mut self,
        replica: usize,
        request: &FleetRequest,
        now: u64,
        start: Instant,
    ) -> Vec<u64> {
        let hold = request.hold.as_millis() as u64;
        for (grant, at) in &request.ended {
            let at = (*at - start).as_millis() as u64;
            self.slots.insert((replica, grant.0), at + WINDOW);
        }
        for grant in &request.unused {
            if let Some(at) = self.slots.get_mut(&(replica, grant.0)) {
                *at -= hold;
            }
        }
        self.slots.retain(|_, at| *at > now);
        self.waiting.retain(|_, until| *until > now);
        let mut granted = Vec::new();
        while self.slots.len() < request.limit as usize && granted.len() < request.wanted as usize {
            self.grant(replica, request, &mut granted, now, hold);
        }
        if granted.len() < request.wanted as usize {
            if request.urgent as usize > granted.len() {
                self.waiting.insert(replica, now + WINDOW);
            }
            let share = request.limit as usize / self.waiting.len().max(1);
            let ahead = share.max(1).saturating_sub(request.held_ahead as usize);
            let mut known: Vec<_> = self.slots.iter().map(|(slot, at)| (*at, *slot)).collect();
            known.retain(|(at, _)| *at <= now + WINDOW);
            known.sort_unstable();
            let excess = self.slots.len() - request.limit as usize;
            let urgent = (request.urgent as usize).saturating_sub(granted.len());
            for (at, slot) in known.into_iter().skip(excess).take(ahead.min(urgent)) {
                self.slots.remove(&slot);
                self.grant(replica, request, &mut granted, at, hold);
            }
        }
        granted
    }

    fn grant(
        &mut self,
        replica: usize,
        request: &FleetRequest,
        granted: &mut Vec<u64>,
        from: u64,
        hold: u64,
    ) {
        let name = request.first.0 + granted.len() as u64;
        self.slots.insert((replica, name), from + hold);
        granted.push(from);
    }
}

struct Replica {
    pace: Pace<usize>,
    /// Request under way: the time at which it reaches the store, and the reply with its time.
    asked: Option<(u64, FleetRequest)>,
    reply: Option<(u64, Result<FleetReply, FleetAway>)>,
    in_flight: Vec<(u64, SlotId)>,
    reconnected: Option<Instant>,
}

struct Simulation {
    plan: Plan,
    start: Instant,
    store: Store,
    replicas: Vec<Replica>,
    arrivals: Vec<u64>,
    served: Vec<(u64, usize)>,
}

impl Simulation {
    fn new(plan: Plan) -> Self {
        let replica = |_| Replica {
            pace: Pace::new(QUOTA, 1.0, 10_000).in_fleet(1.0, LONGEST_CALL),
            asked: None,
            reply: None,
            in_flight: Vec::new(),
            reconnected: None,
        };
        Self {
            plan,
            start: Instant::now(),
            store: Store::default(),
            replicas: (0..REPLICAS).map(replica).collect(),
            arrivals: Vec::new(),
            served: Vec::new(),
        }
    }

    fn run(&mut self, until: u64) {
        for now in 0..until {
            if self.plan.outages.iter().any(|outage| outage.at == now) {
                self.store = Store::default();
            }
            for replica in 0..REPLICAS {
                self.step(replica, now);
            }
            if now % WINDOW == 0 && self.is_over(now) {
                return;
            }
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let last = self.plan.outages.iter().map(|outage| outage.at).max();
        self.served.len() == self.plan.calls.len() && last < Some(now)
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Returns since when a replica has no connection.
    fn away_since(&self, replica: usize, now: u64) -> Option<u64> {
        let outages = self.plan.outages.iter();
        let current =
            outages.filter(|outage| (outage.at..outage.at + outage.back[replica]).contains(&now));
        current.map(|outage| outage.at).min()
    }

    fn step(&mut self, replica: usize, now: u64) {
        let at = self.at(now);
        let away = self.away_since(replica, now).map(|since| FleetAway {
            since: Some(self.at(since)),
            replicas: Some(REPLICAS as u32),
        });
        let is_back = |outage: &Outage| outage.at + outage.back[replica] == now;
        if self.plan.outages.iter().any(is_back) {
            self.replicas[replica].reconnected = Some(at);
        }
        self.exchange(replica, away, now);
        let one = &mut self.replicas[replica];
        if let Some(away) = away {
            one.pace.lose(away);
        }
        let (over, rest) = std::mem::take(&mut one.in_flight)
            .into_iter()
            .partition(|(end, _)| *end <= now);
        one.in_flight = rest;
        for (_, slot) in over {
            one.pace.finish(slot, true, at);
        }
        let from = self.plan.calls.partition_point(|(when, ..)| *when < now);
        let calls = self.plan.calls.iter().enumerate().skip(from);
        for (call, (_, whose, priority)) in calls.take_while(|(_, (when, ..))| *when == now) {
            if *whose == replica {
                one.pace
                    .join(request(*priority, "", call as u64, None), call, at)
                    .unwrap();
            }
        }
        while let Some((slot, _)) = one.pace.next(at) {
            self.arrivals.push(now + LATENCY / 2);
            self.served.push((now, replica));
            one.in_flight.push((now + LATENCY, slot));
        }
        if let Some(request) = one.pace.request(at) {
            one.asked = Some((now + self.plan.trip / 2, request));
        }
    }

    /// Moves the exchange of a replica on: to the store, or back.
    fn exchange(&mut self, replica: usize, away: Option<FleetAway>, now: u64) {
        let (at, trip) = (self.at(now), self.plan.trip);
        let one = &mut self.replicas[replica];
        if let Some((_, request)) = one.asked.take_if(|(when, _)| *when <= now) {
            let granted = self.store.exchange(replica, &request, now, self.start);
            let back = Duration::from_millis(trip - trip / 2);
            let later = |from: u64| self.start + Duration::from_millis(from.max(now)) + back;
            let reply = FleetReply {
                granted: granted.into_iter().map(later).collect(),
                taken: self.store.slots.values().map(|free| later(*free)).collect(),
                contenders: self.store.waiting.len() as u32,
                throttle: None,
                reconnected: one.reconnected,
                replicas: Some(REPLICAS as u32),
            };
            one.reply = Some((now + trip - trip / 2, Ok(reply)));
        }
        if let Some(away) = away
            && (one.asked.take().is_some() || one.reply.is_some())
        {
            one.reply = Some((now, Err(away)));
        }
        match one.reply.take_if(|(when, _)| *when <= now) {
            Some((_, Ok(reply))) => one.pace.answered(reply, at),
            Some((_, Err(away))) => one.pace.away(away, at),
            None => {}
        }
    }

    /// Returns the most calls that the origin saw within a window.
    fn most_in_a_window(&self) -> usize {
        let mut arrivals = self.arrivals.clone();
        arrivals.sort_unstable();
        let within = |from: usize| {
            let end = arrivals[from] + WINDOW;
            arrivals[from..].iter().take_while(|at| **at < end).count()
        };
        (0..arrivals.len()).map(within).max().unwrap_or(0)
    }
}

fn any_outage() -> impl Strategy<Value = Outage> {
    let back = prop::array::uniform3(1_u64..4000);
    (500_u64..12_000, back).prop_map(|(at, back)| Outage { at, back })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let time = prop_oneof![Just(400_u64), 0_u64..14_000];
    let call = (time, 0..REPLICAS, any_priority());
    (
        prop::collection::vec(call, 1..200),
        prop::collection::vec(any_outage(), 0..3),
        0_u64..20,
    )
        .prop_map(|(mut calls, outages, trip)| {
            calls.sort_unstable();
            Plan {
                calls,
                outages,
                trip,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_origin_never_sees_more_than_the_fleets_limit_whatever_becomes_of_the_store(plan in any_plan()) {
        let count = plan.calls.len();
        let mut simulation = Simulation::new(plan);
        simulation.run(60_000);
        prop_assert!(simulation.most_in_a_window() <= LIMIT, "{}", simulation.most_in_a_window());
        prop_assert_eq!(simulation.served.len(), count);
    }
}

/// So many calls of each replica, all at the start.
fn crowd(priority: Priority, counts: [usize; REPLICAS]) -> Simulation {
    let calls = counts.into_iter().enumerate();
    let calls = calls.flat_map(|(replica, count)| vec![(0, replica, priority); count]);
    of(calls.collect())
}

fn of(calls: Vec<(u64, usize, Priority)>) -> Simulation {
    Simulation::new(Plan {
        calls,
        outages: Vec::new(),
        trip: 2,
    })
}

#[test]
fn a_fleet_in_which_calls_wait_uses_nine_tenths_of_its_pace_and_shares_it() {
    for priority in [Priority::Miss, Priority::Prewarm] {
        let mut simulation = crowd(priority, [1000; REPLICAS]);
        let seconds = 20;
        simulation.run(seconds * 1000);
        assert!(simulation.most_in_a_window() <= LIMIT);
        let possible = LIMIT as u64 * seconds * 1000 / (WINDOW + LATENCY);
        let served = simulation.served.len() as u64;
        assert!(served * 10 >= possible * 9, "{served} of {possible}");
        let own = |replica| {
            simulation
                .served
                .iter()
                .filter(move |(_, whose)| *whose == replica)
        };
        let tenths =
            [0, 1, 2].map(|replica| own(replica).count() * REPLICAS * 10 / served as usize);
        let is_fair = |tenths: &usize| priority != Priority::Miss || (8..=12).contains(tenths);
        assert!(tenths.iter().all(is_fair), "tenths of its part: {tenths:?}");
    }
}

#[test]
fn misses_of_one_replica_go_before_background_calls_of_another() {
    let background = vec![(0, 0, Priority::Prewarm); 300];
    let misses = vec![(5000, 1, Priority::Miss); 2 * LIMIT];
    let mut simulation = of([background, misses].concat());
    simulation.run(10_000);
    let misses = simulation.served.iter().filter(|(_, whose)| *whose == 1);
    let last = misses.map(|(at, _)| *at).max();
    // The background calls under way keep their slots for a window at most; then all but a few are the misses'.
    assert!(last.unwrap() <= 5000 + 3 * (WINDOW + LATENCY), "{last:?}");
    assert!(
        simulation
            .served
            .iter()
            .any(|(at, whose)| *whose == 0 && *at > 8500)
    );
}

#[test]
fn a_replica_with_few_calls_does_not_wait_for_all_of_another() {
    let mut simulation = crowd(Priority::Miss, [1000, 5, 0]);
    simulation.run(5000);
    let last = simulation
        .served
        .iter()
        .filter(|(_, whose)| *whose == 1)
        .map(|(at, _)| *at)
        .max();
    assert!(last.unwrap() <= 3 * WINDOW, "{last:?}");
}

#[test]
fn the_store_is_asked_to_hold_a_slot_for_longer_than_any_call_lasts() {
    let start = Instant::now();
    let mut pace = Pace::<usize>::new(QUOTA, 1.0, 100).in_fleet(1.0, LONGEST_CALL);
    for call in 0..3 {
        pace.join(request(Priority::Miss, "", call as u64, None), call, start)
            .unwrap();
    }
    let request = pace.request(start).unwrap();
    assert_eq!(
        (request.limit, request.wanted, request.first),
        (LIMIT as u32, 3, GrantId(1))
    );
    assert!(request.hold > LONGEST_CALL + Duration::from_millis(WINDOW));
    assert!(pace.request(start).is_none(), "one exchange at a time");
}

#[test]
fn a_call_of_another_replica_may_be_late_for_a_window_after_the_slots_were_all_taken() {
    let start = Instant::now();
    let later = |ms| start + Duration::from_millis(ms);
    for (granted, taken, is_late) in [(1, 1, false), (0, 1, true), (1, LIMIT, true)] {
        let mut pace = Pace::<usize>::new(QUOTA, 1.0, 100).in_fleet(1.0, LONGEST_CALL);
        pace.join(request(Priority::Miss, "", 0, None), 0, start)
            .unwrap();
        pace.request(start).unwrap();
        let reply = FleetReply {
            granted: vec![start; granted],
            taken: vec![later(500); taken],
            contenders: 2,
            throttle: None,
            reconnected: None,
            replicas: Some(2),
        };
        pace.answered(reply, later(1));
        let told = |pace: &Pace<usize>, ms| pace.late_elsewhere(later(ms)).is_some();
        assert_eq!(told(&pace, 900), is_late);
        assert!(!told(&pace, 1200));
    }
}
