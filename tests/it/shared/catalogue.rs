//! A fleet walks its catalogue once, and each replica applies the pages.

use std::time::Duration;

use pai_image_gateway::emulator::Store;
use serde_json::{Value, json};

use super::{Fleet, count, replica};
use crate::support::redis::Kind;
use crate::support::{Answer, Setup, TestGateway, eventually};

const REPLICAS: usize = 3;
/// Pages of the 60 images of the emulator: two workspaces and the official images, each on one.
const PAGES: u64 = 3;

/// Walks every image of the emulator, in walks that follow each other so often.
fn walked(interval: &'static str) -> impl Fn(&mut Setup) {
    move |setup| {
        setup.set("catalogue.workspaces", "15945,20817");
        setup.set("catalogue.official", "true");
        setup.set("catalogue.interval", interval);
        // So that nothing but a page could refresh an image.
        setup.set("freshness.min", "15m");
    }
}

async fn catalogue(replica: &TestGateway) -> Value {
    replica.page("/status").await["catalogue"].clone()
}

async fn until_answering(replica: &TestGateway) {
    eventually("items answer", async || {
        let catalogue = catalogue(replica).await;
        let scopes = catalogue["scopes"].as_array().unwrap();
        scopes.iter().all(|scope| !scope["last_walk"].is_null())
            && catalogue["answering"][0] == true
    })
    .await;
}

fn calls(fleet: &Fleet, operation: &str) -> u64 {
    let counts = fleet.origin.counts();
    counts.operations.get(operation).copied().unwrap_or(0)
}

fn is_from_catalogue(answer: &Answer) -> bool {
    answer.cache_status().ends_with("; detail=catalogue")
}

#[tokio::test]
async fn one_replica_walks_and_all_answer() {
    for kind in Kind::ALL {
        let Some(fleet) = Fleet::with(kind, REPLICAS, |_| {}, walked("1h")).await else {
            continue;
        };
        for replica in &fleet.replicas {
            until_answering(replica).await;
        }
        // The walk, and the three images that each replica has compared with their items.
        let made = (calls(&fleet, "ListImages"), calls(&fleet, "GetImage"));
        assert_eq!(made, (PAGES, 3), "{kind:?}");
        let mut hits = 0;
        for replica in &fleet.replicas {
            for index in 0..30 {
                let answer = replica.image(&Store::id(index)).await;
                assert_eq!(answer.found()["ImageId"], json!(Store::id(index)));
                hits += usize::from(is_from_catalogue(&answer));
            }
        }
        assert!(hits >= REPLICAS * (30 - 3), "{kind:?}: {hits}");
        assert_eq!(calls(&fleet, "GetImage"), 3, "{kind:?}");
    }
}

#[tokio::test]
async fn a_change_reaches_every_replica_with_the_next_walk() {
    let Some(fleet) = Fleet::with(Kind::Redis, REPLICAS, |_| {}, walked("200ms")).await else {
        return;
    };
    for replica in &fleet.replicas {
        until_answering(replica).await;
    }
    let id = Store::id(1);
    fleet.ask_each(&id).await;
    fleet.origin.store().touch(&id).unwrap();
    let changed = fleet.origin.store().get(&id).unwrap().description;
    for replica in &fleet.replicas {
        eventually("a page brings the change", async || {
            replica.image(&id).await.found()["Description"] == changed.as_str()
        })
        .await;
    }
    fleet.origin.store().remove(&id);
    for replica in &fleet.replicas {
        eventually("GetImage denies what is gone", async || {
            replica.image(&id).await.status == 404
        })
        .await;
    }
}

#[tokio::test]
async fn a_walk_from_before_a_replica_started_is_nothing_to_it() {
    let Some(fleet) = Fleet::with(Kind::Redis, 1, |_| {}, walked("1h")).await else {
        return;
    };
    until_answering(&fleet.replicas[0]).await;
    let late = replica(&fleet.origin, &fleet.redis.url(), walked("1h")).await;
    eventually(
        "it has asked for the lease and read of the walk",
        async || {
            count(&late, "walk", "wait").await >= 1.0 && count(&late, "walk", "hit").await >= 1.0
        },
    )
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(catalogue(&late).await["images"], 0);
    assert_eq!(calls(&fleet, "ListImages"), PAGES);
}

#[tokio::test]
async fn another_replica_walks_when_the_first_is_gone_and_each_when_the_server_is() {
    let Some(mut fleet) = Fleet::with(Kind::Redis, 2, |_| {}, walked("400ms")).await else {
        return;
    };
    for replica in &fleet.replicas {
        until_answering(replica).await;
    }
    let last = fleet.replicas.pop().unwrap();
    last.app.stop().await;
    let walks = async |fleet: &Fleet| {
        let replica = &fleet.replicas[0];
        replica
            .metric("pai_gateway_catalogue_walks_total", &[])
            .await
    };
    let before = walks(&fleet).await;
    eventually("the other walks", async || {
        walks(&fleet).await >= before + 3.0
    })
    .await;
    fleet.redis.kill();
    fleet.await_up(0.0).await;
    let before = walks(&fleet).await;
    eventually("it walks alone", async || {
        walks(&fleet).await >= before + 6.0
    })
    .await;
}

#[tokio::test]
async fn replicas_of_other_scopes_walk_for_themselves() {
    let Some(fleet) = Fleet::with(Kind::Redis, 1, |_| {}, walked("1h")).await else {
        return;
    };
    until_answering(&fleet.replicas[0]).await;
    let other = replica(&fleet.origin, &fleet.redis.url(), |setup| {
        walked("1h")(setup);
        setup.set("catalogue.official", "false");
    })
    .await;
    until_answering(&other).await;
    assert_eq!(calls(&fleet, "ListImages"), PAGES + 2);
}
