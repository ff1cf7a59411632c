//! Errors of the origin, and their responses to clients.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::SignedDuration;
use pai_image_gateway::api::Action;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};
use serde_json::Value;

use crate::support::{
    KEY_ID, KEY_SECRET, TestGateway, denial, eventually, page_of_a_proxy, refusal, throttle, times,
};

fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_missing_image_is_cached() {
    let gateway = TestGateway::usual().await;
    let first = gateway.image("image-none").await;
    assert_eq!(first.error(), error(404, "ImageNotFound"));
    assert_eq!(first.header("x-acs-request-id"), first.json()["RequestId"]);
    let second = gateway.image("image-none").await;
    assert_eq!(second.error(), error(404, "ImageNotFound"));
    assert_eq!(
        second.cache_status(),
        "pai-image-gateway; hit; detail=not-found"
    );
    assert_eq!(gateway.calls(), 1);
    assert_eq!(gateway.outcomes("negative").await, 1.0);
}

#[tokio::test]
async fn a_missing_image_is_missing_with_and_without_labels() {
    let gateway = TestGateway::usual().await;
    gateway.image("image-none").await;
    let verbose = gateway.get("/api/v1/images/image-none?Verbose=true").await;
    assert_eq!(verbose.error(), error(404, "ImageNotFound"));
    assert_eq!(gateway.calls(), 1);
}

