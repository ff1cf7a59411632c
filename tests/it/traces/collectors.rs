//! Collectors that are gone, reject or hang: no request and no stop waits for them, and later spans
//! are sent again.

use std::time::{Duration, Instant};

use http::Method;
use pai_image_gateway::emulator::{Emulator, Store};
use pai_image_gateway::environment::Environment;
use serde_json::Value;

use super::{TRACE, traceparent};
use crate::process::{flags, origin, settings};
use crate::support::collector::{Collector, Mood};
use crate::support::tls::Authority;
use crate::support::{Process, TestGateway, address, ask, environment, eventually, path, sample};

/// One second for running responses at shutdown, and two for spans, with room for a busy machine.
const STOP: Duration = Duration::from_secs(8);

async fn traced(collector: &str, more: &[(&str, &str)]) -> TestGateway {
    TestGateway::start(|setup| {
        setup.set("traces.endpoint", collector);
        setup.set("traces.interval", "10ms");
        setup.set("traces.timeout", "300ms");
        setup.set("traces.sample", "1");
        for (key, value) in more {
            setup.set(key, value);
        }
    })
    .await
}

/// Returns the number of exports with this result.
async fn exports(gateway: &TestGateway, result: &str) -> f64 {
    let labels = [("result", result)];
    gateway
        .metric("pai_gateway_trace_exports_total", &labels)
        .await
}

async fn spans(gateway: &TestGateway, result: &str) -> f64 {
    let labels = [("result", result)];
    gateway
        .metric("pai_gateway_trace_spans_total", &labels)
        .await
}

/// Sends requests until an export has this result; each response is an image.
async fn ask_until(gateway: &TestGateway, result: &str) {
    eventually(&format!("a sending is counted as {result}"), async || {
        gateway.image(&Store::id(1)).await.found();
        exports(gateway, result).await > 0.0
    })
    .await;
}

async fn stopped_in_time(gateway: TestGateway) {
    let begun = Instant::now();
    gateway.stop().await;
    assert!(begun.elapsed() < STOP, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_collector_that_is_gone_is_counted_and_sent_to_again() {
    let gone = Collector::start().await;
    let (place, url) = (gone.address, gone.url());
    drop(gone);
    let gateway = traced(&url, &[]).await;
    ask_until(&gateway, "transport").await;
    assert!(spans(&gateway, "lost").await > 0.0);
    let back = Collector::start_on(place).await;
    ask_until(&gateway, "ok").await;
    assert!(!back.spans().is_empty());
    drop(back);
    gateway.image(&Store::id(2)).await.found();
    stopped_in_time(gateway).await;
}

#[tokio::test]
async fn a_collector_that_refuses_or_hangs_is_counted_and_sent_to_again() {
    let collector = Collector::start().await;
    let gateway = traced(&collector.url(), &[]).await;
    collector.set(Mood::Refusing);
    ask_until(&gateway, "refused").await;
    collector.set(Mood::Hanging);
    ask_until(&gateway, "timeout").await;
    assert!(collector.spans().is_empty());
    collector.set(Mood::Taking);
    ask_until(&gateway, "ok").await;
    assert!(!collector.spans().is_empty());
    collector.set(Mood::Hanging);
    gateway.image(&Store::id(2)).await.found();
    stopped_in_time(gateway).await;
}

#[tokio::test]
async fn every_span_is_counted_once_whatever_its_fate() {
    let collector = Collector::start().await;
    collector.set(Mood::Hanging);
    let gateway = traced(&collector.url(), &[("traces.max_queue", "2")]).await;
    for _ in 0..20 {
        gateway.image(&Store::id(1)).await.found();
    }
    assert!(spans(&gateway, "dropped").await > 0.0);
    let all = async || gateway.metric("pai_gateway_trace_spans_total", &[]).await;
    // A request each, and the five steps of the miss.
    eventually("all are counted", async || all().await == 25.0).await;
    collector.set(Mood::Taking);
    ask_until(&gateway, "ok").await;
}

#[tokio::test]
async fn a_collector_behind_tls_must_have_a_valid_certificate() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let collector = Collector::start_tls(&authority.issue(&["localhost"])).await;
    let url = format!("https://localhost:{}", collector.address.port());
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &authority.pem).unwrap();
    let trusted = traced(&url, &[("traces.ca_file", file.to_str().unwrap())]).await;
    ask_until(&trusted, "ok").await;
    assert!(!collector.spans().is_empty());
    std::fs::write(&file, Authority::new().pem).unwrap();
    let wary = traced(&url, &[("traces.ca_file", file.to_str().unwrap())]).await;
    ask_until(&wary, "transport").await;
}

