//! HEAD of an image: its GET without the body.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use pai_image_gateway::emulator::Store;

use crate::support::signed::{Guarded, Signer};
use crate::support::tls::{H1, H2, TlsGateway};
use crate::support::{TestGateway, path, raw};

/// Returns all headers except random ids and the time.
fn lasting(headers: &HeaderMap) -> BTreeMap<String, String> {
    let drawn = ["date", "age", "x-pai-gateway-request-id", "cache-status"];
    let each = headers
        .iter()
        .filter(|(name, _)| !drawn.contains(&name.as_str()));
    each.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect()
}

#[tokio::test]
async fn a_head_has_the_headers_of_its_get_and_no_body() {
    let gateway = TestGateway::usual().await;
    let mut connection = gateway.connect().await;
    for (target, status) in [
        (path(&Store::id(1)), 200),
        (format!("{}?Verbose=true", path(&Store::id(1))), 200),
        (path("image-none"), 404),
        (path("a.b"), 400),
        (format!("{}?X=1", path(&Store::id(1))), 400),
        ("/api/v1/images".to_owned(), 405),
        ("/nowhere".to_owned(), 404),
    ] {
        let head = connection.send(Method::HEAD, &target, &[], "").await;
        assert_eq!(head.status, status, "{target}");
        assert_eq!(head.body, "", "{target}");
        if status == 405 {
            continue;
        }
        let get = connection.get(&target).await;
        assert_eq!(get.status, status, "{target}");
        assert_eq!(lasting(&head.headers), lasting(&get.headers), "{target}");
        assert_eq!(
            head.header("content-length"),
            get.body.len().to_string(),
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_head_fills_the_cache_and_counts_as_a_get_image() {
    let gateway = TestGateway::usual().await;
    let image = path(&Store::id(1));
    let head = async || gateway.request(Method::HEAD, &image, &[], "").await;
    assert!(head().await.cache_status().contains("fwd=uri-miss"));
    assert!(head().await.cache_status().contains("hit"));
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
    assert_eq!(gateway.outcomes("miss").await, 1.0);
    assert_eq!(gateway.outcomes("hit").await, 2.0);
    assert_eq!(gateway.emulator.fetches(&Store::id(1)), 1);
}

#[tokio::test]
async fn the_bytes_after_a_head_response_are_the_next_response() {
    let gateway = TestGateway::usual().await;
    let line = |method: &str, connection: &str| {
        let image = path(&Store::id(1));
        format!("{method} {image} HTTP/1.1\r\nHost: g\r\nConnection: {connection}\r\n\r\n")
    };
    let kept = line("HEAD", "keep-alive");
    let sent = [kept.clone(), kept, line("GET", "close")].concat();
    let received = raw(&gateway.app.data, sent.as_bytes()).await;
    let received = String::from_utf8(received).unwrap();
    let answers: Vec<_> = received.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
    assert_eq!(answers.len(), 3, "{received}");
    assert!(answers[0].ends_with("\r\n\r\n") && answers[1].ends_with("\r\n\r\n"));
    assert!(answers[2].contains("\r\n\r\n{"), "{received}");
}

#[tokio::test]
async fn a_head_is_answered_alike_over_both_protocols() {
    let tls = TlsGateway::usual().await;
    for hello in [&H1, &H2] {
        let client = tls.connect(hello).await;
        for (target, status) in [
            (path(&Store::id(1)), 200),
            (path("image-none"), 404),
            ("/api/v1/images/a/labels".to_owned(), 405),
        ] {
            let head = client.send(Method::HEAD, &target, &[]).await.unwrap();
            assert_eq!((head.status().as_u16(), head.body().len()), (status, 0));
            let get = client.get(&target).await.unwrap();
            assert_eq!(get.status(), status, "{target}");
            assert_eq!(lasting(head.headers()), lasting(get.headers()), "{target}");
        }
    }
}

#[tokio::test]
async fn a_head_is_signed_as_a_head() {
    let guarded = Guarded::usual().await;
    let (team, ours) = (Signer::team(), path(&Store::id(1)));
    let head = guarded.ask(&team, (Method::HEAD, &ours, ""), &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let get = guarded.get(&team, &ours).await;
    assert_eq!(lasting(&head.headers), lasting(&get.headers));
    for (signed, sent) in [(Method::GET, Method::HEAD), (Method::HEAD, Method::GET)] {
        let headers = team.sign(&signed, &ours, "");
        let answer = guarded.send((sent, &ours, ""), &headers, &[]).await;
        assert_eq!(answer.status, 400);
    }
    let unsigned = guarded.send((Method::HEAD, &ours, ""), &[], &[]).await;
    assert_eq!((unsigned.status.as_u16(), unsigned.body.len()), (401, 0));
    let once = team.sign(&Method::HEAD, &ours, "");
    // One repetition is answered, as of a GET.
    for status in [200, 200, 400] {
        let again = guarded.send((Method::HEAD, &ours, ""), &once, &[]).await;
        assert_eq!(again.status, status);
    }
}

#[tokio::test]
async fn a_head_of_a_hidden_image_is_that_of_a_missing_one() {
    let guarded = Guarded::usual().await;
    let (team, chief) = (Signer::team(), Signer::chief());
    let hidden = path(&Store::id(2));
    assert_eq!(guarded.get(&chief, &hidden).await.status, 200);
    let ask = async |target: &str| guarded.ask(&team, (Method::HEAD, target, ""), &[]).await;
    let (hidden, missing) = (ask(&hidden).await, ask(&path("image-none")).await);
    assert_eq!(hidden.status, 404);
    assert_eq!(lasting(&hidden.headers), lasting(&missing.headers));
    assert_eq!(hidden.cache_status(), missing.cache_status());
}
