//! Lists in memory: pages of ListImages and ListImageLabels, by the query as it is sent upstream.
//!
//! Clients whose queries are equal upstream share one page; each response is authorized by itself. A page
//! goes fresh → stale while revalidate → stale if error → expired, as an image does, but its ttl is a
//! setting: a page says nothing about when it will change.
//!
//! Any write may change any list. So every write and every purge drops all pages (a soft purge marks them
//! stale) and detaches all fetches of lists: a page asked for before it is never stored after it. The error
//! and denial of a fetch go to its waiters alone, and a denial removes the page of its query.

mod config;
mod page;
mod store;

pub use config::Config;
pub use page::{FetchedPage, ListPage};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::flight::{FlightHandle, SingleFlight, Waiter};
use super::lookup::Fetch;
use super::{Cache, Freshness, PurgeMode};
use crate::api::{Action, Call, OriginError};
use crate::upstream::priority::Priority;
use store::ListStore;

/// Key of a list: its operation, and its canonical query as it is sent upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListKey {
    /// ListImages or ListImageLabels.
    pub action: Action,
    /// At most 8,000 bytes, the bound of a [`Call`]'s target.
    pub query: Arc<str>,
}

impl ListKey {
    /// Returns the key of a call as it is sent upstream.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        Self {
            action: call.operation.action(),
            query: call.query.canonical().into(),
        }
    }
}

/// An answer of the origin to a list.
#[derive(Debug, Clone)]
pub enum ListAnswer {
    /// The page, whoever may see it.
    Page(Arc<ListPage>),
    /// The origin's statement that the image or workspace does not exist, or not for its credential.
    Denied(OriginError),
}

/// Result of a lookup of a list.
#[derive(Debug, Clone)]
pub enum ListLookup {
    /// A page and its freshness at the time of the lookup; never [`Freshness::Expired`].
    Page(Arc<ListPage>, Freshness),
    /// No page that may be served.
    Miss,
}

impl ListLookup {
    /// Returns the page if it is fresh and was stored after the lookup `seen`.
    fn if_newer_than(self, seen: &Self) -> Option<Arc<ListPage>> {
        match (self, seen) {
            (Self::Page(page, _), Self::Page(seen, _)) if Arc::ptr_eq(&page, seen) => None,
            (Self::Page(page, Freshness::Fresh), _) => Some(page),
            (Self::Page(..) | Self::Miss, _) => None,
        }
    }
}

/// A request's part in the fetch of a list.
pub type ListFetch<E> = Fetch<E, (), ListAnswer>;

/// A request's place at the fetch of a list, which has no stale value on offer.
pub type ListWaiter<E> = Waiter<(), Result<ListAnswer, E>>;

/// A list in memory, for an explanation.
#[derive(Debug, Clone)]
pub struct HeldList {
    /// Its key.
    pub key: ListKey,
    /// Its page.
    pub page: Arc<ListPage>,
    /// Its freshness at the time of the listing.
    pub freshness: Freshness,
}

/// Fill of the store of lists; the `lists` object of `/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ListUsage {
    /// Number of pages.
    pub pages: u64,
    /// Their weight in bytes.
    pub bytes: u64,
    /// Greatest weight in bytes.
    pub max_bytes: u64,
}

/// The pages in memory and the fetches of lists in progress.
#[derive(Debug)]
pub(super) struct Lists<E> {
    config: Config,
    store: Mutex<ListStore>,
    flights: SingleFlight<ListKey, (), Result<ListAnswer, E>>,
}

impl<E> Lists<E> {
    pub(super) fn new(config: Config) -> Self {
        Self {
            store: Mutex::new(ListStore::new(config.max_bytes.0)),
            config,
            flights: SingleFlight::default(),
        }
    }
}

impl<E: Clone + Send + Sync + 'static> Lists<E> {
    /// Drops all pages or marks them stale, and detaches all fetches.
    pub(super) fn invalidate(&self, mode: PurgeMode) {
        self.flights.detach_all(|| {
            let mut store = self.store.lock();
            match mode {
                PurgeMode::Hard => store.clear(),
                PurgeMode::Soft => store.purge_softly(),
            }
        });
    }

    /// Stores the result of a current flight, under the lock of the flights.
    fn store(&self, key: &ListKey, result: &Result<ListAnswer, E>) {
        let mut store = self.store.lock();
        match result {
            Ok(ListAnswer::Page(page)) if page.storable => store.insert(key, Arc::clone(page)),
            Ok(ListAnswer::Page(_) | ListAnswer::Denied(_)) => store.remove(key),
            Err(_) => {}
        }
    }
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Replaces the settings of lists; for a cache that holds none yet.
    #[must_use]
    pub fn with_lists(self, config: Config) -> Self {
        Self {
            lists: Lists::new(config),
            ..self
        }
    }

    /// Returns the `[lists]` settings.
    #[must_use]
    pub const fn list_config(&self) -> &Config {
        &self.lists.config
    }

    /// Looks up a list.
    #[must_use]
    pub fn look_up_list(&self, key: &ListKey, now: Instant) -> ListLookup {
        let page = self.lists.store.lock().get(key);
        page.map_or(ListLookup::Miss, |page| {
            match self.list_freshness(&page, now) {
                Freshness::Expired => ListLookup::Miss,
                freshness => ListLookup::Page(page, freshness),
            }
        })
    }

    /// Joins the fetch of a list, or starts one; see [`Self::fetch`].
    pub fn fetch_list<F>(
        self: &Arc<Self>,
        key: &ListKey,
        seen: &ListLookup,
        priority: Priority,
        admit: impl FnOnce() -> Result<(), Duration>,
        start: impl FnOnce(FlightHandle) -> F,
    ) -> ListFetch<E>
    where
        F: Future<Output = Result<ListAnswer, E>> + Send + 'static,
    {
        let instead = || {
            let lookup = self.look_up_list(key, Instant::now());
            let page = lookup.if_newer_than(seen);
            page.map(|page| Fetch::AlreadyCached(ListAnswer::Page(page)))
                .or_else(|| admit().err().map(Fetch::RateLimited))
        };
        let flights = &self.lists.flights;
        let store = |cache: &Self, key: &_, result: &_| cache.lists.store(key, result);
        self.join_or_start(flights, key, priority, instead, start, store)
    }

    /// Returns at most `most` of the lists in memory, the last used first.
    #[must_use]
    pub fn held_lists(&self, most: usize, now: Instant) -> Vec<HeldList> {
        let held = self.lists.store.lock().latest(most);
        held.into_iter()
            .map(|(key, page)| HeldList {
                freshness: self.list_freshness(&page, now),
                key,
                page,
            })
            .collect()
    }

    /// Returns the fill of the store of lists.
    #[must_use]
    pub fn list_usage(&self) -> ListUsage {
        let store = self.lists.store.lock();
        ListUsage {
            pages: store.len() as u64,
            bytes: store.bytes(),
            max_bytes: self.lists.config.max_bytes.0,
        }
    }

    fn list_freshness(&self, page: &ListPage, now: Instant) -> Freshness {
        match page.freshness(&self.lists.config, now) {
            Freshness::Fresh if !self.stale_before.is_current(page.origin_asked()) => {
                Freshness::StaleWhileRevalidate
            }
            freshness => freshness,
        }
    }
}

#[cfg(test)]
mod tests;
