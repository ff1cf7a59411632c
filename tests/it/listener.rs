//! The data port, byte by byte.

use std::time::Duration;

use pai_image_gateway::emulator::{FaultKind, Store};
use pai_image_gateway::server::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Connection, DEADLINE, TestGateway, eventually, path, times};

pub(crate) async fn open(gateway: &TestGateway) -> TcpStream {
    let Address::Tcp(address) = gateway.app.data else {
        panic!("a TCP port")
    };
    TcpStream::connect(address).await.unwrap()
}

/// Reads until the gateway closes or resets the connection.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    drop(
        timeout(DEADLINE, stream.read_to_end(&mut received))
            .await
            .unwrap(),
    );
    String::from_utf8(received).unwrap()
}

pub(crate) fn request(id: &str, more: &str) -> String {
    format!("GET {} HTTP/1.1\r\nHost: gateway\r\n{more}\r\n", path(id))
}

/// No limit but the one under test closes a connection before the test's own deadline.
pub(crate) async fn patient() -> TestGateway {
    patient_but("listen.backlog", "1024").await
}

pub(crate) async fn patient_but(key: &str, value: &str) -> TestGateway {
    TestGateway::start(|setup| {
        setup.set("listen.head_timeout", "10m");
        setup.set("listen.idle_timeout", "10m");
        setup.set(key, value);
    })
    .await
}

#[tokio::test]
async fn a_head_beyond_16_kib_is_refused_and_closed() {
    let gateway = patient().await;
    let header = format!("X-Long: {}\r\n", "x".repeat(20 << 10));
    let received = gateway.raw(request("image-a", &header).as_bytes()).await;
    let received = String::from_utf8(received).unwrap();
    assert!(received.starts_with("HTTP/1.1 431 "), "{received}");
    assert_eq!(gateway.calls(), 0);
}

#[tokio::test]
async fn a_head_below_16_kib_is_answered() {
    let gateway = patient().await;
    let header = format!("X-Long: {}\r\nConnection: close\r\n", "x".repeat(15 << 10));
    let received = gateway
        .raw(request(&Store::id(1), &header).as_bytes())
        .await;
    assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_head_that_does_not_end_is_closed() {
    let gateway = patient_but("listen.head_timeout", "200ms").await;
    for part in ["G", "GET /api", "GET / HTTP/1.1\r\nHost: gateway\r\n"] {
        let mut stream = open(&gateway).await;
        stream.write_all(part.as_bytes()).await.unwrap();
        let received = rest(&mut stream).await;
        assert!(!received.contains(" 200 "), "{received}");
    }
}

#[tokio::test]
async fn a_head_that_drips_is_closed() {
    let gateway = patient_but("listen.head_timeout", "300ms").await;
    let mut stream = open(&gateway).await;
    let dripping = async {
        stream.write_all(b"GET /api/v1/images/").await?;
        loop {
            stream.write_all(b"a").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let end: std::io::Result<()> = timeout(DEADLINE, dripping).await.unwrap();
    assert!(end.is_err());
}

#[tokio::test]
async fn a_tls_hello_on_the_plain_port_is_closed_at_once_without_a_response() {
    let gateway = patient().await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    assert_eq!(gateway.raw(hello).await, b"");
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let gateway = patient_but("listen.idle_timeout", "200ms").await;
    assert_eq!(rest(&mut open(&gateway).await).await, "");
    let mut stream = open(&gateway).await;
    let whole = request(&Store::id(1), "");
    stream.write_all(whole.as_bytes()).await.unwrap();
    let received = rest(&mut stream).await;
    assert!(received.starts_with("HTTP/1.1 200 OK\r\n"), "{received}");
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_long_before_one_that_had_one() {
    let gateway = patient_but("listen.head_timeout", "200ms").await;
    let mut asked = gateway.connect().await;
    assert_eq!(asked.get(&path(&Store::id(1))).await.status, 200);
    let mut silent = open(&gateway).await;
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(asked.get(&path(&Store::id(1))).await.status, 200);
}

#[tokio::test]
async fn a_connection_that_waits_for_its_answer_is_not_idle() {
    let gateway = patient_but("listen.idle_timeout", "150ms").await;
    let slow = FaultKind::Latency(Duration::from_millis(700));
    gateway.emulator.script(vec![times(1, slow)]);
    let mut connection = gateway.connect().await;
    assert_eq!(connection.get(&path(&Store::id(1))).await.status, 200);
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let gateway = TestGateway::usual().await;
    let mut connection = gateway.connect().await;
    for _ in 0..200 {
        assert_eq!(connection.get(&path(&Store::id(1))).await.status, 200);
    }
    let labels = [("listener", "data")];
    let open = gateway.metric("pai_gateway_connections", &labels).await;
    assert_eq!(open, 1.0);
}

#[tokio::test]
async fn one_connection_too_many_gets_an_error_and_is_closed() {
    let gateway = TestGateway::with("listen.max_connections", "2").await;
    let mut open_connections: Vec<Connection> = Vec::new();
    for _ in 0..2 {
        let mut connection = gateway.connect().await;
        assert_eq!(connection.get(&path(&Store::id(1))).await.status, 200);
        open_connections.push(connection);
    }
    let received = rest(&mut open(&gateway).await).await;
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    for line in ["Connection: close", "Content-Type: application/json"] {
        assert!(head.contains(line), "{head}");
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["Code"], "Gateway.Overloaded");
    let labels = [("listener", "data")];
    let refused = gateway
        .metric("pai_gateway_connections_refused_total", &labels)
        .await;
    assert_eq!(refused, 1.0);
    drop(open_connections.pop());
    eventually("the place is free", async || {
        let mut connection = gateway.connect().await;
        let answer = connection
            .try_send(http::Method::GET, &path(&Store::id(1)), &[], "")
            .await;
        answer.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn one_connection_too_many_that_sent_its_request_at_once_gets_an_error() {
    let gateway = TestGateway::with("listen.max_connections", "1").await;
    let mut first = gateway.connect().await;
    assert_eq!(first.get(&path(&Store::id(1))).await.status, 200);
    for _ in 0..50 {
        let mut stream = open(&gateway).await;
        let asked = request(&Store::id(1), "");
        stream.write_all(asked.as_bytes()).await.unwrap();
        let received = rest(&mut stream).await;
        assert!(received.contains("Gateway.Overloaded"), "{received:?}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_in_a_body_costs_nothing() {
    let gateway = TestGateway::with("api.writes", "true").await;
    let request = "POST /api/v1/images HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9\r\n\r\n{";
    let address = &gateway.app.data;
    let received = crate::support::raw_and_hang_up(address, request.as_bytes()).await;
    assert!(!received.starts_with(b"HTTP/1.1 2"));
    assert_eq!(gateway.calls(), 0);
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
}

#[tokio::test]
async fn bytes_that_are_no_http_are_rejected_without_a_call() {
    let gateway = patient().await;
    for (bytes, status) in [
        (&b"\r\n\r\nnonsense\r\n\r\n"[..], "400"),
        (b"GET\r\n\r\n", "400"),
        (b"GET / HTTP/9.9\r\n\r\n", "400"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            "400",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\n bad\x00: x\r\n\r\n", "400"),
        (b"\xff\xfe\xfd\r\n\r\n", "400"),
    ] {
        let received = String::from_utf8(gateway.raw(bytes).await).unwrap();
        let line = format!("HTTP/1.1 {status} ");
        assert!(received.starts_with(&line), "{bytes:?}: {received}");
    }
    assert_eq!(gateway.calls(), 0);
}
