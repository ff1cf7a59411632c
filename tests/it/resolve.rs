//! Resolve: many images in one request.

mod command;
mod lines;
mod policy;
mod uris;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use pai_image_gateway::emulator::{Emulator, Fault, FaultKind, Store};
use serde_json::{Value, json};

use crate::support::{Answer, Setup, TestGateway, eventually, path, refusal, throttle, times};

const RESOLVE: &str = "/gateway/v1/resolve";

/// Returns a request body with these ids.
fn body_of(ids: &[impl AsRef<str>]) -> String {
    let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
    json!({ "ImageIds": ids }).to_string()
}

/// Returns the ids of so many generated images.
fn ids(count: usize) -> Vec<String> {
    (0..count).map(Store::id).collect()
}

async fn post(gateway: &TestGateway, body: &str) -> Answer {
    gateway.request(Method::POST, RESOLVE, &[], body).await
}

/// Requests these and returns the result of each.
async fn resolve(gateway: &TestGateway, ids: &[impl AsRef<str>]) -> Vec<Value> {
    let answer = post(gateway, &body_of(ids)).await;
    let mut document = answer.found();
    let id = document["RequestId"].as_str().unwrap();
    assert_eq!(id, answer.header("x-pai-gateway-request-id"));
    match document["Results"].take() {
        Value::Array(results) => results,
        other => panic!("{other}"),
    }
}

/// One field of each result.
fn each<'a>(results: &'a [Value], field: &str) -> Vec<&'a str> {
    let texts = results.iter();
    texts
        .map(|result| result[field].as_str().unwrap_or(""))
        .collect()
}

/// Faults that affect one image only, for ever.
fn only(id: &str, kind: FaultKind) -> Fault {
    Fault {
        image: Some(id.to_owned()),
        ..Fault::always(kind)
    }
}

fn script(emulator: &Emulator, faults: impl IntoIterator<Item = Fault>) {
    emulator.script(faults.into_iter().collect());
}

