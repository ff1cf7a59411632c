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
mod lease;
mod names;
mod orders;
mod status;
mod value;
mod waiting;

pub use check::Unusable;
pub use config::{BadUrl, Config};
pub use follower::Follower;
pub use lease::{Failure, Lease};

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Script, aio::ConnectionLike};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::api::{ImageId, ImageKey};
use crate::cache::{Cache, Entry, Freshness, Landed, Policy, Scope, Thoroughness};
use crate::metrics::{Metrics, SharedOperation, SharedResult};
use clock::Reading;
use commands::{Commands, Trouble};
use connection::Connection;
use names::Names;
use orders::{Horizon, Order, Position, Unheard};
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

/// Makes the whole fleet forget, and tells how many entries of this replica that met. See
/// [`Cache::purge_for_good`].
pub async fn forget<E: Clone + Send + Sync + 'static>(
    shared: Option<&Arc<Shared>>,
    cache: &Cache<E>,
    scope: &Scope,
    how: Thoroughness,
) -> u64 {
    // First there, or a fetch could bring back from there what is forgotten here.
    if let Some(shared) = shared {
        shared.forget(scope, how).await;
    }
    cache.purge_for_good(scope, how).await
}

/// What the tier makes of a fetch.
#[derive(Debug)]
pub enum Begun {
    /// It need not be made.
    Found(Landed),
    /// This replica makes it, for all; with what is held, stale, for when it fails.
    Lead(Lease, Option<Arc<Entry>>),
    /// Another replica has just made it, and it failed.
    Failed(Failure),
    /// The tier is of no help now.
    Alone,
}

impl Begun {
    /// The word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Found(_) => "found",
            Self::Lead(..) => "lead",
            Self::Failed(_) => "failed",
            Self::Alone => "alone",
        }
    }
}

static GET: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("shared/scripts/get.lua")));
static PUT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("shared/scripts/put.lua")));
static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("shared/scripts/renew.lua")));
static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("shared/scripts/release.lua")));

/// What a get replied.
struct Got {
    state: u8,
    text: Vec<u8>,
    left: Duration,
    reading: Reading,
}

impl Shared {
    /// The tier that the settings name, for the answers of one origin; nothing is connected yet.
    #[must_use]
    pub fn from_config(config: &Config, origin: &str, metrics: &Arc<Metrics>) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            url: config.url.clone()?,
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
    /// `oldest`, where that is given. Waits for another's fetch as long as that goes on; to be
    /// called with a deadline above it.
    pub async fn begin(&self, key: &ImageKey, oldest: Option<Duration>, policy: &Policy) -> Begun {
        let guest = self.waiting.enter(&key.image);
        let mut overlook = false;
        loop {
            let mut news = pin!(guest.news());
            news.as_mut().enable();
            let token = format!("{:032x}", fastrand::u128(..));
            // An order that is heard of while the command is under way counts as later than it.
            let Some(position) = self.horizon.lock().read else {
                self.count(SharedOperation::Get, SharedResult::Skipped);
                return Begun::Alone;
            };
            let got = match self.get(key, &token, oldest, overlook).await {
                Ok(got) => got,
                Err(trouble) => {
                    self.count(SharedOperation::Get, trouble.result());
                    return Begun::Alone;
                }
            };
            match got.state {
                HELD => match self.read(key, &got, policy) {
                    Ok((landed, Freshness::Fresh)) => {
                        self.count(SharedOperation::Get, SharedResult::Hit);
                        return Begun::Found(landed);
                    }
                    Ok(_) => {
                        self.count(SharedOperation::Get, SharedResult::Outdated);
                        overlook = true;
                    }
                    Err(unfit) => {
                        self.count(SharedOperation::Get, unfit.result());
                        overlook = true;
                    }
                },
                LEADING => {
                    self.count(SharedOperation::Get, SharedResult::Miss);
                    let stale = self.stand_in(key, &got, policy);
                    let lease = Lease {
                        key: key.clone(),
                        token,
                        reading: got.reading,
                        position,
                    };
                    return Begun::Lead(lease, stale);
                }
                FAILED => {
                    self.count(SharedOperation::Get, SharedResult::Failed);
                    return Begun::Failed(Failure::read(&got.text));
                }
                _ => {
                    self.count(SharedOperation::Get, SharedResult::Wait);
                    // News can be lost, and who has the lease can be.
                    let longest = got.left.min(self.config.lease.0 / 2) + jitter();
                    // What wakes it does not matter: it looks again.
                    let _woken = timeout(longest, news).await;
                }
            }
        }
    }

