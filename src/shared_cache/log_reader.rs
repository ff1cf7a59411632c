//! Task that keeps the connection to the server and applies the invalidation log to memory.
//!
//! It reads the log from the last applied record, that record included: while it is still there, no
//! invalidation was missed. It reads at every message of the channel and every [`POLL_INTERVAL`] besides, in
//! a pipeline with a write, which proves that the server is a writable primary ([`proof`](super::proof)).
//! [`InvalidationState`](super::invalidation_state) decides the effects of a page; this file does the I/O.
//!
//! While the log cannot be read, no cached entry counts as fresh and no lookup uses the shared cache.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::SendError;
use redis::{PushInfo, PushKind, RedisError, RedisResult};
use tokio::time::{Instant, error::Elapsed, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::SharedCache;
use super::connection::{ConnectionError, RedisConnection, connect};
use super::invalidation_state::{Effect, Event};
use super::log::{Invalidation, LogEvent, MalformedRecord, Page};
use super::nonces::Completeness;
use crate::cache::{Cache, PurgeTarget};
use crate::error_chain::error_chain;
use crate::observability::logging::Condition;
use crate::observability::metrics::{SharedOperation, SharedResult};

/// Longest time between two reads of the log. Messages of the channel can be lost; with
/// [`READ_TIMEOUT`] it bounds the time to an invalidation, or to noticing a lost server, below a second.
const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// Time for one read, after which the connection counts as lost.
pub(super) const READ_TIMEOUT: Duration = Duration::from_millis(600);
/// First pause between attempts to connect; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Applies the invalidations of the whole fleet to one replica's cache.
pub struct LogReader<E: Clone + Send + Sync + 'static> {
    shared: Arc<SharedCache>,
    cache: Arc<Cache<E>>,
}

