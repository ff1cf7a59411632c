use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::*;

type Flights = SingleFlight<u8, &'static str, u32>;

fn join(flights: &Flights) -> Join<u8, &'static str, u32> {
    flights.join(&1, Priority::Miss, || None::<()>).unwrap()
}

fn lead(
    flights: &Flights,
) -> (
    Waiter<&'static str, u32>,
    LeaderGuard<u8, &'static str, u32>,
) {
    match join(flights) {
        Join::Leader(waiter, leader, _) => (waiter, leader),
        Join::Waiter(..) => panic!("a flight is in progress"),
    }
}

async fn wait(waiter: Waiter<&'static str, u32>) -> Result<u32, WaitError> {
    let end = Instant::now() + Duration::from_secs(10);
    waiter.wait_until(|_| end).await
}

#[tokio::test]
async fn all_requests_share_one_flight() {
    let flights = Flights::default();
    let (first, leader) = lead(&flights);
    let Join::Waiter(second, _) = join(&flights) else {
        panic!("a second flight")
    };
    let mut stored = 0;
    leader.complete(7, |value| stored = *value);
    assert_eq!(
        (wait(first).await, wait(second).await, stored),
        (Ok(7), Ok(7), 7)
    );
    assert!(!flights.is_in_flight(&1));
}

#[tokio::test]
async fn a_detached_flight_answers_its_waiters_and_is_never_stored() {
    let flights = Flights::default();
    let (old, detached) = lead(&flights);
    flights.detach(&[1], || ());
    let (new, leader) = lead(&flights);
    detached.complete(1, |_| panic!("stored after the invalidation"));
    assert!(flights.is_in_flight(&1));
    let mut stored = 0;
    leader.complete(2, |value| stored = *value);
    assert_eq!(
        (wait(old).await, wait(new).await, stored),
        (Ok(1), Ok(2), 2)
    );
}

#[tokio::test]
async fn an_aborted_flight_is_removed_and_wakes_its_waiters() {
    let flights = Flights::default();
    let (waiter, leader) = lead(&flights);
    drop(leader);
    assert_eq!(wait(waiter).await, Err(WaitError::Aborted));
    assert!(!flights.is_in_flight(&1));
    let (waiter, detached) = lead(&flights);
    flights.detach_all(|| ());
    drop(detached);
    assert_eq!(wait(waiter).await, Err(WaitError::Aborted));
}

#[test]
fn a_result_between_lookup_and_start_is_noticed() {
    let flights = Flights::default();
    let joined = flights.join(&1, Priority::Miss, || Some("stored"));
    assert_eq!(joined.err(), Some("stored"));
    assert!(!flights.is_in_flight(&1));
}

