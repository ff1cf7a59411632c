use proptest::prelude::*;

use super::queue::TURNS;
use super::*;
use crate::upstream::priority::Priority;
use simulation::{Behaviour, Plan, Simulation};

mod fleet;
mod simulation;

const LIMIT: usize = 9;
/// Quota of which [`LIMIT`] is 95 percent.
const QUOTA: f64 = 10.0;

fn request(priority: Priority, client: &str, key: u64, deadline: Option<Instant>) -> SlotRequest {
    SlotRequest {
        priority: SharedPriority::new(priority),
        client: client.into(),
        key,
        is_again: false,
        deadline,
    }
}

fn miss(key: u64, deadline: Instant) -> SlotRequest {
    request(Priority::Miss, "", key, Some(deadline))
}

fn any_priority() -> impl Strategy<Value = Priority> {
    prop_oneof![
        1 => Just(Priority::Prewarm),
        1 => Just(Priority::Background),
        1 => Just(Priority::Forced),
        3 => Just(Priority::Miss),
    ]
}

/// Calls of every kind: cold connections, failures, throttles, and callers that leave.
fn any_plan() -> impl Strategy<Value = Plan> {
    let ends = prop_oneof![
        6 => Just(Behaviour::Answers),
        1 => Just(Behaviour::Fails),
        1 => (0_u64..1500).prop_map(Behaviour::Throttles),
    ];
    (
        (0_u64..6000, any_priority(), 0_u8..3),
        (0_u64..400, 1_u64..400, 0_u64..=100),
        (
            prop::option::of(0_u64..4000),
            prop::option::of(0_u64..3000),
            ends,
        ),
    )
        .prop_map(|((at, priority, client), (connect, latency, part), rest)| {
            let (patience, leaves_after, ends) = rest;
            Plan {
                at,
                priority,
                client,
                connect,
                latency,
                arrives_after: latency * part / 100,
                patience,
                leaves_after,
                ends,
                comes_back: false,
            }
        })
}

/// Misses of one client that take equally long, and come back when they were told to.
fn steady_plans() -> impl Strategy<Value = Vec<Plan>> {
    let times = prop::collection::vec(prop_oneof![Just(0_u64), 0_u64..5000], 1..120);
    (times, 1_u64..100).prop_map(|(times, latency)| {
        let plan = |at| Plan {
            at,
            latency,
            patience: Some(2500),
            comes_back: true,
            ..Plan::miss()
        };
        times.into_iter().map(plan).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Checked on the way: no slot is idle while a call waits, and urgency goes before arrival.
    #[test]
    fn the_origin_never_sees_more_than_the_limit_in_any_window(
        plans in prop::collection::vec(any_plan(), 1..100)
    ) {
        let mut simulation = Simulation::new(QUOTA, plans);
        simulation.run(40_000);
        let arrivals = simulation.arrivals();
        for (first, from) in arrivals.iter().enumerate() {
            let within = arrivals[first..].iter().take_while(|at| **at < from + 1000);
            prop_assert!(within.count() <= LIMIT);
        }
    }

    #[test]
    fn a_call_gets_its_turn_within_ten_turns_for_each_that_was_before_it(
        plans in prop::collection::vec(any_plan(), 1..80)
    ) {
        let plans = plans.into_iter().map(|plan| Plan { leaves_after: None, patience: None, ..plan });
        let mut simulation = Simulation::new(QUOTA, plans.collect());
        simulation.run(600_000);
        for served in &simulation.served {
            prop_assert!(served.turns <= TURNS * (served.ahead + 1), "{served:?}");
        }
        prop_assert!(simulation.unserved() == 0);
    }

    #[test]
    fn a_promise_is_kept_and_who_comes_back_as_told_is_not_refused_again(plans in steady_plans()) {
        let count = plans.len();
        let mut simulation = Simulation::new(QUOTA, plans);
        simulation.run(60_000);
        prop_assert_eq!(simulation.served.len() + simulation.at_once, count);
        for served in &simulation.served {
            // Slots are handed out on whole milliseconds here.
            prop_assert!(served.at <= served.promised + 1, "{served:?}");
        }
        prop_assert!(simulation.refusals.iter().all(|count| *count <= 1), "{:?}", simulation.refusals);
        let mut told = simulation.told.clone();
        told.sort_unstable();
        told.dedup();
        prop_assert_eq!(told.len(), simulation.told.len(), "two clients are told the same moment");
    }
}

#[test]
fn a_burst_uses_a_whole_second_at_once_and_the_rest_waits_or_is_told_when() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let ms = Duration::from_millis;
    let mut pace = Pace::new(50.0, 1.0, 1000);
    let slots: Vec<_> = (0..47)
        .map(|key| pace.try_take(key, at(0)).unwrap())
        .collect();
    assert!(pace.try_take(47, at(0)).is_none());
    // Before the first answer a call is assumed to take 100 ms.
    assert_eq!(
        pace.promise(&miss(47, at(2500)), at(0)),
        Promise::Wait(ms(1100))
    );
    for key in 47..141 {
        assert!(pace.join(miss(key, at(2500)), key, at(0)).is_ok(), "{key}");
    }
    let told: Vec<_> = (141..200)
        .map(|key| pace.join(miss(key, at(2500)), key, at(0)).unwrap_err())
        .collect();
    assert_eq!(told[0], ms(3300));
    assert!(
        told.is_sorted_by(|one, next| *next >= *one + ms(20)),
        "{told:?}"
    );
    for slot in slots {
        pace.finish(slot, true, at(40));
    }
    assert!(pace.next(at(1039)).is_none());
    let second = std::iter::from_fn(|| pace.next(at(1040))).map(|(_, key)| key);
    assert_eq!(second.collect::<Vec<_>>(), Vec::from_iter(47..94));
}

#[test]
fn a_throttle_closes_the_slots_and_is_part_of_the_promise() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let ms = Duration::from_millis;
    for (quota, reading) in [(50.0, Some((31.0, true))), (0.0, None)] {
        let mut pace = Pace::new(quota, 1.0, 1000);
        let slot = pace.try_take(0, at(0)).unwrap();
        pace.throttled(ms(1500), at(10));
        pace.finish(slot, true, at(10));
        let now = pace.reading(at(10));
        assert_eq!(now.map(|now| (now.per_second, now.is_lowered)), reading);
        assert!(pace.try_take(1, at(1509)).is_none());
        assert_eq!(
            pace.promise(&miss(1, at(2500)), at(10)),
            Promise::Wait(ms(1500))
        );
        assert_eq!(
            pace.promise(&miss(1, at(1500)), at(10)),
            Promise::Refused(ms(1500))
        );
        let Promise::Refused(second) = pace.promise(&miss(2, at(1500)), at(10)) else {
            panic!("its deadline is before the window's end");
        };
        assert!(second > ms(1500), "{second:?}");
        pace.join(miss(3, at(9000)), 3, at(10)).unwrap();
        assert_eq!(pace.next_turn_at(at(10)), Some(at(1510)));
        assert!(pace.next(at(1509)).is_none());
        assert_eq!(pace.next(at(1510)).unwrap().1, 3);
        pace.throttled(Duration::from_secs(3600), at(2000));
        assert_eq!(pace.throttled_for(at(2000)), Some(Duration::from_secs(60)));
    }
}

