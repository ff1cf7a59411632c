//! Keeps the connection, and follows the log of orders to forget.
//!
//! The log is read from where it was left, last entry included: if that is still there, nothing was
//! missed. It is read at every message of the channel, and a few times a second besides, which also
//! proves that the server is there and takes writes (`proof`). While it cannot be read, what memory holds is not fresh; once it has been read
//! on, it is what it was, less what was ordered. Where the log does not go on (it was lost, or left
//! behind by thousands of orders), what was fetched before is never fresh again.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::SendError;
use redis::{PushInfo, PushKind, RedisError, RedisResult};
use tokio::time::{Instant, error::Elapsed, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{ConnectionError, RedisConnection, connect};
use super::log::{LogEvent, LogRecord, MalformedRecord, Pending, StreamId};
use super::nonces::Completeness;
use super::{SharedCache, whole};
use crate::cache::{Cache, PurgeMode, PurgeTarget};
use crate::observability::logging::{Condition, error_chain};
use crate::observability::metrics::{SharedOperation, SharedResult};

/// The log is read at least so often.
const INTERVAL: Duration = Duration::from_millis(300);
/// A reading that takes longer has failed: a replica that is cut off knows it within a second.
pub(super) const LONGEST: Duration = Duration::from_millis(600);
/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Entries read at once.
pub(super) const PAGE: usize = 500;

/// Follows the log for one cache.
pub struct LogReader<E: Clone + Send + Sync + 'static> {
    shared: Arc<SharedCache>,
    cache: Arc<Cache<E>>,
    /// What was asked for before this is not trusted, whatever the log says.
    stale_before: Option<Instant>,
    /// Where the log was when it was found not to go on.
    gap_at: Option<StreamId>,
    /// What was ordered up to here has been done.
    done_up_to: Option<StreamId>,
}

