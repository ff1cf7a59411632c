//! Leases of fetches, and their failures.

use std::time::{Duration, Instant};

use http::Method;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};

use super::{Fleet, an_image};
use crate::support::redis::Kind;
use crate::support::{ask, path, refusal, throttle};

#[tokio::test]
async fn the_lease_of_a_replica_that_died_expires() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    // One image names the keys; no replica has fetched the other yet.
    let (known, id) = (an_image(), Store::id(2));
    fleet.replicas[0].image(&known).await;
    let key = fleet.await_keys(":image", 1).await.remove(0);
    let lease = key.replace(&known, &id).replace("}:image", "}:lease");
    fleet
        .redis
        .command(&["SET", &lease, "of-one-that-died", "PX", "700"])
        .await;
    let begun = Instant::now();
    let answer = fleet.replicas[0].image(&id).await;
    assert_eq!(answer.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(500), "it waited");
    assert_eq!(fleet.count("get", "wait").await, 1.0);
    assert_eq!(fleet.count("get", "miss").await, 2.0);
}

#[tokio::test]
async fn a_client_that_waits_for_another_replica_is_told_to_come_back_if_the_pace_is_used_up() {
    let change = |setup: &mut crate::support::Setup| {
        setup.pace_as_set();
        // One call in a hundred seconds.
        setup.set("upstream.calls_per_second.get_image", "0.01");
        setup.set("api.wait", "400ms");
    };
    let Some(fleet) = Fleet::with(Kind::Redis, 1, |_| {}, change).await else {
        return;
    };
    let (replica, id) = (&fleet.replicas[0], Store::id(2));
    let probe = replica.image(&an_image()).await;
    assert_eq!(probe.status, 200, "{probe:?}");
    let key = fleet.await_keys(":image", 1).await.remove(0);
    let lease = key.replace(&an_image(), &id).replace("}:image", "}:lease");
    let hold = ["SET", &lease, "of-another", "PX", "60000"];
    fleet.redis.command(&hold).await;
    let refused = replica.image(&id).await;
    assert_eq!(refused.error(), (429, "Throttling".to_owned()));
    assert!(!refused.header("x-acs-retry-after").is_empty());
}

#[tokio::test]
async fn a_client_that_waits_for_another_replica_within_the_pace_times_out() {
    let change = |setup: &mut crate::support::Setup| setup.set("api.wait", "400ms");
    let Some(fleet) = Fleet::with(Kind::Redis, 2, |_| {}, change).await else {
        return;
    };
    fleet.slow(3000);
    let id = an_image();
    let all = fleet.replicas.iter().map(|replica| replica.image(&id));
    for answer in futures_util::future::join_all(all).await {
        let late = (504, "Gateway.UpstreamTimeout".to_owned());
        assert_eq!(answer.error(), late);
    }
}

#[tokio::test]
async fn a_fetch_that_takes_longer_than_a_lease_keeps_it() {
    let change = |setup: &mut crate::support::Setup| {
        setup.set("shared_cache.timeout", "100ms");
        setup.set("shared_cache.lease", "600ms");
        setup.set("api.wait", "8s");
    };
    let Some(fleet) = Fleet::with(Kind::Redis, 2, |_| {}, change).await else {
        return;
    };
    fleet.slow(1500);
    let all = fleet.replicas.iter().map(|replica| {
        let (address, target) = (replica.app.data.clone(), path(&an_image()));
        tokio::spawn(async move { ask(&address, Method::GET, &target, &[], "").await })
    });
    let asked: Vec<_> = all.collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    assert_eq!(fleet.origin.fetches(&an_image()), 1);
    assert!(fleet.count("renew", "ok").await >= 3.0);
}

#[tokio::test]
async fn an_origin_that_fails_one_replica_is_not_called_by_the_next_at_once() {
    let Some(fleet) = Fleet::start(4).await else {
        return;
    };
    fleet
        .origin
        .script(vec![Fault::always(refusal(500, "InternalError"))]);
    let first = fleet.replicas[0].image(&an_image()).await;
    assert_eq!(first.status, 503);
    let calls = fleet.origin.counts().requests;
    let mut answers = Vec::new();
    for replica in &fleet.replicas[1..] {
        answers.push(replica.image(&an_image()).await.error());
    }
    let wanted = (503, "Gateway.UpstreamUnavailable".to_owned());
    assert!(
        answers.iter().all(|answer| *answer == wanted),
        "{answers:?}"
    );
    assert_eq!(fleet.origin.counts().requests, calls);
    assert_eq!(fleet.count("get", "failed").await, 3.0);
    // Not for long.
    fleet.origin.script(Vec::new());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(fleet.replicas[1].image(&an_image()).await.status, 200);
}

