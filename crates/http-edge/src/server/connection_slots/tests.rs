use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn peer(address: &str) -> Peer {
    Peer {
        address: Some(address.parse().unwrap()),
        ..Peer::default()
    }
}

fn many(
    slots: &Arc<ConnectionSlots>,
    peer: &Peer,
    count: usize,
    now: Instant,
) -> Vec<Option<ConnectionSlot>> {
    let close = CancellationToken::new();
    (0..count).map(|_| slots.take(peer, &close, now)).collect()
}

#[tokio::test]
async fn beyond_the_limit_a_newcomer_is_refused_until_a_place_is_given_back() {
    let (slots, now) = (
        ConnectionSlots::new(2, EvictionPolicy::RefuseNew),
        Instant::now(),
    );
    let mut held = many(&slots, &peer("192.0.2.1:1"), 3, now);
    assert!(held.pop().unwrap().is_none());
    assert!(held.pop().unwrap().is_some());
    assert!(many(&slots, &peer("192.0.2.1:1"), 1, now)[0].is_some());
}

#[tokio::test]
async fn the_idlest_connection_makes_room_and_one_that_is_answered_does_not() {
    let (slots, now) = (
        ConnectionSlots::new(2, EvictionPolicy::LongestIdle),
        Instant::now(),
    );
    let held = many(&slots, &Peer::default(), 2, now);
    let [Some(first), Some(second)] = &held[..] else {
        panic!("two slots")
    };
    first.request_begins();
    first.request_ends(false);
    let newcomer = many(&slots, &Peer::default(), 1, now);
    assert!(newcomer[0].is_some());
    assert!(second.is_evicted() && second.close_token().unwrap().is_cancelled());
    assert!(!first.is_evicted());
    first.request_begins();
    newcomer[0].as_ref().unwrap().request_begins();
    assert!(many(&slots, &Peer::default(), 1, now)[0].is_none());
}

#[tokio::test]
async fn one_unauthenticated_address_takes_at_most_half_of_the_slots() {
    let (slots, now) = (
        ConnectionSlots::new(10, EvictionPolicy::OldestUnauthenticated),
        Instant::now(),
    );
    let stranger = peer("192.0.2.1:1");
    let held = many(&slots, &stranger, 10, now);
    assert_eq!(held.iter().flatten().count(), 5);
    assert!(many(&slots, &peer("192.0.2.2:1"), 1, now)[0].is_some());
    // A second later the oldest of the address makes room for a newcomer of the same address.
    let later = now + GRACE;
    let newcomer = slots.take(&stranger, &CancellationToken::new(), later);
    assert!(newcomer.is_some());
    assert!(held[0].as_ref().unwrap().is_evicted());
}

#[tokio::test]
async fn an_authenticated_connection_keeps_its_slot() {
    let (slots, now) = (
        ConnectionSlots::new(4, EvictionPolicy::OldestUnauthenticated),
        Instant::now(),
    );
    let client = many(&slots, &peer("192.0.2.1:1"), 1, now);
    client[0].as_ref().unwrap().request_ends(true);
    let later = now + GRACE;
    let strangers = many(&slots, &peer("192.0.2.1:2"), 20, later);
    assert_eq!(strangers.iter().flatten().count(), 2);
    assert!(!client[0].as_ref().unwrap().is_evicted());
}

#[tokio::test]
async fn strangers_of_many_addresses_make_room_for_one_more() {
    let (slots, now) = (
        ConnectionSlots::new(4, EvictionPolicy::OldestUnauthenticated),
        Instant::now(),
    );
    let held: Vec<_> = (0..4)
        .flat_map(|n| many(&slots, &peer(&format!("192.0.2.{n}:1")), 1, now))
        .collect();
    assert!(held.iter().all(Option::is_some));
    let newcomer = peer("[2001:db8::1]:1");
    assert!(many(&slots, &newcomer, 1, now)[0].is_none());
    assert!(many(&slots, &newcomer, 1, now + GRACE)[0].is_some());
    assert!(held[0].as_ref().unwrap().is_evicted());
}

#[tokio::test]
async fn this_machine_and_unix_sockets_have_no_share() {
    for local in [
        Peer::default(),
        peer("127.0.0.1:1"),
        peer("[::ffff:127.0.0.1]:1"),
    ] {
        let slots = ConnectionSlots::new(10, EvictionPolicy::OldestUnauthenticated);
        let held = many(&slots, &local, 10, Instant::now());
        assert_eq!(held.iter().flatten().count(), 10);
    }
}

#[test]
fn a_network_of_ipv6_shares_and_two_networks_do_not() {
    let of = |text: &str| network(text.parse().unwrap());
    assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
    assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
}

#[derive(Debug, Clone)]
enum Step {
    Connect(u8),
    Leave(usize),
    Begin(usize),
    End(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Connect),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::Begin),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, authenticated)| Step::End(at, authenticated)),
    ]
}

proptest! {
    /// Whatever comes and goes: no more places than there are, none lost, and no address without a
    /// sign-in has more than half.
    #[test]
    fn places_are_neither_lost_nor_made(
        steps in prop::collection::vec(step(), 0..200),
        policy in prop::sample::select(vec![EvictionPolicy::RefuseNew, EvictionPolicy::OldestUnauthenticated, EvictionPolicy::LongestIdle]),
    ) {
        let (slots, close, start) = (ConnectionSlots::new(6, policy), CancellationToken::new(), Instant::now());
        let mut held: Vec<(u8, bool, ConnectionSlot)> = Vec::new();
        for (tick, step) in steps.into_iter().enumerate() {
            let now = start + GRACE / 3 * u32::try_from(tick).unwrap();
            let count = held.len().max(1);
            match step {
                Step::Connect(from) => {
                    let slot = slots.take(&peer(&format!("192.0.2.{from}:1")), &close, now);
                    held.extend(slot.map(|slot| (from, false, slot)));
                }
                Step::Leave(at) if !held.is_empty() => drop(held.swap_remove(at % count)),
                Step::Begin(at) if !held.is_empty() => held[at % count].2.request_begins(),
                Step::End(at, authenticated) if !held.is_empty() => {
                    let (_, signed_in, slot) = &mut held[at % count];
                    slot.request_ends(authenticated);
                    *signed_in |= authenticated;
                }
                Step::Leave(_) | Step::Begin(_) | Step::End(..) => {}
            }
            held.retain(|(_, _, slot)| !slot.is_evicted());
            prop_assert!(held.len() <= 6);
            prop_assert_eq!(slots.table.lock().open, held.len());
            let mut strangers = HashMap::<u8, usize>::new();
            for (from, _, _) in held.iter().filter(|(_, signed_in, _)| !signed_in) {
                *strangers.entry(*from).or_default() += 1;
            }
            if policy == EvictionPolicy::OldestUnauthenticated {
                prop_assert!(strangers.values().all(|count| *count <= 3));
            }
        }
        drop(held);
        prop_assert_eq!(slots.table.lock().open, 0);
    }
}
