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
//!   catches up exactly, or, where the log does not go on, trusts nothing it holds ([`Follower`]).
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
mod follower;
mod forgetting;
mod leading;
mod lease;
mod meter;
mod names;
mod nonces;
mod orders;
mod proof;
mod reading;
mod socket;
mod status;
mod value;
mod waiting;

pub use check::Unusable;
pub use config::{BadUrl, Config};
pub use follower::Follower;
pub use forgetting::forget;
pub use lease::{Failure, Lease};
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
use commands::{Commands, Trouble};
use names::Names;
use orders::{Horizon, Unheard};
use reading::{Got, State};
use value::Unfit;
use waiting::Waiting;

/// The shared tier, as one replica sees it.
pub struct Shared {
    url: String,
    config: Config,
    names: Names,
    /// This replica, to itself.
    replica: String,
    commands: Commands,
    horizon: Mutex<Horizon>,
    waiting: Waiting,
    unheard: Mutex<Unheard>,
    /// There may be something new in the log.
    bell: Notify,
    up: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What the tier makes of a fetch.
#[derive(Debug)]
pub enum Begun {
    /// It need not be made.
    Found(CachedAnswer),
    /// This replica makes it, for all.
    Lead(Lease),
    /// Another replica has just made it, and it failed.
    Failed(Failure),
    /// The tier is of no help now. Where it did not reply in time, this replica may have the lease all
    /// the same, and is to give it back.
    Alone(Option<Lease>),
}

impl Begun {
    /// The word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Found(_) => "found",
            Self::Lead(_) => "lead",
            Self::Failed(_) => "failed",
            Self::Alone(_) => "alone",
        }
    }
}

impl Shared {
    /// The tier that the settings name, for the answers of one origin; nothing is connected yet.
    #[must_use]
    pub fn from_config(config: &Config, origin: &str, metrics: &Arc<Metrics>) -> Option<Arc<Self>> {
        let url = config.url.clone()?;
        metrics.shared.expose();
        Some(Arc::new(Self {
            url,
            config: config.clone(),
            names: Names::new(&config.prefix, origin),
            replica: format!("{:032x}", fastrand::u128(..)),
            commands: Commands::new(config),
            horizon: Mutex::default(),
            waiting: Waiting::default(),
            unheard: Mutex::default(),
            bell: Notify::new(),
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
    pub async fn begin(
        &self,
        key: &ImageKey,
        oldest: Option<Duration>,
        policy: &Policy,
        offer_stale: impl Fn(&Arc<Entry>),
    ) -> Begun {
        let (guest, began) = (self.waiting.enter(&key.image), Instant::now());
        let mut overlook = false;
        loop {
            let mut news = pin!(guest.news());
            news.as_mut().enable();
            let token = format!("{:032x}", fastrand::u128(..));
            let oldest = oldest.map(|age| age + began.elapsed());
            let got = match self.get(key, &token, oldest, overlook).await {
                Ok(got) => got,
                Err(trouble) => {
                    self.count(SharedOperation::Get, trouble.result());
                    let unsure = trouble == Trouble::Timeout;
                    return Begun::Alone(unsure.then(|| Lease::unheard(key, token)));
                }
            };
            if let Some(entry) = self.stale(key, &got, policy) {
                offer_stale(&entry);
            }
            match got.state {
                State::Held => match self.take(key, &got, policy) {
                    Some(landed) => return Begun::Found(landed),
                    None => overlook = true,
                },
                State::Leading => return self.lead(key, token, &got),
                State::Failed => {
                    self.count(SharedOperation::Get, SharedResult::Failed);
                    return Begun::Failed(Failure::read(&got.mark));
                }
                State::Taken => {
                    self.count(SharedOperation::Get, SharedResult::Wait);
                    // News can be lost, and who has the lease can be.
                    let longest = got.left.min(self.config.lease.0 / 2) + jitter();
                    // What wakes it does not matter: it looks again, at what may be another value.
                    let _woken = timeout(longest, news).await;
                    overlook = false;
                }
            }
        }
    }

    /// What is held, where it is of use here.
    fn take(&self, key: &ImageKey, got: &Got, policy: &Policy) -> Option<CachedAnswer> {
        let read = match self.read(key, got, policy) {
            Ok((landed, Freshness::Fresh)) => Ok(landed),
            Ok(_) => Err(Unfit::Outdated),
            Err(unfit) => Err(unfit),
        };
        let result = read
            .as_ref()
            .map_or_else(|unfit| unfit.result(), |_| SharedResult::Hit);
        self.count(SharedOperation::Get, result);
        read.ok()
    }

    /// What is held although it is not fresh, or not fresh enough for who asks.
    fn stale(&self, key: &ImageKey, got: &Got, policy: &Policy) -> Option<Arc<Entry>> {
        if got.state == State::Held || got.held.is_empty() {
            return None;
        }
        match self.read(key, got, policy) {
            Ok((CachedAnswer::Image(entry), _)) => Some(entry),
            Ok((CachedAnswer::Negative(_), _)) | Err(_) => None,
        }
    }

    fn lead(&self, key: &ImageKey, token: String, got: &Got) -> Begun {
        self.count(SharedOperation::Get, SharedResult::Miss);
        Begun::Lead(Lease {
            key: key.clone(),
            token,
            began: Some((got.reading, got.position)),
        })
    }

    /// Hears a message of the channel: an image of which there is news, or that there are orders.
    fn hear(&self, message: &[u8]) {
        match std::str::from_utf8(message).map(ImageId::parse) {
            Ok(Ok(image)) => self.waiting.wake(&image),
            _ => self.bell.notify_one(),
        }
    }

    fn tell(&self, operation: SharedOperation, done: Result<bool, Trouble>) {
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

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
