//! The loss of the shared cache is a miss, never an error.

use std::time::{Duration, Instant};

use pai_image_gateway::emulator::Store;

use super::{Fleet, await_up, count, origin, replica};
use crate::support::TestGateway;
use crate::support::redis::Kind;

/// Requests every image once; all must be answered.
async fn all_answer(replica: &TestGateway, images: std::ops::Range<usize>) {
    for index in images {
        let answer = replica.image(&Store::id(index)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_fails_no_request() {
    for kind in Kind::EACH {
        let Some(mut fleet) = Fleet::with(kind, 2, |_| {}, |_| {}).await else {
            continue;
        };
        all_answer(&fleet.replicas[0], 0..10).await;
        fleet.redis.kill();
        // At once, also before the loss is noticed: cached images, and others.
        all_answer(&fleet.replicas[0], 0..20).await;
        all_answer(&fleet.replicas[1], 0..20).await;
        fleet.await_up(0.0).await;
        fleet.redis.restart().await;
        fleet.await_up(1.0).await;
        all_answer(&fleet.replicas[0], 20..30).await;
        let calls = fleet.origin.counts().requests;
        all_answer(&fleet.replicas[1], 20..30).await;
        assert_eq!(fleet.origin.counts().requests, calls, "it is shared again");
    }
}

#[tokio::test]
async fn cached_entries_count_as_stale_while_the_server_is_away() {
    let Some(mut fleet) = Fleet::persistent(1).await else {
        return;
    };
    let replica = &fleet.replicas[0];
    all_answer(replica, 0..2).await;
    let status = async |index| {
        replica
            .image(&Store::id(index))
            .await
            .cache_status()
            .to_owned()
    };
    assert!(!status(0).await.contains("detail"));
    fleet.redis.kill();
    await_up(replica, 0.0).await;
    assert!(status(0).await.contains("detail=revalidating"));
    // A fetch now, a second after the first one, comes from the origin itself.
    crate::support::eventually("it is fetched", async || {
        status(0).await;
        fleet.origin.fetches(&Store::id(0)) >= 2
    })
    .await;
    crate::support::eventually("it is fresh", async || !status(0).await.contains("detail")).await;
    fleet.redis.restart().await;
    await_up(replica, 1.0).await;
    // The log goes on where it was left, so nothing was missed.
    assert!(!status(1).await.contains("detail"));
    assert_eq!(fleet.origin.fetches(&Store::id(1)), 1);
}

#[tokio::test]
async fn a_server_that_hangs_delays_the_first_requests_a_little_and_later_ones_not_at_all() {
    let change = |setup: &mut crate::support::Setup| {
        setup.set("shared_cache.timeout", "20ms");
        setup.set("shared_cache.lease", "500ms");
    };
    let Some(fleet) = Fleet::with(Kind::Redis, 1, |_| {}, change).await else {
        return;
    };
    let replica = &fleet.replicas[0];
    all_answer(replica, 0..3).await;
    fleet.redis.pause();
    all_answer(replica, 0..20).await;
    await_up(replica, 0.0).await;
    assert!(count(replica, "get", "timeout").await >= 1.0);
    let skipped = count(replica, "get", "skipped").await;
    all_answer(replica, 20..30).await;
    assert!(count(replica, "get", "skipped").await >= skipped + 10.0);
    fleet.redis.resume();
    await_up(replica, 1.0).await;
    all_answer(replica, 30..35).await;
    crate::support::eventually("it stores", async || {
        count(replica, "put", "ok").await >= 1.0
    })
    .await;
}

#[tokio::test]
async fn a_purge_is_answered_although_the_server_hangs() {
    let change = |setup: &mut crate::support::Setup| {
        setup.set("shared_cache.timeout", "20ms");
        setup.set("shared_cache.lease", "500ms");
    };
    let Some(fleet) = Fleet::with(Kind::Redis, 1, |_| {}, change).await else {
        return;
    };
    all_answer(&fleet.replicas[0], 0..1).await;
    fleet.await_keys(":image", 1).await;
    fleet.origin.store().touch(&Store::id(0)).unwrap();
    fleet.redis.pause();
    assert_eq!(fleet.replicas[0].purge(r#"{"all":true}"#).await, 1);
    // Until the invalidation is written, entries in the server are from before it.
    for _ in 0..3 {
        let answer = fleet.replicas[0].image(&Store::id(0)).await;
        assert!(answer.text().contains("touched"));
    }
    fleet.redis.resume();
    crate::support::eventually("the invalidation is written", async || {
        fleet.count("invalidate", "ok").await >= 1.0
    })
    .await;
    let answer = fleet.replicas[0].image(&Store::id(0)).await;
    assert!(answer.text().contains("touched"));
}

#[tokio::test]
async fn with_a_wrong_password_requests_are_still_answered() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("password");
    std::fs::write(&file, "wrong").unwrap();
    let file = file.to_str().unwrap().to_owned();
    let server = |options: &mut crate::support::redis::Options| {
        options.password = Some("right".to_owned());
    };
    let Some(redis) = crate::support::redis::Redis::start(Kind::Redis, server).await else {
        return;
    };
    let emulator = pai_image_gateway::emulator::Emulator::start(origin()).await;
    let emulator = std::sync::Arc::new(emulator.unwrap());
    let replica = replica(&emulator, &redis.url(), |setup| {
        setup.set("shared_cache.password_file", &file);
    })
    .await;
    all_answer(&replica, 0..3).await;
    assert!(count(&replica, "orders", "error").await >= 1.0);
    // It is read again at the next attempt.
    std::fs::write(&file, "right\n").unwrap();
    await_up(&replica, 1.0).await;
    all_answer(&replica, 3..6).await;
    crate::support::eventually("it stores", async || {
        count(&replica, "put", "ok").await == 3.0
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_full_fails_no_request() {
    let server = |options: &mut crate::support::redis::Options| {
        options.max_memory = Some(("32mb".to_owned(), "noeviction".to_owned()));
    };
    let Some(fleet) = Fleet::with(Kind::Redis, 1, server, |_| {}).await else {
        return;
    };
    // 8 MiB of ballast are more than it may have then.
    for number in 0..400 {
        let key = format!("ballast-{number}");
        drop(fleet.redis.ask(&["SETRANGE", &key, "20000", "x"]).await);
    }
    let less = ["CONFIG", "SET", "maxmemory", "4mb"];
    fleet.redis.command(&less).await;
    all_answer(&fleet.replicas[0], 0..20).await;
    // The server could not take a purge either, so no cached entry counts as fresh.
    fleet.await_up(0.0).await;
    let answer = fleet.replicas[0].image(&Store::id(0)).await;
    assert!(answer.cache_status().contains("detail"), "{answer:?}");
    assert!(fleet.count("get", "error").await + fleet.count("get", "skipped").await >= 20.0);
}

#[tokio::test]
async fn an_entry_that_the_server_evicts_is_fetched_again() {
    let server = |options: &mut crate::support::redis::Options| {
        options.max_memory = Some(("2mb".to_owned(), "allkeys-random".to_owned()));
    };
    let Some(fleet) = Fleet::with(Kind::Redis, 2, server, |_| {}).await else {
        return;
    };
    for round in 0..3 {
        for number in 0..200 {
            let key = format!("ballast-{round}-{number}");
            drop(fleet.redis.ask(&["SETRANGE", &key, "20000", "x"]).await);
        }
        for replica in &fleet.replicas {
            all_answer(replica, 0..50).await;
        }
    }
}

#[tokio::test]
async fn a_gateway_starts_although_there_is_no_server() {
    let begun = Instant::now();
    let emulator = pai_image_gateway::emulator::Emulator::start(origin()).await;
    let emulator = std::sync::Arc::new(emulator.unwrap());
    let replica = replica(&emulator, "redis://127.0.0.1:1", |_| {}).await;
    all_answer(&replica, 0..3).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(
        replica.metric("pai_gateway_shared_cache_up", &[]).await,
        0.0
    );
}
