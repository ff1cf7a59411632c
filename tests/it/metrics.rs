//! The metrics add up.

use std::io::Read as _;
use std::process::Stdio;

use http::Method;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};
use pai_image_gateway::observability::metrics::Metrics;

use crate::service_accounts::stand_in::Cluster;
use crate::support::{Answer, TestGateway, ask, path, sample};

/// Sends one request of nearly every outcome; returns their number.
async fn exercised() -> (TestGateway, u32) {
    let gateway = TestGateway::usual().await;
    let image = path(&Store::id(1));
    let verbose = format!("{image}?Verbose=true");
    let mut sent = 0;
    for target in [
        &image,
        &image,
        &verbose,
        &path("image-none"),
        &path("image-none"),
        "/api/v1/images",
        "/api/v1/image/labels",
        "/nowhere",
        &path("%zz"),
    ] {
        gateway.get(target).await;
        sent += 1;
    }
    gateway
        .emulator
        .script(vec![Fault::always(FaultKind::CloseBefore)]);
    assert_eq!(gateway.image(&Store::id(2)).await.status, 503);
    sent += 1;
    (gateway, sent)
}

#[tokio::test]
async fn every_answer_is_counted_once() {
    let (gateway, sent) = exercised().await;
    let text = gateway.exposition().await;
    let requests = sample(&text, "pai_gateway_requests_total", &[]);
    let durations = sample(&text, "pai_gateway_request_duration_seconds_count", &[]);
    assert_eq!((requests, durations), (f64::from(sent), f64::from(sent)));
    for (operation, outcome, count) in [
        ("GetImage", "miss", 3.0),
        ("GetImage", "hit", 1.0),
        ("GetImage", "negative", 1.0),
        ("GetImage", "rejected", 1.0),
        ("GetImage", "error", 1.0),
        ("ListImages", "miss", 1.0),
        ("ListImageLabels", "miss", 1.0),
    ] {
        let labels = [("operation", operation), ("outcome", outcome)];
        let counted = sample(&text, "pai_gateway_requests_total", &labels);
        assert_eq!(counted, count, "{operation} {outcome}");
    }
}

#[tokio::test]
async fn every_attempt_is_counted_once() {
    let (gateway, _) = exercised().await;
    let text = gateway.exposition().await;
    let attempts = sample(&text, "pai_gateway_upstream_requests_total", &[]);
    let durations = "pai_gateway_upstream_request_duration_seconds_count";
    // A read sent again because its idle connection was closed is the same attempt.
    let resends = sample(&text, "pai_gateway_upstream_resends_total", &[]);
    assert_eq!(attempts + resends, gateway.calls() as f64);
    assert_eq!(attempts, sample(&text, durations, &[]));
    for (result, count) in [("ok", 4.0), ("not_found", 1.0), ("transport", 3.0)] {
        let labels = [("result", result)];
        let counted = sample(&text, "pai_gateway_upstream_requests_total", &labels);
        assert_eq!(counted, count, "{result}");
    }
    assert_eq!(sample(&text, "pai_gateway_upstream_in_flight", &[]), 0.0);
}

/// An unreadable 200 does not count as a success of the origin.
#[tokio::test]
async fn an_unreadable_200_is_not_counted_as_ok() {
    let gateway = TestGateway::usual().await;
    gateway
        .emulator
        .script(vec![Fault::always(FaultKind::Garbage)]);
    assert_eq!(gateway.image(&Store::id(1)).await.status, 502);
    let name = "pai_gateway_upstream_requests_total";
    assert_eq!(gateway.metric(name, &[("result", "ok")]).await, 0.0);
    let failed = gateway.metric(name, &[("result", "server_error")]).await;
    assert_eq!(failed, gateway.calls() as f64);
}

