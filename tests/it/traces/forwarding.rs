//! The part of a client's trace that the origin gets.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::{PARENT, TRACE, follow, traceparent};
use crate::support::TestGateway;
use crate::support::collector::{Collector, hex, named};

/// An origin that records the headers of its requests.
async fn origin() -> (SocketAddr, Arc<Mutex<Vec<HeaderMap>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let service = service_fn(move |request: http::Request<_>| {
                    kept.lock().push(request.headers().clone());
                    let body = Full::new(Bytes::from_static(b"{\"ImageUri\":\"registry/x:1\"}"));
                    async { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
                });
                let connection = TokioIo::new(stream);
                drop(
                    http1::Builder::new()
                        .serve_connection(connection, service)
                        .await,
                );
            });
        }
    });
    (address, seen)
}

/// Returns the headers of the one upstream call of a request, with `settings`.
async fn sent(settings: &[(&str, &str)], traceparent: &str) -> HeaderMap {
    let (address, seen) = origin().await;
    let gateway = TestGateway::start(|setup| {
        setup.set("upstream.endpoint", &format!("http://{address}"));
        for (key, value) in settings {
            setup.set(key, value);
        }
    })
    .await;
    let answer = follow(&gateway, traceparent).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    gateway.stop().await;
    let seen = seen.lock().clone();
    assert_eq!(seen.len(), 1);
    seen[0].clone()
}

#[tokio::test]
async fn no_traceparent_reaches_the_origin_unasked() {
    let collector = Collector::start().await;
    let endpoint = collector.url();
    for settings in [vec![], vec![("traces.endpoint", endpoint.as_str())]] {
        let headers = sent(&settings, &traceparent(TRACE)).await;
        assert!(!headers.contains_key("traceparent"), "{headers:?}");
    }
}

#[tokio::test]
async fn the_origin_gets_the_traceparent_of_the_attempt() {
    let collector = Collector::start().await;
    let endpoint = collector.url();
    let settings = [
        ("traces.endpoint", endpoint.as_str()),
        ("traces.forward", "true"),
    ];
    let headers = sent(&settings, &traceparent(TRACE)).await;
    let spans = collector.trace(TRACE, 6).await;
    let attempt = hex(&named(&spans, "upstream.attempt").span_id);
    assert_eq!(headers["traceparent"], format!("00-{TRACE}-{attempt}-01"));
    let signed = headers["authorization"].to_str().unwrap();
    assert!(!signed.contains("traceparent"), "{signed}");
}

#[tokio::test]
async fn the_trace_headers_of_an_unsampled_request_are_passed_on_unchanged() {
    let collector = Collector::start().await;
    let endpoint = collector.url();
    let forward = ("traces.forward", "true");
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    let headers = sent(&[("traces.endpoint", &endpoint), forward], &unsampled).await;
    assert_eq!(headers["traceparent"], unsampled);
    let sampled = traceparent(TRACE);
    let headers = sent(&[forward], &sampled).await;
    assert_eq!(headers["traceparent"], sampled);
    let headers = sent(&[forward], "00-nonsense").await;
    assert!(!headers.contains_key("traceparent"));
    assert_eq!(collector.requests(), 0);
}