    async fn get(
        &self,
        key: &ImageKey,
        token: &str,
        oldest: Option<Duration>,
        overlook: bool,
    ) -> Result<Got, Trouble> {
        let oldest = oldest.map_or(MAX_AGE, |age| age.min(MAX_AGE));
        let (asked, (server, state, text, left)) = self
            .commands
            .run(async |mut connection| {
                let asked = Instant::now();
                let reply = GET
                    .key(self.names.image(key))
                    .key(self.names.no(&key.image))
                    .key(self.names.lease(key))
                    .arg(token)
                    .arg(milliseconds(self.config.lease.0))
                    .arg(milliseconds(oldest))
                    .arg(u8::from(overlook))
                    .invoke_async::<(u64, u8, Vec<u8>, i64)>(&mut connection)
                    .await?;
                Ok((asked, reply))
            })
            .await?;
        Ok(Got {
            state,
            text,
            left: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
            reading: Reading {
                server,
                asked,
                replied: Instant::now(),
            },
        })
    }

    /// What is held, if it is of use here.
    fn read(
        &self,
        key: &ImageKey,
        got: &Got,
        policy: &Policy,
    ) -> Result<(Landed, Freshness), Unfit> {
        let names = [self.names.image(key), self.names.no(&key.image)];
        let held = value::decode([&names[0], &names[1]], &got.text, &got.reading)?;
        let position = held.position;
        let (landed, freshness) = held
            .land(policy, &got.reading, Instant::now())
            .ok_or(Unfit::Outdated)?;
        let admitted = self
            .horizon
            .lock()
            .admits(position, value::workspace(&landed));
        if admitted {
            Ok((landed, freshness))
        } else {
            Err(Unfit::Outdated)
        }
    }

    /// What is held although it is not fresh.
    fn stand_in(&self, key: &ImageKey, got: &Got, policy: &Policy) -> Option<Arc<Entry>> {
        if got.text.is_empty() {
            return None;
        }
        match self.read(key, got, policy) {
            Ok((Landed::Image(entry), _)) => Some(entry),
            Ok((Landed::Negative(_), _)) | Err(_) => None,
        }
    }

    /// Makes a fetch, keeping its lease as long as it takes.
    pub async fn keep<F: Future>(&self, lease: &Lease, fetch: F) -> F::Output {
        let renewing = async {
            loop {
                sleep(self.config.lease.0 / 3).await;
                self.renew(lease).await;
            }
        };
        tokio::select! {
            fetched = fetch => fetched,
            never = renewing => never,
        }
    }

    async fn renew(&self, lease: &Lease) {
        let renewed = self.commands.run(async |mut connection| {
            RENEW
                .key(self.names.lease(&lease.key))
                .arg(&lease.token)
                .arg(milliseconds(self.config.lease.0))
                .invoke_async::<bool>(&mut connection)
                .await
        });
        self.tell(SharedOperation::Renew, renewed.await);
    }

