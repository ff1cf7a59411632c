//! Traces sent to a collector, and the absence of a collector.

mod collectors;
mod forwarding;

use std::time::Duration;

use http::Method;
use pai_image_gateway::emulator::{FaultKind, Store};

use crate::support::collector::{Collector, attribute, hex, named};
use crate::support::signed::{Guarded, Signer};
use crate::support::{Answer, KEY_ID, KEY_SECRET, TestGateway, path, refusal, times};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00f067aa0ba902b7";

/// A `traceparent` that is sampled.
fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{PARENT}-01")
}

/// A gateway that exports spans at once, and starts no trace by itself.
async fn traced(collector: &Collector, more: &[(&str, &str)]) -> TestGateway {
    TestGateway::start(|setup| {
        setup.set("traces.endpoint", &collector.url());
        setup.set("traces.interval", "10ms");
        setup.set("traces.sample", "0");
        for (key, value) in more {
            setup.set(key, value);
        }
    })
    .await
}

/// A GetImage within a client's trace.
async fn follow(gateway: &TestGateway, traceparent: &str) -> Answer {
    let headers = [("traceparent", traceparent)];
    let target = path(&Store::id(1));
    gateway.request(Method::GET, &target, &headers, "").await
}

#[tokio::test]
async fn a_miss_has_a_span_for_each_step_within_the_clients_trace() {
    let collector = Collector::start().await;
    let gateway = traced(&collector, &[]).await;
    let answer = follow(&gateway, &traceparent(TRACE)).await;
    let spans = collector.trace(TRACE, 6).await;
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let steps = [
        "request",
        "cache.fetch",
        "upstream.attempt",
        "queue",
        "sign",
        "exchange",
    ];
    assert_eq!(names, steps);
    let parent = |name| hex(&named(&spans, name).parent_span_id);
    let id = |name| hex(&named(&spans, name).span_id);
    assert_eq!(parent("request"), PARENT);
    assert_eq!(parent("cache.fetch"), id("request"));
    assert_eq!(parent("upstream.attempt"), id("cache.fetch"));
    for step in ["queue", "sign", "exchange"] {
        assert_eq!(parent(step), id("upstream.attempt"), "{step}");
    }
    let request = named(&spans, "request");
    for (key, value) in [
        ("operation", "GetImage"),
        ("outcome", "miss"),
        ("client", "anonymous"),
        ("http.response.status_code", "200"),
        ("image.id", &Store::id(1)),
        ("cache.age_seconds", "0"),
        ("request.id", answer.header("x-pai-gateway-request-id")),
    ] {
        assert_eq!(attribute(request, key), value, "{key}");
    }
    let attempt = named(&spans, "upstream.attempt");
    let origin_id = answer.header("x-acs-request-id");
    assert_eq!(attribute(attempt, "origin.request.id"), origin_id);
    assert_eq!(attribute(attempt, "result"), "ok");
    let exported = collector.text();
    for secret in [KEY_SECRET, KEY_ID, "Signature", "ACS3"] {
        assert!(!exported.contains(secret), "{secret}");
    }
    assert_eq!(collector.services()[0], "pai-image-gateway");
}

#[tokio::test]
async fn a_hit_is_one_span() {
    let collector = Collector::start().await;
    let gateway = traced(&collector, &[]).await;
    gateway.image(&Store::id(1)).await.found();
    follow(&gateway, &traceparent(TRACE)).await.found();
    gateway.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!(attribute(&spans[0], "outcome"), "hit");
}

#[tokio::test]
async fn each_attempt_is_a_span() {
    let collector = Collector::start().await;
    let gateway = traced(&collector, &[]).await;
    let broken = refusal(500, "InternalError");
    gateway.emulator.script(vec![times(1, broken)]);
    follow(&gateway, &traceparent(TRACE)).await.found();
    let spans = collector.trace(TRACE, 10).await;
    let attempts: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "upstream.attempt")
        .map(|span| (attribute(span, "attempt"), attribute(span, "result")))
        .collect();
    let pair = |attempt: &str, result: &str| (attempt.to_owned(), result.to_owned());
    assert_eq!(attempts, [pair("1", "server_error"), pair("2", "ok")]);
}

