//! A failing origin: no failure is stored, and each has its response.

use std::time::Duration;

use pai_image_gateway::emulator::{Fault, FaultKind, Store};

use crate::support::{TestGateway, refusal, shut_down, times};

/// Asserts the response to a fault, the number of upstream calls, and that nothing was stored.
async fn assert_not_kept(kind: FaultKind, attempts: u64, expected: (u16, &str)) {
    let gateway = TestGateway::usual().await;
    let (id, name) = (Store::id(1), kind.as_str());
    gateway.emulator.script(vec![times(attempts, kind)]);
    let (status, code) = gateway.image(&id).await.error();
    assert_eq!((status, code.as_str()), expected, "{name}");
    assert_eq!(gateway.calls(), attempts, "{name}");
    let page = gateway.page(&format!("/entries/{id}")).await;
    assert_eq!(page["variants"][0]["state"], "absent", "{name}");
    let after = gateway.image(&id).await;
    assert_eq!(after.found()["ImageId"], id, "{name}");
    assert_eq!(
        after.cache_status(),
        "pai-image-gateway; fwd=uri-miss; stored"
    );
}

#[tokio::test]
async fn an_unreadable_200_is_retried_reported_by_its_own_code_and_never_cached() {
    for kind in [
        FaultKind::Garbage,
        FaultKind::Empty,
        FaultKind::NotObject,
        FaultKind::Truncated,
    ] {
        assert_not_kept(kind, 3, (502, "Gateway.InvalidUpstreamResponse")).await;
    }
}

#[tokio::test]
async fn a_broken_connection_is_retried_and_never_cached() {
    for kind in [FaultKind::CloseBefore, FaultKind::CloseMidBody] {
        assert_not_kept(kind, 3, (503, "Gateway.UpstreamUnavailable")).await;
    }
}

#[tokio::test]
async fn a_failing_origin_is_retried_and_never_cached() {
    for (status, code) in [(500, "InternalError"), (503, "ServiceUnavailable")] {
        let kind = refusal(status, code);
        assert_not_kept(kind, 3, (503, "Gateway.UpstreamUnavailable")).await;
    }
}

#[tokio::test]
async fn one_failure_is_hidden_by_a_retry() {
    for kind in [
        FaultKind::CloseBefore,
        FaultKind::CloseMidBody,
        FaultKind::Garbage,
        refusal(500, "InternalError"),
    ] {
        let gateway = TestGateway::usual().await;
        gateway.emulator.script(vec![times(1, kind)]);
        assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
        assert_eq!(gateway.calls(), 2);
        let retries = gateway
            .metric("pai_gateway_upstream_retries_total", &[])
            .await;
        assert_eq!(retries, 1.0);
    }
}

#[tokio::test]
async fn each_attempt_is_signed_afresh() {
    let gateway = TestGateway::usual().await;
    let fault = times(2, refusal(500, "InternalError"));
    gateway.emulator.script(vec![fault]);
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
    let counts = gateway.emulator.counts();
    assert_eq!((counts.nonces, counts.rejected.len()), (3, 0));
}

#[tokio::test]
async fn fields_of_other_types_count_as_absent() {
    let gateway = TestGateway::usual().await;
    gateway
        .emulator
        .script(vec![times(1, FaultKind::WrongType)]);
    let id = Store::id(1);
    let first = gateway.image(&id).await;
    let second = gateway.image(&id).await;
    assert_eq!((first.found(), first.body), (second.found(), second.body));
    let page = gateway.page(&format!("/entries/{id}")).await;
    assert_eq!(page["variants"][0]["source"], "fallback");
    assert_eq!(gateway.calls(), 1);
}

#[tokio::test]
async fn a_client_whose_deadline_passed_gets_an_error_in_the_apis_shape() {
    let gateway = TestGateway::with("api.wait", "200ms").await;
    let stall = FaultKind::Stall(FaultKind::STALL);
    gateway.emulator.script(vec![times(1, stall)]);
    let answer = gateway.image(&Store::id(1)).await;
    let expected = (504, "Gateway.UpstreamTimeout".to_owned());
    assert_eq!(answer.error(), expected);
    assert_eq!(gateway.outcomes("error").await, 1.0);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_cancelled_and_retried() {
    let gateway = TestGateway::with("upstream.attempt_timeout", "200ms").await;
    let stall = FaultKind::Stall(FaultKind::STALL);
    gateway.emulator.script(vec![times(1, stall)]);
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
    assert_eq!(gateway.calls(), 2);
    let labels = [("result", "timeout")];
    let timeouts = gateway
        .metric("pai_gateway_upstream_requests_total", &labels)
        .await;
    assert_eq!(timeouts, 1.0);
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_refused() {
    let gateway = TestGateway::with("upstream.max_body", "1KiB").await;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(2000));
    gateway.emulator.store().put_raw("image-long", long);
    let (status, code) = gateway.image("image-long").await.error();
    assert!((502..=503).contains(&status), "{status}");
    assert!(code.starts_with("Gateway."), "{code}");
    let page = gateway.page("/entries/image-long").await;
    assert_eq!(page["variants"][0]["state"], "absent");
}

#[tokio::test]
async fn a_search_that_fails_is_answered_like_an_image_that_fails() {
    let gateway = TestGateway::usual().await;
    for (kind, expected) in [
        (FaultKind::Garbage, (502, "Gateway.InvalidUpstreamResponse")),
        (FaultKind::CloseBefore, (503, "Gateway.UpstreamUnavailable")),
    ] {
        gateway.emulator.script(vec![Fault::always(kind)]);
        let (status, code) = gateway.get("/api/v1/images").await.error();
        assert_eq!((status, code.as_str()), expected);
    }
}

#[tokio::test]
async fn an_unreachable_origin_is_reported_as_unavailable() {
    let gateway = TestGateway::usual().await;
    let TestGateway { emulator, app } = gateway;
    shut_down(emulator).await;
    let target = "/api/v1/images/image-a";
    let answer = crate::support::ask(&app.data, http::Method::GET, target, &[], "").await;
    let expected = (503, "Gateway.UpstreamUnavailable".to_owned());
    assert_eq!(answer.error(), expected);
}

#[tokio::test]
async fn the_origins_latency_is_no_failure() {
    let gateway = TestGateway::usual().await;
    let slow = FaultKind::Latency(Duration::from_millis(100));
    gateway.emulator.script(vec![times(1, slow)]);
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
    assert_eq!(gateway.calls(), 1);
}
