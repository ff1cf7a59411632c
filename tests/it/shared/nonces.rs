//! The fleet's record of write nonces.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use pai_image_gateway::cache::{self, Cache, Policy};
use pai_image_gateway::observability::metrics::{Metrics, SharedOperation, SharedResult};
use pai_image_gateway::shared_cache::{Config, LogReader, SharedCache, Unavailable, WriteNonce};
use pai_image_gateway::units::HumanDuration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::support::eventually;
use crate::support::redis::{Cluster, Kind, Redis};

/// One replica's connection to the shared cache. Dropping it closes the connection.
struct Member {
    shared: Arc<SharedCache>,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
}

impl Member {
    async fn join(url: &str, cluster: bool) -> Self {
        let config = Config {
            url: Some(url.to_owned()),
            cluster,
            timeout: HumanDuration::secs(1),
            ..Config::default()
        };
        let metrics = Arc::new(Metrics::new());
        let cache = Arc::new(Cache::<()>::new(
            &cache::Config::default(),
            Policy::default(),
            Arc::clone(&metrics),
            TaskTracker::new(),
        ));
        let shared = SharedCache::from_config(&config, "origin.example", &metrics).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(LogReader::new(Arc::clone(&shared), cache).run(stop.clone()));
        shared.ready(Duration::from_secs(20)).await;
        Self {
            shared,
            metrics,
            _stop: stop.drop_guard(),
        }
    }

    /// Returns how often the log was read to its end.
    fn log_reads(&self) -> u64 {
        let mut requests = self.metrics.shared.requests();
        let of = requests.find(|(operation, result, _)| {
            (*operation, *result) == (SharedOperation::Orders, SharedResult::Ok)
        });
        of.map_or(0, |(_, _, count)| count)
    }

    /// Records a write that was signed this many seconds ago.
    async fn record(&self, fingerprint: u8, age: i64) -> Result<WriteNonce, Unavailable> {
        let age = SignedDuration::from_secs(age);
        self.shared
            .record_write_nonce(&[fingerprint; 32], age)
            .await
    }
}

/// Sets the record's start to an hour ago.
async fn began_long_ago(redis: &Redis) {
    let keys = redis.command(&["KEYS", "*writes}:since"]).await;
    if !keys.is_empty() {
        let now: u64 = redis.command(&["GET", &keys]).await.parse().unwrap();
        let then = now - 3_600_000;
        redis.command(&["SET", &keys, &then.to_string()]).await;
    }
}

async fn one_replica_of_all_may_send_it(url: &str, cluster: bool, servers: &[Redis]) {
    let (one, other) = (
        Member::join(url, cluster).await,
        Member::join(url, cluster).await,
    );
    // It has just begun, and nothing was before.
    assert_eq!(one.record(1, 0).await, Ok(WriteNonce::First));
    assert_eq!(other.record(1, 0).await, Ok(WriteNonce::Seen));
    assert_eq!(one.record(6, 60).await, Ok(WriteNonce::Unknown));
    for server in servers {
        began_long_ago(server).await;
    }
    assert_eq!(one.record(2, 60).await, Ok(WriteNonce::First));
    assert_eq!(one.record(2, 60).await, Ok(WriteNonce::Seen));
    assert_eq!(other.record(2, 60).await, Ok(WriteNonce::Seen));
    assert_eq!(other.record(3, -4).await, Ok(WriteNonce::First));
    assert_eq!(other.record(4, -6).await, Ok(WriteNonce::Unknown));
    assert_eq!(other.record(5, 3610).await, Ok(WriteNonce::Unknown));
}

#[tokio::test]
async fn a_write_is_sent_by_one_replica_once() {
    for kind in Kind::EACH {
        if let Some(redis) = Redis::start(kind, |_| {}).await {
            let url = redis.url();
            one_replica_of_all_may_send_it(&url, false, &[redis]).await;
        }
    }
}

#[tokio::test]
async fn a_write_is_sent_by_one_replica_once_in_a_cluster() {
    for kind in Kind::ALL {
        if let Some(cluster) = Cluster::start(kind, |_| {}).await {
            one_replica_of_all_may_send_it(&cluster.url(), true, &cluster.nodes).await;
        }
    }
}

#[tokio::test]
async fn a_nonce_outlives_the_signature_and_no_longer() {
    let Some(redis) = Redis::start(Kind::Redis, |_| {}).await else {
        return;
    };
    let member = Member::join(&redis.url(), false).await;
    began_long_ago(&redis).await;
    assert_eq!(member.record(0xab, 0).await, Ok(WriteNonce::First));
    let key = redis.command(&["KEYS", "*writes}:abab*"]).await;
    let left: u64 = redis.command(&["TTL", &key]).await.parse().unwrap();
    // A date holds for 15 minutes either way of either clock.
    assert!((2_600..=2_700).contains(&left), "{left}");
}

#[tokio::test]
async fn a_record_that_was_lost_takes_no_write_from_before() {
    let Some(mut redis) = Redis::start(Kind::Redis, |_| {}).await else {
        return;
    };
    let member = Member::join(&redis.url(), false).await;
    began_long_ago(&redis).await;
    assert_eq!(member.record(1, 60).await, Ok(WriteNonce::First));
    redis.command(&["FLUSHALL"]).await;
    assert_eq!(member.record(1, 60).await, Ok(WriteNonce::Unknown));
    began_long_ago(&redis).await;
    redis.kill();
    eventually("the loss is known", async || {
        member.record(1, 60).await == Err(Unavailable)
    })
    .await;
    redis.restart().await;
    eventually("it is back", async || {
        member.record(1, 60).await == Ok(WriteNonce::Unknown)
    })
    .await;
}

#[tokio::test]
async fn an_older_snapshot_of_the_record_is_not_trusted() {
    let persistence = crate::support::redis::Persistence::Snapshots;
    let started = Redis::start(Kind::Redis, |options| options.persistence = persistence).await;
    let Some(mut redis) = started else { return };
    let member = Member::join(&redis.url(), false).await;
    began_long_ago(&redis).await;
    redis.command(&["SAVE"]).await;
    assert_eq!(member.record(1, 60).await, Ok(WriteNonce::First));
    // A purge that the snapshot does not know shows that it is older.
    let log = redis.command(&["KEYS", "*:orders"]).await;
    let entry = ["XADD", &log, "*", "by", "another", "forget", "nothing"];
    redis.command(&entry).await;
    let read = member.log_reads();
    eventually("the log is read", async || member.log_reads() >= read + 2).await;
    redis.restart().await;
    eventually("it is back", async || {
        member.record(1, 60).await == Ok(WriteNonce::Unknown)
    })
    .await;
}
