//! The catalogue: items of ListImages, walked page by page, that renew and answer for images.
//!
//! One page of fifty items costs one call, as one GetImage does. So the catalogue keeps fifty images fresh, or answers
//! for them, at the price of one. An item counts as a fetch of its image that was sent when its page was asked for, and
//! each page acts by itself ([`Cache::apply_page`]):
//!
//! - an entry that agrees with its item member by member is **bound** to it. A later page with the same bytes renews a
//!   bound entry: its time moves to that page's, and it stays fresh until one and a half intervals later;
//! - an item that **differs** from an older entry replaces it, or makes it stale and has it fetched;
//! - an item of an image that is not cached **answers** for it, once `trust` has seen enough agreement;
//! - an item that is **gone** from a whole walk makes its entry stale and has it fetched. Absence is never a denial.
//!
//! The times of an entry and a page (`item::Order`) alone decide which is newer. Writes, purges and negative
//! answers drop the item and raise a fence, so that a page asked for before them does nothing. Pages, answers
//! and invalidations change entries and items under one lock, that of the flights.

mod answer;
mod apply;
mod comparison;
mod config;
mod fences;
mod invalidate;
mod item;
mod state;
mod status;
mod table;
mod trust;

pub use apply::{PageOfWalk, PageRefused, WalkEnd};
pub use comparison::{added_members, differences};
pub use config::{Config, Scope};
pub use item::PageAnswer;
pub use status::{CatalogueStatus, ScopeStatus};
pub use table::ListedImage;

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Cache;
use state::State;

/// Items, and the entries that they speak for.
#[derive(Debug)]
pub(super) struct Catalogue {
    config: Config,
    state: Mutex<State>,
    /// Clients have asked with this Verbose since the last walk began.
    asked: [AtomicBool; 2],
    /// Wakes the walker: an entry is to be fetched, or a Verbose is asked for anew.
    wake: Notify,
}

impl Catalogue {
    /// Creates an empty catalogue; `None` if the settings name nothing to walk.
    pub(super) fn new(config: &Config) -> Option<Self> {
        config.is_on().then(|| Self {
            config: config.clone(),
            state: Mutex::new(State::new(config)),
            asked: Default::default(),
            wake: Notify::new(),
        })
    }
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Adds the catalogue of these settings, and exposes its counters at 0; for a cache that holds nothing yet.
    #[must_use]
    pub fn with_catalogue(self, config: &Config) -> Self {
        if config.is_on() {
            let mismatches = &self.metrics.catalogue.mismatches;
            for field in comparison::names() {
                mismatches.with_label_values(&[field]);
            }
        }
        Self {
            catalogue: Catalogue::new(config),
            ..self
        }
    }

    /// Takes note that a client asks with this Verbose, so that it is walked. On every GetImage: one relaxed load.
    pub fn client_asks(&self, verbose: bool) {
        let Some(catalogue) = &self.catalogue else {
            return;
        };
        let asked = &catalogue.asked[usize::from(verbose)];
        if !asked.load(Ordering::Relaxed) {
            asked.store(true, Ordering::Relaxed);
            catalogue.wake.notify_one();
        }
    }

    /// Waits until the walker has something to do before its interval is over; for ever without a catalogue.
    pub async fn catalogue_wakes(&self) {
        match &self.catalogue {
            Some(catalogue) => catalogue.wake.notified().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
