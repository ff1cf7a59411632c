//! Slots of the fleet's pace, in one sorted set for each operation, and the number of replicas.
//!
//! A slot's score is the time from which it is free by the server's clock. A replica that dies leaves slots that are
//! free by themselves, once no call of it can be in flight. `scripts/pace.lua` takes slots and gives others back in
//! one step; which of them, and when, is decided by the pace of [`upstream`](crate::upstream).

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use redis::{RedisResult, Script, ScriptInvocation};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use super::commands::{CommandError, Commands};
use super::connection::RedisConnection;
use super::{Config, SharedCache, milliseconds};
use crate::api::Action;
use crate::observability::metrics::{SharedOperation, SharedResult};
use crate::upstream::{FleetAway, FleetPace, FleetReply, FleetRequest};

pub(super) static PACE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/pace.lua")));
pub(super) static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/beat.lua")));

/// Time between two announcements of a replica.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Time without an announcement after which a replica does not count any more.
const BEAT_LIFE: Duration = Duration::from_secs(5);
/// Time after a new connection in which the number of replicas does not fall: longer than their pauses before a
/// connection, and than the time for which the pace keeps to its share.
const SETTLING: Duration = Duration::from_secs(10);

/// Connection for the pace, with a breaker of its own: lookups and the pace do not hold each other back.
pub(super) struct PaceConnection {
    commands: Commands,
    /// Number of replicas that were last seen; 0 before the first announcement.
    replicas: AtomicU32,
    history: Mutex<History>,
}

/// Connections so far, as far as they matter to slots that may have been lost.
#[derive(Debug, Clone, Copy, Default)]
struct History {
    is_connected: bool,
    was_connected: bool,
    /// Time of the latest connection but the first.
    reconnected: Option<Instant>,
    /// Time of the loss; none while there is a connection.
    lost: Option<Instant>,
}

/// Reply of `scripts/pace.lua`, in milliseconds.
pub(super) type RawReply = (Vec<u64>, Vec<i64>, u32, u64, i64);

impl PaceConnection {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            commands: Commands::new(config),
            replicas: AtomicU32::new(0),
            history: Mutex::default(),
        }
    }

    /// Replaces the connection, or takes it away.
    pub(super) fn connect(&self, connection: Option<RedisConnection>, now: Instant) {
        self.history.lock().connected(connection.is_some(), now);
        self.commands.connect(connection);
    }

    /// Takes the number of replicas that are announced. Just after a connection others may not be back yet.
    fn counted(&self, replicas: u32, now: Instant) {
        if self.history.lock().is_recent(now) {
            self.replicas.fetch_max(replicas, Ordering::Relaxed);
        } else {
            self.replicas.store(replicas, Ordering::Relaxed);
        }
    }

    fn away(&self, since: Option<Instant>) -> FleetAway {
        let replicas = self.replicas();
        FleetAway { since, replicas }
    }

    /// Returns the number of replicas that were last seen, this one included.
    pub(super) fn replicas(&self) -> Option<u32> {
        let replicas = self.replicas.load(Ordering::Relaxed);
        (replicas > 0).then_some(replicas)
    }
}

impl History {
    fn connected(&mut self, is_connected: bool, now: Instant) {
        self.is_connected = is_connected;
        if !is_connected {
            self.lost = self.lost.or(self.was_connected.then_some(now));
            return;
        }
        if self.was_connected {
            self.reconnected = Some(now);
        }
        (self.was_connected, self.lost) = (true, None);
    }

    /// Returns whether replicas may not have connected again yet.
    fn is_recent(self, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < SETTLING;
        self.reconnected.is_some_and(is_recent)
    }

    /// Returns since when there is no answer, for a command that failed now.
    fn away_since(self, now: Instant) -> Option<Instant> {
        self.lost.or(self.was_connected.then_some(now))
    }
}

impl FleetPace for SharedCache {
    fn away(&self) -> Option<FleetAway> {
        let history = *self.pace.history.lock();
        (!history.is_connected).then(|| self.pace.away(history.lost))
    }