#[test]
fn clients_take_turns_and_calls_that_were_sent_before_go_first() {
    let start = Instant::now();
    let mut pace = Pace::new(1.0, 1.0, 1000);
    let slot = pace.try_take(0, start).unwrap();
    let mut join = |client, is_again, name| {
        let request = SlotRequest {
            is_again,
            ..request(Priority::Miss, client, 0, None)
        };
        pace.join(request, name, start).unwrap();
    };
    join("a", false, "a1");
    join("a", false, "a2");
    join("a", false, "a3");
    join("b", false, "b1");
    join("c", false, "c1");
    join("c", true, "c0");
    // Before a new call of b: the one sent again, its own, and two of each other client.
    let next_of_b = request(Priority::Miss, "b", 0, None);
    assert_eq!(pace.queue.turns_before(&next_of_b), 1 + 1 + 2 + 1);
    pace.cancel(slot);
    let turns = std::iter::from_fn(|| {
        let (slot, name) = pace.next(start)?;
        pace.cancel(slot);
        Some(name)
    });
    assert_eq!(
        turns.collect::<Vec<_>>(),
        ["c0", "a1", "b1", "c1", "a2", "a3"]
    );
}

#[test]
fn a_client_whose_many_calls_are_refused_keeps_no_other_client_out() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut pace = Pace::new(50.0, 1.0, 10_000);
    for key in 0..47 {
        pace.try_take(key, at(0)).unwrap();
    }
    let of = |client, key| request(Priority::Miss, client, key, Some(at(2500)));
    let refused = (47..1000).filter_map(|key| pace.join(of("a", key), key, at(0)).err());
    let furthest = refused.max().unwrap();
    assert!(furthest > Duration::from_secs(10), "{furthest:?}");
    // The window that has begun, and a turn of `a` before each of `b`.
    for key in 1000..1010 {
        let promise = pace.promise(&of("b", key), at(0));
        assert!(
            matches!(promise, Promise::Wait(wait) if wait < Duration::from_secs(2)),
            "{promise:?}"
        );
        pace.join(of("b", key), key, at(0)).unwrap();
    }
    // Refusals of `b` take turns with those of `a`, and of `a` they are behind all others.
    let late = |client, key| request(Priority::Miss, client, key, Some(at(0)));
    let mut told = |client, key| pace.join(late(client, key), key, at(0)).unwrap_err();
    let of_b: Vec<_> = (2000..2010).map(|key| told("b", key)).collect();
    assert!(of_b.iter().all(|wait| *wait < furthest / 2), "{of_b:?}");
    assert!(told("a", 3000) > furthest);
}

#[test]
fn a_full_queue_has_room_for_urgent_calls_and_for_clients_with_fewer() {
    let start = Instant::now();
    let mut pace = Pace::new(1.0, 1.0, 3);
    pace.try_take(0, start).unwrap();
    let of = |priority, client| request(priority, client, 0, None);
    for _ in 0..3 {
        pace.join(of(Priority::Background, "a"), "a", start)
            .unwrap();
    }
    assert!(
        pace.join(of(Priority::Background, "a"), "a", start)
            .is_err()
    );
    let queued = pace
        .join(of(Priority::Background, "b"), "b", start)
        .unwrap();
    assert_eq!(queued.displaced.unwrap().0, "a");
    let queued = pace.join(of(Priority::Miss, "c"), "c", start).unwrap();
    assert_eq!(queued.displaced.unwrap().0, "b");
    pace.leave(queued.ticket);
    assert_eq!(pace.waiting(), 2);
}