#[tokio::test]
async fn results_come_in_the_order_of_the_request() {
    let gateway = TestGateway::usual().await;
    let odd = "{ \"Name\" : \"\\u0061\",\n \"Size\":9007199254740993, \"X\":null }";
    gateway.emulator.store().put_raw("image-odd", odd);
    let broken = Store::id(7);
    script(
        &gateway.emulator,
        [only(&broken, refusal(500, "InternalError"))],
    );
    let asked = ["image-none", "image-odd", &broken, &Store::id(1)];
    let results = resolve(&gateway, &asked).await;
    assert_eq!(each(&results, "ImageId"), asked);
    assert_eq!(
        each(&results, "Status"),
        ["missing", "found", "failed", "found"]
    );
    assert_eq!(
        each(&results, "Code"),
        ["ImageNotFound", "", "Gateway.UpstreamUnavailable", ""]
    );
    let fields = |at: usize| -> Vec<&str> {
        let fields = results[at].as_object().unwrap().keys();
        fields.map(String::as_str).collect()
    };
    // In alphabetical order, as the reader sorts them.
    let missing = ["AgeSeconds", "Code", "ImageId", "Message", "Status"];
    assert_eq!(fields(0), missing);
    assert_eq!(fields(1), ["AgeSeconds", "Image", "ImageId", "Status"]);
    assert_eq!(fields(2), ["Code", "ImageId", "Message", "Status"]);
    assert_eq!(results[3]["AgeSeconds"], 0);
    assert!(
        results[0]["Message"]
            .as_str()
            .unwrap()
            .contains("image-none")
    );
    // The very bytes, and those of a GetImage.
    let text = post(&gateway, &body_of(&asked)).await.text();
    assert!(
        text.contains(&format!(r#""AgeSeconds":0,"Image":{odd}}}"#)),
        "{text}"
    );
    let alone = gateway.image(&Store::id(1)).await;
    assert!(alone.cache_status().contains("hit"), "{alone:?}");
    assert!(text.contains(&format!(r#""Image":{}}}"#, alone.text())));
}

#[tokio::test]
async fn repeated_ids_have_one_result_and_labels_when_requested() {
    let gateway = TestGateway::usual().await;
    let (a, b) = (Store::id(1), Store::id(2));
    let results = resolve(&gateway, &[&b, &a, &b, &b, &a]).await;
    assert_eq!(each(&results, "ImageId"), [&b, &a]);
    assert_eq!(gateway.calls(), 2);
    let verbose = json!({ "ImageIds": [a], "Verbose": true }).to_string();
    let document = post(&gateway, &verbose).await.found();
    assert!(
        document["Results"][0]["Image"]["Labels"].is_array(),
        "{document}"
    );
    assert!(results[1]["Image"]["Labels"].is_null());
    assert_eq!(gateway.calls(), 3);
}

#[tokio::test]
async fn a_malformed_request_is_rejected_whole_and_costs_no_call() {
    let gateway = TestGateway::with("api.max_body", "64KiB").await;
    let many = ids(1001);
    for body in [
        "",
        "[]",
        "{}",
        r#"{"ImageIds":[]}"#,
        r#"{"ImageIds":"image-1"}"#,
        r#"{"ImageIds":["image-1","a/b"]}"#,
        r#"{"ImageIds":["image-1"],"Region":"x"}"#,
        r#"{"ImageIds":["image-1"],"ImageIds":["image-2"]}"#,
        &body_of(&many),
    ] {
        let answer = post(&gateway, body).await;
        assert_eq!(
            answer.error(),
            (400, "InvalidParameter".to_owned()),
            "{body}"
        );
    }
    let asked = body_of(&[Store::id(1)]);
    let query = format!("{RESOLVE}?Verbose=true");
    let answer = gateway.request(Method::POST, &query, &[], &asked).await;
    assert_eq!(answer.error(), (400, "InvalidParameter".to_owned()));
    let long = format!("{}{asked}", " ".repeat(65_536));
    assert_eq!(post(&gateway, &long).await.error().0, 413);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = gateway.request(method, RESOLVE, &[], "").await;
        assert_eq!(answer.error(), (405, "UnsupportedHTTPMethod".to_owned()));
        assert_eq!(answer.header("allow"), "POST");
    }
    assert_eq!(gateway.calls(), 0);
    let labels = [("operation", "Resolve"), ("outcome", "rejected")];
    let rejected = gateway.metric("pai_gateway_requests_total", &labels).await;
    assert_eq!(rejected, 11.0);
}

#[tokio::test]
async fn a_thousand_images_are_fetched_and_then_cached() {
    let gateway = TestGateway::start(|setup| setup.origin.images = 1000).await;
    let asked = ids(1000);
    let results = resolve(&gateway, &asked).await;
    assert_eq!(each(&results, "ImageId"), asked);
    assert!(results.iter().all(|result| result["Status"] == "found"));
    assert_eq!(gateway.calls(), 1000);
    // It was a prewarm.
    let alone = gateway.image(&asked[999]).await;
    assert!(alone.cache_status().contains("hit; ttl="), "{alone:?}");
    let again = resolve(&gateway, &asked).await;
    assert!(again.iter().all(|result| result["Status"] == "found"));
    assert_eq!(gateway.calls(), 1000);
    // One answer each, whatever they were about.
    let count = async |labels: &[_]| gateway.metric("pai_gateway_requests_total", labels).await;
    for outcome in ["miss", "hit"] {
        let labels = [("operation", "Resolve"), ("outcome", outcome)];
        assert_eq!(count(&labels).await, 1.0, "{outcome}");
    }
    assert_eq!(count(&[]).await, 3.0);
    // Of GetImage alone.
    assert_eq!(gateway.page("/status").await["hit_ratio"], 1.0);
}

#[tokio::test]
async fn one_image_is_fetched_once_for_all_requests() {
    let gateway = TestGateway::start(|setup| {
        setup.origin.latency = Duration::from_millis(150);
    })
    .await;
    let asked = ids(8);
    let alone = join_all((0..16).map(|at| gateway.image(&asked[at % 8])));
    let (first, second) = (resolve(&gateway, &asked), resolve(&gateway, &asked));
    let (first, second, alone) = tokio::join!(first, second, alone);
    for results in [first, second] {
        assert!(results.iter().all(|result| result["Status"] == "found"));
    }
    assert!(alone.iter().all(|answer| answer.status == 200));
    assert_eq!(gateway.calls(), 8);
}

#[tokio::test]
async fn no_more_images_are_fetched_at_once_than_is_set() {
    let gateway = TestGateway::start(|setup| {
        setup.origin.latency = Duration::from_millis(40);
        setup.set("resolve.concurrency", "4");
        // They all wait in one place.
        setup.set("listen.max_in_flight", "1");
    })
    .await;
    let asked = ids(40);
    let mut most = 0;
    let resolving = resolve(&gateway, &asked);
    let mut resolving = std::pin::pin!(resolving);
    let results = loop {
        tokio::select! {
            results = &mut resolving => break results,
            () = tokio::time::sleep(Duration::from_millis(3)) => {
                most = most.max(gateway.app.metrics.upstream_in_flight.get());
            }
        }
    };
    assert!(results.iter().all(|result| result["Status"] == "found"));
    assert_eq!(most, 4);
}

#[tokio::test]
async fn an_image_that_misses_the_deadline_has_failed_and_still_fills_the_cache() {
    let gateway = TestGateway::with("resolve.deadline", "400ms").await;
    let (slow, quick) = (Store::id(1), Store::id(2));
    let latency = FaultKind::Latency(Duration::from_millis(1200));
    script(&gateway.emulator, [only(&slow, latency)]);
    let begun = Instant::now();
    let results = resolve(&gateway, &[&slow, &quick]).await;
    assert!(begun.elapsed() < Duration::from_millis(1100));
    assert_eq!(each(&results, "Status"), ["failed", "found"]);
    assert_eq!(results[0]["Code"], "Gateway.UpstreamTimeout");
    eventually("the image is cached", async || {
        gateway.image(&slow).await.cache_status().contains("hit")
    })
    .await;
    assert_eq!(gateway.emulator.fetches(&slow), 1);
}

#[tokio::test]
async fn an_image_not_begun_by_the_deadline_is_never_fetched() {
    let gateway = TestGateway::start(|setup| {
        setup.origin.latency = Duration::from_millis(300);
        setup.set("resolve.deadline", "400ms");
        setup.set("resolve.concurrency", "2");
    })
    .await;
    let results = resolve(&gateway, &ids(50)).await;
    let failed: Vec<_> = results
        .iter()
        .filter(|result| result["Status"] == "failed")
        .collect();
    assert!(failed.len() >= 44, "{}", failed.len());
    assert!(
        failed
            .iter()
            .all(|result| result["Code"] == "Gateway.UpstreamTimeout")
    );
    assert!(gateway.calls() <= 6, "{}", gateway.calls());
}

#[tokio::test]
async fn an_image_that_the_quota_delays_is_retried() {
    let gateway = TestGateway::start(|setup| {
        setup.origin.quota_per_second = Some(40);
        setup.set("resolve.concurrency", "4");
    })
    .await;
    let results = resolve(&gateway, &ids(60)).await;
    let statuses = each(&results, "Status");
    assert_eq!(statuses, ["found"; 60], "{results:?}");
    let labels = [("operation", "GetImage")];
    let unsent = gateway.metric("pai_gateway_upstream_unsent_total", &labels);
    assert!(unsent.await > 0.0);
}

#[tokio::test]
async fn a_throttle_is_waited_out_unless_that_takes_too_long() {
    let gateway = TestGateway::with("resolve.deadline", "5s").await;
    let short = throttle(Some(Duration::from_millis(300)));
    script(&gateway.emulator, [times(1, short)]);
    let results = resolve(&gateway, &[Store::id(1)]).await;
    assert_eq!(results[0]["Status"], "found", "{results:?}");
    let long = throttle(Some(Duration::from_secs(60)));
    script(&gateway.emulator, [times(1, long)]);
    let begun = Instant::now();
    let results = resolve(&gateway, &[Store::id(1), Store::id(2)]).await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(each(&results, "Status"), ["found", "failed"]);
    assert_eq!(results[1]["Code"], "Throttling.User");
}

#[tokio::test]
async fn an_older_image_is_served_while_the_origin_fails() {
    let gateway = TestGateway::usual().await;
    let (known, unknown) = (Store::id(1), Store::id(2));
    assert_eq!(gateway.image(&known).await.status, 200);
    gateway.soften(&known).await;
    let failing = Fault::always(refusal(500, "InternalError"));
    script(&gateway.emulator, [failing]);
    let results = resolve(&gateway, &[&known, &unknown]).await;
    assert_eq!(each(&results, "Status"), ["found", "failed"]);
}

#[tokio::test]
async fn a_stale_image_is_found_and_fetched_again_meanwhile() {
    let gateway = TestGateway::start(|setup| {
        for key in ["freshness.min", "freshness.max", "freshness.max_verbose"] {
            setup.set(key, "100ms");
        }
    })
    .await;
    let id = Store::id(1);
    assert_eq!(resolve(&gateway, &[&id]).await[0]["Status"], "found");
    // Nothing is refreshed in the background within a second of its fetch.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(resolve(&gateway, &[&id]).await[0]["Status"], "found");
    gateway.await_fetches(&id, 2).await;
    let labels = [("operation", "Resolve"), ("outcome", "hit")];
    assert_eq!(
        gateway.metric("pai_gateway_requests_total", &labels).await,
        1.0
    );
}

fn short_answers(setup: &mut Setup) {
    setup.set("resolve.max_ids", "10");
    setup.set("resolve.max_answer", "10KiB");
}

#[tokio::test]
async fn an_image_that_would_make_the_response_too_long_has_failed() {
    let gateway = TestGateway::start(short_answers).await;
    let answer = post(&gateway, &body_of(&ids(10))).await;
    assert!(answer.body.len() <= 10 << 10);
    let document = answer.found();
    let results = document["Results"].as_array().unwrap();
    let found = results
        .iter()
        .filter(|result| result["Status"] == "found")
        .count();
    assert!((1..10).contains(&found), "{found}");
    for result in results.iter().filter(|result| result["Status"] != "found") {
        assert_eq!(result["Code"], "Gateway.AnswerTooLong");
    }
    // It is cached nevertheless.
    assert_eq!(gateway.calls(), 10);
    let alone = gateway.get(&path(&Store::id(9))).await;
    assert!(alone.cache_status().contains("hit"));
}
