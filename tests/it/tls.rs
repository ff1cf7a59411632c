//! The data port with TLS: both versions, both protocols, and client certificates.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::request::Parts;
use http::{Response, StatusCode, Version, header};
use hyper::body::Incoming;
use pai_image_gateway::body::Body;
use pai_image_gateway::emulator::{FaultKind, Store};
use pai_image_gateway::environment::Environment;
use pai_image_gateway::observability::metrics::Metrics;
use pai_image_gateway::peer::Peer;
use pai_image_gateway::server::{self, Server, Service, Tls, TlsConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::listener::{request, rest};
use crate::support::tls::{Authority, Client, H1, H2, Hello, TlsGateway, VERSIONS, hello};
use crate::support::{DEADLINE, TestGateway, eventually, path, run, signed, times};

#[tokio::test]
async fn it_answers_over_both_versions_and_both_protocols() {
    let tls = TlsGateway::usual().await;
    for version in VERSIONS {
        for (alpn, spoken) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
            let versions = [version];
            let client = Hello {
                versions: &versions,
                alpn,
                identity: None,
            };
            let client = tls.connect(&client).await;
            for _ in 0..2 {
                let answer = client.get(&path(&Store::id(1))).await.unwrap();
                assert_eq!(
                    (answer.status(), answer.version()),
                    (StatusCode::OK, spoken)
                );
                assert!(!answer.headers().contains_key(header::CONNECTION));
                assert_eq!(
                    answer.headers()[header::CONTENT_LENGTH],
                    answer.body().len().to_string()
                );
            }
        }
    }
    assert_eq!(tls.gateway.calls(), 1);
    assert_eq!(tls.gateway.outcomes("hit").await, 7.0);
    assert_eq!(tls.handshakes("ok").await, 4.0);
}