#[tokio::test]
async fn a_waiter_links_to_the_fetch_of_another_request() {
    let collector = Collector::start().await;
    let gateway = traced(&collector, &[]).await;
    let slow = FaultKind::Latency(Duration::from_millis(300));
    gateway.emulator.script(vec![times(1, slow)]);
    let (first, second) = (traceparent(TRACE), traceparent(OTHER));
    let later = async {
        gateway.await_fetches(&Store::id(1), 1).await;
        follow(&gateway, &second).await
    };
    let (first, second) = tokio::join!(follow(&gateway, &first), later);
    assert_eq!(first.found(), second.found());
    let spans = collector.trace(TRACE, 6).await;
    let fetch = named(&spans, "cache.fetch");
    let waited = collector.trace(OTHER, 2).await;
    assert_eq!(waited.len(), 2);
    assert_eq!(attribute(named(&waited, "request"), "outcome"), "coalesced");
    let wait = named(&waited, "flight.wait");
    assert_eq!(wait.links.len(), 1);
    assert_eq!(wait.links[0].span_id, fetch.span_id);
    assert_eq!(wait.links[0].trace_id, fetch.trace_id);
}

#[tokio::test]
async fn a_background_refresh_is_a_trace_of_its_own() {
    let collector = Collector::start().await;
    let settings = [
        ("freshness.min", "1ms"),
        ("freshness.fallback", "1ms"),
        ("freshness.max", "1ms"),
        ("freshness.max_verbose", "1ms"),
    ];
    let gateway = traced(&collector, &settings).await;
    gateway.image(&Store::id(1)).await.found();
    // A refresh begins no sooner than a second after the fetch before it.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    follow(&gateway, &traceparent(TRACE)).await.found();
    let spans = collector.trace(TRACE, 1).await;
    gateway.await_fetches(&Store::id(1), 2).await;
    gateway.stop().await;
    let refresh = collector.spans();
    let refresh = named(&refresh, "cache.fetch");
    assert_ne!(hex(&refresh.trace_id), TRACE);
    assert_eq!(refresh.links[0].span_id, spans[0].span_id);
    assert_eq!(attribute(&spans[0], "outcome"), "stale");
    assert_eq!(spans.len(), 1);
}

#[tokio::test]
async fn a_traceparent_goes_by_its_flag_and_others_by_chance() {
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    for (sample, traceparent, traces) in [
        ("0", "", 0),
        ("1", "", 1),
        ("0", unsampled.as_str(), 0),
        ("1", unsampled.as_str(), 0),
        // An unreadable header counts as none.
        ("0", "00-4bf92f3577b34da6a3ce929d0e0e4736-xyz-01", 0),
        ("1", "00-4bf92f3577b34da6a3ce929d0e0e4736-xyz-01", 1),
        (
            "0",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            0,
        ),
        (
            "0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            0,
        ),
    ] {
        let collector = Collector::start().await;
        let gateway = traced(&collector, &[("traces.sample", sample)]).await;
        follow(&gateway, traceparent).await.found();
        gateway.stop().await;
        let mut requests = collector.spans();
        requests.retain(|span| span.name == "request");
        assert_eq!(requests.len(), traces, "{sample} {traceparent}");
        for request in requests {
            assert_ne!(hex(&request.trace_id), TRACE);
            assert_eq!(hex(&request.parent_span_id), "");
        }
    }
}

#[tokio::test]
async fn the_sampled_flag_of_a_stranger_is_ignored() {
    let collector = Collector::start().await;
    let guarded = Guarded::start(|setup| {
        setup.set("traces.endpoint", &collector.url());
        setup.set("traces.sample", "0");
    })
    .await;
    let flag = traceparent(TRACE);
    let target = path(&Store::id(1));
    let refused = follow(&guarded.gateway, &flag).await;
    assert_eq!(refused.error_code(), "MissingAccessKeyId");
    let mut headers = Signer::chief().sign(&Method::GET, &target, "");
    headers.push(("traceparent".to_owned(), flag));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    let shown = guarded.gateway.request(Method::GET, &target, &headers, "");
    shown.await.found();
    guarded.gateway.stop().await;
    let spans = collector.spans();
    let request = named(&spans, "request");
    assert_eq!(attribute(request, "client"), "chief");
    assert!(!collector.text().contains("chief-secret"));
}
