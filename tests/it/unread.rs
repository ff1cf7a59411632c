//! Unread responses: bounded in number, bytes and time.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::Reason;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use pai_image_gateway::emulator::Store;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::tls::{H2, TlsGateway};
use crate::support::{DEADLINE, Setup, eventually, path, signed};

/// An HTTP/2 client that reads as many bytes of each response as its window allows, and never more.
struct Unread {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Unread {
    async fn connect(tls: &TlsGateway, window: u32) -> Self {
        let stream = tls.hello(&H2).await.unwrap();
        let shaken = Builder::new().initial_window_size(window).handshake(stream);
        let (sender, connection) = shaken.await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { sender, driver }
    }

    async fn get(&mut self, target: &str) -> ResponseFuture {
        let request = Request::get(format!("https://localhost{target}"));
        self.send(request.body(Bytes::new()).unwrap()).await
    }

    /// Asks for these images at once.
    async fn resolve(&mut self, images: usize) -> ResponseFuture {
        let ids: Vec<_> = (0..images).map(Store::id).collect();
        let body = serde_json::json!({ "ImageIds": ids }).to_string();
        let request = Request::post("https://localhost/gateway/v1/resolve");
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn send(&mut self, request: Request<Bytes>) -> ResponseFuture {
        let (head, body) = request.into_parts();
        let sender = self.sender.clone().ready().await;
        let is_last = body.is_empty();
        let sent = sender
            .unwrap()
            .send_request(Request::from_parts(head, ()), is_last);
        let (response, mut stream) = sent.unwrap();
        if !is_last {
            stream.send_data(body, true).unwrap();
        }
        response
    }
}

/// Returns the status of a response, or the reason of its stream's reset.
async fn outcome(response: ResponseFuture) -> Result<u16, Option<Reason>> {
    let received = timeout(DEADLINE, response).await.unwrap();
    let response = received.map_err(|error| error.reason())?;
    let status = response.status().as_u16();
    // Dropping the response would reset its stream and free its share of the budget.
    tokio::spawn(async move {
        let _kept = response;
        std::future::pending::<()>().await;
    });
    Ok(status)
}

/// A gateway on which only the limit under test applies.
async fn patient_but(change: impl FnOnce(&mut Setup)) -> TlsGateway {
    TlsGateway::start(|setup| {
        for key in ["head_timeout", "idle_timeout", "write_timeout"] {
            setup.set(&format!("listen.{key}"), "10m");
        }
        change(setup);
    })
    .await
}

#[tokio::test]
async fn an_unauthenticated_connection_has_at_most_eight_unread_responses() {
    let folder = signed::clients();
    let tls = patient_but(|setup| signed::guard(setup, folder.path())).await;
    let mut client = Unread::connect(&tls, 0).await;
    let mut asked = Vec::new();
    for _ in 0..32 {
        asked.push(client.get(&path(&Store::id(1))).await);
    }
    let outcomes = join_all(asked.into_iter().map(outcome)).await;
    let refused = outcomes
        .iter()
        .filter(|outcome| **outcome == Ok(401))
        .count();
    let reset = Err(Some(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(refused, 8, "{outcomes:?}");
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == reset).count(),
        24
    );
}

/// Each stream takes memory before its client has authenticated.
#[tokio::test]
async fn a_connection_agrees_to_32_requests_at_once_and_the_next_waits_for_one_of_them() {
    let tls = patient_but(|_| {}).await;
    let mut client = Unread::connect(&tls, 0).await;
    let mut asked = Vec::new();
    for _ in 0..32 {
        asked.push(client.get(&path(&Store::id(1))).await);
    }
    let all = join_all(asked.into_iter().map(outcome)).await;
    assert!(all.iter().all(|outcome| *outcome == Ok(200)), "{all:?}");
    assert_eq!(client.sender.current_max_send_streams(), 32);
}

#[tokio::test]
async fn a_stream_whose_client_reads_nothing_is_reset_and_the_others_go_on() {
    let tls = patient_but(|setup| setup.set("listen.write_timeout", "300ms")).await;
    let mut client = Unread::connect(&tls, 4096).await;
    let stuck = client.resolve(200).await;
    let response = timeout(DEADLINE, stuck).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let reset = async {
        loop {
            match body.data().await {
                // The window is never given back.
                Some(Ok(_)) => {}
                Some(Err(error)) => break error.reason(),
                None => panic!("the whole response came through a window of 4 KiB"),
            }
        }
    };
    let reason = timeout(DEADLINE, reset).await.unwrap();
    assert_eq!(reason, Some(Reason::CANCEL));
    let next = client.get(&path(&Store::id(1))).await;
    assert_eq!(outcome(next).await, Ok(200));
}

#[tokio::test]
async fn a_connection_that_leaves_the_last_bytes_of_a_response_is_closed() {
    let tls = patient_but(|setup| setup.set("listen.write_timeout", "100ms")).await;
    let mut client = Unread::connect(&tls, 10).await;
    let next = client.get(&path(&Store::id(1))).await;
    assert_eq!(outcome(next).await, Ok(200));
    timeout(DEADLINE, client.driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_response_beyond_the_budget_of_unread_bytes_is_429() {
    let tls = patient_but(|setup| {
        setup.set("resolve.max_ids", "64");
        setup.set("resolve.max_answer", "64KiB");
        setup.set("listen.max_buffered", "100KiB");
    })
    .await;
    let mut stalled = Unread::connect(&tls, 0).await;
    assert_eq!(outcome(stalled.resolve(60).await).await, Ok(200));
    let ids: Vec<_> = (0..60).map(Store::id).collect();
    let body = serde_json::json!({ "ImageIds": ids }).to_string();
    let resolve = || async {
        let target = "/gateway/v1/resolve";
        Unread::connect(&tls, 1 << 20)
            .await
            .resolve_status(target, &body)
            .await
    };
    assert_eq!(resolve().await, (429, Some("Throttling".to_owned())));
    drop(stalled.sender);
    stalled.driver.abort();
    eventually("there is room again", async || resolve().await.0 == 200).await;
}

impl Unread {
    async fn resolve_status(mut self, target: &str, body: &str) -> (u16, Option<String>) {
        let request = Request::post(format!("https://localhost{target}"));
        let request = request.body(Bytes::from(body.to_owned())).unwrap();
        let response = self.send(request).await.await.unwrap();
        let status = response.status().as_u16();
        let mut stream = response.into_body();
        let mut whole = Vec::new();
        while let Some(piece) = timeout(DEADLINE, stream.data()).await.unwrap() {
            whole.extend_from_slice(&piece.unwrap());
        }
        let error: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        (status, error["Code"].as_str().map(str::to_owned))
    }
}

#[tokio::test]
async fn one_connection_holds_no_more_than_its_share() {
    let tls = patient_but(|setup| {
        setup.set("listen.max_buffered_per_connection", "128KiB");
    })
    .await;
    let mut client = Unread::connect(&tls, 0).await;
    let mut answered = 0;
    for _ in 0..10 {
        match outcome(client.resolve(64).await).await {
            Ok(status) => {
                assert_eq!(status, 200);
                answered += 1;
            }
            Err(reason) => {
                let expected = [Reason::REFUSED_STREAM, Reason::ENHANCE_YOUR_CALM];
                assert!(reason.is_some_and(|reason| expected.contains(&reason)));
            }
        }
    }
    assert!((1..=3).contains(&answered), "{answered}");
    let mut other = Unread::connect(&tls, 1 << 20).await;
    assert_eq!(outcome(other.resolve(64).await).await, Ok(200));
}

#[tokio::test]
async fn streams_are_bounded_over_all_connections() {
    let tls = patient_but(|setup| setup.set("listen.max_streams", "3")).await;
    let (mut one, mut two) = (
        Unread::connect(&tls, 0).await,
        Unread::connect(&tls, 0).await,
    );
    for _ in 0..2 {
        assert_eq!(outcome(one.get(&path(&Store::id(1))).await).await, Ok(200));
    }
    assert_eq!(outcome(two.get(&path(&Store::id(1))).await).await, Ok(200));
    let refused = outcome(two.get(&path(&Store::id(1))).await).await;
    assert_eq!(refused, Err(Some(Reason::REFUSED_STREAM)));
    drop((one.sender, one.driver.abort()));
    eventually("there is room again", async || {
        outcome(two.get(&path(&Store::id(1))).await).await == Ok(200)
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_over_http_2_too() {
    let tls = patient_but(|setup| setup.set("listen.head_timeout", "200ms")).await;
    let client = Unread::connect(&tls, 0).await;
    timeout(Duration::from_secs(10), client.driver)
        .await
        .unwrap()
        .unwrap();
}