#[tokio::test]
async fn a_throttle_is_shared_by_the_fleet() {
    let Some(fleet) = Fleet::start(2).await else {
        return;
    };
    let wait = Duration::from_millis(900);
    fleet
        .origin
        .script(vec![Fault::always(throttle(Some(wait)))]);
    assert_eq!(fleet.replicas[0].image(&an_image()).await.status, 429);
    let calls = fleet.origin.counts().requests;
    let answer = fleet.replicas[1].image(&an_image()).await;
    assert_eq!(answer.error(), (429, "Throttling".to_owned()));
    let retry_after: u64 = answer.header("x-acs-retry-after").parse().unwrap();
    assert!((1..=900).contains(&retry_after));
    assert_eq!(fleet.origin.counts().requests, calls);
}

#[tokio::test]
async fn a_replica_whose_own_credential_fails_does_not_share_it_as_a_failure_of_the_origin() {
    let Some(fleet) = Fleet::start(1).await else {
        return;
    };
    let broken = super::replica(&fleet.origin, &fleet.redis.url(), |setup| {
        let secret = "ALIBABA_CLOUD_ACCESS_KEY_SECRET".to_owned();
        setup.environment = [
            (
                "ALIBABA_CLOUD_ACCESS_KEY_ID".to_owned(),
                crate::support::KEY_ID.to_owned(),
            ),
            (secret, "another".to_owned()),
        ]
        .into();
    })
    .await;
    assert_eq!(broken.image(&an_image()).await.status, 502);
    assert_eq!(fleet.replicas[0].image(&an_image()).await.status, 200);
    // And what the healthy one brought serves the other.
    assert_eq!(broken.image(&an_image()).await.status, 200);
}

#[tokio::test]
async fn a_new_replica_serves_the_fleets_entries_during_an_outage() {
    let short = |setup: &mut crate::support::Setup| {
        setup.set("freshness.min", "1s");
        setup.set("freshness.max", "1s");
        setup.set("freshness.max_verbose", "1s");
        setup.set("freshness.stale_while_revalidate_min", "0s");
        setup.set("freshness.stale_while_revalidate_max", "0s");
    };
    let Some(fleet) = Fleet::with(Kind::Redis, 1, |_| {}, short).await else {
        return;
    };
    let known = fleet.ask_each(&an_image()).await.remove(0);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    fleet
        .origin
        .script(vec![Fault::always(FaultKind::CloseBefore)]);
    let newcomer = super::replica(&fleet.origin, &fleet.redis.url(), short).await;
    let answer = newcomer.image(&an_image()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body, known.body);
    assert!(
        answer.cache_status().contains("detail=origin-error"),
        "{answer:?}"
    );
    // Also while another has the lease, or has just failed.
    fleet
        .origin
        .script(vec![Fault::always(refusal(500, "InternalError"))]);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let newcomer = super::replica(&fleet.origin, &fleet.redis.url(), short).await;
        asked.push(tokio::spawn(async move {
            let answer = newcomer.image(&an_image()).await;
            (newcomer, answer)
        }));
    }
    for one in asked {
        let (_newcomer, answer) = one.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn waiters_for_an_outdated_value_get_the_new_one() {
    let Some(fleet) = Fleet::start(5).await else {
        return;
    };
    let id = Store::id(3);
    let owner = fleet.origin.store().get(&id).unwrap().workspace_id.unwrap();
    fleet.replicas[0].image(&id).await;
    fleet.await_keys(":image", 1).await;
    fleet.replicas[0]
        .purge(&format!(r#"{{"workspace":"{owner}"}}"#))
        .await;
    // Until every replica has seen it.
    tokio::time::sleep(Duration::from_millis(800)).await;
    fleet.slow(300);
    let all = fleet.replicas.iter().map(|replica| {
        let (address, target) = (replica.app.data.clone(), path(&id));
        tokio::spawn(async move { ask(&address, Method::GET, &target, &[], "").await })
    });
    for answer in all.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    assert_eq!(fleet.origin.fetches(&id), 2);
}

#[tokio::test]
async fn a_lease_whose_grant_was_lost_is_released() {
    let change = |setup: &mut crate::support::Setup| {
        setup.set("shared_cache.timeout", "50ms");
        setup.set("shared_cache.lease", "60s");
    };
    let Some(fleet) = Fleet::with(Kind::Redis, 1, |_| {}, change).await else {
        return;
    };
    fleet.redis.pause();
    assert_eq!(fleet.replicas[0].image(&an_image()).await.status, 200);
    fleet.redis.resume();
    // The server runs the commands sent meanwhile in their order: it grants the lease, and releases it.
    crate::support::eventually("nobody has the lease", async || {
        fleet.keys(":lease").await.is_empty()
    })
    .await;
    assert_eq!(fleet.count("get", "timeout").await, 1.0);
}
