//! The shared cache of a fleet, with real servers.

mod catalogue;
mod damage;
mod failover;
mod fleet;
mod invalidation;
mod leases;
mod loss;
mod nonces;
mod pace;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use pai_image_gateway::emulator::{Emulator, FaultKind, Settings, Store};

use crate::support::redis::{Kind, Options, Persistence, Redis};
use crate::support::{Answer, KEY_ID, KEY_SECRET, Setup, TestGateway, eventually};

/// Gateways that share a server, in front of one origin.
pub(crate) struct Fleet {
    pub(crate) origin: Arc<Emulator>,
    pub(crate) redis: Redis,
    pub(crate) replicas: Vec<TestGateway>,
}

/// Two cores and a dozen servers: what is late here is not what is late elsewhere.
const PATIENT: [&str; 4] = [
    "shared_cache.timeout=1s",
    "shared_cache.lease=5s",
    "api.wait=20s",
    "api.wait_with_stale=20s",
];

pub(crate) fn origin() -> Settings {
    Settings {
        access_key_id: KEY_ID.to_owned(),
        access_key_secret: KEY_SECRET.into(),
        ..Settings::default()
    }
}

/// One more replica that uses the server at this URL.
pub(crate) async fn replica(
    origin: &Arc<Emulator>,
    url: &str,
    change: impl FnOnce(&mut Setup),
) -> TestGateway {
    TestGateway::beside(origin, |setup| {
        setup.set("shared_cache.url", url);
        setup.flags.extend(PATIENT.map(str::to_owned));
        change(setup);
    })
    .await
}

impl Fleet {
    /// Starts so many replicas; `None` without the server.
    pub(crate) async fn start(count: usize) -> Option<Self> {
        Self::with(Kind::Redis, count, |_| {}, |_| {}).await
    }

    /// Starts so many replicas with a server that keeps its data over a restart; `None` without the server.
    pub(crate) async fn persistent(count: usize) -> Option<Self> {
        let server = |options: &mut Options| options.persistence = Persistence::Log;
        Self::with(Kind::Redis, count, server, |_| {}).await
    }

    pub(crate) async fn with(
        kind: Kind,
        count: usize,
        server: impl FnOnce(&mut Options),
        change: impl Fn(&mut Setup),
    ) -> Option<Self> {
        Self::before(origin(), kind, count, server, change).await
    }

    /// Starts in front of an origin with these settings.
    pub(crate) async fn before(
        origin: Settings,
        kind: Kind,
        count: usize,
        server: impl FnOnce(&mut Options),
        change: impl Fn(&mut Setup),
    ) -> Option<Self> {
        let redis = Redis::start(kind, server).await?;
        let origin = Arc::new(Emulator::start(origin).await.unwrap());
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(replica(&origin, &redis.url(), &change).await);
        }
        let fleet = Self {
            origin,
            redis,
            replicas,
        };
        fleet.await_up(1.0).await;
        Some(fleet)
    }

    /// Waits until each replica reports this state of its connection.
    pub(crate) async fn await_up(&self, up: f64) {
        for replica in &self.replicas {
            await_up(replica, up).await;
        }
    }

    /// Requests the image from each replica.
    pub(crate) async fn ask_each(&self, id: &str) -> Vec<Answer> {
        let mut answers = Vec::new();
        for replica in &self.replicas {
            let answer = replica.image(id).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            answers.push(answer);
        }
        answers
    }

    /// The sum over all replicas.
    pub(crate) async fn count(&self, operation: &str, result: &str) -> f64 {
        let mut sum = 0.0;
        for replica in &self.replicas {
            sum += count(replica, operation, result).await;
        }
        sum
    }

    /// All keys of the server that contain this.
    pub(crate) async fn keys(&self, containing: &str) -> Vec<String> {
        let pattern = format!("*{containing}*");
        let keys = self.redis.command(&["KEYS", &pattern]).await;
        keys.lines().map(str::to_owned).collect()
    }

    /// The same, when there are so many.
    pub(crate) async fn await_keys(&self, containing: &str, count: usize) -> Vec<String> {
        eventually("the keys are there", async || {
            self.keys(containing).await.len() == count
        })
        .await;
        self.keys(containing).await
    }

    /// The key of the log.
    pub(crate) async fn log(&self) -> String {
        let mut keys = self.keys(":orders").await;
        keys.retain(|key| key.ends_with(":orders"));
        keys.remove(0)
    }

    /// Sets the origin's latency from now on.
    pub(crate) fn slow(&self, milliseconds: u64) {
        let latency = FaultKind::Latency(Duration::from_millis(milliseconds));
        self.origin
            .script(vec![pai_image_gateway::emulator::Fault::always(latency)]);
    }
}

pub(crate) async fn await_up(replica: &TestGateway, up: f64) {
    eventually("the replica's connection is so", async || {
        replica.metric("pai_gateway_shared_cache_up", &[]).await == up
    })
    .await;
}

pub(crate) async fn count(replica: &TestGateway, operation: &str, result: &str) -> f64 {
    let labels = [("operation", operation), ("result", result)];
    replica
        .metric("pai_gateway_shared_cache_requests_total", &labels)
        .await
}

pub(crate) fn an_image() -> String {
    Store::id(1)
}
