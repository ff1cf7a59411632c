//! Handling of a parent's errors.

use std::time::Duration;

use pai_image_gateway::emulator::{Fault, FaultKind, Store};

use super::family::{Family, PLAIN};
use super::stand_in::{Reply, StandIn};
use crate::support::{TestGateway, path, refusal, throttle};

/// Returns the number of calls of this child with this result.
async fn called(child: &TestGateway, result: &str) -> f64 {
    let labels = [("result", result)];
    child
        .metric("pai_gateway_upstream_requests_total", &labels)
        .await
}

#[tokio::test]
async fn each_error_of_a_parent_has_its_counterpart_at_the_child() {
    // The parent's error; the error that the client gets; its metric; the number of calls to the parent.
    for (status, code, expected, result, calls) in [
        (404, "ImageNotFound", (404, "ImageNotFound"), "not_found", 1),
        (
            400,
            "InvalidParameter",
            (400, "InvalidParameter"),
            "client_error",
            1,
        ),
        (
            403,
            "Gateway.Forbidden",
            (502, "Gateway.CredentialRejected"),
            "credential",
            1,
        ),
        (
            401,
            "MissingAccessKeyId",
            (502, "Gateway.CredentialRejected"),
            "credential",
            1,
        ),
        (
            404,
            "InvalidAccessKeyId.NotFound",
            (502, "Gateway.CredentialRejected"),
            "credential",
            1,
        ),
        (
            400,
            "SignatureDoesNotMatch",
            (502, "Gateway.CredentialRejected"),
            "credential",
            1,
        ),
        (
            400,
            "InvalidTimeStamp.Expired",
            (502, "Gateway.CredentialRejected"),
            "credential",
            2,
        ),
        (
            400,
            "SignatureNonceUsed",
            (502, "Gateway.CredentialRejected"),
            "credential",
            2,
        ),
        (
            400,
            "MissingSecurityToken",
            (502, "Gateway.CredentialRejected"),
            "credential",
            1,
        ),
        (429, "Throttling", (429, "Throttling"), "throttled", 1),
        (
            504,
            "Gateway.UpstreamTimeout",
            (504, "Gateway.UpstreamTimeout"),
            "timeout",
            1,
        ),
        (
            503,
            "Gateway.UpstreamUnavailable",
            (503, "Gateway.UpstreamUnavailable"),
            "server_error",
            1,
        ),
        (
            503,
            "Gateway.Overloaded",
            (503, "Gateway.UpstreamUnavailable"),
            "server_error",
            1,
        ),
        (
            502,
            "Gateway.InvalidUpstreamResponse",
            (502, "Gateway.InvalidUpstreamResponse"),
            "server_error",
            1,
        ),
        (
            502,
            "Gateway.CredentialRejected",
            (502, "Gateway.CredentialRejected"),
            "server_error",
            1,
        ),
        (
            500,
            "Gateway.Internal",
            (503, "Gateway.UpstreamUnavailable"),
            "server_error",
            1,
        ),
        (
            508,
            "Gateway.LoopDetected",
            (508, "Gateway.LoopDetected"),
            "server_error",
            1,
        ),
        // Something between here and the parent.
        (
            502,
            "",
            (503, "Gateway.UpstreamUnavailable"),
            "server_error",
            3,
        ),
    ] {
        let parent = StandIn::start(move |_| Reply::error(status, code)).await;
        let child = parent.child(|_| {}).await;
        let answer = child.image("image-a").await;
        let received = (answer.status.as_u16(), answer.error_code());
        assert_eq!(
            (received.0, received.1.as_str()),
            expected,
            "{status} {code}"
        );
        assert_eq!(parent.calls(), calls, "{status} {code}");
        assert_eq!(
            called(&child, result).await,
            calls as f64,
            "{status} {code}"
        );
    }
}

#[tokio::test]
async fn a_stale_image_is_served_for_every_error_of_a_parent_but_a_loop() {
    for (status, code, stands_in) in [
        (504, "Gateway.UpstreamTimeout", true),
        (503, "Gateway.UpstreamUnavailable", true),
        (502, "Gateway.CredentialRejected", true),
        (403, "Gateway.Forbidden", true),
        (404, "InvalidAccessKeyId.NotFound", true),
        (429, "Throttling", true),
        (508, "Gateway.LoopDetected", false),
    ] {
        let failing = std::sync::atomic::AtomicBool::new(false);
        let failing = std::sync::Arc::new(failing);
        let fails = std::sync::Arc::clone(&failing);
        let parent = StandIn::start(move |_| {
            if fails.load(std::sync::atomic::Ordering::SeqCst) {
                Reply::error(status, code)
            } else {
                Reply::image(0, "")
            }
        })
        .await;
        let child = parent.child(|_| {}).await;
        child.image("image-a").await.found();
        child.soften("image-a").await;
        failing.store(true, std::sync::atomic::Ordering::SeqCst);
        let answer = child.image("image-a").await;
        if stands_in {
            answer.found();
            assert!(
                answer.cache_status().ends_with("detail=origin-error"),
                "{code}"
            );
        } else {
            assert_eq!(answer.error().0, status);
        }
    }
}