    /// Stores what was fetched, for who waits and for who comes.
    pub async fn put(&self, lease: &Lease, landed: &Landed, policy: &Policy) {
        let (key, image) = (&lease.key, &lease.key.image);
        let (to, life) = match landed {
            Landed::Image(entry) => (
                self.names.image(key),
                entry.ttl().saturating_add(policy.stale_if_error.0),
            ),
            Landed::Negative(no) => (self.names.no(image), no.ttl(policy)),
        };
        let mut replaced = vec![self.names.no(image)];
        if let Landed::Negative(_) = landed {
            let variants = ImageKey::variants(image);
            replaced = variants.iter().map(|key| self.names.image(key)).collect();
        }
        let value = value::encode(&to, key, landed, policy, &lease.reading, lease.position);
        let Some(value) = value.filter(|_| !life.is_zero()) else {
            return self.release(lease, None).await;
        };
        let put = self.commands.run(async |mut connection| {
            let mut script = PUT.key(self.names.lease(key));
            script.key(to);
            script.key(replaced);
            script
                .arg(&lease.token)
                .arg(value)
                .arg(milliseconds(life))
                .arg(self.names.news())
                .arg(image.as_str())
                .invoke_async::<bool>(&mut connection)
                .await
        });
        self.tell(SharedOperation::Put, put.await);
    }

    /// Gives the lease back without an answer, and tells who waits how the fetch failed, if it is the
    /// origin that did.
    pub async fn release(&self, lease: &Lease, failure: Option<Failure>) {
        let (mark, life) = failure.map_or_else(Default::default, Failure::mark);
        let released = self.commands.run(async |mut connection| {
            RELEASE
                .key(self.names.lease(&lease.key))
                .arg(&lease.token)
                .arg(mark)
                .arg(milliseconds(life))
                .arg(self.names.news())
                .arg(lease.key.image.as_str())
                .invoke_async::<bool>(&mut connection)
                .await
        });
        self.tell(SharedOperation::Release, released.await);
    }

    /// Tells every replica what to forget; where that cannot be done now, as soon as it can.
    async fn forget(&self, scope: &Scope, how: Thoroughness) {
        let told = self
            .commands
            .run(async |mut connection| self.order(&mut connection, scope, how).await);
        let told = told.await;
        self.count(
            SharedOperation::Invalidate,
            told.map_or_else(Trouble::result, |()| SharedResult::Ok),
        );
        if told.is_err() {
            let mut unheard = self.unheard.lock();
            unheard.push(scope.clone(), how);
            self.metrics.shared.unheard.set(whole(unheard.len()));
        }
    }

    /// Removes what is stored, then writes the order down: who reads it finds nothing old any more.
    async fn order(
        &self,
        connection: &mut Connection,
        scope: &Scope,
        how: Thoroughness,
    ) -> redis::RedisResult<()> {
        if let Scope::Image(image) = scope {
            let names = self.names.all(image);
            redis::cmd("DEL").arg(names).exec_async(connection).await?;
        }
        let order = Order::Forget(scope.clone(), how);
        let at = self.write(connection, order.clone()).await?;
        self.horizon.lock().note(at, &order);
        Ok(())
    }

    async fn write(
        &self,
        connection: &mut impl ConnectionLike,
        order: Order,
    ) -> redis::RedisResult<Position> {
        let by = self.replica.clone();
        let entry = orders::Entry { by, order };
        let at: String = redis::cmd("XADD")
            .arg(self.names.orders())
            .arg(&["MAXLEN", "~", KEPT_ORDERS, "*"])
            .arg(entry.fields())
            .query_async(connection)
            .await?;
        redis::cmd("PUBLISH")
            .arg(self.names.news())
            .arg(ORDERED)
            .exec_async(connection)
            .await?;
        at.parse().map_err(|error| {
            redis::RedisError::from((
                redis::ErrorKind::UnexpectedReturnType,
                "a stream's id",
                format!("{error}"),
            ))
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

/// States of [`GET`]'s reply.
const HELD: u8 = 0;
const LEADING: u8 = 1;
const FAILED: u8 = 3;

/// The message that there are orders; no image is called so.
const ORDERED: &str = "!orders";

/// So many orders are kept in the log, roughly.
const KEPT_ORDERS: &str = "10000";

/// The greatest age that is asked for: longer than anything is kept.
const MAX_AGE: Duration = Duration::from_secs(365 * 24 * 3600);

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

impl Unfit {
    const fn result(self) -> SharedResult {
        match self {
            Self::Foreign => SharedResult::Foreign,
            Self::Version => SharedResult::Version,
            Self::Corrupt => SharedResult::Corrupt,
            Self::Outdated => SharedResult::Outdated,
        }
    }
}
