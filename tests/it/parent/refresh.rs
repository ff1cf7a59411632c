//! Forced refreshes: passed on with permission here, obeyed with permission there.

use std::time::Duration;

use http::Method;
use pai_image_gateway::emulator::Store;

use super::age;
use super::family::{Family, PLAIN, REFRESHING};
use super::stand_in::{Reply, StandIn};
use crate::support::signed::{Signer, clients, guard};
use crate::support::{eventually, path};

const FORCED: &str = "pai-image-gateway; fwd=request; stored";

#[tokio::test]
async fn with_permission_at_both_a_forced_refresh_reaches_the_origin() {
    let (family, id) = (Family::usual().await, Store::id(1));
    let child = family.child(REFRESHING).await;
    child.image(&id).await.found();
    family.aged(&id).await;
    let forced = child.image_with(&id, "no-cache").await;
    assert_eq!((forced.cache_status(), age(&forced)), (FORCED, 0));
    assert_eq!(family.fetches(&id), 2);
}

#[tokio::test]
async fn without_permission_there_the_parents_answer_comes_with_its_age_once_a_second() {
    let (family, id) = (Family::usual().await, Store::id(1));
    let child = family.child(PLAIN).await;
    child.image(&id).await.found();
    family.aged(&id).await;
    let forced = child.image_with(&id, "no-cache").await;
    assert!(forced.cache_status().ends_with(FORCED), "{forced:?}");
    assert!(age(&forced) >= 1, "{forced:?}");
    let asked = family.asked().await;
    let again = child.image_with(&id, "no-cache").await;
    assert!(
        again.cache_status().starts_with("pai-image-gateway; hit"),
        "{again:?}"
    );
    assert_eq!(family.asked().await, asked);
    assert_eq!(family.fetches(&id), 1);
}

#[tokio::test]
async fn without_permission_here_nothing_is_passed_on() {
    let (parent, folder) = (StandIn::start(|_| Reply::image(5, "")).await, clients());
    let child = parent
        .child(|setup| {
            guard(setup, folder.path());
            // With writes on, the gateway would call the parent at start.
            setup.set("api.writes", "false");
        })
        .await;
    let demand = async |signer: Signer| {
        let target = path("image-a");
        let mut signed = signer.sign(&Method::GET, &target, "");
        signed.push(("cache-control".to_owned(), "no-cache".to_owned()));
        let headers: Vec<_> = signed
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        child.request(Method::GET, &target, &headers, "").await
    };
    for _ in 0..2 {
        demand(Signer::frugal()).await.found();
        assert_eq!(parent.calls(), 1);
        assert_eq!(parent.last("cache-control"), "");
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    demand(Signer::team()).await.found();
    assert_eq!(parent.calls(), 2);
    assert_eq!(parent.last("cache-control"), "no-cache");
}

#[tokio::test]
async fn an_image_that_is_not_cached_can_be_refreshed_at_the_parent_too() {
    let (family, id) = (Family::usual().await, Store::id(1));
    family.child(PLAIN).await.image(&id).await.found();
    family.aged(&id).await;
    let child = family.child(REFRESHING).await;
    let forced = child.image_with(&id, "no-cache").await;
    assert_eq!((forced.cache_status(), age(&forced)), (super::MISS, 0));
    assert_eq!(family.fetches(&id), 2);
}

#[tokio::test]
async fn only_a_forced_refresh_sends_no_cache_to_the_parent() {
    let parent = StandIn::start(|_| Reply::image(500, "")).await;
    let child = parent.child(|_| {}).await;
    child.image("image-a").await.found();
    assert_eq!(parent.last("cache-control"), "");
    // Older than its ttl, it is fetched again after its second of grace: in the background or for the client.
    eventually("it is fetched again", async || {
        child.image("image-a").await.found();
        parent.calls() >= 2
    })
    .await;
    assert_eq!(parent.last("cache-control"), "");
    // More frequent requests cause an early refresh in the background.
    eventually("it is forced", async || {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        child.image_with("image-a", "max-age=1").await.found();
        parent.last("cache-control") == "no-cache"
    })
    .await;
}