#[tokio::test]
async fn the_size_of_the_cache_is_measured() {
    let gateway = TestGateway::usual().await;
    for _ in 0..3 {
        gateway.image(&Store::id(1)).await;
    }
    gateway.image("image-none").await;
    let text = gateway.exposition().await;
    for (name, labels, value) in [
        ("cache_entries", [("store", "images")].as_slice(), 1.0),
        ("cache_entries", &[("store", "negative")], 1.0),
        ("cache_ttl_seconds_count", &[], 1.0),
        ("cache_age_seconds_count", &[], 2.0),
        ("cache_max_bytes", &[], f64::from(256 << 20)),
        (
            "credential_refreshes_total",
            &[("source", "env"), ("result", "ok")],
            1.0,
        ),
        ("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
        ("panics_total", &[], 0.0),
        ("clock_offset_seconds", &[], 0.0),
        ("credential_expiry_timestamp_seconds", &[], f64::INFINITY),
    ] {
        let value_found = sample(&text, &format!("pai_gateway_{name}"), labels);
        assert_eq!(value_found, value, "{name}");
    }
    assert!(sample(&text, "pai_gateway_cache_bytes", &[]) > 626.0);
}

#[tokio::test]
async fn every_metric_of_the_contract_that_exists_has_help_and_type() {
    let gateway = TestGateway::usual().await;
    let text = gateway.exposition().await;
    for (family, kind) in [
        ("requests_total", "counter"),
        ("request_duration_seconds", "histogram"),
        ("upstream_requests_total", "counter"),
        ("upstream_request_duration_seconds", "histogram"),
        ("upstream_in_flight", "gauge"),
        ("cache_entries", "gauge"),
        ("cache_bytes", "gauge"),
        ("cache_evictions_total", "counter"),
        ("cache_ttl_seconds", "histogram"),
        ("cache_age_seconds", "histogram"),
        ("credential_expiry_timestamp_seconds", "gauge"),
        ("credential_refreshes_total", "counter"),
        ("clock_offset_seconds", "gauge"),
        ("build_info", "gauge"),
    ] {
        let kind = format!("# TYPE pai_gateway_{family} {kind}\n");
        assert!(text.contains(&kind), "{kind}");
        assert!(text.contains(&format!("# HELP pai_gateway_{family} ")));
    }
    for bound in ["0.00005", "10"] {
        let line = format!("outcome=\"hit\",le=\"{bound}\"");
        assert!(text.contains(&line), "{bound}");
    }
}

/// A gateway without requests, and a scrape of it with these headers.
async fn idle(headers: &[(&str, &str)]) -> (TestGateway, Answer) {
    let gateway = TestGateway::usual().await;
    let scrape = ask(&gateway.app.admin, Method::GET, "/metrics", headers, "").await;
    (gateway, scrape)
}

#[tokio::test]
async fn an_idle_gateway_exposes_little() {
    let (_gateway, scrape) = idle(&[]).await;
    let text = scrape.text();
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(samples <= 300, "{samples} samples");
    assert!(text.len() <= 40_000, "{} bytes", text.len());
}

#[tokio::test]
async fn a_part_that_is_switched_off_exposes_nothing() {
    let gateway = TestGateway::start(|setup| setup.set("audit.to", "off")).await;
    let scrape = ask(&gateway.app.admin, Method::GET, "/metrics", &[], "").await;
    let text = scrape.text();
    for part in [
        "catalogue_",
        "shared_cache_",
        "snapshot_",
        "trace_",
        "audit_",
        "tls_",
        "nonces",
        "sign_ins_refused_total",
    ] {
        let family = format!("pai_gateway_{part}");
        assert!(!text.contains(&family), "{family}");
    }
}

/// A label, and the values in its matcher.
type Asked = (String, Vec<String>);

/// The selectors in `rate` or `increase` in deploy/alerts.yaml: a name, and its matchers of
/// labels.
fn alerted() -> Vec<(String, Vec<Asked>)> {
    let rules = include_str!("../../deploy/alerts.yaml");
    let calls = rules.split("rate(").chain(rules.split("increase("));
    let selectors = calls.filter_map(|text| text.strip_prefix("pai_gateway_")?.split('[').next());
    selectors
        .map(|selector| {
            let (name, matchers) = selector.split_once('{').unwrap_or((selector, ""));
            let wanted = matchers.trim_end_matches('}').split(", ");
            let wanted = wanted.filter_map(|matcher| {
                let (label, values) = matcher.split_once('=')?;
                let values = values.trim_start_matches('~').trim_matches('"').split('|');
                let is_asked_for = !label.ends_with('!') && label != "le";
                is_asked_for.then(|| (label.to_owned(), values.map(str::to_owned).collect()))
            });
            (format!("pai_gateway_{name}"), wanted.collect())
        })
        .collect()
}

/// `increase` does not see the sample with which a series begins.
#[tokio::test]
async fn counters_of_the_alerts_exist_before_their_first_event() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with("all", |setup| {
        setup.set("audit.to", "stderr");
        let snapshot = folder.path().join("snapshot");
        setup.set("cache.snapshot", snapshot.to_str().unwrap());
        setup.set("catalogue.official", "true");
    })
    .await;
    let text = cluster.gateway.gateway.exposition().await;
    let selectors = alerted();
    assert!(selectors.len() > 30, "{selectors:?}");
    for (name, wanted) in selectors {
        let series = || {
            text.lines().filter(|line| {
                line.strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
        };
        assert!(series().next().is_some(), "{name} is not there");
        for (label, values) in wanted {
            for value in values {
                let label = format!("{label}=\"{value}\"");
                let has = series().any(|line| line.contains(&label));
                assert!(has, "{name} has no series with {label}");
            }
        }
    }
}

#[tokio::test]
async fn a_scraper_that_takes_gzip_gets_it() {
    let (_gateway, scrape) = idle(&[("accept-encoding", "gzip")]).await;
    assert_eq!(scrape.header("content-encoding"), "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&scrape.body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.contains("\npai_gateway_panics_total 0\n"));
    assert!(scrape.body.len() < text.len() / 4);
    let (_gateway, plain) = idle(&[("accept-encoding", "gzip;q=0")]).await;
    assert!(plain.text().contains("\npai_gateway_panics_total 0\n"));
}

#[test]
fn the_page_of_metrics_lists_the_declared_metrics() {
    let page = include_str!("../../docs/metrics.md");
    let remedy = "pai-image-gateway docs metrics > docs/metrics.md";
    assert!(page == Metrics::page(), "write the page anew: {remedy}");
}

#[tokio::test]
async fn nothing_a_client_sends_becomes_a_label() {
    let gateway = TestGateway::usual().await;
    let marks = ["imagemarker", "hostmarker", "METHODMARKER"];
    gateway.image("imagemarker").await;
    let method = Method::from_bytes(b"METHODMARKER").unwrap();
    let headers = [("host", "hostmarker"), ("user-agent", "hostmarker")];
    gateway.request(method, "/imagemarker", &headers, "").await;
    let text = gateway.exposition().await;
    for mark in marks {
        assert!(!text.contains(mark), "{mark}");
    }
}

#[tokio::test]
async fn promtool_accepts_the_metrics() {
    let (gateway, _) = exercised().await;
    let text = gateway.exposition().await;
    let checked = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match checked {
        Ok(child) => child,
        Err(error) => {
            let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!in_ci, "promtool is needed in CI: {error}");
            println!("skipped: there is no promtool here ({error})");
            return;
        }
    };
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
}

#[tokio::test]
async fn the_remaining_quota_of_the_account_is_exported() {
    let gateway = TestGateway::start(|setup| setup.origin.quota_per_second = Some(1000)).await;
    gateway.image(&Store::id(1)).await.found();
    let labels = [("operation", "GetImage"), ("scope", "user_api")];
    let left = gateway
        .metric("pai_gateway_upstream_quota_remaining", &labels)
        .await;
    assert_eq!(left, 999.0);
}
