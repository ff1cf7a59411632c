//! What the origin answered, kept as long as each answer's own times say is safe.
//!
//! Two stores, so that ids nobody has made up evict nothing that somebody needs:
//!
//! - **images**, by [`ImageKey`], bounded by bytes; an entry goes through fresh → stale while
//!   revalidate → stale if error → expired, always judged against `now`, never by eviction;
//! - **negatives**, by [`ImageId`], bounded by count: the origin's authoritative "no such image" and
//!   "not yours", a few seconds each.
//!
//! A fetch is handed in by the caller: nothing here can reach the network. [`flight`] sees to it that
//! one key is fetched once, and that nothing fetched before an invalidation is stored after it.

pub(crate) mod byte_reader;
mod config;
pub mod entry;
pub mod explain;
pub mod flight;
pub mod freshness;
mod images;
mod negative;
pub mod parent;
mod purge;
pub(crate) mod record;
pub mod snapshot;
mod stale_before;

pub use config::Config;
pub use entry::{Entry, FetchedImage};
pub use freshness::{Freshness, Policy};
pub use negative::{Negative, NegativeKind};
pub use parent::Parent;
pub use purge::{PurgeMode, PurgeTarget};
pub use snapshot::SnapshotWriter;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::api::{ImageId, ImageKey};
use crate::observability::logging::Condition;
use crate::observability::metrics::{CacheStore, Metrics};
use crate::priority::Priority;
use flight::{FlightHandle, Join, SingleFlight, Waiter};
use images::Images;
use snapshot::Journal;
use stale_before::StaleBefore;

/// What a fetch brought, or why it brought nothing.
pub type FetchResult<E> = Result<CachedAnswer, E>;

/// A request's place at the fetch of an image; the stale value on offer is an older copy of it.
pub type FetchWaiter<E> = Waiter<Arc<Entry>, FetchResult<E>>;

/// An authoritative answer of the origin.
#[derive(Debug, Clone)]
pub enum CachedAnswer {
    /// The image.
    Image(Arc<Entry>),
    /// A "no".
    Negative(Arc<Negative>),
}

impl CachedAnswer {
    /// How long its fetch took.
    #[must_use]
    pub fn took(&self) -> Duration {
        match self {
            Self::Image(entry) => entry.took(),
            Self::Negative(negative) => negative.took,
        }
    }
}

/// What the cache knows of a key.
#[derive(Debug, Clone)]
pub enum LookupResult {
    /// An image, with what it is worth now; never [`Freshness::Expired`].
    Image(Arc<Entry>, Freshness),
    /// A "no" that still holds.
    Negative(Arc<Negative>),
    /// Nothing to answer with.
    Miss,
}

impl LookupResult {
    /// When the request that brought this was sent.
    pub(crate) fn sent(&self) -> Option<Instant> {
        match self {
            Self::Image(entry, _) => Some(entry.sent),
            Self::Negative(negative) => Some(negative.sent),
            Self::Miss => None,
        }
    }

    /// Whether this is the very thing that was seen. Times do not tell: what a parent hands on twice is as old both times.
    fn is(&self, seen: &Self) -> bool {
        match (self, seen) {
            (Self::Image(entry, _), Self::Image(seen, _)) => Arc::ptr_eq(entry, seen),
            (Self::Negative(negative), Self::Negative(seen)) => Arc::ptr_eq(negative, seen),
            (Self::Miss, Self::Miss) => true,
            (Self::Image(..) | Self::Negative(_) | Self::Miss, _) => false,
        }
    }

    /// This, if it is good to answer with and has landed since that was seen.
    fn if_newer_than(self, seen: &Self) -> Option<CachedAnswer> {
        match self {
            known if known.is(seen) => None,
            Self::Image(entry, Freshness::Fresh) => Some(CachedAnswer::Image(entry)),
            Self::Negative(negative) => Some(CachedAnswer::Negative(negative)),
            Self::Image(..) | Self::Miss => None,
        }
    }
}

/// How a request came by a fetch.
#[derive(Debug)]
pub enum Fetch<E> {
    /// This request caused it.
    Started(FetchWaiter<E>),
    /// It was under way.
    Joined(FetchWaiter<E>),
    /// It landed a moment ago.
    AlreadyCached(CachedAnswer),
    /// It would have to be started, and this request may not; how long to wait until it may.
    RateLimited(Duration),
}

