//! One upstream call, however many clients ask.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pai_image_gateway::app::raise_file_limit;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};
use pai_image_gateway::server::Address;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Barrier;

use crate::process::{origin, serving};
use crate::support::{ONE_CROWD, TestGateway, address, ask, eventually, path, raw, sample, times};

const CROWD: usize = 10_000;

/// One connection per client if the limit of open files allows two ends for each in one process;
/// otherwise fewer connections with several pipelined requests each.
fn connections() -> usize {
    raise_file_limit();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let both_ends = usize::try_from(limit).unwrap_or(usize::MAX) / 2;
    let room = both_ends.saturating_sub(1000).clamp(1, CROWD);
    let fitting = (1..=room).rev().find(|count| CROWD.is_multiple_of(*count));
    fitting.unwrap_or(1)
}

/// Sends the requests over each of so many connections at once; returns the bytes that each received.
pub(crate) async fn crowd(address: &Address, connections: usize, requests: String) -> Vec<String> {
    let (requests, start) = (Arc::new(requests), Arc::new(Barrier::new(connections)));
    let clients = (0..connections).map(|_| {
        let (requests, start) = (Arc::clone(&requests), Arc::clone(&start));
        let address = address.clone();
        tokio::spawn(async move {
            start.wait().await;
            raw(&address, requests.as_bytes()).await
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut received = Vec::with_capacity(connections);
    for client in clients {
        received.push(String::from_utf8(client.await.unwrap()).unwrap());
    }
    received
}

pub(crate) fn requests(id: &str, count: usize) -> String {
    let head = format!("GET {} HTTP/1.1\r\nHost: gateway\r\n", path(id));
    format!("{head}\r\n").repeat(count - 1) + &head + "Connection: close\r\n\r\n"
}

/// Asserts that each connection got so many complete responses, and that all bodies are equal.
fn assert_alike(received: &[String], each: usize) {
    let (_, body) = received[0].rsplit_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), 626);
    for answers in received {
        assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), each);
        assert_eq!(answers.matches(body).count(), each, "{answers}");
    }
}

/// Settings with deadlines beyond the duration of a crowd.
const PATIENCE: [&str; 3] = [
    "api.wait=60s",
    "upstream.attempt_timeout=60s",
    "upstream.deadline=60s",
];

