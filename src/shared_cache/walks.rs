//! Walks of the catalogue that one replica makes for the fleet.
//!
//! Replicas whose settings name the same images form a group. One of them at a time holds the group's lease; it stores
//! each page that it reads, describes each whole walk, and appends a record to the invalidation log. The others read
//! the pages then and apply them to their own entries, with times by the server's clock. When the walks are done, the
//! lease stays taken until the next ones are due, so that no other replica repeats them.

mod names;
mod stored;

pub use names::{WalkGroup, WalkName};

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::Script;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::ClockReading;
use super::commands::{CommandError, Commands};
use super::fill::RELEASE;
use super::get::LONGEST_VALUE;
use super::log::LogEvent;
use super::{Config, SharedCache, clock_reading, milliseconds, random_name};
use crate::cache::catalogue::PageAnswer;
use crate::observability::metrics::{SharedOperation, SharedResult};
use stored::StoredWalk;

pub(super) static CLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/claim.lua")));
pub(super) static ANNOUNCE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/announce.lua")));
pub(super) static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/read.lua")));

/// Right to walk for the group, which expires by itself.
#[derive(Debug)]
pub struct WalkLease {
    group: WalkGroup,
    token: String,
    clock: ClockReading,
    /// Time for which pages and descriptions are kept.
    life: Duration,
}

/// Reply to a claim.
#[derive(Debug)]
pub enum WalkClaim {
    /// This replica walks.
    Granted(WalkLease),
    /// Another replica walks, or has walked: the next claim is due after this time.
    Later(Duration),
    /// The shared cache cannot be used now.
    Unavailable,
}

/// A walk by another replica.
#[derive(Debug)]
pub struct SharedWalk {
    name: WalkName,
    stored: StoredWalk,
    clock: ClockReading,
    /// Time at which its first page was asked for, rather too early than too late.
    pub started: Instant,
}

/// Connection for walks, with a breaker of its own, and the announcements that the walker has not dealt with.
pub(super) struct Walks {
    pub(super) commands: Commands,
    announced: Mutex<Vec<WalkName>>,
    arrived: Notify,
}

/// Result of a walk, for its announcement.
#[derive(Debug, Clone, Copy)]
pub enum WalkResult {
    /// Every page was read and stored.
    Whole {
        /// Number of its pages.
        pages: u64,
        /// No image was added or removed meanwhile, as far as `TotalCount` shows.
        is_steady: bool,
    },
    /// The scope may not be listed.
    Denied,
}

/// Bound on the announcements: more names than a fleet has scopes. What is lost is found at the next claim.
const MAX_ANNOUNCED: usize = 1000;
/// Shortest time for which pages are kept, so that a busy replica comes to read them.
const MIN_LIFE: Duration = Duration::from_secs(60);
/// Value of a lease whose walks are done. The `!` tells it from a token.
const DONE: &str = "!done";

impl Walks {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            commands: Commands::new(config),
            announced: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    /// Takes note that another replica has announced a walk.
    pub(super) fn push(&self, name: WalkName) {
        let mut names = self.announced.lock();
        if names.len() < MAX_ANNOUNCED && !names.contains(&name) {
            names.push(name);
        }
        self.arrived.notify_one();
    }
}

impl SharedCache {
    /// Waits for walks of other replicas, and returns their names in the order of their announcement. After a loss of
    /// the connection the log is read before the pages can be: the names wait for that. Cancel-safe.
    pub async fn walks_announced(&self) -> Vec<WalkName> {
        let mut up = self.up.subscribe();
        loop {
            // Fails only with the cache itself, which is borrowed here.
            let is_up = up.wait_for(|up| *up).await.is_ok();
            let names = std::mem::take(&mut *self.walks.announced.lock());
            if is_up && !names.is_empty() {
                return names;
            }
            self.walks.arrived.notified().await;
        }
    }

    /// Asks for the right to walk for a group whose walks begin `interval` after each other.
    pub async fn claim_walks(&self, group: &WalkGroup, interval: Duration) -> WalkClaim {
        let token = random_name();
        let claimed = self.walks.commands.run(async |mut connection| {
            let asked = Instant::now();
            let mut script = CLAIM.key(self.names.walk_lease(group));
            script.arg(&token).arg(milliseconds(self.config.lease.0));
            let reply: (u64, u8, u64) = script.invoke_async(&mut connection).await?;
            Ok((asked, reply))
        });
        let claimed = claimed.await;
        let (result, claim) = match claimed {
            Ok((asked, (server, 1, _))) => {
                let lease = WalkLease {
                    group: group.clone(),
                    token,
                    clock: clock_reading(server, asked),
                    life: (interval * 2).max(MIN_LIFE),
                };
                (SharedResult::Miss, WalkClaim::Granted(lease))
            }
            Ok((_, (.., left))) => {
                let claim = WalkClaim::Later(Duration::from_millis(left));
                (SharedResult::Wait, claim)
            }
            Err(error) => (error.result(), WalkClaim::Unavailable),
        };
        self.count(SharedOperation::Walk, result);
        claim
    }

    /// Runs walks and renews their lease meanwhile.
    pub async fn keep_walks<F: Future>(&self, lease: &WalkLease, walks: F) -> F::Output {
        let name = self.names.walk_lease(&lease.group);
        self.keep_lease(&name, &lease.token, walks).await
    }

