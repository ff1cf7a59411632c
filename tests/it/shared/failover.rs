//! A former primary is abandoned, even if it still answers.

use std::sync::Arc;

use pai_image_gateway::emulator::{Emulator, Store};

use super::{await_up, origin, replica};
use crate::support::redis::{Forwarder, Kind, Pair};
use crate::support::{TestGateway, eventually};

/// Two gateways that reach a primary, which has a replica, by an address that can move.
struct Stage {
    pair: Pair,
    address: Forwarder,
    origin: Arc<Emulator>,
    gateways: [TestGateway; 2],
}

impl Stage {
    async fn set(kind: Kind) -> Option<Self> {
        let pair = Pair::start(kind, |_| {}).await?;
        let address = Forwarder::to(pair.primary.port).await;
        let origin = Arc::new(Emulator::start(origin()).await.unwrap());
        let gateways = [
            replica(&origin, &address.url(), |_| {}).await,
            replica(&origin, &address.url(), |_| {}).await,
        ];
        let stage = Self {
            pair,
            address,
            origin,
            gateways,
        };
        stage.await_up(1.0).await;
        Some(stage)
    }

    async fn await_up(&self, up: f64) {
        for gateway in &self.gateways {
            await_up(gateway, up).await;
        }
    }

    /// Promotes the replica; the address does not lead there yet.
    async fn promote(&self) {
        self.pair.catch_up().await;
        let alone = ["REPLICAOF", "NO", "ONE"];
        self.pair.replica.command(&alone).await;
    }

    /// Demotes the former primary to a replica of an unreachable server; it still answers reads.
    async fn demote_and_cut_off(&self) {
        let nobody = ["REPLICAOF", "127.0.0.1", "1"];
        self.pair.primary.command(&nobody).await;
    }

    /// Moves the address to the new primary, and waits until images are shared through it.
    async fn turn(&self) {
        let server = &self.pair.replica;
        // These came with the replication; each gateway writes its own again where it is.
        for key in server.command(&["KEYS", "*:alive:*"]).await.lines() {
            server.command(&["DEL", key]).await;
        }
        self.address.turn_to(server.port);
        eventually("both have left the former primary", async || {
            server.command(&["KEYS", "*:alive:*"]).await.lines().count() == 2
        })
        .await;
        self.await_up(1.0).await;
        self.share(&Store::id(90)).await;
        let kept = self.pair.replica.command(&["KEYS", "*image*"]).await;
        assert!(kept.contains(&Store::id(90)), "{kept}");
    }

    async fn share(&self, id: &str) {
        let before = self.origin.fetches(id);
        for gateway in &self.gateways {
            assert_eq!(gateway.image(id).await.status, 200);
        }
        assert_eq!(self.origin.fetches(id), before + 1, "{id} is shared");
    }
}

#[tokio::test]
async fn a_demoted_primary_is_left_though_it_answers_reads() {
    for kind in Kind::EACH {
        let Some(stage) = Stage::set(kind).await else {
            continue;
        };
        stage.share(&Store::id(0)).await;
        stage.promote().await;
        stage.demote_and_cut_off().await;
        stage.await_up(0.0).await;
        for gateway in &stage.gateways {
            let answer = gateway.image(&Store::id(0)).await;
            let status = answer.cache_status();
            assert!(status.contains("detail=revalidating"), "{kind:?}: {status}");
        }
        stage.turn().await;
    }
}

#[tokio::test]
async fn a_script_that_is_rejected_closes_the_connection() {
    // Commands and the reading of the log race here: either way it is left.
    for kind in Kind::EACH {
        let Some(stage) = Stage::set(kind).await else {
            continue;
        };
        stage.promote().await;
        stage.demote_and_cut_off().await;
        for index in 0..20 {
            let answer = stage.gateways[index % 2].image(&Store::id(index)).await;
            assert_eq!(answer.status, 200, "{kind:?}: {answer:?}");
        }
        stage.turn().await;
    }
}

#[tokio::test]
async fn a_primary_that_was_cut_off_is_left_once_the_address_has_moved() {
    for kind in Kind::EACH {
        let Some(stage) = Stage::set(kind).await else {
            continue;
        };
        // Both servers take writes from now on, and the connections lead to the former one.
        stage.promote().await;
        stage.turn().await;
    }
}

#[tokio::test]
async fn a_purge_that_a_lost_primary_took_reaches_the_new_one() {
    let Some(stage) = Stage::set(Kind::Redis).await else {
        return;
    };
    let id = Store::id(0);
    stage.share(&id).await;
    stage.promote().await;
    let copies = stage.pair.replica.command(&["KEYS", "*}:image"]).await;
    assert!(copies.contains(&id), "{copies}");
    stage.gateways[0].purge(r#"{"all":true}"#).await;
    stage.turn().await;
    let range = ["XRANGE", &log(&stage).await, "-", "+"].map(str::to_owned);
    let range: Vec<_> = range.iter().map(String::as_str).collect();
    eventually("the new primary has it", async || {
        let entries = stage.pair.replica.command(&range).await;
        entries.lines().any(|line| line == "all")
    })
    .await;
    stage.origin.store().touch(&id).unwrap();
    eventually("the copy of before is nowhere", async || {
        let answer = stage.gateways[1].image(&id).await;
        answer.text().contains("touched")
    })
    .await;
}

/// The log's key.
async fn log(stage: &Stage) -> String {
    stage.pair.replica.command(&["KEYS", "*:orders"]).await
}

#[tokio::test]
async fn a_primary_without_its_required_replicas_is_not_trusted() {
    for kind in Kind::EACH {
        let Some(stage) = Stage::set(kind).await else {
            continue;
        };
        let limits = [
            ("min-replicas-max-lag", "1"),
            ("min-replicas-to-write", "1"),
        ];
        for (name, value) in limits {
            let set = ["CONFIG", "SET", name, value];
            stage.pair.primary.command(&set).await;
        }
        stage.pair.replica.pause();
        stage.await_up(0.0).await;
        stage.pair.replica.resume();
        stage.await_up(1.0).await;
    }
}

#[tokio::test]
async fn an_address_that_resolves_to_the_same_server_changes_nothing() {
    let Some(stage) = Stage::set(Kind::Redis).await else {
        return;
    };
    stage.share(&Store::id(0)).await;
    stage.address.turn_to(stage.pair.primary.port);
    // Each gateway has met the server by its address, twice at least.
    eventually("it was tried", async || stage.address.made() >= 5).await;
    for gateway in &stage.gateways {
        let lost = super::count(gateway, "orders", "error").await;
        assert_eq!(lost, 0.0);
        let status = gateway.image(&Store::id(0)).await;
        assert!(!status.cache_status().contains("detail"), "{status:?}");
    }
}
