//! Purges.

use http::Method;
use pai_image_gateway::emulator::Store;
use pai_image_gateway::server::Address;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{TestGateway, ask, path, shut_down};

/// By `Store::id`: 1 and 3 lie in workspace 15945, 2 in 20817, 0 in none.
async fn filled() -> TestGateway {
    let gateway = TestGateway::usual().await;
    for index in 0..4 {
        gateway.image(&Store::id(index)).await.found();
    }
    let verbose = format!("{}?Verbose=true", path(&Store::id(1)));
    gateway.get(&verbose).await.found();
    assert_eq!(gateway.image("image-none").await.status, 404);
    gateway
}

/// Returns which of the four images without labels are cached.
async fn cached(gateway: &TestGateway) -> Vec<usize> {
    let mut cached = Vec::new();
    for index in 0..4 {
        let page = gateway
            .page(&format!("/entries/{}", Store::id(index)))
            .await;
        if page["variants"][0]["state"] == "fresh" {
            cached.push(index);
        }
    }
    cached
}

#[tokio::test]
async fn a_purge_of_an_image_removes_both_variants() {
    let gateway = filled().await;
    let request = format!(r#"{{"image":"{}"}}"#, Store::id(1));
    assert_eq!(gateway.purge(&request).await, 2);
    assert_eq!(cached(&gateway).await, [0, 2, 3]);
    assert_eq!(gateway.purge(&request).await, 0);
    let again = gateway.image(&Store::id(1)).await;
    assert!(again.cache_status().contains("fwd=uri-miss"), "{again:?}");
}

#[tokio::test]
async fn a_purge_of_a_workspace_leaves_others() {
    let gateway = filled().await;
    assert_eq!(gateway.purge(r#"{"workspace":"15945"}"#).await, 3);
    assert_eq!(cached(&gateway).await, [0, 2]);
    assert_eq!(gateway.purge(r#"{"workspace":"1594"}"#).await, 0);
}

#[tokio::test]
async fn a_purge_of_everything_removes_negative_answers_too() {
    let gateway = filled().await;
    assert_eq!(gateway.purge(r#"{"all":true}"#).await, 5);
    assert_eq!(cached(&gateway).await, [0; 0]);
    let cache = &gateway.page("/status").await["cache"];
    assert_eq!((&cache["entries"], &cache["bytes"]), (&0.into(), &0.into()));
    gateway
        .emulator
        .store()
        .put_raw("image-none", r#"{"Name":"n"}"#);
    assert_eq!(gateway.image("image-none").await.status, 200);
}

#[tokio::test]
async fn a_missing_image_is_fetched_again_after_its_purge() {
    let gateway = filled().await;
    gateway
        .emulator
        .store()
        .put_raw("image-none", r#"{"Name":"n"}"#);
    assert_eq!(gateway.image("image-none").await.status, 404);
    gateway.purge(r#"{"image":"image-none"}"#).await;
    assert_eq!(gateway.image("image-none").await.status, 200);
}

#[tokio::test]
async fn after_a_soft_purge_everything_is_still_served_while_the_origin_fails() {
    let gateway = filled().await;
    assert_eq!(gateway.purge(r#"{"all":true,"soft":true}"#).await, 5);
    assert_eq!(cached(&gateway).await, [0; 0]);
    assert_eq!(gateway.page("/status").await["cache"]["entries"], 5);
    let TestGateway { emulator, app } = gateway;
    shut_down(emulator).await;
    for index in 0..4 {
        let target = path(&Store::id(index));
        let answer = ask(&app.data, Method::GET, &target, &[], "").await;
        assert_eq!(answer.found()["ImageId"], Store::id(index));
    }
}

#[tokio::test]
async fn an_ambiguous_purge_request_purges_nothing() {
    let gateway = filled().await;
    for request in [
        " ",
        "{}",
        "[]",
        "null",
        "{\"all\":true",
        r#"{"all":false}"#,
        r#"{"all":"true"}"#,
        r#"{"soft":true}"#,
        r#"{"all":true,"image":"image-a"}"#,
        r#"{"workspace":"15945","image":"image-a"}"#,
        r#"{"image":"a/b"}"#,
        r#"{"image":""}"#,
        r#"{"image":["image-a"]}"#,
        r#"{"workspace":15945}"#,
        r#"{"all":true,"really":true}"#,
        r#"{"all":true}{"all":true}"#,
    ] {
        let answer = gateway.admin(Method::POST, "/purge", request).await;
        assert_eq!(answer.status, 400, "{request}");
        assert!(answer.json()["error"].is_string(), "{request}");
    }
    assert_eq!(cached(&gateway).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_purge_request_with_another_content_type_is_rejected() {
    let gateway = filled().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let headers = [("content-type", content_type)];
        let all = r#"{"all":true}"#;
        let answer = ask(&gateway.app.admin, Method::POST, "/purge", &headers, all).await;
        assert_eq!(answer.status, 415, "{content_type}");
    }
    assert_eq!(cached(&gateway).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_purge_request_that_stops_halfway_times_out() {
    let gateway = TestGateway::usual().await;
    let Address::Tcp(admin) = gateway.app.admin else {
        panic!("a TCP port")
    };
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let head = "POST /purge HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let received = crate::listener::rest(&mut stream).await;
    assert!(received.starts_with("HTTP/1.1 408 "), "{received}");
}
