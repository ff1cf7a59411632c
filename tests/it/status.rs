//! Troubles in `/status`: conditions, stale answers by reason, and the hour before.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use pai_image_gateway::emulator::{Fault, Store};
use serde_json::{Value, json};

use crate::support::{TestGateway, eventually, refusal};

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn status_names_the_instance() {
    let gateway = TestGateway::start(|setup| {
        let name = ("POD_NAME".to_owned(), "gateway-7d9".to_owned());
        setup.environment.extend([name]);
    })
    .await;
    let status = gateway.page("/status").await;
    let origin = gateway.emulator.address().to_string();
    assert_eq!(
        status["instance"],
        json!({ "name": "gateway-7d9", "origin": origin, "region": null, "auth": "none" })
    );
    assert_eq!(status["certificate"], Value::Null);
}

#[tokio::test]
async fn status_lists_what_is_wrong_until_it_is_over() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    gateway.image(&id).await.found();
    let status = gateway.page("/status").await;
    assert_eq!(
        (&status["conditions"], &status["stale_until"]),
        (&json!([]), &Value::Null)
    );
    let before = Timestamp::now();
    let fault = Fault::always(refusal(503, "ServiceUnavailable"));
    gateway.emulator.script(vec![fault]);
    gateway.image(&Store::id(2)).await;
    let status = gateway.page("/status").await;
    let [condition] = status["conditions"].as_array().unwrap().as_slice() else {
        panic!("{status}")
    };
    assert_eq!(condition["condition"], "origin_fails");
    assert_eq!(condition["severity"], "warn");
    assert_eq!(condition["subject"], "GetImage");
    let detail = condition["detail"].as_str().unwrap();
    assert!(detail.contains("ServiceUnavailable"), "{detail}");
    let slack = SignedDuration::from_secs(2);
    let since = time(&condition["since"]);
    assert!(
        since >= before - slack && since <= time(&status["time"]),
        "{condition}"
    );
    // One image, for its ttl and the default stale_if_error of a day.
    let until = &status["stale_until"];
    assert_eq!(until["images"], 1);
    assert_eq!(until["oldest"], until["newest"]);
    let left = time(&until["oldest"]).duration_since(time(&status["time"]));
    assert!(left > SignedDuration::from_hours(24) && left < SignedDuration::from_hours(26));
    gateway.emulator.script(Vec::new());
    eventually("it is over", async || {
        gateway.image_with(&id, "no-cache").await;
        gateway.page("/status").await["conditions"] == json!([])
    })
    .await;
}

#[tokio::test]
async fn stale_answers_are_counted_by_reason() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    gateway.image(&id).await.found();
    gateway.image(&id).await.found();
    let none = json!({ "revalidating": 0, "origin-error": 0, "over-budget": 0 });
    assert_eq!(gateway.page("/status").await["stale"], none);
    gateway.soften(&id).await;
    let fault = Fault::always(refusal(503, "ServiceUnavailable"));
    gateway.emulator.script(vec![fault]);
    let answer = gateway.image(&id).await;
    assert!(answer.cache_status().ends_with("; detail=origin-error"));
    let status = gateway.page("/status").await;
    assert_eq!(
        status["stale"],
        json!({ "revalidating": 0, "origin-error": 1, "over-budget": 0 })
    );
    assert_eq!(status["requests"]["stale"], 1);
    let metrics = gateway.admin(Method::GET, "/metrics", "").await.text();
    for line in [
        "{reason=\"origin-error\"} 1\n",
        "{reason=\"revalidating\"} 0\n",
    ] {
        assert!(
            metrics.contains(&format!("pai_gateway_stale_answers_total{line}")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_history_has_a_column_for_each_figure() {
    let gateway = TestGateway::usual().await;
    let history = gateway.page("/status/history").await;
    assert_eq!(history["interval_seconds"], 10);
    for pointer in [
        "/time",
        "/seconds",
        "/requests/hit",
        "/requests/error",
        "/upstream/requests/timeout",
        "/upstream/in_flight",
        "/latency_seconds/p50",
        "/latency_seconds/p99",
    ] {
        assert_eq!(history.pointer(pointer), Some(&json!([])), "{pointer}");
    }
    let refused = gateway.admin(Method::POST, "/status/history", "{}").await;
    assert_eq!(refused.status, 405);
}
