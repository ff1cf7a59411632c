//! Liveness, readiness and startup.

use http::Method;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};
use pai_image_gateway::environment::Environment;

use pai_image_gateway::server::Address;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::process::{flags, origin, settings};
use crate::support::{Process, TestGateway, address, ask, environment, sample};

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
async fn a_probe_is_answered_while_other_connections_stay_open() {
    let gateway = TestGateway::with("observe.address", "127.0.0.1:0").await;
    let observe = address(&gateway.app.listening(), "observe");
    for listener in [&gateway.app.admin, &observe] {
        let Address::Tcp(port) = listener else {
            panic!("a TCP port")
        };
        let mut open = Vec::new();
        for n in 0..200 {
            let mut silent = TcpStream::connect(port).await.unwrap();
            if n % 2 == 0 {
                silent.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
            }
            open.push(silent);
        }
        let answer = ask(listener, Method::GET, "/livez", &[], "").await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn a_probe_is_answered_where_few_files_may_be_open() {
    let emulator = origin().await;
    let settings = settings(&emulator);
    let arguments = [vec!["serve"], flags(&settings)].concat();
    let (_process, ports) = Process::serve_within(256, &environment(), &arguments).await;
    let Address::Tcp(data) = address(&ports, "listen") else {
        panic!("a TCP port")
    };
    let mut open = Vec::new();
    for _ in 0..300 {
        open.push(TcpStream::connect(data).await.unwrap());
    }
    let admin = address(&ports, "admin");
    for target in ["/livez", "/readyz"] {
        assert_eq!(ask(&admin, Method::GET, target, &[], "").await.status, 200);
    }
    let exposition = ask(&admin, Method::GET, "/metrics", &[], "").await.text();
    let labels = [("listener", "data")];
    let open = sample(&exposition, "pai_gateway_connections", &labels);
    assert!(open <= 128.0, "{open}");
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