#[tokio::test]
async fn a_client_without_alpn_speaks_http_1() {
    let tls = TlsGateway::usual().await;
    let client = tls.connect(&Hello { alpn: "", ..H1 }).await;
    let answer = client.get(&path(&Store::id(1))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn ten_requests_share_one_http_2_connection() {
    let tls = TlsGateway::usual().await;
    let client = tls.connect(&H2).await;
    let slow = FaultKind::Latency(Duration::from_millis(100));
    tls.gateway.emulator.script(vec![times(10, slow)]);
    let asked = (1..=10).map(|n| client.get(&path(&Store::id(n))));
    for answer in join_all(asked).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    let labels = [("listener", "data")];
    let open = tls.gateway.metric("pai_gateway_connections", &labels).await;
    assert_eq!((open, tls.gateway.calls()), (1.0, 10));
}

#[tokio::test]
async fn an_error_over_http_2_names_the_host_that_was_asked() {
    let tls = TlsGateway::usual().await;
    let answer = tls.connect(&H2).await.get("/nowhere").await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(
        (answer.status().as_u16(), &body["HostId"]),
        (404, &"localhost".into())
    );
}

#[tokio::test]
async fn a_head_beyond_16_kib_is_refused_over_http_2() {
    let tls = TlsGateway::usual().await;
    let client = tls.connect(&H2).await;
    let long = "x".repeat(20 << 10);
    let refused = client
        .get_with(&path(&Store::id(1)), &[("x-long", &long)])
        .await;
    assert!(refused.is_err_and(|error| !error.is_timeout()) || tls.gateway.calls() == 0);
    assert_eq!(tls.gateway.calls(), 0);
}

#[tokio::test]
async fn a_handshake_that_never_comes_delays_no_other_connection() {
    let tls = TlsGateway::with("listen.tls.handshake_timeout", "10m").await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(tls.address()).await.unwrap());
    }
    let answer = tls.connect(&H1).await.get(&path(&Store::id(1))).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_closed_and_frees_its_slot() {
    let tls = TlsGateway::start(|setup| {
        setup.set("listen.tls.handshake_timeout", "200ms");
        setup.set("listen.max_connections", "1");
    })
    .await;
    let mut silent = TcpStream::connect(tls.address()).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(tls.handshakes("timeout").await, 1.0);
    eventually("the place is free", async || tls.hello(&H1).await.is_ok()).await;
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_closed() {
    let tls = TlsGateway::with("listen.tls.handshake_timeout", "10m").await;
    let mut plain = TcpStream::connect(tls.address()).await.unwrap();
    plain
        .write_all(request(&Store::id(1), "").as_bytes())
        .await
        .unwrap();
    let mut received = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut received);
    drop(tokio::time::timeout(DEADLINE, reading).await.unwrap());
    assert!(!received.starts_with(b"HTTP"), "{received:?}");
    eventually("it is counted", async || {
        tls.handshakes("failed").await == 1.0
    })
    .await;
    assert_eq!(tls.gateway.calls(), 0);
}

#[tokio::test]
async fn one_tls_connection_too_many_is_closed() {
    let tls = TlsGateway::with("listen.max_connections", "1").await;
    let connection = tls.connect(&H2).await;
    assert_eq!(
        connection.get(&path(&Store::id(1))).await.unwrap().status(),
        StatusCode::OK
    );
    assert!(tls.hello(&H1).await.is_err());
    assert_eq!(
        connection.get(&path(&Store::id(1))).await.unwrap().status(),
        StatusCode::OK
    );
}

/// A service that answers with the names in the client's certificate.
struct Echo;

impl Service for Echo {
    async fn answer(&self, _: &mut Parts, _: &mut Incoming, peer: &Peer) -> Response<Body> {
        assert!(peer.encrypted && peer.address.is_some());
        Response::new(Bytes::from(peer.names.join(" ")).into())
    }
}

#[tokio::test]
async fn a_clients_names_reach_the_service() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.issue(&["localhost"]).write(folder.path());
    let file = |name: &str| Some(folder.path().join(name).to_str().unwrap().to_owned());
    std::fs::write(file("ca.crt").unwrap(), &authority.pem).unwrap();
    let config = TlsConfig {
        cert_file: file("tls.crt"),
        key_file: file("tls.key"),
        client_ca_file: file("ca.crt"),
        ..TlsConfig::default()
    };
    let bound = server::bind(&server::Address::Tcp(([127, 0, 0, 1], 0).into()), 16).unwrap();
    let server::Address::Tcp(address) = *bound.address() else {
        panic!("a TCP port")
    };
    let metrics = Arc::new(Metrics::new().listener("data"));
    let tls = Tls::load(&config).unwrap();
    let server = Server::new(Arc::new(Echo), server::Config::default(), tls, metrics);
    tokio::spawn(server.accept(bound, CancellationToken::new()));
    let identity = authority.issue(&["job.example.com", "spiffe://example.com/job"]);
    for (identity, names) in [
        (Some(&identity), "spiffe://example.com/job job.example.com"),
        (None, ""),
    ] {
        for client in [H1, H2] {
            let stream = hello(address, &authority, &Hello { identity, ..client }).await;
            let answer = Client::over(stream.unwrap()).await.get("/").await.unwrap();
            assert_eq!(answer.body(), names);
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let tls = TlsGateway::usual().await;
    let stranger = Authority::new().issue(&["job.example.com"]);
    for version in VERSIONS {
        let versions = [version];
        let client = Hello {
            versions: &versions,
            identity: Some(&stranger),
            ..H1
        };
        // By TLS 1.3 the client learns it only once it reads.
        if let Ok(stream) = tls.hello(&client).await {
            let answer = Client::over(stream).await.get(&path(&Store::id(1))).await;
            assert!(answer.is_err(), "{answer:?}");
        }
    }
    assert_eq!(tls.handshakes("failed").await, 2.0);
    assert_eq!(tls.gateway.calls(), 0);
    let known = tls.authority.issue(&["job.example.com"]);
    let client = Hello {
        identity: Some(&known),
        ..H1
    };
    let answer = tls.connect(&client).await.get(&path(&Store::id(1))).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_certificate_authenticates_its_client() {
    let folder = signed::clients();
    let tls = TlsGateway::start(|setup| signed::guard(setup, folder.path())).await;
    let job = tls.authority.issue(&["spiffe://example.com/job"]);
    let other = tls.authority.issue(&["spiffe://example.com/other", "job"]);
    // PUBLIC in the workspace that `job` holds, and in another.
    let (ours, theirs) = (Store::id(1), Store::id(2));
    for (identity, image, status, code) in [
        (Some(&job), &ours, 200, None),
        (Some(&job), &theirs, 404, Some("ImageNotFound")),
        (
            Some(&other),
            &ours,
            404,
            Some("InvalidAccessKeyId.NotFound"),
        ),
        (None, &ours, 401, Some("MissingAccessKeyId")),
    ] {
        for client in [H1, H2] {
            let client = tls.connect(&Hello { identity, ..client }).await;
            let answer = client.get(&path(image)).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(
                (answer.status().as_u16(), body["Code"].as_str()),
                (status, code)
            );
        }
    }
    let labels = [("client", "job"), ("outcome", "miss")];
    let name = "pai_gateway_client_requests_total";
    assert_eq!(tls.gateway.metric(name, &labels).await, 1.0);
    assert_eq!(tls.gateway.calls(), 2);
}

#[tokio::test]
async fn draining_over_http_2_loses_no_request() {
    let tls = TlsGateway::usual().await;
    let client = tls.connect(&H2).await;
    let slow = FaultKind::Latency(Duration::from_millis(500));
    tls.gateway.emulator.script(vec![times(10, slow)]);
    let asked: Vec<_> = (1..=10)
        .map(|n| tokio::spawn(client.get(&path(&Store::id(n)))))
        .collect();
    eventually("all are under way", async || tls.gateway.calls() == 10).await;
    let TlsGateway { gateway, .. } = tls;
    let emulator = gateway.stop().await;
    for answer in join_all(asked).await {
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!answer.headers().contains_key(header::CONNECTION));
    }
    client.closed().await;
    assert_eq!(emulator.counts().requests, 10);
}

#[tokio::test]
async fn idle_http_2_connections_are_closed() {
    let tls = TlsGateway::with("listen.idle_timeout", "200ms").await;
    tls.connect(&H2).await.closed().await;
    let asked = tls.connect(&H2).await;
    let answer = asked.get(&path(&Store::id(1))).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    asked.closed().await;
    // One that agreed on HTTP/2 and then sends nothing.
    let mut silent = tls.hello(&H2).await.unwrap();
    let mut received = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut received);
    drop(tokio::time::timeout(DEADLINE, reading).await.unwrap());
}

#[tokio::test]
async fn an_http_2_connection_that_waits_for_its_answer_is_not_idle() {
    let tls = TlsGateway::with("listen.idle_timeout", "150ms").await;
    let slow = FaultKind::Latency(Duration::from_millis(700));
    tls.gateway.emulator.script(vec![times(1, slow)]);
    let answer = tls.connect(&H2).await.get(&path(&Store::id(1))).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn idle_http_1_connections_are_closed_behind_tls_too() {
    let tls = TlsGateway::with("listen.idle_timeout", "200ms").await;
    let asked = tls.connect(&H1).await;
    let answer = asked.get(&path(&Store::id(1))).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    asked.closed().await;
}

#[tokio::test]
async fn it_does_not_start_with_files_that_cannot_be_used() {
    let flags = ["serve", "--set", "listen.tls.cert_file=/nowhere/tls.crt"];
    let finished = run(&Environment::default(), &flags).await;
    assert_eq!(finished.code, 2);
    for part in [
        "listen.tls.cert_file (flag --set)",
        "listen.tls.key_file (default)",
    ] {
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
    let plain = TestGateway::usual().await;
    assert_eq!(plain.image(&Store::id(1)).await.status, 200);
}
