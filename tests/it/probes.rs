//! Liveness, readiness and startup.

use http::Method;
use pai_image_gateway::credentials::Environment;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};

use crate::support::TestGateway;

async fn probe(gateway: &TestGateway, target: &str) -> u16 {
    let answer = gateway.admin(Method::GET, target, "").await;
    answer.status.as_u16()
}

#[tokio::test]
async fn a_gateway_with_a_credential_is_ready() {
    let gateway = TestGateway::usual().await;
    for target in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(probe(&gateway, target).await, 200, "{target}");
    }
    assert_eq!(gateway.calls(), 0);
}

#[tokio::test]
async fn without_a_credential_it_lives_but_is_not_ready() {
    let gateway = TestGateway::start(|setup| setup.environment = Environment::new()).await;
    assert_eq!(probe(&gateway, "/livez").await, 200);
    assert_eq!(probe(&gateway, "/readyz").await, 503);
    assert_eq!(probe(&gateway, "/startupz").await, 503);
    let answer = gateway.image(&Store::id(1)).await;
    let expected = (503, "Gateway.UpstreamUnavailable".to_owned());
    assert_eq!(answer.error(), expected);
    assert_eq!(gateway.calls(), 0);
    let status = gateway.page("/status").await;
    assert_eq!(status["ready"], false);
    assert!(status["credential"]["last_error"].is_string());
}

#[tokio::test]
async fn a_credential_that_comes_later_makes_it_ready() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "").unwrap();
    let gateway = TestGateway::start(|setup| {
        setup.environment = Environment::new();
        setup.set("credentials.source", "static");
        setup.set("credentials.access_key_id", crate::support::KEY_ID);
        setup.set("credentials.access_key_secret_file", file.to_str().unwrap());
        setup.set("credentials.refresh", "50ms");
    })
    .await;
    assert_eq!(probe(&gateway, "/readyz").await, 503);
    std::fs::write(&file, crate::support::KEY_SECRET).unwrap();
    crate::support::eventually("it is ready", async || {
        probe(&gateway, "/readyz").await == 200
    })
    .await;
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
}

#[tokio::test]
async fn readiness_does_not_fall_because_the_origin_does() {
    let gateway = TestGateway::usual().await;
    let fault = Fault::always(FaultKind::CloseBefore);
    gateway.emulator.script(vec![fault]);
    assert_eq!(gateway.image(&Store::id(1)).await.status, 503);
    assert_eq!(probe(&gateway, "/readyz").await, 200);
}