/// Reason why a connection is given up.
#[derive(Debug, thiserror::Error)]
enum Disconnected {
    #[error(transparent)]
    Connect(#[from] ConnectionError),
    #[error(transparent)]
    Server(#[from] RedisError),
    #[error(transparent)]
    Log(#[from] MalformedRecord),
    #[error("the server does not reply in time")]
    Late(#[from] Elapsed),
    #[error("the server refuses commands that it accepted before")]
    Refused,
    #[error("the address leads to another server by now")]
    Moved,
}

impl<E: Clone + Send + Sync + 'static> LogReader<E> {
    /// Creates the task's state; nothing is connected before it [runs](Self::run).
    #[must_use]
    pub const fn new(shared: Arc<SharedCache>, cache: Arc<Cache<E>>) -> Self {
        Self { shared, cache }
    }

    /// Connects, reads, and connects again after each loss, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = MIN_PAUSE;
        loop {
            let began = Instant::now();
            let Some(lost) = stop.run_until_cancelled(self.follow()).await else {
                break;
            };
            let Err(lost) = lost;
            self.on_disconnected(&lost).await;
            if began.elapsed() > MAX_PAUSE {
                pause = MIN_PAUSE;
            }
            // Spread by half either way, so that a fleet does not reconnect to a restarted server at once.
            let wait = pause.mul_f64(0.5 + fastrand::f64());
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                break;
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
        self.shared.connect(None);
    }

    /// Connects and reads the log until the connection is lost.
    ///
    /// The order of the steps is what makes the first lookup safe: subscribe before reading, or a record
    /// between the two would wait for the next poll; read to the end and deliver the outbox before the
    /// connection serves lookups, or one could use a value that an invalidation is about.
    async fn follow(&self) -> Result<Infallible, Disconnected> {
        let shared = Arc::clone(&self.shared);
        // The library's task holds this closure; a strong reference would keep the cache alive past a stop.
        let weak = Arc::downgrade(&self.shared);
        let push = move |info: PushInfo| {
            if let Some(shared) = weak.upgrade() {
                shared.on_push(&info);
            }
            Ok::<(), SendError>(())
        };
        let limit = shared.config.connect_timeout.0;
        let connecting = connect(&shared.url, &shared.config, push);
        let mut connection = timeout(limit * 2, connecting).await??;
        timeout(limit, connection.subscribe(&shared.names.channel())).await??;
        self.catch_up(&mut connection, limit).await?;
        let now = Instant::now();
        self.apply(Event::Resumed { now }).await;
        let begun = shared.begin_write_nonces(&mut connection, Completeness::Assumed);
        timeout(limit, begun).await??;
        self.flush_outbox(&mut connection).await?;
        self.on_connected(&connection).await;
        let mut moved = pin!(shared.leads_elsewhere(connection.clone()));
        loop {
            tokio::select! {
                // A message and a time-out both lead to a read: messages are hints, and may be lost.
                _woken = timeout(POLL_INTERVAL, shared.wake.notified()) => {}
                () = shared.commands.refused.notified() => return Err(Disconnected::Refused),
                () = &mut moved => return Err(Disconnected::Moved),
            }
            self.catch_up(&mut connection, READ_TIMEOUT).await?;
            self.flush_outbox(&mut connection).await?;
        }
    }

    /// Reads the log to its end, page by page, and applies each page. `limit` bounds each command.
    async fn catch_up(
        &self,
        connection: &mut RedisConnection,
        limit: Duration,
    ) -> Result<(), Disconnected> {
        let now = Instant::now();
        self.apply(Event::CatchUpStarted { now }).await;
        loop {
            let from = self.shared.invalidation.lock().applied();
            let raw = timeout(limit, self.shared.prove_and_read(connection, from)).await??;
            let (page, now) = (Page::parse(&raw)?, Instant::now());
            match self.apply(Event::PageRead { page, now }).await {
                NextStep::Page => {}
                NextStep::LogStart(nonces) => {
                    timeout(limit, self.start_log(connection, nonces)).await??;
                }
                NextStep::Nothing => break,
            }
        }
        self.shared.count(SharedOperation::Orders, SharedResult::Ok);
        Ok(())
    }

    /// Feeds an event to the state, carries out the effects that need no connection, in their order, and
    /// returns the step that does.
    async fn apply(&self, event: Event) -> NextStep {
        let shared = &self.shared;
        let mut next = NextStep::Nothing;
        for effect in shared.apply(event) {
            match effect {
                Effect::MarkStaleBefore(time) => self.cache.set_stale_before(time),
                Effect::Purge(invalidation) => self.purge(&invalidation),
                Effect::ApplyWalk(name) => shared.walks.push(name),
                Effect::ConfirmApplied(at) => drop(shared.apply(Event::Applied(at))),
                Effect::Journal(Invalidation { target, mode }) => {
                    self.cache.journal(&target, mode).await;
                }
                Effect::ReadNextPage => next = NextStep::Page,
                Effect::StartLog(nonces) => next = NextStep::LogStart(nonces),
                Effect::ReportGap => shared.report_lost("gap", || {
                    "it was lost, or records were dropped before this replica read them".to_owned()
                }),
                Effect::ReportMalformed(at) => {
                    shared.count(SharedOperation::Orders, SharedResult::Corrupt);
                    shared.report_lost("unreadable", || format!("record {at}"));
                }
            }
        }
        next
    }

    /// Purges entries from this replica's memory that another replica invalidated.
    fn purge(&self, Invalidation { target, mode }: &Invalidation) {
        let purged = self.cache.purge(target, *mode);
        tracing::debug!(
            ?target,
            ?mode,
            purged,
            "applied another replica's invalidation"
        );
        // The invalidation took away the lease that these wait for, so they look again.
        match target {
            PurgeTarget::Image(image) => self.shared.waiters.wake(image),
            PurgeTarget::Lists => {}
            PurgeTarget::Workspace(_) | PurgeTarget::All => self.shared.waiters.wake_all(),
        }
    }

    /// Restarts the log, and before it the record of write nonces, which may have been lost with it: a
    /// replica that finds the new log must not find the old nonces complete.
    async fn start_log(
        &self,
        connection: &mut RedisConnection,
        nonces: Completeness,
    ) -> RedisResult<()> {
        self.shared.begin_write_nonces(connection, nonces).await?;
        self.shared.append(connection, LogEvent::LogStart).await?;
        self.apply(Event::LogStarted).await;
        Ok(())
    }

    /// Appends the invalidations that could not be appended when they were ordered, oldest first.
    async fn flush_outbox(&self, connection: &mut RedisConnection) -> Result<(), Disconnected> {
        let next = || self.shared.invalidation.lock().next_pending();
        while let Some(pending) = next() {
            let appending = self
                .shared
                .append_invalidation(connection, &pending.invalidation);
            timeout(READ_TIMEOUT, appending).await??;
            self.shared
                .count(SharedOperation::Invalidate, SharedResult::Ok);
            self.apply(Event::Delivered(pending)).await;
        }
        Ok(())
    }

    /// Opens the connection to lookups. The mark comes first: an entry that missed an invalidation must not
    /// count as fresh beside a shared cache that is in use.
    async fn on_connected(&self, connection: &RedisConnection) {
        self.apply(Event::Connected).await;
        let shared = &self.shared;
        shared.connect(Some(connection));
        shared.metrics.shared.up.set(1);
        shared.up.send_replace(true);
        let conditions = &shared.metrics.conditions;
        conditions.recovered(Condition::SharedTierLost, "");
    }

    async fn on_disconnected(&self, lost: &Disconnected) {
        let shared = &self.shared;
        shared.count(SharedOperation::Orders, lost.result());
        shared.up.send_replace(false);
        shared.connect(None);
        shared.metrics.shared.up.set(0);
        // Their lease holder's message cannot arrive any more, so waiters fetch on their own.
        shared.waiters.wake_all();
        let now = Instant::now();
        self.apply(Event::Disconnected { now }).await;
        let conditions = &shared.metrics.conditions;
        conditions.occurred(Condition::SharedTierLost, "", || error_chain(lost));
    }
}

/// Step of [`LogReader::catch_up`] that needs the connection.
enum NextStep {
    /// The log has been read to its end.
    Nothing,
    Page,
    /// Restart the log, then continue to read.
    LogStart(Completeness),
}

impl SharedCache {
    /// Replaces the connection by which commands are sent, or takes it away.
    fn connect(&self, connection: Option<&RedisConnection>) {
        self.commands.connect(connection.cloned());
        self.walks.commands.connect(connection.cloned());
        self.pace.connect(connection.cloned(), Instant::now());
    }

    /// Feeds an event to the state and returns the effects that follow from it.
    pub(super) fn apply(&self, event: Event) -> Vec<Effect> {
        let mut state = self.invalidation.lock();
        let effects = state.apply(event);
        let pending = i64::try_from(state.pending()).unwrap_or(i64::MAX);
        self.metrics.shared.pending_invalidations.set(pending);
        effects
    }

    fn report_lost(&self, kind: &'static str, detail: impl FnOnce() -> String) {
        let conditions = &self.metrics.conditions;
        conditions.occurred(Condition::InvalidationLogLost, kind, detail);
        self.metrics.shared.discontinuities.inc();
    }

    /// Takes a message that the server sends unasked.
    fn on_push(&self, info: &PushInfo) {
        match info.kind {
            PushKind::Message => {
                if let Some(message) = redis::Msg::from_push_info(info.clone()) {
                    self.on_message(message.get_payload_bytes());
                }
            }
            // The next read fails, and tells why.
            PushKind::Disconnection => self.wake.notify_one(),
            _ => {}
        }
    }
}

impl Disconnected {
    const fn result(&self) -> SharedResult {
        match self {
            Self::Late(_) => SharedResult::Timeout,
            Self::Log(_) => SharedResult::Corrupt,
            Self::Connect(_) | Self::Server(_) | Self::Refused | Self::Moved => SharedResult::Error,
        }
    }
}