#[tokio::test]
async fn a_parent_that_reports_the_origins_failure_is_still_called_for_other_images() {
    let parent = StandIn::start(|_| Reply::error(503, "Gateway.UpstreamUnavailable")).await;
    let child = parent.child(|_| {}).await;
    for number in 0..20 {
        let answer = child.image(&format!("image-{number}")).await;
        assert_eq!(answer.error().1, "Gateway.UpstreamUnavailable");
    }
    assert_eq!(parent.calls(), 20);
    let overloaded = StandIn::start(|_| Reply::error(503, "Gateway.Overloaded")).await;
    let child = overloaded.child(|_| {}).await;
    for number in 0..20 {
        child.image(&format!("image-{number}")).await;
    }
    assert_eq!(overloaded.calls(), 5);
}

#[tokio::test]
async fn an_outage_is_retried_by_the_parent_alone_and_keeps_the_parents_error() {
    for (kind, status, code, attempts) in [
        (
            refusal(503, "ServiceUnavailable"),
            503,
            "Gateway.UpstreamUnavailable",
            3,
        ),
        (
            FaultKind::Garbage,
            502,
            "Gateway.InvalidUpstreamResponse",
            3,
        ),
        (
            FaultKind::Stall(FaultKind::STALL),
            504,
            "Gateway.UpstreamTimeout",
            1,
        ),
        (
            refusal(400, "SignatureDoesNotMatch"),
            502,
            "Gateway.CredentialRejected",
            1,
        ),
    ] {
        let family = Family::start(|setup| setup.set("api.wait", "300ms")).await;
        family
            .parent
            .gateway
            .emulator
            .script(vec![Fault::always(kind)]);
        let child = family.child(PLAIN).await;
        let answer = child.image(&Store::id(1)).await;
        assert_eq!(answer.error(), (status, code.to_owned()));
        assert_eq!(family.asked().await, 1.0, "{code}");
        assert_eq!(family.parent.gateway.calls(), attempts, "{code}");
        assert_eq!(called(&child, "credential").await, 0.0);
    }
}

#[tokio::test]
async fn a_throttle_of_the_origin_holds_for_its_time_at_the_child_too() {
    let family = Family::usual().await;
    let wait = Duration::from_secs(20);
    let throttled = Fault::always(throttle(Some(wait)));
    family.parent.gateway.emulator.script(vec![throttled]);
    let child = family.child(PLAIN).await;
    for id in [Store::id(1), Store::id(2)] {
        let answer = child.image(&id).await;
        assert_eq!(answer.error(), (429, "Throttling.User".to_owned()));
        let left: u128 = answer.header("x-acs-retry-after").parse().unwrap();
        assert!((1..=wait.as_millis()).contains(&left), "{left}");
    }
    assert_eq!(
        (family.asked().await, family.parent.gateway.calls()),
        (1.0, 1)
    );
}

#[tokio::test]
async fn a_waiter_is_not_rejected_for_the_hops_of_its_leader() {
    let parent = StandIn::start(|head| {
        let via = head["via"].to_str().unwrap();
        if via.matches(',').count() >= 4 {
            Reply {
                after: Duration::from_millis(500),
                ..Reply::error(508, "Gateway.LoopDetected")
            }
        } else {
            Reply::image(0, "")
        }
    })
    .await;
    let child = parent.child(|_| {}).await;
    let target = path("image-a");
    let far = [("via", "1.1 a, 1.1 b, 1.1 c, 1.1 d")];
    let far = child.request(http::Method::GET, &target, &far, "");
    let near = async {
        crate::support::eventually("the other is on its way", async || parent.calls() == 1).await;
        child.image("image-a").await
    };
    let (far, near) = futures_util::future::join(far, near).await;
    assert_eq!(far.error(), (508, "Gateway.LoopDetected".to_owned()));
    near.found();
}
