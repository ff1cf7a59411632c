//! A fleet keeps one pace towards the origin, whose emulator counts the calls of every second.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pai_image_gateway::emulator::{Settings, Store};
use serde_json::{Value, json};

use super::{Fleet, origin};
use crate::support::redis::Kind;
use crate::support::{ONE_CROWD, Setup, TestGateway, eventually, throttle, times};

/// The vendor's quota of reads.
const QUOTA: u32 = 50;
const REPLICAS: usize = 4;
const IMAGES: usize = 1000;

async fn paced(kind: Kind, change: impl Fn(&mut Setup)) -> Option<Fleet> {
    let origin = Settings {
        quota_per_second: Some(QUOTA),
        latency: Duration::from_millis(40),
        images: IMAGES,
        ..origin()
    };
    let change = |setup: &mut Setup| {
        setup.pace_as_set();
        change(setup);
    };
    Fleet::before(origin, kind, REPLICAS, |_| {}, change).await
}

/// Requests these images, each from one replica in turn. All must be found.
async fn request(fleet: &Fleet, images: std::ops::Range<usize>) {
    let each = images.map(async |index| {
        let replica = &fleet.replicas[index % REPLICAS];
        replica.image(&Store::id(index)).await.found();
    });
    join_all(each).await;
}

/// Waits until each replica has seen all of them.
async fn await_replicas(fleet: &Fleet) {
    let seen = async |replica: &TestGateway| {
        replica.page("/status").await["shared_cache"]["replicas"] == json!(REPLICAS)
    };
    for replica in &fleet.replicas {
        eventually("it has seen the others", async || seen(replica).await).await;
    }
}

/// Returns how often the origin throttled.
fn throttles(fleet: &Fleet) -> u64 {
    let counts = fleet.origin.counts();
    counts.codes.get("Throttling.User").copied().unwrap_or(0)
}

/// Returns the pace of GetImage as `/status` shows it, after a call.
async fn pace_of(replica: &TestGateway) -> Value {
    let status = replica.page("/status").await;
    status["upstream"]["operations"]["GetImage"]["pace"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_keeps_one_pace_and_uses_it() {
    let _crowd = ONE_CROWD.lock().await;
    for kind in Kind::EACH {
        let Some(fleet) = paced(kind, |_| {}).await else {
            continue;
        };
        let begun = Instant::now();
        request(&fleet, 0..300).await;
        let took = begun.elapsed().as_secs_f64();
        println!("{kind:?}: 300 calls in {took:.2} s; at the pace, and 40 ms away, 6.28 s");
        let calls = fleet.origin.counts().requests;
        assert_eq!((throttles(&fleet), calls), (0, 300));
        assert!(fleet.count("pace", "wait").await > 0.0);
        for replica in &fleet.replicas {
            let pace = pace_of(replica).await;
            assert_eq!(
                (&pace["per_second"], &pace["alone"]),
                (&json!(47.0), &json!(false))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_server_each_replica_takes_its_part_until_it_is_back() {
    let _crowd = ONE_CROWD.lock().await;
    for kind in Kind::ALL {
        let Some(mut fleet) = paced(kind, |_| {}).await else {
            continue;
        };
        await_replicas(&fleet).await;
        // One replica has just used the whole pace.
        let replica = &fleet.replicas[0];
        join_all((1..47).map(async |index| replica.image(&Store::id(index)).await.found())).await;
        fleet.redis.kill();
        request(&fleet, 100..250).await;
        assert_eq!(throttles(&fleet), 0, "{kind:?}");
        for replica in &fleet.replicas {
            let pace = pace_of(replica).await;
            // 47.5 / 4
            assert_eq!(
                (&pace["per_second"], &pace["alone"]),
                (&json!(11.0), &json!(true))
            );
        }
        fleet.redis.restart().await;
        request(&fleet, 250..600).await;
        assert_eq!(throttles(&fleet), 0, "{kind:?}");
        for replica in &fleet.replicas {
            eventually("the pace is the fleet's", async || {
                pace_of(replica).await["alone"] == json!(false)
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_closes_no_replica_for_good() {
    let Some(fleet) = paced(Kind::Redis, |setup| {
        setup.set("shared_cache.timeout", "20ms")
    })
    .await
    else {
        return;
    };
    await_replicas(&fleet).await;
    request(&fleet, 0..8).await;
    fleet.redis.pause();
    request(&fleet, 8..40).await;
    fleet.redis.resume();
    request(&fleet, 40..80).await;
    assert_eq!((throttles(&fleet), fleet.origin.counts().requests), (0, 80));
}

#[tokio::test]
async fn a_throttle_that_one_replica_is_told_lowers_the_pace_of_all() {
    for kind in Kind::ALL {
        let Some(fleet) = paced(kind, |_| {}).await else {
            continue;
        };
        request(&fleet, 0..REPLICAS).await;
        let short = throttle(Some(Duration::from_millis(300)));
        fleet.origin.script(vec![times(1, short)]);
        let [first, others @ ..] = &fleet.replicas[..] else {
            panic!("a fleet");
        };
        first.image(&Store::id(10)).await.found();
        for (index, replica) in others.iter().enumerate() {
            replica.image(&Store::id(20 + index)).await.found();
            let pace = pace_of(replica).await;
            // Two thirds of 47.5.
            assert_eq!(
                (&pace["per_second"], &pace["lowered"]),
                (&json!(31.0), &json!(true))
            );
        }
    }
}

/// The window of a rate of one in a hundred seconds is longer than any test.
#[tokio::test]
async fn who_finds_the_fleets_slots_taken_is_told_when_to_come_back() {
    let one_call = |setup: &mut Setup| {
        setup.set("upstream.calls_per_second.get_image", "0.01");
        setup.set("api.wait", "1s");
    };
    let Some(fleet) = paced(Kind::Redis, one_call).await else {
        return;
    };
    let [one, another, ..] = &fleet.replicas[..] else {
        panic!("a fleet");
    };
    one.image(&Store::id(0)).await.found();
    // The first one finds out by waiting, the second one knows.
    for index in [1, 2] {
        let refused = another.image(&Store::id(index)).await;
        assert_eq!(refused.error(), (429, "Throttling".to_owned()));
    }
    let pace = pace_of(one).await;
    assert_eq!(
        (&pace["per_second"], &pace["configured"]),
        (&json!(0.01), &json!(0.01))
    );
    assert_eq!(fleet.origin.counts().requests, 1);
}
