//! Purges and writes reach every replica, and no earlier fetch comes back.

use std::time::Duration;

use http::Method;
use pai_image_gateway::api::Action;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};
use pai_image_gateway::server::Address;

use super::{Fleet, an_image, replica};
use crate::support::redis::Kind;
use crate::support::{Answer, Setup, TestGateway, ask, eventually, path};

/// Waits until this replica has no entry of the image.
async fn await_absence(replica: &TestGateway, id: &str) {
    eventually("the entry is gone", async || {
        state(replica, id).await == "absent"
    })
    .await;
}

async fn state(replica: &TestGateway, id: &str) -> String {
    let page = replica.page(&format!("/entries/{id}")).await;
    page["variants"][0]["state"].as_str().unwrap().to_owned()
}

fn get(address: &Address, id: &str) -> tokio::task::JoinHandle<Answer> {
    let (address, target) = (address.clone(), path(id));
    tokio::spawn(async move { ask(&address, Method::GET, &target, &[], "").await })
}

#[tokio::test]
async fn a_purge_reaches_every_memory_and_the_tier() {
    let Some(fleet) = Fleet::start(3).await else {
        return;
    };
    let requests = [
        format!(r#"{{"image":"{}"}}"#, Store::id(3)),
        r#"{"workspace":"15945"}"#.to_owned(),
        r#"{"all":true}"#.to_owned(),
    ];
    for (index, request) in requests.iter().enumerate() {
        let id = Store::id(3);
        let owner = fleet.origin.store().get(&id).unwrap().workspace_id;
        let request = request.replace("15945", &owner.unwrap());
        fleet.ask_each(&id).await;
        assert_eq!(fleet.origin.fetches(&id), 1 + index as u64);
        fleet.origin.store().touch(&id).unwrap();
        assert_eq!(fleet.replicas[0].purge(&request).await, 1, "{request}");
        for replica in &fleet.replicas {
            await_absence(replica, &id).await;
        }
        for answer in fleet.ask_each(&id).await {
            assert!(answer.text().contains("touched"), "{request}");
        }
        assert_eq!(fleet.origin.fetches(&id), 2 + index as u64, "{request}");
    }
}

#[tokio::test]
async fn a_soft_purge_leaves_every_memory_something_for_an_outage() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    fleet.ask_each(&an_image()).await;
    fleet.replicas[0].soften(&an_image()).await;
    eventually("it is soft there too", async || {
        state(&fleet.replicas[1], &an_image()).await == "stale"
    })
    .await;
    assert!(fleet.keys(":image").await.is_empty());
}

/// Two replicas that pass writes on.
async fn writing_fleet() -> Option<Fleet> {
    let writes = |setup: &mut Setup| {
        setup.set("api.writes", "true");
    };
    Fleet::with(Kind::Redis, 2, |_| {}, writes).await
}

#[tokio::test]
async fn a_write_reaches_every_memory() {
    let Some(fleet) = writing_fleet().await else {
        return;
    };
    let id = Store::id(3);
    fleet.ask_each(&id).await;
    let publish = format!("{}/publish", path(&id));
    let answer = fleet.replicas[0]
        .request(Method::PUT, &publish, &[], "")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    await_absence(&fleet.replicas[1], &id).await;
    let seen = fleet.replicas[1].image(&id).await.json();
    assert_eq!(seen["Accessibility"], "PUBLIC");
}