/// The cache. `E` is the error a fetch may end in.
#[derive(Debug)]
pub struct Cache<E: Clone + Send + Sync + 'static> {
    images: Images,
    negatives: moka::sync::Cache<ImageId, Arc<Negative>>,
    failures: moka::sync::Cache<ImageKey, E>,
    flights: SingleFlight<ImageKey, Arc<Entry>, FetchResult<E>>,
    tasks: TaskTracker,
    policy: ArcSwap<Policy>,
    max_bytes: u64,
    metrics: Arc<Metrics>,
    stale_before: StaleBefore,
    /// Where orders to forget are written, if a snapshot could bring back what they are about.
    journal: OnceLock<Arc<Journal>>,
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// An empty cache. Fetches run as tasks of `tasks`, whose owner waits for them at shutdown.
    #[must_use]
    pub fn new(config: &Config, policy: Policy, metrics: Arc<Metrics>, tasks: TaskTracker) -> Self {
        let evictions = Arc::clone(&metrics);
        let images = Images::new(config.max_bytes.0, move |cause| {
            evictions.cache_evicted(cause);
        });
        let negatives = moka::sync::Cache::new(config.max_negative);
        let failures = moka::sync::Cache::new(config.max_negative);
        let max_bytes = config.max_bytes.0;
        Self {
            images,
            negatives,
            failures,
            flights: SingleFlight::default(),
            tasks,
            policy: ArcSwap::from_pointee(policy),
            max_bytes,
            metrics,
            stale_before: StaleBefore::default(),
            journal: OnceLock::new(),
        }
    }

    /// Where what must be finished runs, once begun.
    #[must_use]
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The freshness policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Puts another policy in force. What is held keeps the ttl it has; how long it serves after that,
    /// and what is fetched from now on, goes by the new one.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// What is known of a key. An image goes before a "no": a later "no" has removed it.
    #[must_use]
    pub fn look_up(&self, key: &ImageKey, now: Instant) -> LookupResult {
        let policy = self.policy.load();
        if let Some(entry) = self.images.get(key) {
            match entry.freshness(&policy, now) {
                Freshness::Expired => {}
                Freshness::Fresh if !self.stale_before.is_current(entry.sent) => {
                    return LookupResult::Image(entry, Freshness::StaleWhileRevalidate);
                }
                freshness => return LookupResult::Image(entry, freshness),
            }
        }
        match self.negatives.get(&key.image) {
            Some(negative)
                if negative.is_fresh(&policy, now)
                    && self.stale_before.is_current(negative.sent) =>
            {
                LookupResult::Negative(negative)
            }
            Some(_) | None => LookupResult::Miss,
        }
    }

    /// Joins the fetch of `key`, or starts one in a task of its own.
    ///
    /// `seen` is the caller's own lookup: an answer that was stored since then is returned instead of a
    /// fetch. `admit` is called only before a start; its error is the time after which one is allowed.
    /// `start` makes the fetch of a flight.
    pub fn fetch<F>(
        self: &Arc<Self>,
        key: &ImageKey,
        seen: &LookupResult,
        priority: Priority,
        admit: impl FnOnce() -> Result<(), Duration>,
        start: impl FnOnce(FlightHandle) -> F,
    ) -> Fetch<E>
    where
        F: Future<Output = FetchResult<E>> + Send + 'static,
    {
        let instead = || {
            let answer = self.look_up(key, Instant::now()).if_newer_than(seen);
            answer
                .map(Fetch::AlreadyCached)
                .or_else(|| admit().err().map(Fetch::RateLimited))
        };
        match self.flights.join(key, priority, instead) {
            Err(instead) => instead,
            Ok(Join::Waiter(waiter)) => Fetch::Joined(waiter),
            Ok(Join::Leader(waiter, leader)) => {
                let (cache, key, fetch) = (Arc::clone(self), key.clone(), start(leader.handle()));
                self.tasks.spawn(async move {
                    let result = fetch.await;
                    // Journalled before any waiter sees the negative: a restart must not bring the image back.
                    if let Ok(CachedAnswer::Negative(_)) = &result {
                        cache.forget_gone(&key.image).await;
                    }
                    leader.complete(result, |result| cache.store(&key, result));
                });
                Fetch::Started(waiter)
            }
        }
    }

    /// Stores the result of a current flight. Runs under the lock of the flights, so that no other result
    /// is stored and no purge runs meanwhile.
    fn store(&self, key: &ImageKey, result: &FetchResult<E>) {
        match result {
            Ok(_) => self.failures.invalidate(key),
            Err(error) => self.failures.insert(key.clone(), error.clone()),
        }
        match result {
            Ok(CachedAnswer::Image(entry)) => {
                self.negatives.invalidate(&key.image);
                self.keep(key, entry);
            }
            Ok(CachedAnswer::Negative(negative)) => {
                self.remove_variants(&key.image);
                self.negatives
                    .insert(key.image.clone(), Arc::clone(negative));
            }
            Err(_) => {}
        }
    }

    /// Stores a stale copy that the shared cache holds and offers it to the waiters of `flight`. Does
    /// nothing once the flight is complete or detached; an entry that is not older stays.
    pub fn offer_stale(&self, key: &ImageKey, flight: &FlightHandle, entry: &Arc<Entry>) {
        self.flights.offer_stale(key, flight, || {
            let stored = self.images.get(key);
            stored
                .filter(|stored| stored.sent >= entry.sent)
                .unwrap_or_else(|| {
                    self.images.insert(key.clone(), Arc::clone(entry));
                    Arc::clone(entry)
                })
        });
    }

    /// What was asked for before this is no longer fresh, however young: an order to forget it may
    /// have been missed. `None` trusts everything again.
    pub fn set_stale_before(&self, time: Option<Instant>) {
        self.stale_before.set(time);
    }

    fn keep(&self, key: &ImageKey, entry: &Arc<Entry>) {
        if entry.storable {
            self.images
                .insert(key.clone(), self.same_object_or_young(key, entry));
            self.metrics.cache_ttl.observe(entry.ttl().as_secs_f64());
        } else {
            self.images.remove(key);
        }
    }

    /// An id that suddenly names another object may do so again: it gets the shortest ttl.
    fn same_object_or_young(&self, key: &ImageKey, entry: &Arc<Entry>) -> Arc<Entry> {
        let replaced = self
            .images
            .get(key)
            .is_some_and(|known| !known.is_same_object(entry));
        if !replaced {
            return Arc::clone(entry);
        }
        self.metrics.cache_incarnations.inc();
        let conditions = &self.metrics.conditions;
        conditions.occurred(Condition::ImageReplaced, "", || {
            format!("image_id {}", key.image)
        });
        Arc::new(entry.shortened(self.policy.load().min.0))
    }

    fn remove_variants(&self, image: &ImageId) -> u64 {
        ImageKey::variants(image)
            .iter()
            .filter(|key| self.images.remove(key))
            .count() as u64
    }

    /// Forgets both variants of an image and its "no", and grounds what is under way for it. To be
    /// called after a write, whatever came of it.
    pub fn invalidate(&self, image: &ImageId) -> u64 {
        self.flights.detach(&ImageKey::variants(image), || {
            self.negatives.invalidate(image);
            self.remove_variants(image)
        })
    }

    /// What the latest fetch of a key ended in, if it failed and is remembered.
    #[must_use]
    pub fn last_failure(&self, key: &ImageKey) -> Option<E> {
        self.failures.get(key)
    }

    /// Brings the gauges up to date that nothing else moves.
    pub fn export(&self) {
        let (usage, entries) = (self.usage(), &self.metrics.cache_entries);
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        entries.of(CacheStore::Images).set(whole(usage.entries));
        entries
            .of(CacheStore::Negative)
            .set(whole(usage.negative_entries));
        self.metrics.cache_bytes.set(whole(usage.bytes));
        self.metrics.cache_max_bytes.set(whole(usage.max_bytes));
    }

    /// How full the stores are now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (entries, bytes) = self.images.usage();
        self.negatives.run_pending_tasks();
        Usage {
            entries,
            negative_entries: self.negatives.entry_count(),
            bytes,
            max_bytes: self.max_bytes,
        }
    }
}

/// How full the stores are; the `cache` object of `/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Images held.
    pub entries: u64,
    /// Negative answers held.
    pub negative_entries: u64,
    /// What the images weigh.
    pub bytes: u64,
    /// What they may weigh.
    pub max_bytes: u64,
}

#[cfg(test)]
mod tests;