fn slow_once() -> Vec<Fault> {
    vec![times(1, FaultKind::Latency(Duration::from_secs(2)))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_first_requests_cost_one_call() {
    let _alone = ONE_CROWD.lock().await;
    let gateway = TestGateway::start(|setup| {
        setup.flags.extend(PATIENCE.map(str::to_owned));
        setup.origin.faults = slow_once();
    })
    .await;
    let connections = connections();
    let each = CROWD / connections;
    println!("{CROWD} requests over {connections} connections, {each} on each");
    let requests = requests(&Store::id(1), each);
    let received = crowd(&gateway.app.data, connections, requests).await;
    assert_alike(&received, each);
    assert_eq!(gateway.calls(), 1);
    let (miss, coalesced, hit) = (
        gateway.outcomes("miss").await,
        gateway.outcomes("coalesced").await,
        gateway.outcomes("hit").await,
    );
    println!("{miss} miss, {coalesced} coalesced, {hit} hits");
    assert_eq!((miss, miss + coalesced + hit), (1.0, CROWD as f64));
    assert!(coalesced > 0.0);
}

/// The same with the gateway in a process of its own, so that both ends have enough files to give
/// each client a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_first_clients_of_a_process_cost_one_call() {
    let _alone = ONE_CROWD.lock().await;
    raise_file_limit();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let clients = CROWD.min(usize::try_from(limit).unwrap_or(CROWD).saturating_sub(1000));
    println!("{clients} clients, each with a connection of its own");
    let emulator = origin().await;
    emulator.script(slow_once());
    let (_process, ports) = serving(&emulator, &PATIENCE).await;
    let requests = requests(&Store::id(1), 1);
    let received = crowd(&address(&ports, "listen"), clients, requests).await;
    assert_alike(&received, 1);
    assert_eq!(emulator.fetches(&Store::id(1)), 1);
    let admin = address(&ports, "admin");
    let text = ask(&admin, Method::GET, "/metrics", &[], "").await.text();
    let count = |outcome| {
        let labels = [("operation", "GetImage"), ("outcome", outcome)];
        sample(&text, "pai_gateway_requests_total", &labels)
    };
    let (miss, all) = (
        count("miss"),
        sample(&text, "pai_gateway_requests_total", &[]),
    );
    assert_eq!((miss, all), (1.0, clients as f64));
    assert_eq!(miss + count("coalesced") + count("hit"), all);
}

#[tokio::test]
async fn a_waiter_of_a_fetch_gets_the_outcome_coalesced() {
    let gateway = TestGateway::usual().await;
    let slow = FaultKind::Latency(Duration::from_millis(500));
    gateway.emulator.script(vec![times(1, slow)]);
    let (id, other) = (Store::id(1), async {
        gateway.await_fetches(&Store::id(1), 1).await;
        gateway.image(&Store::id(1)).await
    });
    let (first, second) = tokio::join!(gateway.image(&id), other);
    assert_eq!(first.body, second.body);
    assert_eq!(
        first.cache_status(),
        "pai-image-gateway; fwd=uri-miss; stored"
    );
    assert_eq!(
        second.cache_status(),
        "pai-image-gateway; fwd=uri-miss; collapsed"
    );
    assert_eq!(gateway.emulator.fetches(&id), 1);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_only_itself() {
    let gateway = TestGateway::usual().await;
    let slow = FaultKind::Latency(Duration::from_millis(700));
    gateway.emulator.script(vec![times(1, slow)]);
    let (id, mut leaver) = (Store::id(1), gateway.connect().await);
    let target = path(&id);
    tokio::select! {
        answer = leaver.get(&target) => panic!("answered too early: {answer:?}"),
        () = gateway.await_fetches(&id, 1) => drop(leaver),
    }
    let stayer = gateway.image(&id).await;
    assert_eq!(stayer.status, 200);
    assert_eq!(
        stayer.cache_status(),
        "pai-image-gateway; fwd=uri-miss; collapsed"
    );
    assert_eq!(gateway.emulator.fetches(&id), 1);
}

#[tokio::test]
async fn a_fetch_outlives_a_client_whose_deadline_passed() {
    let gateway = TestGateway::with("api.wait", "100ms").await;
    let slow = FaultKind::Latency(Duration::from_millis(600));
    gateway.emulator.script(vec![times(1, slow)]);
    let id = Store::id(1);
    let (status, code) = gateway.image(&id).await.error();
    assert_eq!((status, code.as_str()), (504, "Gateway.UpstreamTimeout"));
    eventually("the late answer is kept", async || {
        gateway.image(&id).await.cache_status().contains("; hit;")
    })
    .await;
    assert_eq!(gateway.emulator.fetches(&id), 1);
}

#[tokio::test]
async fn an_error_of_a_fetch_is_returned_to_all_its_waiters() {
    let gateway = TestGateway::usual().await;
    let slow = FaultKind::Latency(Duration::from_millis(400));
    gateway.emulator.script(vec![times(1, slow)]);
    let asks = (0..20).map(|_| gateway.image("image-none"));
    let answers = futures_util::future::join_all(asks).await;
    for answer in answers {
        assert_eq!(answer.error(), (404, "ImageNotFound".to_owned()));
    }
    assert_eq!(gateway.calls(), 1);
}

#[tokio::test]
async fn different_images_do_not_wait_for_each_other() {
    let gateway = TestGateway::usual().await;
    let stalled = Fault {
        image: Some(Store::id(1)),
        ..times(1, FaultKind::Stall(FaultKind::STALL))
    };
    gateway.emulator.script(vec![stalled]);
    let (slow, other) = (Store::id(1), Store::id(2));
    tokio::select! {
        answer = gateway.image(&slow) => panic!("answered too early: {answer:?}"),
        answer = async { gateway.await_fetches(&slow, 1).await; gateway.image(&other).await } => {
            assert_eq!(answer.status, 200);
        }
    }
}

#[tokio::test]
async fn more_waiters_than_allowed_are_throttled_but_hits_are_not() {
    let gateway = TestGateway::with("listen.max_in_flight", "1").await;
    let (known, slow) = (Store::id(1), Store::id(2));
    assert_eq!(gateway.image(&known).await.status, 200);
    let stalled = times(1, FaultKind::Stall(FaultKind::STALL));
    gateway.emulator.script(vec![stalled]);
    let mut waiting = gateway.connect().await;
    let target = path(&slow);
    let crowded = async {
        gateway.await_fetches(&slow, 1).await;
        let shed = gateway.image(&Store::id(3)).await;
        assert_eq!(shed.error(), (429, "Throttling".to_owned()));
        assert!(shed.header("x-acs-retry-after").parse::<u64>().unwrap() > 0);
        let hit = gateway.request(Method::GET, &path(&known), &[], "").await;
        assert_eq!(hit.status, 200);
    };
    tokio::select! {
        answer = waiting.get(&target) => panic!("answered too early: {answer:?}"),
        () = crowded => {}
    }
    assert_eq!(gateway.emulator.fetches(&Store::id(3)), 0);
    assert_eq!(gateway.outcomes("rejected").await, 1.0);
}