    fn exchange(
        &self,
        action: Action,
        request: FleetRequest,
    ) -> BoxFuture<'_, Result<FleetReply, FleetAway>> {
        async move {
            let history = *self.pace.history.lock();
            let replied = self.exchange_slots(action, &request).await;
            let result = match &replied {
                Ok(reply) if reply.granted.len() < request.wanted as usize => SharedResult::Wait,
                Ok(_) => SharedResult::Ok,
                Err(error) => error.result(),
            };
            self.count(SharedOperation::Pace, result);
            match replied {
                Ok(reply) => Ok(FleetReply {
                    reconnected: history.reconnected,
                    replicas: self.pace.replicas(),
                    ..reply
                }),
                Err(_) => {
                    let history = *self.pace.history.lock();
                    Err(self.pace.away(history.away_since(Instant::now())))
                }
            }
        }
        .boxed()
    }
}

impl SharedCache {
    /// Announces this replica every second, and counts the fleet's, until `stop` is cancelled.
    pub async fn announce(&self, stop: CancellationToken) {
        let mut beats = interval(BEAT_INTERVAL);
        while stop.run_until_cancelled(beats.tick()).await.is_some() {
            let beat = self.pace.commands.run(async |mut connection| {
                let mut beat = BEAT.key(self.names.replicas());
                beat.arg(&self.replica).arg(milliseconds(BEAT_LIFE));
                beat.invoke_async::<u32>(&mut connection).await
            });
            let beat = beat.await;
            if let Ok(replicas) = beat {
                self.pace.counted(replicas, Instant::now());
            }
            let result = beat.map_or_else(CommandError::result, |_| SharedResult::Ok);
            self.count(SharedOperation::Beat, result);
        }
    }

    async fn exchange_slots(
        &self,
        action: Action,
        request: &FleetRequest,
    ) -> Result<FleetReply, CommandError> {
        let (reply, replied) = self
            .pace
            .commands
            .run(async |mut connection| -> RedisResult<(RawReply, Instant)> {
                let script = self.pace_script(action, request, Instant::now());
                let reply = script.invoke_async(&mut connection).await?;
                Ok((reply, Instant::now()))
            })
            .await?;
        Ok(decode(reply, replied))
    }

    /// Builds the call of `scripts/pace.lua`. A redirected command of a cluster counts ends by their age at its first
    /// sending, so that they look later than they were.
    pub(super) fn pace_script(
        &self,
        action: Action,
        request: &FleetRequest,
        now: Instant,
    ) -> ScriptInvocation<'static> {
        let mut script = PACE.prepare_invoke();
        for key in self.names.pace(action) {
            script.key(key);
        }
        let throttle = request.throttled_until;
        let throttle = throttle.map(|until| until.saturating_duration_since(now));
        script
            .arg(&self.replica)
            .arg(request.limit)
            .arg(milliseconds(request.window))
            .arg(milliseconds(request.hold))
            .arg(request.wanted)
            .arg(request.urgent)
            .arg(request.held_ahead)
            .arg(request.first.0)
            .arg(throttle.map_or(0, milliseconds))
            .arg(request.ended.len());
        for (slot, at) in &request.ended {
            let age = now.saturating_duration_since(*at);
            script.arg(slot.0).arg(milliseconds(age));
        }
        for slot in &request.unused {
            script.arg(slot.0);
        }
        script
    }
}

/// Converts times to this process's clock. The server looked at its own before the reply came, so they are rather too
/// late than too early.
fn decode((granted, taken, contenders, number, closed): RawReply, replied: Instant) -> FleetReply {
    let after = |ms: u64| replied + Duration::from_millis(ms);
    let positive = |ms: i64| u64::try_from(ms).unwrap_or(0);
    FleetReply {
        granted: granted.into_iter().map(after).collect(),
        taken: taken.into_iter().map(|ms| after(positive(ms))).collect(),
        contenders,
        throttle: (number > 0).then(|| (number, after(positive(closed)))),
        reconnected: None,
        replicas: None,
    }
}
