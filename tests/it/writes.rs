//! Writes that pass through, and their effect on cached entries.

use std::time::Duration;

use http::Method;
use pai_image_gateway::api::Action;
use pai_image_gateway::emulator::{Accessibility, Fault, FaultKind, Store};
use serde_json::Value;

use crate::support::{Answer, TestGateway, path, times};

const LABELS: &str = r#"{"Labels":[{"Key":"k1","Value":"v1"}]}"#;

async fn writing() -> TestGateway {
    TestGateway::with("api.writes", "true").await
}

/// A PRIVATE image of a workspace.
fn private() -> String {
    Store::id(3)
}

async fn send(gateway: &TestGateway, method: Method, target: &str, body: &str) -> Answer {
    let json = [("content-type", "application/json; charset=utf-8")];
    gateway.request(method, target, &json, body).await
}

async fn verbose(gateway: &TestGateway, id: &str) -> Answer {
    gateway.get(&format!("{}?Verbose=true", path(id))).await
}

fn has_label(image: &Value, key: &str) -> bool {
    let labels = image["Labels"].as_array().unwrap();
    labels.iter().any(|label| label["Key"] == key)
}

/// Every write to an existing image, each with its request.
fn writes(id: &str) -> [(Method, String, &'static str); 4] {
    let image = path(id);
    [
        (Method::POST, format!("{image}/labels"), LABELS),
        (Method::DELETE, format!("{image}/labels/system.origin"), ""),
        (Method::PUT, format!("{image}/publish"), ""),
        (Method::DELETE, image, ""),
    ]
}

fn shows(index: usize, answer: &Answer) -> bool {
    match index {
        0 => has_label(&answer.json(), "k1"),
        1 => !has_label(&answer.json(), "system.origin"),
        2 => answer.json()["Accessibility"] == "PUBLIC",
        _ => answer.status == 404,
    }
}

#[tokio::test]
async fn every_write_drops_both_variants() {
    for (index, (method, target, body)) in writes(&private()).into_iter().enumerate() {
        let (gateway, id) = (writing().await, private());
        assert!(!shows(index, &verbose(&gateway, &id).await), "{target}");
        gateway.image(&id).await.found();
        assert_eq!(gateway.page("/status").await["cache"]["entries"], 2);
        let written = send(&gateway, method, &target, body).await;
        assert!(written.found()["RequestId"].is_string(), "{target}");
        assert_eq!(written.cache_status(), "pai-image-gateway; fwd=bypass");
        assert_eq!(gateway.page("/status").await["cache"]["entries"], 0);
        assert!(shows(index, &verbose(&gateway, &id).await), "{target}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_drops_both_variants_and_is_not_repeated() {
    for (index, (method, target, body)) in writes(&private()).into_iter().enumerate() {
        let (gateway, id) = (writing().await, private());
        verbose(&gateway, &id).await.found();
        gateway.image(&id).await.found();
        let before = gateway.calls();
        gateway
            .emulator
            .script(vec![times(1, FaultKind::CloseBefore)]);
        let lost = send(&gateway, method, &target, body).await;
        let expected = (503, "Gateway.UpstreamUnavailable".to_owned());
        assert_eq!(lost.error(), expected, "{target}");
        assert_eq!(gateway.calls(), before + 1, "{target}");
        assert_eq!(gateway.page("/status").await["cache"]["entries"], 0);
        assert!(shows(index, &verbose(&gateway, &id).await), "{target}");
    }
}

#[tokio::test]
async fn an_added_image_is_found_at_once_although_it_was_missing() {
    let gateway = writing().await;
    assert_eq!(gateway.image("image-new").await.status, 404);
    let body = r#"{"Name":"new","ImageUri":"r/x:1","ImageId":"image-new"}"#;
    let added = send(&gateway, Method::POST, "/api/v1/images", body).await;
    assert_eq!(added.found()["ImageId"], "image-new");
    assert_eq!(gateway.image("image-new").await.found()["Name"], "new");
}

#[tokio::test]
async fn an_added_image_with_an_id_of_the_origins_choice_is_found() {
    let gateway = writing().await;
    let body = r#"{"Name":"new","ImageUri":"r/x:1","Description":"模型 \"x\""}"#;
    let added = send(&gateway, Method::POST, "/api/v1/images", body).await;
    let id = added.found()["ImageId"].as_str().unwrap().to_owned();
    let found = gateway.image(&id).await.found();
    assert_eq!(found["Description"], "模型 \"x\"");
}

#[tokio::test]
async fn a_label_key_keeps_its_odd_characters() {
    let gateway = writing().await;
    let (id, odd) = (private(), r#"{"Labels":[{"Key":"a/b ~*","Value":"v"}]}"#);
    let target = format!("{}/labels", path(&id));
    send(&gateway, Method::POST, &target, odd).await.found();
    assert!(has_label(&verbose(&gateway, &id).await.found(), "a/b ~*"));
    let target = format!("{}/labels/a%2fb%20~%2A", path(&id));
    send(&gateway, Method::DELETE, &target, "").await.found();
    assert!(!has_label(&verbose(&gateway, &id).await.found(), "a/b ~*"));
}

/// The fetch is answered with data from before the write, and arrives after it.
#[tokio::test]
async fn a_fetch_begun_before_a_write_is_never_kept_after_it() {
    let (gateway, id) = (writing().await, private());
    let held_back = Fault {
        operation: Some(Action::GetImage),
        ..times(1, FaultKind::Latency(Duration::from_millis(600)))
    };
    gateway.emulator.script(vec![held_back]);
    let publish = format!("{}/publish", path(&id));
    let write = async {
        gateway.await_fetches(&id, 1).await;
        send(&gateway, Method::PUT, &publish, "").await.found();
    };
    let (early, ()) = tokio::join!(gateway.image(&id), write);
    assert_eq!(early.found()["Accessibility"], "PRIVATE");
    for _ in 0..2 {
        assert_eq!(gateway.image(&id).await.found()["Accessibility"], "PUBLIC");
    }
    assert_eq!(gateway.emulator.fetches(&id), 2);
}

/// The same, but a fetch after the write is stored before the old response arrives.
#[tokio::test]
async fn an_older_response_does_not_replace_a_newer_one() {
    let (gateway, id) = (writing().await, private());
    let held_back = Fault {
        operation: Some(Action::GetImage),
        ..times(1, FaultKind::Latency(Duration::from_millis(800)))
    };
    gateway.emulator.script(vec![held_back]);
    let publish = format!("{}/publish", path(&id));
    let write_and_read = async {
        gateway.await_fetches(&id, 1).await;
        send(&gateway, Method::PUT, &publish, "").await.found();
        gateway.image(&id).await.found()
    };
    let (early, newer) = tokio::join!(gateway.image(&id), write_and_read);
    assert_eq!(early.found()["Accessibility"], "PRIVATE");
    assert_eq!(newer["Accessibility"], "PUBLIC");
    assert_eq!(gateway.image(&id).await.found(), newer);
    assert_eq!(gateway.emulator.fetches(&id), 2);
}

#[tokio::test]
async fn a_write_is_finished_after_its_client_disconnected() {
    let (gateway, id) = (writing().await, private());
    gateway.image(&id).await.found();
    let slow = Fault {
        operation: Some(Action::PublishImage),
        ..times(1, FaultKind::Latency(Duration::from_millis(400)))
    };
    gateway.emulator.script(vec![slow]);
    let publish = format!("{}/publish", path(&id));
    let mut leaver = gateway.connect().await;
    let begun = async {
        crate::support::eventually("the write is begun", async || gateway.calls() == 2).await;
    };
    tokio::select! {
        answer = leaver.send(Method::PUT, &publish, &[], "") => panic!("too early: {answer:?}"),
        () = begun => drop(leaver),
    }
    crate::support::eventually("the write is seen", async || {
        gateway.image(&id).await.found()["Accessibility"] == "PUBLIC"
    })
    .await;
}

#[tokio::test]
async fn a_rejected_write_passes_the_origins_error_on() {
    let gateway = writing().await;
    let target = format!("{}/publish", path("image-none"));
    let answer = send(&gateway, Method::PUT, &target, "").await;
    assert_eq!(answer.error(), (404, "ImageNotFound".to_owned()));
    let answer = send(&gateway, Method::POST, "/api/v1/images", "{}").await;
    assert_eq!(answer.error().0, 400);
}

#[tokio::test]
async fn with_writes_off_no_write_reaches_the_origin() {
    let gateway = TestGateway::usual().await;
    let add = (Method::POST, "/api/v1/images".to_owned(), "{}");
    for (method, target, body) in writes(&private()).into_iter().chain([add]) {
        let answer = send(&gateway, method, &target, body).await;
        let expected = (403, "Gateway.Forbidden".to_owned());
        assert_eq!(answer.error(), expected, "{target}");
    }
    assert_eq!(gateway.calls(), 0);
    let labels = [("outcome", "denied")];
    let denied = gateway.metric("pai_gateway_requests_total", &labels).await;
    assert_eq!(denied, 5.0);
    let image = gateway.emulator.store().get(&private()).unwrap();
    assert_eq!(image.accessibility, Accessibility::Private);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_however_it_comes() {
    let gateway = TestGateway::start(|setup| {
        setup.set("api.writes", "true");
        setup.set("api.max_body", "1KiB");
    })
    .await;
    let long = "x".repeat(1025);
    let expected = (413, "InvalidParameter".to_owned());
    let announced = send(&gateway, Method::POST, "/api/v1/images", &long).await;
    assert_eq!(announced.error(), expected);
    let chunked = format!(
        "POST /api/v1/images HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n401\r\n{long}\r\n0\r\n\r\n"
    );
    let received = gateway.raw(chunked.as_bytes()).await;
    let received = String::from_utf8(received).unwrap();
    assert!(received.starts_with("HTTP/1.1 413 "), "{received}");
    assert!(
        received.contains(r#""Code":"InvalidParameter""#),
        "{received}"
    );
    assert_eq!(gateway.calls(), 0);
}

#[tokio::test]
async fn a_body_in_chunks_reaches_the_origin_whole() {
    let gateway = writing().await;
    let body = r#"{"Name":"new","ImageUri":"r/x:1","ImageId":"image-new"}"#;
    let chunks: String = [&body[..10], &body[10..]]
        .map(|part| format!("{:x}\r\n{part}\r\n", part.len()))
        .concat();
    let request = format!(
        "POST /api/v1/images HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    );
    let received = gateway.raw(request.as_bytes()).await;
    assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(gateway.emulator.store().get("image-new").is_some());
}
