//! Stale responses: during a refresh, and while the origin fails.

use pai_image_gateway::emulator::{Fault, FaultKind, Store};

use crate::support::{TestGateway, eventually, page_of_a_proxy, refusal, shut_down, throttle};

async fn with_stale_image(id: &str) -> TestGateway {
    let gateway = TestGateway::start(|setup| {
        setup.set("freshness.not_found", "500ms");
        setup.set("freshness.forbidden", "500ms");
        setup.set("api.wait_with_stale", "500ms");
    })
    .await;
    gateway.image(id).await.found();
    gateway.soften(id).await;
    gateway
}

fn is_stale_for_error(cache_status: &str) -> bool {
    let ttl = cache_status
        .strip_prefix("pai-image-gateway; hit; ttl=")
        .and_then(|rest| rest.strip_suffix("; detail=origin-error"));
    ttl.is_some_and(|ttl| ttl.parse::<i64>().is_ok())
}

#[tokio::test]
async fn a_stale_image_is_served_while_the_origin_fails() {
    for kind in [
        FaultKind::CloseBefore,
        FaultKind::CloseMidBody,
        FaultKind::Garbage,
        FaultKind::Empty,
        FaultKind::Stall(FaultKind::STALL),
        refusal(500, "InternalError"),
        refusal(400, "SignatureDoesNotMatch"),
        refusal(403, "Forbidden.AccessKeyDisabled"),
        refusal(400, "OverdueAccount"),
        refusal(403, "OverdueAccount"),
        page_of_a_proxy(403),
        page_of_a_proxy(404),
        page_of_a_proxy(502),
        refusal(200, "InternalError"),
        throttle(None),
    ] {
        let (id, name) = (Store::id(1), kind.as_str());
        let gateway = with_stale_image(&id).await;
        gateway.emulator.script(vec![Fault::always(kind)]);
        let answer = gateway.image(&id).await;
        assert_eq!(answer.found()["ImageId"], id, "{name}");
        assert!(is_stale_for_error(answer.cache_status()), "{answer:?}");
        assert_eq!(gateway.outcomes("stale").await, 1.0, "{name}");
    }
}

#[tokio::test]
async fn a_stale_image_is_served_while_the_origin_is_unreachable() {
    let id = Store::id(1);
    let TestGateway { emulator, app } = with_stale_image(&id).await;
    shut_down(emulator).await;
    let target = crate::support::path(&id);
    let answer = crate::support::ask(&app.data, http::Method::GET, &target, &[], "").await;
    assert_eq!(answer.found()["ImageId"], id);
    assert!(is_stale_for_error(answer.cache_status()), "{answer:?}");
}

#[tokio::test]
async fn a_softly_purged_image_is_fetched_again_while_the_origin_answers() {
    let id = Store::id(1);
    let gateway = with_stale_image(&id).await;
    gateway.emulator.store().touch(&id).unwrap();
    let answer = gateway.image(&id).await;
    assert_eq!(
        answer.cache_status(),
        "pai-image-gateway; fwd=uri-miss; stored"
    );
    let description = answer.found()["Description"].to_string();
    assert!(description.contains("touched"), "{description}");
}

#[tokio::test]
async fn an_error_about_a_request_is_returned_only_without_a_stale_image() {
    let id = Store::id(1);
    let gateway = with_stale_image(&id).await;
    let complaint = refusal(400, "InvalidParameter.Odd");
    gateway.emulator.script(vec![Fault::always(complaint)]);
    let answer = gateway.image(&id).await;
    assert!(is_stale_for_error(answer.cache_status()), "{answer:?}");
    let unknown = gateway.image(&Store::id(2)).await;
    assert_eq!(unknown.error().1, "InvalidParameter.Odd");
}

