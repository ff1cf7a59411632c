//! The access log, as text and as JSON.

use http::Method;
use pai_image_gateway::emulator::Store;
use serde_json::Value;

use crate::process::{origin, serving};
use crate::support::{KEY_ID, KEY_SECRET, address, ask, path};

/// Returns the log of a process with these settings after three requests for one image, one for an image
/// that does not exist, and one for an unknown route.
async fn logged(settings: &[&str]) -> String {
    let emulator = origin().await;
    let (mut process, ports) = serving(&emulator, settings).await;
    let data = address(&ports, "listen");
    let known = path(&Store::id(1));
    for target in [
        &known,
        &known,
        &known,
        "/api/v1/images/image-none",
        "/nothing",
    ] {
        ask(&data, Method::GET, target, &[], "").await;
    }
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    let log = process.output("stderr");
    for secret in [KEY_SECRET, KEY_ID, "ACS3"] {
        assert!(!log.contains(secret), "{log}");
    }
    log
}

fn requests(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    lines.filter(|line| line["message"] == "request").collect()
}

fn outcomes(lines: &[Value]) -> Vec<&str> {
    let outcomes = lines.iter().map(|line| line["outcome"].as_str().unwrap());
    outcomes.collect()
}

#[tokio::test]
async fn each_request_is_a_line_of_json() {
    let settings = ["log.format=json", "log.access=true", "log.access_hits=1"];
    let lines = requests(&logged(&settings).await);
    assert_eq!(outcomes(&lines), ["miss", "hit", "hit", "miss", "rejected"]);
    let hit = &lines[1];
    for (key, value) in [
        ("operation", Value::from("GetImage")),
        ("image_id", Store::id(1).into()),
        ("client", "anonymous".into()),
        ("status", 200.into()),
        ("age_seconds", 0.into()),
        ("level", "INFO".into()),
    ] {
        assert_eq!(hit[key], value, "{hit}");
    }
    let peer: std::net::SocketAddr = hit["peer"].as_str().unwrap().parse().unwrap();
    assert!(peer.ip().is_loopback(), "{hit}");
    let timestamp: jiff::Timestamp = hit["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(timestamp <= jiff::Timestamp::now(), "{hit}");
    assert!(hit["took_ms"].as_f64().unwrap() > 0.0, "{hit}");
    assert_eq!(hit["request_id"].as_str().unwrap().len(), 36);
    assert!(hit["origin_request_id"].is_string(), "{hit}");
    assert_eq!(lines[4]["operation"], "unknown");
    assert_eq!(lines[4]["image_id"], Value::Null);
}

#[tokio::test]
async fn answers_from_memory_are_sampled_and_others_are_not() {
    let settings = ["log.format=json", "log.access=true", "log.access_hits=0"];
    let lines = requests(&logged(&settings).await);
    assert_eq!(outcomes(&lines), ["miss", "miss", "rejected"]);
}

#[tokio::test]
async fn there_is_no_access_log_unless_it_is_switched_on() {
    assert!(requests(&logged(&["log.format=json"]).await).is_empty());
    let quiet = ["log.format=json", "log.access=true", "log.level=warn"];
    assert!(requests(&logged(&quiet).await).is_empty());
    let alone = [
        "log.format=json",
        "log.access=true",
        "log.level=warn,access=info",
    ];
    assert_eq!(requests(&logged(&alone).await).len(), 3);
}

#[tokio::test]
async fn the_same_fields_are_written_as_text() {
    let log = logged(&["log.access=true", "log.access_hits=1"]).await;
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains(" request "))
        .collect();
    assert_eq!(lines.len(), 5, "{log}");
    for part in [
        "INFO",
        "operation=\"GetImage\"",
        "outcome=\"miss\"",
        "status=200",
    ] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
}
