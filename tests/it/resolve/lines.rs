//! A streamed response, one result a line.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pai_image_gateway::emulator::{FaultKind, Store};
use pai_image_gateway::server::Address;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{RESOLVE, body_of, ids, only, resolve, script};
use crate::support::tls::{H2, TlsGateway};
use crate::support::{DEADLINE, TestGateway, eventually};

const LINES: &str = "application/x-ndjson";

/// A response that is still being written. Dropping it closes its connection.
struct Lines {
    body: Incoming,
    read: Vec<u8>,
    driver: JoinHandle<()>,
}

impl Lines {
    async fn ask(gateway: &TestGateway, ids: &[impl AsRef<str>]) -> Self {
        let Address::Tcp(address) = &gateway.app.data else {
            panic!("a TCP port")
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        let request = Request::post(RESOLVE)
            .header(header::HOST, "gateway")
            .header(header::ACCEPT, format!("application/json;q=0.5, {LINES}"))
            .body(Full::new(Bytes::from(body_of(ids))));
        let response = timeout(DEADLINE, sender.send_request(request.unwrap())).await;
        Self::of(response.unwrap().unwrap(), driver)
    }

    fn of(response: Response<Incoming>, driver: JoinHandle<()>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], LINES);
        assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
        Self {
            body: response.into_body(),
            read: Vec::new(),
            driver,
        }
    }

    /// Returns the next line; `None` at a proper end. A truncated response is an error.
    async fn next(&mut self) -> Result<Option<Value>, hyper::Error> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).unwrap()));
            }
            match timeout(DEADLINE, self.body.frame()).await.unwrap() {
                None => {
                    assert!(self.read.is_empty(), "the last line has an end");
                    return Ok(None);
                }
                Some(frame) => self.read.extend(frame?.into_data().unwrap()),
            }
        }
    }

    /// Returns the rest, without the line of totals.
    async fn rest(mut self) -> (Vec<Value>, Value) {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await.unwrap() {
            lines.push(line);
        }
        let last = lines.pop().unwrap();
        (lines, last)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn counts(last: &Value) -> [u64; 3] {
    assert_eq!(last["RequestId"].as_str().unwrap().len(), 36);
    ["Found", "Missing", "Failed"].map(|name| last[name].as_u64().unwrap())
}

#[tokio::test]
async fn lines_are_sent_as_results_arrive_and_the_last_one_counts_them() {
    let gateway = TestGateway::usual().await;
    let (cached, slow, quick) = (Store::id(1), Store::id(2), Store::id(3));
    assert_eq!(gateway.image(&cached).await.status, 200);
    let latency = FaultKind::Latency(Duration::from_millis(400));
    script(&gateway.emulator, [only(&slow, latency)]);
    let mut lines = Lines::ask(&gateway, &[&slow, &quick, "image-none", &cached]).await;
    let first = lines.next().await.unwrap().unwrap();
    assert_eq!(first["ImageId"], cached.as_str());
    let (rest, last) = lines.rest().await;
    assert_eq!(rest.len(), 3);
    assert_eq!(rest[2]["ImageId"], slow.as_str());
    assert_eq!(counts(&last), [3, 1, 0]);
    // A line has the same fields as a result in the whole document.
    let whole = resolve(&gateway, &[&cached]).await;
    assert_eq!(first["Image"], whole[0]["Image"]);
}

#[tokio::test]
async fn a_slow_reader_gets_every_line() {
    let gateway = TestGateway::usual().await;
    let names: Vec<String> = (0..400).map(|at| format!("image-large-{at}")).collect();
    for name in &names {
        // Over several lines, as it came.
        let body = format!("{{\n\"Name\":\"{}\"\n}}", "x".repeat(100_000));
        gateway.emulator.store().put_raw(name, body);
    }
    let mut lines = Lines::ask(&gateway, &names).await;
    lines.next().await.unwrap().unwrap();
    sleep(Duration::from_millis(500)).await;
    // It is not fetched faster than it is read, beyond what may wait.
    let calls = gateway.calls();
    assert!(calls < 300, "{calls}");
    let (rest, last) = lines.rest().await;
    assert_eq!(rest.len(), 399);
    assert_eq!(counts(&last), [400, 0, 0]);
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_only_its_own_waiting() {
    let gateway = TestGateway::start(|setup| {
        setup.origin.latency = Duration::from_millis(200);
        setup.set("listen.max_in_flight", "1");
        setup.set("resolve.concurrency", "2");
    })
    .await;
    let asked = ids(40);
    let mut lines = Lines::ask(&gateway, &asked).await;
    lines.next().await.unwrap().unwrap();
    assert_eq!(gateway.image(&Store::id(50)).await.status, 429);
    drop(lines);
    eventually("its place is free", async || {
        gateway.image(&Store::id(50)).await.status == 200
    })
    .await;
    // Fetches in flight completed; the others never began.
    assert_eq!(gateway.image(&asked[2]).await.status, 200);
    assert!(gateway.calls() < 12, "{}", gateway.calls());
}

#[tokio::test]
async fn a_connection_with_unfinished_lines_is_not_idle() {
    let gateway = TestGateway::start(|setup| setup.set("listen.idle_timeout", "300ms")).await;
    let slow = Store::id(1);
    let latency = FaultKind::Latency(Duration::from_millis(1200));
    script(&gateway.emulator, [only(&slow, latency)]);
    let lines = Lines::ask(&gateway, &[&slow, &Store::id(2)]).await;
    assert_eq!(counts(&lines.rest().await.1), [2, 0, 0]);
}

#[tokio::test]
async fn a_shutdown_waits_for_the_last_line() {
    let gateway = TestGateway::start(|setup| {
        setup.origin.latency = Duration::from_millis(300);
        setup.set("resolve.concurrency", "2");
    })
    .await;
    let mut lines = Lines::ask(&gateway, &ids(12)).await;
    lines.next().await.unwrap().unwrap();
    let (stopped, (rest, last)) = tokio::join!(gateway.stop(), lines.rest());
    assert_eq!((rest.len(), counts(&last)), (11, [12, 0, 0]));
    drop(stopped);
}

#[tokio::test]
async fn lines_are_streamed_over_http_2_too() {
    let tls = TlsGateway::start(|setup| {
        setup.set("listen.idle_timeout", "300ms");
        setup.origin.latency = Duration::from_millis(500);
        setup.set("resolve.concurrency", "2");
    })
    .await;
    let io = TokioIo::new(tls.hello(&H2).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(async move { drop(connection.await) });
    let request = Request::post(format!("https://localhost{RESOLVE}"))
        .header(header::ACCEPT, LINES)
        .body(Full::new(Bytes::from(body_of(&ids(6)))));
    let response = timeout(DEADLINE, sender.send_request(request.unwrap())).await;
    let lines = Lines::of(response.unwrap().unwrap(), driver);
    let (rest, last) = lines.rest().await;
    assert_eq!((rest.len(), counts(&last)), (6, [6, 0, 0]));
}
