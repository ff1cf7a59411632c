//! Gateways that call each other: rejected at once, or within the deadlines, and never endlessly.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use pai_image_gateway::server::{Address, bind};

use super::family::{PLAIN, below};
use crate::support::{TestGateway, eventually, path};

/// Starts so many gateways; each calls the next, and the last the first.
async fn ring(size: usize) -> Vec<TestGateway> {
    let free = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let sockets: Vec<_> = (0..size).map(|_| bind(&free, 128).unwrap()).collect();
    let mut addresses: Vec<_> = sockets
        .iter()
        .map(|bound| bound.address().to_string())
        .collect();
    addresses.rotate_left(1);
    let mut ring = Vec::new();
    for (socket, next) in sockets.into_iter().zip(addresses) {
        let gateway = TestGateway::start(|setup| {
            below(setup, &next, PLAIN);
            setup.set("api.wait", "500ms");
            setup.set("api.writes", "true");
            setup.data = Some(socket);
        });
        ring.push(gateway.await);
    }
    ring
}

/// Returns the number of requests that all of them have answered together.
async fn answered(ring: &[TestGateway]) -> f64 {
    let mut sum = 0.0;
    for gateway in ring {
        sum += gateway.metric("pai_gateway_requests_total", &[]).await;
    }
    sum
}

#[tokio::test]
async fn a_request_in_a_loop_goes_round_once_and_is_rejected() {
    for size in 1..=3 {
        let ring = ring(size).await;
        let answer = ring[0].image("image-a").await;
        assert_eq!(
            answer.error(),
            (508, "Gateway.LoopDetected".to_owned()),
            "{size}"
        );
        assert!(answer.text().contains("upstream.endpoint"), "{answer:?}");
        assert_eq!(answered(&ring).await, (size + 1) as f64);
        // Nothing is kept of it: the next goes round again, once.
        ring[0].image("image-a").await;
        assert_eq!(answered(&ring).await, 2.0 * (size + 1) as f64);
    }
}

#[tokio::test]
async fn a_long_loop_ends_with_the_fifth_hop() {
    let ring = ring(8).await;
    let answer = ring[0].image("image-a").await;
    assert_eq!(answer.error(), (508, "Gateway.LoopDetected".to_owned()));
    assert_eq!(answered(&ring).await, 6.0);
}

#[tokio::test]
async fn lists_and_writes_in_a_loop_go_round_once_too() {
    let target = format!("{}/publish", path("image-a"));
    for (method, target) in [(Method::GET, "/api/v1/images"), (Method::PUT, &target)] {
        let ring = ring(2).await;
        let answer = ring[0].request(method, target, &[], "").await;
        assert_eq!(answer.error(), (508, "Gateway.LoopDetected".to_owned()));
        assert_eq!(answered(&ring).await, 3.0);
    }
}

/// Clients of all gateways at once, for one image and for many: each flight may wait for another that waits for it, so
/// some requests end only at their deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowds_at_every_gateway_of_a_loop_are_rejected_within_the_deadlines() {
    const CLIENTS: usize = 60;
    for size in 1..=3 {
        let ring = ring(size).await;
        let asks = (0..CLIENTS).map(|client| {
            let id = format!("image-{}", client % 2 * client);
            let gateway = &ring[client % size];
            async move { gateway.image(&id).await.error() }
        });
        for (status, code) in join_all(asks).await {
            let refused = status == 508 && code == "Gateway.LoopDetected";
            let waited = status == 504 && code == "Gateway.UpstreamTimeout";
            assert!(refused || waited, "{status} {code}");
        }
        // Those who lost patience leave a few under way; then it is quiet.
        let mut exchanged = 0.0;
        eventually("it is quiet", async || {
            let before = exchanged;
            tokio::time::sleep(Duration::from_millis(300)).await;
            exchanged = answered(&ring).await;
            exchanged == before
        })
        .await;
        println!("{size} gateways: {CLIENTS} clients, {exchanged} requests");
        // A request begins one fetch at most: each client's goes once round.
        assert!(exchanged <= (CLIENTS * (1 + size)) as f64, "{exchanged}");
    }
}