#[test]
fn a_stale_value_is_stored_only_while_its_own_flight_is_current() {
    let flights = Flights::default();
    let is_stored = |key, flight: &FlightHandle| {
        let mut stored = false;
        flights.offer_stale(key, flight, || {
            stored = true;
            "old"
        });
        stored
    };
    let (_waiter, detached) = lead(&flights);
    let first = detached.handle();
    assert!(is_stored(&1, &first));
    assert!(!is_stored(&2, &first), "another key's flight");
    flights.detach_all(|| ());
    assert!(!is_stored(&1, &first));
    let (_waiter, leader) = lead(&flights);
    let second = leader.handle();
    assert!(!is_stored(&1, &first) && is_stored(&1, &second));
    drop(detached);
    assert!(is_stored(&1, &second), "a detached flight removes no other");
    leader.complete(1, |_| ());
    assert!(!is_stored(&1, &second));
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_shortens_the_wait_until_an_invalidation_withdraws_it() {
    let begin = Instant::now();
    let deadline = move |stale: Option<&&str>| {
        begin + Duration::from_secs(if stale.is_some() { 1 } else { 3 })
    };
    for (withdrawn, seconds) in [(false, 1), (true, 3)] {
        let flights = Flights::default();
        let (waiter, leader) = lead(&flights);
        flights.offer_stale(&1, &leader.handle(), || "old");
        if withdrawn {
            flights.detach(&[1], || ());
        }
        let waited = waiter.wait_until(deadline).await;
        assert_eq!(waited, Err(WaitError::TimedOut));
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_there_wins_over_the_deadline() {
    let flights = Flights::default();
    let (waiter, leader) = lead(&flights);
    leader.complete(5, |_| ());
    assert_eq!(waiter.wait_until(|_| Instant::now()).await, Ok(5));
}

/// A flight that the returned waiter runs itself, until `result` comes.
fn run_inline(
    flights: &Flights,
    tasks: &TaskTracker,
    result: impl Future<Output = u32> + Send + 'static,
) -> Waiter<&'static str, u32> {
    let Join::Leader(waiter, leader, work) = join(flights) else {
        panic!("a flight is in progress")
    };
    let run = async move {
        let result = result.await;
        leader.complete(result, |_| ());
    };
    waiter.begin(&work, run, WorkOwner::new(tasks))
}

async fn after_a_second() -> u32 {
    sleep(Duration::from_secs(1)).await;
    7
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_one_request_waits_for_needs_no_task() {
    let (flights, tasks) = (Flights::default(), TaskTracker::new());
    let waiter = run_inline(&flights, &tasks, after_a_second());
    assert_eq!((wait(waiter).await, tasks.len()), (Ok(7), 0));
    assert!(!flights.is_in_flight(&1));
}

#[tokio::test(start_paused = true)]
async fn a_flight_goes_on_in_a_task_when_its_request_ends_or_another_joins() {
    let (flights, tasks) = (Flights::default(), TaskTracker::new());
    // Its client leaves before it has been polled; then its deadline passes.
    drop(run_inline(&flights, &tasks, after_a_second()));
    assert_eq!((tasks.len(), flights.is_in_flight(&1)), (1, true));
    sleep(Duration::from_millis(1001)).await;
    assert_eq!((tasks.len(), flights.is_in_flight(&1)), (0, false));

    let waiter = run_inline(&flights, &tasks, after_a_second());
    let end = Instant::now() + Duration::from_millis(500);
    let result = waiter.wait_until(|_| end).await;
    assert_eq!((result, tasks.len()), (Err(WaitError::TimedOut), 1));

    let Join::Waiter(second, work) = join(&flights) else {
        panic!("a second flight")
    };
    work.detach();
    assert_eq!(wait(second).await, Ok(7));

    let first = run_inline(&flights, &tasks, after_a_second());
    let Join::Waiter(second, work) = join(&flights) else {
        panic!("a second flight")
    };
    assert_eq!(tasks.len(), 0);
    work.detach();
    assert_eq!(tasks.len(), 1);
    // Nobody polls the first.
    assert_eq!(wait(second).await, Ok(7));
    assert_eq!(wait(first).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn work_that_another_request_joined_before_its_beginning_begins_as_a_task() {
    let (flights, tasks) = (Flights::default(), TaskTracker::new());
    let Join::Leader(first, leader, work) = join(&flights) else {
        panic!("a flight is in progress")
    };
    let Join::Waiter(second, joined) = join(&flights) else {
        panic!("a second flight")
    };
    joined.detach();
    let run = async move { leader.complete(7, |_| ()) };
    let _unpolled = first.begin(&work, run, WorkOwner::new(&tasks));
    assert_eq!(wait(second).await, Ok(7));
}

#[tokio::test]
async fn a_panic_in_a_request_s_own_work_is_the_flight_s() {
    let (flights, tasks) = (Flights::default(), TaskTracker::new());
    let waiter = run_inline(&flights, &tasks, async { panic!("as a test") });
    assert_eq!(wait(waiter).await, Err(WaitError::Aborted));
    assert!(!flights.is_in_flight(&1));
}
