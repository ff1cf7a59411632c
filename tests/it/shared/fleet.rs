//! A fleet calls the origin like one gateway.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::{Fleet, an_image, count};
use crate::support::redis::Kind;
use crate::support::{ask, path};

#[tokio::test]
async fn an_image_that_one_replica_fetched_is_not_fetched_by_the_others() {
    for kind in Kind::ALL {
        let Some(fleet) = Fleet::with(kind, 3, |_| {}, |_| {}).await else {
            continue;
        };
        let answers = fleet.ask_each(&an_image()).await;
        assert_eq!(fleet.origin.fetches(&an_image()), 1, "{kind:?}");
        assert!(answers.iter().all(|answer| answer.body == answers[0].body));
        assert!(answers.iter().all(
            |answer| answer.header("x-acs-request-id") == answers[0].header("x-acs-request-id")
        ));
        assert_eq!(fleet.count("get", "miss").await, 1.0);
        assert_eq!(fleet.count("get", "hit").await, 2.0);
        crate::support::eventually("it is stored", async || {
            fleet.count("put", "ok").await == 1.0
        })
        .await;
        for replica in &fleet.replicas {
            let again = replica.image(&an_image()).await;
            assert!(again.cache_status().contains("; hit; ttl="), "{again:?}");
        }
    }
}

#[tokio::test]
async fn the_two_variants_of_an_image_are_stored_apart() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    let target = format!("{}?Verbose=true", path(&an_image()));
    for replica in &fleet.replicas {
        assert!(
            replica
                .image(&an_image())
                .await
                .json()
                .get("Labels")
                .is_none()
        );
        assert!(replica.get(&target).await.json()["Labels"].is_array());
    }
    assert_eq!(fleet.origin.fetches(&an_image()), 2);
}

#[tokio::test]
async fn an_age_continues_from_replica_to_replica() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    fleet.replicas[0].image(&an_image()).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (first, second) = (
        fleet.replicas[0].image(&an_image()).await,
        fleet.replicas[1].image(&an_image()).await,
    );
    let age = |answer: &crate::support::Answer| answer.header("age").parse::<u64>().unwrap();
    assert!(age(&first) >= 1 && age(&second) >= 1, "{second:?}");
    // The ttl too: both end together.
    let fresh_until = async |index: usize| {
        let page = fleet.replicas[index]
            .page(&format!("/entries/{}", an_image()))
            .await;
        let text = page["variants"][0]["fresh_until"]
            .as_str()
            .unwrap()
            .to_owned();
        text.parse::<jiff::Timestamp>().unwrap()
    };
    let apart = fresh_until(0).await.duration_since(fresh_until(1).await);
    assert!(
        apart.abs() < jiff::SignedDuration::from_millis(2100),
        "{apart:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_at_every_replica_costs_one_call_for_each_image() {
    let Some(fleet) = Fleet::start(5).await else {
        return;
    };
    fleet.slow(200);
    let mut clients = Vec::new();
    for replica in &fleet.replicas {
        for image in [an_image(), pai_image_gateway::emulator::Store::id(2)] {
            for _ in 0..20 {
                let (address, target) = (replica.app.data.clone(), path(&image));
                clients.push(tokio::spawn(async move {
                    ask(&address, Method::GET, &target, &[], "").await
                }));
            }
        }
    }
    for client in clients {
        assert_eq!(client.await.unwrap().status, 200);
    }
    assert_eq!(fleet.origin.counts().requests, 2);
}

#[tokio::test]
async fn negative_answers_are_shared_too() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    let mut bodies = Vec::new();
    for replica in &fleet.replicas {
        let answer = replica.image("image-nowhere").await;
        assert_eq!(answer.status, 404);
        bodies.push(answer.json()["RequestId"].clone());
    }
    assert_eq!(fleet.origin.fetches("image-nowhere"), 1);
    assert_eq!(bodies[0], bodies[1], "the origin's own");
}

#[tokio::test]
async fn a_forced_refresh_is_shared_by_the_fleet() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    fleet.ask_each(&an_image()).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for replica in &fleet.replicas {
        let answer = replica.image_with(&an_image(), "no-cache").await;
        assert!(answer.cache_status().contains("fwd=request"), "{answer:?}");
    }
    // The second within a second of the first: it takes what that brought.
    assert_eq!(fleet.origin.fetches(&an_image()), 2);
}

#[tokio::test]
async fn owner_fields_are_shared_and_each_replica_authorizes_itself() {
    let Some(fleet) = Fleet::start(1).await else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let clients = place.path().join("clients.toml");
    // printf token | sha256sum
    std::fs::write(
        &clients,
        r#"[[client]]
name = "other"
bearer_sha256 = "3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0"
permissions = ["get"]
workspaces = ["1"]
"#,
    )
    .unwrap();
    let strict = super::replica(&fleet.origin, &fleet.redis.url(), |setup| {
        setup.set("auth.mode", "required");
        setup.set("auth.clients_file", clients.to_str().unwrap());
    })
    .await;
    fleet.replicas[0].image(&an_image()).await;
    let token = [("authorization", "Bearer token")];
    let answer = strict
        .request(Method::GET, &path(&an_image()), &token, "")
        .await;
    assert_eq!(answer.error(), (404, "ImageNotFound".to_owned()));
    assert_eq!(count(&strict, "get", "hit").await, 1.0);
    assert_eq!(fleet.origin.fetches(&an_image()), 1);
}

#[tokio::test]
async fn the_status_reports_the_shared_cache() {
    let Some(fleet) = Fleet::start(1).await else {
        return;
    };
    fleet.ask_each(&an_image()).await;
    let status = fleet.replicas[0].page("/status").await;
    let shared = &status["shared_cache"];
    assert_eq!(shared["up"], true);
    assert_eq!(shared["breaker"], "closed");
    assert_eq!(shared["unheard_orders"], 0);
    assert_eq!(shared["requests"]["get"]["miss"], 1);
    let alone = crate::support::TestGateway::usual().await;
    assert_eq!(alone.page("/status").await["shared_cache"], Value::Null);
}
