//! Second cache level of a fleet of gateways, in Redis or Valkey, behind each replica's memory.
//!
//! ```text
//! miss in memory ─► get ─┬─ fresh value ──────────────────────────────────► memory
//!                        ├─ leased by another replica: wait for its message, get again
//!                        ├─ leased by this replica: fetch, renewing ─► put ─► memory
//!                        └─ no reply in time, no connection: fetch alone ──► memory
//! ```
//!
//! - **One fetch a key across the fleet**: a lease that expires by itself gives one replica the right to
//!   fetch. A put needs its lease, and an invalidation deletes the lease, so an answer fetched before an
//!   invalidation is never stored after it.
//! - **Invalidations** are records of a log (a stream) that every replica reads. A replica that was cut off
//!   catches up exactly. If the log does not go on where the replica left it, every entry in its memory is
//!   stale ([`LogReader`]). Lookups need a connection over which the log has been read to its end.
//! - **One walk of the catalogue for the fleet**: its pages are stored, and the log says that it is complete
//!   ([`SharedWalk`]).
//! - **One pace for the fleet**: calls to the origin take their slots here ([`FleetPace`](crate::upstream::FleetPace)).
//! - **Loss is a miss**: a command has [`Config::timeout`], a breaker opens after too many failures in a row,
//!   and a value that is foreign, damaged, outdated or of another version counts as absent.
//!
//! A stored image carries its workspace and owner; each replica authorizes every response by itself.

mod check;
mod clock;
mod commands;
mod config;
mod connection;
mod fill;
mod get;
mod invalidate;
mod invalidation_state;
mod key_names;
mod key_waiters;
mod lease;
mod log;
mod log_reader;
mod meter;
mod nonces;
mod outbox;
mod pace;
mod proof;
mod socket;
mod status;
mod value;
mod walks;
mod watermarks;

pub use check::CheckError;
pub use config::{BadUrl, Config};
pub use invalidate::invalidate;
pub use lease::{FailureMarker, Lease};
pub use log_reader::LogReader;
pub use nonces::{Unavailable, WriteNonce};
pub use walks::{SharedWalk, WalkClaim, WalkGroup, WalkLease, WalkName, WalkResult};

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::api::{ImageId, ImageKey};
use crate::cache::{CachedAnswer, Entry, Freshness, Policy};
use crate::observability::metrics::{Metrics, SharedOperation, SharedResult};
use clock::ClockReading;
use commands::{CommandError, Commands};
use get::{GetReply, LookupState};
use invalidation_state::InvalidationState;
use key_names::KeyNames;
use key_waiters::KeyWaiters;
use pace::PaceConnection;
use value::DecodeError;
use walks::Walks;

/// One replica's handle to the shared cache: its connection, its position in the log, and its waiters.
pub struct SharedCache {
    url: String,
    config: Config,
    names: KeyNames,
    /// Random name of this replica, drawn at each start.
    replica: String,
    commands: Commands,
    pace: PaceConnection,
    invalidation: Mutex<InvalidationState>,
    waiters: KeyWaiters,
    walks: Walks,
    /// Wakes the log reader: the log may have a new record, or the outbox a new invalidation.
    wake: Notify,
    up: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for SharedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCache").finish_non_exhaustive()
    }
}

/// Result of a lookup: an answer, or the way in which to fetch one.
#[derive(Debug)]
pub enum Lookup {
    /// A stored answer that is fresh for this replica and this request.
    Hit(CachedAnswer),
    /// This replica fetches for the whole fleet, and gives the lease back with or without an answer.
    Leased(Lease),
    /// Another replica's fetch failed within the last moments, so the origin is not asked again.
    RecentFailure(FailureMarker),
    /// The shared cache cannot be used now. After a time-out the server may have granted the lease all the
    /// same; the caller releases it.
    Unavailable(Option<Lease>),
}

impl Lookup {
    /// Returns the `result` attribute of the lookup's span.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Hit(_) => "found",
            Self::Leased(_) => "lead",
            Self::RecentFailure(_) => "failed",
            Self::Unavailable(_) => "alone",
        }
    }
}

impl SharedCache {
    /// Creates the handle for the answers of one origin, or `None` without a URL. Connecting is the
    /// [`LogReader`]'s task.
    #[must_use]
    pub fn from_config(config: &Config, origin: &str, metrics: &Arc<Metrics>) -> Option<Arc<Self>> {
        let url = config.url.clone()?;
        metrics.shared.expose();
        let replica = random_name();
        Some(Arc::new(Self {
            url,
            config: config.clone(),
            names: KeyNames::new(&config.prefix, origin),
            commands: Commands::new(config),
            pace: PaceConnection::new(config),
            invalidation: Mutex::new(InvalidationState::new(&replica)),
            replica,
            waiters: KeyWaiters::default(),
            walks: Walks::new(config),
            wake: Notify::new(),
            up: watch::Sender::new(false),
            metrics: Arc::clone(metrics),
        }))
    }

    /// Waits until the log has been read to its end, at most for `patience`; then logs a warning and returns.
    pub async fn ready(&self, patience: Duration) {
        let mut up = self.up.subscribe();
        if timeout(patience, up.wait_for(|up| *up)).await.is_err() {
            tracing::warn!("the shared cache is not connected yet: starting without it");
        }
    }

