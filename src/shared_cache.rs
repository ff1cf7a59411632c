//! What a fleet of gateways shares: a second level behind each one's memory, in Redis or Valkey.
//!
//! ```text
//! memory ─► get: held and fresh ────────────────────────────────► land
//!            ├─ another has the lease: wait for its news, get again
//!            ├─ the lease is ours: ask the origin, renewing ─► put ─► land
//!            └─ no reply in time, no connection: ask the origin alone
//! ```
//!
//! - **One fetch a key across the fleet**, by a lease that ends by itself. What is put must still have
//!   its lease, and an order to forget takes that away: nothing fetched before an order is stored after.
//! - **Orders to forget** go into a log (a stream) that every replica follows, so one that was cut off
//!   catches up exactly, or, where the log does not go on, trusts nothing it holds ([`LogReader`]).
//!   Without a connection that is up to date nothing here is used.
//! - **Loss is a miss.** A command has [`Config::timeout`], too many failures in a row end in a breaker,
//!   and what is of no use (foreign, of another version, damaged, outdated) counts as absent.
//!
//! Whose an image is travels with it; who may see it is decided by each replica, on every answer.

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
mod proof;
mod socket;
mod status;
mod value;
mod watermarks;

pub use check::CheckError;
pub use config::{BadUrl, Config};
pub use invalidate::invalidate;
pub use lease::{FailureMarker, Lease};
pub use log_reader::LogReader;
pub use nonces::{Unavailable, WriteNonce};

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
use commands::{CommandError, Commands};
use get::{GetReply, LookupState};
use invalidation_state::InvalidationState;
use key_names::KeyNames;
use key_waiters::KeyWaiters;
use value::DecodeError;

/// The shared tier, as one replica sees it.
pub struct SharedCache {
    url: String,
    config: Config,
    names: KeyNames,
    /// This replica, to itself.
    replica: String,
    commands: Commands,
    invalidation: Mutex<InvalidationState>,
    waiters: KeyWaiters,
    /// There may be something new in the log.
    wake: Notify,
    up: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for SharedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCache").finish_non_exhaustive()
    }
}

/// What the tier makes of a fetch.
#[derive(Debug)]
pub enum Lookup {
    /// It need not be made.
    Hit(CachedAnswer),
    /// This replica makes it, for all.
    Leased(Lease),
    /// Another replica has just made it, and it failed.
    RecentFailure(FailureMarker),
    /// The tier is of no help now. Where it did not reply in time, this replica may have the lease all
    /// the same, and is to give it back.
    Unavailable(Option<Lease>),
}

impl Lookup {
    /// The word for it.
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
    /// The tier that the settings name, for the answers of one origin; nothing is connected yet.
    #[must_use]
    pub fn from_config(config: &Config, origin: &str, metrics: &Arc<Metrics>) -> Option<Arc<Self>> {
        let url = config.url.clone()?;
        metrics.shared.expose();
        let replica = format!("{:032x}", fastrand::u128(..));
        Some(Arc::new(Self {
            url,
            config: config.clone(),
            names: KeyNames::new(&config.prefix, origin),
            commands: Commands::new(config),
            invalidation: Mutex::new(InvalidationState::new(&replica)),
            replica,
            waiters: KeyWaiters::default(),
            wake: Notify::new(),
            up: watch::Sender::new(false),
            metrics: Arc::clone(metrics),
        }))
    }

    /// Waits until it is connected and up to date, but not for long.
    pub async fn ready(&self, patience: Duration) {
        let mut up = self.up.subscribe();
        if timeout(patience, up.wait_for(|up| *up)).await.is_err() {
            tracing::warn!("the shared tier is not there yet: going on without it");
        }
    }

    /// The greatest age of what is newer than something of this age: two replicas may take one answer
    /// for older by the time that a command takes.
    #[must_use]
    pub fn newer_than(&self, age: Duration) -> Duration {
        age.saturating_sub(APART.min(self.config.timeout.0 * 2))
    }

    /// Finds an image, or makes this replica the one that fetches it. What is found is no older than
    /// `oldest` was when this began, where that is given; what is held and will not do is lent, for when
    /// the fetch fails. Waits for another's fetch as long as that goes on; to be called with a deadline
    /// above it.
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
            let mut notified = pin!(handle.notified());
            notified.as_mut().enable();
            let token = format!("{:032x}", fastrand::u128(..));
            let oldest = oldest.map(|age| age + began.elapsed());
            let reply = match self.get(key, &token, oldest, ignore_stored).await {
                Ok(reply) => reply,
                Err(trouble) => {
                    self.count(SharedOperation::Get, trouble.result());
                    let unsure = trouble == CommandError::Timeout;
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
                    // News can be lost, and who has the lease can be.
                    let longest = reply.lease_left.min(self.config.lease.0 / 2) + jitter();
                    // What wakes it does not matter: it looks again, at what may be another value.
                    let _woken = timeout(longest, notified).await;
                    ignore_stored = false;
                }
            }
        }
    }

    /// What is held, where it is of use here.
    fn fresh_hit(&self, key: &ImageKey, reply: &GetReply, policy: &Policy) -> Option<CachedAnswer> {
        let read = match self.decode(key, reply, policy) {
            Ok((landed, Freshness::Fresh)) => Ok(landed),
            Ok(_) => Err(DecodeError::Outdated),
            Err(unfit) => Err(unfit),
        };
        let result = read
            .as_ref()
            .map_or_else(|unfit| unfit.result(), |_| SharedResult::Hit);
        self.count(SharedOperation::Get, result);
        read.ok()
    }

    /// What is held although it is not fresh, or not fresh enough for who asks.
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

    /// Hears a message of the channel: an image of which there is news, or that there are orders.
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
            Err(trouble) => trouble.result(),
        };
        self.count(operation, result);
    }

    fn count(&self, operation: SharedOperation, result: SharedResult) {
        self.metrics.shared.count(operation, result);
    }
}

/// Two replicas' ages of one answer do not differ by more, usually.
const APART: Duration = Duration::from_millis(100);

/// What keeps those who wait for one image from looking at the same moment.
fn jitter() -> Duration {
    Duration::from_millis(fastrand::u64(1..25))
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