#[tokio::test]
async fn an_image_the_origin_denies_is_never_served_again() {
    for (denied, status) in [
        (refusal(404, "ImageNotFound"), 404),
        (refusal(403, "Forbidden"), 403),
    ] {
        let id = Store::id(1);
        let gateway = with_stale_image(&id).await;
        gateway.emulator.script(vec![Fault::always(denied)]);
        assert_eq!(gateway.image(&id).await.status, status);
        gateway
            .emulator
            .script(vec![Fault::always(FaultKind::CloseBefore)]);
        eventually("the negative answer expires", async || {
            let answer = gateway.image(&id).await;
            assert_ne!(answer.status, 200, "{answer:?}");
            answer.status != status
        })
        .await;
        let (status, code) = gateway.image(&id).await.error();
        assert_eq!(
            (status, code.as_str()),
            (503, "Gateway.UpstreamUnavailable")
        );
    }
}

#[tokio::test]
async fn a_hard_purge_leaves_nothing_to_serve() {
    let id = Store::id(1);
    let gateway = with_stale_image(&id).await;
    assert_eq!(gateway.purge(&format!(r#"{{"image":"{id}"}}"#)).await, 1);
    gateway
        .emulator
        .script(vec![Fault::always(FaultKind::CloseBefore)]);
    let (status, code) = gateway.image(&id).await.error();
    assert_eq!(
        (status, code.as_str()),
        (503, "Gateway.UpstreamUnavailable")
    );
}

#[tokio::test]
async fn a_purge_while_the_origin_is_waited_for_leaves_nothing_to_serve() {
    let id = Store::id(1);
    let gateway = with_stale_image(&id).await;
    let stall = FaultKind::Stall(FaultKind::STALL);
    gateway.emulator.script(vec![Fault::always(stall)]);
    let purged = async {
        gateway.await_fetches(&id, 2).await;
        assert_eq!(gateway.purge(r#"{"all":true}"#).await, 1);
    };
    let (answer, ()) = tokio::join!(gateway.image(&id), purged);
    let expected = (504, "Gateway.UpstreamTimeout".to_owned());
    assert_eq!(answer.error(), expected);
}

#[tokio::test]
async fn a_stale_image_is_served_while_it_is_fetched_again() {
    let gateway = TestGateway::start(|setup| {
        setup.set("freshness.min", "1s");
        setup.set("freshness.max", "1s");
        setup.set("freshness.jitter", "0");
    })
    .await;
    let id = Store::id(1);
    gateway.image(&id).await.found();
    gateway.emulator.store().touch(&id).unwrap();
    eventually("its time is over", async || {
        gateway.page(&format!("/entries/{id}")).await["variants"][0]["state"] == "stale"
    })
    .await;
    let stale = gateway.image(&id).await;
    let ttl = stale
        .cache_status()
        .strip_prefix("pai-image-gateway; hit; ttl=")
        .and_then(|rest| rest.strip_suffix("; detail=revalidating"));
    assert!(ttl.unwrap().parse::<i64>().unwrap() <= 0, "{stale:?}");
    assert!(!stale.found()["Description"].to_string().contains("touched"));
    eventually("the new state is served", async || {
        let description = gateway.image(&id).await.found()["Description"].to_string();
        description.contains("touched")
    })
    .await;
}

#[tokio::test]
async fn an_id_that_names_another_object_gets_the_shortest_ttl() {
    let gateway = TestGateway::usual().await;
    let object = |created: &str| {
        format!(
            r#"{{"GmtCreateTime":"{created}","GmtModifiedTime":"2021-01-01T00:00:00Z","ImageUri":"u"}}"#
        )
    };
    let store = gateway.emulator.store();
    store.put_raw("image-a", object("2020-01-01T00:00:00Z"));
    gateway.image("image-a").await.found();
    store.put_raw("image-a", object("2021-01-01T00:00:00Z"));
    gateway.soften("image-a").await;
    gateway.image("image-a").await.found();
    let page = gateway.page("/entries/image-a").await;
    assert_eq!(page["variants"][0]["ttl_seconds"], 30);
    let counted = gateway
        .metric("pai_gateway_cache_incarnations_total", &[])
        .await;
    assert_eq!(counted, 1.0);
}
