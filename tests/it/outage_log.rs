//! Log lines of each condition: one when it begins, one when it ends, and few in between.

use std::time::Duration;

use http::Method;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};
use serde_json::Value;

use crate::process::{origin, serving};
use crate::support::{Process, address, ask, eventually, path, refusal, throttle};

/// Lines that one condition may write within a minute.
const MOST: usize = 10;

/// The lines of the log that belong to an episode.
fn episodes(process: &Process) -> Vec<Value> {
    let log = process.output("stderr");
    // The last line may be half written.
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["condition"].is_string()).collect()
}

fn begins(line: &Value, condition: &str) -> bool {
    line["condition"] == condition && line["remedy"].is_string()
}

fn ends(line: &Value, condition: &str) -> bool {
    line["condition"] == condition && line["lasted_seconds"].is_u64() && line["count"].is_u64()
}

/// Makes the origin fail in this way for a hundred requests, then answer again.
async fn trouble(kind: FaultKind, condition: &str) {
    let emulator = origin().await;
    let (process, ports) =
        serving(&emulator, &["log.format=json", "upstream.breaker_pause=1s"]).await;
    let data = address(&ports, "listen");
    let get = async |index: usize| {
        let answer = ask(&data, Method::GET, &path(&Store::id(index)), &[], "").await;
        answer.status.as_u16()
    };
    assert_eq!(get(0).await, 200);
    assert!(episodes(&process).is_empty(), "nothing is wrong yet");
    emulator.script(vec![Fault::always(kind)]);
    for index in 1..=100 {
        assert_ne!(get(index).await, 200);
    }
    eventually("the log says that it began", async || {
        episodes(&process)
            .iter()
            .any(|line| begins(line, condition))
    })
    .await;
    emulator.script(Vec::new());
    eventually("the log says that it ended", async || {
        get(1).await;
        get(fastrand::usize(2..100)).await;
        episodes(&process).iter().any(|line| ends(line, condition))
    })
    .await;
    let lines = episodes(&process);
    assert!(lines.len() <= MOST, "{lines:#?}");
    let begun = lines.iter().filter(|line| begins(line, condition));
    let subjects: Vec<_> = begun
        .map(|line| line["subject"].as_str().unwrap())
        .collect();
    assert!(!subjects.is_empty());
    for subject in &subjects {
        let same = subjects.iter().filter(|other| *other == subject);
        assert_eq!(same.count(), 1, "{lines:#?}");
    }
}

#[tokio::test]
async fn errors_of_the_origin_are_reported_as_one_episode() {
    trouble(refusal(503, "ServiceUnavailable"), "origin_fails").await;
}

#[tokio::test]
async fn throttles_are_reported_as_one_episode() {
    trouble(throttle(Some(Duration::from_secs(1))), "origin_throttles").await;
}

#[tokio::test]
async fn an_unreachable_origin_is_reported_as_one_episode() {
    trouble(FaultKind::CloseBefore, "origin_unreachable").await;
}

#[tokio::test]
async fn a_refused_credential_is_reported_as_one_episode() {
    trouble(
        refusal(403, "InvalidAccessKeyId.Inactive"),
        "credential_refused",
    )
    .await;
}

#[tokio::test]
async fn a_breaker_that_opens_and_closes_is_reported() {
    trouble(refusal(503, "ServiceUnavailable"), "breaker_open").await;
}