/// Why following came to an end.
#[derive(Debug, thiserror::Error)]
enum Disconnected {
    #[error(transparent)]
    Connect(#[from] ConnectionError),
    #[error(transparent)]
    Server(#[from] RedisError),
    #[error(transparent)]
    Log(#[from] MalformedRecord),
    #[error("it does not reply")]
    Late(#[from] Elapsed),
    #[error("it refuses commands that it took before")]
    Refused,
    #[error("its address leads to another server by now")]
    Moved,
}

pub(super) type Page = Vec<(String, Vec<(String, String)>)>;

impl<E: Clone + Send + Sync + 'static> LogReader<E> {
    /// Follows the log of this tier for this cache, once it [runs](Self::run).
    #[must_use]
    pub const fn new(shared: Arc<SharedCache>, cache: Arc<Cache<E>>) -> Self {
        Self {
            shared,
            cache,
            stale_before: None,
            gap_at: None,
            done_up_to: None,
        }
    }

    /// Connects, follows, and connects again, until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let Some(lost) = stop.run_until_cancelled(self.follow()).await else {
                break;
            };
            let Err(lost) = lost;
            self.on_disconnected(&lost);
            if began.elapsed() > LAST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let wait = pause.mul_f64(0.5 + fastrand::f64());
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                break;
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
        self.shared.commands.connect(None);
    }

    /// Ends only by losing the connection.
    async fn follow(&mut self) -> Result<Infallible, Disconnected> {
        let shared = Arc::clone(&self.shared);
        let weak = Arc::downgrade(&self.shared);
        let push = move |info: PushInfo| {
            if let Some(shared) = weak.upgrade() {
                shared.on_push(&info);
            }
            Ok::<(), SendError>(())
        };
        let longest = shared.config.connect_timeout.0;
        let mut connection =
            timeout(longest * 2, connect(&shared.url, &shared.config, push)).await??;
        timeout(longest, connection.subscribe(&shared.names.channel())).await??;
        self.catch_up(&mut connection, longest).await?;
        self.check_own_records();
        let begun = shared.begin_write_nonces(&mut connection, Completeness::Assumed);
        timeout(longest, begun).await??;
        self.flush_outbox(&mut connection).await?;
        self.on_connected(&connection);
        let mut moved = pin!(shared.leads_elsewhere(connection.clone()));
        loop {
            tokio::select! {
                // What ends the waiting does not matter: the log is read.
                _rung = timeout(INTERVAL, shared.wake.notified()) => {}
                () = shared.commands.refused.notified() => return Err(Disconnected::Refused),
                () = &mut moved => return Err(Disconnected::Moved),
            }
            self.catch_up(&mut connection, LONGEST).await?;
            self.flush_outbox(&mut connection).await?;
        }
    }

    fn on_connected(&mut self, connection: &RedisConnection) {
        self.cache.set_stale_before(self.stale_before);
        self.shared.commands.connect(Some(connection.clone()));
        self.shared.metrics.shared.up.set(1);
        self.shared.up.send_replace(true);
        self.shared
            .metrics
            .conditions
            .recovered(Condition::SharedTierLost, "");
    }

    fn on_disconnected(&mut self, lost: &Disconnected) {
        self.shared.count(SharedOperation::Orders, lost.result());
        let was_up = self.shared.up.send_replace(false);
        self.shared.commands.connect(None);
        self.shared.metrics.shared.up.set(0);
        // Who waits for another replica goes on alone.
        self.shared.waiters.wake_all();
        if was_up {
            self.cache.set_stale_before(Some(Instant::now()));
        }
        let conditions = &self.shared.metrics.conditions;
        conditions.occurred(Condition::SharedTierLost, "", || error_chain(lost));
    }

    /// Reads the log to its end and does what it says.
    async fn catch_up(
        &mut self,
        connection: &mut RedisConnection,
        longest: Duration,
    ) -> Result<(), Disconnected> {
        if self.shared.watermarks.lock().applied.is_none() {
            // What was fetched before has heard of no order.
            self.stale_before = Some(Instant::now());
        }
        loop {
            let read = self.shared.watermarks.lock().applied;
            let page = timeout(longest, self.shared.prove_and_read(connection, read)).await??;
            let length = page.len();
            match read {
                Some(last) if !starts_at(&page, last)? => {
                    self.on_gap(last);
                    continue;
                }
                None if page.is_empty() => {
                    let nonces = if self.gap_at.is_some() {
                        Completeness::Lost
                    } else {
                        Completeness::New
                    };
                    let begun = self.begin_anew(connection, nonces);
                    timeout(longest, begun).await??;
                    continue;
                }
                Some(_) | None => {}
            }
            self.apply_page(page, read).await?;
            if length < PAGE {
                if self.gap_at.is_some() {
                    // Values may have come back with an older log, so it begins anew, for all.
                    let begun = self.begin_anew(connection, Completeness::Lost);
                    timeout(longest, begun).await??;
                    self.gap_at = None;
                    continue;
                }
                // Where the server's clock was set back, what comes next may be numbered lower.
                self.done_up_to = self.shared.watermarks.lock().applied;
                self.shared.count(SharedOperation::Orders, SharedResult::Ok);
                return Ok(());
            }
        }
    }

    /// Begins the log anew, and before it the record of write nonces, which may have been lost with it.
    async fn begin_anew(
        &self,
        connection: &mut RedisConnection,
        nonces: Completeness,
    ) -> RedisResult<()> {
        self.shared.begin_write_nonces(connection, nonces).await?;
        self.shared.append(connection, LogEvent::LogStart).await?;
        Ok(())
    }

    /// The log does not go on where it was left: orders may have been missed, and how many nobody knows.
    fn on_gap(&mut self, last: StreamId) {
        let conditions = &self.shared.metrics.conditions;
        conditions.occurred(Condition::InvalidationLogLost, "gap", || {
            "it was lost or has run ahead".to_owned()
        });
        self.shared.metrics.shared.discontinuities.inc();
        self.mark_all_stale();
        self.gap_at = Some(last);
        self.shared.watermarks.lock().reset();
        self.shared.resend_recent();
    }

    /// After a new connection: what this replica wrote last must be in the log that it finds.
    fn check_own_records(&self) {
        let mut watermarks = self.shared.watermarks.lock();
        if watermarks.lacks_own_record() {
            watermarks.appended = StreamId::default();
            drop(watermarks);
            self.shared.resend_recent();
        }
    }

    /// What is held may have missed an order, for good.
    fn mark_all_stale(&mut self) {
        self.stale_before = Some(Instant::now());
        self.cache.set_stale_before(self.stale_before);
    }

    /// Does what a page says, in memory first, for all of it counts as heard then; and writes it down.
    async fn apply_page(&mut self, page: Page, read: Option<StreamId>) -> Result<(), Disconnected> {
        let mut done = Vec::new();
        for (id, fields) in page {
            let at: StreamId = id.parse()?;
            if Some(at) == read {
                continue;
            }
            let entry =
                LogRecord::read(&fields).unwrap_or_else(|MalformedRecord| self.on_malformed(at));
            done.extend(self.apply(at, &entry));
        }
        for (scope, how) in &done {
            // The history is read again at the next start, so the journal need not know it.
            if read.is_some() {
                self.cache.journal(scope, *how).await;
            }
        }
        Ok(())
    }

    /// One entry of the log; what was purged, if anything was to be.
    fn apply(&mut self, at: StreamId, entry: &LogRecord) -> Option<(PurgeTarget, PurgeMode)> {
        let LogRecord { writer, event } = entry;
        let mut watermarks = self.shared.watermarks.lock();
        if watermarks.applied.is_none() {
            // What was ordered before the oldest entry is not known.
            watermarks.flush_all_at(at);
        }
        watermarks.record(at, event);
        drop(watermarks);
        if *event == LogEvent::LogStart && self.gap_at.is_some_and(|last| at > last) {
            // Another replica found so before.
            self.gap_at = None;
        }
        let is_new = self.done_up_to.is_none_or(|done| at > done);
        self.done_up_to = self.done_up_to.max(Some(at));
        let forgotten = match event {
            LogEvent::Invalidate(scope, how) if is_new && *writer != self.shared.replica => {
                let purged = self.cache.purge(scope, *how);
                tracing::debug!(?scope, ?how, purged, "another replica ordered to forget");
                match scope {
                    PurgeTarget::Image(image) => self.shared.waiters.wake(image),
                    PurgeTarget::Workspace(_) | PurgeTarget::All => self.shared.waiters.wake_all(),
                }
                Some((scope.clone(), *how))
            }
            LogEvent::LogStart | LogEvent::Invalidate(..) => None,
        };
        // Only now: a value whose fetch begins from here on has been through it.
        self.shared.watermarks.lock().applied = Some(at);
        forgotten
    }

    /// An entry that no gateway of this version writes may order anything.
    fn on_malformed(&mut self, at: StreamId) -> LogRecord {
        let shared = Arc::clone(&self.shared);
        let conditions = &shared.metrics.conditions;
        conditions.occurred(Condition::InvalidationLogLost, "unreadable", || {
            format!("entry {at}")
        });
        shared.count(SharedOperation::Orders, SharedResult::Corrupt);
        shared.metrics.shared.discontinuities.inc();
        self.mark_all_stale();
        LogRecord {
            writer: shared.replica.clone(),
            event: LogEvent::LogStart,
        }
    }

    /// Tells the orders that could not be told when they were given.
    async fn flush_outbox(&self, connection: &mut RedisConnection) -> Result<(), Disconnected> {
        let next = || self.shared.outbox.lock().first();
        while let Some(order) = next() {
            let told = self
                .shared
                .append_invalidation(connection, &order.scope, order.how);
            timeout(LONGEST, told).await??;
            self.shared
                .count(SharedOperation::Invalidate, SharedResult::Ok);
            self.acknowledge(&order);
        }
        Ok(())
    }

    fn acknowledge(&self, order: &Pending) {
        let mut outbox = self.shared.outbox.lock();
        outbox.acknowledge(order);
        self.shared.metrics.shared.unheard.set(whole(outbox.len()));
    }
}

impl SharedCache {
    /// Hears what the server sends unasked.
    fn on_push(&self, info: &PushInfo) {
        match info.kind {
            PushKind::Message => {
                if let Some(message) = redis::Msg::from_push_info(info.clone()) {
                    self.on_message(message.get_payload_bytes());
                }
            }
            // Reading the log tells what it means.
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

/// Whether the entry that was read last is still there.
fn starts_at(page: &Page, last: StreamId) -> Result<bool, MalformedRecord> {
    match page.first() {
        None => Ok(false),
        Some((id, _)) => Ok(id.parse::<StreamId>()? == last),
    }
}
