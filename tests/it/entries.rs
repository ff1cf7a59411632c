//! `/entries`: the cached entry of an image, and the reasons for its ttl.

use http::Method;
use pai_image_gateway::emulator::{Fault, Store};
use serde_json::Value;

use crate::support::{TestGateway, denial, path, refusal, times};

async fn variants(gateway: &TestGateway, id: &str) -> [Value; 2] {
    let page = gateway.page(&format!("/entries/{id}")).await;
    assert_eq!(page["ImageId"], id);
    let [plain, verbose] = page["variants"].as_array().unwrap().as_slice() else {
        panic!("{page}")
    };
    assert_eq!(
        (&plain["verbose"], &verbose["verbose"]),
        (&false.into(), &true.into())
    );
    [plain.clone(), verbose.clone()]
}

#[tokio::test]
async fn a_fresh_entry_explains_its_time_to_live() {
    let gateway = TestGateway::with("freshness.jitter", "0").await;
    let body =
        r#"{"GmtCreateTime":"2021-01-20T00:00:00Z","GmtModifiedTime":"2021-01-21T17:12:35.232Z"}"#;
    gateway.emulator.store().put_raw("image-a", body);
    gateway.image("image-a").await.found();
    let [plain, verbose] = variants(&gateway, "image-a").await;
    assert_eq!(plain["state"], "fresh");
    assert_eq!(plain["source"], "heuristic");
    assert_eq!(plain["ceiling_seconds"], 3600);
    assert_eq!(plain["ttl_seconds"], 3600);
    assert_eq!(plain["jitter"], 1.0);
    assert_eq!(plain["gmt_modified"], "2021-01-21T17:12:35.232Z");
    assert_eq!(plain["gmt_created"], "2021-01-20T00:00:00Z");
    assert_eq!(plain["last_result"], "ok");
    let (quiet, base) = (&plain["quiet_seconds"], &plain["base_seconds"]);
    assert_eq!(quiet.as_i64().unwrap() / 10, base.as_i64().unwrap());
    assert!(plain["age_seconds"].as_u64().unwrap() < 60);
    let time = |name: &str| {
        plain[name]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let fresh_for = time("fresh_until").duration_since(time("stored_at"));
    assert!((3590..=3600).contains(&fresh_for.as_secs()), "{fresh_for}");
    let stale_for = time("stale_until").duration_since(time("fresh_until"));
    assert_eq!(stale_for.as_hours(), 24);
    let explanation = plain["explanation"].as_str().unwrap();
    assert!(
        explanation.contains("At most 1h is allowed"),
        "{explanation}"
    );
    assert_eq!(verbose["state"], "absent");
}

#[tokio::test]
async fn the_variant_with_labels_has_the_lower_ceiling() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    let target = format!("{}?Verbose=true", path(&id));
    gateway.get(&target).await.found();
    let [plain, verbose] = variants(&gateway, &id).await;
    assert_eq!(plain["state"], "absent");
    assert_eq!(verbose["state"], "fresh");
    assert_eq!(verbose["ceiling_seconds"], 900);
}

#[tokio::test]
async fn a_softly_purged_entry_is_stale() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    gateway.image(&id).await.found();
    gateway.soften(&id).await;
    let [plain, _] = variants(&gateway, &id).await;
    assert_eq!(plain["state"], "stale");
    let explanation = plain["explanation"].as_str().unwrap();
    assert!(explanation.contains("purged softly"), "{explanation}");
}

#[tokio::test]
async fn a_negative_answer_says_which_and_for_how_long() {
    let gateway = TestGateway::usual().await;
    let forbidden = Fault {
        image: Some(Store::id(1)),
        ..Fault::always(denial())
    };
    gateway.emulator.script(vec![forbidden]);
    for (id, result, ttl) in [
        ("image-none", "not_found", 10),
        (&Store::id(1), "forbidden", 5),
    ] {
        gateway.image(id).await;
        for variant in variants(&gateway, id).await {
            assert_eq!(variant["state"], "negative", "{id}");
            assert_eq!(variant["last_result"], result);
            assert_eq!(variant["ttl_seconds"], ttl);
            assert!(variant["fresh_until"].is_string());
        }
    }
}

#[tokio::test]
async fn an_absent_image_is_explained_without_a_call() {
    let gateway = TestGateway::usual().await;
    for variant in variants(&gateway, "image-a").await {
        assert_eq!(variant["state"], "absent");
        assert_eq!(variant["last_result"], Value::Null);
    }
    assert_eq!(gateway.calls(), 0);
}

#[tokio::test]
async fn the_last_failure_is_reported_until_a_fetch_succeeds() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    gateway
        .emulator
        .script(vec![times(3, refusal(500, "InternalError"))]);
    assert_eq!(gateway.image(&id).await.status, 503);
    let [plain, _] = variants(&gateway, &id).await;
    assert_eq!(plain["last_result"], "server_error");
    gateway.image(&id).await.found();
    let [plain, _] = variants(&gateway, &id).await;
    assert_eq!(plain["last_result"], "ok");
}

#[tokio::test]
async fn an_invalid_id_is_rejected() {
    let gateway = TestGateway::usual().await;
    for id in ["", "a/b", "a%2Fb", "-a"] {
        let target = format!("/entries/{id}");
        let answer = gateway.admin(Method::GET, &target, "").await;
        assert_eq!(answer.status, 400, "{id}");
    }
}