#[tokio::test]
async fn a_write_or_a_purge_drops_the_lists_of_every_memory() {
    let Some(fleet) = writing_fleet().await else {
        return;
    };
    let held = async || fleet.replicas[1].page("/entries").await["held"].clone();
    let list = "/api/v1/images?WorkspaceId=15945";
    let add = r#"{"Name":"new","ImageUri":"r/x:1","WorkspaceId":"15945"}"#;
    let lost = Fault {
        operation: Some(Action::AddImage),
        ..Fault::always(FaultKind::CloseMidBody)
    };
    fleet.origin.script(vec![lost]);
    let publish = format!("{}/publish", path(&Store::id(3)));
    for (method, target, body) in [
        (Method::PUT, publish.as_str(), ""),
        // The added image's id is known to nobody.
        (Method::POST, "/api/v1/images", add),
    ] {
        fleet.replicas[1].get(list).await.found();
        assert_eq!(held().await, 1);
        fleet.replicas[0].request(method, target, &[], body).await;
        eventually("the list is gone", async || held().await == 0).await;
    }
    fleet.replicas[1].get(list).await.found();
    fleet.replicas[0].purge(r#"{"image":"image-none"}"#).await;
    eventually("the list is gone", async || held().await == 0).await;
}

#[tokio::test]
async fn a_fetch_of_an_image_purged_meanwhile_is_stored_nowhere() {
    let Some(fleet) = Fleet::start(3).await else {
        return;
    };
    let id = an_image();
    fleet.slow(400);
    let early = get(&fleet.replicas[1].app.data, &id);
    fleet.replicas[1].await_fetches(&id, 1).await;
    let request = format!(r#"{{"image":"{id}"}}"#);
    fleet.replicas[0].purge(&request).await;
    assert_eq!(early.await.unwrap().status, 200, "who waited has it");
    await_absence(&fleet.replicas[1], &id).await;
    eventually("it is not stored", async || {
        fleet.count("put", "overtaken").await == 1.0
    })
    .await;
    assert!(fleet.keys(":image").await.is_empty());
    fleet.ask_each(&id).await;
    assert_eq!(fleet.origin.fetches(&id), 2);
}

#[tokio::test]
async fn a_fetch_during_a_purge_of_everything_is_used_by_no_replica() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    let id = an_image();
    fleet.slow(400);
    let early = get(&fleet.replicas[1].app.data, &id);
    fleet.replicas[1].await_fetches(&id, 1).await;
    fleet.replicas[0].purge(r#"{"all":true}"#).await;
    assert_eq!(early.await.unwrap().status, 200);
    // The value is still there, because the purge did not name its image; its log position shows that it is too old.
    fleet.await_keys(":image", 1).await;
    assert_eq!(fleet.replicas[0].image(&id).await.status, 200);
    assert_eq!(fleet.origin.fetches(&id), 2);
    assert_eq!(fleet.count("get", "outdated").await, 1.0);
}

#[tokio::test]
async fn a_replica_that_starts_later_uses_nothing_that_was_purged() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    let id = an_image();
    fleet.slow(300);
    let early = get(&fleet.replicas[1].app.data, &id);
    fleet.replicas[1].await_fetches(&id, 1).await;
    fleet.replicas[0].purge(r#"{"all":true}"#).await;
    assert_eq!(early.await.unwrap().status, 200);
    let newcomer = replica(&fleet.origin, &fleet.redis.url(), |_| {}).await;
    assert_eq!(newcomer.image(&id).await.status, 200);
    assert_eq!(fleet.origin.fetches(&id), 2);
}

#[tokio::test]
async fn an_invalidation_that_could_not_be_written_is_written_when_the_server_is_back() {
    let Some(mut fleet) = Fleet::persistent(2).await else {
        return;
    };
    let id = an_image();
    fleet.ask_each(&id).await;
    fleet.redis.kill();
    fleet.await_up(0.0).await;
    let request = format!(r#"{{"image":"{id}"}}"#);
    assert_eq!(fleet.replicas[0].purge(&request).await, 1);
    let status = fleet.replicas[0].page("/status").await;
    assert_eq!(status["shared_cache"]["unheard_orders"], 1);
    assert_eq!(state(&fleet.replicas[1], &id).await, "stale");
    fleet.redis.restart().await;
    fleet.await_up(1.0).await;
    await_absence(&fleet.replicas[1], &id).await;
    assert!(fleet.keys(":image").await.is_empty());
    let status = fleet.replicas[0].page("/status").await;
    assert_eq!(status["shared_cache"]["unheard_orders"], 0);
}

#[tokio::test]
async fn a_thousand_invalidations_in_a_row_are_all_applied() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    let id = an_image();
    fleet.ask_each(&id).await;
    for number in 0..1000 {
        let request = format!(r#"{{"workspace":"none-{number}"}}"#);
        fleet.replicas[0].purge(&request).await;
    }
    fleet.replicas[0]
        .purge(&format!(r#"{{"image":"{id}"}}"#))
        .await;
    await_absence(&fleet.replicas[1], &id).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(fleet.count("orders", "corrupt").await, 0.0);
}
