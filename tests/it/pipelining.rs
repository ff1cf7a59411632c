//! Several concurrent requests on one connection.

use std::time::Duration;

use pai_image_gateway::emulator::{Fault, FaultKind, Store};
use pai_image_gateway::server::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::listener::{open, patient, patient_but, request, rest};
use crate::support::{TestGateway, times};

/// Reads until a response with this mark has arrived; the connection stays open.
async fn read_until(stream: &mut TcpStream, mark: &str) -> String {
    let mut received = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&received).contains(mark) {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
    };
    let finished = timeout(Duration::from_secs(10), reading).await;
    let received = String::from_utf8(received).unwrap();
    assert!(finished.is_ok(), "no {mark} but {received:?}");
    received
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let gateway = patient().await;
    let slow = Fault {
        image: Some(Store::id(1)),
        ..times(1, FaultKind::Latency(Duration::from_millis(300)))
    };
    gateway.emulator.script(vec![slow]);
    gateway.image(&Store::id(2)).await.found();
    let requests = request(&Store::id(1), "")
        + &request(&Store::id(2), "")
        + "GET /nowhere HTTP/1.1\r\nHost: gateway\r\n\r\n"
        + &request(&Store::id(3), "Connection: close\r\n");
    let received = String::from_utf8(gateway.raw(requests.as_bytes()).await).unwrap();
    let places: Vec<_> = [&Store::id(1), &Store::id(2), "InvalidApi", &Store::id(3)]
        .map(|mark| received.find(mark).unwrap())
        .into();
    assert!(places.is_sorted(), "{received}");
    assert_eq!(received.matches("HTTP/1.1 ").count(), 4);
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let gateway = patient().await;
    let mut stream = open(&gateway).await;
    let next = request(&Store::id(2), "Connection: close\r\n");
    let (begin, end) = next.split_at(20);
    let first = request(&Store::id(1), "") + begin;
    stream.write_all(first.as_bytes()).await.unwrap();
    read_until(&mut stream, &Store::id(1)).await;
    stream.write_all(end.as_bytes()).await.unwrap();
    read_until(&mut stream, &Store::id(2)).await;
}

/// RFC 9112 §2.2: a server ignores an empty line before a request.
#[tokio::test]
async fn an_empty_line_after_a_request_does_not_hold_its_answer_back() {
    let gateway = patient().await;
    let mut stream = open(&gateway).await;
    let first = request(&Store::id(1), "") + "\r\n";
    stream.write_all(first.as_bytes()).await.unwrap();
    read_until(&mut stream, &Store::id(1)).await;
}

#[tokio::test]
async fn a_second_head_that_does_not_end_is_closed() {
    let gateway = patient_but("listen.head_timeout", "200ms").await;
    let mut stream = open(&gateway).await;
    let whole_and_part = request(&Store::id(1), "") + "GET /";
    stream.write_all(whole_and_part.as_bytes()).await.unwrap();
    let closed = timeout(Duration::from_secs(10), rest(&mut stream)).await;
    let received = closed.expect("the second head is not waited for");
    assert_eq!(received.matches("HTTP/1.1 200 OK\r\n").count(), 1);
}

/// A Resolve of the first image.
fn resolve(more: &str) -> String {
    let body = format!(r#"{{"ImageIds":["{}"]}}"#, Store::id(1));
    let head = format!("Host: gateway\r\nContent-Length: {}\r\n{more}", body.len());
    format!("POST /gateway/v1/resolve HTTP/1.1\r\n{head}\r\n{body}")
}

#[tokio::test]
async fn half_a_head_behind_a_body_is_closed_like_any_other() {
    let gateway = patient_but("listen.head_timeout", "200ms").await;
    let chunked = "POST /gateway/v1/resolve HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n\
                   12\r\n{\"ImageIds\":[\"a\"]}\r\n0\r\n\r\n";
    for whole in [resolve(""), resolve("") + &resolve(""), chunked.to_owned()] {
        let mut stream = open(&gateway).await;
        stream
            .write_all((whole + "GET /").as_bytes())
            .await
            .unwrap();
        let received = timeout(Duration::from_secs(10), rest(&mut stream)).await;
        let received = received.expect("the second head is not waited for");
        assert!(received.starts_with("HTTP/1.1 200 OK\r\n"), "{received}");
    }
}

#[tokio::test]
async fn a_connection_that_sent_a_body_may_idle() {
    let gateway = patient_but("listen.head_timeout", "100ms").await;
    let mut stream = open(&gateway).await;
    for _ in 0..2 {
        let asked = resolve("");
        let (head, body) = asked.split_at(asked.len() - 10);
        for piece in [head, body] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        read_until(&mut stream, "Results").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let last = request(&Store::id(2), "Connection: close\r\n");
    stream.write_all(last.as_bytes()).await.unwrap();
    read_until(&mut stream, &Store::id(2)).await;
}

#[tokio::test]
async fn a_client_that_reads_no_response_is_closed_long_before_an_idle_one() {
    let gateway = patient_but("listen.write_timeout", "300ms").await;
    let mut stream = open_deaf(&gateway).await;
    let requests = "GET /nowhere HTTP/1.1\r\nHost: gateway\r\n\r\n".repeat(1000);
    let sending = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    let closed = timeout(Duration::from_secs(20), sending).await;
    assert!(closed.is_ok(), "the connection is held open");
}

/// A connection with a tiny receive buffer.
async fn open_deaf(gateway: &TestGateway) -> TcpStream {
    let Address::Tcp(address) = gateway.app.data else {
        panic!("a TCP port")
    };
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

/// Unread responses must not accumulate in memory: at some point the gateway stops reading.
#[tokio::test]
async fn a_client_that_reads_no_responses_can_send_no_more_requests() {
    const ENDLESS: usize = 24 << 20;
    let gateway = patient().await;
    let mut stream = open_deaf(&gateway).await;
    let requests = "GET /nowhere HTTP/1.1\r\nHost: gateway\r\n\r\n".repeat(1000);
    let mut sent = 0;
    let blocked = loop {
        let write = stream.write_all(requests.as_bytes());
        match timeout(Duration::from_secs(5), write).await {
            Err(_) => break true,
            Ok(written) => written.unwrap(),
        }
        sent += requests.len();
        if sent > ENDLESS {
            break false;
        }
    };
    assert!(
        blocked,
        "{sent} bytes of requests were taken, no answer read"
    );
}

#[tokio::test]
async fn a_client_that_reads_no_responses_is_closed_like_an_idle_one() {
    let gateway = TestGateway::start(|setup| {
        setup.set("listen.idle_timeout", "300ms");
        setup.set("listen.head_timeout", "300ms");
    })
    .await;
    let mut stream = open_deaf(&gateway).await;
    let requests = "GET /nowhere HTTP/1.1\r\nHost: gateway\r\n\r\n".repeat(1000);
    let sending = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    let closed = timeout(Duration::from_secs(20), sending).await;
    assert!(closed.is_ok(), "the connection is held open");
}
