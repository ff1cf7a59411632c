//! Pages of a walk, applied to entries and items.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::item::{Item, PageAnswer};
use super::state::{State, Verdict};
use super::{Cache, Catalogue};
use crate::api::{ImageFields, ImageId, ImageKey};
use crate::cache::{Entry, Negative};
use crate::observability::logging::Condition;

/// A page of a walk.
#[derive(Debug)]
pub struct PageOfWalk<'a> {
    /// Number of the scope that is walked.
    pub scope: usize,
    /// The items include labels.
    pub verbose: bool,
    /// Number of the walk.
    pub walk: u64,
    /// Its times and headers.
    pub answer: PageAnswer,
    /// Its items, each as it came.
    pub images: Vec<&'a RawValue>,
}

/// End of a walk that has seen every page.
#[derive(Debug, Clone, Copy)]
pub struct WalkEnd {
    /// Number of the scope that was walked.
    pub scope: usize,
    /// The items include labels.
    pub verbose: bool,
    /// Number of the walk.
    pub walk: u64,
    /// Time at which its first page was asked for.
    pub started: Instant,
    /// Number of its pages.
    pub pages: u64,
    /// No image was added or removed meanwhile, as far as `TotalCount` shows.
    pub is_steady: bool,
}

/// Reason why a page does nothing, and its walk is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageRefused {
    /// An invalidation may have been missed since the page was asked for.
    #[error("an invalidation may have been missed since the page was asked for")]
    Outdated,
    /// The items of its scope were dropped for want of room since the walk began.
    #[error("the items of the catalogue take more than `catalogue.max_bytes`")]
    NoRoom,
}

/// One item of a page.
struct Shown<'a> {
    key: ImageKey,
    fields: ImageFields,
    text: &'a [u8],
    page: &'a Arc<PageAnswer>,
    scope: usize,
    walk: u64,
}