    /// Stores a page of a walk, from 1, and returns whether it is stored. If not, the walk must not be announced.
    pub async fn put_page(
        &self,
        lease: &WalkLease,
        walk: u64,
        number: u64,
        (answer, body): (&PageAnswer, &[u8]),
    ) -> bool {
        let name = self.names.walk_page(&lease.token, walk, number);
        let value = stored::encode_page(&name, answer, body, &lease.clock);
        let Some(value) = value.filter(|value| value.len() <= LONGEST_VALUE) else {
            return false;
        };
        let put = self.walks.commands.run(async |mut connection| {
            let mut set = redis::cmd("SET");
            set.arg(&name)
                .arg(&value)
                .arg("PX")
                .arg(milliseconds(lease.life));
            set.exec_async(&mut connection).await
        });
        let put = put.await;
        self.count_result(SharedOperation::Walk, put.map(|()| true));
        put.is_ok()
    }

    /// Tells the other replicas of a walk of a scope, whose first page was asked for at `started`.
    pub async fn announce_walk(
        &self,
        lease: &WalkLease,
        scope: usize,
        (walk, started): (u64, Instant),
        result: WalkResult,
    ) {
        let (group, token) = (lease.group.clone(), lease.token.clone());
        let (pages, is_steady) = match result {
            WalkResult::Whole { pages, is_steady } => (pages, is_steady),
            WalkResult::Denied => (0, false),
        };
        let ended = lease.clock.server_time(Instant::now());
        let name = WalkName { group, scope };
        let stored = StoredWalk {
            token,
            walk,
            pages,
            is_steady,
            is_denied: matches!(result, WalkResult::Denied),
            started: lease.clock.server_time(started),
            ended,
        };
        let key = self.names.walk(&name);
        let Some(value) = stored::encode_walk(&key, &stored) else {
            return;
        };
        let announced = self.walks.commands.run(async |mut connection| {
            let mut script = ANNOUNCE.key(self.names.walk_lease(&lease.group));
            script.key(key).arg(&lease.token).arg(value);
            script.arg(milliseconds(lease.life)).arg(ended);
            let is_mine: bool = script.invoke_async(&mut connection).await?;
            if is_mine {
                let event = LogEvent::Walk(name.clone());
                self.append(&mut connection, event).await?;
            }
            Ok(is_mine)
        });
        self.count_result(SharedOperation::Walk, announced.await);
    }

    /// Ends the walks of a lease. No replica walks for the group until `due`.
    pub async fn end_walks(&self, lease: WalkLease, due: Instant) {
        let left = due.saturating_duration_since(Instant::now());
        let ended = self.walks.commands.run(async |mut connection| {
            let mut script = RELEASE.key(self.names.walk_lease(&lease.group));
            script
                .arg(&lease.token)
                .arg(DONE)
                .arg(milliseconds(left).max(1));
            script.arg(self.names.channel()).arg(DONE);
            script.invoke_async::<bool>(&mut connection).await
        });
        self.count_result(SharedOperation::Walk, ended.await);
    }

    /// Returns the latest walk of a scope that a replica of the group has announced.
    pub async fn latest_walk(&self, name: &WalkName) -> Option<SharedWalk> {
        let key = self.names.walk(name);
        let (value, clock) = self.read(&key).await?;
        let stored = stored::decode_walk(&key, &value)?;
        if clock.server < stored.ended {
            // The clock was set back since, so that the pages would look younger than they are.
            return None;
        }
        Some(SharedWalk {
            started: clock.local_time(stored.started)?,
            name: name.clone(),
            stored,
            clock,
        })
    }

    /// Returns a page of a walk, from 1, with its times by this process's clock; `None` if it is not stored any more.
    pub async fn read_page(&self, walk: &SharedWalk, number: u64) -> Option<(PageAnswer, Bytes)> {
        let StoredWalk {
            token, walk: of, ..
        } = &walk.stored;
        let name = self.names.walk_page(token, *of, number);
        let (value, _) = self.read(&name).await?;
        stored::decode_page(&name, &value, &walk.clock)
    }

    async fn read(&self, key: &str) -> Option<(Bytes, ClockReading)> {
        let read = self.walks.commands.run(async |mut connection| {
            let asked = Instant::now();
            let mut script = READ.key(key);
            script.arg(LONGEST_VALUE);
            let reply: (u64, Vec<u8>) = script.invoke_async(&mut connection).await?;
            Ok((asked, reply))
        });
        let read = read.await;
        let result = match &read {
            Ok((_, (_, value))) if value.is_empty() => SharedResult::Miss,
            Ok(_) => SharedResult::Hit,
            Err(error) => CommandError::result(*error),
        };
        self.count(SharedOperation::Walk, result);
        let (asked, (server, value)) = read.ok()?;
        let clock = clock_reading(server, asked);
        (!value.is_empty()).then(|| (value.into(), clock))
    }
}

impl WalkLease {
    /// Returns the random text that tells this lease from every other.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl SharedWalk {
    /// Returns the name that tells this walk from every other.
    #[must_use]
    pub fn identity(&self) -> (&str, u64) {
        (&self.stored.token, self.stored.walk)
    }

    /// Returns the scope that was walked.
    #[must_use]
    pub const fn name(&self) -> &WalkName {
        &self.name
    }

    /// Returns its result.
    #[must_use]
    pub const fn result(&self) -> WalkResult {
        let StoredWalk {
            pages, is_steady, ..
        } = self.stored;
        if self.stored.is_denied {
            WalkResult::Denied
        } else {
            WalkResult::Whole { pages, is_steady }
        }
    }
}