    /// Returns the greatest age at which a stored answer counts as newer than one of this `age`. Two replicas
    /// may see one answer's age differ by the time that a command takes, so a margin is subtracted.
    #[must_use]
    pub fn newer_than(&self, age: Duration) -> Duration {
        age.saturating_sub(APART.min(self.config.timeout.0 * 2))
    }

    /// Returns a fresh answer, or a lease to fetch one.
    ///
    /// `oldest` bounds the age that the answer had when this call began. A stored entry that does not meet it,
    /// or is not fresh, goes to `offer_stale`, for use if the fetch fails. The call waits for as long as another
    /// replica's fetch continues, so the caller sets a deadline. A failing server never fails the lookup: the
    /// result is [`Lookup::Unavailable`].
    pub async fn get_or_lease(
        &self,
        key: &ImageKey,
        oldest: Option<Duration>,
        policy: &Policy,
        offer_stale: impl Fn(&Arc<Entry>),
    ) -> Lookup {
        let (handle, began) = (self.waiters.register(&key.image), Instant::now());
        let mut ignore_stored = false;
        loop {
            // Enabled before the get: a message that comes between the reply and the wait is not lost.
            let mut notified = pin!(handle.notified());
            notified.as_mut().enable();
            let token = random_name();
            let oldest = oldest.map(|age| age + began.elapsed());
            let reply = match self.get(key, &token, oldest, ignore_stored).await {
                Ok(reply) => reply,
                Err(error) => {
                    self.count(SharedOperation::Get, error.result());
                    let unsure = error == CommandError::Timeout;
                    return Lookup::Unavailable(unsure.then(|| Lease::unconfirmed(key, token)));
                }
            };
            if let Some(entry) = self.stale_entry(key, &reply, policy) {
                offer_stale(&entry);
            }
            match reply.state {
                LookupState::Fresh => match self.fresh_hit(key, &reply, policy) {
                    Some(landed) => return Lookup::Hit(landed),
                    None => ignore_stored = true,
                },
                LookupState::Leased => return self.leased(key, token, &reply),
                LookupState::RecentFailure => {
                    self.count(SharedOperation::Get, SharedResult::Failed);
                    return Lookup::RecentFailure(FailureMarker::decode(&reply.marker));
                }
                LookupState::LeasedElsewhere => {
                    self.count(SharedOperation::Get, SharedResult::Wait);
                    // The message can be lost, and the replica that holds the lease can die.
                    let longest = reply.lease_left.min(self.config.lease.0 / 2) + jitter();
                    // A message and a time-out both lead to another get, which may find another value.
                    let _woken = timeout(longest, notified).await;
                    ignore_stored = false;
                }
            }
        }
    }

    /// Decodes the stored value, if it is fresh by this replica's settings, and counts the result.
    fn fresh_hit(&self, key: &ImageKey, reply: &GetReply, policy: &Policy) -> Option<CachedAnswer> {
        let read = match self.decode(key, reply, policy) {
            Ok((landed, Freshness::Fresh)) => Ok(landed),
            Ok(_) => Err(DecodeError::Outdated),
            Err(error) => Err(error),
        };
        let result = read
            .as_ref()
            .map_or_else(|error| error.result(), |_| SharedResult::Hit);
        self.count(SharedOperation::Get, result);
        read.ok()
    }

    /// Decodes the stored image if it is not fresh, or not fresh enough for this request.
    fn stale_entry(&self, key: &ImageKey, reply: &GetReply, policy: &Policy) -> Option<Arc<Entry>> {
        if reply.state == LookupState::Fresh || reply.stored.is_empty() {
            return None;
        }
        match self.decode(key, reply, policy) {
            Ok((CachedAnswer::Image(entry), _)) => Some(entry),
            Ok((CachedAnswer::Negative(_), _)) | Err(_) => None,
        }
    }

    fn leased(&self, key: &ImageKey, token: String, reply: &GetReply) -> Lookup {
        self.count(SharedOperation::Get, SharedResult::Miss);
        Lookup::Leased(Lease {
            key: key.clone(),
            token,
            granted: Some((reply.clock, reply.watermark)),
        })
    }

    /// Takes a message of the channel: the id of an image whose fetch ended, or the announcement of a record.
    fn on_message(&self, message: &[u8]) {
        match std::str::from_utf8(message).map(ImageId::parse) {
            Ok(Ok(image)) => self.waiters.wake(&image),
            _ => self.wake.notify_one(),
        }
    }

    fn count_result(&self, operation: SharedOperation, done: Result<bool, CommandError>) {
        let result = match done {
            Ok(true) => SharedResult::Ok,
            Ok(false) => SharedResult::Overtaken,
            Err(error) => error.result(),
        };
        self.count(operation, result);
    }

    fn count(&self, operation: SharedOperation, result: SharedResult) {
        self.metrics.shared.count(operation, result);
    }
}

/// Margin between two replicas' views of one answer's age, where commands may take longer.
const APART: Duration = Duration::from_millis(100);

/// Random delay that keeps the waiters of one image from sending their gets at the same moment.
fn jitter() -> Duration {
    Duration::from_millis(fastrand::u64(1..25))
}

/// Returns the reading of a reply that has just come to a command which was sent at `asked`.
fn clock_reading(server: u64, asked: Instant) -> ClockReading {
    ClockReading {
        server,
        asked,
        replied: Instant::now(),
    }
}

/// Draws 128 bits, as the name of a replica or of what it holds, which no other has.
fn random_name() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
