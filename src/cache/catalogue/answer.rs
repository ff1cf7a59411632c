//! Answers from items, and what the walker asks the catalogue.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tokio::time::Instant;

use super::config::{Config, Scope};
use super::state::State;
use super::status::CatalogueStatus;
use super::table::ListedImage;
use super::{Cache, Catalogue};
use crate::api::{ImageKey, ImageUri};
use crate::cache::{Entry, Freshness, LookupResult};

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Answers a lookup that found nothing from the image's item, which becomes an entry.
    #[cold]
    pub(in crate::cache) fn look_up_item(&self, key: &ImageKey, now: Instant) -> LookupResult {
        let Some(catalogue) = &self.catalogue else {
            return LookupResult::Miss;
        };
        // Under the lock, so that no invalidation comes between the item and its entry.
        let stored = self.flights.locked(|| {
            let mut state = catalogue.state.lock();
            let entry = Arc::new(self.listed_entry(catalogue, &state, key)?);
            let held = self.images.get(key);
            if held.is_some_and(|held| held.origin_asked() >= entry.origin_asked()) {
                return None;
            }
            self.images.insert(key.clone(), Arc::clone(&entry));
            state.table.bind(key, &entry);
            Some(entry)
        });
        let Some(entry) = stored else {
            return LookupResult::Miss;
        };
        self.metrics.catalogue.answered.inc();
        match self.freshness(&entry, now) {
            Freshness::Expired => LookupResult::Miss,
            freshness => LookupResult::Image(entry, freshness),
        }
    }

    /// Makes an entry from the item of a key; `None` if it has none that may answer.
    pub(super) fn listed_entry(
        &self,
        catalogue: &Catalogue,
        state: &State,
        key: &ImageKey,
    ) -> Option<Entry> {
        let item = state.table.get(key)?;
        if !catalogue.config.answer || !state.trust.may_answer(key) || !item.can_answer() {
            return None;
        }
        let policy = self.policy.load();
        let mut fetched = item.fetched()?;
        // Or the time of a denial would tell an item from an image that does not exist.
        fetched.took = state.fetch_took.unwrap_or(fetched.took);
        let entry = Entry::listed(fetched, key.verbose, &policy, fastrand::f64());
        let fresh_until = item.page.asked() + catalogue.config.keeps_fresh();
        entry.storable.then(|| entry.bound(fresh_until))
    }

    /// Returns the scopes to walk now, with their numbers; none while they are paused.
    pub fn scopes_due(&self, now: Instant) -> Vec<(usize, Scope)> {
        let catalogue = self.catalogue.as_ref();
        catalogue.map_or_else(Vec::new, |catalogue| catalogue.state.lock().scopes_due(now))
    }

    /// Returns the Verbose to walk each scope with: those that clients asked with lately, or
    /// `false` as long as none has.
    pub fn verboses_due(&self, now: Instant) -> Vec<bool> {
        let Some(catalogue) = &self.catalogue else {
            return Vec::new();
        };
        let asked = [0, 1].map(|verbose: usize| catalogue.asked[verbose].load(Ordering::Relaxed));
        catalogue.state.lock().verboses(asked, now)
    }

    /// Forgets that clients have asked with a Verbose, because it is walked now: the next one that asks is noted anew.
    pub fn forget_clients(&self, verbose: bool) {
        if let Some(catalogue) = &self.catalogue {
            catalogue.asked[usize::from(verbose)].store(false, Ordering::Relaxed);
        }
    }

    /// Numbers a walk that begins.
    pub fn begin_walk(&self) -> u64 {
        let catalogue = self.catalogue.as_ref();
        catalogue.map_or(0, |catalogue| catalogue.state.lock().next_walk())
    }

    /// Stops the walks of a scope for ten minutes, because it may not be listed.
    pub fn pause_scope(&self, scope: usize, now: Instant) {
        if let Some(catalogue) = &self.catalogue {
            catalogue.state.lock().pause(scope, "denied", now);
        }
    }

    /// Returns the entries that became stale since the last call, for the walker to fetch.
    pub fn entries_to_fetch(&self) -> Vec<ImageKey> {
        let catalogue = self.catalogue.as_ref();
        catalogue.map_or_else(Vec::new, |catalogue| catalogue.state.lock().take_pending())
    }

    /// Returns images to fetch now, so that GetImage's answers are compared with their items: those for which `draw` is
    /// least.
    pub fn comparisons_due(&self, verbose: bool, draw: impl Fn(&ImageKey) -> u64) -> Vec<ImageKey> {
        let catalogue = self.catalogue.as_ref();
        catalogue.map_or_else(Vec::new, |catalogue| {
            catalogue.state.lock().comparisons(verbose, draw)
        })
    }

    /// Returns the images that carry a URI, if every image of `scopes` has an item that may answer.
    pub fn listed_by_uri(
        &self,
        uri: &ImageUri,
        scopes: &[Scope],
        now: Instant,
    ) -> Option<Vec<ListedImage>> {
        let catalogue = self
            .catalogue
            .as_ref()
            .filter(|catalogue| catalogue.config.answer)?;
        let (state, fresh_for) = (catalogue.state.lock(), catalogue.config.keeps_fresh());
        let is_current = |started| self.stale_before.is_current(started);
        let covers = state.covers(scopes, uri.is_verbose(), fresh_for, is_current, now);
        covers.then(|| state.of_uri(uri.as_str(), uri.is_verbose(), now))?
    }

    /// Returns the settings of the catalogue; `None` if it is off.
    #[must_use]
    pub fn catalogue_config(&self) -> Option<&Config> {
        self.catalogue.as_ref().map(|catalogue| &catalogue.config)
    }

    /// Updates the gauges, before they are scraped.
    pub(in crate::cache) fn export_catalogue(&self) {
        let Some(status) = self.catalogue_status() else {
            return;
        };
        let (metrics, whole) = (&self.metrics.catalogue, |count: u64| {
            i64::try_from(count).unwrap_or(i64::MAX)
        });
        metrics.images.set(whole(status.images));
        metrics.bytes.set(whole(status.bytes));
        metrics.max_bytes.set(whole(status.max_bytes));
        for (verbose, answering) in ["false", "true"].iter().zip(status.answering) {
            let gauge = metrics.answering.with_label_values(&[verbose]);
            gauge.set(answering.into());
        }
        for scope in &status.scopes {
            let gauge = metrics.last_walk.with_label_values(&[&scope.name]);
            gauge.set(scope.last_walk.map_or(0, Timestamp::as_second));
        }
    }

    /// Returns the state of the catalogue; `None` if it is off.
    #[must_use]
    pub fn catalogue_status(&self) -> Option<CatalogueStatus> {
        let catalogue = self.catalogue.as_ref()?;
        let status = catalogue.state.lock().status(&catalogue.config);
        Some(status)
    }
}
