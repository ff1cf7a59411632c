use std::pin::pin;

use futures_util::poll;

use super::*;
use crate::upstream::CallsPerSecond;
use crate::upstream::priority::{Priority, SharedPriority};

const GET: Action = Action::GetImage;
const LIST: Action = Action::ListImages;

/// One GetImage a second, and nineteen lists.
fn pacer() -> Pacer {
    let config = Config {
        calls_per_second: CallsPerSecond {
            get_image: 1.0,
            list_images: 20.0,
            ..CallsPerSecond::default()
        },
        ..Config::default()
    };
    Pacer::new(&config, None)
}

fn request(priority: &SharedPriority, deadline: Option<Instant>) -> SlotRequest {
    SlotRequest {
        priority: priority.clone(),
        client: "".into(),
        key: 0,
        is_again: false,
        deadline,
    }
}

fn miss() -> SlotRequest {
    request(&SharedPriority::new(Priority::Miss), None)
}

fn in_secs(secs: u64) -> Instant {
    Instant::now() + Duration::from_secs(secs)
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_until_a_second_after_the_one_before_it_has_ended() {
    let (pacer, start) = (pacer(), Instant::now());
    for (end, expected_ms) in [
        (SlotEnd::Answered, 0),
        (SlotEnd::Unanswered, 1000),
        (SlotEnd::Unsent, 2000),
        (SlotEnd::Answered, 2000),
        (SlotEnd::Answered, 3000),
    ] {
        let mut slot = pacer.acquire(GET, miss(), in_secs(10)).await.unwrap();
        let waited = start.elapsed().as_millis();
        // The runtime's timers round up to a millisecond.
        assert!(
            (expected_ms..=expected_ms + 5).contains(&waited),
            "{waited}"
        );
        slot.set_end(end);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_and_a_throttle_keep_their_own_operation_waiting() {
    let pacer = pacer();
    let mut slot = pacer.acquire(GET, miss(), in_secs(10)).await.unwrap();
    let mut waiting = pin!(pacer.acquire(GET, miss(), in_secs(60)));
    assert!(poll!(&mut waiting).is_pending());
    assert!(pacer.acquire(LIST, miss(), in_secs(10)).await.is_ok());
    slot.set_end(SlotEnd::Throttled(Duration::from_secs(7)));
    drop(slot);
    assert_eq!(pacer.throttled_for(GET), Some(Duration::from_secs(7)));
    assert!(pacer.throttled_for(LIST).is_none());
    let start = Instant::now();
    assert!(waiting.await.is_ok());
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_is_refused_at_once_and_one_that_is_not_served_leaves_in_time() {
    let pacer = pacer();
    let _slot = pacer.acquire(GET, miss(), in_secs(10)).await.unwrap();
    let start = Instant::now();
    let priority = SharedPriority::new(Priority::Miss);
    let hasty = request(&priority, Some(in_secs(1)));
    let told = pacer.acquire(GET, hasty, in_secs(1)).await.unwrap_err();
    assert_eq!(
        told,
        Duration::from_millis(1100),
        "the window and a call's assumed duration"
    );
    assert_eq!(start.elapsed(), Duration::ZERO);
    // The call in flight lasts longer than assumed.
    let patient = request(&priority, Some(in_secs(3)));
    let waiter = priority.join(Priority::Miss);
    let mut patient = pin!(pacer.acquire(GET, patient, in_secs(3)));
    assert!(poll!(&mut patient).is_pending());
    assert!(waiter.is_in_queued_call());
    let told = patient.await.unwrap_err();
    assert!(told >= Duration::from_secs(1), "{told:?}");
    assert_eq!(start.elapsed().as_secs(), 3);
    assert!(!waiter.is_in_queued_call());
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_turn_comes_too_late_for_its_deadline_still_counts_as_queued() {
    for (held_for, is_late) in [(1800, false), (1950, true)] {
        let (pacer, priority) = (pacer(), SharedPriority::new(Priority::Miss));
        let mut slot = pacer.acquire(GET, miss(), in_secs(10)).await.unwrap();
        slot.set_end(SlotEnd::Unanswered);
        let waiter = priority.join(Priority::Miss);
        let patient = request(&priority, Some(in_secs(3)));
        let mut patient = pin!(pacer.acquire(GET, patient, in_secs(60)));
        assert!(poll!(&mut patient).is_pending());
        // The call in flight lasts longer than assumed: its slot is free a second after its end.
        tokio::time::sleep(Duration::from_millis(held_for)).await;
        drop(slot);
        assert!(patient.await.is_ok());
        assert_eq!(waiter.is_in_queued_call(), is_late, "{held_for}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_gives_up_its_place_or_its_slot() {
    let pacer = pacer();
    let slot = pacer.acquire(GET, miss(), in_secs(10)).await.unwrap();
    let mut first = Box::pin(pacer.acquire(GET, miss(), in_secs(10)));
    let mut second = Box::pin(pacer.acquire(GET, miss(), in_secs(10)));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    // Given to the first, which is gone before it looks.
    drop(slot);
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(first);
    let start = Instant::now();
    assert!(second.await.is_ok());
    assert!(
        start.elapsed() < Duration::from_millis(10),
        "nothing was sent"
    );
}
