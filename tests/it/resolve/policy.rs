//! Authorization of a Resolve.

use std::time::Duration;

use http::Method;
use pai_image_gateway::emulator::Store;
use serde_json::Value;

use super::{RESOLVE, body_of, each, ids};
use crate::support::signed::{Guarded, Signer};
use crate::support::{Answer, eventually, path};

async fn ask(guarded: &Guarded, signer: &Signer, body: &str, more: &[(&str, &str)]) -> Answer {
    guarded
        .ask(signer, (Method::POST, RESOLVE, body), more)
        .await
}

async fn results(guarded: &Guarded, signer: &Signer, ids: &[impl AsRef<str>]) -> Vec<Value> {
    let answer = ask(guarded, signer, &body_of(ids), &[]).await;
    let document = answer.found();
    document["Results"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_hidden_image_is_missing_from_a_resolve_like_one_that_does_not_exist() {
    let (chief, scheduler) = (Signer::chief(), Signer::scheduler());
    // By index: official, its own, another workspace's, PRIVATE.
    let asked = [0, 1, 2, 3].map(Store::id);
    for cached in [true, false] {
        let guarded = Guarded::usual().await;
        if cached {
            let all = results(&guarded, &chief, &asked).await;
            assert_eq!(each(&all, "Status"), ["found"; 4]);
        }
        let mut asked = asked.to_vec();
        asked.push("image-none".to_owned());
        let results_now = results(&guarded, &scheduler, &asked).await;
        assert_eq!(
            each(&results_now, "Status"),
            ["missing", "found", "missing", "missing", "missing"],
            "{cached}"
        );
        let bare = |at: usize| results_now[at].to_string().replace(&asked[at], "ID");
        for denied in [0, 2, 3] {
            assert_eq!(bare(denied), bare(4), "{cached}");
        }
        assert_eq!(
            bare(4),
            r#"{"Code":"ImageNotFound","ImageId":"ID","Message":"The specified image does not exist.","Status":"missing"}"#
        );
    }
}

#[tokio::test]
async fn it_needs_its_own_permission_and_a_signed_body() {
    let guarded = Guarded::usual().await;
    let refusal = |answer: Answer| (answer.status.as_u16(), answer.error_code());
    let forbidden = (403, "Gateway.Forbidden".to_owned());
    let asked = body_of(&ids(2));
    let team = ask(&guarded, &Signer::team(), &asked, &[]).await;
    assert_eq!(refusal(team), forbidden);
    let nobody = guarded
        .gateway
        .request(Method::POST, RESOLVE, &[], &asked)
        .await;
    assert_eq!(refusal(nobody), (401, "MissingAccessKeyId".to_owned()));
    let signed = Signer::scheduler().sign(&Method::POST, RESOLVE, &asked);
    let other = body_of(&ids(3));
    let swapped = guarded
        .send((Method::POST, RESOLVE, &other), &signed, &[])
        .await;
    assert_eq!(refusal(swapped), (400, "SignatureDoesNotMatch".to_owned()));
    assert_eq!(guarded.gateway.calls(), 0);
    // It is no permission to ask for one.
    let alone = guarded
        .get(&Signer::scheduler(), &path(&Store::id(1)))
        .await;
    assert_eq!(refusal(alone), forbidden);
    let bearer = [("authorization", "Bearer scheduler-token")];
    let answer = guarded
        .gateway
        .request(Method::POST, RESOLVE, &bearer, &asked)
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_denial_takes_the_time_of_a_fetch_and_is_written_after_visible_images() {
    let latency = Duration::from_millis(300);
    let guarded = Guarded::start(|setup| setup.origin.latency = latency).await;
    let theirs = Store::id(2);
    let (chief, scheduler) = (Signer::chief(), Signer::scheduler());
    results(&guarded, &chief, &[&theirs, &Store::id(1)]).await;
    let begun = std::time::Instant::now();
    let asked = body_of(&[&theirs, &Store::id(1)]);
    let lines = [("accept", "application/x-ndjson")];
    let answer = ask(&guarded, &scheduler, &asked, &lines).await;
    assert!(begun.elapsed() >= latency);
    let text = answer.text();
    let statuses: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["Status"].take())
        .collect();
    assert_eq!(statuses, ["found".into(), "missing".into(), Value::Null]);
    assert_eq!(guarded.gateway.calls(), 2);
}

#[tokio::test]
async fn each_fetch_costs_its_client_a_miss_token_and_a_cached_image_none() {
    let guarded = Guarded::usual().await;
    let (chief, frugal) = (Signer::chief(), Signer::frugal());
    let cached = results(&guarded, &chief, &ids(20)).await;
    assert_eq!(each(&cached, "Status"), ["found"; 20]);
    let before = (guarded.gateway.calls(), std::time::Instant::now());
    let results_now = results(&guarded, &frugal, &ids(60)).await;
    // One miss a second, and one more that had been saved up.
    let allowed = before.1.elapsed().as_secs() + 2;
    let statuses = each(&results_now, "Status");
    assert_eq!(statuses[..20], ["found"; 20]);
    let fetched = guarded.gateway.calls() - before.0;
    assert!((1..=allowed).contains(&fetched), "{fetched}");
    let failed: Vec<_> = results_now
        .iter()
        .filter(|result| result["Status"] == "failed")
        .collect();
    assert_eq!(failed.len() as u64, 40 - fetched);
    assert!(failed.iter().all(|result| result["Code"] == "Throttling"));
}

#[tokio::test]
async fn the_audit_has_the_request_and_each_denial() {
    let guarded = Guarded::usual().await;
    let theirs = Store::id(2);
    let results_now = results(&guarded, &Signer::scheduler(), &[&Store::id(1), &theirs]).await;
    assert_eq!(each(&results_now, "Status"), ["found", "missing"]);
    let file = guarded.folder.path().join("audit");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("both are written", async || lines().lines().count() == 2).await;
    let lines: Vec<Value> = lines()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let fields = |line: &Value| {
        ["client", "operation", "outcome", "decision", "image_id"]
            .map(|name| line[name].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(
        fields(&lines[0]),
        ["scheduler", "Resolve", "denied", "denied", &theirs]
    );
    assert_eq!(
        fields(&lines[1]),
        ["scheduler", "Resolve", "miss", "shown", ""]
    );
    assert_eq!(lines[0]["request_id"], lines[1]["request_id"]);
}