#[tokio::test]
async fn a_missing_image_is_fetched_again_after_its_ttl() {
    let gateway = TestGateway::with("freshness.not_found", "500ms").await;
    gateway.image("image-new").await;
    gateway
        .emulator
        .store()
        .put_raw("image-new", r#"{"Name":"n"}"#);
    eventually("the new image is found", async || {
        gateway.image("image-new").await.status == 200
    })
    .await;
    assert_eq!(gateway.calls(), 2);
}

#[tokio::test]
async fn a_forbidden_image_is_cached() {
    let gateway = TestGateway::usual().await;
    gateway.emulator.script(vec![Fault::always(denial())]);
    for expected in ["fwd=uri-miss; stored", "hit; detail=not-found"] {
        let answer = gateway.image(&Store::id(1)).await;
        assert_eq!(answer.error(), error(403, "Forbidden"));
        assert!(answer.cache_status().ends_with(expected), "{answer:?}");
    }
    assert_eq!(gateway.calls(), 1);
}

#[tokio::test]
async fn three_forbidden_images_at_once_count_as_a_failure_of_the_credential() {
    let gateway = TestGateway::usual().await;
    gateway.emulator.script(vec![Fault::always(denial())]);
    for index in [1, 2] {
        let answer = gateway.image(&Store::id(index)).await;
        assert_eq!(answer.error(), error(403, "Forbidden"));
    }
    let third = gateway.image(&Store::id(3)).await;
    assert_eq!(third.error(), error(502, "Gateway.CredentialRejected"));
    // The breaker rejects the operation for every image until a probe succeeds.
    let calls = gateway.calls();
    let rejected = gateway.image(&Store::id(4)).await;
    assert_eq!(rejected.error(), error(502, "Gateway.CredentialRejected"));
    assert_eq!(gateway.calls(), calls);
    gateway.emulator.script(Vec::new());
    eventually("a probe succeeds", async || {
        gateway.image(&Store::id(3)).await.status == 200
    })
    .await;
}

/// Once the operation has succeeded, a refusal counts against its image, however many clients and images.
#[tokio::test]
async fn forbidden_images_are_no_failure_of_a_credential_that_has_succeeded() {
    let gateway = TestGateway::usual().await;
    assert_eq!(gateway.image(&Store::id(0)).await.status, 200);
    for (index, code) in [(1, "NoPermission"), (2, "Forbidden.RAM"), (3, "Forbidden")] {
        gateway
            .emulator
            .script(vec![Fault::always(refusal(403, code))]);
        let answer = gateway.image(&Store::id(index)).await;
        assert_eq!(answer.error(), error(403, code));
    }
    gateway.emulator.script(Vec::new());
    assert_eq!(gateway.image(&Store::id(4)).await.status, 200);
    let labels = [("result", "credential")];
    let counted = gateway.metric("pai_gateway_upstream_requests_total", &labels);
    assert_eq!(counted.await, 0.0);
}

#[tokio::test]
async fn cached_images_that_become_forbidden_together_count_as_a_failure_of_the_credential() {
    let gateway = TestGateway::with("freshness.stale_while_revalidate_max", "30s").await;
    for index in 0..5 {
        gateway.image(&Store::id(index)).await.found();
        gateway.soften(&Store::id(index)).await;
    }
    let withdrawn = refusal(403, "Forbidden.RAM");
    gateway.emulator.script(vec![Fault::always(withdrawn)]);
    for index in [0, 1] {
        let answer = gateway.image(&Store::id(index)).await;
        assert_eq!(answer.error(), error(403, "Forbidden.RAM"));
    }
    // The third shows that it is not about the images: from here on cached images are served.
    for index in [2, 3, 4, 2] {
        gateway.image(&Store::id(index)).await.found();
    }
    assert_eq!(gateway.calls(), 5 + 3);
    let labels = [("operation", "GetImage"), ("reason", "permission")];
    assert_eq!(
        gateway.metric("pai_gateway_upstream_held", &labels).await,
        1.0
    );
    assert_eq!(
        gateway.page("/status").await["upstream"]["breaker"],
        "closed"
    );
}

#[tokio::test]
async fn a_rejected_key_opens_the_shared_breaker_and_is_logged_once() {
    let gateway = TestGateway::start(|setup| {
        setup.origin.access_key_secret = "another".into();
    })
    .await;
    for index in 0..50 {
        let answer = gateway.image(&Store::id(index)).await;
        assert_eq!(answer.error(), error(502, "Gateway.CredentialRejected"));
    }
    let list = gateway.get("/api/v1/images").await;
    assert_eq!(list.error(), error(502, "Gateway.CredentialRejected"));
    assert!(gateway.calls() <= 7, "{}", gateway.calls());
    let status = gateway.page("/status").await;
    assert_ne!(status["upstream"]["breaker"], "closed");
    let operation = &status["upstream"]["operations"]["GetImage"];
    assert_eq!(operation["held"], serde_json::json!([]));
}

/// A search that a proxy in between rejects for its length affects that search only.
#[tokio::test]
async fn a_proxys_error_page_for_one_search_opens_no_breaker() {
    let gateway = TestGateway::usual().await;
    let pages = Fault {
        operation: Some(Action::ListImages),
        ..Fault::always(page_of_a_proxy(414))
    };
    gateway.emulator.script(vec![pages]);
    for round in 0..20 {
        let list = gateway.get("/api/v1/images").await;
        assert_eq!(list.error(), error(503, "Gateway.UpstreamUnavailable"));
        assert_eq!(gateway.calls(), 2 * round + 1, "a 4xx is not tried again");
        assert_eq!(gateway.image(&Store::id(round as usize)).await.status, 200);
    }
    let status = gateway.page("/status").await;
    assert_eq!(status["upstream"]["breaker"], "closed");
}

/// Failures of one operation do not affect another.
#[tokio::test]
async fn lists_and_images_have_separate_breakers() {
    let gateway = TestGateway::usual().await;
    let fails = Fault {
        operation: Some(Action::ListImages),
        ..Fault::always(refusal(503, "ServiceUnavailable"))
    };
    gateway.emulator.script(vec![fails]);
    for round in 0..10 {
        let list = gateway.get("/api/v1/images").await;
        assert_eq!(list.error(), error(503, "Gateway.UpstreamUnavailable"));
        assert_eq!(gateway.image(&Store::id(round)).await.status, 200);
    }
    let failing = [("operation", "ListImages"), ("reason", "failing")];
    assert_eq!(
        gateway.metric("pai_gateway_upstream_held", &failing).await,
        1.0
    );
}

/// A firewall's page, a health page or an error in a 200 replaces no cached image.
#[tokio::test]
async fn a_200_that_is_no_image_replaces_nothing() {
    for body in [
        "{}",
        r#"{"status":"UP"}"#,
        r#"{"code":"503","message":"service degraded","success":false}"#,
        r#"{"Code":"InternalError","Message":"m","RequestId":"R","HostId":"h"}"#,
    ] {
        let gateway = TestGateway::usual().await;
        let id = Store::id(1);
        gateway.image(&id).await.found();
        gateway.soften(&id).await;
        for id in [id.as_str(), "image-new"] {
            gateway.emulator.store().put_raw(id, body);
        }
        assert_eq!(
            gateway.image(&id).await.found()["ImageId"],
            id.as_str(),
            "{body}"
        );
        let new = gateway.image("image-new").await;
        assert!(new.status.is_server_error(), "{body} {new:?}");
    }
}

#[tokio::test]
async fn a_throttle_with_another_code_counts_as_a_throttle() {
    // Shorter than the second that a throttle without a time counts for.
    let gateway = TestGateway::with("api.wait", "500ms").await;
    for code in ["Rejected.Throttling", "RequestThrottledByUser"] {
        gateway.emulator.script(vec![times(1, refusal(400, code))]);
        let answer = gateway.image(&Store::id(1)).await;
        assert_eq!(answer.error(), error(429, code));
        eventually("the window is over", async || {
            gateway.image(&Store::id(2)).await.status == 200
        })
        .await;
        gateway.purge(r#"{"all":true}"#).await;
    }
}

/// The origin may quote the signed request under a Code about the client's request.
#[tokio::test]
async fn a_message_that_quotes_the_signed_request_is_replaced() {
    let gateway = TestGateway::usual().await;
    for quoted in [
        "server string to sign is: GET".to_owned(),
        "the Canonical form differs".to_owned(),
        format!("the key {KEY_ID} is odd"),
    ] {
        let complaint = FaultKind::Status {
            status: StatusCode::BAD_REQUEST,
            code: Some("InvalidParameter".to_owned()),
            message: Some(quoted.clone()),
            headers: HeaderMap::new(),
            access_denied_detail: false,
        };
        gateway.emulator.script(vec![times(1, complaint)]);
        let answer = gateway.image(&Store::id(1)).await;
        assert_eq!(answer.error(), error(400, "InvalidParameter"));
        assert!(!answer.everything().contains(&quoted), "{answer:?}");
    }
}

#[tokio::test]
async fn the_account_and_the_origin_are_never_named_to_a_client() {
    let gateway = TestGateway::usual().await;
    gateway.emulator.script(vec![Fault::always(denial())]);
    let origin = gateway.emulator.address().to_string();
    let targets = ["/api/v1/images/image-a", "/api/v1/images"];
    for target in targets.into_iter().chain(targets) {
        let answer = gateway.get(target).await;
        // error() takes no field but the four, and no HostId but the one asked.
        assert_eq!(answer.error(), error(403, "Forbidden"));
        let everything = answer.everything();
        for secret in ["AccessDenied", "Recommend", "155770209999998921", &origin] {
            assert!(!everything.contains(secret), "{secret}: {everything}");
        }
    }
}

#[tokio::test]
async fn an_error_about_the_request_is_passed_on_and_not_cached() {
    let gateway = TestGateway::usual().await;
    let complaint = refusal(400, "InvalidParameter.Odd");
    gateway.emulator.script(vec![times(1, complaint)]);
    let answer = gateway.image(&Store::id(1)).await;
    assert_eq!(answer.error(), error(400, "InvalidParameter.Odd"));
    assert_eq!(
        answer.header("x-acs-request-id"),
        answer.json()["RequestId"]
    );
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
    assert_eq!(gateway.calls(), 2);
}

#[tokio::test]
async fn a_404_without_a_code_does_not_mean_that_the_image_is_missing() {
    let gateway = TestGateway::usual().await;
    let bare = FaultKind::Status {
        status: StatusCode::NOT_FOUND,
        code: Some("InvalidApi.NotFound".to_owned()),
        message: None,
        headers: HeaderMap::new(),
        access_denied_detail: false,
    };
    gateway.emulator.script(vec![times(1, bare)]);
    let answer = gateway.image(&Store::id(1)).await;
    assert_eq!(answer.error(), error(404, "InvalidApi.NotFound"));
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
}

#[tokio::test]
async fn a_throttle_that_is_longer_than_a_client_waits_passes_on_its_retry_time_and_is_not_cached()
{
    let gateway = TestGateway::with("api.wait", "200ms").await;
    let wait = Some(Duration::from_millis(300));
    gateway.emulator.script(vec![times(1, throttle(wait))]);
    let answer = gateway.image(&Store::id(1)).await;
    assert_eq!(answer.error(), error(429, "Throttling.User"));
    let left: u64 = answer.header("x-acs-retry-after").parse().unwrap();
    assert!((1..=300).contains(&left), "{left}");
    assert_eq!(gateway.calls(), 1, "the window is not over");
    let entries = format!("/entries/{}", Store::id(1));
    let variant = gateway.page(&entries).await["variants"][0].clone();
    assert_eq!(variant["state"], "absent");
    // The origin may be left alone for as long as it asked.
    eventually("it is found", async || {
        gateway.image(&Store::id(1)).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_throttle_without_a_retry_time_gets_one() {
    let gateway = TestGateway::with("api.wait", "500ms").await;
    gateway.emulator.script(vec![times(1, throttle(None))]);
    let answer = gateway.image(&Store::id(1)).await;
    assert_eq!(answer.error(), error(429, "Throttling.User"));
    assert!(answer.header("x-acs-retry-after").parse::<u64>().unwrap() > 0);
}

/// No message of the origin about the gateway's signature, key or token may reach a client.
#[tokio::test]
async fn errors_about_the_gateways_credential_are_never_passed_on() {
    const TOKEN: &str = "sts-token-of-tests/+=";
    let gateway = TestGateway::start(|setup| {
        let name = "ALIBABA_CLOUD_SECURITY_TOKEN".to_owned();
        setup.environment.insert(name, TOKEN.to_owned());
        setup.origin.security_token = Some(TOKEN.into());
    })
    .await;
    assert_eq!(gateway.image(&Store::id(0)).await.status, 200);
    for (index, (status, code)) in [
        (400, "SignatureDoesNotMatch"),
        (404, "InvalidAccessKeyId.NotFound"),
        (400, "InvalidSecurityToken.Expired"),
        (400, "MissingSecurityToken"),
        (400, "MissingAccessKeyId"),
        (400, "IncompleteSignature"),
        (403, "Forbidden.AccessKeyDisabled"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = gateway.calls();
        gateway
            .emulator
            .script(vec![times(1, refusal(status, code))]);
        let id = Store::id(index + 1);
        let answer = gateway.image(&id).await;
        assert_eq!(answer.error(), error(502, "Gateway.CredentialRejected"));
        let everything = answer.everything();
        for secret in [
            code,
            KEY_ID,
            KEY_SECRET,
            TOKEN,
            "ACS3",
            "Canonical",
            "x-acs-security-token",
        ] {
            assert!(!everything.contains(secret), "{secret}: {everything}");
        }
        assert_eq!(gateway.calls(), before + 1, "{code}");
        assert_eq!(gateway.image(&id).await.status, 200, "{code} was kept");
    }
    let labels = [("operation", "GetImage"), ("result", "credential")];
    let counted = gateway
        .metric("pai_gateway_upstream_requests_total", &labels)
        .await;
    assert_eq!(counted, 7.0);
}

#[tokio::test]
async fn a_really_wrong_secret_does_not_end_readiness() {
    let gateway = TestGateway::start(|setup| {
        setup.origin.access_key_secret = "another".into();
    })
    .await;
    let answer = gateway.image(&Store::id(1)).await;
    assert_eq!(answer.error(), error(502, "Gateway.CredentialRejected"));
    assert!(!answer.everything().contains("server CanonicalRequest"));
    let readiness = gateway.admin(http::Method::GET, "/readyz", "").await;
    assert_eq!(readiness.status, 200);
}

#[tokio::test]
async fn a_used_nonce_is_handled_by_signing_again() {
    let gateway = TestGateway::usual().await;
    let used = || refusal(400, "SignatureNonceUsed");
    gateway.emulator.script(vec![times(1, used())]);
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
    assert_eq!(gateway.calls(), 2);
    assert_eq!(gateway.outcomes("miss").await, 1.0);

    gateway.emulator.script(vec![times(2, used())]);
    let twice = gateway.image(&Store::id(2)).await;
    assert_eq!(twice.error(), error(502, "Gateway.CredentialRejected"));
    assert_eq!(gateway.calls(), 4);
}

#[tokio::test]
async fn a_clock_that_is_off_is_learnt_from_the_first_refusal() {
    let gateway = TestGateway::usual().await;
    gateway
        .emulator
        .set_clock_offset(SignedDuration::from_mins(20));
    for index in [1, 2] {
        assert_eq!(gateway.image(&Store::id(index)).await.status, 200);
    }
    let refused: u64 = gateway.emulator.counts().rejected.values().sum();
    assert_eq!((refused, gateway.calls()), (1, 3));
    let offset = gateway
        .metric("pai_gateway_clock_offset_seconds", &[])
        .await;
    assert!((offset - 1200.0).abs() < 10.0, "{offset}");
}

#[tokio::test]
async fn an_error_of_a_search_keeps_the_apis_shape() {
    let gateway = TestGateway::usual().await;
    let answer = gateway.get("/api/v1/images?SortBy=Nothing").await;
    assert_eq!(answer.error().0, 400);
    assert_ne!(answer.json()["Code"], Value::Null);
}
