//! Freshness that a client requests by `Cache-Control`.

use std::time::{Duration, Instant};

use pai_image_gateway::emulator::Store;

use crate::support::{TestGateway, eventually};

const FORCED: &str = "pai-image-gateway; fwd=request; stored";

#[tokio::test]
async fn each_directive_for_a_newer_answer_forces_a_refresh() {
    for demand in ["no-cache", "max-age=0", "min-fresh=9999999", "No-Cache"] {
        let gateway = TestGateway::usual().await;
        let id = Store::id(1);
        gateway.image(&id).await;
        gateway.emulator.store().touch(&id).unwrap();
        let mut forced = None;
        eventually(demand, async || {
            let answer = gateway.image_with(&id, demand).await;
            let is_forced = answer.cache_status() == FORCED;
            forced = is_forced.then_some(answer);
            is_forced
        })
        .await;
        let description = forced.unwrap().found()["Description"].to_string();
        assert!(description.contains("touched"), "{demand}: {description}");
        assert_eq!(gateway.emulator.fetches(&id), 2, "{demand}");
        assert_eq!(gateway.outcomes("refresh").await, 1.0);
        let hit = gateway.image(&id).await.found()["Description"].to_string();
        assert_eq!(hit, description, "{demand}");
    }
}

#[tokio::test]
async fn a_forced_refresh_reaches_the_origin_at_most_once_a_second() {
    let gateway = TestGateway::usual().await;
    let (id, begun) = (Store::id(1), Instant::now());
    eventually("three fetches", async || {
        assert_eq!(gateway.image_with(&id, "no-cache").await.status, 200);
        gateway.emulator.fetches(&id) == 3
    })
    .await;
    // The first at once, the others each a second after the one before at the earliest.
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert!(gateway.outcomes("hit").await > 0.0);
}

#[tokio::test]
async fn forced_refreshes_share_one_call() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    gateway.image(&id).await;
    let age = async || {
        gateway.page(&format!("/entries/{id}")).await["variants"][0]["age_seconds"].clone()
    };
    eventually("a second has passed", async || {
        age().await.as_u64() >= Some(1)
    })
    .await;
    let asks = (0..20).map(|_| gateway.image_with(&id, "no-cache"));
    for answer in futures_util::future::join_all(asks).await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(gateway.emulator.fetches(&id), 2);
    assert_eq!(gateway.outcomes("refresh").await, 1.0);
}

#[tokio::test]
async fn a_cached_answer_that_satisfies_the_directives_is_a_hit() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    gateway.image(&id).await;
    for demand in [
        "max-age=1000",
        "min-fresh=1",
        "max-stale=5, no-transform",
        "no-store",
        "nonsense",
        "max-age=many",
    ] {
        let answer = gateway.image_with(&id, demand).await;
        assert!(answer.cache_status().contains("; hit; ttl="), "{demand}");
    }
    assert_eq!(gateway.calls(), 1);
}

#[tokio::test]
async fn only_if_cached_makes_no_call() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    let absent = gateway.image_with(&id, "only-if-cached").await;
    assert_eq!(absent.error(), (504, "Gateway.NotCached".to_owned()));
    assert_eq!(gateway.calls(), 0);
    gateway.image(&id).await;
    assert_eq!(gateway.image_with(&id, "only-if-cached").await.status, 200);
    assert_eq!(gateway.calls(), 1);
}

#[tokio::test]
async fn a_refresh_of_a_missing_image_can_be_forced() {
    let gateway = TestGateway::usual().await;
    gateway.image("image-new").await;
    gateway
        .emulator
        .store()
        .put_raw("image-new", r#"{"Name":"n"}"#);
    assert_eq!(gateway.image("image-new").await.status, 404);
    eventually("the new image is found", async || {
        gateway.image_with("image-new", "no-cache").await.status == 200
    })
    .await;
    assert_eq!(gateway.image("image-new").await.status, 200);
}
