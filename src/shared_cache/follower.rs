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

use super::connection::{Connection, Unconnected, connect};
use super::nonces::Completeness;
use super::orders::{Entry, Order, Position, Unreadable, Untold};
use super::{Shared, whole};
use crate::cache::{Cache, Scope, Thoroughness};
use crate::observability::logging::{Condition, told};
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
pub struct Follower<E: Clone + Send + Sync + 'static> {
    shared: Arc<Shared>,
    cache: Arc<Cache<E>>,
    /// What was asked for before this is not trusted, whatever the log says.
    floor: Option<Instant>,
    /// Where the log was when it was found not to go on.
    broken: Option<Position>,
    /// What was ordered up to here has been done.
    obeyed: Option<Position>,
}

/// Why following came to an end.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Unconnected(#[from] Unconnected),
    #[error(transparent)]
    Server(#[from] RedisError),
    #[error(transparent)]
    Log(#[from] Unreadable),
    #[error("it does not reply")]
    Late(#[from] Elapsed),
    #[error("it refuses commands that it took before")]
    Refused,
    #[error("its address leads to another server by now")]
    Moved,
}

pub(super) type Page = Vec<(String, Vec<(String, String)>)>;

impl<E: Clone + Send + Sync + 'static> Follower<E> {
    /// Follows the log of this tier for this cache, once it [runs](Self::run).
    #[must_use]
    pub const fn new(shared: Arc<Shared>, cache: Arc<Cache<E>>) -> Self {
        Self {
            shared,
            cache,
            floor: None,
            broken: None,
            obeyed: None,
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
            self.lose(&lost);
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
    async fn follow(&mut self) -> Result<Infallible, Lost> {
        let shared = Arc::clone(&self.shared);
        let ear = Arc::downgrade(&self.shared);
        let push = move |info: PushInfo| {
            if let Some(shared) = ear.upgrade() {
                shared.pushed(&info);
            }
            Ok::<(), SendError>(())
        };
        let longest = shared.config.connect_timeout.0;
        let mut connection =
            timeout(longest * 2, connect(&shared.url, &shared.config, push)).await??;
        timeout(longest, connection.subscribe(&shared.names.news())).await??;
        self.catch_up(&mut connection, longest).await?;
        self.miss_own();
        let begun = shared.begin_write_nonces(&mut connection, Completeness::Assumed);
        timeout(longest, begun).await??;
        self.deliver(&mut connection).await?;
        self.gain(&connection);
        let mut moved = pin!(shared.leads_elsewhere(connection.clone()));
        loop {
            tokio::select! {
                // What ends the waiting does not matter: the log is read.
                _rung = timeout(INTERVAL, shared.bell.notified()) => {}
                () = shared.commands.refused.notified() => return Err(Lost::Refused),
                () = &mut moved => return Err(Lost::Moved),
            }
            self.catch_up(&mut connection, LONGEST).await?;
            self.deliver(&mut connection).await?;
        }
    }

    fn gain(&mut self, connection: &Connection) {
        self.cache.set_stale_before(self.floor);
        self.shared.commands.connect(Some(connection.clone()));
        self.shared.metrics.shared.up.set(1);
        self.shared.up.send_replace(true);
        self.shared
            .metrics
            .conditions
            .recovered(Condition::SharedTierLost, "");
    }

    fn lose(&mut self, lost: &Lost) {
        self.shared.count(SharedOperation::Orders, lost.result());
        let was_up = self.shared.up.send_replace(false);
        self.shared.commands.connect(None);
        self.shared.metrics.shared.up.set(0);
        // Who waits for another replica goes on alone.
        self.shared.waiting.wake_all();
        if was_up {
            self.cache.set_stale_before(Some(Instant::now()));
        }
        let conditions = &self.shared.metrics.conditions;
        conditions.occurred(Condition::SharedTierLost, "", || told(lost));
    }

    /// Reads the log to its end and does what it says.
    async fn catch_up(
        &mut self,
        connection: &mut Connection,
        longest: Duration,
    ) -> Result<(), Lost> {
        if self.shared.horizon.lock().read.is_none() {
            // What was fetched before has heard of no order.
            self.floor = Some(Instant::now());
        }
        loop {
            let read = self.shared.horizon.lock().read;
            let page = timeout(longest, self.shared.prove_and_read(connection, read)).await??;
            let length = page.len();
            match read {
                Some(last) if !starts_at(&page, last)? => {
                    self.discontinue(last);
                    continue;
                }
                None if page.is_empty() => {
                    let nonces = if self.broken.is_some() {
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
            self.obey(page, read).await?;
            if length < PAGE {
                if self.broken.is_some() {
                    // Values may have come back with an older log, so it begins anew, for all.
                    let begun = self.begin_anew(connection, Completeness::Lost);
                    timeout(longest, begun).await??;
                    self.broken = None;
                    continue;
                }
                // Where the server's clock was set back, what comes next may be numbered lower.
                self.obeyed = self.shared.horizon.lock().read;
                self.shared.count(SharedOperation::Orders, SharedResult::Ok);
                return Ok(());
            }
        }
    }

    /// Begins the log anew, and before it the record of write nonces, which may have been lost with it.
    async fn begin_anew(
        &self,
        connection: &mut Connection,
        nonces: Completeness,
    ) -> RedisResult<()> {
        self.shared.begin_write_nonces(connection, nonces).await?;
        self.shared.write(connection, Order::Begin).await?;
        Ok(())
    }

    /// The log does not go on where it was left: orders may have been missed, and how many nobody knows.
    fn discontinue(&mut self, last: Position) {
        let conditions = &self.shared.metrics.conditions;
        conditions.occurred(Condition::InvalidationLogLost, "gap", || {
            "it was lost or has run ahead".to_owned()
        });
        self.shared.metrics.shared.discontinuities.inc();
        self.distrust();
        self.broken = Some(last);
        self.shared.horizon.lock().lose();
        self.shared.tell_again();
    }

    /// After a new connection: what this replica wrote last must be in the log that it finds.
    fn miss_own(&self) {
        let mut horizon = self.shared.horizon.lock();
        if horizon.misses_own() {
            horizon.written = Position::default();
            drop(horizon);
            self.shared.tell_again();
        }
    }

    /// What is held may have missed an order, for good.
    fn distrust(&mut self) {
        self.floor = Some(Instant::now());
        self.cache.set_stale_before(self.floor);
    }

    /// Does what a page says, in memory first, for all of it counts as heard then; and writes it down.
    async fn obey(&mut self, page: Page, read: Option<Position>) -> Result<(), Lost> {
        let mut done = Vec::new();
        for (id, fields) in page {
            let at: Position = id.parse()?;
            if Some(at) == read {
                continue;
            }
            let entry = Entry::read(&fields).unwrap_or_else(|Unreadable| self.unreadable(at));
            done.extend(self.carry_out(at, &entry));
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
    fn carry_out(&mut self, at: Position, entry: &Entry) -> Option<(Scope, Thoroughness)> {
        let Entry { by, order } = entry;
        let mut horizon = self.shared.horizon.lock();
        if horizon.read.is_none() {
            // What was ordered before the oldest entry is not known.
            horizon.begin(at);
        }
        horizon.note(at, order);
        drop(horizon);
        if *order == Order::Begin && self.broken.is_some_and(|last| at > last) {
            // Another replica found so before.
            self.broken = None;
        }
        let is_new = self.obeyed.is_none_or(|obeyed| at > obeyed);
        self.obeyed = self.obeyed.max(Some(at));
        let forgotten = match order {
            Order::Forget(scope, how) if is_new && *by != self.shared.replica => {
                let purged = self.cache.purge(scope, *how);
                tracing::debug!(?scope, ?how, purged, "another replica ordered to forget");
                match scope {
                    Scope::Image(image) => self.shared.waiting.wake(image),
                    Scope::Workspace(_) | Scope::All => self.shared.waiting.wake_all(),
                }
                Some((scope.clone(), *how))
            }
            Order::Begin | Order::Forget(..) => None,
        };
        // Only now: a value whose fetch begins from here on has been through it.
        self.shared.horizon.lock().read = Some(at);
        forgotten
    }

    /// An entry that no gateway of this version writes may order anything.
    fn unreadable(&mut self, at: Position) -> Entry {
        let shared = Arc::clone(&self.shared);
        let conditions = &shared.metrics.conditions;
        conditions.occurred(Condition::InvalidationLogLost, "unreadable", || {
            format!("entry {at}")
        });
        shared.count(SharedOperation::Orders, SharedResult::Corrupt);
        shared.metrics.shared.discontinuities.inc();
        self.distrust();
        Entry {
            by: shared.replica.clone(),
            order: Order::Begin,
        }
    }

    /// Tells the orders that could not be told when they were given.
    async fn deliver(&self, connection: &mut Connection) -> Result<(), Lost> {
        let next = || self.shared.unheard.lock().first();
        while let Some(order) = next() {
            let told = self.shared.order(connection, &order.scope, order.how);
            timeout(LONGEST, told).await??;
            self.shared
                .count(SharedOperation::Invalidate, SharedResult::Ok);
            self.heard(&order);
        }
        Ok(())
    }

    fn heard(&self, order: &Untold) {
        let mut unheard = self.shared.unheard.lock();
        unheard.heard(order);
        self.shared.metrics.shared.unheard.set(whole(unheard.len()));
    }
}

impl Shared {
    /// Hears what the server sends unasked.
    fn pushed(&self, info: &PushInfo) {
        match info.kind {
            PushKind::Message => {
                if let Some(message) = redis::Msg::from_push_info(info.clone()) {
                    self.hear(message.get_payload_bytes());
                }
            }
            // Reading the log tells what it means.
            PushKind::Disconnection => self.bell.notify_one(),
            _ => {}
        }
    }
}

impl Lost {
    const fn result(&self) -> SharedResult {
        match self {
            Self::Late(_) => SharedResult::Timeout,
            Self::Log(_) => SharedResult::Corrupt,
            Self::Unconnected(_) | Self::Server(_) | Self::Refused | Self::Moved => {
                SharedResult::Error
            }
        }
    }
}

/// Whether the entry that was read last is still there.
fn starts_at(page: &Page, last: Position) -> Result<bool, Unreadable> {
    match page.first() {
        None => Ok(false),
        Some((id, _)) => Ok(id.parse::<Position>()? == last),
    }
}
