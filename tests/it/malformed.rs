//! Requests outside this API: each has its response, and none causes an upstream call.

use http::Method;
use pai_image_gateway::emulator::Store;

use crate::support::{TestGateway, address, path, raw};

#[tokio::test]
async fn invalid_ids_and_parameters_are_rejected() {
    let gateway = TestGateway::usual().await;
    let mut connection = gateway.connect().await;
    let image = path("image-1");
    let (long, fits) = ("a".repeat(129), "a".repeat(128));
    let mut count = 0;
    for target in [
        path(""),
        path("."),
        path(".."),
        path("%2e%2e"),
        path("-a"),
        path("_a"),
        path("a.b"),
        path("a*b"),
        path("a%2Fb"),
        path("a%2fb"),
        path("a%252Fb"),
        path("a%20b"),
        path("a+b"),
        path("a%00b"),
        path("a;b"),
        path("%E4%B8%AD"),
        path("%ff"),
        path("%zz"),
        path("a%4"),
        path("a%"),
        path(&long),
        format!("{image}?Verbose=True&Verbose=True"),
        format!("{image}?Verbose=true&Verbose=false"),
        format!("{image}?Verbose=1"),
        format!("{image}?Verbose=yes"),
        format!("{image}?Verbose=%00"),
        format!("{image}?Verbose=%zz"),
        format!("{image}?verbose=true"),
        format!("{image}?Verbose=true&Name=x"),
        format!("{image}?Name=x"),
        format!("{image}?=x"),
        "/api/v1/images?Name=%zz".to_owned(),
    ] {
        let answer = connection.get(&target).await;
        let expected = (400, "InvalidParameter".to_owned());
        assert_eq!(answer.error(), expected, "{target}");
        count += 1;
    }
    assert_eq!(gateway.calls(), 0);
    let rejected = [("outcome", "rejected")];
    let counted = gateway
        .metric("pai_gateway_requests_total", &rejected)
        .await;
    assert_eq!(counted, f64::from(count));
    assert_eq!(connection.get(&path(&fits)).await.status, 404);
}

#[tokio::test]
async fn routes_outside_this_api_are_not_found() {
    let gateway = TestGateway::usual().await;
    let mut connection = gateway.connect().await;
    let image = path(&Store::id(1));
    for target in [
        "/".to_owned(),
        "/api/v1".to_owned(),
        "/api/v1/".to_owned(),
        "/api/v1/imagebuilds".to_owned(),
        "/api/v2/images".to_owned(),
        "//api/v1/images".to_owned(),
        "/api/v1//images/a".to_owned(),
        "/api%2Fv1/images/a".to_owned(),
        "/API/V1/images/a".to_owned(),
        format!("{image}/"),
        format!("{image}/other"),
        format!("{image}/labels/a/b"),
        "/api/v1/image/labels/".to_owned(),
        "/livez".to_owned(),
        "/metrics".to_owned(),
        "/emulator/counts".to_owned(),
    ] {
        let answer = connection.get(&target).await;
        let expected = (404, "InvalidApi.NotFound".to_owned());
        assert_eq!(answer.error(), expected, "{target}");
    }
    assert_eq!(gateway.calls(), 0);
}

#[tokio::test]
async fn another_method_gets_405_with_the_allowed_methods() {
    let gateway = TestGateway::with("api.writes", "true").await;
    let image = path(&Store::id(1));
    for (method, target, allowed) in [
        ("PUT", image.clone(), "GET, HEAD, DELETE"),
        ("POST", image.clone(), "GET, HEAD, DELETE"),
        ("PATCH", image.clone(), "GET, HEAD, DELETE"),
        ("OPTIONS", image.clone(), "GET, HEAD, DELETE"),
        ("TRACE", image.clone(), "GET, HEAD, DELETE"),
        ("get", image.clone(), "GET, HEAD, DELETE"),
        ("BREW", "/api/v1/images".to_owned(), "GET, POST"),
        ("DELETE", "/api/v1/images".to_owned(), "GET, POST"),
        ("GET", format!("{image}/labels"), "POST"),
        ("GET", format!("{image}/labels/a"), "DELETE"),
        ("GET", format!("{image}/publish"), "PUT"),
        ("POST", "/api/v1/image/labels".to_owned(), "GET"),
    ] {
        let named = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = gateway.request(named, &target, &[], "").await;
        assert_eq!(answer.error().0, 405, "{method} {target}");
        assert_eq!(answer.header("allow"), allowed, "{method} {target}");
    }
    let head = gateway
        .request(Method::HEAD, "/api/v1/images", &[], "")
        .await;
    assert_eq!((head.status.as_u16(), head.body.len()), (405, 0));
    assert_eq!(head.header("allow"), "GET, POST");
    assert_eq!(gateway.calls(), 0);
}

