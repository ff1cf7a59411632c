//! The cache in memory: answers of the origin, each kept as long as its own times allow.
//!
//! Three stores, so that neither lists nor requests for made-up ids evict an image:
//!
//! - **images**, by [`ImageKey`], bounded by bytes; an entry goes fresh → stale while revalidate →
//!   stale if error → expired, judged by its age at each lookup and never by eviction;
//! - **negatives**, by [`ImageId`], bounded by count: the origin's authoritative "not found" and
//!   "forbidden", for a few seconds each;
//! - **lists**, by [`ListKey`](lists::ListKey), bounded by bytes: pages of ListImages and ListImageLabels, see
//!   [`lists`].
//!
//! The caller passes in the fetch: nothing here reaches the network. [`flight`] ensures that one key is
//! fetched once at a time, and that nothing fetched before an invalidation is stored after it.

mod answer_age;
pub(crate) mod byte_reader;
pub mod catalogue;
mod config;
pub mod entry;
pub mod explain;
pub mod flight;
pub mod freshness;
mod images;
pub mod lists;
mod lookup;
mod negative;
mod purge;
pub(crate) mod record;
pub mod snapshot;
mod stale_before;
mod stale_until;

pub use config::Config;
pub use entry::{Entry, FetchedImage};
pub use freshness::{Freshness, Policy};
pub use lookup::{CachedAnswer, Fetch, FetchResult, FetchWaiter, LookupResult};
pub use negative::{Negative, NegativeKind};
pub use purge::{PurgeMode, PurgeTarget};
pub use snapshot::SnapshotWriter;
pub use stale_until::StaleWindow;

use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::api::{ImageId, ImageKey};
use crate::observability::logging::Condition;
use crate::observability::metrics::{CacheStore, Metrics};
use crate::upstream::priority::Priority;
use catalogue::Catalogue;
use flight::{FlightHandle, Join, SingleFlight, WorkOwner};
use images::Images;
use lists::Lists;
use snapshot::Journal;
use stale_before::StaleBefore;

