//! Headers from a parent to a child, and from a child to its parent.

use http::Method;

use super::stand_in::{Reply, StandIn};
use super::{age, left};
use crate::support::signed::{Signer, clients, guard};
use crate::support::{TestGateway, eventually, path};

#[tokio::test]
async fn age_and_cache_status_of_the_parent_shorten_the_ttl() {
    for (parent_age, status, expected) in [
        (0, "", 100),
        (40, "", 60),
        (40, "pai-image-gateway; hit; ttl=20", 20),
        (40, "pai-image-gateway; hit; ttl=5000", 60),
        (40, "pai-image-gateway; fwd=uri-miss; stored", 60),
        (
            40,
            "pai-image-gateway; hit; ttl=-3; detail=revalidating",
            -3,
        ),
        (500, "", -400),
    ] {
        let parent = StandIn::start(move |_| Reply::image(parent_age, status)).await;
        let child = parent
            .child(|setup| setup.set("freshness.jitter", "0"))
            .await;
        child.image("image-a").await.found();
        let hit = child.image("image-a").await;
        let (lived, left) = (age(&hit), left(hit.cache_status()));
        assert!((parent_age..parent_age + 20).contains(&lived), "{hit:?}");
        assert!(
            (expected - 20..=expected).contains(&left),
            "{status}: {hit:?}"
        );
        assert_eq!(
            lived.cast_signed() + left,
            parent_age.cast_signed() + expected,
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_stale_answer_is_fetched_once_a_second_however_many_clients_request_it() {
    let parent = StandIn::start(|_| Reply::image(500, "")).await;
    let child = parent.child(|_| {}).await;
    let begun = std::time::Instant::now();
    eventually("it was fetched four times", async || {
        child.image("image-a").await.found();
        parent.calls() >= 4
    })
    .await;
    // Early refresh begins with the last third of the second at the earliest.
    assert!(
        begun.elapsed().as_millis() >= 3 * 700,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn an_unreadable_age_is_ignored_and_an_absurd_one_is_bounded() {
    for (text, expected) in [
        ("", 0),
        ("soon", 0),
        ("-7", 0),
        ("99999999999", 31 * 86_400),
    ] {
        let parent = StandIn::start(move |_| {
            let mut reply = Reply::image(0, "");
            reply.headers = vec![("age", text.to_owned())];
            reply
        })
        .await;
        let answer = parent.child(|_| {}).await.image("image-a").await;
        answer.found();
        assert!(
            (expected..expected + 20).contains(&age(&answer)),
            "{answer:?}"
        );
    }
}

/// A GetImage that has passed through these hops.
async fn by(gateway: &TestGateway, id: &str, via: &str) -> crate::support::Answer {
    gateway
        .request(Method::GET, &path(id), &[("via", via)], "")
        .await
}

#[tokio::test]
async fn a_call_sends_the_parent_its_hops_and_nothing_else_of_the_client() {
    let parent = StandIn::start(|_| Reply::image(0, "")).await;
    let child = parent.child(|_| {}).await;
    by(&child, "image-a", "1.1 a (b, c), 1.0 d").await.found();
    let via = parent.last("via");
    let name = via
        .strip_prefix("1.1 a, 1.0 d, 1.1 pai-image-gateway-")
        .unwrap();
    assert_eq!(name.len(), 32);
    child.image("image-b").await.found();
    assert_eq!(parent.last("via"), format!("1.1 pai-image-gateway-{name}"));
    // The stand-in answers a search with an image, which is no page; only the request matters here.
    child.get("/api/v1/images?WorkspaceId=1").await;
    assert_eq!(parent.last("via"), format!("1.1 pai-image-gateway-{name}"));
}

#[tokio::test]
async fn the_api_gets_no_gateway_headers_and_its_age_is_ignored() {
    let origin = StandIn::start(|_| Reply::image(500, "pai-image-gateway; hit; ttl=-400")).await;
    let gateway = origin
        .child(|setup| setup.set("upstream.kind", "api"))
        .await;
    let answer = by(&gateway, "image-a", "1.1 a, 1.1 b, 1.1 c, 1.1 d, 1.1 e").await;
    assert_eq!((age(&answer), answer.cache_status()), (0, super::MISS));
    assert_eq!(origin.last("via"), "");
    eventually("it is forced", async || {
        gateway.image_with("image-a", "no-cache").await.found();
        origin.calls() >= 2
    })
    .await;
    assert_eq!(origin.last("cache-control"), "");
}

#[tokio::test]
async fn five_hops_are_too_many_for_anything_but_a_hit() {
    let parent = StandIn::start(|_| Reply::image(0, "")).await;
    let child = parent.child(|setup| setup.set("api.writes", "true")).await;
    let (four, five) = (
        "1.1 a, 1.1 b, 1.1 c, 1.1 d",
        "1.1 a, 1.1 b, 1.1 c, 1.1 d, 1.1 e",
    );
    by(&child, "image-a", four).await.found();
    let refused = by(&child, "image-b", five).await;
    assert_eq!(refused.error(), (508, "Gateway.LoopDetected".to_owned()));
    assert!(refused.text().contains("upstream.endpoint"), "{refused:?}");
    let labels = [("operation", "GetImage"), ("outcome", "error")];
    assert_eq!(
        child.metric("pai_gateway_requests_total", &labels).await,
        1.0
    );
    let target = format!("{}/publish", path("image-a"));
    for (method, target) in [(Method::GET, "/api/v1/images"), (Method::PUT, &target)] {
        let refused = child.request(method, target, &[("via", five)], "").await;
        assert_eq!(refused.error(), (508, "Gateway.LoopDetected".to_owned()));
    }
    assert_eq!(parent.calls(), 1);
    by(&child, "image-a", five).await.found();
}

#[tokio::test]
async fn too_many_hops_reveal_no_hidden_image() {
    let parent = StandIn::start(|_| Reply {
        body: r#"{"WorkspaceId":"999","Accessibility":"PUBLIC"}"#.to_owned(),
        ..Reply::image(0, "")
    })
    .await;
    let folder = clients();
    let child = parent
        .child(|setup| {
            guard(setup, folder.path());
            // With writes on, the gateway would call the parent at start.
            setup.set("api.writes", "false");
        })
        .await;
    let ask = async |signer: Signer, id: &str, via: &str| {
        let target = path(id);
        let mut signed = signer.sign(&Method::GET, &target, "");
        signed.push(("via".to_owned(), via.to_owned()));
        let headers: Vec<_> = signed
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        child.request(Method::GET, &target, &headers, "").await
    };
    ask(Signer::chief(), "image-cached", "1.1 a").await.found();
    let denied = ask(Signer::team(), "image-cached", "1.1 a").await;
    assert_eq!(denied.status, 404);
    for id in ["image-cached", "image-uncached"] {
        let refused = ask(Signer::team(), id, "1.1 a, 1.1 b, 1.1 c, 1.1 d, 1.1 e").await;
        assert_eq!(refused.status, 508);
        assert_eq!(refused.error_code(), "Gateway.LoopDetected");
    }
}