/// Time that fences of single images are kept; no walk takes so long, whose pages may all be applied at its end.
const LONGEST_WALK: Duration = Duration::from_secs(600);

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Applies a page of a walk, and returns the images on it. Without a catalogue nothing happens.
    ///
    /// # Errors
    /// [`PageRefused`]; the page did nothing then.
    pub fn apply_page(
        &self,
        page: PageOfWalk<'_>,
        now: Instant,
    ) -> Result<Vec<ImageId>, PageRefused> {
        let Some(catalogue) = &self.catalogue else {
            return Ok(Vec::new());
        };
        let answer = Arc::new(page.answer);
        if !self.stale_before.is_current(answer.asked()) {
            return Err(PageRefused::Outdated);
        }
        if !catalogue.state.lock().acts(page.scope, page.walk) {
            return Err(PageRefused::NoRoom);
        }
        let mut images = Vec::with_capacity(page.images.len());
        for raw in &page.images {
            let Some((image, fields)) = Item::image(raw) else {
                continue;
            };
            images.push(image.clone());
            let verbose = page.verbose;
            let shown = Shown {
                key: ImageKey { image, verbose },
                fields,
                text: raw.get().as_bytes(),
                page: &answer,
                scope: page.scope,
                walk: page.walk,
            };
            // One lock for each item, so that a large page delays no fetch.
            self.flights
                .locked(|| self.apply_item(catalogue, &mut catalogue.state.lock(), &shown));
        }
        let dropped = catalogue
            .state
            .lock()
            .make_room(catalogue.config.max_bytes.0, now);
        for scope in dropped {
            let detail = || {
                format!(
                    "items take more than {} bytes",
                    catalogue.config.max_bytes.0
                )
            };
            self.metrics
                .conditions
                .occurred(Condition::CatalogueFull, scope, detail);
        }
        catalogue.wake_if_pending();
        Ok(images)
    }

    fn apply_item(&self, catalogue: &Catalogue, state: &mut State, shown: &Shown<'_>) {
        let key = &shown.key;
        if !state.admits(key, shown.page) {
            state.table.mark_seen(key, (shown.scope, shown.walk));
            return;
        }
        if let Some(field) = state.trust.shown(key, shown.text, shown.page.asked()) {
            self.tell_mismatch(state, key, field);
            if state.trust.is_lost() {
                self.expire_listed(state);
            }
        }
        let is_older = |negative: &Arc<Negative>| negative.answered() < shown.page.asked();
        if self
            .negatives
            .get(&key.image)
            .as_ref()
            .is_some_and(is_older)
        {
            self.negatives.invalidate(&key.image);
        }
        let entry = self.images.get(key);
        let verdict = entry
            .as_ref()
            .map(|entry| state.judge(key, entry, shown.text, shown.page));
        shown.store(state);
        if let (Some(entry), Some(verdict)) = (entry, verdict) {
            self.carry_out(catalogue, state, shown, (entry, verdict));
        }
    }

    /// Carries out a verdict on the entry of an item that has just been stored.
    fn carry_out(
        &self,
        catalogue: &Catalogue,
        state: &mut State,
        shown: &Shown<'_>,
        (entry, verdict): (Arc<Entry>, Verdict),
    ) {
        let (key, metrics) = (&shown.key, &self.metrics.catalogue);
        let fresh_until = shown.page.asked() + catalogue.config.keeps_fresh();
        let bound = match verdict {
            Verdict::Keep => return,
            Verdict::Bind => entry.bound(fresh_until),
            Verdict::Renew => {
                metrics.renewed.inc();
                entry.renewed(shown.page, fresh_until, &self.policy.load())
            }
            Verdict::Outdated(field) => return state.suspend(key, field, entry.answered()),
            Verdict::Unclear => return self.expire(state, key, &entry),
            Verdict::Changed => {
                metrics.changed.inc();
                let Some(listed) = self.listed_entry(catalogue, state, key) else {
                    return self.expire(state, key, &entry);
                };
                let listed = Arc::new(listed);
                Entry::clone(&self.shorten_if_replaced(key, &listed))
            }
        };
        let bound = Arc::new(bound);
        self.images.insert(key.clone(), Arc::clone(&bound));
        state.table.bind(key, &bound);
    }

    /// Makes an entry stale, and has it fetched.
    fn expire(&self, state: &mut State, key: &ImageKey, entry: &Entry) {
        self.images
            .insert(key.clone(), Arc::new(entry.softly_purged()));
        state.table.unbind(key);
        state.fetch_later(key);
    }

    /// Makes every entry stale that was made from an item, because items are no longer trusted.
    fn expire_listed(&self, state: &mut State) {
        for key in state.table.keys() {
            let entry = self.images.get(&key).filter(|entry| entry.is_listed());
            if let Some(entry) = entry {
                self.expire(state, &key, &entry);
            }
        }
    }

    /// Ends a walk that has seen every page. Items that it did not show are gone, if it was steady.
    pub fn end_walk(&self, end: WalkEnd, now: Instant) {
        let Some(catalogue) = &self.catalogue else {
            return;
        };
        self.flights.locked(|| {
            let mut state = catalogue.state.lock();
            if !state.acts(end.scope, end.walk) {
                return;
            }
            if end.is_steady {
                self.expire_gone(&mut state, end);
            }
            state.walked(&end, now.saturating_duration_since(end.started));
            let State {
                trust,
                table,
                fences,
                ..
            } = &mut *state;
            trust.expire(end.started, |key| table.get(key).is_some());
            if let Some(time) = now.checked_sub(LONGEST_WALK) {
                fences.expire(time);
            }
        });
        catalogue.wake_if_pending();
    }

    fn expire_gone(&self, state: &mut State, end: WalkEnd) {
        let gone = state.table.remove_matching(|key, item| {
            item.scope == end.scope
                && key.verbose == end.verbose
                && item.walk < end.walk
                // A newer page has shown it since.
                && item.page.asked() < end.started
        });
        for key in gone {
            // An entry that was asked for since the walk began knows better.
            let entry = self
                .images
                .get(&key)
                .filter(|entry| entry.origin_asked() < end.started);
            if let Some(entry) = entry {
                self.expire(state, &key, &entry);
            }
        }
    }

    /// Compares GetImage's answer, which is about to be stored, with its item. Returns the entry to store: bound to the
    /// item, or stale if neither is known to be newer. Runs under the lock of the flights.
    pub(in crate::cache) fn compare_with_item(
        &self,
        key: &ImageKey,
        entry: Arc<Entry>,
    ) -> Arc<Entry> {
        let Some(catalogue) = &self.catalogue else {
            return entry;
        };
        let mut state = catalogue.state.lock();
        state.fetch_took = Some(entry.took());
        let Some(item) = state.table.get(key).cloned() else {
            return entry;
        };
        let settled = match state.judge(key, &entry, &item.text, &item.page) {
            Verdict::Bind | Verdict::Renew => {
                state.trust.agrees(key);
                let bound = entry.bound(item.page.asked() + catalogue.config.keeps_fresh());
                let bound = Arc::new(bound);
                state.table.bind(key, &bound);
                bound
            }
            Verdict::Keep => entry,
            Verdict::Outdated(field) => {
                state.suspend(key, field, entry.answered());
                entry
            }
            Verdict::Changed | Verdict::Unclear => {
                state.table.unbind(key);
                state.fetch_later(key);
                Arc::new(entry.softly_purged())
            }
        };
        drop(state);
        catalogue.wake_if_pending();
        settled
    }

    fn tell_mismatch(&self, state: &State, key: &ImageKey, field: &'static str) {
        self.metrics
            .catalogue
            .mismatches
            .with_label_values(&[field])
            .inc();
        let detail = || {
            let then = if state.trust.is_lost() {
                "; items answer no more until the next start"
            } else {
                ""
            };
            format!("image_id {}: {field}{then}", key.image)
        };
        self.metrics
            .conditions
            .occurred(Condition::CatalogueMismatch, field, detail);
    }
}

impl Catalogue {
    fn wake_if_pending(&self) {
        if self.state.lock().has_pending() {
            self.wake.notify_one();
        }
    }
}

impl Shown<'_> {
    /// Stores the item, or takes note that it was shown again as it was, which keeps its binding.
    fn store(&self, state: &mut State) {
        let (table, place) = (&mut state.table, (self.scope, self.walk));
        if table.see_again(&self.key, self.text, self.page, place) {
            return;
        }
        let item = Item {
            text: Bytes::copy_from_slice(self.text),
            page: Arc::clone(self.page),
            uri: self.fields.uri.as_deref().map(Arc::from),
            scope: self.scope,
            walk: self.walk,
            bound: Weak::new(),
        };
        table.insert(&self.key, item);
    }
}
