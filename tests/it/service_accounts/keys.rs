//! The issuer's keys: rotation, failures, and who causes loads.

use std::fs;
use std::time::Instant;

use pai_image_gateway::emulator::Store;

use super::is_unknown;
use super::stand_in::{Cluster, Vectors};
use crate::support::{Setup, eventually, path};

const REFRESHES: &str = "pai_gateway_token_key_refreshes_total";

fn seldom(setup: &mut Setup) {
    setup.set("auth.kubernetes.refresh", "1h");
}

fn often(setup: &mut Setup) {
    setup.set("auth.kubernetes.refresh", "1s");
}

#[tokio::test]
async fn a_key_that_the_cluster_replaces_is_used_and_its_former_tokens_are_refused() {
    let cluster = Cluster::start_with("first", often).await;
    let (vectors, target) = (Vectors::read(), path(&Store::id(1)));
    let (old, new) = (vectors.token("good"), vectors.token("second key"));
    cluster.bearer(&target, old).await.found();
    assert!(is_unknown(&cluster.bearer(&target, new).await));
    *cluster.served.lock() = "second";
    eventually("the new key is loaded", async || {
        cluster.bearer(&target, new).await.status == 200
    })
    .await;
    // It was remembered, together with the key that is gone.
    assert!(is_unknown(&cluster.bearer(&target, old).await));
}

#[tokio::test]
async fn the_last_good_keys_stay_while_the_server_fails() {
    let cluster = Cluster::start_with("first", often).await;
    let vectors = Vectors::read();
    *cluster.served.lock() = "";
    let failed = [("result", "error")];
    eventually("a load fails", async || {
        cluster.metric(REFRESHES, &failed).await >= 1.0
    })
    .await;
    // Neither is remembered yet.
    for name in ["good", "another token of the same account"] {
        let answer = cluster
            .bearer(&path(&Store::id(1)), vectors.token(name))
            .await;
        answer.found();
    }
    assert_eq!(cluster.metric("pai_gateway_token_keys", &[]).await, 1.0);
    assert_eq!(cluster.page("/readyz").await.status, 200);
}

/// A stranger's token names any key.
#[tokio::test]
async fn unknown_keys_flood_the_gateway_and_not_the_server_of_the_keys() {
    let begun = Instant::now();
    let cluster = Cluster::start_with("first", seldom).await;
    let (vectors, target) = (Vectors::read(), path(&Store::id(1)));
    let stranger = vectors.token("a stranger's key");
    for _ in 0..200 {
        assert!(is_unknown(&cluster.bearer(&target, stranger).await));
    }
    let loads = cluster.keys.lines().len() as u64;
    assert!(loads <= 1 + begun.elapsed().as_secs() / 10, "{loads}");
    assert_eq!(cluster.refused("token_unknown_key").await, 200.0);
    cluster.bearer(&target, vectors.token("good")).await.found();
}

#[tokio::test]
async fn a_gateway_without_keys_is_not_ready_until_it_has_them() {
    let cluster = Cluster::start_with("", often).await;
    let (vectors, target) = (Vectors::read(), path(&Store::id(1)));
    let ready = cluster.page("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("auth.kubernetes"), "{ready:?}");
    assert!(is_unknown(
        &cluster.bearer(&target, vectors.token("good")).await
    ));
    *cluster.served.lock() = "first";
    eventually("the keys are loaded", async || {
        cluster.page("/readyz").await.status == 200
    })
    .await;
    cluster.bearer(&target, vectors.token("good")).await.found();
}

#[tokio::test]
async fn the_server_of_the_keys_gets_the_token_that_its_file_has_now() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "first-token\n").unwrap();
    let cluster = Cluster::start_with("first", |setup| {
        often(setup);
        setup.set("auth.kubernetes.token_file", file.to_str().unwrap());
    })
    .await;
    fs::write(&file, "second-token\n").unwrap();
    let sent = |token: &str| {
        let asked = cluster.keys.asked();
        let bearer = format!("Bearer {token}");
        asked
            .iter()
            .any(|asked| asked.header("authorization") == Some(&bearer))
    };
    assert!(sent("first-token"));
    eventually("the next load has the next token", async || {
        sent("second-token")
    })
    .await;
    for asked in cluster.keys.asked() {
        assert_eq!(asked.line(), "GET /keys");
    }
}

#[tokio::test]
async fn keys_come_from_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let (file, vectors) = (folder.path().join("keys.json"), Vectors::read());
    fs::write(&file, vectors.key_set("first")).unwrap();
    let cluster = Cluster::start_with("", |setup| {
        often(setup);
        setup
            .flags
            .retain(|flag| !flag.starts_with("auth.kubernetes.jwks_url"));
        setup.set("auth.kubernetes.jwks_file", file.to_str().unwrap());
    })
    .await;
    let target = path(&Store::id(1));
    cluster.bearer(&target, vectors.token("good")).await.found();
    fs::write(&file, vectors.key_set("second")).unwrap();
    eventually("the file is read again", async || {
        cluster
            .bearer(&target, vectors.token("second key"))
            .await
            .status
            == 200
    })
    .await;
    assert_eq!(cluster.keys.lines(), [""; 0]);
}