/// The cache of one origin's answers; `E` is the error that a fetch may end in.
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
    lists: Lists<E>,
    /// `None` if it is off.
    catalogue: Option<Catalogue>,
    /// Journal of invalidations, set once if a snapshot could bring back what they remove.
    journal: OnceLock<Arc<Journal>>,
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Creates an empty cache. Fetches run as tasks of `tasks`, whose owner waits for them at shutdown.
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
            lists: Lists::new(lists::Config::default()),
            catalogue: None,
            journal: OnceLock::new(),
        }
    }

    /// Returns the tracker for tasks that must finish before the process ends.
    #[must_use]
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Returns the freshness policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Replaces the policy. Stored entries keep their ttl; their stale windows, and the ttl of entries
    /// fetched from now on, follow the new policy.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Joins the fetch of `key`, or starts one, which runs within the waiter until another request joins or the waiter
    /// is dropped, and then in a task of its own.
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
            // Without the catalogue, which takes the lock that is held here.
            let stored = self.look_up_stored(key, Instant::now());
            let answer = stored.if_newer_than(seen);
            answer
                .map(Fetch::AlreadyCached)
                .or_else(|| admit().err().map(Fetch::RateLimited))
        };
        let start = |flight| {
            let (cache, key, fetch) = (Arc::clone(self), key.clone(), start(flight));
            async move {
                let result = fetch.await;
                // Journalled before any waiter sees the negative: a restart must not bring the image back.
                if let Ok(CachedAnswer::Negative(_)) = &result {
                    cache.forget_gone(&key.image).await;
                }
                result
            }
        };
        self.join_or_start(&self.flights, key, priority, instead, start, Self::store)
    }

    /// Joins the flight of `key`, or starts one unless there is something `instead`. `store` gets the result if the
    /// flight is still current then, under the lock of the flights.
    fn join_or_start<K, S, A, F>(
        self: &Arc<Self>,
        flights: &SingleFlight<K, S, Result<A, E>>,
        key: &K,
        priority: Priority,
        instead: impl FnOnce() -> Option<Fetch<E, S, A>>,
        start: impl FnOnce(FlightHandle) -> F,
        store: impl FnOnce(&Self, &K, &Result<A, E>) + Send + 'static,
    ) -> Fetch<E, S, A>
    where
        K: Eq + Hash + Clone + Send + Sync + 'static,
        S: Clone + Send + Sync + 'static,
        A: Clone + Send + Sync + 'static,
        F: Future<Output = Result<A, E>> + Send + 'static,
    {
        match flights.join(key, priority, instead) {
            Err(instead) => instead,
            Ok(Join::Waiter(waiter, work)) => {
                work.detach();
                Fetch::Joined(waiter)
            }
            Ok(Join::Leader(waiter, leader, work)) => {
                let (cache, key, fetch) = (Arc::clone(self), key.clone(), start(leader.handle()));
                let run = async move {
                    let result = fetch.await;
                    leader.complete(result, |result| store(&cache, &key, result));
                };
                Fetch::Started(waiter.begin(&work, run, WorkOwner::new(&self.tasks)))
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
                self.store_image(key, entry);
            }
            Ok(CachedAnswer::Negative(negative)) => {
                self.remove_variants(&key.image);
                self.deny_item(&key.image, negative);
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
                .filter(|stored| stored.origin_asked() >= entry.origin_asked())
                .unwrap_or_else(|| {
                    self.images.insert(key.clone(), Arc::clone(entry));
                    Arc::clone(entry)
                })
        });
    }

    /// Makes every answer to a request sent before `time` at most stale, because an invalidation of it may
    /// have been missed. `None` lifts that.
    pub fn set_stale_before(&self, time: Option<Instant>) {
        self.stale_before.set(time);
    }

    fn store_image(&self, key: &ImageKey, entry: &Arc<Entry>) {
        if entry.storable {
            let entry = self.shorten_if_replaced(key, entry);
            let entry = self.compare_with_item(key, entry);
            self.metrics.cache_ttl.observe(entry.ttl().as_secs_f64());
            self.images.insert(key.clone(), entry);
        } else {
            self.images.remove(key);
        }
    }

    /// Shortens the ttl to `freshness.min` if the id named another object before: it may change again soon.
    fn shorten_if_replaced(&self, key: &ImageKey, entry: &Arc<Entry>) -> Arc<Entry> {
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

    /// Removes both variants of an image and its negative answer, and detaches its fetches. Called after a
    /// write whatever its outcome, for a write that timed out may have been carried out.
    pub fn invalidate(&self, image: &ImageId) -> u64 {
        self.flights.detach(&ImageKey::variants(image), || {
            self.negatives.invalidate(image);
            self.drop_item(image);
            self.remove_variants(image)
        })
    }

    /// Returns the error of the latest fetch of a key, if that failed; bounded by `cache.max_negative` keys.
    #[must_use]
    pub fn last_failure(&self, key: &ImageKey) -> Option<E> {
        self.failures.get(key)
    }

    /// Updates the gauges of the stores, before they are scraped.
    pub fn export(&self) {
        let (usage, entries) = (self.usage(), &self.metrics.cache_entries);
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        entries.of(CacheStore::Images).set(whole(usage.entries));
        entries
            .of(CacheStore::Negative)
            .set(whole(usage.negative_entries));
        self.metrics.cache_bytes.set(whole(usage.bytes));
        self.metrics.cache_max_bytes.set(whole(usage.max_bytes));
        let lists = self.list_usage();
        entries.of(CacheStore::Lists).set(whole(lists.pages));
        self.metrics.list_bytes.set(whole(lists.bytes));
        self.metrics.list_max_bytes.set(whole(lists.max_bytes));
        self.export_catalogue();
    }

    /// Returns the fill of the stores, after all due evictions.
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

/// Fill of the stores; the `cache` object of `/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Number of images.
    pub entries: u64,
    /// Number of negative answers.
    pub negative_entries: u64,
    /// Weight of the images, in bytes.
    pub bytes: u64,
    /// Greatest weight of the images, in bytes.
    pub max_bytes: u64,
}

#[cfg(test)]
mod tests;