#[tokio::test]
async fn a_get_with_a_body_is_refused() {
    let gateway = TestGateway::usual().await;
    for target in [path(&Store::id(1)), "/api/v1/images".to_owned()] {
        let announced = gateway.request(Method::GET, &target, &[], "{}").await;
        let expected = (400, "InvalidParameter".to_owned());
        assert_eq!(announced.error(), expected);
        let chunked = format!(
            "GET {target} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        );
        let received = String::from_utf8(gateway.raw(chunked.as_bytes()).await).unwrap();
        assert!(received.starts_with("HTTP/1.1 400 "), "{received}");
        assert!(
            received.contains(r#""Code":"InvalidParameter""#),
            "{received}"
        );
    }
    assert_eq!(gateway.calls(), 0);
}

/// As Python's async SDK sends every GET.
#[tokio::test]
async fn a_get_that_announces_no_body_is_answered() {
    let gateway = TestGateway::usual().await;
    let headers = [
        ("content-length", "0"),
        ("content-type", "application/octet-stream"),
    ];
    let target = path(&Store::id(1));
    let answer = gateway.request(Method::GET, &target, &headers, "").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_absolute_target_is_answered_and_does_not_choose_the_origin() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    for target in [path(&id), path("%zz")] {
        let request = format!(
            "GET http://aiworkspace.example{target} HTTP/1.1\r\n\
             Host: aiworkspace.example\r\nConnection: close\r\n\r\n"
        );
        let received = String::from_utf8(gateway.raw(request.as_bytes()).await).unwrap();
        if target.contains(&id) {
            assert!(received.starts_with("HTTP/1.1 200 OK\r\n"), "{received}");
        } else {
            assert!(received.starts_with("HTTP/1.1 400 "), "{received}");
            let host = r#""HostId":"aiworkspace.example""#;
            assert!(received.contains(host), "{received}");
        }
    }
    assert_eq!(gateway.emulator.fetches(&id), 1);
}

/// SDKs send the user's endpoint text as Host.
#[tokio::test]
async fn odd_hosts_are_answered_and_returned_as_host_id() {
    let gateway = TestGateway::usual().await;
    for host in [
        "LOCALHOST:1",
        "127.0.0.1:1/",
        "http://127.0.0.1:1",
        "h:1/prefix",
    ] {
        for (target, status) in [(path(&Store::id(1)), "200"), ("/nowhere".to_owned(), "404")] {
            let request =
                format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let received = String::from_utf8(gateway.raw(request.as_bytes()).await).unwrap();
            let line = format!("HTTP/1.1 {status} ");
            assert!(received.starts_with(&line), "{host}: {received}");
            let returned = format!(r#""HostId":"{host}""#);
            assert_eq!(received.contains(&returned), status == "404", "{received}");
        }
    }
}

#[tokio::test]
async fn a_refused_request_leaves_its_connection_usable() {
    let gateway = TestGateway::usual().await;
    let mut connection = gateway.connect().await;
    assert_eq!(connection.get("/nowhere").await.status, 404);
    assert_eq!(connection.get(&path("%zz")).await.status, 400);
    assert_eq!(connection.get(&path(&Store::id(1))).await.status, 200);
}

/// An ambiguous head, with a request behind its body.
fn ambiguous(lines: &str) -> String {
    format!(
        "POST /purge HTTP/1.1\r\n{lines}\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    )
}

#[tokio::test]
async fn an_ambiguous_head_ends_its_connection_on_every_listener() {
    let gateway = TestGateway::with("observe.address", "127.0.0.1:0").await;
    let observe = address(&gateway.app.listening(), "observe");
    for listener in [&gateway.app.data, &gateway.app.admin, &observe] {
        for lines in [
            "Host: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Host: 127.0.0.1\r\nTransfer-Encoding: chunked, chunked\r\n",
            "Host: 127.0.0.1\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            "Host: 127.0.0.1\r\nHost: other\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\n",
        ] {
            let received = raw(listener, ambiguous(lines).as_bytes()).await;
            let received = String::from_utf8(received).unwrap().to_lowercase();
            assert!(received.starts_with("http/1.1 400 "), "{lines}{received}");
            assert!(received.contains("\r\nconnection: close\r\n"), "{received}");
            assert_eq!(received.matches("http/1.1 ").count(), 1, "{received}");
        }
        let honest = "Host: 127.0.0.1\r\nTransfer-Encoding: Chunked\r\n";
        let closing = ambiguous(honest).replace(
            "/livez HTTP/1.1\r\n",
            "/livez HTTP/1.1\r\nConnection: close\r\n",
        );
        let received = String::from_utf8(raw(listener, closing.as_bytes()).await).unwrap();
        assert_eq!(received.matches("HTTP/1.1 ").count(), 2, "{received}");
    }
    let refused = [("outcome", "rejected")];
    assert!(gateway.metric("pai_gateway_requests_total", &refused).await >= 5.0);
    assert_eq!(gateway.calls(), 0);
}