/// Starts a gateway process that traces, with the collector in a variable.
async fn serving(emulator: &Emulator, collector: &Collector, more: &[&str]) -> (Process, Value) {
    let variable = "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned();
    let mut environment: Environment = environment();
    environment.insert(variable, collector.url());
    environment.insert("OTEL_SERVICE_NAME".to_owned(), "images".to_owned());
    let mut settings = settings(emulator);
    settings.extend(more.iter().map(|setting| (*setting).to_owned()));
    Process::serve(&environment, &[vec!["serve"], flags(&settings)].concat()).await
}

async fn get(ports: &Value) {
    let headers = [("traceparent", &*traceparent(TRACE))];
    let data = address(ports, "listen");
    let target = path(&Store::id(1));
    ask(&data, Method::GET, &target, &headers, "").await.found();
}

#[tokio::test]
async fn the_process_sends_its_spans_as_they_end_and_the_last_at_sigterm() {
    let (emulator, collector) = (origin().await, Collector::start().await);
    let settings = ["traces.interval=20ms"];
    let (mut process, ports) = serving(&emulator, &collector, &settings).await;
    get(&ports).await;
    collector.trace(TRACE, 6).await;
    get(&ports).await;
    collector.trace(TRACE, 7).await;
    assert_eq!(collector.services()[0], "images");
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));

    let collector = Collector::start().await;
    let settings = ["traces.interval=1h"];
    let (mut process, ports) = serving(&emulator, &collector, &settings).await;
    get(&ports).await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    assert_eq!(collector.spans().len(), 6);
}

#[tokio::test]
async fn the_process_outlives_a_collector_that_hangs_and_stops_in_time() {
    let (emulator, collector) = (origin().await, Collector::start().await);
    collector.set(Mood::Hanging);
    let settings = ["traces.interval=20ms", "traces.timeout=30s"];
    let (mut process, ports) = serving(&emulator, &collector, &settings).await;
    get(&ports).await;
    eventually("it is sent to", async || collector.requests() > 0).await;
    let begun = Instant::now();
    for _ in 0..50 {
        get(&ports).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "one has waited");
    let admin = address(&ports, "admin");
    let exposition = ask(&admin, Method::GET, "/metrics", &[], "").await.text();
    assert_eq!(sample(&exposition, "pai_gateway_panics_total", &[]), 0.0);
    let begun = Instant::now();
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    assert!(begun.elapsed() < STOP, "{:?}", begun.elapsed());
    let log = process.output("stderr");
    assert!(log.contains("did not take the last spans in time"), "{log}");
}

#[tokio::test]
async fn a_dead_collector_is_logged_once_a_minute() {
    let (emulator, gone) = (origin().await, Collector::start().await);
    gone.set(Mood::Refusing);
    let settings = ["traces.interval=10ms"];
    let (mut process, ports) = serving(&emulator, &gone, &settings).await;
    eventually("many sendings have failed", async || {
        get(&ports).await;
        gone.requests() >= 5
    })
    .await;
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    let log = process.output("stderr");
    assert_eq!(
        log.matches("the collector does not accept spans").count(),
        1,
        "{log}"
    );
}
